//! A box records what it plays and what it hears, every frame at its place: those who come later, leave and come
//! back stay aligned, and neither a power cut nor a full disk takes away what was there.
//!
//! Real processes. The boxes that record hear noise from a file, so that each frame says which one it is.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::jackd::{Jackd, server_name};
use common::player::{Player, Setup, peer};
use common::recorded::{self, Recorded};
use common::sound::{self, median};
use common::{Rendezvous, SmallDisk, Stage, free_port, now};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use serde_json::json;
use std::os::unix::process::CommandExt;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const RATE: usize = 48_000;

/// Period of the simulated cards, in frames.
const PERIOD: usize = 120;

/// Length of the noise in frames: no test lasts so long, so that no frame of it comes twice.
const NOISE: usize = 100 * RATE;

/// What a simulated card hears: never zero, as silence is what was not recorded.
fn noise() -> Vec<i16> {
    let mut random = fastrand::Rng::with_seed(6);
    std::iter::repeat_with(|| random.i16(1..3_000) * if random.bool() { 1 } else { -1 }).take(NOISE).collect()
}

/// A box that records and hears noise.
fn recording(stage: &Stage, name: &str, port: u16) -> (Setup, Vec<i16>) {
    let noise = noise();
    let path = stage.path("noise.wav");
    sound::write(&path, RATE as u32, noise.iter().map(|sample| f64::from(*sample) / 32_767.0));
    let mut setup = Setup::simulated(stage, name, port, 0.0, 440);
    setup.config["simulated"]["input"] = json!(path);
    setup.config["record"] = json!(true);
    setup.config["record_folder"] = json!("takes");
    (setup, noise)
}

/// How many frames a box says at its end are missing in its recording.
fn missing(player: &Player) -> usize {
    let line = player.process.log.wait_for(&["recorded 0:"]);
    let seconds = line.split_once(" tracks, ").and_then(|(_, rest)| rest.split_once(" s of it missing"));
    // It is said in milliseconds.
    seconds.map_or(0, |(seconds, _)| (seconds.parse::<f64>().unwrap() * RATE as f64) as usize + RATE / 1_000)
}

/// Asserts that a box's own track is the noise, frame by frame, but for silence of so many frames; with which
/// frame of the card it begins.
fn assert_is_noise(track: &[[i32; 2]], noise: &[i16], missing: usize) -> usize {
    let whole = |at: usize| i32::from(noise[at % NOISE]) * 256;
    let begins = |at: &usize| (0..64).all(|offset| track[offset] == [whole(at + offset), 0]);
    let at = (0..NOISE).find(begins).expect("the track begins with a piece of the noise");
    let mut silent = 0;
    for (index, frame) in track.iter().enumerate() {
        match *frame {
            [0, 0] => silent += 1,
            frame => assert_eq!(frame, [whole(at + index), 0], "frame {index} of {}", track.len()),
        }
    }
    assert!(silent <= missing, "{silent} frames are silent, but only {missing} were missing");
    // A cycle hands over what was captured in the one before.
    (at + PERIOD) % NOISE
}

/// The longest silence between sounds, as the frame where it begins and the one where it ends.
fn longest_silence(track: &[[i32; 2]]) -> (usize, usize) {
    let sounding = (0..track.len()).filter(|at| track[*at] != [0, 0]);
    sounding.clone().zip(sounding.skip(1)).max_by_key(|(from, to)| to - from).unwrap()
}

/// The level of a tone in a piece of a track, in dB.
fn level(track: &[[i32; 2]], hertz: u32) -> f64 {
    let left: Vec<f32> = track.iter().map(|frame| frame[0] as f32 / 8_388_608.0).collect();
    median(&sound::tone(&left, hertz))
}

