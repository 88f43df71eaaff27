//! On JACK: boxes on servers of any period hear each other, everybody has ports of its own name, and a
//! server that is not there, or not any more, is waited for.
//!
//! Real JACK servers with the dummy backend. Nobody sits at a dummy card, so tape machines play a tone
//! into each box and record what it plays.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::jackd::{Jackd, server_name, tape};
use common::player::{Player, Setup, is_heard, peer};
use common::process::Process;
use common::sound::{self, Recording, median};
use common::{Rendezvous, Stage, free_port, now};
use proto::control::Status;
use proto::units::Time;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The musicians: name, period of the JACK server in frames, tone in hertz.
const BAND: [(&str, u32, u32); 3] = [("porto", 120, 500), ("montemor", 128, 1_300), ("lisboa", 64, 3_100)];

/// Loudness of a tone of -12 dB of amplitude as a box tells it, less a bit, in dB.
const AUDIBLE: f32 = -20.0;

/// Windows of 10 ms that an xrun may break: what JACK loses in it, and the packets that come too late.
const XRUN: u64 = 4;

/// A musician on JACK: the server, the box on it, and the tape machine beside the box.
struct OnJack {
    player: Player,
    tape: Process,
    /// The last to go, if a test fails.
    jackd: Jackd,
}

impl OnJack {
    fn start(stage: &Stage, port: u16, (name, period, hertz): (&str, u32, u32)) -> OnJack {
        let jackd = Jackd::start(&server_name(name), period);
        let mut player = Player::start(stage, &Setup::jack(name, port, &jackd.server));
        player.wait("its card plays", |status| status.cycles > 0);
        sound::write_tone(&stage.path(&format!("{name}-tone.wav")), hertz);
        let [play, record] = ["tone", "heard"].map(|what| format!("{name}-{what}.wav"));
        let tape = tape(stage, &jackd.server, name, &play, &record);
        OnJack { player, tape, jackd }
    }

    /// Waits until it hears these loud enough.
    fn wait_to_hear(&mut self, others: &[&str]) {
        let loud = |status: &Status| others.iter().all(|name| is_loud(status, name));
        self.player.wait(&format!("{others:?} are loud"), loud);
    }

    /// Ends the tape machine; what the box has played.
    fn finish(&mut self, stage: &Stage) -> Recording {
        let ended = self.tape.terminate();
        assert!(ended.success(), "{}", self.tape.log);
        // The first word of the last line says when its first frame was, in nanoseconds.
        let last = self.tape.out.to_the_end().pop().unwrap_or_default();
        let epoch = Time(last.split(' ').next().unwrap().parse().unwrap());
        Recording::read(&stage.path(&format!("{}-heard.wav", self.player.name)), epoch, 0, 0.0)
    }
}

fn is_loud(status: &Status, name: &str) -> bool {
    peer(status, name).is_some_and(|peer| peer.connected && peer.level_db > AUDIBLE)
}

fn others(name: &str) -> Vec<&'static str> {
    BAND.iter().map(|(other, ..)| *other).filter(|other| *other != name).collect()
}

