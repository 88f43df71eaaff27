//! Who is heard by RTSP, and for how long.

use super::*;
use crate::rtsp::client::Way;

/// The list of a rendezvous: names, each with its own port.
fn rtsp_list(entries: &[(&str, u16)]) -> serde_json::Value {
    let entry =
        |(name, port): &(&str, u16)| json!({"ip": "203.0.113.9", "stream": true, "name": name, "port": port});
    entries.iter().map(entry).collect()
}

fn listed(session: &mut Session, now: Time, joined: Option<&str>, entries: &[(&str, u16)]) {
    let mut message = json!({"clients": rtsp_list(entries)});
    if let Some(name) = joined {
        message["name"] = json!(name);
        message["message"] = json!(format!("[{name}] connected to config server"));
    }
    session.handle_rendezvous(now, FromRendezvous::Message(message.to_string()));
}

/// The offer of `name`, as it is relayed in a session of these.
fn offered(session: &mut Session, now: Time, name: &str, ssrc: u32, entries: &[(&str, u16)]) {
    let other = Session::new(identity(name, ssrc, LISBOA), at(0));
    let mut relay: serde_json::Value = serde_json::from_str(&other.offer().encode()).unwrap();
    relay["name"] = json!(name);
    relay["clients"] = rtsp_list(entries);
    session.handle_rendezvous(now, FromRendezvous::Message(relay.to_string()));
}

fn invite(slot: u8, name: &str, port: u16) -> Action {
    Action::Invite { slot, name: name.into(), at: SocketAddr::new([203, 0, 113, 9].into(), port) }
}

fn invites(actions: &[Action]) -> Vec<Action> {
    actions.iter().filter(|action| matches!(action, Action::Invite { .. })).cloned().collect()
}

const BAND: [(&str, u16); 3] = [("porto", 8554), ("montemor", 8555), ("lisboa", 8556)];

/// Porto, with montemor as a guest in slot 0, heard, and lisboa as a peer in slot 1.
fn mixed() -> Session {
    let mut porto = Session::new(identity("porto", 1, PORTO), at(0));
    listed(&mut porto, at(0), None, &BAND[..2]);
    let actions = drain(&mut porto, at(3_000));
    assert_eq!(invites(&actions), [invite(0, "montemor", 8555)]);
    assert!(actions.contains(&Action::Engine(Cue::Join { slot: 0 })));
    porto.handle_guest(0, &Way::Udp);
    heard(&mut porto, at(3_500), 10);
    listed(&mut porto, at(4_000), Some("lisboa"), &BAND);
    offered(&mut porto, at(4_001), "lisboa", 2, &BAND);
    drain(&mut porto, at(4_100));
    porto
}

#[test]
fn who_makes_no_offer_is_a_guest_and_who_makes_one_is_a_peer() {
    let mut porto = Session::new(identity("porto", 1, PORTO), at(0));
    listed(&mut porto, at(0), None, &BAND);
    offered(&mut porto, at(500), "lisboa", 2, &BAND);
    assert_eq!(invites(&drain(&mut porto, at(2_999))), []);
    assert!(porto.deadline().unwrap() <= at(3_000), "it wakes in time");
    assert_eq!(invites(&drain(&mut porto, at(3_000))), [invite(1, "montemor", 8555)]);
    let status = porto.status(at(3_000));
    let names: Vec<_> = status.peers.iter().map(|peer| (peer.name.as_str(), peer.way.as_str())).collect();
    assert_eq!(names, [("lisboa", "no way found yet"), ("montemor", "rtsp://203.0.113.9:8555")]);
    for second in 4..20 {
        listed(&mut porto, at(second * 1_000), None, &BAND);
        assert_eq!(invites(&drain(&mut porto, at(second * 1_000))), [], "once is enough");
    }
}

