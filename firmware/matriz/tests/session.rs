//! Three boxes play together, and whatever is killed, only what is missing is not heard: a box is heard as
//! its own silence, the rendezvous as nothing. Both come back by themselves.
//!
//! Real processes with simulated cards that run at different speeds. Each box hears a tone of its own, so
//! that the recordings tell who was heard when.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::player::{Player, Setup, is_heard, peer};
use common::sound::{self, median};
use common::{Rendezvous, Stage, free_port, now};
use proto::units::Time;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The musicians: name, clock error of the card in ppm, tone in hertz. No tone is near another's overtones.
const BAND: [(&str, f64, u32); 3] =
    [("porto", 40.0, 500), ("montemor", 0.0, 1_300), ("lisboa", -60.0, 3_100)];

/// Level, against the one before, below which a tone is broken, and below which it is silence, in dB.
const BROKEN: f64 = -3.0;
const SILENT: f64 = -50.0;

/// The band on stage.
struct Band {
    rendezvous: Rendezvous,
    players: Vec<Player>,
    /// Since when everybody has heard everybody.
    complete: Time,
}

impl Band {
    /// Starts the band and waits until everybody hears everybody, and a little longer.
    fn start(stage: &Stage) -> Band {
        let rendezvous = Rendezvous::start(stage, 0);
        let start = |(name, ppm, hertz): &(&str, f64, u32)| {
            Player::start(stage, &Setup::simulated(stage, name, rendezvous.port, *ppm, *hertz))
        };
        let players = BAND.iter().map(start).collect();
        let mut band = Band { rendezvous, players, complete: Time(0) };
        for (at, (name, ..)) in BAND.iter().enumerate() {
            band.players[at].wait_to_hear(&others(name));
        }
        band.complete = now();
        band.play_until(band.complete + 2 * SECOND);
        band
    }

    /// Lets everybody who is there play up to this moment.
    fn play_until(&mut self, moment: Time) {
        for player in self.players.iter_mut().filter_map(|player| player.is_there().then_some(player)) {
            player.wait_until(moment);
        }
    }

    /// Ends everybody who is there.
    fn stop(&mut self) {
        for player in self.players.iter_mut().filter_map(|player| player.is_there().then_some(player)) {
            player.stop();
        }
    }

    /// The level of `from`'s tone in what `to` heard, against its level before `event`.
    fn level(&self, from: usize, to: usize, event: Time, span: (Time, Time)) -> Vec<f64> {
        let heard = self.players[to].recording();
        let hertz = BAND[from].2;
        let before = median(&heard.tone(hertz, self.complete + SECOND / 2, event));
        heard.tone(hertz, span.0, span.1).into_iter().map(|level| level - before).collect()
    }

    /// Asserts that `to` heard `from` without a break around `event`, except where this machine let
    /// their threads wait.
    fn assert_unbroken(&self, from: usize, to: usize, event: Time, until: Time) {
        let (speaker, listener) = (&self.players[from], &self.players[to]);
        let since = event - SECOND;
        let missing = listener.assert_whole(speaker, (since, until));
        let level = self.level(from, to, event, (since, until));
        let broken = level.iter().filter(|level| **level < BROKEN).count() as u64;
        // One packet is a quarter of the way from a window to the next.
        assert!(
            broken <= missing,
            "{} at {}: {broken} of {} windows are broken, but {missing} packets were concealed or held up: {level:.1?}",
            speaker.name,
            listener.name,
            level.len()
        );
    }
}

fn others(name: &str) -> Vec<&'static str> {
    BAND.iter().map(|(other, ..)| *other).filter(|other| *other != name).collect()
}

#[test]
fn a_box_that_is_killed_falls_silent_and_nothing_else_is_heard_of_it() {
    let stage = Stage::new();
    let mut band = Band::start(&stage);
    let (porto, montemor, lisboa) = (0, 1, 2);
    let killed = now();
    band.players[lisboa].process.kill();
    for listener in [porto, montemor] {
        let status = band.players[listener].wait("lisboa is not heard", |status| !is_heard(status, "lisboa"));
        assert!(status.card_time < killed + 3 * SECOND, "it takes long: {status:?}");
        assert!(is_heard(&status, &band.players[1 - listener].name), "{status:?}");
    }
    band.play_until(killed + 2 * SECOND);

    // What it had heard is in its file, although it could not complete it.
    let played = Duration::from_secs_f64(band.players[lisboa].last().card_frame as f64 / 48_000.0);
    let length = band.players[lisboa].recording().length();
    assert!(length + 5 * SECOND / 2 > played, "{length:?} of {played:?} are in the file");

    let again = now();
    let mut setup = Setup::simulated(&stage, "lisboa", band.rendezvous.port, -60.0, 3_100);
    setup.config["simulated"]["output"] = "lisboa-again.wav".into();
    band.players[lisboa] = Player::start(&stage, &setup);
    for (at, (name, ..)) in BAND.iter().enumerate() {
        band.players[at].wait_to_hear(&others(name));
    }
    let back = now();
    band.play_until(back + 2 * SECOND);
    band.stop();

    for listener in [porto, montemor] {
        band.assert_unbroken(1 - listener, listener, killed, back + SECOND);
        let level = band.level(lisboa, listener, killed, (killed + SECOND, again));
        assert!(level.iter().all(|level| *level < SILENT), "lisboa is heard after its end: {level:.1?}");
        let level = band.level(lisboa, listener, killed, (back + SECOND / 2, back + 3 * SECOND / 2));
        assert!(median(&level).abs() < 1.0, "lisboa is as loud as before: {level:.1?}");
    }
}