#[test]
fn all_tracks_are_aligned_to_the_sample_though_one_box_left_and_came_back() {
    let stage = Stage::new();
    let rendezvous = Rendezvous::start(&stage, 0);
    let (setup, noise) = recording(&stage, "porto", rendezvous.port);
    let mut porto = Player::start(&stage, &setup);
    porto.wait("it plays alone", |status| status.cycles > 0);
    let mut montemor =
        Player::start(&stage, &Setup::simulated(&stage, "montemor", rendezvous.port, 40.0, 1_300));
    let lisboa = Setup::simulated(&stage, "lisboa", rendezvous.port, -60.0, 3_100);
    let mut player = Player::start(&stage, &lisboa);
    porto.wait_to_hear(&["montemor", "lisboa"]);
    porto.wait_until(now() + 3 * SECOND / 2);
    player.stop();
    porto.wait("lisboa has left", |status| peer(status, "lisboa").is_none());
    porto.wait_until(now() + SECOND);
    player = Player::start(&stage, &lisboa);
    porto.wait_to_hear(&["montemor", "lisboa"]);
    porto.wait_until(now() + 3 * SECOND / 2);
    porto.stop();
    montemor.stop();
    player.stop();

    let missing = missing(&porto);
    let take = Recorded::only(&stage.path("takes"));
    assert!(take.folder.to_str().unwrap().ends_with(" porto"), "{:?}", take.folder);
    assert_eq!(take.names()[..2], ["porto", "mix"]);
    let mut peers = take.names().split_off(2);
    peers.sort_unstable();
    assert_eq!(peers, ["lisboa", "montemor"], "who comes back goes on in the same track");
    let [mix, lisboa, montemor] = ["mix", "lisboa", "montemor"].map(|name| take.track(name));
    assert!(mix.len() > 5 * RATE, "{} frames", mix.len());

    let origin = assert_is_noise(take.track("porto"), &noise, missing);
    // The mix is what everybody is together, in every frame, but for what each is rounded by.
    let differs = |at: usize, channel: usize| {
        (mix[at][channel] - montemor[at][channel] - lisboa[at][channel]).abs() > 2
    };
    let apart = (0..mix.len()).filter(|at| differs(*at, 0) || differs(*at, 1)).count();
    // The last milliseconds of who leaves may be in the mix only.
    assert!(
        apart <= 3 * missing + RATE / 50,
        "in {apart} frames the mix is not the sum, {missing} frames are missing"
    );
    // And it lies beside the own track as in the card: its recording, of 16 bits, begins with its frame 0.
    let [heard, _] = sound::read(&stage.path("porto.wav"));
    let heard = &heard[PERIOD + origin..];
    let differs = |at: &usize| (heard[*at] * 32_768.0 - mix[*at][0] as f32 / 256.0).abs() > 2.0;
    let apart = (0..mix.len().min(heard.len())).filter(differs).count();
    assert!(apart <= missing, "in {apart} frames the mix is not what the card played");
    assert!(heard.len() + RATE > mix.len(), "{} frames were played, {} recorded", heard.len(), mix.len());

    assert_eq!((lisboa[0], montemor[0]), ([0, 0], [0, 0]), "nobody else was there when it began");
    let (left, came) = longest_silence(lisboa);
    assert!(came - left > RATE, "lisboa was away for {} frames", came - left);
    for piece in [&lisboa[left - RATE..left - RATE / 4], &lisboa[came + RATE / 4..came + RATE]] {
        let level = level(piece, 3_100);
        assert!((-15.0..-9.0).contains(&level), "lisboa's tone of -12 dB is recorded at {level:.1} dB");
    }
    let level = level(&montemor[left..came], 1_300);
    assert!((-15.0..-9.0).contains(&level), "montemor played on, at {level:.1} dB");
}

#[test]
fn a_power_cut_loses_no_more_than_the_last_second() {
    let stage = Stage::new();
    let (setup, noise) = recording(&stage, "porto", free_port());
    let mut porto = Player::start(&stage, &setup);
    porto.wait("it has recorded", |status| status.card_frame > 4 * RATE as i64);
    porto.process.kill();
    let played = porto.last().card_frame as usize;

    let folder = recorded::only_folder(&stage.path("takes"));
    let files = recorded::wav_files(&folder);
    assert_eq!(files, ["01 porto.wav", "02 mix.wav"]);
    let [own, mix] = [&files[0], &files[1]].map(|file| recorded::read(&folder.join(file)));
    let origin = assert_is_noise(&own, &noise, if said_a_gap(&porto) { own.len() } else { 0 });
    for track in [&own, &mix] {
        // One second, and one more for a disk that others keep busy.
        let lost = played.saturating_sub(origin + track.len());
        assert!(lost < 2 * RATE, "of {played} frames {lost} are lost");
        assert!(
            track.len().abs_diff(own.len()) <= RATE,
            "the tracks are equally long but for what is written last"
        );
    }
}

