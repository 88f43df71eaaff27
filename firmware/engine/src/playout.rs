//! How long to wait: the depth of a peer's buffer, from how its packets came so far.
//!
//! Fed by `receive` with every packet's delay above the envelope that `drift` follows, and with the
//! delay at which the packet would have been just in time for a cycle of our card. Gives the least lag
//! that lets all but a chosen share of packets be in time. Source: the quantile method of
//! M. Narbutt and L. Murphy (2003) and of R. Ramjee et al. (1994), with two windows: a fast one that
//! also sees the phase of the two cards, a slow one that remembers rare delays.

use crate::resample::AHEAD;

/// Width of a bin, in frames: 0.25 ms.
const BIN: f64 = 12.0;

/// Bins: from 4 ms below the envelope to 76 ms above it; more is counted in the last.
const BINS: usize = 320;
const BELOW: f64 = 16.0;

/// Share of packets that shall be in time: all but 0.1 % in the long run. The fast window holds only 800
/// packets, so it looks at the worst half per cent and leaves what is rarer to the slow one.
const SLOW_QUANTILE: f64 = 0.999;
const FAST_QUANTILE: f64 = 0.995;

/// How far the windows look back, in packets' frames: 2 s and 30 s.
const FAST: f64 = 2.0 * 48_000.0;
const SLOW: f64 = 30.0 * 48_000.0;

/// A packet must lie ready this long before the cycle that needs it, in frames (0.3 ms): the network
/// thread wakes in between, and at 100 ppm the phase of the cards moves this far in 3 s, so that the
/// depth has grown before the packets begin to miss their cycle.
pub const GUARD: f64 = 14.0;

/// Extra depth at the start, when little is known, in frames (5 ms), and how long it takes to go.
const CAUTION: f64 = 240.0;
const CAUTION_LASTS: f64 = 5.0 * 48_000.0;

/// Frames that a cycle reads beyond its own length: the filter's reach and the rounding of its ratio.
const REACH: f64 = AHEAD as f64 + 2.0;

/// Depth of one peer's buffer.
pub struct Playout {
    fast: Histogram,
    slow: Histogram,
    need: Histogram,
    /// Card position where music began.
    start: i64,
}

impl Playout {
    /// Nothing known yet.
    pub fn new() -> Self {
        Playout { fast: Histogram::new(), slow: Histogram::new(), need: Histogram::new(), start: 0 }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.fast.clear();
        self.slow.clear();
        self.need.clear();
    }

    /// Music begins at card position `frame`: caution runs from here.
    pub fn start(&mut self, frame: i64) {
        self.start = frame;
    }

    /// Takes in one packet of `frames` frames: `delay` and `need` are frames above the envelope.
    pub fn handle(&mut self, delay: f64, need: f64, frames: f64) {
        self.fast.add(delay, frames / FAST);
        self.slow.add(delay, frames / SLOW);
        self.need.add(need, frames / FAST);
    }

    /// The lag to have at card position `frame`, in frames above the envelope: from a packet's place on
    /// the peer's time line to ours.
    pub fn target(&self, frame: i64) -> f64 {
        let rare = (self.slow.quantile(SLOW_QUANTILE) - self.fast.quantile(FAST_QUANTILE)).max(0.0);
        let age = (frame - self.start) as f64 / CAUTION_LASTS;
        self.need.quantile(FAST_QUANTILE) + rare + REACH + CAUTION * (1.0 - age).clamp(0.0, 1.0)
    }

    /// Delay of a median packet in the last seconds, in frames above the envelope: what waits in queues.
    pub fn queue(&self) -> f64 {
        self.fast.quantile(0.5)
    }

    /// Delay of a median packet, in frames above the envelope.
    pub fn median(&self) -> f64 {
        self.slow.quantile(0.5)
    }
}

impl Default for Playout {
    fn default() -> Self {
        Self::new()
    }
}

/// Shares of delays by bin, older ones counting less and less.
struct Histogram {
    bins: Box<[f64; BINS]>,
    total: f64,
    /// Weight of the next entry; it grows instead of the old ones shrinking.
    unit: f64,
}

impl Histogram {
    fn new() -> Self {
        Histogram { bins: Box::new([0.0; BINS]), total: 0.0, unit: 1.0 }
    }

    fn clear(&mut self) {
        self.bins.fill(0.0);
        self.total = 0.0;
        self.unit = 1.0;
    }

    /// Counts one delay; everything before it loses the share `forget` of its weight.
    fn add(&mut self, frames: f64, forget: f64) {
        let bin = (frames / BIN + BELOW).clamp(0.0, (BINS - 1) as f64) as usize;
        self.bins[bin] += self.unit;
        self.total += self.unit;
        self.unit *= 1.0 + forget;
        if self.unit > 1e12 {
            self.bins.iter_mut().for_each(|bin| *bin /= self.unit);
            self.total /= self.unit;
            self.unit = 1.0;
        }
    }

    /// Upper edge of the bin that holds the quantile, in frames; 0 if nothing was counted.
    fn quantile(&self, share: f64) -> f64 {
        if self.total <= 0.0 {
            return 0.0;
        }
        let mut above = self.total * (1.0 - share);
        for bin in (0..BINS).rev() {
            above -= self.bins[bin];
            if above < 0.0 {
                return (bin as f64 + 1.0 - BELOW) * BIN;
            }
        }
        -BELOW * BIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_follows_the_worst_of_a_thousand() {
        let mut playout = Playout::new();
        let mut random = fastrand::Rng::with_seed(1);
        for packet in 0..12_000 {
            let delay = if packet % 2_000 == 1_000 { 900.0 } else { random.f64() * 96.0 };
            playout.handle(delay, delay, 120.0);
        }
        let target = playout.target(1_000_000) - REACH;
        assert!((96.0..=132.0).contains(&target), "{target} frames: one in 2000 may be late");
    }

    #[test]
    fn rare_delays_are_remembered_and_then_forgotten() {
        let mut playout = Playout::new();
        for packet in 0..40_000 {
            let delay = if (4_000..4_040).contains(&packet) { 480.0 } else { 24.0 };
            playout.handle(delay, delay, 120.0);
            let target = playout.target(1_000_000) - REACH;
            if packet == 10_000 {
                assert!(target >= 480.0, "15 s later the burst still counts: {target}");
            }
        }
        let target = playout.target(1_000_000) - REACH;
        assert!(target <= 48.0, "90 s later it does not: {target}");
    }

    #[test]
    fn it_begins_with_caution() {
        let mut playout = Playout::new();
        playout.start(1_000);
        playout.handle(0.0, 0.0, 120.0);
        assert!(playout.target(1_000) - playout.target(1_000_000) >= CAUTION);
    }
}
