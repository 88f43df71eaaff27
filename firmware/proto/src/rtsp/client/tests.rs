use super::*;
use crate::rtcp::{Block, Packet, Writer};
use proptest::prelude::*;

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=Session streamed with GStreamer\r\nt=0 0\r\n\
    a=control:*\r\nm=audio 0 RTP/AVP 96\r\na=rtpmap:96 OPUS/48000/2\r\na=control:stream=0\r\n";

const UDP: &str = "RTP/AVP;unicast;client_port=8696-8697;server_port=40000-40001;ssrc=0000BEEF;mode=\"PLAY\"";
const TCP: &str = "RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=0000BEEF;mode=\"PLAY\"";

fn at(milliseconds: u64) -> Time {
    Time(0) + Duration::from_millis(milliseconds)
}

fn client(port: Option<u16>) -> Client {
    let settings = Settings { at: "192.0.2.1:8554".parse().unwrap(), name: "porto".into(), port, seed: 5 };
    Client::new(settings, at(0))
}

fn drain(client: &mut Client) -> Vec<Action> {
    std::iter::from_fn(|| client.poll()).collect()
}

/// The requests in what is written.
fn requests(actions: &[Action]) -> Vec<String> {
    let written = actions.iter().filter_map(|action| match action {
        Action::Write(bytes) if bytes[0] != b'$' => Some(String::from_utf8(bytes.clone()).unwrap()),
        _ => None,
    });
    written.collect()
}

fn answer(client: &mut Client, now: Time, status: &str, headers: &str, body: &str) -> Vec<Action> {
    let (cseq, length) = (client.call.cseq, body.len());
    let text = format!(
        "RTSP/1.0 {status}\r\nCSeq: {cseq}\r\n{headers}Content-Length: {length}\r\nServer: GStreamer RTSP server\r\n\r\n{body}"
    );
    client.handle_bytes(now, text.as_bytes());
    drain(client)
}

/// Goes as far as the answer to SETUP, which is `transport`; what follows from that.
fn set_up(client: &mut Client, now: Time, transport: &str) -> Vec<Action> {
    client.handle_connected(now);
    drain(client);
    answer(client, now, "200 OK", "Public: OPTIONS, DESCRIBE, GET_PARAMETER, SETUP, PLAY\r\n", "");
    answer(client, now, "200 OK", "Content-Base: rtsp://192.0.2.1:8554/stream/\r\n", SDP);
    let headers = format!("Session: abc;timeout=60\r\nTransport: {transport}\r\n");
    answer(client, now, "200 OK", &headers, "")
}

fn hears(client: &mut Client, now: Time, received: u64) {
    client.handle_report(now, &PeerReport { received, highest: received as u32, ..PeerReport::default() });
}

/// Does what is due until `end`; what was done, and when.
fn run(client: &mut Client, end: Time) -> Vec<(Time, Action)> {
    let mut done = Vec::new();
    while let Some(due) = client.deadline().filter(|due| *due <= end) {
        client.handle_deadline(due);
        done.extend(drain(client).into_iter().map(|action| (due, action)));
    }
    done
}

fn why(actions: &[Action]) -> &str {
    let why = actions.iter().find_map(|action| match action {
        Action::Tell(Way::Nowhere(why)) => Some(why.as_str()),
        _ => None,
    });
    why.unwrap_or_else(|| panic!("nobody complains: {actions:?}"))
}

