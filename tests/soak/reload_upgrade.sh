#!/bin/sh
# 200 reloads under load with one file in four broken, and 20 upgrades under 300,000 requests: nothing may be lost, and
# the policy must be right at every moment. Some ten minutes. Prints the figures that docs/reliability.md quotes.
set -eu
cd "$(dirname "$0")/../.."
exec "${CARGO:-cargo}" test --locked --test it -- --ignored --nocapture --test-threads=1 \
  edge::reload::soak edge::upgrade::soak
