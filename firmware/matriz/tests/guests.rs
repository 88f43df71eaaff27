//! A box hears whoever plays as the original did, by UDP and by TCP, in its own sessions and in those of an original
//! server; and everyone hears everyone. Who is no such thing costs nobody anything.
//!
//! Real boxes with simulated cards, against GStreamer's RTSP server with the original's pipelines. What the boxes record
//! must be the tone that was played.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::jackd::{Jackd, server_name};
use common::original::{self, Client, emitter, emitter_with, tone};
use common::player::{Player, Setup, is_heard, peer};
use common::process::Process;
use common::{PATIENCE, Rendezvous, Stage, free_port, now, sound};
use proto::control::PeerStatus;
use proto::units::Time;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// What the configuration's guest is called, on loopback.
const GUEST: &str = "127.0.0.1";

/// A box at a rendezvous that receives from an RTSP server besides.
fn receiving(stage: &Stage, rendezvous: u16, ip: &str, port: u16) -> Setup {
    let mut setup = Setup::simulated(stage, "porto", rendezvous, 40.0, 440);
    setup.config["receive"] = json!(true);
    setup.config["receive_from_ip"] = json!(ip);
    setup.config["receive_from_port"] = json!(port);
    setup
}

/// A box alone, without a rendezvous, that receives from an RTSP server at this port of loopback.
fn receiver(stage: &Stage, port: u16) -> Player {
    Player::start(stage, &receiving(stage, free_port(), GUEST, port))
}

/// Share of the windows that may be broken: one in so many, on any good day; and where the sound comes through JACK, which
/// loses cycles of its dummy card when the machine is busy, before anything is sent.
const GOOD_DAY: usize = 50;
const ON_JACK: usize = 8;

/// Windows that are broken by a packet of 20 ms that was not there.
const OF_A_PACKET: usize = 5;

/// Asserts that these levels are those of a tone of −12 dB, hardly ever broken but by packets that were concealed.
fn assert_tone(what: &str, levels: &[f64], one_in: usize, concealed: usize) {
    let level = sound::median(levels);
    assert!((-13.0..-11.0).contains(&level), "{what}: a tone of -12 dB is heard at {level:.1} dB");
    let broken = levels.iter().filter(|value| (*value - level).abs() > 1.0).count();
    assert!(
        broken <= levels.len() / one_in + OF_A_PACKET * concealed,
        "{what}: {broken} of {} windows are broken, and {concealed} packets were concealed",
        levels.len()
    );
}

/// Asserts that a box heard the tone of `from` in this span, and nothing beside it. On a machine that is busy, packets come
/// late and are concealed, but few.
fn assert_heard(player: &Player, from: &str, hertz: u32, one_in: usize, (begun, until): (Time, Time)) {
    let count = |of: fn(&PeerStatus) -> u64| {
        player.counted(begun, until, |status| peer(status, from).map_or(0, of)) as usize
    };
    let (concealed, received) = (count(|peer| peer.concealed), count(|peer| peer.received));
    let overruns = player.counted(begun, until, |status| status.overruns) as usize;
    let (recording, what) = (player.recording(), format!("{hertz} Hz at {}", player.name));
    assert!(
        concealed <= received / 20 + overruns,
        "{what}: {concealed} of {received} packets were concealed, but only {overruns} cycles were late"
    );
    assert_tone(&what, &recording.tone(hertz, begun, until), one_in, concealed + overruns);
    let beside = sound::median(&recording.tone(hertz + 300, begun, until));
    assert!(beside < -50.0, "{what}: 300 Hz beside it there are {beside:.1} dB");
}

/// Waits until the box hears the guest, lets it play for so long, and asserts that all but the first second was good.
fn play(porto: &mut Player, guest: &str, hertz: u32, one_in: usize, seconds: u32) {
    porto.wait_to_hear(&[guest]);
    let begun = now();
    porto.wait_until(begun + seconds * SECOND);
    porto.stop();
    assert_heard(porto, guest, hertz, one_in, (begun + SECOND, begun + seconds * SECOND));
}