fn said_a_gap(player: &Player) -> bool {
    player.process.log.lines().iter().any(|line| line.contains("the recording has a gap"))
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_music() {
    let stage = Stage::new();
    let small = SmallDisk::new(&stage, "small", 2_000_000);
    let limits = [(None, "raise the limit"), (small.as_ref().map(SmallDisk::path), "is full")];
    for (disk, what) in if small.is_some() { &limits[..] } else { &limits[..1] } {
        let (mut setup, noise) = recording(&stage, "porto", free_port());
        setup.config["simulated"]["output"] = json!(null);
        let takes = disk.map_or_else(|| stage.path("takes"), |disk| disk.join("takes"));
        setup.config["record_folder"] = json!(takes);
        let mut porto = match disk {
            Some(_) => Player::start(&stage, &setup),
            None => Player::start_with(&stage, &setup, |command| {
                // SAFETY: between fork and exec only two system calls are made, which allocate nothing.
                unsafe {
                    command.pre_exec(|| {
                        signal(Signal::SIGXFSZ, SigHandler::SigIgn)?;
                        Ok(setrlimit(Resource::RLIMIT_FSIZE, 1_000_000, 1_000_000)?)
                    });
                }
            }),
        };
        let sentence = porto.process.log.wait_for(&["the recording has ended after 0:00:0", what]);
        assert!(sentence.contains(takes.to_str().unwrap()), "{sentence}");
        let before = porto.last().cycles;
        porto.wait_until(now() + SECOND);
        assert!(porto.last().cycles > before, "the music goes on");
        let status = porto.last();
        let told = status.messages.iter().any(|message| message.contains(what));
        assert!(told && status.recording.is_none(), "the status says it too: {status:?}");
        porto.stop();
        let said = porto.process.log.lines();
        assert!(!said.iter().any(|line| line.contains("recorded 0:")), "it has ended once: {said:#?}");

        let take = Recorded::only(&takes);
        let own = take.track("porto");
        assert!(own.len() > RATE, "{} frames", own.len());
        assert_is_noise(own, &noise, if said_a_gap(&porto) { own.len() } else { 0 });
        assert!(take.track("mix").iter().all(|frame| *frame == [0, 0]), "nobody else was there");
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_told_with_its_line_and_the_music_plays() {
    let stage = Stage::new();
    let (mut setup, _) = recording(&stage, "porto", free_port());
    setup.config["record_folder"] = json!("noise.wav/takes");
    let mut porto = Player::start(&stage, &setup);
    let sentence = porto.process.log.wait_for(&["no folder can be made"]);
    assert!(sentence.contains("porto.json, line ") && sentence.contains("noise.wav/takes"), "{sentence}");
    porto.wait("it plays", |status| status.card_frame > 0);
    porto.stop();
}

#[test]
fn a_recording_goes_on_when_jack_was_started_again() {
    let stage = Stage::new();
    let server = server_name("porto");
    let mut jackd = Jackd::start(&server, 120);
    let mut setup = Setup::jack("porto", free_port(), &server);
    setup.config["record"] = json!(true);
    let mut porto = Player::start(&stage, &setup);
    porto.wait("it plays", |status| status.card_frame > RATE as i64);
    jackd.process.kill();
    let killed = now();
    porto.process.log.wait_for(&["the JACK server is gone"]);
    let _jackd = Jackd::start(&server, 64);
    porto.wait("it plays again", |status| status.card_time > killed && status.card_frame > RATE as i64);
    let since = porto.last().card_time.since(killed).as_secs_f64();
    porto.stop();
    let take = Recorded::only(&stage.path("recordings"));
    assert_eq!(take.names(), ["porto", "mix"]);
    let seconds = take.track("mix").len() as f64 / RATE as f64;
    assert!(seconds > since, "{seconds} s are there, but {since} s have passed since the server ended");
    assert!(seconds < since + 30.0, "{seconds} s are there, which is more than has passed");
}
