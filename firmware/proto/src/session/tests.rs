use super::*;
use crate::control::PeerReport;
use serde_json::json;

const PORTO: &str = "198.51.100.1:8600";
const LISBOA: &str = "198.51.100.2:8600";

fn identity(name: &str, ssrc: u32, media: &str) -> Identity {
    Identity {
        name: name.into(),
        key: "key".into(),
        rtsp_port: 8554,
        ssrc,
        timestamp_offset: 7,
        media: vec![media.parse().unwrap()],
        format: Format::default(),
        wish: Wish { bitrate: 96_000, ..Wish::default() },
        depth: Depth::Balanced,
    }
}

fn at(milliseconds: i64) -> Time {
    Time(1_000_000_000_000 + milliseconds * 1_000_000)
}

fn drain(session: &mut Session, now: Time) -> Vec<Action> {
    std::iter::from_fn(|| session.poll(now)).collect()
}

fn list(names: &[&str]) -> serde_json::Value {
    names
        .iter()
        .map(|name| json!({"ip": "203.0.113.9", "stream": false, "name": name, "port": 8554}))
        .collect()
}

fn welcome(session: &mut Session, now: Time, names: &[&str]) {
    let welcome = json!({"name": "porto", "n_clients": names.len(), "clients": list(names)});
    session.handle_rendezvous(now, FromRendezvous::Message(welcome.to_string()));
}

fn offer_from(name: &str, ssrc: u32, media: &str) -> FromRendezvous {
    let mut relay: serde_json::Value =
        serde_json::from_str(&Session::new(identity(name, ssrc, media), at(0)).offer().encode()).unwrap();
    relay["name"] = json!(name);
    relay["clients"] = list(&["porto", name]);
    FromRendezvous::Message(relay.to_string())
}

/// A report of the peer `ssrc` that names `about`.
fn report_about(ssrc: u32, about: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let block = rtcp::Block { ssrc: about, ..Default::default() };
    Writer::new(&mut bytes).receiver_report(ssrc, &[block]);
    bytes
}

/// Porto, which has met lisboa (source 2, slot 0) and found the way to it.
fn introduced() -> Session {
    let mut porto = Session::new(identity("porto", 1, PORTO), at(0));
    welcome(&mut porto, at(0), &["porto", "lisboa"]);
    porto.handle_rendezvous(at(1), offer_from("lisboa", 2, LISBOA));
    drain(&mut porto, at(20));
    porto.handle_datagram(at(30), LISBOA.parse().unwrap(), &report_about(2, 1));
    drain(&mut porto, at(30));
    porto
}

fn heard(session: &mut Session, now: Time, received: u64) {
    let mut report = Report::default();
    report.peers[0] = PeerReport { playing: true, received, ..Default::default() };
    session.handle_report(now, &report);
}

#[test]
fn a_newcomer_offers_itself_at_once_and_the_others_answer() {
    let mut porto = Session::new(identity("porto", 1, PORTO), at(0));
    welcome(&mut porto, at(0), &["porto"]);
    let actions = drain(&mut porto, at(0));
    assert!(matches!(&actions[..], [Action::Rendezvous(text)] if text.contains(PORTO)), "{actions:?}");
    porto.handle_rendezvous(at(500), offer_from("lisboa", 2, LISBOA));
    assert!(drain(&mut porto, at(500)).contains(&Action::Engine(Cue::Join { slot: 0 })));
    let answers = drain(&mut porto, at(520));
    assert!(answers.iter().any(|action| matches!(action, Action::Rendezvous(_))), "{answers:?}");
}

#[test]
fn every_address_is_tried_until_one_answers() {
    let mut porto = Session::new(identity("porto", 1, PORTO), at(0));
    welcome(&mut porto, at(0), &["porto", "lisboa"]);
    porto.handle_rendezvous(at(1), offer_from("lisboa", 2, LISBOA));
    let to: Vec<_> = drain(&mut porto, at(1))
        .into_iter()
        .filter_map(
            |action| if let Action::Datagram { to, .. } = action { Some(to.to_string()) } else { None },
        )
        .collect();
    assert_eq!(to, [LISBOA, "203.0.113.9:8600"], "its own word, and what the rendezvous sees");
    // It answers from behind a NAT, with a port that nobody knew.
    let behind_nat: SocketAddr = "203.0.113.9:40001".parse().unwrap();
    porto.handle_datagram(at(40), behind_nat, &report_about(2, 1));
    let actions = drain(&mut porto, at(40));
    assert!(
        actions.iter().any(|a| matches!(a, Action::Route { ssrc: 2, to: Some(to), .. } if *to == behind_nat))
    );
}

