//! What people wish is heard: mute is silence at all others within one packet after the ramp, faders move one
//! box's mix and nobody else's, who leaves is gone and comes back. Nobody hears a click of any of it.

mod ear;

use ear::{LEVEL, ToneEar, tone};
use engine::Settings;
use panel::{Button, Lamp, Light, Panel};
use proto::control::{Command, Pace};
use sim::{Link, Spec, World};
use std::time::Duration;

const PORTO: f64 = 1_999.0;
const MONTEMOR: f64 = 997.0;
const LISBOA: f64 = 4_003.0;

/// Three boxes that hear each other, each with a tone, and the ears of the first two.
fn three() -> (World, [ToneEar; 2]) {
    let ears = [ToneEar::new(&[MONTEMOR, LISBOA]), ToneEar::new(&[PORTO, LISBOA])];
    // At 256 kbit/s the codec's own noise hides no click.
    let settings = Settings { pace: Pace { frames: 120, bitrate: 256_000 }, ..Settings::default() };
    let mut world = World::new(5, Link::default());
    world.add(Spec { settings, input: tone(PORTO), ear: ears[0].ear(), ..Spec::new("porto") });
    world.add(Spec { settings, input: tone(MONTEMOR), ear: ears[1].ear(), ..Spec::new("montemor") });
    world.add(Spec { settings, input: tone(LISBOA), ..Spec::new("lisboa") });
    world.start_rendezvous();
    (0..3).for_each(|index| world.switch_on(index));
    world.run_for(Duration::from_secs(2));
    (world, ears)
}

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Levels of the second tone of an ear, against its full one, 10 ms each.
fn lisboa(ear: &ToneEar, from: f64, to: f64) -> Vec<f64> {
    ear.between(from, to).iter().map(|block| block.tones[1].level / LEVEL).collect()
}

/// Nothing clicked, and the first tone of an ear was there, as loud as it should be.
fn undisturbed(ear: &ToneEar, from: f64, to: f64, level: f64) {
    for block in ear.between(from, to) {
        let at = block.frame as f64 / 48_000.0;
        assert!((block.tones[0].level - level * LEVEL).abs() < 0.03 * LEVEL, "at {at:.2} s: {block:?}");
        assert!(block.rest < 0.05 * LEVEL, "a click of {:.4} at {at:.2} s", block.rest);
    }
}

#[test]
fn mute_is_silence_at_all_others_within_one_packet_after_the_ramp() {
    let (mut world, ears) = three();
    let delay = world.status(0).peers[0].delay_ms.expect("they hear each other");
    world.command(2, &Command::Mute { peer: None, on: true });
    world.run_for(milliseconds(1_000));
    for (index, ear) in ears.iter().enumerate() {
        let status = world.status(index);
        let peer = status.peers.iter().find(|peer| peer.name == "lisboa").expect("it is here");
        assert!(peer.connected && peer.muted_itself && !peer.muted, "{peer:?}");
        assert_eq!((peer.lost, peer.concealed), (0, 0), "silence is sent, nothing is missing");
        // A cycle until the cue is carried out, the ramp, a packet, and the way; then up to a block of the ear.
        let silent = 2.0 + (2.5 + 10.0 + 2.5 + f64::from(delay)) / 1e3;
        let levels = lisboa(ear, silent + 0.01, 2.9);
        assert!(levels.iter().all(|level| *level < 1e-4), "{silent}: {levels:?}");
        assert!(lisboa(ear, 1.9, 1.99).iter().all(|level| *level > 0.98), "and before, it was there");
        undisturbed(ear, 1.5, 2.9, 1.0);
    }
    let status = world.status(2);
    assert!(status.muted && status.peak_db == -120.0, "{status:?}");

    world.command(2, &Command::Mute { peer: None, on: false });
    world.run_for(milliseconds(1_000));
    assert!(!world.status(2).muted && !world.status(0).peers.iter().any(|peer| peer.muted_itself));
    assert!(lisboa(&ears[0], 3.1, 3.9).iter().all(|level| *level > 0.98));
    undisturbed(&ears[0], 2.9, 3.9, 1.0);
}

/// What the finger does to a contact, in milliseconds: it bounces for 5 ms when it goes down and when it goes up.
fn contact(since: u64) -> bool {
    match since {
        0..5 | 150..155 => since.is_multiple_of(2),
        5..150 => true,
        _ => false,
    }
}

