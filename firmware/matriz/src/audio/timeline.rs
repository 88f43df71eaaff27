//! The card's time line: which frame a cycle begins with, and when, from when the card's driver woke.
//!
//! Fed by the JACK backend with the raw moment of every wake-up; gives the engine its [`Cycle`]. A driver
//! wakes late, never early, and late by any amount when the machine stalls, so a delay-locked loop
//! follows the wake-ups and a late one counts little. Frames that are lost (the card overran, or JACK
//! left out a cycle of ours) show in that all wake-ups from then on are late by the same amount. JACK's own
//! smooth time and frame count tell neither: its time slides for seconds after lost frames, and both
//! may belong to the next cycle when ours begins late (seen with jackd 1.9.21).
//! Source: F. Adriaensen, "Using a DLL to filter time" (2005).

use engine::Cycle;
use proto::units::{Time, frames_to_nanos, nanos_to_frames};
use std::f64::consts::{SQRT_2, TAU};

/// Bandwidth of the loop in hertz.
const HERTZ: f64 = 0.25;

/// A wake-up counts as so late at most, and as so early, in frames (0.05 and 5 ms).
const LATE: f64 = 2.4;
const EARLY: f64 = 240.0;

/// Lateness from which frames were lost (1 ms), in so many cycles one after the other, all alike within
/// so many frames (0.25 ms): a stalled machine catches up instead, each cycle less late than the one before.
const LOST: f64 = 48.0;
const IN_A_ROW: usize = 2;
const ALIKE: f64 = 12.0;

/// Where a card is. Positions are in frames since the first cycle.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The cycle that comes next: its first frame, and when it begins.
    next: Option<(i64, Time)>,
    /// What is left over of that instant, in frames, and of a frame's length, in frames per frame.
    fraction: f64,
    rate: f64,
    /// How late the last wake-ups were, in frames.
    late: [f64; IN_A_ROW],
}

impl Timeline {
    /// The cycle of `frames` frames for which the driver woke at `woke`.
    pub fn cycle(&mut self, woke: Time, frames: usize) -> Cycle {
        let (mut frame, mut time) = self.next.unwrap_or((0, woke));
        self.late.rotate_left(1);
        self.late[IN_A_ROW - 1] = nanos_to_frames(woke.nanos_since(time)) - self.fraction;
        if let Some(lost) = self.lost() {
            frame += lost;
            time.0 += frames_to_nanos(lost as f64);
            self.late.iter_mut().for_each(|late| *late -= lost as f64);
        }
        let error = self.late[IN_A_ROW - 1].clamp(-EARLY, LATE);
        let omega = TAU * HERTZ * frames as f64 / 48_000.0;
        self.fraction += (1.0 + self.rate) * frames as f64 + SQRT_2 * omega * error;
        self.rate += omega * omega * error / frames as f64;
        let whole = self.fraction.floor();
        self.fraction -= whole;
        self.next = Some((frame + frames as i64, Time(time.0 + frames_to_nanos(whole))));
        Cycle { time, frame, frames }
    }

    /// Frames that the card has lost, if the last wake-ups say so.
    fn lost(&self) -> Option<i64> {
        let least = self.late.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.late.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (least >= LOST && most - least < ALIKE).then_some(least.round() as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A card `ppm` off with cycles of 120 frames, whose driver wakes up to 0.1 ms late.
    struct Card {
        timeline: Timeline,
        random: fastrand::Rng,
        ppm: f64,
        /// Cycles that the card has played.
        cycles: i64,
    }

    impl Card {
        fn new(ppm: f64) -> Card {
            Card { timeline: Timeline::default(), random: fastrand::Rng::with_seed(5), ppm, cycles: 0 }
        }

        fn begins(&self) -> Time {
            Time(1_000_000 + frames_to_nanos(self.cycles as f64 * 120.0 / (1.0 + self.ppm * 1e-6)))
        }

        /// One cycle, woken `stall` nanoseconds late; what the time line says of it.
        fn play(&mut self, stall: i64) -> Cycle {
            let woke = Time(self.begins().0 + self.random.i64(0..100_000) + stall);
            self.cycles += 1;
            self.timeline.cycle(woke, 120)
        }

        /// Plays for so many cycles.
        fn settle(&mut self, cycles: usize) {
            for _ in 0..cycles {
                self.play(0);
            }
        }

        /// How far the time line is off, in nanoseconds.
        fn error(&mut self) -> i64 {
            let begins = self.begins();
            self.play(0).time.nanos_since(begins)
        }
    }

    #[test]
    fn it_follows_any_card_to_a_tenth_of_a_millisecond() {
        for ppm in [-300.0, 0.0, 80.0, 300.0] {
            let mut card = Card::new(ppm);
            card.settle(4_000);
            let worst = (0..4_000).map(|_| card.error().abs()).max().unwrap();
            assert!(worst < 100_000, "{ppm} ppm: {worst} ns");
            assert_eq!(card.play(0).frame, 8_000 * 120, "nothing was lost");
        }
    }

    #[test]
    fn a_stall_that_is_caught_up_is_no_loss() {
        let mut card = Card::new(50.0);
        card.settle(2_000);
        for late in [9_000_000, 6_500_000, 4_000_000, 1_500_000, 0, 0, 0, 0, 0] {
            card.play(late);
        }
        assert!(card.error().abs() < 100_000, "the stall has not moved the time");
        assert_eq!(card.play(0).frame, 2_010 * 120);
    }

    #[test]
    fn a_cycle_that_is_called_with_the_next_one_s_time_is_no_loss() {
        let mut card = Card::new(0.0);
        card.settle(2_000);
        card.play(2_500_000);
        assert_eq!(card.play(0).frame, 2_001 * 120);
        assert!(card.error().abs() < 100_000);
    }

    #[test]
    fn lost_frames_are_counted_at_the_second_cycle() {
        for lost in [1, 3, 40] {
            let mut card = Card::new(-80.0);
            card.settle(2_000);
            card.cycles += lost;
            assert_eq!(card.play(0).frame, 2_000 * 120, "not believed yet");
            let error = card.play(0).frame - (2_001 + lost) * 120;
            assert!(error.abs() <= 5, "{lost} cycles: {error} frames off");
            let worst = (0..1_000).map(|_| card.error().abs()).max().unwrap();
            assert!(worst < 200_000, "{worst} ns");
        }
    }
}