#[test]
fn the_originals_emitter_is_heard_by_udp_and_its_session_is_kept() {
    let stage = Stage::new();
    let port = free_port();
    // Without a sign of life its sessions end after 7 s.
    let _emitter = emitter(port, &tone(1_300), &["timeout=2"]);
    let mut porto = receiver(&stage, port);
    play(&mut porto, GUEST, 1_300, GOOD_DAY, 12);
    let last = porto.last();
    let guest = peer(&last, GUEST).unwrap();
    assert_eq!(guest.way, format!("rtsp://127.0.0.1:{port}"));
    assert!((guest.sends.packet_ms - 20.0).abs() < 0.01 && guest.sends.format.to_string() == "Opus stereo");
    assert!(guest.received > 500 && guest.lost == 0, "{guest:?}");
}

#[test]
fn the_originals_emitter_is_heard_by_tcp() {
    let stage = Stage::new();
    let port = free_port();
    let _emitter = emitter(port, &tone(1_300), &["tcp"]);
    let mut porto = receiver(&stage, port);
    play(&mut porto, GUEST, 1_300, GOOD_DAY, 6);
    assert_eq!(peer(&porto.last(), GUEST).unwrap().way, format!("rtsp://127.0.0.1:{port} (TCP)"));
}

#[test]
fn when_nothing_comes_by_udp_the_originals_emitter_is_heard_by_tcp() {
    let stage = Stage::new();
    let port = free_port();
    let _emitter = emitter(port, &tone(1_300), &[]);
    // Its RTP comes from 127.0.0.1, which is not the guest that was called, so nobody believes it.
    let mut porto = Player::start(&stage, &receiving(&stage, free_port(), "127.0.0.2", port));
    porto.process.log.wait_for(&["127.0.0.2 is not heard", "nothing comes by UDP"]);
    play(&mut porto, "127.0.0.2", 1_300, GOOD_DAY, 5);
    assert_eq!(peer(&porto.last(), "127.0.0.2").unwrap().way, format!("rtsp://127.0.0.2:{port} (TCP)"));
}

#[test]
fn the_originals_emitter_on_jack_is_heard_to_the_letter() {
    let stage = Stage::new();
    let jackd = Jackd::start(&server_name("guests"), 1_024);
    let of_server = |command: &mut Command| {
        command.env("JACK_DEFAULT_SERVER", &jackd.server);
    };
    let port = free_port();
    let _emitter = emitter_with(port, "jackaudiosrc client-name=lisboa", &[], of_server);
    let mut player = Command::new("gst-launch-1.0");
    player.args("-q audiotestsrc freq=1300 volume=0.25 ! audio/x-raw,channels=2 !".split(' '));
    player.args(["jackaudiosink", "client-name=player", "connect=none"]);
    of_server(&mut player);
    let _player = Process::start("gst-launch-1.0", &mut player);
    let mut porto = receiver(&stage, port);

    // The emitter's ports are there as soon as somebody listens. It connects them to the card by itself, and JACK may stand
    // still for ever if somebody else connects them meanwhile: so the cables come when it is heard to be done.
    porto.wait_to_hear(&[GUEST]);
    let of = |ports: &[String], begin: &str| {
        ports.iter().filter(|port| port.starts_with(begin)).cloned().collect::<Vec<_>>()
    };
    jackd.wait_for_ports(|ports| !of(ports, "lisboa:in_").is_empty() && of(ports, "player:out_").len() == 2);
    let ports = jackd.ports();
    for (from, to) in of(&ports, "player:out_").iter().zip(of(&ports, "lisboa:in_")) {
        let mut connect = Command::new("jack_connect");
        of_server(connect.args([from, &to]));
        assert!(connect.status().unwrap().success(), "{connect:?}");
    }
    play(&mut porto, GUEST, 1_300, ON_JACK, 6);
}

