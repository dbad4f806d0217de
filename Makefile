# The two commands: `make demo` shows Wardgate, `make test` checks it. Each installs what it lacks.
.DEFAULT_GOAL := help
CARGO ?= cargo
# One set everywhere, so that nothing is compiled twice.
FEATURES := --features kafka
export WARDGATE_BIN = $(abspath $(or $(CARGO_TARGET_DIR),target))/debug/wardgate

.PHONY: help demo test lint bench bench-peers flame soak

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

demo: ## Run the gateway with example back ends, a guided tour, and a portal to sign in at (TOUR=once: unattended)
	@scripts/setup.sh demo
	@echo "demo: building (the first time takes some minutes)"
	@$(CARGO) build --locked $(FEATURES) --bin wardgate --example demo
	@TOUR=$(TOUR) $(CARGO) run --locked $(FEATURES) --quiet --example demo

test: ## Run every test, against a real identity provider and a real back end
	@scripts/setup.sh test
	@echo "test: building (the first time takes some minutes)"
	@CARGO="$(CARGO)" scripts/test.sh --locked $(FEATURES)

lint: ## Check formatting, lints, licences and advisories
	$(CARGO) fmt --check
	$(CARGO) clippy --locked $(FEATURES) --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check; else echo "lint: cargo-deny is not installed: licences and advisories were not checked"; fi

bench: ## Run the micro-benchmarks
	@scripts/setup.sh bench-micro
	$(CARGO) bench --locked $(FEATURES)

bench-peers: ## Measure HTTP, TLS and WebSockets against bare Pingora, HAProxy, Envoy and nginx; writes docs/performance.md
	@scripts/setup.sh bench
	$(CARGO) build --locked $(FEATURES) --release --bin wardgate --example bare_pingora
	python3 benches/peers/run.py --write docs/performance.md

flame: ## Show where the time goes under load: a flame graph and a table; writes docs/performance.md
	@scripts/setup.sh flame
	$(CARGO) build --locked $(FEATURES) --release --bin wardgate
	python3 benches/peers/flame.py --picture docs/flame.svg --write docs/performance.md

soak: ## Run the long tests: reloads and upgrades under load, thousands of slow clients, very large bodies, a thousand requests confirmed by many at once, long outages of audit collectors
	@scripts/setup.sh test
	$(CARGO) build --locked $(FEATURES) --release --bin wardgate
	tests/soak/reload_upgrade.sh
	tests/soak/step_up.sh
	tests/soak/day.sh
	tests/soak/sinks.sh
	.tools/h2/bin/python tests/soak/limits.py --program $(or $(CARGO_TARGET_DIR),target)/release/wardgate
