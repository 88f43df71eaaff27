//! The slots of a folder that stands for `/`, with real files.

use super::*;
use std::fs;
use std::os::unix::fs::MetadataExt;

const SHIPPED: &str = include_str!("../../../../../image/setup/autoboot.txt");

/// A box that runs slot A with 1.0.0.
fn world() -> (tempfile::TempDir, Root) {
    let folder = tempfile::tempdir().unwrap();
    let root = Root(folder.path().to_owned());
    for path in ["setup", "data", "proc", "usr/lib"] {
        fs::create_dir_all(root.at(path)).unwrap();
    }
    fs::write(root.at("setup/autoboot.txt"), SHIPPED).unwrap();
    fs::write(root.at("usr/lib/os-release"), "NAME=Matriz\nVERSION_ID=1.0.0\n").unwrap();
    run_in(&root, Slot::A);
    (folder, root)
}

fn run_in(root: &Root, slot: Slot) {
    let digit = if slot == Slot::A { 5 } else { 6 };
    let line = format!("root=/dev/mmcblk0p{digit} rootfstype=squashfs ro matriz.emulator\n");
    fs::write(root.at("proc/cmdline"), line).unwrap();
}

fn autoboot(root: &Root) -> String {
    fs::read_to_string(root.at("setup/autoboot.txt")).unwrap()
}

fn shown(root: &Root) -> proto::control::System {
    serde_json::from_slice(&fs::read(root.at(facts::FILE)).unwrap()).unwrap()
}

fn swapped() -> String {
    SHIPPED.replace("=2", "=x").replace("=3", "=2").replace("=x", "=3")
}

#[test]
fn the_slot_that_runs_is_the_one_of_the_last_root_on_the_command_line() {
    let slot = Slot::of_command_line;
    assert_eq!(slot("a root=/dev/mmcblk0p5 rootwait"), Some(Slot::A));
    assert_eq!(slot("root=/dev/mmcblk0p5 root=/dev/mmcblk0p6"), Some(Slot::B));
    assert_eq!(slot("root=/dev/mmcblk0p55"), None);
    assert_eq!(slot("root=/dev/sda1 quiet"), None);
    assert_eq!(slot(""), None);
}

#[test]
fn an_update_is_staged_tried_and_committed_in_place() {
    let (_folder, root) = world();
    assert!(!start(&root));
    found_healthy(&root).unwrap();
    let file = root.at("setup/autoboot.txt");
    let place = fs::metadata(&file).unwrap().ino();
    run(&root, &Verb::SetState { bootname: Slot::B, state: State::Bad }).unwrap();
    assert!(!read(&root).unwrap().is_good(Slot::B));
    run(&root, &Verb::SetPrimary { bootname: Slot::B }).unwrap();
    name_version(&root, Slot::B, "1.1.0").unwrap();
    let slots = read(&root).unwrap();
    assert_eq!((slots.primary(), slots.staged(), slots.committed), (Slot::B, Some(Slot::B), Slot::A));
    assert_eq!(autoboot(&root), SHIPPED, "staging commits nothing");
    assert_eq!(shown(&root).pending.as_deref(), Some("1.1.0 is tried at the next start"));

    run_in(&root, Slot::B);
    assert!(!start(&root));
    assert_eq!(shown(&root).pending.as_deref(), Some("on trial, else back to 1.0.0"));
    assert!(run(&root, &Verb::SetState { bootname: Slot::A, state: State::Bad }).is_err());
    run(&root, &Verb::SetState { bootname: Slot::B, state: State::Good }).unwrap();
    assert_eq!(autoboot(&root), swapped());
    assert_eq!(fs::metadata(&file).unwrap().ino(), place, "the file is where it was");
    let slots = read(&root).unwrap();
    assert!(slots.is_good(Slot::B) && slots.is_good(Slot::A) && !slots.on_trial());
    assert_eq!((shown(&root).slot.as_str(), shown(&root).pending), ("B", None));
    found_healthy(&root).unwrap(); // once more changes nothing
    assert_eq!(autoboot(&root), swapped());
}

