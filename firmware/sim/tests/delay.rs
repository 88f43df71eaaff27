//! From cycle to cycle the sound takes what arithmetic asks for and little more: the codec's look-ahead, what
//! does not fit the cycle, the phase of the two cards, and the filter of the resampler.
#![allow(clippy::unwrap_used, reason = "tests")]

use engine::Settings;
use proto::format::{Encoding, Format, Layout};
use sim::{Link, Spec, World};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// A click every 100 ms, so that none is mistaken for the next.
const EVERY: i64 = 4_800;

/// What sounds at a frame of the speaker's card: a short click, dull enough for the codec.
fn click(frame: i64) -> f32 {
    let x = (frame.rem_euclid(EVERY) - 100) as f32 / 6.0;
    0.8 * (-x * x).exp()
}

/// One way from cycle to cycle in milliseconds, once it has settled.
fn delay(encoding: Encoding, period: usize, phase: f64) -> f64 {
    let line = Link { delay: Duration::from_micros(20), jitter: Duration::ZERO, ..Link::default() };
    let mut world = World::new(3, line);
    let settings = Settings { format: Format { encoding, layout: Layout::Mono }, ..Settings::default() };
    let length = period as f64 / 48_000.0;
    let heard: Rc<RefCell<Vec<f32>>> = Rc::default();
    let ear = {
        let heard = Rc::clone(&heard);
        Box::new(move |_, sound: &[f32]| heard.borrow_mut().extend_from_slice(sound))
    };
    let late = Duration::from_secs_f64(length * phase);
    world.add(Spec { period, settings, input: Box::new(click), ..Spec::new("porto") });
    world.add(Spec { period, settings, phase: late, ear, ..Spec::new("lisboa") });
    world.start_rendezvous();
    world.switch_on(0);
    world.switch_on(1);
    world.run_for(Duration::from_secs(40));
    let heard = heard.borrow();
    let last = &heard[heard.len() - 2 * EVERY as usize..];
    // The first click that is whole: its loudest frame, against the loudest of what was played.
    let from = heard.len() as i64 - 2 * EVERY;
    let loudest = (0..EVERY as usize + 200).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
    let frames = (from + loudest as i64 - 100).rem_euclid(EVERY);
    frames as f64 / 48.0 + late.as_secs_f64() * 1e3
}

/// What arithmetic asks for: one cycle's phase, what does not fit the cycle, and the look-ahead.
fn floor(encoding: Encoding, period: i64, phase: f64) -> f64 {
    let packet = if encoding == Encoding::Opus { 120 } else { period };
    let gcd = (1..=period).filter(|n| period % n == 0 && packet % n == 0).max().unwrap();
    let waits = packet - gcd;
    let lookahead = if encoding == Encoding::Opus { 120 } else { 0 };
    (waits + lookahead) as f64 / 48.0 + phase * period as f64 / 48.0
}

#[test]
fn one_way_is_the_floor_and_less_than_a_third_of_a_millisecond_more() {
    for (encoding, period) in [
        (Encoding::Opus, 128),
        (Encoding::Opus, 120),
        (Encoding::Opus, 60),
        (Encoding::L16, 128),
        (Encoding::L16, 64),
    ] {
        for phase in [0.37, 0.9] {
            let (delay, floor) = (delay(encoding, period, phase), floor(encoding, period as i64, phase));
            println!("{encoding:?} {period} at {phase}: {delay:.2} ms, floor {floor:.2} ms");
            assert!(
                delay - floor < 0.33,
                "{encoding:?}, {period} frames, phase {phase}: {delay:.2} ms, floor {floor:.2}"
            );
        }
    }
}
