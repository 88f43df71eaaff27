//! An update: who signed it decides which boxes take it, whatever their clock says; it is the same bytes each time; and
//! a slot that it was not wholly written into cannot be started.
//!
//! RAUC itself judges the bundles. It does not install here, as that wants the kernel's device mapper and FAT; what it
//! runs out of the bundle while it installs is run on files instead (`make update-test` installs in the emulator).
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/card.rs"]
mod card;

use card::{Input, must, read, refused, repository, run, write};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of `image/`, far from the repository's own keys.
fn program(input: &Input, name: &str) -> Command {
    let mut command = Command::new(repository().join("image").join(name));
    command.env("KEYS", input.path("development")).env("RELEASE_CA", input.path("release/ca.pem"));
    command.env_remove("KEY").env_remove("CERT").env_remove("COMPATIBLE");
    command
}

/// Makes those who sign: their folder has their name.
fn authority(input: &Input, name: &str) {
    must(program(input, "authority").arg(input.path(name)).arg(name));
}

/// Makes a bundle; without a signer by the throw-away development key.
fn bundle(input: &Input, name: &str, signer: Option<&str>) -> Command {
    let mut command = program(input, "bundle");
    command.args([input.path("root.squashfs"), input.path("boot"), "1.2.3".into(), input.path(name)]);
    if let Some(signer) = signer {
        command.env("KEY", input.path(&format!("{signer}/signing.key")));
        command.env("CERT", input.path(&format!("{signer}/signing.pem")));
    }
    command
}

/// The box's own configuration of RAUC with the keyring of an image, where this system's RAUC can use it.
fn configuration(input: &Input, image: &str) -> PathBuf {
    let (file, data) = (input.path(&format!("{image}/system.conf")), input.path("data"));
    let text = read("overlays/rootfs/usr/lib/rauc/system.conf")
        .replace("/data/matriz-system/rauc", data.to_str().unwrap());
    write(&file, text);
    let keyring = must(program(input, "keyring").arg(image.trim_end_matches("-image")));
    write(&input.path(&format!("{image}/keyring.pem")), keyring);
    file
}

/// What RAUC on a box says of a bundle.
fn info(configuration: &Path, bundle: &Path) -> Command {
    let mut command = Command::new("rauc");
    command.arg("--conf").arg(configuration).args(["info", "--output-format=shell"]).arg(bundle);
    command
}

/// The same command at another time.
fn at(time: &str, command: &Command) -> Command {
    let mut other = Command::new("faketime");
    other.args(["-f", time]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other.env("NO_FAKE_STAT", "1");
    other
}

/// What is in a bundle, unpacked; RAUC checks every block of it before.
fn extract(input: &Input, bundle: &str) -> PathBuf {
    let content = input.path("content");
    let conf = configuration(input, "development-image");
    must(Command::new("rauc").arg("--conf").arg(conf).arg("extract").args([&input.path(bundle), &content]));
    content
}

#[test]
fn who_signed_a_bundle_decides_who_takes_it() {
    let input = Input::new();
    authority(&input, "release");
    authority(&input, "stranger");
    let (release, development) =
        (configuration(&input, "release-image"), configuration(&input, "development-image"));
    for (bundle_of, signer, by_release, by_development) in [
        ("release.raucb", Some("release"), true, true),
        ("development.raucb", None, false, true),
        ("stranger.raucb", Some("stranger"), false, false),
    ] {
        let output = run(&mut bundle(&input, bundle_of, signer));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told}");
        assert_eq!(told.contains("No box with a release takes "), !by_release, "{bundle_of}: {told}");
        for (image, takes) in [(&release, by_release), (&development, by_development)] {
            let output = run(&mut info(image, &input.path(bundle_of)));
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.success(), takes, "{bundle_of} for {}: {said}", image.display());
            assert!(takes || said.contains("signature verification failed"), "{said}");
        }
    }
    // An image that was built before there was a release CA takes nobody's.
    fs::remove_dir_all(input.path("release")).unwrap();
    let output = run(program(&input, "keyring").arg("release"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "# Nobody is trusted.\n");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && told.starts_with("This image takes no updates: there is no "),
        "{told}"
    );
    refused(&mut info(&configuration(&input, "release-image"), &input.path("release.raucb")));
}

