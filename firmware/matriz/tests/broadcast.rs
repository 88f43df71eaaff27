//! An audience hears the mix from an Icecast server, and is not cut off when musicians come and go. Whatever
//! is wrong with the server is a sentence, once, and the box plays on.
//!
//! Real processes: icecast2, ffmpeg as the listener, boxes with simulated cards that each hear a tone of
//! their own.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::icecast::{Icecast, Listener, PASSWORD};
use common::player::{Player, Setup, peer};
use common::process::Process;
use common::{Rendezvous, Stage, free_port, sound};
use ogg::PacketReader;
use serde_json::json;
use std::io::{Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The tones of porto and lisboa in hertz.
const PORTO: u32 = 500;
const LISBOA: u32 = 3_100;

/// The least level of a tone that is there, in dB; the cards hear it at -12.
const HEARD: f64 = -20.0;

/// porto, who broadcasts to this address.
fn porto(stage: &Stage, rendezvous: u16, url: &str) -> Setup {
    let mut setup = Setup::simulated(stage, "porto", rendezvous, 0.0, PORTO);
    setup.config["broadcast"] = json!({"url": url, "name": "Friday session"});
    setup
}

/// Waits until a box is on the air at this mount.
fn wait_on_air(player: &Player, mount: &str) {
    player.process.log.wait_for(&["on the air", mount]);
}

/// The share of windows in which a tone is there.
fn share(frames: &[f32], hertz: u32) -> f64 {
    let levels = sound::tone(frames, hertz);
    levels.iter().filter(|level| **level > HEARD).count() as f64 / levels.len() as f64
}

/// A connection to a mount that keeps every byte.
struct Tap(std::thread::JoinHandle<Vec<u8>>);

impl Tap {
    fn open(icecast: &Icecast, mount: &str) -> Tap {
        let mut stream = TcpStream::connect(("127.0.0.1", icecast.port)).unwrap();
        write!(stream, "GET /{mount} HTTP/1.0\r\n\r\n").unwrap();
        Tap(std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            bytes.split_off(head + 4)
        }))
    }

    /// What came until the server ended it.
    fn bytes(self) -> Vec<u8> {
        self.0.join().unwrap()
    }
}

/// The titles of all logical streams, in order; every packet is read, and every page checked.
fn titles(bytes: Vec<u8>) -> Vec<String> {
    let mut reader = PacketReader::new(Cursor::new(bytes));
    let mut titles = Vec::new();
    while let Some(packet) = reader.read_packet().unwrap() {
        if packet.data.starts_with(b"OpusTags") {
            let text = String::from_utf8_lossy(&packet.data);
            titles.push(text.split_once("TITLE=").unwrap().1.to_owned());
        }
    }
    titles
}

/// Waits for the sentence about a broadcast that has these words, and until three tries are over; asserts that
/// it was said once, that no password was, and that the box plays on.
fn complains_once(mut player: Player, words: &[&str]) {
    let sentence = player.process.log.wait_for(words);
    let then = player.last().uptime_ms;
    player.wait("it plays on", |status| status.uptime_ms > then + 2_000);
    player.stop();
    let said = player.process.log.sentences();
    assert_eq!(said.iter().filter(|line| line.contains("broadcast")).count(), 1, "{said:#?}");
    assert!(!said.join("").contains(PASSWORD.split(' ').next().unwrap()), "no password is said: {said:#?}");
    assert!(said.contains(&sentence), "{said:#?}");
}

#[test]
fn an_audience_hears_everybody_and_is_not_cut_off_when_somebody_comes_or_goes() {
    let stage = Stage::new();
    let icecast = Icecast::start(&stage, "");
    let rendezvous = Rendezvous::start(&stage, 0);
    let mut porto = Player::start(&stage, &porto(&stage, rendezvous.port, &icecast.source("mix.opus")));
    wait_on_air(&porto, &icecast.mount("mix.opus"));
    let listener = Listener::start(&stage, "audience", &[], &icecast.mount("mix.opus"));
    listener.wait(SECOND);
    let tap = Tap::open(&icecast, "mix.opus");
    listener.wait(3 * SECOND);

    let mut lisboa = Player::start(&stage, &Setup::simulated(&stage, "lisboa", rendezvous.port, 0.0, LISBOA));
    porto.wait_to_hear(&["lisboa"]);
    let joined = listener.played();
    listener.wait(joined + 4 * SECOND);
    let leaves = listener.played();
    lisboa.stop();
    porto.wait("lisboa has left", |status| peer(status, "lisboa").is_none());
    let left = listener.played();
    listener.wait(left + 4 * SECOND);
    let heard = listener.stop();
    porto.stop();

    let span = |from: Duration, to: Duration| {
        let at = |time: Duration| (time.as_secs_f64() * 48_000.0) as usize;
        &heard[at(from)..at(to)]
    };
    let end = left + 3 * SECOND;
    // From before the first word to after the last: through both changes of the title.
    assert!(share(span(SECOND / 2, end), PORTO) > 0.995, "porto is heard all the time");
    // What ffmpeg says that it has played is up to a second behind, and so is what it hears behind the box.
    assert!(share(span(SECOND / 2, joined.saturating_sub(2 * SECOND)), LISBOA) < 0.01, "before he came");
    assert!(share(span(joined + 2 * SECOND, leaves), LISBOA) > 0.99, "lisboa is heard while he is there");
    assert!(share(span(left + 2 * SECOND, end), LISBOA) < 0.01, "and not when he has left");

    let bytes = tap.bytes();
    let file = stage.path("stream.opus");
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(titles(bytes), ["porto", "porto and lisboa", "porto"]);
    let verdict = Command::new("opusinfo").arg(&file).output().unwrap();
    let verdict =
        String::from_utf8_lossy(&verdict.stdout).into_owned() + &String::from_utf8_lossy(&verdict.stderr);
    assert_eq!(verdict.matches("Pre-skip: 3840").count(), 3, "{verdict}");
    assert!(!verdict.contains("WARNING") && !verdict.contains("ERROR"), "{verdict}");
}

