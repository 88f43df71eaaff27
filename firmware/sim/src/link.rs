//! One direction of a line between two boxes: how long a datagram takes, and whether it comes at all.
//!
//! Every link has its own random numbers, seeded from the world's seed and its two ends, so that what
//! happens on one link does not depend on what is sent over another.

use fastrand::Rng;
use proto::units::Time;
use std::time::Duration;

/// What a line does to datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Every datagram takes at least this long.
    pub delay: Duration,
    /// And up to this much more, evenly distributed.
    pub jitter: Duration,
    /// Share of datagrams that are lost, 0 to 1.
    pub loss: f64,
    /// How many are lost in a row, in the mean, 1 or more (a two-state line: Gilbert 1960).
    pub burst: f64,
    /// Share of datagrams that are overtaken by the next ones; all others stay in order.
    pub reorder: f64,
    /// Share of datagrams that come twice.
    pub duplicate: f64,
    /// What else happens on the line from time to time.
    pub trouble: Trouble,
    /// How much it carries; `None`: as much as there is.
    pub rate: Option<Rate>,
}

/// How much a line carries, and how much waits before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bits per second, headers included.
    pub bits: u32,
    /// What would have to wait longer is lost.
    pub queue: Duration,
}

/// What happens on a line from time to time, at intervals that are random around `every`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// Somebody else uses the line for `length`: a queue fills up to `delay` and drains again.
    Load {
        /// Mean time between two.
        every: Duration,
        /// How long each lasts.
        length: Duration,
        /// How much longer a datagram takes at the height of it.
        delay: Duration,
    },
    /// Nothing passes for up to `length`, then everything at once: a radio that repeats.
    Stalls {
        /// Mean time between two.
        every: Duration,
        /// The longest.
        length: Duration,
    },
}

impl Default for Link {
    /// Two boxes in one building: half a millisecond, give or take a tenth.
    fn default() -> Self {
        Link {
            delay: Duration::from_micros(500),
            jitter: Duration::from_micros(100),
            loss: 0.0,
            burst: 1.0,
            reorder: 0.0,
            duplicate: 0.0,
            trouble: Trouble::None,
            rate: None,
        }
    }
}

/// How much later than the others a reordered datagram comes: two packets' length.
const OVERTAKEN: Duration = Duration::from_millis(5);

/// Bytes of headers of a datagram: Ethernet 14, IPv4 20, UDP 8.
const HEADERS: usize = 42;

/// A link at work.
pub(crate) struct Line {
    pub link: Link,
    random: Rng,
    last: Time,
    /// When everything so far will have been sent, by the line's rate.
    free: Time,
    /// The last datagram was lost.
    bad: bool,
    /// When the trouble began that is under way or was the last, when it ended, and when the next begins.
    began: Time,
    ended: Time,
    next: Time,
    /// Has random numbers of its own: how often datagrams are sent must not move the trouble.
    fate: Rng,
}

impl Line {
    pub fn new(link: Link, seed: u64) -> Self {
        Line {
            link,
            random: Rng::with_seed(seed),
            last: Time(0),
            free: Time(0),
            bad: false,
            began: Time(0),
            ended: Time(0),
            next: Time(0),
            fate: Rng::with_seed(!seed),
        }
    }

    /// When a datagram of `len` bytes sent `now` arrives: never, once or twice.
    pub fn carry(&mut self, now: Time, len: usize) -> Vec<Time> {
        // Always the same count of random numbers per datagram: a change of one share moves nothing else.
        let dice: [f64; 4] = std::array::from_fn(|_| self.random.f64());
        let trouble = self.trouble(now);
        let Link { delay, jitter, loss, burst, reorder, duplicate, .. } = self.link;
        let lose = if self.bad { 1.0 - 1.0 / burst } else { loss / (burst * (1.0 - loss)) };
        // With bursts of 1 a loss would never follow a loss; independent losses do.
        self.bad = dice[0] < if burst > 1.0 { lose } else { loss };
        if self.bad {
            return Vec::new();
        }
        let Some(queue) = self.wait(now, len) else { return Vec::new() };
        let mut arrival = now + queue + delay + jitter.mul_f64(dice[1]) + trouble;
        if dice[2] < reorder {
            arrival = arrival + OVERTAKEN;
        } else {
            arrival = arrival.max(self.last);
            self.last = arrival;
        }
        if dice[3] < duplicate { vec![arrival, arrival + Duration::from_micros(300)] } else { vec![arrival] }
    }

    /// How long a datagram takes to get onto the line; `None` if the queue before it is full.
    fn wait(&mut self, now: Time, len: usize) -> Option<Duration> {
        let Some(Rate { bits, queue }) = self.link.rate else { return Some(Duration::ZERO) };
        let begins = self.free.max(now);
        if begins.since(now) > queue {
            return None;
        }
        let takes = (len + HEADERS) as f64 * 8.0 / f64::from(bits);
        self.free = begins + Duration::from_secs_f64(takes);
        Some(self.free.since(now))
    }

    /// How much longer a datagram takes that is sent `now`.
    fn trouble(&mut self, now: Time) -> Duration {
        let (every, length) = match self.link.trouble {
            Trouble::None => return Duration::ZERO,
            Trouble::Load { every, length, .. } | Trouble::Stalls { every, length } => (every, length),
        };
        while self.next <= now {
            let shorter =
                if matches!(self.link.trouble, Trouble::Stalls { .. }) { self.fate.f64() } else { 1.0 };
            self.began = self.next;
            self.ended = self.began + length.mul_f64(shorter);
            self.next = self.ended + every.mul_f64(0.5 + self.fate.f64());
        }
        let (left, into) = (self.ended.since(now), now.since(self.began));
        match self.link.trouble {
            Trouble::Load { length, delay, .. } if !left.is_zero() => {
                // Fills for a third of the time and drains for a third.
                let near = left.min(into).as_secs_f64() * 3.0 / length.as_secs_f64();
                delay.mul_f64(near.min(1.0))
            }
            Trouble::Stalls { .. } => left,
            _ => Duration::ZERO,
        }
    }
}
