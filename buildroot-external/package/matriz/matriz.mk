################################################################################
#
# matriz
#
################################################################################

MATRIZ_SITE = $(BR2_EXTERNAL_MATRIZ_PATH)/..
MATRIZ_SITE_METHOD = local
MATRIZ_VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' $(MATRIZ_SITE)/Cargo.toml)
MATRIZ_LICENSE = MIT
MATRIZ_LICENSE_FILES = LICENSE
MATRIZ_DEPENDENCIES = host-pkgconf jack2 opus
MATRIZ_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	--exclude /target --exclude /out --exclude /buildroot-external

MATRIZ_CARGO_BUILD_OPTS = --package matriz --bin matriz

# Buildroot sets the profile and the flags on ARM; what comes later wins. NEON
# is off by default for this target. OPUS_LIB_DIR: see .cargo/config.toml.
MATRIZ_CARGO_ENV = \
	OPUS_LIB_DIR=$(STAGING_DIR)/usr \
	CARGO_PROFILE_RELEASE_OPT_LEVEL=3 \
	CARGO_PROFILE_RELEASE_LTO=fat \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
	CARGO_TARGET_$(call UPPERCASE,$(RUSTC_TARGET_NAME))_RUSTFLAGS="-C target-cpu=cortex-a7 -C target-feature=+neon,+vfp4 -C link-arg=-Wl,--allow-multiple-definition"

# A local site is never vendored, and cargo is run offline. Cargo.lock has the
# hash of each crate.
define MATRIZ_VENDOR
	grep -qs vendored-sources $(@D)/.cargo/config.toml || \
		(cd $(@D) && \
		$(TARGET_MAKE_ENV) $(PKG_COMMON_CARGO_ENV) \
			cargo vendor --locked vendor >vendor.toml && \
		cat vendor.toml >>.cargo/config.toml)
endef
MATRIZ_PRE_BUILD_HOOKS += MATRIZ_VENDOR

# `cargo install` does not take a workspace.
define MATRIZ_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/release/matriz \
		$(TARGET_DIR)/usr/bin/matriz
endef

$(eval $(cargo-package))
