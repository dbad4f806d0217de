#!/usr/bin/env bash
# What 10 minutes at 200 records a second leave waiting while a collector is down: nothing is lost, and what comes twice is
# known by its key. With each kind of collector that has a server here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
for sink in operate::sinks::nothing_is_lost_in_a_long_outage operate::deliveries::soak operate::resources::soak operate::syslog::soak operate::kafka::soak; do
  echo "soak: $sink"
  cargo test --locked --features kafka --test it "$sink" -- --ignored
done
