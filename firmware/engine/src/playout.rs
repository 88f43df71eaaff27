//! How long to wait: the depth of a peer's buffer, from how its packets came so far.
//!
//! Fed by `receive` with every packet's delay above the envelope that `drift` follows. Gives the lag at which one
//! millisecond more would save too few packets from being late to be worth its delay; how many are
//! enough, the user chooses in words ([`Depth`]). A packet is needed when a cycle of our card begins, so
//! only the lags count that end at one ([`Turns`]). Two memories: every packet of the last seconds, judged anew
//! by how the cycles lie now, and a histogram that remembers rare delays. Sources: R. Ramjee et al. (1994), M. Narbutt and L. Murphy (2003) for
//! depth from the distribution of delays; the price is ours (docs/decisions/0008).

mod late;

use crate::MAX_CYCLE;
use crate::resample::AHEAD;
use late::{BELOW, BIN, BINS, BREAK, Bins, Histogram, Lags};
use proto::control::Depth;
use std::collections::VecDeque;

/// The least step that is told apart, in frames.
pub const LEAST_STEP: usize = 8;

/// Steps that are told apart from the shortest lag to the longest, which is a whole cycle longer than any delay.
const LAGS: usize = (BINS * 2 + MAX_CYCLE) / LEAST_STEP + 2;

/// How far the memories look back, in packets' frames: 2 s and 30 s.
const RECENT: i64 = 2 * 48_000;
const LONG: f64 = 30.0 * 48_000.0;

/// Packets of the last seconds, at most: twice as many as there are of 48 frames each.
const MOST_RECENT: usize = 4_096;

/// Extra depth at the start, when little is known, in frames (5 ms), and how long it takes to go.
const CAUTION: f64 = 240.0;
const CAUTION_LASTS: f64 = 5.0 * 48_000.0;

/// Frames that a cycle reads beyond its own length: the filter's reach, and one for the lag that is never quite
/// what it should be.
const REACH: f64 = AHEAD as f64 + 1.0;

/// Share of packets that one millisecond of depth must save from being late.
fn price(depth: Depth) -> f64 {
    match depth {
        Depth::Tight => 0.004,
        Depth::Balanced => 0.000_45,
        Depth::Safe => 0.000_03,
    }
}

/// For how much of a break a packet of so many frames counts at least when it is late: as much as it would have filled.
/// Safe is for whom each is a whole one.
fn least(depth: Depth, packet: f64) -> f64 {
    if depth == Depth::Safe { BREAK } else { packet.min(BREAK) }
}

/// The same for the last seconds alone, whatever the user's choice: a stall or two in 2 s are no other line, and what
/// they are worth the long memory knows better.
const USUAL: f64 = 0.003;

/// How much longer than the rarest delays of half a minute the next one may be, as a share of what makes them rare: safe
/// is who expects it.
fn margin(depth: Depth) -> f64 {
    if depth == Depth::Safe { 0.15 } else { 0.0 }
}

/// Share of packets that may be lost for good before depth is bought for copies of them, and how much each
/// counts then: late packets come in rows and are heard as one break, lost ones mostly each for itself.
fn bearable(depth: Depth) -> f64 {
    if depth == Depth::Safe { 0.000_2 } else { 0.003 }
}
const COPY_COUNTS: f64 = 3.0;

/// When packets can be used: at the cycles of our card. In frames.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    /// Where a cycle begins, on the peer's time line as the envelope has it.
    pub now: f64,
    /// From a cycle to the next.
    pub cycle: f64,
    /// From one lag that may be right to the next: what divides both a cycle and a packet.
    pub step: f64,
    /// How long before its cycle a packet must have come.
    pub guard: f64,
    /// How long a packet is.
    pub packet: f64,
}

/// The same in whole parts of a frame: hundreds of packets are judged at a time, and the processor of a small box divides
/// whole numbers ten times faster than it rounds others.
#[derive(Clone, Copy, Debug)]
struct Parts {
    now: i64,
    cycle: i32,
    guard: i32,
}

/// Parts of a frame.
const PARTS: f64 = 16.0;

impl Parts {
    fn of(turns: &Turns) -> Self {
        let parts = |frames: f64| (frames * PARTS).round();
        Parts {
            now: parts(turns.now) as i64,
            cycle: (parts(turns.cycle) as i32).max(1),
            guard: parts(turns.guard) as i32,
        }
    }

