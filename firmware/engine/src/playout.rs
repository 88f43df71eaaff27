//! How long to wait: the depth of a peer's buffer, from how its packets came so far.
//!
//! Fed by `receive` with every packet's delay above the envelope that `drift` follows, and with the delay
//! at which the packet would have been just in time for a cycle of our card. Gives the lag at which one
//! millisecond more would save too few packets from being late to be worth its delay; how many are
//! enough, the user chooses in words ([`Depth`]). Two windows: a fast one that also sees the phase of the
//! two cards, a slow one that remembers rare delays. Sources: R. Ramjee et al. (1994), M. Narbutt and
//! L. Murphy (2003) for depth from the distribution of delays; the price is ours (docs/decisions/0008).

use crate::resample::AHEAD;
use proto::control::Depth;

/// Width of a bin, in frames: a twelfth of a millisecond.
const BIN: f64 = 4.0;

/// Bins: from 4 ms below the envelope to 76 ms above it; more is counted in the last.
const BINS: usize = 960;
const BELOW: f64 = 48.0;

/// How far the windows look back, in packets' frames: 6 s and 30 s. At the usual price some tens of late
/// packets in the fast one change the depth, which is a tenth of a second of another line.
const FAST: f64 = 6.0 * 48_000.0;
const SLOW: f64 = 30.0 * 48_000.0;

/// A packet must lie ready this long before the cycle that needs it, in frames (0.3 ms): the network
/// thread wakes in between, and at 100 ppm the phase of the cards moves this far in 3 s, so that the depth
/// has grown before packets miss their cycle.
pub const GUARD: f64 = 14.0;

/// Extra depth at the start, when little is known, in frames (5 ms), and how long it takes to go.
const CAUTION: f64 = 240.0;
const CAUTION_LASTS: f64 = 5.0 * 48_000.0;

/// Frames that a cycle reads beyond its own length: the filter's reach and the rounding of its ratio.
const REACH: f64 = AHEAD as f64 + 2.0;

/// Share of packets that one millisecond of depth must save from being late.
fn price(depth: Depth) -> f64 {
    match depth {
        Depth::Tight => 0.004,
        Depth::Balanced => 0.000_9,
        Depth::Safe => 0.000_03,
    }
}

/// Share of packets that may be lost for good before depth is bought for copies of them, and how much each
/// counts then: late packets come in rows and are heard as one break, lost ones mostly each for itself.
fn bearable(depth: Depth) -> f64 {
    if depth == Depth::Safe { 0.000_2 } else { 0.003 }
}
const COPY_COUNTS: f64 = 3.0;

/// Depth of one peer's buffer.
pub struct Playout {
    /// What a frame of depth costs, as a share of packets.
    price: f64,
    bearable: f64,
    fast: Histogram,
    slow: Histogram,
    need: Histogram,
    /// When copies would be just in time that came in the place of their packets; remembers as `slow` does.
    copies: Histogram,
    /// Card position where music began.
    start: i64,
}

impl Playout {
    /// Nothing known yet.
    pub fn new(depth: Depth) -> Self {
        let price = price(depth) / 48.0;
        let [fast, slow, need, copies] = std::array::from_fn(|_| Histogram::new());
        Playout { price, bearable: bearable(depth), fast, slow, need, copies, start: 0 }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.fast.clear();
        self.slow.clear();
        self.need.clear();
        self.copies.clear();
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
        self.copies.forget(frames / SLOW);
    }

    /// Takes in a copy whose packet has not come; `need` is frames above the envelope.
    pub fn handle_copy(&mut self, need: f64) {
        self.copies.count(need);
    }

    /// The lag to have at card position `frame`, in frames above the envelope: from a packet's last frame
    /// on the peer's time line to ours.
    pub fn target(&self, frame: i64) -> f64 {
        let rare = (self.slow.best(self.price) - self.fast.best(self.price)).max(0.0);
        let age = (frame - self.start) as f64 / CAUTION_LASTS;
        let depth = self.for_copies(self.need.best(self.price) + rare);
        depth + REACH + CAUTION * (1.0 - age).clamp(0.0, 1.0)
    }

    /// The depth, or more of it if too many copies are late and that saves them.
    fn for_copies(&self, depth: f64) -> f64 {
        let packets = (self.slow.total / self.slow.unit * self.copies.unit).max(1.0);
        if self.copies.longer_than(depth) / packets <= self.bearable {
            return depth;
        }
        let price = self.price / COPY_COUNTS;
        self.copies.cheapest(|late, edge| late / packets + price * (edge - depth).max(0.0)).max(depth)
    }

    /// Delay of a median packet in the last seconds, in frames above the envelope: what waits in queues.
    pub fn queue(&self) -> f64 {
        self.fast.median()
    }