#[test]
fn each_site_has_a_stream_and_is_silence_while_it_is_away() {
    let stage = Stage::new();
    let icecast = Icecast::start(&stage, "");
    let rendezvous = Rendezvous::start(&stage, 0);
    let mut setup = porto(&stage, rendezvous.port, &icecast.source("mix.opus"));
    setup.config["broadcast"]["sites"] = json!(icecast.source("{name}.opus"));
    let mut porto = Player::start(&stage, &setup);
    let mut lisboa = Player::start(&stage, &Setup::simulated(&stage, "lisboa", rendezvous.port, 0.0, LISBOA));
    wait_on_air(&porto, &icecast.mount("lisboa.opus"));
    wait_on_air(&porto, &icecast.mount("porto.opus"));
    let own = Listener::start(&stage, "own", &[], &icecast.mount("porto.opus"));
    let site = Listener::start(&stage, "site", &[], &icecast.mount("lisboa.opus"));
    site.wait(3 * SECOND);
    let status = icecast.status();
    assert!(
        status.contains("Friday session: lisboa") && status.contains("Friday session: porto"),
        "{status}"
    );
    let leaves = site.played();
    lisboa.stop();
    porto.wait("lisboa has left", |status| peer(status, "lisboa").is_none());
    let left = site.played();
    site.wait(left + 4 * SECOND);
    let (own, site) = (own.stop(), site.stop());
    porto.stop();
    let at = |time: Duration| (time.as_secs_f64() * 48_000.0) as usize;
    assert!(share(&site[at(SECOND / 2)..at(leaves)], LISBOA) > 0.99, "lisboa is heard while he is there");
    let after = &site[at(left + 2 * SECOND)..at(left + 3 * SECOND)];
    assert!(after.iter().all(|frame| frame.abs() < 0.001), "then there is silence, and no end");
    assert!(share(&site, PORTO) < 0.01, "nobody else is in it");
    let own = &own[at(SECOND / 2)..at(3 * SECOND)];
    assert!(share(own, PORTO) > 0.99 && share(own, LISBOA) < 0.01, "porto's has porto alone");
}

#[test]
fn a_box_without_a_sound_card_sends_the_others_to_the_audience() {
    let stage = Stage::new();
    let icecast = Icecast::start(&stage, "");
    let rendezvous = Rendezvous::start(&stage, 0);
    let mut radio = Setup::jack("montemor", rendezvous.port, "no server at all");
    radio.config["broadcast"] = json!({"url": icecast.source("mix.opus")});
    let file = stage.write("radio.json", &format!("{:#}", radio.config));
    let mut command = stage.matriz(&["broadcast"]);
    let mut radio = Process::start("radio", command.arg(file));
    let mut lisboa = Player::start(&stage, &Setup::simulated(&stage, "lisboa", rendezvous.port, 0.0, LISBOA));
    lisboa.wait_to_hear(&["montemor"]);
    radio.log.wait_for(&["on the air", &icecast.mount("mix.opus")]);
    radio.log.wait_for(&["playing with lisboa"]);
    let listener = Listener::start(&stage, "audience", &[], &icecast.mount("mix.opus"));
    listener.wait(2 * SECOND);
    let tap = Tap::open(&icecast, "mix.opus");
    listener.wait(listener.played() + 3 * SECOND);
    let heard = listener.stop();
    radio.terminate();
    lisboa.stop();
    assert!(share(&heard[heard.len() - 96_000..heard.len() - 24_000], LISBOA) > 0.99, "lisboa is heard");
    let titles = titles(tap.bytes());
    assert_eq!(titles.last().unwrap(), "lisboa");
    assert!(!titles.iter().any(|title| title.contains("montemor")), "it does not name itself: {titles:?}");

    let file = stage.write("none.json", &format!("{:#}", Setup::jack("porto", 1, "none").config));
    let mut without = Process::start("without", stage.matriz(&["broadcast"]).arg(file));
    assert_eq!(without.wait().code(), Some(1));
    without.log.wait_for(&["matriz: ", "none.json", "the key \"broadcast\" is missing"]);
}

