#!/usr/bin/env bash
# Fuzzes every parser on a request's path, one after the other. Usage: scripts/fuzz.sh [SECONDS] [TARGET...]
#
# Needs a nightly compiler and cargo-fuzz (`cargo install cargo-fuzz --locked`). What it finds new goes into
# fuzz/artifacts (crashes) and fuzz/grown (inputs), which git ignores; the committed corpora stay small.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-600}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(target host forwarded token proof body condition config)

for target in "${targets[@]}"; do
  grown=fuzz/grown/$target
  mkdir -p "$grown"
  log=fuzz/grown/$target.log
  most=4096
  [ "$target" = config ] && most=8192
  echo "fuzz: $target for $seconds s"
  if ! nice -n 15 cargo +nightly fuzz run -s none --codegen-units 16 "$target" "$grown" "fuzz/corpus/$target" -- \
    -max_total_time="$seconds" -max_len="$most" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1; then
    tail -n 40 "$log"
    echo "fuzz: $target FAILED: the input is in fuzz/artifacts/$target" >&2
    exit 1
  fi
  grep -E "^#[0-9]+.*DONE" "$log" | tail -n 1
  grep -E "number_of_executed_units|average_exec_per_sec|peak_rss_mb" "$log"
done