#[test]
fn what_is_known_of_a_guest_is_shown() {
    let mut porto = mixed();
    let status = porto.status(at(4_100));
    assert!(status.peers[1].connected && status.peers[1].received == 10, "{status:?}");
    assert_eq!(status.peers[1].way, "rtsp://203.0.113.9:8555");
    porto.handle_guest(0, &Way::Tcp);
    assert_eq!(porto.status(at(4_100)).peers[1].way, "rtsp://203.0.113.9:8555 (TCP)");
    porto.handle_guest(0, &Way::Nowhere("does not answer".into()));
    assert_eq!(porto.status(at(4_100)).peers[1].way, "rtsp://203.0.113.9:8555 (does not answer)");
    let said = drain(&mut porto, at(4_100));
    let sentence = "montemor is not heard: rtsp://203.0.113.9:8555 does not answer; trying again";
    assert!(said.contains(&Action::Say(sentence.into())), "{said:?}");
}

#[test]
fn a_guest_that_becomes_a_box_is_a_peer_and_heard_once() {
    let mut porto = mixed();
    offered(&mut porto, at(5_000), "montemor", 3, &BAND);
    let actions = drain(&mut porto, at(5_000));
    assert!(actions.contains(&Action::Engine(Cue::Leave { slot: 0 })), "{actions:?}");
    assert!(actions.contains(&Action::Unroute { slot: 0 }));
    assert!(actions.contains(&Action::Engine(Cue::Join { slot: 2 })));
    assert_eq!(porto.status(at(5_000)).peers.len(), 2);
    assert_eq!(invites(&drain(&mut porto, at(20_000))), []);
}

#[test]
fn a_guest_goes_when_it_is_neither_listed_nor_heard() {
    let mut porto = mixed();
    listed(&mut porto, at(5_000), None, &[BAND[0], BAND[2]]);
    heard(&mut porto, at(6_000), 20);
    assert!(
        !drain(&mut porto, at(10_999)).contains(&Action::Unroute { slot: 0 }),
        "heard, or it may come back"
    );
    let actions = drain(&mut porto, at(11_000));
    assert!(actions.contains(&Action::Unroute { slot: 0 }), "{actions:?}");
}

#[test]
fn a_guest_that_joins_again_is_called_at_once_and_one_that_moved_elsewhere() {
    let mut porto = mixed();
    listed(&mut porto, at(5_000), Some("montemor"), &BAND);
    assert_eq!(invites(&drain(&mut porto, at(5_000))), [invite(0, "montemor", 8555)], "the slot is the same");
    listed(&mut porto, at(6_000), Some("montemor"), &[BAND[0], ("montemor", 9000), BAND[2]]);
    let actions = drain(&mut porto, at(6_000));
    assert!(actions.contains(&Action::Unroute { slot: 0 }));
    assert_eq!(invites(&actions), [invite(2, "montemor", 9000)]);
}

#[test]
fn a_box_that_left_the_session_is_not_heard_by_the_back_door() {
    let mut porto = mixed();
    porto.handle_datagram(at(5_000), LISBOA.parse().unwrap(), &report_about(2, 1));
    let mut bye = Vec::new();
    Writer::new(&mut bye).receiver_report(2, &[]).bye(2);
    porto.handle_datagram(at(5_001), LISBOA.parse().unwrap(), &bye);
    listed(&mut porto, at(5_002), None, &BAND);
    assert_eq!(invites(&drain(&mut porto, at(60_000))), []);
}

#[test]
fn an_original_in_the_place_of_a_box_that_died_is_a_guest() {
    let mut porto = mixed();
    listed(&mut porto, at(5_000), Some("lisboa"), &BAND);
    let actions = drain(&mut porto, at(8_000));
    assert!(actions.contains(&Action::Unroute { slot: 1 }), "{actions:?}");
    assert_eq!(invites(&actions), [invite(2, "lisboa", 8556)]);
}

#[test]
fn one_sound_is_not_heard_twice_nor_our_own() {
    let mut porto = mixed();
    let names = [BAND[0], BAND[1], BAND[2], ("marte", 8554), ("evora", 8555), ("beja", 8556)];
    for now in [at(5_000), at(9_000)] {
        listed(&mut porto, now, None, &names);
        let actions = drain(&mut porto, now + Duration::from_secs(3));
        assert_eq!(invites(&actions), []);
        let said =
            actions.iter().filter(|action| matches!(action, Action::Say(text) if text.contains("\"port\"")));
        assert_eq!(said.count(), if now == at(5_000) { 3 } else { 0 }, "{actions:?}");
    }
}

