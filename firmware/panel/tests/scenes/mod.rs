//! The states of which there are golden pictures: each a status, and what was pressed.

use panel::{Button, Panel, Picture, Press};
use proto::control::{Machine, PeerStatus, Status, System};
use proto::units::Time;
use std::time::Duration;

/// All of them, by name.
pub fn all() -> Vec<(&'static str, Picture)> {
    let mut scenes = play();
    scenes.extend(line());
    scenes.extend(machine());
    scenes.extend(message());
    scenes.extend(power());
    scenes
}

fn play() -> Vec<(&'static str, Picture)> {
    let marks = || {
        let mut status = trio();
        status.peers[0].muted = true;
        status.peers[1].late_percent = 3.0;
        status.peers[2].connected = false;
        status
    };
    vec![
        ("play", shown(trio(), &[])),
        ("play-marks", shown(marks(), &[])),
        ("play-muted", shown(Status { muted: true, ..trio() }, &[])),
        ("play-clip", shown(Status { clips: true, peak_db: 0.0, level_db: -4.0, ..trio() }, &[])),
        ("play-recording", shown(Status { recording: Some("recordings/1".into()), ..trio() }, &[])),
        ("play-own-gain", shown(trio(), &[Press::Short(Button::Up)])),
        ("play-selected", shown(trio(), &[Press::Both, Press::Both])),
        ("play-volume", shown(trio(), &[Press::Both, Press::Both, Press::Short(Button::Down)])),
        ("play-mic-off-solo", {
            let mut status = trio();
            status.peers[0].muted_itself = true;
            status.peers[1].solo = true;
            status.peers[2].lost_percent = 4.0;
            shown(status, &[])
        }),
        ("play-eight", shown(eight(), &[])),
        ("play-eight-last", shown(eight(), &[Press::Both; 8])),
        ("play-long-names", shown(named(&LONG), &[])),
        ("play-long-names-selected", shown(named(&LONG), &[Press::Both])),
        ("play-letters", shown(named(&["Łódź Žižkov", "Αθήνα Ярославль", "Þórshöfn Şişli"]), &[])),
        ("play-alone", shown(named(&[]), &[])),
        ("play-left", shown(Status { in_session: false, ..trio() }, &[])),
    ]
}

fn line() -> Vec<(&'static str, Picture)> {
    let page = Press::Short(Button::Page);
    let one = |change: fn(&mut PeerStatus)| {
        let mut status = trio();
        change(&mut status.peers[0]);
        shown(status, &[page, Press::Both])
    };
    vec![
        ("line", one(|_| {})),
        ("line-loss", one(|peer| (peer.lost_percent, peer.delay_ms) = (2.0, Some(23.4)))),
        ("line-away", one(|peer| peer.connected = false)),
        ("line-far", one(|peer| (peer.delay_ms, peer.depth_ms, peer.relayed) = (Some(128.0), 22.8, true))),
        ("line-long-name", shown(named(&LONG), &[page])),
        ("line-own", {
            let mut status = trio();
            status.peers.iter_mut().for_each(|peer| peer.lost_percent = 11.0);
            shown(status, &[page])
        }),
        ("line-alone", shown(named(&[]), &[page])),
    ]
}

fn machine() -> Vec<(&'static str, Picture)> {
    let page = [Press::Short(Button::Page); 2];
    let bare = Machine { version: "0.1.0".into(), ..Default::default() };
    let name = "Conservatório de Lisboa 2".to_owned();
    let system = |pending: Option<&str>, failed: Option<&str>| {
        let mut status = trio();
        let [pending, failed] = [pending, failed].map(|text| text.map(str::to_owned));
        status.machine.system = Some(System { slot: "A".into(), version: "1.0.0".into(), pending, failed });
        status
    };
    let waits = system(Some("1.1.0 is tried at the next start"), None);
    let failed = system(None, Some("1.1.0 failed: it did not start, running 1.0.0"));
    vec![
        ("box", shown(trio(), &page)),
        ("box-card", later(trio(), &page, 4)),
        ("box-cycle", later(trio(), &page, 8)),
        ("box-version", later(trio(), &page, 12)),
        ("box-trial", later(waits, &page, 12)),
        ("box-failed", later(failed, &page, 16)),
        ("box-bare", shown(Status { name, machine: bare, peers: Vec::new(), ..trio() }, &page)),
    ]
}

