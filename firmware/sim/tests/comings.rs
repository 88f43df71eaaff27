//! Boxes come, go, die and come back; the rendezvous dies and comes back. The others hear that one box
//! start or stop, without a click, and nothing else.

mod ear;

use ear::{LEVEL, ToneEar, tone};
use engine::Settings;
use proto::control::Pace;
use sim::{Link, Spec, World};
use std::time::Duration;

const MONTEMOR: f64 = 997.0;
const LISBOA: f64 = 4_003.0;

/// Porto listens; montemor (slow card) and lisboa (fast card) play a tone each.
fn three() -> (World, ToneEar) {
    let ear = ToneEar::new(&[MONTEMOR, LISBOA]);
    // At 256 kbit/s the codec's own noise hides no click.
    let pace = Pace { frames: 120, bitrate: 256_000 };
    let settings = Settings { pace, ..Settings::default() };
    let mut world = World::new(2, Link::default());
    world.add(Spec { ppm: 40.0, settings, ear: ear.ear(), ..Spec::new("porto") });
    world.add(Spec { settings, input: tone(MONTEMOR), ..Spec::new("montemor") });
    world.add(Spec { ppm: -60.0, settings, input: tone(LISBOA), ..Spec::new("lisboa") });
    world.start_rendezvous();
    for index in 0..3 {
        world.switch_on(index);
        world.run_for(Duration::from_millis(370));
    }
    world.run_for(Duration::from_millis(3_000 - 3 * 370));
    (world, ear)
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Montemor was heard at full level, and nothing clicked, from second to second.
fn undisturbed(ear: &ToneEar, from: f64, to: f64) {
    for block in ear.between(from, to) {
        let at = block.frame as f64 / 48_000.0;
        assert!((block.tones[0].level - LEVEL).abs() < 0.02 * LEVEL, "montemor at {at:.2} s: {block:?}");
        assert!(block.rest < 0.05 * LEVEL, "a click of {:.4} at {at:.2} s", block.rest);
    }
}

/// Level of lisboa at a second, against its full one.
fn lisboa(ear: &ToneEar, second: f64) -> f64 {
    ear.between(second, second + 0.02)[0].tones[1].level / LEVEL
}

#[test]
fn everyone_is_introduced_and_heard_within_a_second_without_a_click() {
    let (world, ear) = three();
    for index in 0..3 {
        let peers = world.status(index).peers;
        assert_eq!(peers.len(), 2);
        for peer in peers {
            // The last box starts 740 ms after the first.
            assert!(peer.connected && peer.connected_after_ms.unwrap() < 740 + 400, "{peer:?}");
        }
    }
    undisturbed(&ear, 1.0, 2.9);
    assert!(lisboa(&ear, 2.0) > 0.98);
}

#[test]
fn goodbye_is_heard_as_a_short_fade() {
    let (mut world, ear) = three();
    world.leave(2);
    world.run_for(seconds(2.0));
    undisturbed(&ear, 1.0, 4.9);
    assert!(lisboa(&ear, 3.04) < 1e-3, "it has left at 3.0 s");
}

#[test]
fn a_killed_box_is_silent_within_a_second_and_heard_again_when_it_is_back() {
    let (mut world, ear) = three();
    world.kill(2);
    world.run_for(seconds(7.0));
    assert_eq!(world.status(0).peers.len(), 1, "after some seconds it is no peer any more");
    world.switch_on(2);
    world.run_for(seconds(2.0));
    assert!(lisboa(&ear, 3.1) < 1e-3, "it was killed at 3.0 s");
    assert!(lisboa(&ear, 11.5) > 0.98, "it came back at 10.0 s");
    // What is invented for 20 ms when packets break off, and then faded, is no click.
    let montemor: Vec<_> = ear.between(1.0, 11.9).into_iter().map(|block| block.tones[0].level).collect();
    assert!(montemor.iter().all(|level| (level - LEVEL).abs() < 0.1 * LEVEL));
    undisturbed(&ear, 3.2, 11.9);
}

#[test]
fn a_box_that_comes_back_at_once_is_heard_at_once() {
    let (mut world, ear) = three();
    world.kill(2);
    world.run_for(seconds(0.2));
    world.switch_on(2);
    world.run_for(seconds(1.5));
    assert_eq!(world.status(0).peers.len(), 2);
    assert!(lisboa(&ear, 4.2) > 0.98);
    undisturbed(&ear, 3.3, 4.6);
}

#[test]
fn nobody_hears_the_rendezvous_die_and_come_back() {
    let (mut world, ear) = three();
    world.kill_rendezvous();
    world.run_for(seconds(10.0));
    for index in 0..3 {
        assert!(world.status(index).rendezvous.contains("closed"), "and everyone knows");
    }
    world.start_rendezvous();
    world.run_for(seconds(10.0));
    undisturbed(&ear, 1.0, 22.9);
    assert!((1..23).all(|second| second < 2 || lisboa(&ear, f64::from(second)) > 0.98));
    for index in 0..3 {
        let status = world.status(index);
        assert_eq!(status.rendezvous, "connected");
        assert_eq!(status.peers.iter().map(|peer| peer.lost + peer.late + peer.concealed).sum::<u64>(), 0);
    }
}

#[test]
fn eight_boxes_hear_each_other() {
    let mut world = World::new(3, Link::default());
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let ears: Vec<ToneEar> = (0..8).map(|_| ToneEar::new(&[MONTEMOR])).collect();
    for (index, name) in names.into_iter().enumerate() {
        let input = tone(if index == 3 { MONTEMOR } else { LISBOA + 1_500.0 * index as f64 });
        let phase = Duration::from_micros(311 * index as u64);
        world.add(Spec { ppm: 10.0 * index as f64, phase, input, ear: ears[index].ear(), ..Spec::new(name) });
    }
    world.start_rendezvous();
    (0..8).for_each(|index| world.switch_on(index));
    world.run_for(seconds(3.0));
    for (index, ear) in ears.iter().enumerate() {
        let status = world.status(index);
        assert_eq!(status.peers.iter().filter(|peer| peer.connected).count(), 7, "{}", status.name);
        let level = ear.between(2.0, 2.02)[0].tones[0].level / LEVEL;
        assert_eq!(level > 0.9, index != 3, "{} hears d, and d not itself: {level:.3}", status.name);
    }
}
