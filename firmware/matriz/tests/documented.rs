//! docs/api.md knows every command, every parameter and every field of the status; docs/configuration.md knows the
//! keys of the API.
//!
//! The values here name every field, so a new one does not compile until it is here, and then not pass until it is
//! written down.
#![allow(clippy::unwrap_used, reason = "tests")]

use proto::control::{CYCLE_TIMES, Command, Depth, Machine, PeerStatus, Sends, Status, System};
use proto::format::Format;
use proto::units::Time;
use serde_json::Value;

const API: &str = include_str!("../../../docs/api.md");
const CONFIGURATION: &str = include_str!("../../../docs/configuration.md");

fn text() -> Option<String> {
    Some("x".to_owned())
}

fn sends() -> Sends {
    Sends { format: Format::default(), packet_ms: 2.5, kbits: Some(96.0) }
}

fn system() -> System {
    System { slot: String::new(), version: String::new(), pending: text(), failed: text() }
}

fn machine() -> Machine {
    Machine {
        version: String::new(),
        system: Some(system()),
        update: text(),
        address: text(),
        card: String::new(),
        plays: true,
        period: 120,
        xruns: 0,
        celsius: Some(40.0),
    }
}

fn peer() -> PeerStatus {
    PeerStatus {
        name: String::new(),
        connected: true,
        connected_after_ms: Some(1),
        way: String::new(),
        delay_ms: Some(1.0),
        round_trip_ms: Some(1.0),
        depth_ms: 0.0,
        sends: sends(),
        received: 0,
        lost: 0,
        late: 0,
        recovered: 0,
        concealed: 0,
        drift_ppm: 0.0,
        stretch_ppm: 0.0,
        level_db: 0.0,
        peak_db: 0.0,
        volume_db: 0.0,
        pan: 0.0,
        muted: false,
        solo: false,
        muted_itself: false,
        lost_percent: 0.0,
        late_percent: 0.0,
        concealed_percent: 0.0,
        relayed: false,
    }
}

fn status() -> Status {
    Status {
        name: String::new(),
        rendezvous: String::new(),
        started: Time(0),
        uptime_ms: 0,
        card_time: Time(0),
        card_frame: 0,
        level_db: 0.0,
        cycles: 0,
        overruns: 0,
        cycle_times: [0; CYCLE_TIMES],
        longest_cycle_ms: 0.0,
        sends: sends(),
        depth: Depth::default(),
        peak_db: 0.0,
        clips: false,
        muted: false,
        gain_db: 0.0,
        in_session: true,
        recording: text(),
        machine: machine(),
        messages: Vec::new(),
        peers: Vec::new(),
    }
}

/// The part of the page under a heading.
fn section(heading: &str) -> &'static str {
    let rest = API.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    rest.split("\n## ").next().unwrap()
}

fn assert_has(page: &str, fields: &Value, what: &str) {
    for field in fields.as_object().unwrap().keys() {
        assert!(page.contains(&format!("`{field}`")), "docs/api.md says nothing of `{field}` of {what}");
    }
}

#[test]
fn every_field_of_the_status_is_described() {
    let page = section("The status");
    let (status_page, peer_page) = page.split_once("Each of `peers`:").unwrap();
    let json = |status: Status| serde_json::to_value(status).unwrap();
    assert_has(status_page, &json(status()), "the status");
    assert_has(status_page, &serde_json::to_value(machine()).unwrap(), "the machine");
    assert_has(status_page, &serde_json::to_value(system()).unwrap(), "the system");
    assert_has(status_page, &serde_json::to_value(sends()).unwrap(), "what is sent");
    assert_has(peer_page, &serde_json::to_value(peer()).unwrap(), "a peer");
}

#[test]
fn every_command_is_a_row_with_its_parameters() {
    let peer = || "x".to_owned();
    let commands = [
        Command::Mute { peer: text(), on: true },
        Command::Volume { peer: peer(), db: 0.0 },
        Command::Pan { peer: peer(), pan: 0.0 },
        Command::Solo { peer: peer(), on: true },
        Command::Gain { db: 0.0 },
        Command::Leave,
        Command::Join,
        Command::Name { name: peer() },
        Command::Record { on: true },
        Command::PowerOff,
    ];
    for command in commands {
        match &command {
            Command::Mute { .. } | Command::Volume { .. } | Command::Pan { .. } | Command::Solo { .. } => {}
            Command::Gain { .. } | Command::Leave | Command::Join | Command::Name { .. } => {}
            Command::Record { .. } | Command::PowerOff => {} // a new one belongs into the list above, too
        }
        let mut json = serde_json::to_value(&command).unwrap();
        let name = json.as_object_mut().unwrap().remove("command").unwrap();
        let begin = format!("| `{}` |", name.as_str().unwrap());
        let row = section("Requests").lines().find(|line| line.starts_with(&begin));
        assert_has(row.unwrap_or_else(|| panic!("{begin} is missing")), &json, &begin);
    }
}

#[test]
fn the_keys_of_the_api_are_described() {
    for key in ["socket", "port", "token", "state_folder", "power_off"] {
        assert!(
            CONFIGURATION.contains(&format!("| `{key}` |")),
            "docs/configuration.md says nothing of `{key}`"
        );
    }
}