fn message() -> Vec<(&'static str, Picture)> {
    let say = |messages: &[&str], seconds| {
        let messages = messages.iter().map(|text| (*text).to_owned()).collect();
        later(Status { messages, ..trio() }, &[], seconds)
    };
    let two = ["No sound card is plugged in.", "No network: is the cable in?"];
    vec![
        ("message", say(&two[..1], 0)),
        ("message-two", say(&two, 4)),
        (
            "message-settings",
            say(&["matriz.toml, line 12: there is no key \"medai_port\"; did you mean \"media_port\"?"], 0),
        ),
        ("message-update", say(&["The update runs: 40 %. Leave the plug in."], 0)),
        (
            "message-long",
            say(
                &[
                    "The update has failed: the bundle matriz-0.2.0.raucb is not signed by a key that this box knows, so that nothing was changed. Fetch it again from where you had it.",
                ],
                4,
            ),
        ),
    ]
}

fn power() -> Vec<(&'static str, Picture)> {
    let starting = Panel::new(Time(0)).draw(Time(0));
    let mut silent = Panel::new(Time(0));
    silent.handle_status(Time(0), trio());
    let silent = silent.draw(after(4.0));
    let mut held = ready(trio());
    held.handle_level(after(0.5), Button::Page, false);
    held.handle_level(after(1.0), Button::Page, true);
    held.handle_status(after(2.8), trio());
    held.poll(after(3.0));
    let holding = held.draw(after(3.0));
    let mut off = ready(trio());
    off.handle_press(after(0.1), Press::Long(Button::Page));
    let countdown = off.draw(after(1.6));
    off.poll(after(5.2));
    vec![
        ("power-hold", holding),
        ("power-countdown", countdown),
        ("power-off", off.draw(after(5.3))),
        ("starting", starting),
        ("no-answer", silent),
    ]
}

const LONG: [&str; 3] = ["Vila Nova de Famalicão 1", "Vila Nova de Famalicão 2", "Kirchenchor St. Blasien"];

fn after(seconds: f32) -> Time {
    Time(0) + Duration::from_secs_f32(seconds)
}

fn ready(status: Status) -> Panel {
    let mut panel = Panel::new(Time(0));
    panel.handle_status(Time(0), status);
    panel
}

fn shown(status: Status, presses: &[Press]) -> Picture {
    later(status, presses, 0)
}

/// What is shown so many seconds after the presses. The peaks are a second old.
fn later(status: Status, presses: &[Press], seconds: u64) -> Picture {
    let mut panel = ready(status.clone());
    presses.iter().for_each(|press| panel.handle_press(Time(0), *press));
    let now = Time(0) + Duration::from_secs(seconds) + Duration::from_millis(500);
    panel.handle_status(now, status);
    panel.draw(now)
}

fn peer(name: &str, n: usize) -> PeerStatus {
    let levels = [-18.0, -31.0, -24.0, -55.0, -12.0, -40.0, -120.0, -20.0];
    PeerStatus {
        name: name.to_owned(),
        connected: true,
        way: ["203.0.113.9:8600", "192.168.1.17:8600"][n % 2].to_owned(),
        delay_ms: Some(12.3 + 4.0 * n as f32),
        depth_ms: 3.8,
        level_db: levels[n % 8],
        peak_db: levels[n % 8] + 9.0,
        ..Default::default()
    }
}

fn named(names: &[&str]) -> Status {
    let machine = Machine {
        version: "0.1.0".into(),
        update: None,
        system: Some(System { slot: "A".into(), version: "1.0.0".into(), ..Default::default() }),
        address: Some("192.168.178.124".into()),
        card: "Focusrite Scarlett 2i2 USB".into(),
        plays: true,
        period: 120,
        xruns: 3,
        celsius: Some(51.6),
    };
    Status {
        name: "Évora".into(),
        rendezvous: "connected".into(),
        level_db: -21.0,
        peak_db: -11.0,
        overruns: 1,
        in_session: true,
        peers: names.iter().enumerate().map(|(n, name)| peer(name, n)).collect(),
        machine,
        ..Default::default()
    }
}

fn trio() -> Status {
    named(&["Porto", "Montemor", "Lisboa"])
}

fn eight() -> Status {
    named(&["Porto", "Montemor", "Lisboa", "Coimbra", "Braga", "Faro", "Setúbal", "Viseu"])
}
