# Stackyard. The two to start with: `make demo` and `make test`.
# PROFILE=release builds what `build`, `up`, `demo` and `install` use with optimization.
SHELL := /bin/bash
PROFILE ?= dev
TARGET := $(or $(CARGO_TARGET_DIR),target)
FOLDER = $(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
BIN = $(TARGET)/$(FOLDER)
YARD = $(BIN)/yard
HOST := x86_64-unknown-linux-gnu
# Where `install` puts programs (bin) and what comes with them (share/stackyard).
PREFIX ?= /usr/local
DESTDIR ?=
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env=PATH,YARD_HOME)

.PHONY: demo up down build init install setup setup-test setup-bench test lint bench trials

## demo: install what is missing, build, start a one-machine cluster, push an app, show its answer
demo: up
	@scripts/demo $(YARD)

## up: build and start the cluster of this machine
up: build
	@$(SUDO) $(YARD) up --from-source

## down: stop the cluster; its data stays
down:
	@$(SUDO) $(YARD) down

setup:
	@scripts/install-packages
	@scripts/check-rust

setup-test:
	@scripts/install-packages --test
	@scripts/check-rust

setup-bench:
	@scripts/install-packages --bench
	@scripts/check-rust

## build: every program
build: setup
	@echo "building (the first time takes some minutes)"
	@cargo build --profile $(PROFILE) --workspace --bins --locked
	@$(MAKE) --no-print-directory init PROFILE=$(PROFILE)

# The init of a container is linked statically: it must run under any root filesystem.
init:
	@RUSTFLAGS="-C target-feature=+crt-static" cargo build -q --profile $(PROFILE) -p dea-shim --bin stackyard-init --target $(HOST) --locked
	@cp -f $(TARGET)/$(HOST)/$(FOLDER)/stackyard-init $(BIN)/stackyard-init.new && mv -f $(BIN)/stackyard-init.new $(BIN)/stackyard-init

## install: put optimized programs, and what comes with them, under $(PREFIX); `yard up` is next
install: PROFILE = release
install: build
	@$(SUDO) install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/stackyard
	@$(SUDO) install $(addprefix $(BIN)/,yard stackyard stackyard-supervisor stackyard-init) $(DESTDIR)$(PREFIX)/bin
	@for folder in buildpacks packs python; do \
		$(SUDO) rm -rf $(DESTDIR)$(PREFIX)/share/stackyard/$$folder && \
		$(SUDO) cp -R $$folder $(DESTDIR)$(PREFIX)/share/stackyard/ || exit 1; done

## test: every test: pure ones, those with real servers, and whole clusters with real containers
# Programs and tests are built together: built apart, cargo would compile many crates twice.
test: setup-test
	@scripts/quietly build cargo build --workspace --bins --tests --locked
	@$(MAKE) --no-print-directory init
	@scripts/quietly python scripts/test-python
	@scripts/quietly test scripts/test-rust

## lint: format and clippy
lint: setup
	@cargo fmt --all --check
	@scripts/quietly clippy cargo clippy --workspace --all-targets --locked -- -D warnings

## bench: measure what docs/benchmarks.md reports, with optimized programs, and write it
# Programs and measuring examples are built together: built apart, cargo would compile some crates twice.
bench: PROFILE = release
bench: setup-bench
	@scripts/quietly build cargo build --profile $(PROFILE) --workspace --bins --examples --locked
	@$(MAKE) --no-print-directory init PROFILE=$(PROFILE)
	@$(SUDO) $(BIN)/bench

## trials: kill every daemon under load and simulate clusters, ten times as long as the tests do, and write docs/trials.md
trials: setup-test build
	@$(SUDO) env STACKYARD_TRIALS=10 cargo test -p tests --test automation_trials --locked
	@$(SUDO) env STACKYARD_TRIALS=10 cargo test -p tests --test mortal --locked
	@$(SUDO) env STACKYARD_TRIALS=10 cargo test -p tests --test hostile --locked -- misbehave
	@$(SUDO) env STACKYARD_TRIALS=10 cargo test -p tests --test first_whole --locked -- new_versions
	@env STACKYARD_TRIALS=10 cargo test -p tests --test simulator --locked
	@env STACKYARD_TRIALS=100 cargo test -p router --test fuzz --locked