#[test]
fn the_configurations_guest_is_heard_without_a_rendezvous_until_it_has_a_name_there() {
    let mut porto = Session::new(identity("porto", 1, PORTO), at(0));
    let address = SocketAddr::new([203, 0, 113, 9].into(), 8555);
    porto.receive_from(at(0), address);
    let fixed = Action::Invite { slot: 0, name: "203.0.113.9".into(), at: address };
    assert_eq!(invites(&drain(&mut porto, at(0))), [fixed]);
    listed(&mut porto, at(60_000), None, &BAND[..1]);
    assert_eq!(porto.status(at(120_000)).peers.len(), 1, "it never is gone");
    listed(&mut porto, at(120_000), None, &BAND[..2]);
    let actions = drain(&mut porto, at(123_000));
    assert!(actions.contains(&Action::Unroute { slot: 0 }), "{actions:?}");
    assert_eq!(invites(&actions), [invite(1, "montemor", 8555)]);
    listed(&mut porto, at(130_000), None, &BAND[..1]);
    assert_eq!(invites(&drain(&mut porto, at(200_000))), [], "it is heard on as it is");
    assert_eq!(porto.status(at(200_000)).peers[0].name, "montemor");
}

#[test]
fn the_box_itself_is_no_guest() {
    let mut porto = Session::new(identity("porto", 1, PORTO), at(0));
    porto.receive_from(at(0), "198.51.100.1:8554".parse().unwrap());
    let actions = drain(&mut porto, at(0));
    assert!(
        matches!(&actions[..], [Action::Say(text)] if text.contains("is this box itself")),
        "{actions:?}"
    );
}

#[test]
fn a_guest_has_a_fader_and_is_silent_beside_a_solo() {
    let mut porto = mixed();
    let confirmed = |session: &mut Session, gains: [Gains; 2]| {
        let mut report = Report::default();
        report.peers.iter_mut().zip(gains).for_each(|(peer, gains)| peer.gains = gains);
        session.handle_report(at(5_000), &report);
    };
    let wish = Command::Solo { peer: "lisboa".into(), on: true };
    command(&mut porto, wish).unwrap();
    assert_eq!(cues(&mut porto, at(5_000)), [Cue::Fader { slot: 0, gains: SILENT }]);
    command(&mut porto, Command::Solo { peer: "montemor".into(), on: true }).unwrap();
    assert_eq!(cues(&mut porto, at(5_000)), [Cue::Fader { slot: 0, gains: Gains::default() }]);
    confirmed(&mut porto, [Gains::default(); 2]);
    let solo: Vec<bool> = porto.status(at(5_000)).peers.iter().map(|peer| peer.solo).collect();
    assert_eq!(solo, [true, true]);
}

#[test]
fn who_leaves_the_session_hears_no_guest_until_he_joins() {
    let sender: SocketAddr = "203.0.113.9:8555".parse().unwrap();
    let mut porto = mixed();
    porto.receive_from(at(4_200), "192.0.2.77:8554".parse().unwrap());
    drain(&mut porto, at(4_200));
    command(&mut porto, Command::Leave).unwrap();
    let actions = drain(&mut porto, at(5_000));
    for slot in 0..3 {
        assert!(actions.contains(&Action::Unroute { slot }), "{slot} of {actions:?}");
    }
    listed(&mut porto, at(5_100), Some("montemor"), &BAND);
    assert_eq!(invites(&drain(&mut porto, at(20_000))), [], "even if a list comes late");
    assert!(porto.status(at(20_000)).peers.is_empty());

    command(&mut porto, Command::Join).unwrap();
    let invited = invites(&drain(&mut porto, at(20_100)));
    assert!(matches!(&invited[..], [Action::Invite { at, .. }] if at.ip().to_string() == "192.0.2.77"));
    listed(&mut porto, at(20_200), None, &BAND[..2]);
    let invited = invites(&drain(&mut porto, at(24_000)));
    assert!(matches!(&invited[..], [Action::Invite { at, .. }] if *at == sender), "{invited:?}");
}
