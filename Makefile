# Stackyard. The two to start with: `make demo` and `make test`.
SHELL := /bin/bash
BIN := target/debug
YARD := $(BIN)/yard
HOST := x86_64-unknown-linux-gnu
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env=PATH,YARD_HOME)

.PHONY: demo up down build setup setup-test test lint bench clean

## demo: install what is missing, build, start a one-machine cluster, push an app, show its answer
demo: up
	@scripts/demo $(YARD)

## up: build and start the cluster of this machine
up: build
	@$(SUDO) $(YARD) up

## down: stop the cluster; its data stays
down:
	@$(SUDO) $(YARD) down

setup:
	@scripts/install-packages
	@scripts/check-rust

setup-test:
	@scripts/install-packages --test
	@scripts/check-rust

## build: every program, in the profile that the tests use too
build: setup
	@echo "building (first time: some minutes)"
	@cargo build --workspace --bins --locked
	@RUSTFLAGS="-C target-feature=+crt-static" cargo build -p dea-shim --bin stackyard-init --target $(HOST) --locked
	@ln -f target/$(HOST)/debug/stackyard-init $(BIN)/stackyard-init.static 2>/dev/null || cp target/$(HOST)/debug/stackyard-init $(BIN)/stackyard-init.static

## test: every test: pure ones, those with real servers, and whole clusters with real containers
test: setup-test build
	@scripts/quietly crates cargo test --workspace --exclude tests --locked --no-fail-fast
	@scripts/quietly cluster cargo test -p tests --locked --no-fail-fast

## lint: format, clippy, the rules of docs/style
lint: setup
	@cargo fmt --all --check
	@scripts/quietly clippy cargo clippy --workspace --all-targets --locked -- -D warnings

## bench: measure what docs/benchmarks.md reports, and write it
bench: setup-test build
	@$(SUDO) cargo run -q -p tests --bin bench --locked
