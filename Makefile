# The few things a person does with Matriz. Each target installs what it lacks first (see .ci/packages.txt).
# What is installed and built is told on standard error; standard output belongs to the program that is run.

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:
.DEFAULT_GOAL := help

CARGO := .ci/rust cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'Options of the session go into ARGS, for instance:  make run ARGS="--seconds 20 --json"'

.PHONY: run
run: packages build ## play a session of three boxes on this computer
	@.ci/music
	@exec $(TARGET)/release/matriz demo --music out/music $(ARGS)

.PHONY: build
build: packages ## build the box and the rendezvous into target/release
	@$(CARGO) build --release --locked 2>&1 | { grep --line-buffered -v '^ *Finished' >&2 || true; }; exit $${PIPESTATUS[0]}

.PHONY: test
test: ## check and test everything
	@.ci/rust .ci/test

.PHONY: test-arm
test-arm: ## test the box's program as built for its processor, under QEMU; QUICK=1 leaves out the longest
	@.ci/rust .ci/test --arm $(if $(QUICK),quick)

.PHONY: bench
bench: bench-micro bench-world bench-peers ## the three below; puts their tables into docs/performance.md
	@bench/report

.PHONY: bench-micro
bench-micro: packages ## time the engine's cycle and its parts; writes out/bench/micro.json
	@.ci/install bench
	@bench/micro

.PHONY: bench-world
bench-world: packages ## judge depth, loss and drift on simulated lines; writes out/bench/world.json
	@$(CARGO) run --release --locked --quiet --package sim --bin world -- out/bench

.PHONY: bench-peers
bench-peers: packages $(if $(PEER_BENCH),build) ## play against other programs; PEER_BENCH= names the harness's folder
	@.ci/install bench $(if $(PEER_BENCH),jack peers)
	@bench/peers

.PHONY: image
image: packages ## build the SD card's image into out; BUILDROOT_DIR= uses a tree of Buildroot that is there
	@.ci/install image
	@.ci/rust image/build $(IMAGE)

.PHONY: bundle
bundle: built = out/buildroot/$(or $(IMAGE),matriz_rpi2)/images
bundle: version = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
bundle: ## make an update of what `make image` built; KEY= and CERT= sign it (docs/release.md)
	@[ "$(BOOT)" ] || [ -d $(built)/boot ] || { echo "Nothing is built: make image first, or say ROOT= and BOOT=." >&2; exit 1; }
	@.ci/install bundle
	@mkdir -p out
	@image/bundle "$(or $(ROOT),$(built)/rootfs.squashfs)" "$(or $(BOOT),$(built)/boot)" $(version) \
		"$(or $(OUT),out/$(subst _,-,$(or $(IMAGE),matriz_rpi2))-$(version).raucb)"

.PHONY: check-image-config
check-image-config: ## check buildroot-external in a tree of Buildroot; BUILDROOT_DIR= names its folder
	@.ci/install image-check
	@image/check-config "$(or $(BUILDROOT_DIR),out/buildroot/source)"

.PHONY: boot
boot: card ## start the card's image in an emulated Raspberry Pi 2; the console is this terminal
	@exec image/emulator/boot out/emulator/card.img

.PHONY: boot-test
boot-test: card-and-host ## start it unattended and go through what a box must do
	@image/emulator/boot-test out/emulator/card.img $(TARGET)/debug $(ARGS)

.PHONY: soak-test
soak-test: card-and-host ## for an hour and a half: pull its plug and its sound card, and see that it is whole each time
	@image/emulator/soak-test out/emulator/card.img $(TARGET)/debug $(ARGS)

.PHONY: update-test
update-test: card-host-and-bundles ## update it, well and badly; ARGS=--short for the main things
	@image/emulator/update-test out/emulator/card.img $(TARGET)/debug out/emulator/bundles $(ARGS)

.PHONY: update-soak
update-soak: card-host-and-bundles ## for an hour: cut its power at random moments of updates
	@image/emulator/update-soak out/emulator/card.img $(TARGET)/debug out/emulator/bundles $(ARGS)

.PHONY: card-host-and-bundles
card-host-and-bundles: card-and-host
	@.ci/install bundle
	@image/emulator/bundles out/emulator/bundles

.PHONY: card-and-host
card-and-host: card
	@$(CARGO) build --locked 2>&1 | { grep --line-buffered -v '^ *Finished' >&2 || true; }; exit $${PIPESTATUS[0]}

.PHONY: card
card: packages
	@.ci/install arm emulator
	@image/emulator/build

.PHONY: lint
lint: ## check the form only: rustfmt, clippy, rustdoc
	@.ci/rust .ci/test --lint

.PHONY: clean
clean: ## remove what was built, prepared and recorded
	@rm -rf $(TARGET) out

.PHONY: packages
packages:
	@.ci/install run $(if $(filter --jack,$(ARGS)),jack)
