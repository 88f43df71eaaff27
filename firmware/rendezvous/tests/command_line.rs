//! The program says in one sentence what is wrong, and ends cleanly.

mod common;

use common::CLIENTS;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_matriz-rendezvous"));
    command.current_dir(folder).env_remove("MATRIZ_CONFIG_FILE").env_remove("RUST_LOG");
    command
}

/// The exit code and the one line on standard error.
fn complaint(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "one sentence: {text}");
    (output.status.code(), text.trim().to_owned())
}

#[test]
fn a_missing_or_mistaken_configuration_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = complaint(&program(folder.path()).output().unwrap());
    assert_eq!(code, Some(2));
    assert!(text.starts_with("matriz-rendezvous: clients.json does not exist: write one like {"), "{text}");

    fs::write(folder.path().join("mine.json"), "{\n  \"client_kyes\": []\n}").unwrap();
    let sentence = "mine.json:2:3: the key \"client_kyes\" is unknown: did you mean \"client_keys\"?";
    let expected = (Some(2), format!("matriz-rendezvous: {sentence}"));
    assert_eq!(complaint(&program(folder.path()).arg("mine.json").output().unwrap()), expected);
    let by_variable = program(folder.path()).env("MATRIZ_CONFIG_FILE", "mine.json").output().unwrap();
    assert_eq!(complaint(&by_variable), expected);
}

#[test]
fn a_taken_port_is_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("clients.json"), CLIENTS).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, text) = complaint(&program(folder.path()).args(["--listen", &address]).output().unwrap());
    assert_eq!(code, Some(1));
    assert!(text.contains(&format!("cannot listen on {address}: stop what uses it")), "{text}");
}

#[test]
fn a_wrong_address_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    for address in ["5000", ":5000", "localhost:", "localhost:70000"] {
        let output = program(folder.path()).args(["--listen", address]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{address}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("such as 0.0.0.0:5000"));
    }
}

#[test]
fn signals_end_it_cleanly_and_it_logs_nothing_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("clients.json"), CLIENTS).unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut command = program(folder.path());
        command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on ws://127.0.0.1:") && line.ends_with("/config\n"), "{line}");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{signal}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    }
}

#[test]
fn the_help_fits_a_screen() {
    let folder = tempfile::tempdir().unwrap();
    let output = program(folder.path()).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("MATRIZ_CONFIG_FILE") && text.contains("0.0.0.0:5000"), "{text}");
    assert!(text.lines().count() <= 24 && text.lines().all(|line| line.chars().count() <= 80), "{text}");
}
