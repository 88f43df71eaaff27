use super::*;
use crate::control::{Command, Gains, PeerReport};
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

/// What a session wants of the engine.
fn cues(session: &mut Session, now: Time) -> Vec<Cue> {
    let cue = |action| if let Action::Engine(cue) = action { Some(cue) } else { None };
    drain(session, now).into_iter().filter_map(cue).collect()
}

fn command(session: &mut Session, command: Command) -> Result<(), String> {
    session.handle_command(at(1_000), &command)
}

const SILENT: Gains = Gains { left: 0.0, right: 0.0 };

#[test]
fn a_fader_is_shown_when_the_engine_has_it_and_asked_for_until_then() {
    let mut porto = introduced();
    command(&mut porto, Command::Mute { peer: Some("lisboa".into()), on: true }).unwrap();
    let silence = Cue::Fader { slot: 0, gains: SILENT };
    assert_eq!(cues(&mut porto, at(1_000)), [silence]);
    assert!(!porto.status(at(1_000)).peers[0].muted, "nothing has confirmed it");
    heard(&mut porto, at(1_100), 400);
    assert_eq!(cues(&mut porto, at(1_100)), [silence], "the report does not have it: once more");
    let mut report = Report::default();
    report.peers[0].gains = SILENT;
    porto.handle_report(at(1_200), &report);
    assert_eq!(cues(&mut porto, at(1_200)), []);
    assert!(porto.status(at(1_200)).peers[0].muted);
}

#[test]
fn a_fader_waits_for_a_peer_who_comes_again() {
    let mut porto = introduced();
    for wish in [
        Command::Volume { peer: "lisboa".into(), db: -60.0 },
        Command::Pan { peer: "lisboa".into(), pan: 1.0 },
        Command::Gain { db: 3.0 },
    ] {
        command(&mut porto, wish).unwrap();
    }
    let mut later = Session::new(identity("porto", 1, PORTO), at(0));
    later.take_over(porto.desk().clone());
    assert_eq!(cues(&mut later, at(0)), [Cue::Gain { db: 3.0 }]);
    command(&mut later, Command::Volume { peer: "lisboa".into(), db: 0.0 }).unwrap();
    later.handle_rendezvous(at(2_000), offer_from("lisboa", 2, LISBOA));
    let gains = Gains { left: 0.0, right: std::f32::consts::SQRT_2 };
    assert!(cues(&mut later, at(2_000)).ends_with(&[Cue::Join { slot: 0 }, Cue::Fader { slot: 0, gains }]));
}

#[test]
fn solo_silences_the_others_until_the_last_of_them_has_left() {
    let mut porto = introduced();
    porto.handle_rendezvous(at(100), offer_from("montemor", 3, "198.51.100.3:8600"));
    drain(&mut porto, at(100));
    command(&mut porto, Command::Solo { peer: "lisboa".into(), on: true }).unwrap();
    assert_eq!(cues(&mut porto, at(1_000)), [Cue::Fader { slot: 1, gains: SILENT }]);
    let mut bye = Vec::new();
    Writer::new(&mut bye).receiver_report(2, &[]).bye(2);
    porto.handle_datagram(at(1_100), LISBOA.parse().unwrap(), &bye);
    let wanted = [Cue::Leave { slot: 0 }, Cue::Fader { slot: 1, gains: Gains::default() }];
    assert_eq!(cues(&mut porto, at(1_100)), wanted);
}