#[test]
fn an_emitter_that_is_started_again_is_heard_again() {
    let stage = Stage::new();
    let port = free_port();
    let mut first = emitter(port, &tone(1_300), &[]);
    let mut porto = receiver(&stage, port);
    porto.wait_to_hear(&[GUEST]);
    first.kill();
    let silent = porto.wait("the guest is not heard", |status| !is_heard(status, GUEST));
    let guest = peer(&silent, GUEST).unwrap();
    assert!(guest.received > 0, "{guest:?}");
    porto.process.log.wait_for(&["127.0.0.1 is not heard: rtsp://127.0.0.1:", "trying again"]);
    let _second = emitter(port, &tone(3_100), &[]);
    play(&mut porto, GUEST, 3_100, GOOD_DAY, 4);
}

/// An RTSP server that answers each connection in another wrong way; then nobody listens any more.
fn nonsense(listener: TcpListener) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for wrong in [http, too_long, silent_end, flood] {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(3 * SECOND)).unwrap();
            wrong(stream);
        }
    })
}

/// Reads a request, if there comes one.
fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = [0; 4_096];
    let length = stream.read(&mut bytes).ok().filter(|length| *length > 0)?;
    Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

// What cannot be written is because the box has closed the connection, as it should.

fn http(mut stream: TcpStream) {
    request(&mut stream);
    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(request(&mut stream), None, "the box says nothing more");
}

fn too_long(mut stream: TcpStream) {
    request(&mut stream);
    let _ = stream.write_all(&[b'R'; 1 << 20]);
}

fn silent_end(mut stream: TcpStream) {
    request(&mut stream);
}

