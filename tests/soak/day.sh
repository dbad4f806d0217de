#!/bin/sh
# Six days of two gateways behind Envoy: everything that changes or fails on a day does so under load. Some eight minutes.
set -eu
cd "$(dirname "$0")/../.."
exec "${CARGO:-cargo}" test --locked --test it -- --ignored --nocapture day::soak
