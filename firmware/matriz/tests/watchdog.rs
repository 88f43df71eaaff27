//! The service manager hears of a box that plays, and of one that says that it has no card. systemd's end of the
//! line is a socket of the test.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::jackd::server_name;
use common::player::Setup;
use common::process::Process;
use common::{PATIENCE, Stage, free_port};
use std::os::unix::net::UnixDatagram;

/// What a box with this setup tells until it has told `last`.
fn told(stage: &Stage, setup: &Setup, last: &str) -> Vec<String> {
    let path = stage.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    stage.write("client.json", &setup.config.to_string());
    let mut command = stage.matriz(&["--json"]);
    let mut process = Process::start("matriz", command.env("NOTIFY_SOCKET", &path));
    let mut told = Vec::new();
    while told.iter().filter(|text| *text == last).count() < 3 {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).expect("the box tells something");
        told.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
    }
    process.terminate();
    told
}

#[test]
fn a_box_that_plays_is_heard_of() {
    let stage = Stage::new();
    let setup = Setup::simulated(&stage, "porto", free_port(), 0.0, 440);
    let told = told(&stage, &setup, "WATCHDOG=1\n");
    assert_eq!(told[0], "READY=1\nSTATUS=playing\nWATCHDOG=1\n");
}

#[test]
fn a_box_without_a_card_says_so_and_is_heard_of() {
    let stage = Stage::new();
    let setup = Setup::jack("porto", free_port(), &server_name("none"));
    let told = told(&stage, &setup, "WATCHDOG=1\n");
    assert_eq!(told[0], "READY=1\nSTATUS=no card\nWATCHDOG=1\n");
    assert!(told[1..].iter().all(|text| text == "WATCHDOG=1\n"), "{told:?}");
}
