//! Whatever is wrong, a box says so in one sentence: what it is, where (file, line, key), and what to do.
//! Then it ends, or waits if waiting may help.
//!
//! The sentences are quoted from real processes; what they must contain is what a musician needs.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::jackd::server_name;
use common::player::{Player, Setup};
use common::process::Process;
use common::{Rendezvous, Stage, free_port, sound};
use serde_json::{Value, json};
use std::net::UdpSocket;

/// A box that is told to play, and ends with a sentence.
fn complaint(stage: &Stage, arguments: &[&str]) -> String {
    complaint_of(Process::start("matriz", &mut stage.matriz(arguments)))
}

fn complaint_of(mut process: Process) -> String {
    let ended = process.wait();
    assert!(ended.code().is_some_and(|code| code != 0), "it ends with {ended}: {}", process.log);
    assert_eq!(process.out.to_the_end(), [""; 0], "standard output is for the status");
    let mut said = process.log.sentences();
    assert_eq!(said.len(), 1, "one sentence: {said:#?}");
    said.remove(0)
}

/// The sentence of a box whose configuration is as usual but for `changes`. It is written a key a line,
/// the changed ones last, so that the last of them is in line 8.
fn complaint_about(stage: &Stage, changes: &Value) -> String {
    let setup = Setup::simulated(stage, "porto", free_port(), 0.0, 440);
    let mut config = setup.config;
    for (key, value) in changes.as_object().unwrap() {
        config.as_object_mut().unwrap().shift_remove(key);
        config[key] = value.clone();
    }
    let lines: Vec<String> =
        config.as_object().unwrap().iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
    stage.write("client.json", &format!("{{{}}}", lines.join(",\n")));
    complaint(stage, &[])
}

/// Asserts that a sentence has all these words in it, in this order.
fn assert_says(sentence: &str, words: &[&str]) {
    let mut rest = sentence;
    for word in words {
        let Some(at) = rest.find(word) else { panic!("{word:?} is missing, or too early, in: {sentence}") };
        rest = &rest[at + word.len()..];
    }
}

#[test]
fn without_a_configuration_it_shows_the_least_that_one_must_say() {
    let stage = Stage::new();
    let example = r#"{"name": "porto", "key": "key1", "url": "ws://localhost:5000/config"}"#;
    let sentence = complaint(&stage, &[]);
    assert_says(&sentence, &["matriz: no configuration", "client.json", "matriz.toml", "write", example]);
    let sentence = complaint(&stage, &["mine.json"]);
    assert_says(&sentence, &["matriz: mine.json cannot be read", "no such file", example]);
}

#[test]
fn a_mistake_in_the_configuration_is_told_with_file_line_and_key() {
    let stage = Stage::new();
    stage.write(
        "client.json",
        "{\"name\": \"porto\",\n \"key\": \"key1\"\n \"url\": \"ws://localhost:5000/config\"}",
    );
    let sentence = complaint(&stage, &[]);
    assert_says(&sentence, &["matriz: client.json, line 3", "not JSON", "comma"]);

    let sentence = complaint_about(&stage, &json!({"sond": "jack"}));
    assert_says(&sentence, &["matriz: client.json, line 9", "no key \"sond\"", "did you mean \"sound\"?"]);

    for url in ["http://127.0.0.1:5000/config", "nonsense", "ws://"] {
        let sentence = complaint_about(&stage, &json!({"url": url}));
        let wanted =
            ["matriz: client.json, line 8", "\"url\" must be an address", "ws://localhost:5000/config", url];
        assert_says(&sentence, &wanted);
    }
}

#[test]
fn a_taken_port_is_told_with_its_key_and_what_to_do() {
    let stage = Stage::new();
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let sentence = complaint_about(&stage, &json!({"media_port": port}));
    let port = format!("UDP port {port} is taken");
    assert_says(&sentence, &["matriz: client.json, line 8", &port, "set \"media_port\" to another number"]);

    let rendezvous = Rendezvous::start(&stage, 0);
    let address = format!("127.0.0.1:{}", rendezvous.port);
    let second = Process::start("second rendezvous", &mut stage.rendezvous_at(rendezvous.port));
    let sentence = complaint_of(second);
    let cannot = format!("matriz-rendezvous: cannot listen on {address}");
    assert_says(&sentence, &[&cannot, "stop what uses it", "--listen ADDRESS:PORT"]);
}

