//! How fast the peer's card runs against ours: a delay-locked loop on the lower envelope of the delay.
//!
//! Fed by `receive` with the relative delay of every packet (arrival on our card's time line minus RTP
//! timestamp). Waiting in queues only ever adds to a delay, so the least of each block is the truth;
//! the loop follows it, wide at first and narrow later. Gives `receive` the ratio for the resampler and
//! `playout` the line above which it measures jitter. No clock inside: time is the card's frame count.
//! Source: F. Adriaensen, "Using a DLL to filter time" (2005); zita-njbridge for the staging.

use std::f64::consts::TAU;

/// Largest clock difference followed, in parts per million: three times what a crystal is sold with.
pub const MAX_PPM: f64 = 300.0;

/// The loop's stages: wide to lock, narrow so that jitter is not heard as pitch.
const STAGES: [Stage; 3] = [
    Stage { from: 0, hertz: 0.5, block: 4_800, pull: 96.0, bend: 8.0 },
    Stage { from: 4 * 48_000, hertz: 0.05, block: 12_000, pull: 24.0, bend: 12.0 },
    Stage { from: 24 * 48_000, hertz: 0.02, block: 12_000, pull: 12.0, bend: 12.0 },
];

/// A step of the envelope larger than this, in frames (2 ms), is another route if it stays.
const REROUTE: f64 = 96.0;

/// Blocks that it must stay to be believed: 3 s upwards (a queue may fill for that long), two blocks
/// downwards (nothing arrives before it was sent).
const PATIENCE_UP: u32 = 12;
const PATIENCE_DOWN: u32 = 2;

struct Stage {
    /// Frames after the start at which it begins.
    from: i64,
    /// Bandwidth of the loop.
    hertz: f64,
    /// Frames of which the least delay is taken.
    block: i64,
    /// How much of a block's error counts for the line's height and for its slope, in frames: an error
    /// of the clock cannot be larger, what is comes from the network.
    pull: f64,
    bend: f64,
}

/// The loop. Delays and positions are in frames of our card.
#[derive(Clone, Debug, Default)]
pub struct Drift {
    /// Frame count when the loop started; `None` before the first packet.
    start: Option<i64>,
    /// Where the block began; `base` and `slope` hold from here.
    block_start: i64,
    /// Delay of the envelope at `block_start`.
    base: f64,
    /// Change of the envelope in frames per frame: minus the clock difference.
    slope: f64,
    /// Least distance from the envelope in this block.
    least: Option<f64>,
    /// Blocks in a row that were off by more than [`REROUTE`] to the same side, and the least of them.
    astray: u32,
    astray_least: f64,
}

impl Drift {
    /// Takes in one packet's delay, seen at card position `frame`. Returns true when the envelope has
    /// jumped to another route: what was measured against it no longer counts.
    pub fn handle(&mut self, delay: f64, frame: i64) -> bool {
        let Some(start) = self.start else {
            *self = Drift { start: Some(frame), block_start: frame, base: delay, ..Drift::default() };
            return false;
        };
        // The first tenth of a second only looks for the envelope: the first error is removed by a jump.
        if frame - start < STAGES[0].block {
            self.base = self.base.min(delay);
        }
        let age = frame - start;
        let stage = STAGES.iter().rev().find(|stage| age >= stage.from).unwrap_or(&STAGES[0]);
        let jumped = frame - self.block_start >= stage.block && self.close_block(stage, frame);
        let distance = delay - self.expected(frame);
        self.least = Some(self.least.map_or(distance, |least| least.min(distance)));
        jumped
    }

    /// Delay of the envelope at card position `frame`.
    pub fn expected(&self, frame: i64) -> f64 {
        self.base + self.slope * (frame - self.block_start) as f64
    }

    /// Clock of the peer against ours in parts per million; positive is faster.
    pub fn ppm(&self) -> f64 {
        -self.slope * 1e6
    }

    fn close_block(&mut self, stage: &Stage, frame: i64) -> bool {
        let length = (frame - self.block_start) as f64;
        self.base = self.expected(frame);
        self.block_start = frame;
        let Some(error) = self.least.take() else { return false };
        if self.is_reroute(error) {
            self.base += self.astray_least;
            self.astray = 0;
            return true;
        }
        if self.astray > 0 || length > 4.0 * stage.block as f64 {
            return false; // it may be another route, or after an outage: this says nothing about the clock
        }
        let omega = TAU * stage.hertz * length / 48_000.0;
        let limited = |limit: f64| error.clamp(-limit, limit);
        let bend = omega * omega * limited(stage.bend) / length;
        self.base += std::f64::consts::SQRT_2 * omega * limited(stage.pull);
        self.slope = (self.slope + bend).clamp(-MAX_PPM * 1e-6, MAX_PPM * 1e-6);
        false
    }

    fn is_reroute(&mut self, error: f64) -> bool {
        if error.abs() < REROUTE {
            self.astray = 0;
            return false;
        }
        let same_side = self.astray > 0 && self.astray_least.signum() == error.signum();
        self.astray_least = if same_side { self.astray_least.min(error) } else { error };
        self.astray = if same_side { self.astray + 1 } else { 1 };
        self.astray >= if error > 0.0 { PATIENCE_UP } else { PATIENCE_DOWN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays `seconds` of packets from a card `ppm` off, with seeded jitter up to `jitter` frames.
    fn run(ppm: f64, seconds: i64, jitter: f64, step: impl Fn(i64) -> f64) -> (Drift, u32) {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut drift, mut jumps) = (Drift::default(), 0);
        for packet in 0..seconds * 400 {
            let timestamp = packet as f64 * 120.0;
            let sent = timestamp / (1.0 + ppm * 1e-6);
            let arrival = sent + 480.0 + jitter * random.f64().powi(2) + step(packet);
            jumps += u32::from(drift.handle(arrival - timestamp, arrival as i64));
        }
        (drift, jumps)
    }

    #[test]
    fn it_is_right_to_five_ppm_after_ten_seconds_and_one_after_a_minute() {
        for ppm in [-300.0, -100.0, 0.0, 60.0, 300.0] {
            let (ten, _) = run(ppm, 10, 24.0, |_| 0.0);
            assert!((ten.ppm() - ppm).abs() < 5.0, "{ppm}: {:.2} after 10 s", ten.ppm());
            let (sixty, _) = run(ppm, 60, 24.0, |_| 0.0);
            assert!((sixty.ppm() - ppm).abs() < 1.0, "{ppm}: {:.2} after 60 s", sixty.ppm());
        }
    }

    #[test]
    fn a_queue_of_half_a_second_does_not_move_it() {
        let queue = |packet| if (12_000..12_200).contains(&packet) { 960.0 } else { 0.0 };
        let (drift, jumps) = run(50.0, 40, 24.0, queue);
        assert_eq!(jumps, 0);
        assert!((drift.ppm() - 50.0).abs() < 2.0, "{:.2}", drift.ppm());
    }

    #[test]
    fn another_route_is_one_jump_and_no_change_of_pitch() {
        for step in [480.0, -300.0] {
            let (drift, jumps) = run(50.0, 60, 24.0, |packet| if packet > 16_000 { step } else { 0.0 });
            assert_eq!(jumps, 1, "step of {step} frames");
            assert!((drift.ppm() - 50.0).abs() < 3.0, "{:.2}", drift.ppm());
        }
    }
}