#[test]
fn a_press_of_the_mute_button_is_silence_at_all_others_and_its_lamp_blinks() {
    let (mut world, ears) = three();
    let mut panel = Panel::new(world.now());
    let signal = |panel: &Panel, world: &World| panel.lights(world.now())[Lamp::Signal as usize];
    let press = |world: &mut World, panel: &mut Panel, pressed: bool| {
        let mut wishes = Vec::new();
        for since in 0..500 {
            panel.handle_status(world.now(), world.status(2));
            panel.handle_level(world.now(), Button::Mute, pressed && contact(since));
            while let Some(wish) = panel.poll(world.now()) {
                world.command(2, &wish);
                wishes.push(wish);
            }
            world.run_for(milliseconds(1));
        }
        wishes
    };
    assert_eq!(press(&mut world, &mut panel, false), [], "nobody touches it: 2.0 to 2.5 s");
    assert_eq!(signal(&panel, &world), Light::On);
    let mute = |on| Command::Mute { peer: None, on };
    assert_eq!(press(&mut world, &mut panel, true), [mute(true)], "one press, however it bounces");
    assert_eq!(signal(&panel, &world), Light::Slow);
    for (index, ear) in ears.iter().enumerate() {
        let status = world.status(index);
        assert!(status.peers.iter().any(|peer| peer.name == "lisboa" && peer.muted_itself), "{status:?}");
        let delay = f64::from(status.peers[0].delay_ms.expect("they hear each other"));
        // The contact is believed 8 ms after its last bounce and looked at each millisecond; then as above.
        let silent = 2.5 + (5.0 + 8.0 + 1.0 + 2.5 + 10.0 + 2.5 + delay) / 1e3;
        let levels = lisboa(ear, silent + 0.01, 2.99);
        assert!(levels.len() > 40 && levels.iter().all(|level| *level < 1e-4), "{silent}: {levels:?}");
        assert!(lisboa(ear, 2.4, 2.49).iter().all(|level| *level > 0.98), "and before, it was there");
        undisturbed(ear, 2.1, 2.99, 1.0);
    }
    assert_eq!(press(&mut world, &mut panel, true), [mute(false)]);
    assert_eq!(signal(&panel, &world), Light::On);
    assert!(lisboa(&ears[0], 3.3, 3.49).iter().all(|level| *level > 0.98), "and is heard again");
}

#[test]
fn faders_move_the_mix_of_one_box_and_of_nobody_else() {
    let (mut world, ears) = three();
    let lisboa_is = |command: fn(String) -> Command| command("lisboa".to_owned());
    world.command(0, &lisboa_is(|peer| Command::Volume { peer, db: -20.0 }));
    world.run_for(milliseconds(500));
    world.command(0, &lisboa_is(|peer| Command::Pan { peer, pan: 1.0 }));
    world.run_for(milliseconds(500));
    let peer = |world: &World| world.status(0).peers.iter().find(|peer| peer.name == "lisboa").cloned();
    let peer = peer(&world).expect("it is here");
    assert_eq!((peer.volume_db, peer.pan, peer.muted, peer.solo), (-20.0, 1.0, false, false));
    assert!((peer.level_db + 17.0).abs() < 0.2, "its meter is before the fader: {}", peer.level_db);
    world.command(0, &lisboa_is(|peer| Command::Pan { peer, pan: 0.0 }));
    world.command(0, &lisboa_is(|peer| Command::Solo { peer, on: true }));
    world.run_for(milliseconds(500));
    world.command(0, &lisboa_is(|peer| Command::Solo { peer, on: false }));
    world.command(0, &lisboa_is(|peer| Command::Mute { peer: Some(peer), on: true }));
    world.run_for(milliseconds(500));

    let near = |level: f64| move |heard: &f64| (heard - level).abs() < 0.01 + 0.02 * level;
    assert!(lisboa(&ears[0], 2.05, 2.45).iter().all(near(0.1)), "20 dB less");
    assert!(lisboa(&ears[0], 2.55, 2.95).iter().all(near(0.0)), "on the right, and this is the left ear");
    assert!(lisboa(&ears[0], 3.05, 3.45).iter().all(near(0.1)));
    assert!(lisboa(&ears[0], 3.55, 3.95).iter().all(near(0.0)), "muted");
    undisturbed(&ears[0], 1.5, 2.95, 1.0);
    undisturbed(&ears[0], 3.05, 3.45, 0.0);
    undisturbed(&ears[0], 3.55, 3.95, 1.0);
    assert!(lisboa(&ears[1], 1.9, 3.95).iter().all(near(1.0)), "montemor hears lisboa as before");
    undisturbed(&ears[1], 1.5, 3.95, 1.0);
}

#[test]
fn a_fader_is_kept_for_the_next_visit() {
    let (mut world, ears) = three();
    world.command(0, &Command::Volume { peer: "lisboa".to_owned(), db: -20.0 });
    world.kill(2);
    world.run_for(milliseconds(7_000));
    assert!(world.status(0).peers.iter().all(|peer| peer.name != "lisboa"), "it has gone");
    world.switch_on(2);
    world.run_for(milliseconds(2_000));
    let levels = lisboa(&ears[0], 9.1, 10.9);
    assert!(levels.iter().all(|level| *level < 0.11), "it is never louder: {levels:?}");
    assert!((levels[levels.len() - 1] - 0.1).abs() < 0.01);
}

#[test]
fn who_leaves_the_session_is_gone_and_comes_back() {
    let (mut world, ears) = three();
    world.command(2, &Command::Leave);
    world.run_for(milliseconds(1_500));
    let cycles = world.status(2).cycles;
    world.run_for(milliseconds(1_500));
    let status = world.status(2);
    assert!(!status.in_session && status.peers.is_empty() && status.cycles > cycles, "the card goes on");
    for ear in &ears {
        assert!(lisboa(ear, 2.05, 4.9).iter().all(|level| *level < 1e-3));
        undisturbed(ear, 1.5, 4.9, 1.0);
    }
    assert_eq!(world.status(0).peers.len(), 1, "and nobody waits for it");

    world.command(2, &Command::Join);
    world.run_for(milliseconds(1_000));
    for index in 0..3 {
        let status = world.status(index);
        assert!(status.in_session && status.peers.iter().filter(|peer| peer.connected).count() == 2);
    }
    for ear in &ears {
        assert!(lisboa(ear, 5.5, 5.9).iter().all(|level| *level > 0.98));
        undisturbed(ear, 4.9, 5.9, 1.0);
    }
}