#[test]
fn a_sound_file_that_cannot_be_played_is_told_with_the_line_that_names_it() {
    let stage = Stage::new();
    let playing = |file: &str| complaint_about(&stage, &json!({"simulated": {"input": file}}));
    assert_says(
        &playing("none.wav"),
        &["matriz: client.json, line 8", "none.wav cannot be read", "No such file", "name a WAV file"],
    );

    stage.write("text.wav", "la la la");
    assert_says(
        &playing("text.wav"),
        &["matriz: client.json, line 8", "text.wav cannot be read", "name a WAV file"],
    );

    sound::write(&stage.path("cd.wav"), 44_100, std::iter::repeat_n(0.0, 4_410));
    let sentence = playing("cd.wav");
    assert_says(
        &sentence,
        &["matriz: client.json, line 8", "cd.wav has 44100 Hz", "48000 Hz", "`sox cd.wav -r 48000"],
    );

    let sentence = complaint_about(&stage, &json!({"simulated": {"output": "nowhere/out.wav"}}));
    assert_says(&sentence, &["matriz: client.json, line 8", "nowhere/out.wav cannot be written"]);
}

/// A box that waits, until it has waited for as long as three tries; the one sentence that it said.
fn waits(stage: &Stage, setup: &Setup) -> String {
    let mut player = Player::start(stage, setup);
    player.wait("it has tried for a while", |status| status.uptime_ms > 2_500);
    player.stop();
    let mut said = player.process.log.sentences();
    assert_eq!(said.len(), 1, "one sentence, once: {said:#?}");
    said.remove(0)
}

#[test]
fn a_rendezvous_that_does_not_answer_or_does_not_want_the_box_is_told_once_and_tried_again() {
    let stage = Stage::new();
    let mut setup = Setup::simulated(&stage, "porto", free_port(), 0.0, 440);
    let nobody = setup.config["url"]
        .as_str()
        .unwrap()
        .trim_start_matches("ws://")
        .trim_end_matches("/config")
        .to_owned();
    assert_says(
        &waits(&stage, &setup),
        &[&format!("nobody listens at {nobody}"), "matriz-rendezvous", "\"url\"", "again"],
    );

    let rendezvous = Rendezvous::start(&stage, 0);
    let address = format!("127.0.0.1:{}", rendezvous.port);
    setup.config["url"] = json!(format!("ws://{address}/"));
    assert_says(&waits(&stage, &setup), &[&address, "no path /", "is the path in \"url\" /config?"]);

    setup.config["url"] = json!(format!("ws://{address}/config"));
    setup.config["key"] = json!("key of nobody");
    let sentence = waits(&stage, &setup);
    assert_says(
        &sentence,
        &["porto.json, line 3", "refused", &address, "does not know this key", "check \"key\""],
    );
    assert!(!sentence.contains("key of nobody"), "a secret is not logged: {sentence}");

    setup.config["key"] = json!("key3");
    let sentence = waits(&stage, &setup);
    assert_says(&sentence, &["porto.json, line 3", "refused", &address, "\"name\""]);
}

#[test]
fn of_two_boxes_with_the_same_key_the_first_is_told_what_happened() {
    let stage = Stage::new();
    let rendezvous = Rendezvous::start(&stage, 0);
    let setup = Setup::simulated(&stage, "porto", rendezvous.port, 0.0, 440);
    let mut first = Player::start(&stage, &setup);
    first.wait("it is connected", |status| status.rendezvous == "connected");
    let mut second = Player::start(&stage, &setup);
    second.wait("it is connected", |status| status.rendezvous == "connected");
    let status = first.wait("it is replaced", |status| status.rendezvous != "connected");
    assert_says(
        &status.rendezvous,
        &["refused", "Another connection has registered with this key", "give each box its own"],
    );
    let sentence = first.process.log.wait_for(&["refused"]);
    assert_says(&sentence, &["porto.json, line 3", &status.rendezvous]);
    assert!(first.is_there() && second.is_there());
    assert_eq!(second.last().rendezvous, "connected");
}

#[test]
fn without_a_jack_server_it_says_how_to_start_one_and_waits() {
    let stage = Stage::new();
    let server = server_name("nobody");
    let mut player = Player::start(&stage, &Setup::jack("porto", free_port(), &server));
    let sentence = player.process.log.wait_for(&["no JACK server"]);
    assert_says(
        &sentence,
        &[&server, "start one", "jackd -d alsa -r 48000", "\"sound\" to \"simulated\"", "waiting for it"],
    );
    player.stop();
    assert_eq!(player.process.log.sentences().len(), 1);
}

#[test]
fn a_network_card_that_is_not_there_is_told_and_done_without() {
    let stage = Stage::new();
    let rendezvous = Rendezvous::start(&stage, 0);
    let mut setup = Setup::simulated(&stage, "porto", rendezvous.port, 0.0, 440);
    setup.config["interface"] = json!("eth7");
    let sentence = waits(&stage, &setup);
    assert_says(&sentence, &["porto.json, line ", "no network card \"eth7\"", "there is "]);
}