#[test]
fn a_root_file_system_trusts_as_it_was_told() {
    let input = Input::new();
    authority(&input, "release");
    let keyring = |kind: &[&str]| {
        let root = input.path("finished");
        must(program(&input, "finish-root").arg(&root).arg("1.2.3").args(kind));
        fs::read_to_string(root.join("usr/lib/rauc/keyring.pem")).unwrap()
    };
    let release = fs::read_to_string(input.path("release/ca.pem")).unwrap();
    assert_eq!(keyring(&[]), release);
    assert!(!input.path("development").exists());
    let both = keyring(&["development"]);
    let development = fs::read_to_string(input.path("development/ca.pem")).unwrap();
    assert!(development != release && both == development + &release);
    assert_eq!(keyring(&["development"]), both, "the key of before is used again");
}

#[test]
fn a_bundle_that_is_not_as_it_was_signed_is_refused() {
    let input = Input::new();
    must(&mut bundle(&input, "good.raucb", None));
    let conf = configuration(&input, "development-image");
    let good = fs::read(input.path("good.raucb")).unwrap();
    must(&mut info(&conf, &input.path("good.raucb")));
    extract(&input, "good.raucb");

    let bad = input.path("bad.raucb");
    let take_out = || {
        let mut command = Command::new("rauc");
        command.arg("--conf").arg(&conf).arg("extract").args([&bad, &input.path("out-of-bad")]);
        command
    };
    // One bit of the root file system. Its block no longer fits the signed tree.
    let mut changed = good.clone();
    changed[good.len() / 4] ^= 1;
    fs::write(&bad, changed).unwrap();
    refused(&mut take_out());
    assert!(!input.path("out-of-bad/root.squashfs").exists());
    // One bit of what was signed.
    let mut changed = good.clone();
    let at = good.windows(12).rposition(|bytes| bytes == b"verity-hash=").unwrap() + 12;
    changed[at] ^= 1;
    fs::write(&bad, changed).unwrap();
    let told = refused(&mut info(&conf, &bad));
    assert!(told.contains("signature verification failed") || told.contains("digest"), "{told}");
    // Cut off while it was sent.
    for length in [good.len() - 1, good.len() / 2, 100, 0] {
        fs::write(&bad, &good[..length]).unwrap();
        refused(&mut info(&conf, &bad));
    }
}

#[test]
fn a_bundle_says_which_board_and_version_it_is_for() {
    let input = Input::new();
    must(bundle(&input, "other.raucb", None).env("COMPATIBLE", "matriz-other"));
    let conf = configuration(&input, "development-image");
    let said = must(&mut info(&conf, &input.path("other.raucb")));
    assert!(said.contains("RAUC_MF_COMPATIBLE='matriz-other'\nRAUC_MF_VERSION='1.2.3'\n"), "{said}");
    assert!(read("overlays/rootfs/usr/lib/rauc/system.conf").contains("\ncompatible=matriz-rpi2\n"));
}

/// The part of a bundle that holds the files: a squashfs, which says how long it is, in whole blocks.
fn payload(bundle: &[u8]) -> &[u8] {
    let used = u64::from_le_bytes(bundle[40..48].try_into().unwrap());
    &bundle[..usize::try_from(used).unwrap().next_multiple_of(4096)]
}

