//! What a musician types reaches his box and is heard at the others; what is wrong is a sentence and an exit code.
//!
//! Real processes: boxes with simulated cards, `matriz` with its verbs, and a terminal (tmux) for the live table.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::player::{Player, Setup, peer};
use common::{PATIENCE, Rendezvous, Stage, free_port};
use proto::control::{PeerStatus, Status};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// What came of a verb.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn socket(stage: &Stage, name: &str) -> PathBuf {
    stage.path(&format!("run/matriz/{name}.sock"))
}

/// `matriz` with these words.
fn matriz(stage: &Stage, words: &[&str]) -> Said {
    let output = stage.matriz(words).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// The same, to the box of that name, which does it.
fn tell(stage: &Stage, name: &str, words: &[&str]) -> String {
    let socket = socket(stage, name);
    let said = matriz(stage, &[words, &["--socket", socket.to_str().unwrap()]].concat());
    assert_eq!(said.code, 0, "{words:?}: {said:?}");
    said.out
}

fn status(stage: &Stage, name: &str) -> Status {
    serde_json::from_str(&tell(stage, name, &["status", "--json"])).unwrap()
}

fn two(stage: &Stage) -> (Rendezvous, Player, Player) {
    let rendezvous = Rendezvous::start(stage, 0);
    let start =
        |name, hertz| Player::start(stage, &Setup::simulated(stage, name, rendezvous.port, 0.0, hertz));
    let (mut porto, mut lisboa) = (start("porto", 500), start("lisboa", 3_100));
    porto.wait_to_hear(&["lisboa"]);
    lisboa.wait_to_hear(&["porto"]);
    (rendezvous, porto, lisboa)
}

fn says(player: &mut Player, what: &str, of: &str, wanted: impl Fn(&PeerStatus) -> bool) {
    player.wait(what, |status| peer(status, of).is_some_and(&wanted));
}

#[test]
fn what_is_said_to_one_box_is_heard_at_the_other() {
    let stage = Stage::new();
    let (rendezvous, mut porto, mut lisboa) = two(&stage);
    tell(&stage, "porto", &["mute"]);
    says(&mut lisboa, "porto has muted itself, and is silent", "porto", |peer| {
        peer.muted_itself && peer.level_db < -100.0 && peer.connected
    });
    assert!(status(&stage, "porto").muted);
    tell(&stage, "porto", &["unmute"]);
    says(&mut lisboa, "porto is loud again", "porto", |peer| !peer.muted_itself && peer.level_db > -20.0);

    tell(&stage, "porto", &["volume", "lisboa", "-20"]);
    tell(&stage, "porto", &["pan", "lisboa", "left"]);
    tell(&stage, "porto", &["solo", "lisboa"]);
    tell(&stage, "porto", &["gain", "-6"]);
    says(&mut porto, "it has lisboa's fader", "lisboa", |peer| {
        (peer.volume_db, peer.pan, peer.solo, peer.muted) == (-20.0, -1.0, true, false)
    });
    says(&mut lisboa, "porto is 6 dB quieter", "porto", |peer| (peer.level_db + 21.1).abs() < 1.0);
    let table = tell(&stage, "porto", &["status"]);
    for words in
        ["takes part", "gain -6.0 dB", "volume -20.0 dB, pan 100 % left, solo", "simulated, period 120"]
    {
        assert!(table.contains(words), "{words} is missing:\n{table}");
    }
    assert!(tell(&stage, "porto", &["peers"]).starts_with("lisboa                   heard"));

    tell(&stage, "porto", &["leave"]);
    lisboa.wait("porto has left", |status| status.peers.is_empty());
    let left = status(&stage, "porto");
    assert!(!left.in_session && left.peers.is_empty() && left.machine.plays, "{left:?}");
    tell(&stage, "porto", &["join"]);
    porto.wait_to_hear(&["lisboa"]);
    lisboa.wait_to_hear(&["porto"]);

    // Faders and gain are kept over a restart; whoever edits the settings' gain has that.
    porto.stop();
    lisboa.wait("porto has ended", |status| status.peers.is_empty());
    let setup = Setup::simulated(&stage, "porto", rendezvous.port, 0.0, 500);
    let mut porto = Player::start(&stage, &setup);
    says(&mut porto, "it remembers lisboa's fader", "lisboa", |peer| {
        peer.connected && (peer.volume_db, peer.pan, peer.solo) == (-20.0, -1.0, true)
    });
    assert_eq!(status(&stage, "porto").gain_db, -6.0);
    porto.stop();
    let mut setup = Setup::simulated(&stage, "porto", rendezvous.port, 0.0, 500);
    setup.config["gain_db"] = json!(-3.0);
    let mut porto = Player::start(&stage, &setup);
    porto.wait("the settings' gain", |status| status.cycles > 0 && status.gain_db == -3.0);
}

#[test]
fn another_name_is_kept_and_its_refusal_is_told() {
    let stage = Stage::new();
    let (_rendezvous, mut porto, mut lisboa) = two(&stage);
    let said = tell(&stage, "porto", &["name", "gaia"]);
    assert!(said.contains("gaia"), "{said}");
    // The rendezvous knows no gaia with this key.
    let status = porto.wait("why it may not be gaia", |status| status.rendezvous.contains("refused"));
    assert!(status.name == "gaia" && status.messages.contains(&status.rendezvous), "{status:?}");
    lisboa.wait("porto has left", |status| status.peers.is_empty());
    porto.stop();
    let kept = std::fs::read_to_string(stage.path("state/matriz/porto.json")).unwrap();
    assert!(kept.contains("gaia"), "{kept}");
    let before = Setup {
        name: "porto".to_owned(),
        config: serde_json::from_str(&read(&stage, "porto.json")).unwrap(),
    };
    let mut porto = Player::start(&stage, &before);
    porto.wait("it is still gaia", |status| status.name == "gaia");
    tell(&stage, "porto", &["name", "porto"]);
    lisboa.wait_to_hear(&["porto"]);
}

fn read(stage: &Stage, name: &str) -> String {
    std::fs::read_to_string(stage.path(name)).unwrap()
}

#[test]
fn a_recording_is_begun_and_ended_by_a_word() {
    let stage = Stage::new();
    let mut setup = Setup::simulated(&stage, "porto", free_port(), 0.0, 500);
    setup.config["record_folder"] = json!("takes");
    let mut porto = Player::start(&stage, &setup);
    porto.wait("it plays", |status| status.cycles > 0);
    let said = matriz(&stage, &["record", "stop"]);
    assert!(said.code == 1 && said.err.contains("no recording is under way"), "{said:?}");
    let said = tell(&stage, "porto", &["record", "start"]);
    assert!(said.starts_with("recording into ") && said.contains("takes"), "{said}");
    let status = porto.wait("it records", |status| status.recording.is_some());
    let folder = PathBuf::from(status.recording.unwrap());
    let begun = status.card_time;
    porto.wait("a second is over", |status| status.card_time > begun + std::time::Duration::from_secs(1));
    tell(&stage, "porto", &["record", "stop"]);
    porto.wait("it does not record", |status| status.recording.is_none());
    porto.process.log.wait_for(&["recorded 0:00:0"]);
    let wav = folder.join("01 porto.wav");
    assert!(std::fs::metadata(&wav).unwrap().len() > 48_000, "{}", wav.display());
}

#[test]
fn what_is_wrong_is_a_sentence_and_an_exit_code() {
    let stage = Stage::new();
    let said = matriz(&stage, &["status"]);
    assert!(said.code == 3 && said.err.contains("no box plays on this computer"), "{said:?}");
    assert_eq!(matriz(&stage, &["volume", "lisboa", "loud"]).code, 2);
    let (_rendezvous, _porto, lisboa) = two(&stage);
    let said = matriz(&stage, &["mute"]);
    assert!(
        said.code == 3 && said.err.contains("more than one box") && said.err.contains("lisboa.sock"),
        "{said:?}"
    );
    drop(lisboa);
    for (words, wanted) in [
        (&["volume", "marte", "-3"][..], "nobody called \"marte\" is here or was; there are: lisboa"),
        (&["volume", "lisboa", "-99"], "from -60 to 20"),
        (&["pan", "lisboa", "2"], "from -1 (left) to 1 (right)"),
        (&["name", "a/b"], "the name must be 1 to 32 letters"),
        (&["power-off"], "does not switch its computer off"),
        (&["status", "--watch"], "this is none"),
    ] {
        let said = matriz(&stage, words);
        assert!(
            said.code == 1 && said.err.contains(wanted) && said.err.lines().count() == 1,
            "{words:?}: {said:?}"
        );
    }
    let said = matriz(&stage, &["volume", "marte", "-3", "--json"]);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert!(said.code == 1 && answer["ok"] == false && said.err.is_empty(), "{said:?}");
    let mode = std::fs::metadata(socket(&stage, "porto")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
}

#[test]
fn power_off_asks_systemd_on_a_computer_that_is_a_box() {
    let stage = Stage::new();
    let program = stage.write("systemctl", "#!/bin/sh\necho \"$@\" > asked\n");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let mut setup = Setup::simulated(&stage, "porto", free_port(), 0.0, 500);
    setup.config["power_off"] = json!(true);
    let folder = stage.path("");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut porto = Player::start_with(&stage, &setup, |command| {
        command.env("PATH", path);
    });
    porto.wait("it plays", |status| status.cycles > 0);
    tell(&stage, "porto", &["power-off"]);
    assert_eq!(read(&stage, "asked"), "poweroff\n");
}

#[test]
fn without_a_card_a_box_is_reached_and_says_what_it_lacks() {
    let stage = Stage::new();
    let setup = Setup::jack("porto", free_port(), "there-is-no-such-server");
    let porto = Player::start(&stage, &setup);
    porto.process.log.wait_for(&["JACK"]);
    tell(&stage, "porto", &["mute"]);
    let status = status(&stage, "porto");
    assert!(status.muted && !status.machine.plays && status.messages[0].contains("JACK"), "{status:?}");
}

#[test]
fn completions_and_man_pages_know_every_verb() {
    let stage = Stage::new();
    let verbs = [
        "status",
        "peers",
        "mute",
        "unmute",
        "volume",
        "pan",
        "solo",
        "gain",
        "leave",
        "join",
        "name",
        "record",
        "power-off",
        "doctor",
        "update",
        "panel",
    ];
    let page = matriz(&stage, &["man"]).out;
    for shell in ["bash", "zsh", "fish"] {
        let text = matriz(&stage, &["completions", shell]).out;
        for verb in verbs {
            assert!(text.contains(verb), "{verb} is missing for {shell}");
            let shown = verb.replace('-', "\\-");
            assert!(
                page.contains(&format!("matriz\\-{shown}")),
                "{verb} is missing in the man page:\n{page}"
            );
        }
    }
    assert_eq!(matriz(&stage, &["man", "pages"]).code, 0);
    for verb in verbs {
        assert!(stage.path(&format!("pages/matriz-{verb}.1")).exists(), "{verb}");
    }
}

#[test]
fn the_doctor_looks_at_this_computer() {
    let stage = Stage::new();
    let said = matriz(&stage, &["doctor", "--json"]);
    let findings: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    let bad = findings.iter().any(|finding| finding["verdict"] == "bad");
    assert_eq!(said.code, i32::from(bad), "{said:?}");
    for what in ["governor", "realtime", "memlock", "card", "clock", "disk", "kernel", "command line", "box"]
    {
        assert!(findings.iter().any(|finding| finding["what"] == what), "{what} is missing: {findings:#?}");
    }
}

/// A terminal of 80 by 24 in which a program runs; ends with its server.
struct Terminal<'a> {
    stage: &'a Stage,
}

impl<'a> Terminal<'a> {
    fn tmux(stage: &Stage, words: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(stage.path("tmux")).args(["-f", "/dev/null"]).args(words);
        tmux.env("XDG_RUNTIME_DIR", stage.path("run")).env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color");
        let output = tmux.current_dir(stage.path("")).output().expect("tmux is in .ci/packages.txt");
        String::from_utf8(output.stdout).unwrap()
    }

    fn run(stage: &'a Stage, program: &Path, words: &str) -> Terminal<'a> {
        let command = format!("{} {words}", program.display());
        Terminal::tmux(stage, &["new-session", "-d", "-x", "80", "-y", "24", "-s", "t", &command]);
        Terminal { stage }
    }

    /// Waits until the screen is as wanted.
    fn wait(&self, what: &str, wanted: impl Fn(&[&str]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = Terminal::tmux(self.stage, &["capture-pane", "-p", "-t", "t"]);
            let lines: Vec<&str> = screen.lines().collect();
            if wanted(&lines) {
                return;
            }
            assert!(Instant::now() < deadline, "the screen should show {what}:\n{screen}");
        }
    }

    fn press(&self, key: &str) {
        Terminal::tmux(self.stage, &["send-keys", "-t", "t", key]);
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        Terminal::tmux(self.stage, &["kill-server"]);
    }
}

#[test]
fn the_live_table_is_whole_on_a_terminal_of_80_by_24() {
    let stage = Stage::new();
    let (_rendezvous, _porto, _lisboa) = two(&stage);
    let words = format!("status --watch --socket {}", socket(&stage, "porto").display());
    let terminal = Terminal::run(&stage, Path::new(env!("CARGO_BIN_EXE_matriz")), &words);
    terminal.wait("porto, itself, and lisboa with a meter", |lines| {
        lines.len() == 24
            && lines[0] == "porto   connected"
            && lines[1].starts_with("you             ████")
            && lines[3].starts_with("peer             level                delay   depth  lost  late  set")
            && lines[4].starts_with("lisboa           ████")
            && lines[4].contains(" ms ")
            && lines[5..23].iter().all(|line| line.is_empty())
            && lines[23] == "q ends this; the box plays on"
    });
    tell(&stage, "porto", &["mute", "lisboa"]);
    terminal.wait("that lisboa is muted", |lines| lines[4].ends_with(" muted"));
    tell(&stage, "porto", &["mute"]);
    terminal.wait("that porto is muted", |lines| lines[1].ends_with("muted"));
    terminal.press("q");
    let deadline = Instant::now() + PATIENCE;
    while !Terminal::tmux(&stage, &["list-sessions"]).is_empty() {
        assert!(Instant::now() < deadline, "q does not end it");
    }
}
