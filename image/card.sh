# shellcheck shell=bash disable=SC2154 # `here` and `work` come from whoever sources this
# What image/assemble and image/bundle have in common, which source this file: the limits of the card, its FAT file
# systems, and the boot partition of a slot. Before: `here`, the folder image/, and `work`, a folder to work in.
# The same input makes the same bytes: no time of day, no random number, files in the order of their names.

boot_size=64  # MiB; as in layout.cfg
root_most=256 # MiB

export TZ=UTC LC_ALL=C
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1767225600} # 2026-01-01, the least that the clock may say
export PATH=$PATH:/sbin:/usr/sbin

fail() { echo "$*" >&2; exit 1; }

# need SECTION PROGRAM...: fails unless all of them are there; .ci/install SECTION brings them
need() {
    local section=$1 program
    shift
    for program in "$@"; do
        command -v "$program" >/dev/null || fail "$program is missing: .ci/install $section"
    done
}

# check_input ROOT.squashfs BOOT-FOLDER: fails unless they are there and fit
check_input() {
    local file
    for file in bootcode.bin start.elf fixup.dat zImage; do
        [ -s "$2/$file" ] || fail "$2/$file is missing."
    done
    [ -s "$1" ] || fail "$1 is missing."
    [ "$(stat -c %s "$1")" -le $((root_most << 20)) ] || fail "$1 is larger than $root_most MiB."
}

# fat IMAGE LABEL ID FOLDER: a FAT file system with what is in the folder
fat() {
    local path
    rm -f "$1" && truncate -s ${boot_size}M "$1"
    mkfs.vfat --invariant -F 32 -s 1 -n "$2" -i "$3" "$1" >/dev/null
    find "$4" -mindepth 1 -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    (cd "$4" && find . -mindepth 1 -printf '%y %P\n') | sort -k 2 | while read -r kind path; do
        if [ "$kind" = d ]; then mmd -i "$1" "::$path"; else mcopy -m -i "$1" "$4/$path" "::$path"; fi
    done
}

# boot_partition A|B IMAGE BOOT-FOLDER: those of the two slots differ in the digit of cmdline.txt that names the root
# partition, and in label and serial number
boot_partition() {
    local files id root
    case $1 in
        A) id=4d545202 root=5 ;;
        B) id=4d545203 root=6 ;;
    esac
    files=$(mktemp -d -p "$work")
    cp -r "$3"/* "$files/"
    rm "$files/bootcode.bin"
    cp "$here/boot/config.txt" "$files/"
    sed "s/@ROOT@/$root/" "$here/boot/cmdline.txt" >"$files/cmdline.txt"
    fat "$2" "MATRIZ-$1" $id "$files"
    rm -r "$files"
}