    /// Delay of a median packet, in frames above the envelope.
    pub fn median(&self) -> f64 {
        self.slow.median()
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
        self.count(frames);
        self.forget(forget);
    }

    fn count(&mut self, frames: f64) {
        let bin = (frames / BIN + BELOW).clamp(0.0, (BINS - 1) as f64) as usize;
        self.bins[bin] += self.unit;
        self.total += self.unit;
    }

    fn forget(&mut self, share: f64) {
        self.unit *= 1.0 + share;
        if self.unit > 1e12 {
            self.bins.iter_mut().for_each(|bin| *bin /= self.unit);
            self.total /= self.unit;
            self.unit = 1.0;
        }
    }

    /// Weight of the delays beyond `frames`.
    fn longer_than(&self, frames: f64) -> f64 {
        let first = (frames / BIN + BELOW).clamp(0.0, (BINS - 1) as f64) as usize;
        self.bins[first..].iter().sum()
    }

    /// Upper edge of a bin, in frames.
    fn edge(bin: usize) -> f64 {
        (bin as f64 + 1.0 - BELOW) * BIN
    }

    /// The delay at which the share of longer ones and the `price` of each frame of delay are together
    /// the least; 0 if nothing was counted.
    fn best(&self, price: f64) -> f64 {
        self.cheapest(|longer, edge| longer / self.total + price * edge)
    }

    /// The delay for which `cost`, told the weight of longer ones and the delay in frames, is the least; 0 if
    /// nothing was counted.
    fn cheapest(&self, cost: impl Fn(f64, f64) -> f64) -> f64 {
        if self.total <= 0.0 {
            return 0.0;
        }
        let (mut longer, mut best) = (0.0, (f64::INFINITY, 0.0));
        for bin in (0..BINS).rev() {
            let cost = cost(longer, Self::edge(bin));
            if cost < best.0 {
                best = (cost, Self::edge(bin));
            }
            longer += self.bins[bin];
        }
        best.1
    }

    /// The delay that half of all do not exceed, in frames; 0 if nothing was counted.
    fn median(&self) -> f64 {
        let mut above = self.total / 2.0;
        for bin in (0..BINS).rev() {
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

    /// Later than caution.
    const LATER: i64 = 1_000_000;

    #[test]
    fn what_is_rare_is_worth_a_little_delay_and_not_much() {
        let target = |depth, late: f64| {
            let mut playout = Playout::new(depth);
            let mut random = fastrand::Rng::with_seed(1);
            for packet in 0..12_000 {
                let delay = if packet % 800 == 400 { late } else { random.f64() * 96.0 };
                playout.handle(delay, delay, 120.0);
            }
            playout.target(LATER) - REACH
        };
        for depth in [Depth::Tight, Depth::Balanced, Depth::Safe] {
            assert!((80.0..=101.0).contains(&target(depth, 96.0)), "{depth:?}: as deep as the usual jitter");
        }
        assert!(target(Depth::Tight, 132.0) < 101.0, "one in 800 is not worth that");
        assert!(target(Depth::Balanced, 132.0) > 131.0, "but it is worth three quarters of one here");
        assert!(target(Depth::Balanced, 480.0) < 101.0, "and not 8 ms");
        assert!(target(Depth::Safe, 480.0) > 479.0, "but it is here");
    }

    #[test]
    fn rare_delays_are_remembered_and_then_forgotten() {
        let mut playout = Playout::new(Depth::Balanced);
        for packet in 0..40_000 {
            let delay = if (4_000..4_200).contains(&packet) { 480.0 } else { 24.0 };
            playout.handle(delay, delay, 120.0);
            let target = playout.target(LATER) - REACH;
            if packet == 10_000 {
                assert!(target >= 480.0, "15 s later the burst still counts: {target}");
            }
        }
        let target = playout.target(LATER) - REACH;
        assert!(target <= 48.0, "90 s later it does not: {target}");
    }

    #[test]
    fn copies_get_depth_when_many_packets_are_lost() {
        let target = |depth, one_in: usize| {
            let mut playout = Playout::new(depth);
            for packet in 0..12_000 {
                playout.handle(24.0, 24.0, 120.0);
                if packet % one_in == 0 {
                    playout.handle_copy(384.0);
                }
            }
            playout.target(LATER) - REACH
        };
        assert!(target(Depth::Balanced, 100) >= 384.0, "of one per cent most are saved");
        assert!(target(Depth::Balanced, 1_000) <= 32.0, "one in a thousand is borne");
        assert!(target(Depth::Safe, 1_000) >= 384.0, "but not here");
    }

    #[test]
    fn it_begins_with_caution() {
        let mut playout = Playout::new(Depth::Tight);
        playout.start(1_000);
        playout.handle(0.0, 0.0, 120.0);
        assert!(playout.target(1_000) - playout.target(LATER) >= CAUTION);
    }
}
