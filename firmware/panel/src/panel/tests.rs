//! What presses wish, in virtual time.

use super::*;
use proto::control::PeerStatus;

/// A panel in virtual time before a box that does at once what it is told.
struct Desk {
    panel: Panel,
    now: Time,
    status: Status,
}

impl Desk {
    fn new() -> Desk {
        let peer = |name: &str| PeerStatus { name: name.into(), connected: true, ..Default::default() };
        let status =
            Status { in_session: true, peers: vec![peer("Porto"), peer("Lisboa")], ..Default::default() };
        let mut desk = Desk { panel: Panel::new(Time(0)), now: Time(0), status };
        assert_eq!(desk.wait(1_000), []);
        desk
    }

    /// Milliseconds pass; the status comes ten times a second.
    fn wait(&mut self, milliseconds: u64) -> Vec<Command> {
        let mut wishes = Vec::new();
        for _ in 0..milliseconds {
            self.now = self.now + Duration::from_millis(1);
            while let Some(wish) = self.panel.poll(self.now) {
                self.obey(&wish);
                wishes.push(wish);
            }
            if self.now.0 % 100_000_000 == 0 {
                self.panel.handle_status(self.now, self.status.clone());
            }
        }
        wishes
    }

    fn obey(&mut self, wish: &Command) {
        match wish {
            Command::Mute { peer: None, on } => self.status.muted = *on,
            Command::Leave => self.status.in_session = false,
            Command::Join => self.status.in_session = true,
            Command::Gain { db } => self.status.gain_db = *db,
            Command::Volume { peer, db } => {
                let peer = self.status.peers.iter_mut().find(|other| other.name == *peer);
                peer.expect("a peer that is there").volume_db = *db;
            }
            _ => {}
        }
    }

    fn hold(&mut self, buttons: &[Button], milliseconds: u64) -> Vec<Command> {
        let level = |desk: &mut Desk, down| {
            buttons.iter().for_each(|button| desk.panel.handle_level(desk.now, *button, down));
        };
        level(self, true);
        let mut wishes = self.wait(milliseconds);
        level(self, false);
        wishes.extend(self.wait(20));
        wishes
    }

    fn shows(&self) -> String {
        format!("{:?}", self.panel.page)
    }
}

fn mute(on: bool) -> Command {
    Command::Mute { peer: None, on }
}

fn volume(peer: &str, db: f32) -> Command {
    Command::Volume { peer: peer.into(), db }
}

#[test]
fn mute_is_silence_at_once_and_sound_when_the_finger_is_off() {
    let mut desk = Desk::new();
    desk.panel.handle_level(desk.now, Button::Mute, true);
    assert_eq!(desk.wait(8), [mute(true)], "8 ms after the contact closed");
    assert_eq!(desk.wait(100), []);
    desk.panel.handle_level(desk.now, Button::Mute, false);
    assert_eq!(desk.wait(1_000), []);
    assert_eq!(desk.panel.lights(desk.now)[2], Light::Slow, "the lamp says what the box says");
    desk.panel.handle_level(desk.now, Button::Mute, true);
    assert_eq!(desk.wait(200), []);
    desk.panel.handle_level(desk.now, Button::Mute, false);
    assert_eq!(desk.wait(20), [mute(false)]);
    // Twice in a row before the box has said a word.
    assert_eq!(desk.hold(&[Button::Mute], 30), [mute(true)]);
    assert_eq!(desk.hold(&[Button::Mute], 30), [mute(false)]);
}

#[test]
fn a_long_mute_leaves_and_comes_back_and_lets_nothing_through() {
    let mut desk = Desk::new();
    assert_eq!(desk.hold(&[Button::Mute], 1_000), [mute(true), Command::Leave, mute(false)]);
    desk.wait(1_000);
    assert_eq!(desk.hold(&[Button::Mute], 1_000), [mute(true), Command::Join, mute(false)]);
    desk.wait(1_000);
    desk.hold(&[Button::Mute], 100);
    desk.wait(1_000);
    assert_eq!(desk.hold(&[Button::Mute], 1_000), [Command::Leave], "who was muted stays so");
    desk.wait(1_000);
    assert_eq!(desk.hold(&[Button::Mute], 1_000), [Command::Join]);
}

