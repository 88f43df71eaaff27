#!/bin/sh
# Puts the card's image together, in the same way as for the emulator. $1: the folder of the images
set -e
repository=$(dirname "$0")/../../..
boot=$1/boot
rm -rf "$boot"
mkdir "$boot"
cp -r "$1"/rpi-firmware/* "$1"/*.dtb "$1/zImage" "$boot/"
"$repository/image/assemble" "$1/rootfs.squashfs" "$boot" "$1/matriz.img"