#[test]
fn the_original_is_asked_as_gstreamer_asks_it() {
    let mut client = client(Some(8_696));
    assert_eq!(drain(&mut client), [Action::Connect]);
    client.handle_connected(at(10));
    let agent = format!("User-Agent: matriz/{}\r\n", env!("CARGO_PKG_VERSION"));
    let asked = requests(&drain(&mut client));
    assert_eq!(asked, [format!("OPTIONS rtsp://192.0.2.1:8554/stream RTSP/1.0\r\nCSeq: 1\r\n{agent}\r\n")]);
    let asked = requests(&answer(&mut client, at(20), "200 OK", "Public: OPTIONS, GET_PARAMETER\r\n", ""));
    assert!(asked[0].starts_with("DESCRIBE rtsp://192.0.2.1:8554/stream RTSP/1.0\r\n"), "{asked:?}");
    assert!(asked[0].contains("Accept: application/sdp\r\n"));
    let base = "Content-Base: rtsp://192.0.2.1:8554/stream/\r\n";
    let asked = requests(&answer(&mut client, at(30), "200 OK", base, SDP));
    assert!(asked[0].starts_with("SETUP rtsp://192.0.2.1:8554/stream/stream=0 RTSP/1.0\r\n"), "{asked:?}");
    assert!(asked[0].contains("Transport: RTP/AVP;unicast;client_port=8696-8697\r\n"));
    let headers = format!("Session: abc;timeout=60\r\nTransport: {UDP}\r\n");
    let actions = answer(&mut client, at(40), "200 OK", &headers, "");
    let [
        Action::Listen { payload_type: 96, udp: true },
        Action::Send { to: 40_000, control: false, bytes: opener },
        Action::Send { to: 40_001, control: true, bytes: report },
        Action::Write(_),
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert!(rtp::Packet::parse(opener).unwrap().payload.is_empty());
    assert!(matches!(rtcp::parse(report).unwrap().next(), Some(Packet::ReceiverReport { ssrc: 5, .. })));
    let asked = requests(&actions);
    assert!(asked[0].starts_with("PLAY rtsp://192.0.2.1:8554/stream/ RTSP/1.0\r\n"), "{asked:?}");
    assert!(asked[0].contains("Session: abc\r\n") && asked[0].contains("Range: npt=now-\r\n"));
    assert_eq!(answer(&mut client, at(50), "200 OK", "", ""), []);
    hears(&mut client, at(100), 1);
    assert_eq!(drain(&mut client), [Action::Tell(Way::Udp)]);
    client.end();
    let actions = drain(&mut client);
    assert!(requests(&actions)[0].starts_with("TEARDOWN rtsp://192.0.2.1:8554/stream/ RTSP/1.0\r\n"));
    assert_eq!(actions[1..], [Action::Rest, Action::Close]);
    assert_eq!(client.deadline(), None);
}

#[test]
fn a_listener_reports_every_five_seconds_and_gives_a_sign_of_life_every_thirty() {
    let mut client = client(Some(8_696));
    set_up(&mut client, at(0), UDP);
    answer(&mut client, at(0), "200 OK", "", "");
    let mut report = Vec::new();
    Writer::new(&mut report).sender_report(0xbeef, 0x1234_5678_9abc_def0, 0, 1, 1, &[]);
    client.handle_control(at(500), &report);
    let (mut reports, mut signs) = (Vec::new(), Vec::new());
    for second in 1..=61 {
        hears(&mut client, at(second * 1_000), second * 50);
        for (_, action) in run(&mut client, at(second * 1_000)) {
            match action {
                Action::Send { control: true, bytes, .. } => reports.push((second, bytes)),
                Action::Write(_) => signs.push((second, requests(&[action])[0].clone())),
                _ => {}
            }
        }
    }
    assert_eq!(reports.len(), 13);
    let Some(Packet::ReceiverReport { blocks, .. }) = rtcp::parse(&reports[12].1).unwrap().next() else {
        panic!("{reports:?}")
    };
    let Block { ssrc, highest, fraction_lost, last_sr, .. } = blocks.into_iter().next().unwrap();
    assert_eq!((ssrc, highest, fraction_lost, last_sr), (0xbeef, 3_000, 0, 0x5678_9abc));
    assert_eq!(signs.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [30, 60]);
    assert!(signs[0].1.starts_with("GET_PARAMETER rtsp://192.0.2.1:8554/stream/ RTSP/1.0\r\n"), "{signs:?}");
    // The server may have forgotten us all the same.
    let actions = answer(&mut client, at(61_500), "454 Session Not Found", "", "");
    assert_eq!(why(&actions), "has forgotten that we listen");
}

#[test]
fn when_nothing_comes_by_udp_the_connection_itself_is_tried() {
    let mut client = client(Some(8_696));
    set_up(&mut client, at(0), UDP);
    answer(&mut client, at(0), "200 OK", "", "");
    let done = run(&mut client, at(4_000));
    let actions: Vec<Action> = done.into_iter().map(|(_, action)| action).collect();
    assert!(requests(&actions)[0].starts_with("TEARDOWN "), "{actions:?}");
    assert_eq!(why(&actions), "grants its stream, and nothing comes by UDP");
    assert_eq!(actions.last(), Some(&Action::Connect), "without a wait");
    client.handle_connected(at(4_000));
    let actions = set_up(&mut client, at(4_000), TCP);
    assert_eq!(actions[0], Action::Listen { payload_type: 96, udp: false });
    answer(&mut client, at(4_000), "200 OK", "", "");
    let packet = [&[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0xbe, 0xef][..], &[0xfc, 1]].concat();
    let data = [&[b'$', 0, 0, packet.len() as u8][..], &packet, &[b'$', 7, 0, 1, 9]].concat();
    data.chunks(3).for_each(|piece| client.handle_bytes(at(4_100), piece));
    assert_eq!(drain(&mut client), [Action::Packet(packet)], "and what is in no channel of ours is nothing");
    hears(&mut client, at(4_200), 1);
    assert_eq!(drain(&mut client), [Action::Tell(Way::Tcp)]);
    let report = run(&mut client, at(4_200));
    assert!(matches!(&report[..], [(_, Action::Write(bytes))] if bytes[..2] == [b'$', 1]), "{report:?}");

    // What worked before is asked for again first; UDP only after TCP has failed too.
    client.handle_closed(at(5_000), "has closed the connection");
    assert_eq!(why(&drain(&mut client)), "has closed the connection");
    assert!(client.by_tcp);
    run(&mut client, at(7_000));
    set_up(&mut client, at(7_000), TCP);
    answer(&mut client, at(7_000), "200 OK", "", "");
    run(&mut client, at(11_000));
    assert!(!client.by_tcp);
}

#[test]
fn a_server_without_udp_is_asked_for_tcp_in_the_same_connection() {
    let mut client = client(Some(8_696));
    client.handle_connected(at(0));
    drain(&mut client);
    answer(&mut client, at(0), "501 Not Implemented", "", ""); // it need not know OPTIONS
    answer(&mut client, at(0), "200 OK", "", SDP);
    let asked = requests(&answer(&mut client, at(0), "461 Unsupported Transport", "", ""));
    assert!(asked[0].contains("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"), "{asked:?}");
    let actions = answer(&mut client, at(0), "461 Unsupported Transport", "", "");
    assert_eq!(why(&actions), "offers neither UDP nor TCP");
}

#[test]
fn it_is_tried_for_ever_ever_more_slowly_and_at_once_when_there_is_news() {
    let mut client = client(None);
    drain(&mut client);
    let (mut now, mut waits) = (at(0), Vec::new());
    for _ in 0..8 {
        client.handle_closed(now, "cannot be reached");
        let due = client.deadline().unwrap();
        waits.push(due.since(now).as_millis());
        now = due;
        client.handle_deadline(now);
    }
    let usual = [1_000, 2_000, 4_000, 8_000, 16_000, 16_000, 16_000, 16_000];
    for (wait, usual) in waits.iter().zip(usual) {
        assert!((usual * 8 / 10..=usual * 12 / 10).contains(wait), "{waits:?}");
    }
    let told = drain(&mut client).into_iter().filter(|action| matches!(action, Action::Tell(_))).count();
    assert_eq!(told, 1, "the same sentence is told once");
    client.handle_closed(now, "cannot be reached");
    client.handle_news(now);
    assert_eq!(client.deadline(), Some(now));
}

#[test]
fn who_answers_badly_or_not_at_all_is_left_and_tried_again() {
    let fails = |bytes: &[u8], expected: &str| {
        let mut client = client(Some(8_696));
        client.handle_connected(at(0));
        drain(&mut client);
        client.handle_bytes(at(0), bytes);
        let mut actions = drain(&mut client);
        actions.extend(run(&mut client, at(5_500)).into_iter().map(|(_, action)| action));
        assert_eq!(why(&actions), expected, "{:?}", String::from_utf8_lossy(bytes));
        assert!(actions.contains(&Action::Close) && client.deadline().is_some());
    };
    fails(b"", "does not answer OPTIONS");
    fails(b"RTSP/1.0 200 OK\r\nCSeq: 99\r\n\r\n", "does not answer OPTIONS");
    fails(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nX: ", "does not answer OPTIONS");
    fails(b"HTTP/1.1 400 Bad Request\r\n\r\n", "says what is no RTSP");
    fails(b"SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n", "says what is no RTSP");
    fails(&[b'A'; 9_000], "says what is no RTSP");
    fails(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 99999999\r\n\r\n", "says what is no RTSP");
    fails(b"\0\0\0", "says what is no RTSP");

    for (headers, expected) in [
        ("", "answers SETUP without a session"),
        ("Session: a\r\n", "answers SETUP without a transport that makes sense"),
        (
            "Session: a\r\nTransport: RTP/AVP;multicast;mode=\"\r\n",
            "answers SETUP without a transport that makes sense",
        ),
        (
            "Session: a\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n",
            "grants another transport than was asked for",
        ),
    ] {
        let mut client = client(Some(8_696));
        client.handle_connected(at(0));
        drain(&mut client);
        answer(&mut client, at(0), "200 OK", "", "");
        answer(&mut client, at(0), "200 OK", "", SDP);
        assert_eq!(why(&answer(&mut client, at(0), "200 OK", headers, "")), expected);
    }
}

#[test]
fn a_stream_that_ends_or_falls_silent_is_called_again() {
    let playing = || {
        let mut client = client(Some(8_696));
        set_up(&mut client, at(0), UDP);
        answer(&mut client, at(0), "200 OK", "", "");
        hears(&mut client, at(1_000), 50);
        drain(&mut client);
        client
    };
    let mut client = playing();
    let mut bye = Vec::new();
    Writer::new(&mut bye).receiver_report(7, &[]).bye(7);
    client.handle_control(at(2_000), &bye);
    assert_eq!(drain(&mut client), [], "somebody else has left");
    let mut bye = Vec::new();
    Writer::new(&mut bye).receiver_report(0xbeef, &[]).bye(0xbeef);
    client.handle_control(at(2_000), &bye);
    assert_eq!(why(&drain(&mut client)), "has ended its stream");

    let mut client = playing();
    let actions: Vec<Action> = run(&mut client, at(6_000)).into_iter().map(|(_, action)| action).collect();
    assert_eq!(why(&actions), "sends nothing by UDP any more");
    assert!(!client.by_tcp, "UDP did work");
}

#[test]
fn a_request_of_the_guest_is_declined() {
    let mut client = client(None);
    client.handle_connected(at(0));
    drain(&mut client);
    client.handle_bytes(at(0), b"OPTIONS * RTSP/1.0\r\nCSeq: 77\r\n\r\n");
    let said = requests(&drain(&mut client));
    assert!(said[0].starts_with("RTSP/1.0 501 ") && said[0].contains("CSeq: 77\r\n"), "{said:?}");
}

proptest! {
    #[test]
    fn arbitrary_answers_never_panic_and_there_always_is_a_next_try(
        steps in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            "RTSP/1.0 (200 OK|454 No|461 No)\r\nCSeq: [1-6]\r\n(Session: [a-z;=0-9]{0,9}\r\nTransport: RTP/AVP(/TCP)?;(mode=\"|ssrc=[0-9A-F]{8})\r\n)?\r\n"
                .prop_map(String::into_bytes),
            Just(format!("RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: {}\r\n\r\n{SDP}", SDP.len()).into_bytes()),
            Just(b"$\0\0\x02\x80\x60$\x01\0\x04\x80\xc8\0\0".to_vec()),
        ], 0..12),
        wait in 0_u64..3_000,
    ) {
        let (mut client, mut now) = (client(Some(8_696)), at(0));
        for step in steps {
            client.handle_connected(now);
            client.handle_bytes(now, &step);
            client.handle_control(now, &step);
            now = now + Duration::from_millis(wait);
            client.handle_deadline(now);
            prop_assert!(drain(&mut client).len() < 100);
            prop_assert!(client.deadline().is_some());
        }
    }
}
