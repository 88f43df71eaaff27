//! Cards that are new, hurt or in ruins, and wishes for a factory reset.

use super::*;
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A set-up partition, and a data partition in a file.
fn world() -> (tempfile::TempDir, Root, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("setup")).unwrap();
    let device = folder.path().join("p7");
    let file = File::create(&device).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(FRESH, 0).unwrap();
    let root = Root(folder.path().to_owned());
    (folder, root, device)
}

fn start(root: &Root, device: &Path) -> Vec<String> {
    run(root, device).unwrap();
    messages::read(root)
}

fn debugfs(device: &Path, request: &str) {
    let done = Command::new("debugfs").args(["-w", "-R", request]).arg(device).output().unwrap();
    assert!(done.status.success());
}

/// When the file system was made: its random identity.
fn identity(device: &Path) -> [u8; 16] {
    let mut uuid = [0; 16];
    File::open(device).unwrap().read_exact_at(&mut uuid, 1024 + 104).unwrap();
    uuid
}

#[test]
fn the_mark_is_the_one_that_the_image_has() {
    let script = include_str!("../../../../../image/assemble");
    assert!(script.contains(&format!("printf %s '{}'", String::from_utf8_lossy(FRESH))));
}

#[test]
fn a_flashed_card_gets_its_data_partition_once_without_a_word() {
    let (_folder, root, device) = world();
    assert_eq!(start(&root, &device), Vec::<String>::new());
    let first = identity(&device);
    assert_ne!(first, [0; 16]);
    assert_eq!(start(&root, &device), Vec::<String>::new());
    assert_eq!(identity(&device), first);
}

#[test]
fn what_can_be_repaired_is_and_what_cannot_is_made_anew() {
    let (_folder, root, device) = world();
    start(&root, &device);
    let first = identity(&device);
    let file = File::options().write(true).open(&device).unwrap();

    // Its first folder is gone, and the kernel has noticed.
    debugfs(&device, "clri <2>");
    debugfs(&device, "set_super_value state 2");
    assert_eq!(start(&root, &device), ["the data partition was repaired; a recording may be damaged"]);
    assert_eq!(start(&root, &device), Vec::<String>::new());
    assert_eq!(identity(&device), first);

    // Its first superblock is gone: e2fsck finds another one.
    file.write_all_at(&[0; 4096], 0).unwrap();
    assert_eq!(start(&root, &device), ["the data partition was repaired; a recording may be damaged"]);
    assert_eq!(identity(&device), first);

    // All of it is gone.
    file.set_len(0).unwrap();
    file.set_len(64 << 20).unwrap();
    let said = start(&root, &device);
    assert_eq!(said, ["the data partition was beyond repair: it was made anew, recordings are gone"]);
    assert_ne!(identity(&device), first);
}

#[test]
fn what_the_kernel_does_not_take_is_looked_at_closely() {
    let (_folder, root, device) = world();
    start(&root, &device);
    let first = identity(&device);
    debugfs(&device, "clri <2>"); // and nobody has noticed
    let tries = Cell::new(0);
    let second_time = || tries.replace(tries.get() + 1) > 0;
    let mut said = Vec::new();
    mend(&device, &second_time, &mut said).unwrap();
    assert_eq!(said, ["the data partition was repaired; a recording may be damaged"]);
    assert_eq!(identity(&device), first);

    said.clear();
    mend(&device, &|| false, &mut said).unwrap();
    assert_eq!(said, ["the data partition was beyond repair: it was made anew, recordings are gone"]);
    assert_ne!(identity(&device), first);
}

#[test]
fn a_superblock_full_of_nonsense_is_beyond_repair() {
    let (_folder, root, device) = world();
    start(&root, &device);
    let first = identity(&device);
    let file = File::options().write(true).open(&device).unwrap();
    file.set_len(0).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(&MAGIC.1, MAGIC.0).unwrap();
    let said = start(&root, &device);
    assert_eq!(said, ["the data partition was beyond repair: it was made anew, recordings are gone"]);
    assert_ne!(identity(&device), first);
}

#[test]
fn a_factory_reset_makes_everything_as_it_came_once() {
    let (_folder, root, device) = world();
    start(&root, &device);
    let first = identity(&device);
    for (name, text) in [("matriz.toml", "name = 1"), ("authorized_keys", "k"), ("Factory-Reset.txt", "")] {
        fs::write(root.at("setup").join(name), text).unwrap();
    }
    assert_eq!(start(&root, &device), ["everything is as it came, as FACTORY-RESET asked"]);
    let second = identity(&device);
    assert_ne!(first, second);
    let left: Vec<_> =
        fs::read_dir(root.at("setup")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["matriz.toml"]);
    assert_eq!(fs::read_to_string(root.at("setup/matriz.toml")).unwrap(), settings::TEMPLATE);
    assert_eq!(start(&root, &device), Vec::<String>::new());
    assert_eq!(identity(&device), second);
}

#[test]
fn the_volume_buttons_ask_for_the_same() {
    let (_folder, root, device) = world();
    start(&root, &device);
    let first = identity(&device);
    fs::write(root.at("setup/matriz.toml"), "name = 1").unwrap();
    fs::write(root.at("setup/authorized_keys"), "k").unwrap();
    carry_out(&root, &device, Wish::Reset).unwrap();
    assert_eq!(messages::read(&root), ["everything is as it came, as the volume buttons asked"]);
    let second = identity(&device);
    assert_ne!(first, second);
    let left: Vec<_> =
        fs::read_dir(root.at("setup")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["matriz.toml"], "and no request to do it again");
    assert_eq!(fs::read_to_string(root.at("setup/matriz.toml")).unwrap(), settings::TEMPLATE);
    assert_eq!(start(&root, &device), Vec::<String>::new());
    assert_eq!(identity(&device), second);
}

#[test]
fn a_reset_by_the_buttons_that_loses_its_power_is_done_at_the_next_start() {
    let (_folder, root, device) = world();
    start(&root, &device);
    let first = identity(&device);
    request(&root);
    assert_eq!(start(&root, &device), ["everything is as it came, as FACTORY-RESET asked"]);
    assert_ne!(identity(&device), first);
    assert_eq!(start(&root, &device), Vec::<String>::new());
}

#[test]
fn buttons_without_a_set_up_partition_reset_what_there_is() {
    let (_folder, root, device) = world();
    start(&root, &device);
    let first = identity(&device);
    fs::remove_dir(root.at("setup")).unwrap();
    carry_out(&root, &device, Wish::Reset).unwrap();
    let said = messages::read(&root);
    assert_eq!(said[0], "everything is as it came, as the volume buttons asked");
    assert!(said[1].starts_with("the factory reset could not be carried out in full ("), "{said:?}");
    assert_ne!(identity(&device), first);
}

#[test]
fn buttons_that_are_stuck_are_said_and_nothing_is_lost() {
    let (_folder, root, device) = world();
    start(&root, &device);
    let first = identity(&device);
    carry_out(&root, &device, Wish::Stuck).unwrap();
    assert_eq!(messages::read(&root), [STUCK]);
    assert_eq!(identity(&device), first);
}

#[test]
fn a_device_that_is_not_there_is_said() {
    let (_folder, root, _) = world();
    assert!(run(&root, &root.at("p9")).is_err());
    let said = messages::read(&root);
    assert!(said[0].starts_with("there is no data partition: ") && said[0].contains("p9"), "{said:?}");
}