#[test]
fn who_mutes_himself_says_so_and_older_boxes_say_nothing() {
    let mut porto = introduced();
    let way: SocketAddr = LISBOA.parse().unwrap();
    for (flags, muted) in [(vec![], false), (vec![0, 0, 0, 1], true), (vec![0, 0, 0, 2, 9, 9, 9, 9], false)] {
        let mut data = vec![0; 16];
        data.extend(flags);
        let mut bytes = Vec::new();
        Writer::new(&mut bytes).app(2, 1, REPORT, &data);
        porto.handle_datagram(at(500), way, &bytes);
        assert_eq!(porto.status(at(500)).peers[0].muted_itself, muted, "{data:?}");
    }
    // It is told at once when the sound is silent, not when somebody wished so.
    command(&mut porto, Command::Mute { peer: None, on: true }).unwrap();
    drain(&mut porto, at(1_000));
    let report = Report { muted: true, ..Report::default() };
    porto.handle_report(at(1_010), &report);
    let told = drain(&mut porto, at(1_010)).into_iter().any(|action| match action {
        Action::Datagram { to, bytes } => to == way && bytes.ends_with(&[0, 0, 0, 1]),
        _ => false,
    });
    assert!(told && porto.status(at(1_010)).muted);
}

#[test]
fn a_box_that_has_left_hears_and_says_nothing_until_it_joins() {
    let mut porto = introduced();
    command(&mut porto, Command::Leave).unwrap();
    let actions = drain(&mut porto, at(1_000));
    let goodbye = Action::Rendezvous(Request::Deregister.encode().unwrap());
    for wanted in
        [goodbye, Action::Disconnect, Action::Engine(Cue::Leave { slot: 0 }), Action::Unroute { slot: 0 }]
    {
        assert!(actions.contains(&wanted), "{actions:?}");
    }
    assert!(actions.iter().any(|action| matches!(action, Action::Datagram { .. })), "{actions:?}");
    porto.handle_rendezvous(at(1_100), offer_from("lisboa", 2, LISBOA));
    porto.handle_datagram(at(1_200), LISBOA.parse().unwrap(), &report_about(2, 1));
    assert_eq!(drain(&mut porto, at(9_000)), []);
    let status = porto.status(at(9_000));
    assert!(!status.in_session && status.peers.is_empty() && status.rendezvous.contains("left"));

    command(&mut porto, Command::Join).unwrap();
    command(&mut porto, Command::Join).unwrap();
    let hello = Action::Connect(Session::hello(&identity("porto", 1, PORTO)));
    let connects = drain(&mut porto, at(9_100)).into_iter().filter(|action| *action == hello).count();
    assert_eq!(connects, 1, "once");
    porto.handle_rendezvous(at(9_200), offer_from("lisboa", 2, LISBOA));
    assert_eq!(porto.status(at(9_200)).peers.len(), 1);
}

#[test]
fn a_box_that_is_renamed_comes_back_under_its_new_name() {
    let mut porto = introduced();
    porto.rename(at(1_000), "gaia");
    let hello = Action::Connect(Session::hello(&identity("gaia", 1, PORTO)));
    let actions = drain(&mut porto, at(1_000));
    assert!(actions.contains(&Action::Disconnect) && actions.contains(&hello), "{actions:?}");
    assert_eq!(porto.status(at(1_000)).name, "gaia");

    // At another box, where its goodbye was lost.
    let mut lisboa = Session::new(identity("lisboa", 2, LISBOA), at(0));
    lisboa.handle_rendezvous(at(0), offer_from("porto", 1, PORTO));
    let list = json!({"name": "lisboa", "n_clients": 2, "clients": list(&["lisboa", "gaia"])});
    lisboa.handle_rendezvous(at(1_000), FromRendezvous::Message(list.to_string()));
    let FromRendezvous::Message(offer) = offer_from("gaia", 1, PORTO) else { panic!("it is a message") };
    let offer = offer.replace("\"porto\"", "\"lisboa\""); // who is listed with it
    lisboa.handle_rendezvous(at(1_000), FromRendezvous::Message(offer));
    let peers = lisboa.status(at(1_000)).peers;
    assert_eq!(peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["gaia"]);
}

#[test]
fn clipping_is_shown_long_enough_to_be_seen() {
    let mut porto = introduced();
    porto.handle_report(at(1_000), &Report { clips: true, peak_db: 0.0, ..Report::default() });
    porto.handle_report(at(1_100), &Report::default());
    assert!(porto.status(at(2_900)).clips && !porto.status(at(3_000)).clips);
}

mod guests;