#[test]
fn two_bundles_of_the_same_input_hold_the_same_bytes() {
    let input = Input::new();
    let mut first = bundle(&input, "one.raucb", None);
    must(&mut first);
    must(at("+400d", &bundle(&input, "two.raucb", None)).env("TZ", "Asia/Tokyo"));
    let [one, two] = ["one.raucb", "two.raucb"].map(|name| fs::read(input.path(name)).unwrap());
    assert!(payload(&one) == payload(&two), "the files differ");
    assert!(one.starts_with(b"hsqs") && payload(&one).len() > 100_000);
    assert!(one[payload(&one).len()..] != two[payload(&two).len()..], "only salt and signature differ");
}

#[test]
fn a_box_need_not_know_what_time_it_is() {
    let input = Input::new();
    must(&mut bundle(&input, "update.raucb", None));
    let conf = configuration(&input, "development-image");
    let ask = info(&conf, &input.path("update.raucb"));
    for time in ["@1970-01-02 00:00:00", "@2059-01-01 00:00:00"] {
        must(&mut at(time, &ask));
    }
    // It would be refused if RAUC went by the clock.
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, text.replace("use-bundle-signing-time=true\n", "")).unwrap();
    let told = refused(&mut at("@1970-01-02 00:00:00", &ask));
    assert!(told.contains("not yet valid"), "{told}");
    // The time when it was signed must be right.
    fs::write(&conf, text).unwrap();
    must(&mut at("+30y", &bundle(&input, "late.raucb", None)));
    let told = refused(&mut info(&conf, &input.path("late.raucb")));
    assert!(told.contains("expired"), "{told}");
}

/// The partitions of a card as files: `cardp2` and so on.
struct Card {
    folder: PathBuf,
    content: PathBuf,
    path: String,
}

impl Card {
    /// One on which something was before.
    fn new(input: &Input, content: &Path) -> Card {
        let folder = input.path("card");
        for (number, length) in [(2, 64 << 20), (3, 64 << 20), (5, 1 << 20), (6, 1 << 20)] {
            write(&folder.join(format!("cardp{number}")), vec![0xA5; length]);
        }
        Card { folder, content: content.to_owned(), path: std::env::var("PATH").unwrap() }
    }

    /// From now on the hook has the shell and the tools of the box, BusyBox's.
    fn with_tools_of_the_box(&mut self) {
        self.path = self.folder.join("bin").display().to_string();
        for tool in ["sh", "cat", "mktemp", "rm", "dd"] {
            let busybox = must(Command::new("sh").args(["-c", "command -v busybox"]));
            fs::create_dir_all(&self.path).unwrap();
            symlink(busybox.trim(), Path::new(&self.path).join(tool)).unwrap();
        }
    }

    fn partition(&self, number: u32) -> PathBuf {
        self.folder.join(format!("cardp{number}"))
    }

    fn bytes(&self, number: u32) -> Vec<u8> {
        fs::read(self.partition(number)).unwrap()
    }

    /// What RAUC runs out of the bundle: with the class, the name and the partition of a slot.
    fn hook(&self, when: &str, class: &str, slot: &str, number: u32) -> Command {
        let mut command = Command::new("sh");
        command
            .arg(self.content.join("hook"))
            .arg(when)
            .env("PATH", &self.path)
            .env("RAUC_SLOT_CLASS", class)
            .env("RAUC_SLOT_BOOTNAME", slot)
            .env("RAUC_SLOT_DEVICE", self.partition(number))
            .env("RAUC_BUNDLE_MOUNT_POINT", &self.content);
        command
    }
}

