# What can be done here; `make help` lists it. Every target builds the whole workspace with cargo's dev profile: a part of
# it alone (`-p sekisho`) would select other features of shared crates and compile wasmtime a second time.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help plugins build run test soak bench race conformance walk cluster rig lint fmt clean

help: ## This list
	@sed -n 's/^\([a-z]*\):.* ## /\1|/p' Makefile | sort | while IFS='|' read -r target text; do printf '  %-11s %s\n' "$$target" "$$text"; done

plugins: ## Build the plugins to WebAssembly, into target/plugins
	@scripts/prerequisites.sh build
	@scripts/plugins.sh

build: plugins ## Build the gateway, with its plugins embedded: target/debug/sekisho
	cargo build --locked --workspace

run: build ## Start sample backends and the gateway on sample-configs/secure-gateway; Ctrl-C ends it
	@exec "$${CARGO_TARGET_DIR:-target}/debug/sekisho" demo

test: ## Run every test, after fetching what the tests need
	@scripts/prerequisites.sh build
	@scripts/prerequisites.sh test
	@scripts/plugins.sh tests
	@scripts/test-tools.sh
	cargo build --locked --workspace
	@# End-to-end tests wait more than they compute.
	cargo test --locked --workspace -- --test-threads 6

soak: build ## Reload ten thousand times, and five thousand times under load (about ten minutes)
	@scripts/prerequisites.sh test
	@scripts/plugins.sh tests
	@scripts/test-tools.sh
	SEKISHO_RELOADS=10000 SEKISHO_CHANGES=5000 cargo test --locked --workspace --test e2e -- --nocapture --test-threads 1 endurance storm

bench: plugins ## Measure what the plugins cost; `make bench count=1` counts instructions under valgrind instead
	cargo bench --locked --workspace --bench plugins -- $(if $(count),count)

race: plugins ## Race the gateway against nginx and HAProxy (docs/performance.md); `make race options='--help'`
	@scripts/prerequisites.sh build race
	cargo build --locked --workspace --release
	python3 tests/race/race.py $(options)

conformance: build rig ## Run the Gateway API's conformance suite; `make conformance run='HTTPRouteWeight|GRPC.*'` runs some tests of it
	@$(rig) $(if $(run),-run '$(run)') $(options) suite $(suite)

walk: build rig ## Go through Istio's "Secure Gateways" with kubectl, in both API forms
	@$(rig) $(options) run tests/conformance/walk.sh

cluster: build rig ## Start a Kubernetes cluster that the gateway serves, and a shell beside it; `exit` ends both
	@$(rig) $(options) shell

rig = "$${CARGO_TARGET_DIR:-target}/conformance/bin/rig"
rig: # What these three run in: tests/conformance/README.md
	@scripts/prerequisites.sh conformance
	@tests/conformance/build.sh

lint: plugins ## Check formatting and lints, as CI does
	@scripts/prerequisites.sh lint
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

fmt: ## Format the code
	cargo fmt --all

clean: ## Delete everything that was built
	cargo clean
