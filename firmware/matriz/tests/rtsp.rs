//! Whoever speaks RTSP hears a box: the original's receiver, ffmpeg, mpv, and by hand each request that there
//! is; and nobody who speaks nonsense disturbs them.
//!
//! Real boxes with simulated cards, and players that this project did not write. What they record must be
//! the tone that was played.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::player::{Player as Box, Setup};
use common::rtsp::{Capture, Player, ffmpeg, gstreamer, mpv, packet, udp_pair};
use common::{Rendezvous, Stage, free_port};
use proto::rtcp;
use serde_json::json;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

const TCP: &str = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";

/// A box that plays a tone, alone, with its RTSP server at a port.
fn start(stage: &Stage, hertz: u32) -> (Box, u16) {
    let setup = Setup::simulated(stage, "porto", free_port(), 0.0, hertz);
    (Box::start(stage, &setup), listening(&setup))
}

/// Waits until the RTSP server of a box takes connections; its port.
fn listening(setup: &Setup) -> u16 {
    let port = u16::try_from(setup.config["port"].as_u64().unwrap()).unwrap();
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(std::time::Instant::now() < deadline, "nobody listens at TCP port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
    port
}

#[test]
fn the_originals_receiver_hears_a_box_by_udp_and_by_tcp() {
    let stage = Stage::new();
    let (_box, port) = start(&stage, 440);
    let url = format!("rtsp://127.0.0.1:{port}/stream");
    gstreamer(&stage, &url, None, "udp.wav").assert_tone(440);
    gstreamer(&stage, &url, Some("protocols=tcp"), "tcp.wav").assert_tone(440);
}

#[test]
fn players_hear_a_box_its_mix_and_each_peer_all_at_the_same_time() {
    let stage = Stage::new();
    let rendezvous = Rendezvous::start(&stage, 0);
    let porto = Setup::simulated(&stage, "porto", rendezvous.port, 40.0, 440);
    let lisboa = Setup::simulated(&stage, "lisboa", rendezvous.port, -60.0, 1_300);
    let mut boxes = [Box::start(&stage, &porto), Box::start(&stage, &lisboa)];
    boxes[0].wait_to_hear(&["lisboa"]);
    let url = |program: &str| format!("rtsp://127.0.0.1:{}/{program}", listening(&porto));

    let players = [
        (ffmpeg(&stage, &url("stream"), "udp", "1.wav"), 440),
        (ffmpeg(&stage, &url("stream"), "tcp", "2.wav"), 440),
        (ffmpeg(&stage, &url("mix"), "udp", "3.wav"), 1_300),
        (ffmpeg(&stage, &url("mix"), "tcp", "4.wav"), 1_300),
        (gstreamer(&stage, &url("peers/lisboa"), None, "5.wav"), 1_300),
        (mpv(&stage, &url("stream"), "udp", "6.wav"), 440),
        (mpv(&stage, &url("mix"), "tcp", "7.wav"), 1_300),
    ];
    for (player, hertz) in players {
        player.assert_tone(hertz);
    }

    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-of", "json", "-show_streams", &url("mix")]);
    let output = probe.output().expect("ffprobe is there: .ci/packages.txt names it");
    let streams: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let stream = &streams["streams"][0];
    let found = (&stream["codec_name"], &stream["sample_rate"], &stream["channels"]);
    assert_eq!(found, (&json!("opus"), &json!("48000"), &json!(2)));
}

#[test]
fn a_listener_pauses_plays_on_and_leaves() {
    let stage = Stage::new();
    let (_box, port) = start(&stage, 440);
    let (rtp, rtcp, own) = udp_pair();
    let mut player = Player::connect(port, "/stream");
    assert!(player.ask("OPTIONS", "").header("Public").contains("PAUSE"));
    let description = player.ask("DESCRIBE", "Accept: application/sdp\r\n");
    assert!(
        description.body.contains("m=audio 0 RTP/AVP 96\r\na=rtpmap:96 OPUS/48000/2\r\n"),
        "{description:?}"
    );
    let transport = format!("Transport: RTP/AVP;unicast;client_port={own}-{}\r\n", own + 1);
    let setup = player.ask("SETUP", &transport);
    assert!(setup.header("Session").ends_with(";timeout=60"));
    let server_port = setup.header("Transport").split("server_port=").nth(1).unwrap();
    let server_port: u16 = server_port.split('-').next().unwrap().parse().unwrap();
    assert!((8_600..=8_700).contains(&server_port), "{setup:?}");

    let play = player.ask("PLAY", "Range: npt=0-\r\n");
    let first = packet(&rtp);
    let info = format!(";seq={};rtptime={}", first.sequence, first.timestamp);
    assert!(play.header("RTP-Info").ends_with(&info), "{play:?}: {first:?}");
    assert_eq!(first.payload_type, 96);
    let mut last = first;
    for _ in 0..20 {
        let next = packet(&rtp);
        let steps = next.sequence.wrapping_sub(last.sequence);
        assert_eq!(next.timestamp.wrapping_sub(last.timestamp), u32::from(steps) * 960);
        last = next;
    }
    assert!(last.sequence.wrapping_sub(first.sequence) < 30, "hardly any is missing");

    let mut report = [0; 500];
    let (length, from) = rtcp.recv_from(&mut report).unwrap();
    assert_eq!(from.port(), server_port + 1);
    let Some(rtcp::Packet::SenderReport { ssrc, ntp, rtp: at, packets, .. }) =
        rtcp::parse(&report[..length]).unwrap().next()
    else {
        panic!("the first report is none of a sender")
    };
    assert_eq!(ssrc, first.ssrc);
    assert!(packets >= 1 && at.wrapping_sub(first.timestamp) < 4_800, "{packets} {at}");
    assert!(ntp >> 32 > 3_900_000_000, "it tells the time of day: {ntp:x}");

    assert_eq!(player.ask("PAUSE", "").status, 200);
    // What was on its way when the box paused is here already.
    rtp.set_nonblocking(true).unwrap();
    let mut datagram = [0; 2_048];
    while let Ok(length) = rtp.recv(&mut datagram) {
        last = proto::rtp::Packet::parse(&datagram[..length]).unwrap().header;
    }
    rtp.set_nonblocking(false).unwrap();
    rtp.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    assert!(rtp.recv(&mut datagram).is_err(), "silence is sent in a pause");
    rtp.set_read_timeout(Some(common::PATIENCE)).unwrap();
    assert_eq!(player.ask("PLAY", "").status, 200);
    let again = packet(&rtp);
    assert_eq!(again.sequence, last.sequence.wrapping_add(1), "nothing was lost");
    let pause = again.timestamp.wrapping_sub(last.timestamp);
    assert!((400 * 48..10_000 * 48).contains(&pause), "time went on: {pause} frames");

    assert_eq!(player.ask("TEARDOWN", "").status, 200);
    assert_eq!(player.ask("PLAY", "").status, 454);
}

#[test]
fn a_box_that_ends_says_goodbye_to_its_listeners() {
    let stage = Stage::new();
    let (mut porto, port) = start(&stage, 440);
    let mut player = Player::connect(port, "/stream/audio");
    assert_eq!(player.ask("SETUP", TCP).status, 200);
    assert_eq!(player.ask("PLAY", "").status, 200);
    assert_eq!(player.next_data().unwrap().0, 0, "there is music");
    porto.stop();
    let mut last = None;
    while let Some((channel, data)) = player.next_data() {
        last = (channel == 1).then_some(data);
    }
    let last = last.expect("the last that comes is RTCP");
    let kinds: Vec<_> = rtcp::parse(&last).unwrap().collect();
    assert!(matches!(kinds[..], [.., rtcp::Packet::Bye { .. }]), "{kinds:?}");
}

#[test]
fn who_speaks_nonsense_is_told_so_and_nobody_else_notices() {
    let stage = Stage::new();
    let (mut porto, port) = start(&stage, 440);
    let url = format!("rtsp://127.0.0.1:{port}/stream");
    let healthy = [ffmpeg(&stage, &url, "udp", "udp.wav"), ffmpeg(&stage, &url, "tcp", "tcp.wav")];
    healthy.iter().for_each(|player| player.wait_for_sound());

    for (bytes, status) in [
        (&b"GET /stream HTTP/1.1\r\nHost: porto\r\n\r\n"[..], 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"OPTIONS * RTSP/3.0\r\nCSeq: 1\r\n\r\n", 505),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (&[b'A'; 20_000], 413),
    ] {
        let mut player = Player::connect(port, "/stream");
        player.say(bytes);
        assert_eq!(player.answer().status, status, "{:?}", String::from_utf8_lossy(&bytes[..9]));
        assert!(player.is_closed());
    }
    let mut player = Player::connect(port, "/nothing");
    for (method, headers, status) in [
        ("DESCRIBE", "", 404),
        ("SETUP", TCP, 404),
        ("ANNOUNCE", "", 405),
        ("PLAY", "Session: 1\r\n", 454),
        ("DANCE", "", 501),
    ] {
        assert_eq!(player.ask(method, headers).status, status, "{method}");
    }
    let mut player = Player::connect(port, "/stream");
    for (method, headers, status) in [
        ("SETUP", "Transport: RTP/AVP;multicast\r\n", 461),
        ("SETUP", "Transport: RTP/AVP/TCP;mode=\"\r\n", 461),
        ("SETUP", "Transport: RTP/AVP;unicast;client_port=1\r\n", 461),
        ("SETUP", TCP, 200),
        ("PAUSE", "", 455),
    ] {
        assert_eq!(player.ask(method, headers).status, status, "{method} {headers}");
    }
    // Half a request, a listener that reads nothing, one that is gone without a word: they stay as long as
    // the healthy ones record.
    let mut half = Player::connect(port, "/stream");
    half.say(b"DESCRIBE rtsp://127.0.0.1/stream RTSP/1.0\r\nCSe");
    assert_eq!(player.ask("PLAY", "").status, 200);
    let mut gone = Player::connect(port, "/stream");
    assert_eq!(gone.ask("SETUP", TCP).status, 200);
    assert_eq!(gone.ask("PLAY", "").status, 200);
    drop(gone);

    for player in healthy {
        player.assert_tone(440);
    }
    assert!(porto.is_there());
}

#[test]
fn more_connections_than_there_is_room_for_are_turned_away_and_one_that_ends_makes_room() {
    let stage = Stage::new();
    let (_box, port) = start(&stage, 440);
    let mut players: Vec<Player> = Vec::new();
    let refused = loop {
        let mut player = Player::connect(port, "/stream");
        player.say(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n");
        let status = player.answer().status;
        if status != 200 {
            break status;
        }
        players.push(player);
        assert!(players.len() < 1_000, "there is no end to it");
    };
    assert_eq!(refused, 503);
    assert!(players.len() >= 16, "only {} fit", players.len());
    drop(players.pop());
    let deadline = std::time::Instant::now() + common::PATIENCE;
    loop {
        let mut player = Player::connect(port, "/stream");
        player.say(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n");
        match player.answer().status {
            200 => break,
            status => assert_eq!(status, 503),
        }
        assert!(std::time::Instant::now() < deadline, "nobody makes room");
    }
}

#[test]
fn a_box_whose_rtsp_port_is_taken_says_so_and_plays() {
    let stage = Stage::new();
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let mut setup = Setup::simulated(&stage, "porto", free_port(), 0.0, 440);
    setup.config["port"] = json!(taken.local_addr().unwrap().port());
    let mut porto = Box::start(&stage, &setup);
    let port = format!("TCP port {} is taken", taken.local_addr().unwrap().port());
    let sentence =
        porto.process.log.wait_for(&["porto.json, line ", &port, "set \"port\" to another number"]);
    assert!(sentence.contains("nobody can listen to this box by RTSP"), "{sentence}");
    porto.wait("it plays", |status| status.card_frame > 48_000);
    porto.stop();
}

#[test]
fn tshark_finds_nothing_wrong_with_what_a_box_says() {
    let stage = Stage::new();
    let (_box, port) = start(&stage, 440);
    let url = format!("rtsp://127.0.0.1:{port}/stream");
    let mut capture = Capture::start(&stage, port);
    ffmpeg(&stage, &url, "udp", "udp.wav").assert_tone(440);
    ffmpeg(&stage, &url, "tcp", "tcp.wav").assert_tone(440);
    gstreamer(&stage, &url, None, "gstreamer.wav").assert_tone(440);
    capture.stop();

    // What comes by UDP from players is theirs: GStreamer opens routers with random bytes.
    let ours = "(tcp || udp.srcport in {8602..8699})";
    assert_eq!(capture.read(&["-Y", &format!("_ws.malformed && {ours}")]), [""; 0]);
    let errors = capture.read(&["-q", "-z", &format!("expert,error,{ours}")]);
    assert!(errors.iter().all(|line| line.is_empty()), "{errors:#?}");
    let seen = |filter: &str| capture.read(&["-Y", filter]).len();
    for (filter, least) in [
        ("rtsp.method == \"DESCRIBE\"", 3),
        ("sdp.media.format == \"DynamicRTP-Type-96\"", 3),
        ("udp && rtp.p_type == 96", 2 * 150),
        ("tcp && rtp.p_type == 96", 100),
        ("udp && rtcp.pt == 200", 2),
        ("tcp && rtcp.pt == 200", 1),
    ] {
        assert!(seen(filter) >= least, "{filter}: {} of {least}", seen(filter));
    }
}