#[test]
fn boxes_on_jack_servers_of_any_period_hear_each_other_and_have_ports_named_after_them() {
    let stage = Stage::new();
    let rendezvous = Rendezvous::start(&stage, 0);
    let mut band = BAND.map(|musician| OnJack::start(&stage, rendezvous.port, musician));
    for (musician, (name, ..)) in band.iter_mut().zip(BAND) {
        musician.wait_to_hear(&others(name));
        let own = ["in_1", "in_2", "mix_1", "mix_2"].map(str::to_owned).into_iter();
        let theirs = others(name).into_iter().flat_map(|other| [1, 2].map(|n| format!("{other}_{n}")));
        let ports: Vec<String> = own.chain(theirs).map(|port| format!("{name}:{port}")).collect();
        musician.jackd.wait_for_ports(|there| ports.iter().all(|port| there.contains(port)));
    }
    let complete = now();
    for musician in &mut band {
        musician.player.wait_until(complete + 5 * SECOND / 2);
    }
    let until = complete + 2 * SECOND;
    let heard = band.each_mut().map(|musician| musician.finish(&stage));
    for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
        let level = heard[to].tone(BAND[from].2, complete + SECOND / 2, until);
        let median = median(&level);
        let who = format!("{} at {}", BAND[from].0, BAND[to].0);
        assert!((-15.0..-9.0).contains(&median), "{who}: a tone of -12 dB is heard at {median:.1} dB");
        let [speaker, listener] = [from, to].map(|at| &band[at].player);
        let xruns =
            [speaker, listener].map(|player| player.counted(complete, until, |status| status.overruns));
        let concealed = |status: &Status| peer(status, BAND[from].0).map_or(0, |peer| peer.concealed);
        let explained = XRUN * xruns.iter().sum::<u64>() + listener.counted(complete, until, concealed);
        let broken = level.iter().filter(|level| (*level - median).abs() > 3.0).count() as u64;
        assert!(broken <= explained, "{who}: {broken} windows are broken, {xruns:?} xruns: {level:.1?}");
    }

    let [porto, _, lisboa] = &mut band;
    lisboa.player.stop();
    porto.player.wait("lisboa has left", |status| peer(status, "lisboa").is_none());
    porto.jackd.wait_for_ports(|there| !there.iter().any(|port| port.contains("lisboa")));
}

#[test]
fn a_box_waits_for_its_jack_server_and_comes_back_with_it() {
    let stage = Stage::new();
    let rendezvous = Rendezvous::start(&stage, 0);
    let server = server_name("porto");
    let mut lisboa =
        Player::start(&stage, &Setup::simulated(&stage, "lisboa", rendezvous.port, -60.0, 3_100));
    let mut porto = Player::start(&stage, &Setup::jack("porto", rendezvous.port, &server));
    let sentence = porto.process.log.wait_for(&["no JACK server", &server]);
    assert!(sentence.contains("start one (`jackd ") && sentence.contains("waiting for it"), "{sentence}");

    let mut jackd = Jackd::start(&server, 120);
    porto.wait_to_hear(&["lisboa"]);
    lisboa.wait_to_hear(&["porto"]);

    jackd.process.kill();
    let sentence = porto.process.log.wait_for(&["the JACK server is gone"]);
    assert!(sentence.contains("start it again") && sentence.contains("waiting for it"), "{sentence}");
    lisboa.wait("porto is not heard", |status| !is_heard(status, "porto"));
    assert!(porto.is_there());

    // Another period, as after somebody has tried to do better.
    let jackd = Jackd::start(&server, 64);
    lisboa.wait_to_hear(&["porto"]);
    porto.wait("lisboa is as loud as before", |status| is_loud(status, "lisboa"));
    jackd.wait_for_ports(|there| there.contains(&"porto:lisboa_1".to_owned()));
    porto.stop();
    lisboa.wait("porto has left", |status| peer(status, "porto").is_none());
    let said = porto.process.log.sentences();
    assert_eq!(said.len(), 2, "a sentence for each time that it had to wait: {said:#?}");
}

#[test]
fn a_box_that_waits_for_its_jack_server_can_be_ended() {
    let stage = Stage::new();
    let server = server_name("nobody");
    let mut porto = Player::start(&stage, &Setup::jack("porto", free_port(), &server));
    porto.process.log.wait_for(&["no JACK server", &server]);
    porto.stop();
}

#[test]
fn a_jack_server_that_does_not_fit_is_told_in_a_sentence_until_one_fits() {
    let stage = Stage::new();
    let server = server_name("cd");
    let mut jackd = Jackd::start_at(&server, 128, 44_100);
    let mut porto = Player::start(&stage, &Setup::jack("porto", free_port(), &server));
    let sentence = porto.process.log.wait_for(&[&server, "44100 Hz"]);
    assert!(sentence.contains("start it with 48000 Hz (-r 48000)"), "{sentence}");

    jackd.process.terminate();
    jackd = Jackd::start(&server, 8_192);
    let sentence = porto.process.log.wait_for(&["period of 8192 frames is too long"]);
    assert!(sentence.contains("start it with at most 4096 (-p)"), "{sentence}");

    jackd.process.terminate();
    let _jackd = Jackd::start(&server, 256);
    porto.wait("its card plays", |status| status.cycles > 0);
    porto.stop();
}
