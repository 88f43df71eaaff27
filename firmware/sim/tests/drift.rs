//! Two cards 100 ppm apart play ten minutes: no sample is skipped or repeated, and nothing clicks.

mod ear;

use ear::{LEVEL, ToneEar, tone, turn};
use engine::Settings;
use proto::control::Pace;
use sim::{Link, Spec, World};
use std::time::Duration;

/// High enough that one sample is a tenth of a cycle, off any grid of blocks or packets.
const HERTZ: f64 = 4_997.0;

const MINUTES: f64 = 10.0;

#[test]
fn ten_minutes_without_a_skip_or_a_click() {
    let (porto, lisboa) = (ToneEar::new(&[HERTZ]), ToneEar::new(&[HERTZ]));
    // At 256 kbit/s the codec's own noise hides nothing.
    let pace = Pace { frames: 120, bitrate: 256_000 };
    let settings = Settings { pace, ..Settings::default() };
    let mut world = World::new(1, Link::default());
    world.add(Spec { ppm: 50.0, input: tone(HERTZ), ear: porto.ear(), settings, ..Spec::new("porto") });
    let phase = Duration::from_micros(900);
    world.add(Spec {
        ppm: -50.0,
        phase,
        input: tone(HERTZ),
        ear: lisboa.ear(),
        settings,
        ..Spec::new("lisboa")
    });
    world.start_rendezvous();
    world.switch_on(0);
    world.switch_on(1);
    world.run_for(Duration::from_secs_f64(MINUTES * 60.0));
    for (index, ear, ppm) in [(0, porto, -100.0), (1, lisboa, 100.0)] {
        let peer = world.status(index).peers.remove(0);
        assert_eq!((peer.lost, peer.late, peer.concealed), (0, 0, 0), "{peer:?}");
        assert!((f64::from(peer.drift_ppm) - ppm).abs() < 1.0, "{peer:?}");
        no_sample_skipped(&ear, ppm);
        no_click(&ear);
    }
}

/// The phase moves on as the cards' difference says, never by a sample (0.104 cycles) at once.
fn no_sample_skipped(ear: &ToneEar, ppm: f64) {
    let blocks = ear.between(1.0, MINUTES * 60.0);
    let steps: Vec<f64> = blocks.windows(2).map(|b| turn(b[0].tones[0].phase, b[1].tones[0].phase)).collect();
    for (at, pair) in steps.windows(2).enumerate() {
        let sudden = (pair[1] - pair[0]).abs();
        assert!(sudden < 0.05, "a sudden {sudden:.3} cycles at {:.2} s", at as f64 / 100.0 + 1.0);
    }
    // Slewing is at most 0.2 %, and one block is 50 cycles long.
    let fastest = steps.iter().fold(0.0_f64, |fastest, step| fastest.max(step.abs()));
    assert!(fastest < 0.0023 * 49.97 + 0.02, "pitch is off by {:.2} %", fastest / 0.4997);
    // All of it together: the cards' difference, give or take 5 ms by which the buffer may have changed.
    let (moved, drifted) = (steps.iter().sum::<f64>(), ppm * 1e-6 * HERTZ * (MINUTES * 60.0 - 1.0));
    assert!((moved - drifted).abs() < 0.005 * HERTZ, "{moved:.1} cycles instead of {drifted:.1}");
}

/// What is left beside the tone stays 40 dB below it: that is the codec's noise. A skipped sample would
/// leave up to half the tone.
fn no_click(ear: &ToneEar) {
    for block in ear.between(1.0, MINUTES * 60.0) {
        assert!(block.rest < 0.01 * LEVEL, "{:.4} at {:.2} s", block.rest, block.frame as f64 / 48_000.0);
    }
}
