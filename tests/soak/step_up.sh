#!/bin/sh
# 1,000 requests that wait for their confirmation, each confirmed by 16 at the same moment at two gateways: one is the one.
# Some minutes.
set -eu
cd "$(dirname "$0")/../.."
exec "${CARGO:-cargo}" test --locked --test it -- --ignored --nocapture --test-threads=1 step_up::once::soak
