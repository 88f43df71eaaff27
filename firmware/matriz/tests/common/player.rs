//! A box with its configuration, its status lines and its recording.
//!
//! Between [`super::process`], which runs it, and the promises, which ask it what it hears: by the status
//! that `matriz FILE --json` prints four times a second, and by the WAV file of its simulated card.

use super::process::Process;
use super::sound::Recording;
use super::{KEYS, Stage, free_port};
use proto::control::{PeerStatus, Status};
use proto::units::Time;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// Share of the packets that may be concealed although this machine held nothing up, as on any good day:
/// 0.2 %, and a few where that is too little to count.
const GOOD_DAY: (u64, u64) = (500, 2);

/// Share of the packets that this machine may hold up before nothing can be said of the rest: one in so many.
const HELD_UP: u64 = 8;

/// What a box is told.
pub struct Setup {
    pub name: String,
    pub config: Value,
}

impl Setup {
    /// A box whose card is not decided yet.
    fn new(name: &str, port: u16) -> Setup {
        let key = KEYS.iter().find(|(known, _)| *known == name).map_or("none", |(_, key)| *key);
        let url = format!("ws://127.0.0.1:{port}/config");
        let config = json!({
            "name": name, "key": key, "url": url, "interface": "lo", "port": free_port(), "media_port": 0,
        });
        Setup { name: name.to_owned(), config }
    }

    /// A box with a simulated card that is `ppm` off and hears a tone of `hertz`; it records.
    pub fn simulated(stage: &Stage, name: &str, port: u16, ppm: f64, hertz: u32) -> Setup {
        let mut setup = Setup::new(name, port);
        setup.config["sound"] = json!("simulated");
        setup.config["simulated"] = json!({
            "ppm": ppm,
            "period": 120,
            "input": format!("tone:{hertz}"),
            "output": stage.path(&format!("{name}.wav")),
        });
        setup
    }

    /// A box on a JACK server.
    pub fn jack(name: &str, port: u16, server: &str) -> Setup {
        let mut setup = Setup::new(name, port);
        setup.config["sound"] = json!("jack");
        setup.config["jack"] = json!({"server": server});
        setup
    }
}

/// A running box.
pub struct Player {
    pub process: Process,
    pub name: String,
    ppm: f64,
    recording: Option<PathBuf>,
    /// Lines of status that were looked at.
    seen: usize,
}

impl Player {
    pub fn start(stage: &Stage, setup: &Setup) -> Player {
        Player::start_with(stage, setup, |_| {})
    }

    /// As [`Player::start`], with something about its process changed.
    pub fn start_with(stage: &Stage, setup: &Setup, change: impl FnOnce(&mut Command)) -> Player {
        let name = setup.name.clone();
        let file = stage.write(&format!("{name}.json"), &format!("{:#}", setup.config));
        let mut command = stage.matriz(&[]);
        change(command.arg(file).arg("--json"));
        let process = Process::start(&name, &mut command);
        let card = &setup.config["simulated"];
        let recording = card["output"].as_str().map(PathBuf::from);
        Player { process, name, ppm: card["ppm"].as_f64().unwrap_or(0.0), recording, seen: 0 }
    }

    /// Waits for a status that is as wanted; looks at every line since the one that was found before.
    pub fn wait(&mut self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut at = self.seen;
        let found = self.process.out.wait_or(|lines| {
            while at < lines.len() {
                at += 1;
                if let Some(status) = parse(&lines[at - 1]).filter(&wanted) {
                    return Some(status);
                }
            }
            None
        });
        self.seen = at;
        found.unwrap_or_else(|why| {
            panic!("{} should say in its status: {what}; but {why}{}", self.name, self.process.log)
        })
    }

    /// Waits until it hears all of `others`, and says so.
    pub fn wait_to_hear(&mut self, others: &[&str]) -> Status {
        let what = format!("it hears {others:?}");
        self.wait(&what, |status| others.iter().all(|name| is_heard(status, name)))
    }

    /// Waits until its card has played up to this moment.
    pub fn wait_until(&mut self, moment: Time) -> Status {
        self.wait(&format!("it has played up to {moment:?}"), |status| status.card_time >= moment)
    }

    /// Everything that it has said about itself.
    pub fn history(&self) -> Vec<Status> {
        self.process.out.lines().iter().filter_map(|line| parse(line)).collect()
    }

    /// What it says now: the last line.
    pub fn last(&self) -> Status {
        self.history().pop().unwrap_or_default()
    }

    /// Whether it still plays.
    pub fn is_there(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// How much a counter of its status rose from one moment to another.
    pub fn counted(&self, from: Time, to: Time, count: impl Fn(&Status) -> u64) -> u64 {
        let history = self.history();
        let before = history.iter().rfind(|status| status.card_time <= from).or(history.first());
        let after = history.iter().find(|status| status.card_time >= to).or(history.last());
        after.map_or(0, &count).saturating_sub(before.map_or(0, &count))
    }

    /// Asserts that in this span hardly a packet of `speaker` was concealed but those that this machine held up: as many
    /// as cycles of either card were late, and those that came too late, since on loopback nothing else delays a packet
    /// than a thread that had to wait for a processor. Returns how many were concealed or held up.
    pub fn assert_whole(&self, speaker: &Player, (from, until): (Time, Time)) -> u64 {
        let overruns = |player: &Player| player.counted(from, until, |status| status.overruns);
        let count = |of: fn(&PeerStatus) -> u64| {
            self.counted(from, until, |status| peer(status, &speaker.name).map_or(0, of))
        };
        let [received, concealed, late] =
            [count(|of| of.received), count(|of| of.concealed), count(|of| of.late)];
        let held_up = overruns(self) + overruns(speaker) + late;
        let who = format!("{} at {}", speaker.name, self.name);
        assert!(held_up <= received / HELD_UP, "{who}: {held_up} of {received} packets were held up");
        assert!(
            concealed <= received / GOOD_DAY.0 + GOOD_DAY.1 + held_up,
            "{who}: {concealed} of {received} packets were concealed, but only {held_up} held up"
        );
        concealed + held_up
    }

    /// Ends it as `systemctl stop` does: it says goodbye and ends well.
    pub fn stop(&mut self) {
        let status = self.process.terminate();
        assert_eq!(status.code(), Some(0), "{} ends badly: {}", self.name, self.process.log);
        let lines = self.process.out.to_the_end();
        assert!(lines.iter().all(|line| parse(line).is_some()), "with --json there is nothing but status");
    }

    /// What it has heard; complete when it has ended.
    pub fn recording(&self) -> Recording {
        let Status { card_time, card_frame, .. } = self.last();
        Recording::read(self.recording.as_ref().unwrap(), card_time, card_frame, self.ppm)
    }
}

/// `None` where a box was killed in the middle of a line.
fn parse(line: &str) -> Option<Status> {
    serde_json::from_str(line).ok()
}

/// What a box says of one of the others.
pub fn peer<'a>(status: &'a Status, name: &str) -> Option<&'a PeerStatus> {
    status.peers.iter().find(|peer| peer.name == name)
}

/// Whether the box says that it hears `name`.
pub fn is_heard(status: &Status, name: &str) -> bool {
    peer(status, name).is_some_and(|peer| peer.connected)
}
