//! What is late counts: delays of packets by bins, and the lag at which what is late then and the lag cost the least.
//!
//! The arithmetic below [`super::Playout`], which knows prices and cycles. Late packets are not all alike: a break of a
//! packet's length is hardly heard, as what is foretold of the music is right at first, and one of 20 ms is. A stall
//! that is longer than the buffer by so much makes a break as long, and the first packet of it is late by that: so a
//! packet counts by how late it is. Why: docs/decisions/0023.

use std::ops::Range;

/// Width of a bin, in frames: a twenty-fourth of a millisecond.
pub const BIN: f64 = 2.0;

/// Bins: from 2 ms below the envelope to 78 ms above it; more is counted in the last.
pub const BINS: usize = 1_920;

/// How far below the envelope the first of them begins, in frames.
pub const BELOW: f64 = 48.0;

/// A packet that is late by this, in frames (12 ms), counts whole; one that is less late, for as much of this as it is
/// late.
pub const BREAK: f64 = 12.0 * 48.0;

/// The lags that may be right, in frames.
#[derive(Clone, Copy, Debug)]
pub struct Lags {
    /// The first of them.
    pub phase: f64,
    /// From one to the next.
    pub step: f64,
    /// How long before it a packet must have come.
    pub wait: f64,
    /// For how much of a [`BREAK`] one counts at least that has not.
    pub least: f64,
}

/// Weights of packets by their delay: the first is for delays up to `first`, each further one for `width` more.
pub struct Bins<'a> {
    /// One for each bin.
    pub weights: &'a [f64],
    /// In frames.
    pub first: f64,
    /// In frames.
    pub width: f64,
}

impl Bins<'_> {
    /// The longest of a bin, in frames.
    fn delay(&self, bin: usize) -> f64 {
        self.first + bin as f64 * self.width
    }

    /// The lag for which `cost`, told how much of what is late then counts and the lag in frames, is the least; 0 if
    /// nothing was counted.
    pub fn cheapest(&self, lags: &Lags, cost: impl Fn(f64, f64) -> f64) -> f64 {
        let Lags { phase, step, wait, least } = *lags;
        if self.weights.is_empty() {
            return 0.0;
        }
        // From the first lag with which anything is in time to the first with which everything is.
        let first = phase + ((self.first + wait - phase) / step).ceil() * step;
        // Late at all, by more than the least that counts, and by a whole break.
        let [mut late, mut more, mut whole] = [Later::all(self); 3];
        let mut best = (f64::INFINITY, 0.0);
        for turn in 0.. {
            let lag = first + f64::from(turn) * step;
            let in_time = lag - wait;
            late.pass(self, in_time);
            more.pass(self, in_time + least);
            whole.pass(self, in_time + BREAK);
            let some = (more.sum - whole.sum) - in_time * (more.weight - whole.weight);
            let counts = (late.weight - more.weight) * least + some + whole.weight * BREAK;
            let cost = cost(counts / BREAK, lag);
            if cost < best.0 {
                best = (cost, lag);
            }
            if late.from == self.weights.len() {
                break;
            }
        }
        best.1
    }
}

/// The packets with more than some delay.
#[derive(Clone, Copy)]
struct Later {
    /// The first of their bins.
    from: usize,
    weight: f64,
    /// Of their delays, by weight.
    sum: f64,
}

impl Later {
    fn all(bins: &Bins) -> Self {
        let delays = (0..).map(|bin| bins.delay(bin));
        let sum = bins.weights.iter().zip(delays).map(|(weight, delay)| weight * delay).sum();
        Later { from: 0, weight: bins.weights.iter().sum(), sum }
    }

    /// Leaves out those that have up to this delay.
    fn pass(&mut self, bins: &Bins, delay: f64) {
        while self.from < bins.weights.len() && bins.delay(self.from) <= delay {
            self.weight -= bins.weights[self.from];
            self.sum -= bins.weights[self.from] * bins.delay(self.from);
            self.from += 1;
        }
        if self.from == bins.weights.len() {
            (self.weight, self.sum) = (0.0, 0.0); // without what rounding has left
        }
    }
}

/// Shares of delays by bin, older ones counting less and less.
pub struct Histogram {
    bins: Box<[f64; BINS]>,
    /// Weight of all.
    pub total: f64,
    /// Weight of the next entry; it grows instead of the old ones shrinking.
    pub unit: f64,
    /// Where the bins are that hold something: on most lines they are few.
    used: Range<usize>,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Self {
        Histogram { bins: Box::new([0.0; BINS]), total: 0.0, unit: 1.0, used: 0..0 }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bins.fill(0.0);
        (self.total, self.unit, self.used) = (0.0, 1.0, 0..0);
    }