#[test]
fn the_volume_is_our_own_gain_or_the_chosen_peers() {
    let mut desk = Desk::new();
    assert_eq!(desk.hold(&[Button::Up], 50), [Command::Gain { db: 1.0 }]);
    assert_eq!(desk.hold(&[Button::Down], 50), [Command::Gain { db: 0.0 }]);
    assert_eq!(desk.hold(&[Button::Down, Button::Up], 50), []);
    assert_eq!(desk.hold(&[Button::Down], 50), [volume("Porto", -1.0)]);
    assert_eq!(desk.hold(&[Button::Down, Button::Up], 50), []);
    assert_eq!(desk.hold(&[Button::Up], 50), [volume("Lisboa", 1.0)]);
    assert_eq!(desk.hold(&[Button::Down, Button::Up], 50), []);
    assert_eq!(desk.hold(&[Button::Up], 50), [Command::Gain { db: 1.0 }], "after the last comes our own");
    desk.hold(&[Button::Down, Button::Up], 50);
    desk.status.peers.remove(0);
    desk.wait(200);
    assert_eq!(desk.hold(&[Button::Up], 50), [Command::Gain { db: 2.0 }], "whoever has gone is not chosen");
}

#[test]
fn held_it_stops_at_nought_and_at_the_ends() {
    let mut desk = Desk::new();
    desk.status.gain_db = -3.4;
    desk.wait(200);
    let wishes = desk.hold(&[Button::Up], 3_000);
    assert_eq!(wishes, [-2.0, -1.0, 0.0].map(|db| Command::Gain { db }));
    desk.status.gain_db = -59.0;
    desk.wait(2_000);
    let wishes = desk.hold(&[Button::Down], 600);
    assert!(
        wishes.iter().all(|wish| *wish == Command::Gain { db: -60.0 }) && !wishes.is_empty(),
        "{wishes:?}"
    );
    desk.status.gain_db = 20.0;
    desk.wait(2_000);
    assert_eq!(desk.hold(&[Button::Up], 50), []);
}

#[test]
fn a_held_page_button_counts_down_and_any_press_calls_it_off() {
    let mut desk = Desk::new();
    assert_eq!(desk.hold(&[Button::Page], 3_100), []);
    assert_eq!(desk.wait(4_000), []);
    assert_eq!(desk.hold(&[Button::Mute], 100), [], "this press means only that");
    assert_eq!(desk.wait(10_000), []);
    assert_eq!(desk.hold(&[Button::Mute], 100), [mute(true)], "and the next one what it always means");
    assert_eq!(desk.hold(&[Button::Page], 3_100), []);
    assert_eq!(desk.wait(5_000), [Command::PowerOff]);
    assert_eq!(desk.hold(&[Button::Mute], 100), [], "it is being shut down");
    // A button that is stuck switches nothing off.
    let mut desk = Desk::new();
    desk.panel.handle_level(desk.now, Button::Page, true);
    assert_eq!(desk.wait(60_000), []);
}