#[test]
fn a_rendezvous_that_is_killed_is_not_heard_and_everybody_comes_back_to_the_next_one() {
    let stage = Stage::new();
    let mut band = Band::start(&stage);
    let port = band.rendezvous.port;
    let killed = now();
    band.rendezvous.process.kill();
    for player in &mut band.players {
        let status = player.wait("the rendezvous is away", |status| status.rendezvous != "connected");
        assert!(status.rendezvous.contains(&format!("127.0.0.1:{port}")), "where? {}", status.rendezvous);
    }
    // Longer than after everything that a box gives up in time: 5 s.
    band.play_until(killed + 11 * SECOND / 2);
    for player in &mut band.players {
        let heard = others(&player.name).iter().all(|other| is_heard(&player.last(), other));
        assert!(heard, "the music goes on: {:?}", player.last());
    }

    band.rendezvous = Rendezvous::start(&stage, port);
    for player in &mut band.players {
        player.wait("the rendezvous is back", |status| status.rendezvous == "connected");
    }
    let back = now();
    band.play_until(back + 2 * SECOND);
    band.stop();
    for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
        band.assert_unbroken(from, to, killed, back + SECOND);
    }
}

#[test]
fn a_box_that_is_told_to_end_says_goodbye() {
    let stage = Stage::new();
    let mut band = Band::start(&stage);
    let told = now();
    band.players[2].stop();
    for listener in [0, 1] {
        let player = &mut band.players[listener];
        let status = player.wait("lisboa has left", |status| peer(status, "lisboa").is_none());
        // Without a goodbye it would stay for 5 s.
        assert!(status.card_time < told + 3 * SECOND, "it takes long: {status:?}");
        player.process.log.wait_for(&["lisboa left"]);
    }
    band.play_until(told + 3 * SECOND / 2);
    band.stop();
    for listener in [0, 1] {
        band.assert_unbroken(1 - listener, listener, told, told + SECOND);
        let level = band.level(2, listener, told, (told + SECOND, told + 3 * SECOND / 2));
        assert!(level.iter().all(|level| *level < SILENT), "lisboa is heard after its end: {level:.1?}");
    }
    let log = band.rendezvous.process.log.lines().join("\n");
    assert!(log.contains("lisboa left"), "{log}");
}

#[test]
fn a_box_that_comes_before_the_rendezvous_waits_for_it_and_plays() {
    let stage = Stage::new();
    let port = free_port();
    let simulated = |name, hertz| Setup::simulated(&stage, name, port, 0.0, hertz);
    let mut porto = Player::start(&stage, &simulated("porto", 500));
    let status = porto.wait("nobody is there", |status| status.rendezvous.contains("nobody listens"));
    assert!(status.rendezvous.contains(&format!("127.0.0.1:{port}")), "where? {}", status.rendezvous);

    let _rendezvous = Rendezvous::start(&stage, port);
    porto.wait("it is connected", |status| status.rendezvous == "connected");
    let mut lisboa = Player::start(&stage, &simulated("lisboa", 3_100));
    lisboa.wait_to_hear(&["porto"]);
    porto.wait_to_hear(&["lisboa"]);
    let both = now();
    porto.wait_until(both + SECOND);
    lisboa.wait_until(both + SECOND);
    porto.stop();
    lisboa.stop();
    for (player, hertz) in [(&porto, 3_100), (&lisboa, 500)] {
        let level = median(&player.recording().tone(hertz, both, both + SECOND));
        assert!((-14.0..-10.0).contains(&level), "a tone of -12 dB is heard at {level:.1} dB");
    }
}

#[test]
fn a_box_that_waits_can_be_ended() {
    let stage = Stage::new();
    let setup = Setup::simulated(&stage, "porto", free_port(), 0.0, 500);
    let mut porto = Player::start(&stage, &setup);
    porto.wait("nobody is there", |status| status.rendezvous.contains("nobody listens"));
    porto.stop();
    let length = sound::read(&stage.path("porto.wav"))[0].len();
    assert!(length > 0, "its recording is complete, though nobody was heard");
}
