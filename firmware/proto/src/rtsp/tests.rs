//! A connection, request by request, with given time.

use super::*;
use crate::rtp;
use proptest::prelude::*;
use rtsp_types::Response;
use rtsp_types::headers::{ALLOW, CONTENT_BASE, CSEQ, HeaderName, PUBLIC, RTP_INFO, SESSION, TRANSPORT};
use std::net::Ipv4Addr;

const START: Time = Time(1_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const UDP: &str = "Transport: RTP/AVP;unicast;client_port=8556-8557\r\n";
const TCP: &str = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";

/// A player before a box with three programmes.
struct Player {
    connection: Connection,
    now: Time,
    programs: Vec<String>,
    room: bool,
    cseq: u32,
}

impl Player {
    fn new() -> Player {
        let identity = Identity {
            name: "porto".to_owned(),
            number: 7,
            local: Ipv4Addr::LOCALHOST.into(),
            port: Some(8_698),
            seed: 42,
        };
        let programs = ["stream", "mix", "peers/são joão"].map(str::to_owned).to_vec();
        Player { connection: Connection::new(identity, START), now: START, programs, room: true, cseq: 0 }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let house = House { programs: &self.programs, room: self.room };
        self.connection.handle_bytes(self.now, bytes, house);
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.connection.poll()).collect()
    }

    /// A request for a path, with more header lines; the answer, and what follows it.
    fn ask(&mut self, method: &str, path: &str, headers: &str) -> (Response<Vec<u8>>, Vec<Action>) {
        self.cseq += 1;
        let session = self.session();
        let cseq = self.cseq;
        self.bytes(
            format!("{method} rtsp://porto:8554{path} RTSP/1.0\r\nCSeq: {cseq}\r\n{session}{headers}\r\n")
                .as_bytes(),
        );
        let mut actions = self.actions();
        let at = actions.iter().position(|action| matches!(action, Action::Write(_))).expect("an answer");
        let Action::Write(bytes) = actions.remove(at) else { panic!("{actions:?}") };
        let response = response(&bytes);
        assert_eq!(header(&response, &CSEQ), self.cseq.to_string());
        (response, actions)
    }

    /// The status of the answer; nothing must follow it.
    fn status(&mut self, method: &str, path: &str, headers: &str) -> u16 {
        let (response, actions) = self.ask(method, path, headers);
        assert_eq!(actions, [], "{method} {path}");
        response.status().into()
    }

    /// The header of the session that there is.
    fn session(&self) -> String {
        self.connection
            .session
            .as_ref()
            .map_or_else(String::new, |session| format!("Session: {}\r\n", session.id))
    }

    fn play(&mut self, path: &str, transport: &str) {
        assert_eq!(self.status("SETUP", path, transport), 200);
        let (response, actions) = self.ask("PLAY", path, "");
        assert_eq!(u16::from(response.status()), 200);
        assert_eq!(actions, [Action::Listen(path.trim_matches('/').to_owned())]);
    }

    /// Lets time pass up to the next deadline, and does what is due.
    fn sleep(&mut self) -> Vec<Action> {
        self.now = self.connection.deadline().expect("it is not over").max(self.now);
        self.connection.handle_deadline(self.now, 1 << 32);
        self.actions()
    }
}

fn response(bytes: &[u8]) -> Response<Vec<u8>> {
    match Message::parse(bytes) {
        Ok((Message::Response(response), length)) if length == bytes.len() => response,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(bytes)),
    }
}

fn header(response: &Response<Vec<u8>>, name: &HeaderName) -> String {
    response.header(name).map_or_else(String::new, |value| value.as_str().to_owned())
}

/// The kinds of RTCP packets in a datagram, and the source.
fn rtcp_kinds(datagram: &[u8]) -> Vec<&'static str> {
    let kind = |packet| match packet {
        rtcp::Packet::SenderReport { .. } => "SR",
        rtcp::Packet::ReceiverReport { .. } => "RR",
        rtcp::Packet::SourceDescription { cname: "porto", .. } => "porto",
        rtcp::Packet::Bye { .. } => "BYE",
        _ => "?",
    };
    rtcp::parse(datagram).unwrap().map(kind).collect()
}