#[test]
fn each_slot_gets_the_boot_partition_that_starts_it() {
    let input = Input::new();
    must(&mut bundle(&input, "update.raucb", None));
    let content = extract(&input, "update.raucb");
    assert!(
        fs::read(content.join("root.squashfs")).unwrap() == fs::read(input.path("root.squashfs")).unwrap()
    );
    let manifest = fs::read_to_string(content.join("manifest.raucm")).unwrap();
    let place = |section: &str| manifest.find(section).unwrap_or_else(|| panic!("{section}: {manifest}"));
    assert!(place("[image.rootfs]") < place("[image.boot]"), "RAUC installs in this order");

    assert_eq!(fs::metadata(content.join("hook")).unwrap().permissions().mode() & 0o777, 0o755);
    for (slot, boot, root, other) in [("A", 2, 5, 3), ("B", 3, 6, 2)] {
        let mut card = Card::new(&input, &content);
        if slot == "B" {
            card.with_tools_of_the_box();
        }
        let before = card.bytes(boot);
        must(&mut card.hook("slot-pre-install", "rootfs", slot, root));
        assert!(card.bytes(boot)[..4096] == [0; 4096], "nothing to start from");
        assert!(
            card.bytes(boot)[4096..] == before[4096..] && card.bytes(root).iter().all(|byte| *byte == 0xA5)
        );
        must(&mut card.hook("slot-install", "boot", slot, boot));
        assert!(card.bytes(other) == before, "the other slot is as it was");

        // The same as `image/assemble` makes it; beyond the files nothing was written.
        let script =
            "set -euo pipefail; here=image work=$0; . image/card.sh; boot_partition $1 \"$0/image\" \"$2\"";
        let work = tempfile::tempdir().unwrap();
        must(
            Command::new("bash")
                .current_dir(repository())
                .args(["-c", script])
                .arg(work.path())
                .arg(slot)
                .arg(input.path("boot")),
        );
        let expected = fs::read(work.path().join("image")).unwrap();
        let length = fs::metadata(content.join("boot.vfat")).unwrap().len();
        let length = usize::try_from(length).unwrap();
        let (written, is) = (card.bytes(boot), card.partition(boot));
        assert!(written[..length] == expected[..length]);
        assert!(expected[length..].iter().all(|byte| *byte == 0) && written[length..] == before[length..]);
        must(Command::new("/sbin/fsck.vfat").arg("-n").arg(&is));
        let line = must(Command::new("mtype").arg("-i").arg(&is).arg("::cmdline.txt"));
        assert!(line.starts_with(&format!("root=/dev/mmcblk0p{root} ")), "{line}");
        let label = must(Command::new("mlabel").args(["-s", "-i"]).arg(&is).arg("::"));
        assert!(label.contains(&format!("MATRIZ-{slot}")), "{label}");
    }
}

#[test]
fn a_slot_that_was_not_wholly_written_cannot_be_started() {
    let input = Input::new();
    must(&mut bundle(&input, "update.raucb", None));
    let content = extract(&input, "update.raucb");
    // A `dd` that loses its power before the write whose turn it is.
    let dd = input.path("bin/dd");
    let real = must(Command::new("sh").args(["-c", "command -v dd"]));
    let lines =
        ["#!/bin/sh", "read -r left <$LEFT", "[ $left -gt 0 ] || exit 1", "echo $((left - 1)) >$LEFT"];
    write(&dd, format!("{}\nexec {} \"$@\"\n", lines.join("\n"), real.trim()));
    fs::set_permissions(&dd, fs::Permissions::from_mode(0o755)).unwrap();
    let left = input.path("left");

    // Before the update, a slot that starts.
    let mut card = Card::new(&input, &content);
    must(&mut card.hook("slot-install", "boot", "B", 3));
    let starts = |card: &Card| card.bytes(3)[510..512] == [0x55, 0xAA];
    let whole = card.bytes(3);
    card.path = format!("{}:{}", input.path("bin").display(), card.path);
    let mut writes = 0;
    loop {
        fs::write(card.partition(3), &whole).unwrap();
        fs::write(&left, format!("{writes}\n")).unwrap();
        let mut steps = ["slot-pre-install rootfs 6", "slot-install boot 3"].iter().map(|step| {
            let words: Vec<&str> = step.split(' ').collect();
            let mut hook = card.hook(words[0], words[1], "B", words[2].parse().unwrap());
            run(hook.env("LEFT", &left)).status.success()
        });
        // As RAUC does: what comes after a failure is not done.
        if steps.all(|succeeded| succeeded) {
            break;
        }
        assert_eq!(starts(&card), writes == 0, "cut off after {writes} writes");
        writes += 1;
        assert!(writes < 100);
    }
    assert!(starts(&card) && card.bytes(3) == whole);
    assert!(writes >= 6, "{writes} writes");
}