    /// From the end of a packet to the first cycle at which it can be used.
    fn need(&self, packet: &Recent) -> i32 {
        let age = (self.now - packet.end * PARTS as i64).clamp(-OLDEST, OLDEST) as i32;
        age - self.cycle * (age - packet.delay - self.guard).div_euclid(self.cycle)
    }
}

/// Older packets would not fit into 32 bits; there are none.
const OLDEST: i64 = 1 << 29;

/// A packet: where it ends, in frames, and its delay above the envelope, in parts of a frame.
#[derive(Clone, Copy, Debug)]
struct Recent {
    end: i64,
    delay: i32,
}

/// Depth of one peer's buffer.
pub struct Playout {
    depth: Depth,
    /// What a frame of depth costs, as a share of packets.
    price: f64,
    /// The last packets, the oldest first; more than the last seconds' are not looked at.
    recent: VecDeque<Recent>,
    /// How many of them need each lag.
    needs: Box<[f64; LAGS]>,
    /// Delays, and those of copies that came in the place of their packets.
    delays: Histogram,
    copies: Histogram,
    /// Card position where music began.
    start: i64,
}

impl Playout {
    /// Nothing known yet.
    pub fn new(depth: Depth) -> Self {
        let price = price(depth) / 48.0;
        let [delays, copies] = std::array::from_fn(|_| Histogram::new());
        let (recent, needs) = (VecDeque::with_capacity(MOST_RECENT), Box::new([0.0; LAGS]));
        Playout { depth, price, recent, needs, delays, copies, start: 0 }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.recent.clear();
        self.delays.clear();
        self.copies.clear();
    }

    /// Music begins at card position `frame`: caution runs from here.
    pub fn start(&mut self, frame: i64) {
        self.start = frame;
    }

    /// Takes in one packet of `frames` frames that ends at `end` and came `delay` frames above the envelope.
    pub fn handle(&mut self, end: i64, delay: f64, frames: f64) {
        let old = |recent: &Recent| end - recent.end > RECENT;
        while self.recent.len() == MOST_RECENT || self.recent.front().is_some_and(old) {
            self.recent.pop_front();
        }
        let parts = (delay * PARTS).ceil().clamp(-OLDEST as f64, OLDEST as f64) as i32;
        self.recent.push_back(Recent { end, delay: parts });
        self.delays.add(delay, frames / LONG);
        self.copies.forget(frames / LONG);
    }

    /// Takes in a copy whose packet has not come, `delay` frames above the envelope.
    pub fn handle_copy(&mut self, delay: f64) {
        self.copies.count(delay);
    }

    /// The lag to have at card position `frame`, in frames above the envelope: from a packet's last frame
    /// on the peer's time line to ours.
    pub fn target(&mut self, frame: i64, turns: &Turns) -> f64 {
        let Some(newest) = self.recent.back() else { return REACH };
        let phase = (turns.now - newest.end as f64).rem_euclid(turns.step);
        let usual = self.usual(phase, turns);
        // Where packets fit the cycles, a rare one finds a cycle as all do; else it has to wait as long as those do.
        let wait =
            if turns.step < turns.cycle { self.shortest_wait(usual, turns) - BIN } else { turns.guard };
        let lags = Lags { phase, step: turns.step, wait, least: least(self.depth, turns.packet) };
        let price = self.price;
        let rare = self.delays.bins().cheapest(&lags, |late, lag| late / self.delays.total + price * lag);
        let rare = rare + margin(self.depth) * (rare - usual).max(0.0);
        let depth = self.for_copies(usual.max(rare), &lags);
        let age = (frame - self.start) as f64 / CAUTION_LASTS;
        depth + REACH + CAUTION * (1.0 - age).clamp(0.0, 1.0)
    }