#[test]
fn pages_come_in_turn_and_a_message_by_itself() {
    let mut desk = Desk::new();
    for page in ["Line", "Box", "Play"] {
        desk.hold(&[Button::Page], 50);
        assert_eq!(desk.shows(), page);
        desk.wait(600);
    }
    desk.status.messages.push("The update runs: 40 %".into());
    desk.wait(200);
    assert_eq!(desk.shows(), "Message");
    desk.hold(&[Button::Page], 50);
    desk.status.messages[0] = "The update runs: 41 %".into();
    desk.wait(600);
    assert_eq!(desk.shows(), "Play", "a message that counts is not new each time");
    desk.status.messages[0] = "The update has failed".into();
    desk.wait(200);
    assert_eq!(desk.shows(), "Message");
    desk.status.messages.clear();
    desk.wait(200);
    assert_eq!(desk.shows(), "Play");
    for _ in 0..2 {
        desk.hold(&[Button::Page], 50);
        desk.wait(600);
    }
    desk.hold(&[Button::Page], 50);
    desk.hold(&[Button::Page], 50);
    assert_eq!(desk.shows(), "Play", "twice is back to the first");
}

#[test]
fn it_dims_and_a_press_wakes_it() {
    let mut desk = Desk::new();
    desk.hold(&[Button::Down, Button::Up], 50);
    desk.wait(59_000);
    assert_eq!(desk.panel.brightness(desk.now), Brightness::Full);
    desk.wait(2_000);
    assert_eq!(desk.panel.brightness(desk.now), Brightness::Dim);
    desk.hold(&[Button::Page], 50);
    assert_eq!((desk.panel.brightness(desk.now), desk.shows()), (Brightness::Full, "Play".to_owned()));
    desk.wait(61_000);
    assert_eq!(desk.hold(&[Button::Up], 50), [Command::Gain { db: 1.0 }], "Porto is no longer chosen");
    desk.wait(61_000);
    assert_eq!(desk.hold(&[Button::Mute], 50), [mute(true)], "mute is mute also in the dark");
    desk.wait(61_000);
    desk.status.messages.push("no sound card".into());
    desk.wait(200);
    assert_eq!(desk.panel.brightness(desk.now), Brightness::Full);
}

#[test]
fn a_box_that_says_nothing_more_is_told() {
    let desk = Desk::new();
    let lively = desk.panel.draw(desk.now);
    assert_eq!(desk.panel.lights(desk.now)[1], Light::On);
    let later = desk.now + Duration::from_secs(4);
    assert_ne!(desk.panel.draw(later), lively);
    assert_eq!(desk.panel.lights(later), [Light::Slow, Light::Off, Light::Off, Light::Off]);
}

#[test]
fn no_status_and_no_press_is_too_strange() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut panel = Panel::new(Time(0));
        let mut now = Time(0);
        for _ in 0..60 {
            now = now + Duration::from_millis(random.u64(0..5_000));
            match random.u8(..3) {
                0 => panel.handle_status(now, strange(&mut random)),
                1 => panel.handle_level(now, Button::ALL[random.usize(..4)], random.bool()),
                _ => panel.handle_press(now, Press::Both),
            }
            panel.draw(now);
            panel.lights(now);
            while panel.poll(now).is_some() {}
        }
    }
}

fn strange(random: &mut fastrand::Rng) -> Status {
    let numbers = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e30, 1e30, 0.0, -12.0, 1.0];
    let number = |random: &mut fastrand::Rng| numbers[random.usize(..numbers.len())];
    let text = |random: &mut fastrand::Rng| -> String {
        let length = random.usize(..60);
        (0..length).map(|_| random.char('\0'..)).collect()
    };
    let peers = (0..random.usize(..16)).map(|_| PeerStatus {
        name: text(random),
        way: text(random),
        connected: random.bool(),
        delay_ms: Some(number(random)),
        depth_ms: number(random),
        level_db: number(random),
        peak_db: number(random),
        volume_db: number(random),
        lost_percent: number(random),
        late_percent: number(random),
        ..Default::default()
    });
    let peers = peers.collect();
    let messages = (0..random.usize(..3)).map(|_| text(random)).collect();
    let mut status = Status { name: text(random), in_session: true, peers, messages, ..Default::default() };
    (status.level_db, status.peak_db, status.gain_db) = (number(random), number(random), number(random));
    status.machine.card = text(random);
    status.machine.celsius = Some(number(random));
    status
}
