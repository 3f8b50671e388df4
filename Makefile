# Everything a developer or a first-time user types. Each target says on one line what it does: `make help`.

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c

HOST   := $(shell rustc -vV | sed -n 's/^host: //p')
OUT    := target/$(HOST)
SKIFF  := $(OUT)/release/skiff
ONLY   ?=
STORM  ?= 600
GUEST  ?= hosts behaviours

.PHONY: help deps tools build up down status test test-unit test-e2e storm guest lint bench sim fuzz clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 14

deps: ## install the few Debian packages that are needed (asks nothing; does nothing where they are there)
	@scripts/deps.sh

tools: ## put kubectl and Helm under target/tools
	@scripts/tools.sh

build: ## build the release binary: one static file
	@cargo build --release --locked -p skiff

up: deps build ## build, start a cluster of one node, and serve examples/hello.yaml on it
	@scripts/up.sh $(SKIFF)

down: ## stop that cluster and remove every trace of it
	@scripts/down.sh $(SKIFF)

status: ## say how the cluster is
	@$(SKIFF) status

test: deps tools lint test-unit test-e2e ## all tests: lints, unit and component tests, whole clusters

test-unit: deps ## unit and component tests
	@scripts/deps.sh dbus-daemon:dbus-daemon dockerd:docker.io
	@cargo test --workspace --locked --exclude skiff-e2e

test-e2e: deps tools ## whole clusters, driven by real clients
	@scripts/deps.sh containerd:containerd runc:runc dockerd:docker.io docker:docker.io
	@cargo build --locked --workspace --bin skiff
	SKIFF_BIN=$(CURDIR)/$(OUT)/debug/skiff cargo test --locked --workspace --test scenario --test kill --test wrong_input --test streams --test clients --test golden --test keys --test behaviours --test runtimes --test pressure --test managers --test storm --test hostile -- --test-threads=1 --nocapture

storm: deps tools ## kills at random under churn for STORM seconds (600), and hostile pods, beside a neighbour
	@cargo build --locked --workspace --bin skiff
	SKIFF_STORM_SECONDS=$(STORM) SKIFF_BIN=$(CURDIR)/$(OUT)/debug/skiff cargo test --locked -p skiff-e2e --test storm --test hostile -- --test-threads=1 --nocapture

guest: deps tools ## the node's tests on a machine of their own, a virtual one: cgroup v2, systemd, swap, AppArmor, NFS, iSCSI
	@cargo build --locked --workspace --bin skiff
	programs=$$(cargo test --locked -p skiff-e2e $(GUEST:%=--test %) --no-run 2>&1 | tee /dev/stderr | sed -n 's/^ *Executable .*(\(.*\))$$/\1/p')
	SKIFF_BIN=$(CURDIR)/$(OUT)/debug/skiff scripts/guest.sh sh -ec 'for test; do $$test --test-threads=1 --nocapture; done' sh $$programs

lint: ## format, clippy, licences, and the project's own rules
	@cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo xtask codegen --check
	cargo xtask tidy
	scripts/deny.sh

bench: deps ## figures, a line each; ONLY=<area> for one area
	@scripts/deps.sh etcd:etcd-server || echo "no etcd: figures without that ratio"
	@scripts/deps.sh containerd:containerd /usr/lib/cni/loopback:containernetworking-plugins || echo "no containerd: figures without that ratio"
	@cargo xtask bench --only "$(ONLY)"

sim: ## the datastore's model test with many more histories than `make test` tries
	@PROPTEST_CASES=2000 cargo test --release --locked -p skiff-store

fuzz: ## random documents, messages, patches, expressions and frames, with many more cases than `make test` tries
	@PROPTEST_CASES=20000 FUZZ_SECONDS=60 cargo test --release --locked -p skiff-api -p skiff-cel -p skiff-spdy

clean: ## remove what was built
	@cargo clean