#[test]
fn strangers_move_nothing() {
    let mut porto = introduced();
    let elsewhere: SocketAddr = "192.0.2.66:1".parse().unwrap();
    for bytes in [report_about(2, 99), report_about(3, 1), vec![0x80; 3], vec![], report_about(2, 1)] {
        porto.handle_datagram(at(40), elsewhere, &bytes);
    }
    let mut bye = Vec::new();
    Writer::new(&mut bye).receiver_report(2, &[]).bye(2);
    porto.handle_datagram(at(50), elsewhere, &bye);
    assert_eq!(drain(&mut porto, at(50)), []);
    assert_eq!(porto.status(at(50)).peers[0].way, LISBOA);
}

#[test]
fn music_goes_on_while_the_rendezvous_is_away_and_after_it_forgot_everybody() {
    let mut porto = introduced();
    porto.handle_rendezvous(at(100), FromRendezvous::Away("the rendezvous is away".into()));
    for second in 1..60 {
        heard(&mut porto, at(second * 1_000), second as u64 * 400);
        let actions = drain(&mut porto, at(second * 1_000));
        assert!(!actions.iter().any(|a| matches!(a, Action::Unroute { .. })), "{actions:?}");
    }
    welcome(&mut porto, at(60_000), &["porto"]);
    heard(&mut porto, at(60_500), 24_200);
    drain(&mut porto, at(61_000));
    assert_eq!(porto.status(at(61_000)).peers.len(), 1, "not listed any more, but heard");
}

#[test]
fn a_peer_neither_listed_nor_heard_goes() {
    let mut porto = introduced();
    heard(&mut porto, at(1_000), 400);
    welcome(&mut porto, at(1_100), &["porto"]);
    drain(&mut porto, at(5_000));
    assert_eq!(porto.status(at(5_000)).peers.len(), 1, "it may come back");
    let actions = drain(&mut porto, at(7_000));
    assert!(actions.contains(&Action::Engine(Cue::Leave { slot: 0 })), "{actions:?}");
    assert!(actions.contains(&Action::Unroute { slot: 0 }));
}

#[test]
fn a_box_that_was_started_again_takes_a_fresh_slot() {
    let mut porto = introduced();
    porto.handle_rendezvous(at(2_000), offer_from("lisboa", 22, LISBOA));
    let actions = drain(&mut porto, at(2_000));
    assert!(actions.contains(&Action::Engine(Cue::Join { slot: 1 })), "{actions:?}");
    assert!(actions.contains(&Action::Engine(Cue::Leave { slot: 0 })));
    assert_eq!(porto.status(at(2_000)).peers.len(), 1);
}

#[test]
fn goodbye_is_believed_at_once() {
    let mut porto = introduced();
    let mut lisboa = Session::new(identity("lisboa", 2, LISBOA), at(0));
    lisboa.handle_rendezvous(at(0), offer_from("porto", 1, PORTO));
    lisboa.handle_datagram(at(1), PORTO.parse().unwrap(), &report_about(1, 2));
    drain(&mut lisboa, at(20));
    lisboa.leave();
    for action in drain(&mut lisboa, at(30)) {
        if let Action::Datagram { bytes, .. } = action {
            porto.handle_datagram(at(40), LISBOA.parse().unwrap(), &bytes);
        }
    }
    assert!(drain(&mut porto, at(40)).contains(&Action::Unroute { slot: 0 }));
}

#[test]
fn the_round_trip_is_measured_by_the_reports() {
    let (mut porto, mut lisboa) = (introduced(), Session::new(identity("lisboa", 2, LISBOA), at(0)));
    lisboa.handle_rendezvous(at(1), offer_from("porto", 1, PORTO));
    let (one, other): (SocketAddr, SocketAddr) = (PORTO.parse().unwrap(), LISBOA.parse().unwrap());
    for millisecond in 31..3_000 {
        for action in drain(&mut porto, at(millisecond)) {
            if let Action::Datagram { bytes, to } = action
                && to == other
            {
                lisboa.handle_datagram(at(millisecond + 15), one, &bytes);
            }
        }
        for action in drain(&mut lisboa, at(millisecond)) {
            if let Action::Datagram { bytes, to } = action
                && to == one
            {
                porto.handle_datagram(at(millisecond + 15), other, &bytes);
            }
        }
    }
    let trip = porto.status(at(3_000)).peers[0].round_trip_ms.unwrap();
    assert!((trip - 30.0).abs() < 0.5, "{trip} ms");
}

#[test]
fn a_sixteenth_box_is_told_apart_in_words() {
    let mut porto = Session::new(identity("porto", 1, PORTO), at(0));
    for n in 0..=SLOTS as u32 {
        porto.handle_rendezvous(at(1), offer_from(&format!("box{n}"), 100 + n, LISBOA));
    }
    let said = drain(&mut porto, at(1));
    assert!(said.iter().any(|a| matches!(a, Action::Say(text) if text.contains("no place for box15"))));
    assert_eq!(porto.status(at(1)).peers.len(), SLOTS);
}

mod guests;
