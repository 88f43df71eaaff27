//! What the units on a box call: `matriz system VERB`, on a folder that stands for `/`.
//!
//! The decisions have tests of their own beside them; here it is the program, its exit codes and what it prints.
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

fn system(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_matriz"));
    command.args(["system", "--root"]).arg(root).args(arguments).env_remove("RUST_LOG").output().unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

#[test]
fn a_start_with_a_mistake_in_the_settings_says_its_line_and_the_card_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("data")).unwrap();
    write(&root.join("proc/sys/kernel/hostname"), "(none)");
    write(&root.join("proc/cpuinfo"), "Serial\t\t: 00000000abcd1a2b\n");
    let settings = "name = \"porto\"\nkey = \"key1\"\nurl = \"ws://a:5000/config\"\n[jack]\nperiod = 60\n";
    write(&root.join("setup/matriz.toml"), settings);
    assert!(system(root, &["boot"]).status.success());
    assert_eq!(printed(&system(root, &["messages"])), "");

    write(&root.join("setup/matriz.toml"), &settings.replace("60", "6000"));
    assert!(system(root, &["boot"]).status.success(), "a mistake keeps no box from starting");
    let said = printed(&system(root, &["messages"]));
    let line = "matriz.toml, line 5: \"period\" must be a number from 16 to 1024, but it is 6000";
    assert_eq!(said, format!("{line}; the settings of before are used\n"));

    let card = system(root, &["jackd", "--print"]);
    assert!(!card.status.success());
    let said = String::from_utf8(card.stderr).unwrap();
    assert!(said.contains("there is no USB sound card: plug one in"), "{said}");
    let device = root.join("sys/devices/1-1.2");
    write(&device.join("idVendor"), "1235\n");
    write(&device.join("idProduct"), "8210\n");
    let sound = device.join("1-1.2:1.0/sound/card1");
    fs::create_dir_all(sound.join("pcmC1D0p")).unwrap();
    fs::create_dir_all(sound.join("pcmC1D0c")).unwrap();
    symlink("../..", sound.join("device")).unwrap();
    fs::create_dir_all(root.join("sys/class/sound")).unwrap();
    symlink(&sound, root.join("sys/class/sound/card1")).unwrap();
    let card = system(root, &["jackd", "--print"]);
    assert_eq!(printed(&card), "jackd -R -P 75 -S -d alsa -d hw:1 -r 48000 -p 60 -n 3\n");
    let said = String::from_utf8(card.stderr).unwrap();
    assert!(said.contains("sound card: Scarlett 2i2 3rd Gen (1235:8210), hw:1"), "{said}");
}

#[test]
fn a_machine_is_tuned_and_what_is_not_in_force_is_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let governor = root.join("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    write(&governor, "ondemand\n");
    let checked = system(root, &["tune", "--check"]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(printed(&checked).starts_with("NOT        governor of cpu0: ondemand instead of performance\n"));

    let tuned = system(root, &["tune", "--json"]);
    assert_eq!(tuned.status.code(), Some(0));
    let findings: Vec<Value> = serde_json::from_str(&printed(&tuned)).unwrap();
    assert_eq!(findings[0]["state"], "in_force");
    assert_eq!(fs::read_to_string(governor).unwrap(), "performance");
}

#[test]
fn a_data_partition_that_is_not_there_is_a_failure_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let done = system(folder.path(), &["data", "/nowhere/p7"]);
    assert_eq!(done.status.code(), Some(1));
    let said = printed(&system(folder.path(), &["messages"]));
    assert!(said.starts_with("there is no data partition: /nowhere/p7 cannot be opened"), "{said}");
}
