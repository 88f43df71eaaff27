#!/bin/sh
# Lays our part over the root file system, in the same way as for the emulator. $1: the root file system;
# $2: development, if it is for that (BR2_ROOTFS_POST_BUILD_SCRIPT_ARGS)
set -e
repository=$(dirname "$0")/../../..
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$repository/Cargo.toml")
"$repository/image/finish-root" "$1" "$version" ${2:+"$2"}