    /// The lag that is best for the packets of the last seconds.
    fn usual(&mut self, phase: f64, turns: &Turns) -> f64 {
        let price = self.price.max(USUAL / 48.0);
        let below = (BELOW / turns.step).ceil();
        let lag = |place: usize| phase + (place as f64 - below) * turns.step;
        let parts = Parts::of(turns);
        let step = (turns.step * PARTS) as i32;
        // Of the first place, half a step before it: so division rounds.
        let first = (lag(0) * PARTS).round() as i32 - step / 2;
        self.needs.fill(0.0);
        let (mut from, mut to) = (LAGS, 0);
        for recent in &self.recent {
            let place = ((parts.need(recent) - first).div_euclid(step).max(0) as usize).min(LAGS - 1);
            self.needs[place] += 1.0;
            (from, to) = (from.min(place), to.max(place + 1));
        }
        let bins = Bins { weights: &self.needs[from..to], first: lag(from), width: turns.step };
        let least = least(self.depth, turns.packet);
        let lags = Lags { phase: lag(from), step: turns.step, wait: 0.0, least };
        let count = self.recent.len() as f64;
        bins.cheapest(&lags, |late, lag| late / count + price * lag)
    }

    /// The shortest time that a packet waits of those that are in time with this lag.
    fn shortest_wait(&self, lag: f64, turns: &Turns) -> f64 {
        let parts = Parts::of(turns);
        let lag = ((lag + 1.0) * PARTS) as i32;
        let delays = self.recent.iter().filter(|recent| parts.need(recent) < lag).map(|recent| recent.delay);
        delays.max().map_or(turns.cycle, |longest| f64::from(lag - longest) / PARTS - 1.0).min(turns.cycle)
    }

    /// The depth, or more of it if too many copies are late and that saves them.
    fn for_copies(&self, depth: f64, lags: &Lags) -> f64 {
        let packets = (self.delays.total / self.delays.unit * self.copies.unit).max(1.0);
        if self.copies.longer_than(depth - lags.wait) / packets <= bearable(self.depth) {
            return depth;
        }
        let price = self.price / COPY_COUNTS;
        let lags = Lags { least: BREAK, ..*lags }; // each counts whole
        self.copies
            .bins()
            .cheapest(&lags, |late, lag| late / packets + price * (lag - depth).max(0.0))
            .max(depth)
    }

