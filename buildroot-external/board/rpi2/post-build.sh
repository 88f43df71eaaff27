#!/bin/sh
# Lays our part over the root file system, in the same way as for the emulator. $1: the root file system
set -e
repository=$(dirname "$0")/../../..
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$repository/Cargo.toml")
"$repository/image/finish-root" "$1" "$version"