#[test]
fn a_player_listens_by_udp() {
    let mut player = Player::new();
    let (options, _) = player.ask("OPTIONS", "/stream", "");
    assert!(header(&options, &PUBLIC).contains("DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER"));
    let (description, _) = player.ask("DESCRIBE", "/stream", "Accept: application/sdp\r\n");
    assert_eq!(header(&description, &CONTENT_BASE), "rtsp://porto:8554/stream/");
    assert!(String::from_utf8_lossy(description.body()).contains("a=rtpmap:96 OPUS/48000/2"));

    let (setup, _) = player.ask("SETUP", "/stream/audio", UDP);
    let ssrc = player.connection.ssrc().unwrap();
    let expected =
        format!("RTP/AVP;unicast;client_port=8556-8557;server_port=8698-8699;ssrc={ssrc:08X};mode=\"PLAY\"");
    assert_eq!(header(&setup, &TRANSPORT), expected);
    let session = header(&setup, &SESSION);
    assert!(session.len() == 27 && session.ends_with(";timeout=60"), "{session}");

    let (play, actions) = player.ask("PLAY", "/stream/", "Range: npt=0-\r\n");
    assert_eq!(actions, [Action::Listen("stream".to_owned())]);
    let info = header(&play, &RTP_INFO);
    player.connection.handle_packet(player.now, 0, b"opus");
    let actions = player.actions();
    let [Action::Send { to: 8_556, control: false, bytes }] = &actions[..] else { panic!("{actions:?}") };
    let rtp::Packet { header: head, payload: b"opus" } = rtp::Packet::parse(bytes).unwrap() else { panic!() };
    assert_eq!(head.ssrc, ssrc);
    let rtp::Header { sequence, timestamp, .. } = head;
    assert_eq!(info, format!("url=rtsp://porto:8554/stream/audio;seq={sequence};rtptime={timestamp}"));

    let actions = player.sleep();
    let [Action::Send { to: 8_557, control: true, bytes }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(rtcp_kinds(bytes), ["SR", "porto"]);
    assert_eq!(player.connection.deadline(), Some(START + REPORTS_EVERY));

    let (_, actions) = player.ask("TEARDOWN", "/stream", "");
    assert_eq!(actions, [Action::Rest]);
    assert_eq!(player.connection.ssrc(), None);
    player.connection.handle_packet(player.now, 960, b"opus");
    assert_eq!(player.actions(), [], "what was on its way already goes nowhere");
    player.play("/mix", TCP);
    assert_ne!(player.connection.ssrc(), Some(ssrc), "another session is another source");
}

#[test]
fn a_player_listens_through_the_connection() {
    let mut player = Player::new();
    assert_eq!(player.status("SETUP", "/peers/s%C3%A3o%20jo%C3%A3o/audio", TCP), 200);
    let (_, actions) = player.ask("PLAY", "/peers/s%C3%A3o%20jo%C3%A3o", "");
    assert_eq!(actions, [Action::Listen("peers/são joão".to_owned())]);
    player.connection.handle_packet(player.now, 0, b"opus");
    let mut actions = player.actions();
    actions.append(&mut player.sleep());
    let [Action::Write(media), Action::Write(report)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((&media[..4], media.len()), (&b"$\x00\x00\x10"[..], 20));
    assert_eq!((&report[..2], rtcp_kinds(&report[4..])), (&b"$\x01"[..], vec!["SR", "porto"]));
}

#[test]
fn a_pause_ends_with_play() {
    let mut player = Player::new();
    player.play("/stream", UDP);
    player.connection.handle_packet(player.now, 0, b"opus");
    player.actions();
    assert_eq!(player.ask("PAUSE", "/stream", "").1, [Action::Rest]);
    player.connection.handle_packet(player.now, 960, b"opus");
    assert_eq!(player.actions(), []);
    assert_eq!(player.connection.deadline(), Some(START + TIMEOUT), "no reports meanwhile");
    player.now = START + 10 * SECOND;
    let (play, actions) = player.ask("PLAY", "/stream", "Range: npt=10.5-\r\n");
    assert_eq!(actions, [Action::Listen("stream".to_owned())]);
    assert!(header(&play, &RTP_INFO).contains(";rtptime="));
    assert_eq!(player.ask("PLAY", "/stream", "").1, [], "once more changes nothing");
}

#[test]
fn what_cannot_be_gets_its_status() {
    let mut player = Player::new();
    let no_session = "Session: 12345678\r\n";
    let sdp = "Accept: text/html\r\n";
    for (method, path, headers, status) in [
        ("DESCRIBE", "/", "", 404),
        ("DESCRIBE", "/strea", "", 404),
        ("DESCRIBE", "/peers/%FF", "", 404),
        ("DESCRIBE", "/audio", "", 404),
        ("DESCRIBE", "/stream", sdp, 406),
        ("SETUP", "/nothing", UDP, 404),
        ("SETUP", "/stream", "", 400),
        ("SETUP", "/stream", "Transport: RTP/AVP;unicast;client_port=x\r\n", 400),
        ("SETUP", "/stream", "Transport: RTP/AVP;multicast\r\n", 461),
        ("SETUP", "/stream", "Transport: RTP/AVP/TCP;mode=\"\r\n", 461),
        ("PLAY", "/stream", "", 454),
        ("PLAY", "/stream", no_session, 454),
        ("PAUSE", "/stream", "", 454),
        ("TEARDOWN", "/stream", no_session, 454),
        ("GET_PARAMETER", "/stream", no_session, 454),
        ("GET_PARAMETER", "/stream", "Content-Length: 8\r\n\r\nvolume", 451),
        ("GET_PARAMETER", "/stream", "", 200),
        ("OPTIONS", "/stream", "Require: implicit-play\r\n", 551),
        ("ANNOUNCE", "/stream", "", 405),
        ("RECORD", "/stream", "", 405),
        ("SET_PARAMETER", "/stream", "", 405),
        ("DANCE", "/stream", "", 501),
    ] {
        assert_eq!(player.status(method, path, headers), status, "{method} {path} {headers}");
    }
    assert_eq!(player.status("SETUP", "/stream", UDP), 200);
    assert_eq!(player.status("PAUSE", "/stream", ""), 455, "it does not play");
    assert_eq!(player.status("SETUP", "/mix", UDP), 459);
    assert_eq!(player.status("PLAY", "/mix", ""), 459);
    assert_eq!(player.status("PLAY", "/nothing", ""), 404);
    assert_eq!(player.status("PLAY", "/stream", "Range: clock=19961108T142300Z-\r\n"), 457);
    assert_eq!(player.status("SETUP", "/stream", TCP), 200, "another transport before it plays");
    player.ask("PLAY", "/stream", "");
    let (late, _) = player.ask("SETUP", "/stream", UDP);
    assert_eq!((u16::from(late.status()), header(&late, &ALLOW).contains("PAUSE")), (455, true));
}

#[test]
fn requests_that_are_no_rtsp_end_the_connection_with_their_status() {
    for (bytes, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], 400),
        (b"\x80\x60\x00\x00", 400),
        (b"OPTIONS * RTSP/9.9\r\nCSeq: 1\r\n\r\n", 505),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 100000\r\n\r\n", 413),
    ] {
        let mut player = Player::new();
        player.bytes(bytes);
        let actions = player.actions();
        let [Action::Write(answer), Action::Close] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(u16::from(response(answer).status()), status);
        assert_eq!(player.connection.deadline(), None);
        player.bytes(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n");
        assert_eq!(player.actions(), [], "it is over");
    }
    for (bytes, status) in [
        (&b"OPTIONS * RTSP/1.0\r\n\r\n"[..], 400),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: one\r\n\r\n", 400),
        (b"OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\n", 505),
        (b"DESCRIBE * RTSP/1.0\r\nCSeq: 1\r\n\r\n", 400),
        (b"DESCRIBE http://porto/stream RTSP/1.0\r\nCSeq: 1\r\n\r\n", 400),
    ] {
        let mut player = Player::new();
        player.bytes(bytes);
        let actions = player.actions();
        let [Action::Write(answer)] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(u16::from(response(answer).status()), status, "{}", String::from_utf8_lossy(bytes));
        assert_eq!(player.status("OPTIONS", "/stream", ""), 200, "and it goes on");
    }
}

#[test]
fn a_full_house_has_no_room_but_for_who_is_inside() {
    let mut player = Player::new();
    player.room = false;
    assert_eq!(player.status("SETUP", "/stream", UDP), 453);
    player.room = true;
    assert_eq!(player.status("SETUP", "/stream", UDP), 200);
    player.room = false;
    assert_eq!(player.status("SETUP", "/stream", TCP), 200);
}

#[test]
fn a_box_without_udp_ports_offers_the_connection() {
    let mut player = Player::new();
    player.connection.identity.port = None;
    assert_eq!(player.status("SETUP", "/stream", UDP), 461);
    assert_eq!(player.status("SETUP", "/stream", TCP), 200);
}

#[test]
fn silence_ends_a_session_and_any_sign_of_life_does_not() {
    let mut player = Player::new();
    player.play("/stream", UDP);
    player.now = START + 30 * SECOND;
    player.connection.handle_report(player.now);
    assert_eq!(player.connection.deadline(), Some(START + 90 * SECOND));
    player.now = START + 60 * SECOND;
    assert_eq!(player.status("GET_PARAMETER", "/stream", ""), 200);
    player.now = START + 100 * SECOND;
    player.bytes(b"$\x01\x00\x08\x80\xc9\x00\x01\x00\x00\x00\x01");
    player.now = START + 120 * SECOND;
    player.bytes(b"$\x00\x00\x04junk");
    let actions = player.sleep();
    assert_eq!(player.now, START + 160 * SECOND, "junk is no sign of life");
    let [Action::Send { to: 8_557, control: true, bytes }, Action::Rest, Action::Close] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(rtcp_kinds(bytes), ["RR", "porto", "BYE"]);
}

#[test]
fn half_a_request_is_waited_for_but_not_for_ever() {
    let mut player = Player::new();
    player.bytes(b"OPTIONS * RTSP/1.0\r\n");
    player.now = START + 9 * SECOND;
    player.bytes(b"CSeq: 1\r\n");
    assert_eq!(player.actions(), []);
    let actions = player.sleep();
    assert_eq!(player.now, START + HALF_REQUEST, "more of the same does not buy time");
    let [Action::Write(answer), Action::Close] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(u16::from(response(answer).status()), 408);
}

#[test]
fn when_the_program_ends_its_listener_is_told() {
    let mut player = Player::new();
    player.play("/mix", TCP);
    player.connection.handle_end();
    let actions = player.actions();
    let [Action::Write(goodbye), Action::Rest, Action::Close] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(rtcp_kinds(&goodbye[4..]), ["RR", "porto", "BYE"]);
}

/// A session as a player has it, in one piece; the session's name is that of the first one of seed 42.
fn conversation() -> Vec<u8> {
    let mut player = Player::new();
    player.play("/stream", TCP);
    let session = player.session();
    let request = |method: &str, path: &str, headers: &str| {
        format!("{method} rtsp://porto{path} RTSP/1.0\r\nCSeq: 1\r\n{headers}\r\n")
    };
    [
        request("OPTIONS", "/stream", ""),
        request("DESCRIBE", "/stream", "Accept: application/sdp\r\n"),
        request("SETUP", "/stream/audio", TCP),
        request("PLAY", "/stream", &session),
        "$\x01\x00\x04abcd".to_owned(),
        request("GET_PARAMETER", "/stream", &format!("Content-Length: 2\r\n{session}\r\n\r\n")),
        request("PAUSE", "/stream", &session),
        request("TEARDOWN", "/stream", &session),
    ]
    .concat()
    .into_bytes()
}

/// What comes of bytes that are cut at these places.
fn outcome(bytes: &[u8], cuts: &[usize]) -> Vec<Action> {
    let mut player = Player::new();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).for_each(|cut| player.bytes(&bytes[cut[0]..cut[1]]));
    player.actions()
}