    /// Delay of a median packet, in frames above the envelope.
    pub fn median(&self) -> f64 {
        self.delays.median()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cycles of one frame: any lag may be right.
    const ANY: Turns = Turns { now: 0.0, cycle: 1.0, step: 1.0, guard: 0.0, packet: 120.0 };

    /// Later than caution.
    const LATER: i64 = 1_000_000;

    #[test]
    fn what_is_rare_is_worth_a_little_delay_and_not_much() {
        let target = |depth, late: f64| {
            let mut playout = Playout::new(depth);
            let mut random = fastrand::Rng::with_seed(1);
            for packet in 0..12_000 {
                let delay = if packet % 800 == 400 { late } else { random.f64() * 96.0 };
                playout.handle(packet * 120, delay, 120.0);
            }
            playout.target(LATER, &ANY) - REACH
        };
        for depth in [Depth::Tight, Depth::Balanced, Depth::Safe] {
            assert!((80.0..=101.0).contains(&target(depth, 96.0)), "{depth:?}: as deep as the usual jitter");
        }
        assert!(target(Depth::Tight, 112.0) < 101.0, "one in 800 is not worth a third of a millisecond");
        assert!(target(Depth::Balanced, 112.0) > 111.0, "but it is here");
        assert!(target(Depth::Balanced, 480.0) < 101.0, "and not 8 ms");
        assert!(target(Depth::Safe, 480.0) > 479.0, "but it is here");
    }

    #[test]
    fn long_breaks_are_worth_more_delay_than_short_ones() {
        // A stall of 30 ms every 1.5 s, or a single packet every second that comes a cycle too late.
        let target = |stalls: bool| {
            let mut playout = Playout::new(Depth::Balanced);
            for packet in 0..24_000 {
                let delay = match packet % if stalls { 600 } else { 400 } {
                    into if stalls && into < 12 => 120.0 * (12 - into) as f64,
                    0 => 60.0,
                    _ => 0.0,
                };
                playout.handle(packet * 120, delay, 120.0);
            }
            let whole = Turns { now: 50.0, cycle: 120.0, step: 120.0, guard: 2.4, packet: 120.0 };
            playout.target(LATER, &whole) - REACH
        };
        assert!(target(true) > 720.0, "of a stall of 30 ms less than 15 are left: {}", target(true));
        assert_eq!(target(false), 50.0, "what is hardly heard buys no cycle");
    }

    #[test]
    fn a_handful_of_late_packets_buys_no_cycle() {
        // Packets of 128 frames for cycles of 128, as of plain samples, and a computer that is not quite still: in 12 s
        // five times two in a row are late, by a cycle and by two.
        let target = |depth, stalls: i64| {
            let mut playout = Playout::new(depth);
            for packet in 0..4_500 {
                let delay = match packet % (4_500 / stalls) {
                    10 => 200.0,
                    11 => 100.0,
                    _ => 0.0,
                };
                playout.handle(packet * 128, delay, 128.0);
            }
            let whole = Turns { now: 64.0, cycle: 128.0, step: 128.0, guard: 2.4, packet: 128.0 };
            playout.target(LATER, &whole) - REACH
        };
        assert_eq!(target(Depth::Balanced, 5), 64.0);
        assert!(target(Depth::Safe, 5) >= 64.0 + 2.0 * 128.0, "but it does here");
        assert!(target(Depth::Balanced, 50) > 64.0, "and so do many");
    }

    #[test]
    fn rare_delays_are_remembered_and_then_forgotten() {
        let mut playout = Playout::new(Depth::Balanced);
        for packet in 0..40_000 {
            let delay = if (4_000..4_200).contains(&packet) { 480.0 } else { 24.0 };
            playout.handle(packet * 120, delay, 120.0);
            let target = playout.target(LATER, &ANY) - REACH;
            if packet == 10_000 {
                assert!(target >= 480.0, "15 s later the burst still counts: {target}");
            }
        }
        let target = playout.target(LATER, &ANY) - REACH;
        assert!(target <= 48.0, "90 s later it does not: {target}");
    }

    #[test]
    fn copies_get_depth_when_many_packets_are_lost() {
        let target = |depth, one_in: i64| {
            let mut playout = Playout::new(depth);
            for packet in 0..12_000 {
                playout.handle(packet * 120, 24.0, 120.0);
                if packet % one_in == 0 {
                    playout.handle_copy(384.0);
                }
            }
            playout.target(LATER, &ANY) - REACH
        };
        assert!(target(Depth::Balanced, 100) >= 384.0, "of one per cent most are saved");
        assert!(target(Depth::Balanced, 1_000) <= 32.0, "one in a thousand is borne");
        assert!(target(Depth::Safe, 1_000) >= 384.0, "but not here");
    }

    #[test]
    fn it_begins_with_caution() {
        let mut playout = Playout::new(Depth::Tight);
        playout.start(1_000);
        playout.handle(0, 0.0, 120.0);
        assert!(playout.target(1_000, &ANY) - playout.target(LATER, &ANY) >= CAUTION);
    }

    #[test]
    fn only_lags_that_end_at_a_cycle_count() {
        let target = |turns: &Turns, delay: &dyn Fn(i64) -> f64| {
            let mut playout = Playout::new(Depth::Balanced);
            for packet in 0..12_000 {
                playout.handle(packet * 120, delay(packet), 120.0);
            }
            playout.target(LATER, turns) - REACH
        };
        // A packet for each cycle, delays of up to 2 ms: the first cycle after that, wherever it lies.
        let whole = |now, guard| {
            target(&Turns { now, cycle: 120.0, step: 120.0, guard, packet: 120.0 }, &|packet| {
                (packet % 96) as f64
            })
        };
        assert_eq!([whole(97.0, 0.0), whole(110.0, 0.0), whole(50.0, 0.0)], [97.0, 110.0, 170.0]);
        assert_eq!(whole(97.0, 4.0), 217.0, "too near");
        // Packets of 120 frames in cycles of 128, which are sent when the speaker's cycle of 128 ends.
        let odd = Turns { now: 47.0, cycle: 128.0, step: 8.0, guard: 0.0, packet: 120.0 };
        let sent = |packet: i64| (-packet * 120).rem_euclid(128) as f64;
        assert_eq!(target(&odd, &sent), 120.0 + 47.0, "as long as arithmetic asks for, and no more");
        let rare = |packet: i64| sent(packet) + if packet % 800 == 400 { 480.0 } else { 0.0 };
        assert_eq!(target(&odd, &rare), 120.0 + 47.0, "one in 800 is not worth 10 ms");
    }
}