#[test]
fn when_the_box_starts_again_listeners_wait_at_the_other_mount_and_come_back() {
    let stage = Stage::new();
    let mounts = "<mount>
        <mount-name>/mix.opus</mount-name>
        <fallback-mount>/pause.opus</fallback-mount>
        <fallback-override>1</fallback-override>
        </mount>";
    let icecast = Icecast::start(&stage, mounts);
    let pause = icecast.pause(&stage, "pause.opus");
    let rendezvous = Rendezvous::start(&stage, 0);
    let setup = porto(&stage, rendezvous.port, &icecast.source("mix.opus"));
    let mut porto = Player::start(&stage, &setup);
    wait_on_air(&porto, &icecast.mount("mix.opus"));
    let listener = Listener::start(&stage, "audience", &[], &icecast.mount("mix.opus"));
    listener.wait(2 * SECOND);
    porto.stop();
    let stopped = listener.played();
    listener.wait(stopped + 3 * SECOND);
    let mut porto = Player::start(&stage, &setup);
    wait_on_air(&porto, &icecast.mount("mix.opus"));
    let again = listener.played();
    listener.wait(again + 5 * SECOND);
    let heard = listener.stop();
    porto.stop();
    drop(pause);
    let at = |time: Duration| (time.as_secs_f64() * 48_000.0) as usize;
    assert!(share(&heard[at(SECOND / 2)..at(stopped.saturating_sub(SECOND / 2))], PORTO) > 0.99, "before");
    assert!(share(&heard[at(stopped + 2 * SECOND)..at(stopped + 3 * SECOND)], PORTO) < 0.01, "silence");
    assert!(share(&heard[at(again + 3 * SECOND)..at(again + 4 * SECOND)], PORTO) > 0.99, "and after");
}

#[test]
fn a_server_that_was_away_is_found_again() {
    let stage = Stage::new();
    let mut icecast = Icecast::start(&stage, "");
    let mut porto = Player::start(&stage, &porto(&stage, free_port(), &icecast.source("mix.opus")));
    wait_on_air(&porto, &icecast.mount("mix.opus"));
    icecast.process.kill();
    porto.process.log.wait_for(&["broadcast: ", &format!("127.0.0.1:{}", icecast.port), "trying again"]);
    let icecast = Icecast::start_at(&stage, icecast.port, "");
    porto.process.log.wait("it is on the air again", |lines| {
        (lines.iter().filter(|line| line.contains("on the air")).count() == 2).then_some(())
    });
    let listener = Listener::start(&stage, "audience", &[], &icecast.mount("mix.opus"));
    listener.wait(2 * SECOND);
    let heard = listener.stop();
    porto.stop();
    assert!(share(&heard[24_000..72_000], PORTO) > 0.99, "porto is heard again");
}

#[test]
fn what_is_wrong_with_the_server_is_said_once_and_the_box_plays_on() {
    let stage = Stage::new();
    let icecast = Icecast::start(&stage, "");
    let server = format!("127.0.0.1:{}", icecast.port);
    let box_at = |url: &str| Player::start(&stage, &porto(&stage, free_port(), url));

    complains_once(
        box_at(&format!("http://source:tremolo%20bar@{server}/mix.opus")),
        &[
            "porto.json, line ",
            &server,
            "does not accept user and password for /mix.opus",
            "\"broadcast.url\"",
        ],
    );
    let nobody = free_port();
    complains_once(
        box_at(&format!("http://source:tremolo@127.0.0.1:{nobody}/mix.opus")),
        &["broadcast: nobody listens at 127.0.0.1", &nobody.to_string(), "\"broadcast.url\"", "trying again"],
    );
    complains_once(
        box_at("http://source:tremolo@no.such.host.invalid:8000/mix.opus"),
        &["broadcast: the name no.such.host.invalid does not resolve", "check \"broadcast.url\""],
    );
    let _other = icecast.pause(&stage, "mix.opus");
    complains_once(
        box_at(&icecast.source("mix.opus")),
        &[
            "broadcast: somebody else sends to /mix.opus at",
            &server,
            "write another mount in \"broadcast.url\"",
        ],
    );
}

#[test]
fn a_server_that_takes_nothing_is_given_up_and_never_holds_up_the_box() {
    let stage = Stage::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::setsockopt(&server, nix::sys::socket::sockopt::RcvBuf, &4_096).unwrap();
    let address = server.local_addr().unwrap();
    let mut porto = Player::start(
        &stage,
        &porto(&stage, free_port(), &format!("http://source:tremolo@{address}/mix.opus")),
    );
    let (mut stuck, _) = server.accept().unwrap();
    let mut request = [0; 2_048];
    let length = stuck.read(&mut request).unwrap();
    assert!(request[..length].starts_with(b"PUT /mix.opus HTTP/1.1\r\n"));
    stuck.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    let sentence = porto.process.log.wait_for(&["broadcast: ", "takes no sound for 10 s; trying again"]);
    assert!(sentence.contains(&address.to_string()), "{sentence}");
    let (_again, _) = server.accept().unwrap();
    let status = porto.last();
    assert!(status.cycles + 400 > status.uptime_ms * 2 / 5, "the card was never held up: {status:?}");
    porto.stop();
}