    /// Counts one delay; everything before it loses the share `forget` of its weight.
    pub fn add(&mut self, frames: f64, forget: f64) {
        self.count(frames);
        self.forget(forget);
    }

    /// Counts one delay.
    pub fn count(&mut self, frames: f64) {
        let bin = Self::bin(frames);
        self.bins[bin] += self.unit;
        self.total += self.unit;
        self.used = match self.used.is_empty() {
            true => bin..bin + 1,
            false => self.used.start.min(bin)..self.used.end.max(bin + 1),
        };
    }

    /// Everything loses the share `share` of its weight.
    pub fn forget(&mut self, share: f64) {
        self.unit *= 1.0 + share;
        if self.unit > 1e9 {
            self.bins.iter_mut().for_each(|bin| *bin /= self.unit);
            self.total /= self.unit;
            self.unit = 1.0;
            // Less than a hundredth of one packet is forgotten.
            let holds = |bin: &f64| *bin > 0.01;
            let start = self.bins.iter().position(holds).unwrap_or(0);
            self.used = start..self.bins.iter().rposition(holds).map_or(0, |last| last + 1);
        }
    }

    fn bin(frames: f64) -> usize {
        ((frames + BELOW) / BIN).clamp(0.0, (BINS - 1) as f64) as usize
    }

    /// Upper edge of a bin, in frames.
    fn edge(bin: usize) -> f64 {
        (bin as f64 + 1.0) * BIN - BELOW
    }

    /// Weight of the delays that may be longer than `frames`.
    pub fn longer_than(&self, frames: f64) -> f64 {
        let first = Self::bin(frames).max(self.used.start);
        self.bins[first..].iter().take(self.used.end.saturating_sub(first)).sum()
    }

    /// What was counted.
    pub fn bins(&self) -> Bins<'_> {
        Bins { weights: &self.bins[self.used.clone()], first: Self::edge(self.used.start), width: BIN }
    }

    /// The delay that half of all do not exceed, in frames; 0 if nothing was counted.
    pub fn median(&self) -> f64 {
        let mut above = self.total / 2.0;
        for bin in self.used.clone().rev() {
            above -= self.bins[bin];
            if above < 0.0 {
                return Self::edge(bin);
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is late counts so much for each lag of one frame after the other: as `cheapest` says, and packet by packet.
    fn counts(delays: &[(f64, f64)], least: f64) -> Vec<(f64, f64)> {
        let mut histogram = Histogram::new();
        for (delay, weight) in delays {
            (0..*weight as usize).for_each(|_| histogram.count(*delay));
        }
        let lags = Lags { phase: 0.0, step: 1.0, wait: 2.0, least };
        let told = std::cell::RefCell::new(Vec::new());
        histogram.bins().cheapest(&lags, |late, lag| {
            let late_by = |delay: f64| Histogram::edge(Histogram::bin(delay)) - (lag - lags.wait);
            let of = |(delay, weight): &(f64, f64)| match late_by(*delay) {
                late_by if late_by > 0.0 => weight * late_by.clamp(least, BREAK) / BREAK,
                _ => 0.0,
            };
            told.borrow_mut().push((late, delays.iter().map(of).sum()));
            lag
        });
        told.into_inner()
    }

    #[test]
    fn a_packet_counts_by_how_late_it_is() {
        let delays = [(0.0, 7.0), (5.5, 1.0), (130.0, 3.0), (420.0, 2.0), (900.0, 1.0), (1_400.0, 4.0)];
        for least in [0.0, 64.0, 120.0, BREAK] {
            let counts = counts(&delays, least);
            assert!(counts.len() > 1_400, "every lag was asked for");
            for (lag, (told, right)) in counts.iter().enumerate() {
                assert!((told - right).abs() < 1e-9, "{lag}: {told} instead of {right}");
            }
            assert_eq!(counts.last().unwrap().0, 0.0, "then nothing is late");
        }
    }

    #[test]
    fn nothing_counted_costs_nothing() {
        let lags = Lags { phase: 3.0, step: 8.0, wait: 2.0, least: 120.0 };
        assert_eq!(Histogram::new().bins().cheapest(&lags, |late, lag| late + lag), 0.0);
    }
}