#[test]
fn a_conversation_in_one_piece_is_understood() {
    let actions = outcome(&conversation(), &[]);
    let statuses = actions.iter().filter_map(|action| match action {
        Action::Write(bytes) => Some(u16::from(response(bytes).status())),
        _ => None,
    });
    assert_eq!(statuses.collect::<Vec<_>>(), [200; 7]);
    assert!(actions.contains(&Action::Listen("stream".to_owned())) && actions.contains(&Action::Rest));
}

proptest! {
    #[test]
    fn it_does_not_matter_where_bytes_are_cut(cuts in prop::collection::vec(any::<usize>(), 0..40)) {
        let bytes = conversation();
        prop_assert_eq!(outcome(&bytes, &cuts), outcome(&bytes, &[]));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_are_answered_with_rtsp(
        bytes in prop::collection::vec(any::<u8>(), 0..300), cuts in prop::collection::vec(any::<usize>(), 0..5),
    ) {
        for action in outcome(&bytes, &cuts) {
            if let Action::Write(bytes) = action {
                response(&bytes);
            }
        }
    }

    #[test]
    fn a_conversation_with_damage_never_panics(
        damage in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6),
        cut in any::<usize>(),
    ) {
        let mut bytes = conversation();
        let length = bytes.len();
        for (at, byte) in damage {
            bytes[at % length] = byte;
        }
        outcome(&bytes, &[cut]);
    }

    #[test]
    fn requests_of_any_words_never_panic(
        method in "OPTIONS|DESCRIBE|SETUP|PLAY|PAUSE|TEARDOWN|[A-Z_]{1,9}",
        path in "(/stream|/mix|/peers/[a-z%0-9]{0,6}|[ -~]{0,12})(/audio)?",
        name in "Transport|Range|Session|Require|Accept|Content-Length|CSeq|[a-z-]{0,9}",
        value in "[ -~]{0,30}",
    ) {
        let request =
            format!("{method} rtsp://porto{path} RTSP/1.0\r\nCSeq: 1\r\n{name}: {value}\r\n\r\n");
        let mut player = Player::new();
        player.bytes(request.as_bytes());
        player.actions();
        let mut player = Player::new();
        player.play("/stream", UDP);
        player.bytes(request.as_bytes());
        player.actions();
    }
}
