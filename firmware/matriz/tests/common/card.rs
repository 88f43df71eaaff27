//! What `image.rs` (the card) and `bundle.rs` (its updates) have in common: the programs of `image/` are run on a root
//! file system and boot files that hold nothing of value.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A file of the repository.
pub fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

pub fn write(file: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, bytes).unwrap();
}

/// Runs a program to its end; what it printed.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs one that must succeed; its standard output.
pub fn must(command: &mut Command) -> String {
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs one that must fail; its standard error.
pub fn refused(command: &mut Command) -> String {
    let output = run(command);
    assert!(!output.status.success(), "{command:?} succeeded");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A root file system and boot files that hold nothing of value, in a folder that goes with it.
pub struct Input(tempfile::TempDir);

impl Input {
    pub fn new() -> Input {
        let input = Input(tempfile::tempdir().unwrap());
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for (number, file) in
            ["bootcode.bin", "start.elf", "fixup.dat", "zImage", "bcm2709-rpi-2-b.dtb", "overlays/a.dtbo"]
                .into_iter()
                .enumerate()
        {
            write(&input.path("boot").join(file), &bytes[number..]);
        }
        write(&input.path("root/etc/os-release"), "NAME=Matriz\n");
        let (root, image) = (input.path("root"), input.path("root.squashfs"));
        must(Command::new("mksquashfs").args([&root, &image]).args(["-quiet", "-no-progress", "-all-root"]));
        input
    }

    /// A place in its folder: `boot`, `root.squashfs`, and what a test puts there.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
