//! A trial that is healthy is committed, and one that is not leads back into the old slot, with its log and a sentence.
//!
//! The box is real, and so are `matriz system` and the files; systemd and the SSH server are scripts that note what they
//! are asked. No rendezvous, no peer and no sound card is there. RAUC is real where it asks which slot starts.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::player::{Player, Setup};
use common::{Stage, free_port};
use proto::control::{Status, System};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

const SHIPPED: &str = include_str!("../../../image/setup/autoboot.txt");

/// What systemd shows of a box that runs.
const RUNS: &str = "Id=matriz.service\nActiveState=active\nMainPID=412\n\n\
                    Id=matriz-boot.service\nActiveState=active\nMainPID=0\n";

/// A card with two slots on the stage, which stands for `/`.
struct Card<'a> {
    stage: &'a Stage,
    units: String,
}

impl Card<'_> {
    fn new(stage: &Stage) -> Card<'_> {
        let card = Card { stage, units: RUNS.to_owned() };
        for folder in ["data", "run/matriz"] {
            fs::create_dir_all(stage.path(folder)).unwrap();
        }
        card.write("setup/autoboot.txt", SHIPPED);
        card.script("usr/sbin/sshd", "");
        card.script(
            "bin/systemctl",
            "case $* in show*) cat \"$UNITS\" ;; *) echo \"$*\" >>\"$ASKED\" ;; esac",
        );
        card.script("bin/journalctl", "echo matriz: the sound server is gone");
        card.runs('A', "1.0.0");
        card
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::create_dir_all(self.stage.path(name).parent().unwrap()).unwrap();
        self.stage.write(name, text)
    }

    fn script(&self, name: &str, text: &str) {
        let file = self.write(name, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// The kernel was started from that slot.
    fn runs(&self, slot: char, version: &str) {
        let digit = if slot == 'A' { 5 } else { 6 };
        self.write("proc/cmdline", &format!("root=/dev/mmcblk0p{digit} rootfstype=squashfs\n"));
        self.write("usr/lib/os-release", &format!("NAME=Matriz\nVERSION_ID={version}\n"));
    }

    fn system(&self, words: &[&str]) -> Output {
        let path = format!("{}:{}", self.stage.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = self.stage.matriz(&["system", "--root"]);
        command.arg(self.stage.path("")).args(words).env("PATH", path);
        command.env("UNITS", self.write("units", &self.units)).env("ASKED", self.stage.path("asked"));
        command.output().unwrap()
    }

    /// What a verb that succeeds prints.
    fn says(&self, words: &[&str]) -> String {
        let output = self.system(words);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What systemd was asked to do since the last time.
    fn asked(&self) -> String {
        let file = self.stage.path("asked");
        let asked = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(file);
        asked
    }

    fn autoboot(&self) -> String {
        fs::read_to_string(self.stage.path("setup/autoboot.txt")).unwrap()
    }

    fn facts(&self) -> System {
        let file = self.stage.path("run/matriz-system/system.json");
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }

    /// Installs 1.1.0 into B as RAUC does, and starts it on trial.
    fn update(&self) {
        self.says(&["boot"]);
        assert_eq!(self.says(&["slots", "get-current"]), "A\n");
        self.says(&["slots", "set-state", "B", "bad"]);
        assert_eq!(self.says(&["slots", "get-state", "B"]), "bad\n");
        self.says(&["slots", "set-primary", "B"]);
        assert_eq!(self.says(&["slots", "get-primary"]), "B\n");
        self.runs('B', "1.1.0");
        self.says(&["boot"]);
        assert_eq!(self.facts().pending.as_deref(), Some("on trial, else back to 1.0.0"));
        assert_eq!(self.says(&["slots", "get-primary"]), "A\n", "a reset falls back");
        assert_eq!(self.asked(), "");
    }
}

/// A box that plays, at the place where the gate asks it.
fn play(stage: &Stage) -> Player {
    let setup = Setup::simulated(stage, "porto", free_port(), 0.0, 440);
    let mut player = Player::start(stage, &setup);
    player.wait("cycles come", |status: &Status| status.cycles > 0);
    player
}

#[test]
fn a_healthy_trial_is_committed() {
    let stage = Stage::new();
    let card = Card::new(&stage);
    let _player = play(&stage);
    card.says(&["boot"]);
    card.says(&["health", "--limit", "9"]);
    assert_eq!(card.autoboot(), SHIPPED, "what is committed stays so");
    card.update();
    card.says(&["health", "--limit", "9"]);
    let swapped = SHIPPED.replace("=2", "=x").replace("=3", "=2").replace("=x", "=3");
    assert_eq!(card.autoboot(), swapped);
    assert_eq!(card.says(&["slots", "get-primary"]), "B\n");
    for slot in ["A", "B"] {
        assert_eq!(card.says(&["slots", "get-state", slot]), "good\n", "{slot}");
    }
    assert_eq!((card.facts().version.as_str(), card.facts().pending), ("1.1.0", None));
    assert_eq!(card.says(&["messages"]).lines().filter(|line| line.contains("health")).count(), 0);
    assert_eq!(card.asked(), "");
}

#[test]
fn a_trial_that_does_not_play_leads_back_with_a_reason_and_its_log() {
    let stage = Stage::new();
    let mut card = Card::new(&stage);
    card.update();
    card.units = RUNS.replacen("ActiveState=active", "ActiveState=failed", 1);
    card.says(&["health", "--limit", "1"]);
    assert_eq!(card.asked(), "--no-block reboot\n");
    assert_eq!(card.autoboot(), SHIPPED);
    let log = fs::read_to_string(stage.path("data/matriz-system/update/failed.log")).unwrap();
    assert_eq!(log, "matriz: the sound server is gone\n");

    card.runs('A', "1.0.0");
    card.says(&["boot"]);
    let told = "1.1.0 failed: matriz.service is failed, running 1.0.0";
    assert!(card.says(&["messages"]).lines().any(|line| line == told));
    assert_eq!(card.facts().failed.as_deref(), Some(told));
    assert_eq!(card.says(&["slots", "get-state", "B"]), "bad\n");
    assert_eq!(card.asked(), "", "it is not tried again");
}

#[test]
fn a_committed_slot_that_is_not_healthy_goes_on_and_says_so() {
    let stage = Stage::new();
    let card = Card::new(&stage);
    card.says(&["boot"]);
    card.says(&["health", "--limit", "1"]);
    assert_eq!(card.asked(), "");
    let told = "this start is not healthy: the box has no socket yet";
    assert!(card.says(&["messages"]).lines().any(|line| line == told));
}

#[test]
fn a_lost_arming_is_offered_again_and_a_kernel_that_does_not_come_is_given_up() {
    let stage = Stage::new();
    let card = Card::new(&stage);
    card.says(&["boot"]);
    card.says(&["slots", "set-primary", "B"]);
    card.says(&["slots", "name", "B", "1.1.0"]);
    card.says(&["slots", "try"]);
    assert_eq!(card.asked(), "--no-block reboot --reboot-argument=0 tryboot\n");
    for _ in 0..2 {
        card.says(&["boot"]);
        assert_eq!(card.asked(), "--no-block reboot --reboot-argument=0 tryboot\n");
        assert_eq!(card.facts().pending.as_deref(), Some("1.1.0 is tried at the next start"));
    }
    card.says(&["boot"]);
    assert_eq!(card.asked(), "");
    assert_eq!(card.facts().failed.as_deref(), Some("1.1.0 failed: it did not start, running 1.0.0"));
}

/// RAUC itself, on a bus of its own, with two files as slots; its service is ended by its number.
const RAUC: &str = "
export DBUS_STARTER_BUS_TYPE=session
rauc -c system.conf service --override-boot-slot=A 2>service.log & service=$!
trap 'kill $service; wait $service' EXIT
tries=0
until rauc -c system.conf status >/dev/null 2>status.log; do
    tries=$((tries + 1)); [ $tries -lt 200 ] || { cat status.log >&2; exit 1; }
done
for wish in 'mark-bad other' 'mark-active other' 'mark-bad other' 'mark-good other' 'mark-good booted'; do
    rauc -c system.conf status $wish >/dev/null 2>&1 && echo \"$wish: done\" || echo \"$wish: refused\"
    rauc -c system.conf status | grep Activated
done";

#[test]
fn rauc_asks_and_is_answered() {
    let stage = Stage::new();
    let card = Card::new(&stage);
    let here = stage.path("");
    let (matriz, root) = (env!("CARGO_BIN_EXE_matriz"), here.display());
    card.script("backend", &format!("exec '{matriz}' system --root '{root}' slots \"$@\""));
    let slot = |number: usize, name: &str| {
        fs::write(stage.path(name), [0; 4096]).unwrap();
        format!("[slot.rootfs.{number}]\ndevice={root}/{name}\ntype=raw\nbootname={name}\n")
    };
    let settings = format!(
        "[system]\ncompatible=matriz-rpi2\nbootloader=custom\nmountprefix={root}/mnt\ndata-directory={root}\n\
         [handlers]\nbootloader-custom-backend={root}/backend\n{}{}",
        slot(0, "A"),
        slot(1, "B")
    );
    card.write("system.conf", &settings);
    let mut rauc = Command::new("dbus-run-session");
    rauc.args(["--", "sh", "-c", RAUC]).current_dir(&here);
    let output = rauc.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (a, b) = ("Activated: rootfs.0 (A)", "Activated: rootfs.1 (B)");
    let wanted = [
        "mark-bad other: done",
        a,
        "mark-active other: done",
        b,
        "mark-bad other: done",
        a,
        "mark-good other: refused",
        a,
        "mark-good booted: done",
        a,
    ];
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().collect::<Vec<_>>(), wanted, "{told}");
    assert_eq!(card.autoboot(), SHIPPED);
    assert_eq!(card.says(&["slots", "get-state", "A"]), "good\n");
}

#[test]
fn what_rauc_may_not_do_is_a_failure_with_a_sentence() {
    let stage = Stage::new();
    let card = Card::new(&stage);
    card.update();
    let refused = |words: &[&str]| {
        let output = card.system(words);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{words:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let told = refused(&["slots", "set-state", "A", "bad"]);
    let sentence = "slot A is what the box falls back to while slot B is on trial: wait until it is judged";
    assert_eq!(told, format!("matriz: {sentence}\n"));
    assert!(refused(&["slots", "set-state", "A", "good"]).contains("slot A does not run"));
    card.write("proc/cmdline", "root=/dev/sda1\n");
    assert_eq!(refused(&["slots", "get-primary"]), "matriz: this computer is no box with two slots\n");
    assert_eq!(card.system(&["slots", "get-state", "C"]).status.code(), Some(2), "clap knows A and B");
}