#[test]
fn what_cannot_be_is_not_done() {
    let input = Input::new();
    must(&mut bundle(&input, "update.raucb", None));
    let content = extract(&input, "update.raucb");
    let card = Card::new(&input, &content);
    assert_eq!(refused(&mut card.hook("slot-install", "boot", "C", 3)), "There is no slot C.\n");
    let unknown = refused(&mut card.hook("slot-post-install", "boot", "B", 3));
    assert_eq!(unknown, "There is nothing to do at slot-post-install for a boot.\n");
    let missing = refused(&mut card.hook("slot-install", "boot", "B", 9));
    assert_eq!(missing, format!("There is no {}.\n", card.partition(9).display()));
    assert!([2, 3, 5, 6].into_iter().all(|number| card.bytes(number).iter().all(|byte| *byte == 0xA5)));

    let without_key = refused(bundle(&input, "out.raucb", None).env("CERT", "some.pem"));
    assert_eq!(without_key, "KEY= and CERT= belong together: the key, and its certificate.\n");
    let mut odd = program(&input, "bundle");
    odd.args([input.path("root.squashfs"), input.path("boot"), "1 2".into(), input.path("out.raucb")]);
    assert_eq!(refused(&mut odd), "\"1 2\" is no version, such as 1.2.0.\n");
    fs::remove_file(input.path("boot/zImage")).unwrap();
    let told = refused(&mut bundle(&input, "out.raucb", None));
    assert!(told.ends_with("boot/zImage is missing.\n"), "{told}");
    assert!(!input.path("out.raucb").exists());
}

#[test]
fn rauc_on_the_box_knows_the_card() {
    let conf = read("overlays/rootfs/usr/lib/rauc/system.conf");
    for (index, slot, root, boot) in [(0, "A", 5, 2), (1, "B", 6, 3)] {
        let rootfs =
            format!("[slot.rootfs.{index}]\ndevice=/dev/mmcblk0p{root}\ntype=raw\nbootname={slot}\n");
        let boot =
            format!("[slot.boot.{index}]\ndevice=/dev/mmcblk0p{boot}\ntype=vfat\nparent=rootfs.{index}\n");
        assert!(conf.contains(&rootfs) && conf.contains(&boot), "{conf}");
    }
    assert!(conf.contains("\nbundle-formats=verity\n"));
}

#[test]
fn all_of_a_bundle_is_read_before_anything_is_written() {
    let handler = "/usr/lib/matriz/read-bundle";
    assert!(read("overlays/rootfs/usr/lib/rauc/system.conf").contains(&format!("\npre-install={handler}\n")));
    let bundle = tempfile::tempdir().unwrap();
    write(&bundle.path().join("boot.vfat"), "good");
    write(&bundle.path().join("root.squashfs"), "good");
    let reads = || {
        let mut command = Command::new(repository().join("overlays/rootfs").join(&handler[1..]));
        run(command.env("RAUC_BUNDLE_MOUNT_POINT", bundle.path())).status.success()
    };
    assert!(reads());
    // As a block that dm-verity refuses: a file that is there and cannot be read.
    symlink("/proc/self/mem", bundle.path().join("middle")).unwrap();
    assert!(!reads());
}

#[test]
fn no_private_key_is_in_what_images_are_made_of() {
    let folders = ["image", "overlays", "buildroot-external"];
    let mut command = Command::new("grep");
    command.current_dir(repository()).args(["-rlE", "BEGIN [A-Z ]*PRIVATE KEY"]).args(folders);
    assert_eq!(String::from_utf8(run(&mut command).stdout).unwrap(), "");
}
