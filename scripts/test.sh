#!/usr/bin/env bash
# Runs every test; what it is given goes to each `cargo test`.
#
# Integration tests start whole gateways, browsers and servers beside each other, and a busy machine can starve one of
# them. So up to three of them that fail beside the others are run once more, each by itself, and named at the end: one
# that passes only by itself wants looking at. Whatever fails twice has failed, and so has any other test that fails.
set -uo pipefail
cd "$(dirname "$0")/.."
most=3
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# They wait more than they work.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
"${CARGO:-cargo}" test "$@" --no-fail-fast 2>&1 | tee "$log"
[ "${PIPESTATUS[0]}" -eq 0 ] && exit 0

# What Cargo says at its end: "error: 1 target failed:" and the target.
targets=$(sed -n '/^error: [0-9]* targets\? failed:/,$ s/^    `\(.*\)`$/\1/p' "$log")
if [ "$targets" != "--test it" ]; then
	exit 1
fi
# The last list under "failures:"; the one before it has each test's output.
failed=$(awk '/^failures:$/ { names = ""; next } /^test result: FAILED/ { print names; exit } /^    [a-z0-9_:]+$/ { names = names $1 " " }' "$log")
read -ra failed <<<"$failed"
if [ "${#failed[@]}" -eq 0 ] || [ "${#failed[@]}" -gt "$most" ]; then
	exit 1
fi
for name in "${failed[@]}"; do
	echo "test: once more, by itself: $name"
	"${CARGO:-cargo}" test "$@" --test it -- --exact "$name" 2>&1 | tee "$log"
	[ "${PIPESTATUS[0]}" -eq 0 ] && grep -q '^test result: ok. 1 passed' "$log" || exit 1
done
echo "test: passed only by themselves, and want looking at: ${failed[*]}"