/// Grants everything, by TCP, and then sends as much as it can of what nobody can hear.
fn flood(mut stream: TcpStream) {
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP 96\r\na=rtpmap:96 OPUS/48000/2\r\n";
    for cseq in 1.. {
        let Some(request) = request(&mut stream) else { return };
        let (status, headers, body) = match request.split(' ').next().unwrap() {
            "DESCRIBE" => ("200 OK", "", sdp),
            "SETUP" if !request.contains("TCP") => ("461 Unsupported Transport", "", ""),
            "SETUP" => ("200 OK", "Session: 1\r\nTransport: RTP/AVP/TCP;interleaved=0-1;mode=\"\r\n", ""),
            _ => ("200 OK", "", ""),
        };
        let length = body.len();
        let answer =
            format!("RTSP/1.0 {status}\r\nCSeq: {cseq}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).unwrap();
        if request.starts_with("PLAY") {
            break;
        }
    }
    // Opus of 20 ms that says it has more frames than fit, without end.
    let packet = [b'$', 0, 0, 16, 0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0];
    while stream.write_all(&packet.repeat(1_000)).is_ok() {}
}

#[test]
fn who_answers_nonsense_costs_nobody_anything() {
    let stage = Stage::new();
    let rendezvous = Rendezvous::start(&stage, 0);
    let mut lisboa =
        Player::start(&stage, &Setup::simulated(&stage, "lisboa", rendezvous.port, -60.0, 1_300));
    let listener = TcpListener::bind((GUEST, 0)).unwrap();
    let setup = receiving(&stage, rendezvous.port, GUEST, listener.local_addr().unwrap().port());
    let mut porto = Player::start(&stage, &setup);
    lisboa.wait_to_hear(&["porto"]);
    porto.wait_to_hear(&["lisboa"]);
    let begun = now();
    let server = nonsense(listener);
    porto.process.log.wait_for(&["127.0.0.1 is not heard", "says what is no RTSP"]);
    porto.process.log.wait_for(&["127.0.0.1 is not heard", "has closed the connection"]);
    porto.process.log.wait_for(&["127.0.0.1 is not heard", "nothing comes by TCP"]);
    server.join().unwrap();
    let ended = now();
    porto.wait_until(ended);
    let received =
        porto.counted(begun, ended, |status| peer(status, "lisboa").map_or(0, |lisboa| lisboa.received));
    assert!(received > 2_000, "{received}");
    porto.assert_whole(&lisboa, (begun, ended));
    assert!(!is_heard(&porto.last(), GUEST));
    porto.stop();
    lisboa.stop();
}

/// In a session at this port of a rendezvous, two boxes and an original: everyone hears everyone.
fn everyone_hears_everyone(stage: &Stage, rendezvous: u16) {
    let box_of =
        |name, ppm, hertz| Player::start(stage, &Setup::simulated(stage, name, rendezvous, ppm, hertz));
    let mut porto = box_of("porto", 40.0, 500);
    let mut lisboa = Client::start(stage, rendezvous, "lisboa", free_port(), 3_100);
    let mut montemor = box_of("montemor", -60.0, 1_300);
    porto.wait_to_hear(&["lisboa", "montemor"]);
    montemor.wait_to_hear(&["lisboa", "porto"]);
    let begun = now();
    let until = begun + 6 * SECOND;
    porto.wait_until(until);
    montemor.wait_until(until);
    assert!(!is_heard(&porto.last(), "porto") && porto.last().peers.len() == 2, "{:?}", porto.last());
    assert!(lisboa.process.terminate().success(), "{}", lisboa.process.log);
    porto.stop();
    montemor.stop();
    let span = (begun + SECOND, until);
    assert_heard(&porto, "montemor", 1_300, GOOD_DAY, span);
    assert_heard(&porto, "lisboa", 3_100, GOOD_DAY, span);
    assert_heard(&montemor, "porto", 500, GOOD_DAY, span);
    assert_heard(&montemor, "lisboa", 3_100, GOOD_DAY, span);
    for (name, hertz) in [("porto", 500), ("montemor", 1_300)] {
        let [left, _] = sound::read(&lisboa.recording(name));
        assert!(left.len() > 4 * 48_000, "lisboa has {} frames of {name}", left.len());
        assert_tone(
            &format!("{name} at lisboa"),
            &sound::tone(&left[left.len() - 4 * 48_000..], hertz),
            GOOD_DAY,
            0,
        );
    }
}

#[test]
fn an_original_that_becomes_a_box_is_heard_as_one_and_once() {
    let stage = Stage::new();
    let rendezvous = Rendezvous::start(&stage, 0);
    let mut porto = Player::start(&stage, &Setup::simulated(&stage, "porto", rendezvous.port, 40.0, 500));
    let port = free_port();
    let original = Client::start(&stage, rendezvous.port, "lisboa", port, 3_100);
    let status = porto.wait_to_hear(&["lisboa"]);
    assert_eq!(peer(&status, "lisboa").unwrap().way, format!("rtsp://127.0.0.1:{port}"));
    // The same key: the rendezvous lets go of the original, whose emitter plays on.
    let mut lisboa =
        Player::start(&stage, &Setup::simulated(&stage, "lisboa", rendezvous.port, -60.0, 1_300));
    porto.wait("lisboa is heard as a box", |status| {
        status.peers.len() == 1 && status.peers[0].connected && !status.peers[0].way.starts_with("rtsp:")
    });
    let begun = now();
    porto.wait_until(begun + 3 * SECOND);
    porto.stop();
    lisboa.stop();
    drop(original);
    assert_heard(&porto, "lisboa", 1_300, GOOD_DAY, (begun + SECOND, begun + 3 * SECOND));
    let former = sound::median(&porto.recording().tone(3_100, begun + SECOND, begun + 3 * SECOND));
    assert!(former < -50.0, "the original is heard as well, at {former:.1} dB");
}

#[test]
fn in_a_session_run_by_ours_boxes_and_an_original_hear_each_other() {
    let stage = Stage::new();
    let rendezvous = Rendezvous::start(&stage, 0);
    everyone_hears_everyone(&stage, rendezvous.port);
}

#[test]
fn in_a_session_run_by_an_original_server_boxes_and_an_original_hear_each_other() {
    let stage = Stage::new();
    let (_server, port) = original::server();
    everyone_hears_everyone(&stage, port);
}