#[test]
fn a_fall_back_is_told_at_the_next_start() {
    let (_folder, root) = world();
    start(&root);
    run(&root, &Verb::SetPrimary { bootname: Slot::B }).unwrap();
    run_in(&root, Slot::B);
    fs::write(root.at("usr/lib/os-release"), "VERSION_ID=\"1.1.0\"\n").unwrap();
    start(&root);
    found_wanting(&root, "matriz.service is failed").unwrap();
    assert_eq!(autoboot(&root), SHIPPED);

    run_in(&root, Slot::A);
    fs::write(root.at("usr/lib/os-release"), "VERSION_ID=1.0.0\n").unwrap();
    start(&root);
    let told = "1.1.0 failed: matriz.service is failed, running 1.0.0";
    assert_eq!(messages::read(&root), [told]);
    assert_eq!(shown(&root).failed.as_deref(), Some(told));
    start(&root);
    assert_eq!(messages::read(&root), Vec::<String>::new(), "told once, and shown on");
    assert_eq!(shown(&root).failed.as_deref(), Some(told));
}

#[test]
fn without_a_data_partition_or_with_a_damaged_one_the_box_starts_and_nothing_is_staged() {
    let (_folder, root) = world();
    fs::create_dir_all(root.at(FOLDER)).unwrap();
    fs::write(root.at(FOLDER).join("state.toml"), "[trial]\nslot = \"B\"\ntries = ").unwrap();
    assert!(!start(&root));
    let said = messages::read(&root);
    assert!(said[0].starts_with("what the box knew of its two systems is lost (state.toml: "), "{said:?}");
    assert_eq!(read(&root).unwrap().staged(), None);
    assert!(!start(&root));
    assert_eq!(messages::read(&root), Vec::<String>::new(), "it was written anew");

    fs::remove_dir_all(root.at("data")).unwrap();
    assert!(!start(&root));
    assert_eq!(messages::read(&root), Vec::<String>::new(), "the next step tells it");
    assert!(run(&root, &Verb::SetPrimary { bootname: Slot::B }).is_err(), "a trial must be counted");
    assert_eq!(read(&root).unwrap().primary(), Slot::A);
    run_in(&root, Slot::B);
    assert!(found_healthy(&root).is_err());
    assert_eq!(autoboot(&root), swapped(), "what starts is written first");
}

#[test]
fn a_file_that_is_not_ours_is_told_and_left_alone() {
    let (_folder, root) = world();
    let file = root.at("setup/autoboot.txt");
    fs::write(&file, "[pi4]\nboot_partition=2\n").unwrap();
    assert!(!start(&root));
    assert!(messages::read(&root)[0].starts_with("autoboot.txt, line 1: \"[pi4]\" is not a line of it"));
    for verb in [Verb::SetPrimary { bootname: Slot::B }, Verb::GetPrimary] {
        assert!(run(&root, &verb).unwrap_err().to_string().starts_with("autoboot.txt, line 1: "));
    }
    run_in(&root, Slot::B);
    assert!(found_healthy(&root).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "[pi4]\nboot_partition=2\n");
    fs::remove_file(&file).unwrap();
    assert!(read(&root).unwrap_err().to_string().starts_with("autoboot.txt is not on the set-up partition"));
}

#[test]
fn a_file_that_went_through_an_editor_is_committed_where_it_is() {
    let (_folder, root) = world();
    fs::rename(root.at("setup/autoboot.txt"), root.at("setup/AUTOBOOT.TXT")).unwrap();
    let edited = SHIPPED.replace('\n', "\r\n");
    for text in [edited.clone(), SHIPPED.trim_end_matches(['#', '\n']).to_owned()] {
        fs::write(root.at("setup/AUTOBOOT.TXT"), &text).unwrap();
        run_in(&root, Slot::B);
        found_healthy(&root).unwrap();
        let now = fs::read_to_string(root.at("setup/AUTOBOOT.TXT")).unwrap();
        assert_eq!(now, text.replace("=2", "=x").replace("=3", "=2").replace("=x", "=3"));
    }
}

#[test]
fn on_a_computer_that_is_no_box_nothing_happens() {
    let (_folder, root) = world();
    fs::write(root.at("proc/cmdline"), "root=/dev/sda1 quiet\n").unwrap();
    assert!(!start(&root));
    assert!(!root.at(FOLDER).exists() && !root.at(facts::FILE).exists());
    assert_eq!(run(&root, &Verb::GetCurrent).unwrap_err().to_string(), NO_BOX);
}
