//! When to try again: soon at first, then ever more slowly. For the rendezvous, and for broadcasts.
//!
//! Takes how long a connection lasted and a random number, gives a time to wait. The randomness spreads a
//! room full of boxes that lost the same server at the same moment.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The first wait: a server that was restarted is back within a second.
const FIRST: Duration = Duration::from_millis(250);

/// The next try after a refusal. Somebody must mend a file first, so there is no hurry.
pub const AFTER_REFUSAL: Duration = Duration::from_secs(15);

/// The longest wait, before jitter.
const LONGEST: Duration = Duration::from_secs(15);

/// A connection that lasted this long was a good one; the next wait is the first again.
pub const GOOD: Duration = Duration::from_secs(30);

/// Jitter: each wait is longer or shorter by up to this part of itself.
const JITTER: f64 = 0.2;

/// The waits between tries: 0.25 s, doubling to 15 s, each ±20 %.
#[derive(Debug)]
pub struct Backoff {
    wait: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { wait: FIRST }
    }
}

impl Backoff {
    /// A connection ended after `time`.
    pub fn lasted(&mut self, time: Duration) {
        if time >= GOOD {
            self.wait = FIRST;
        }
    }

    /// How long to wait now; `random` is any number.
    pub fn next(&mut self, random: u64) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST);
        let part = random as f64 / u64::MAX as f64; // 0 to 1
        wait.mul_f64(1.0 + JITTER * (2.0 * part - 1.0))
    }
}

/// Any number, different in every box: the standard library seeds its hash tables with such.
pub fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The middle of all random numbers: no jitter.
    const MIDDLE: u64 = u64::MAX / 2;

    fn millis(backoff: &mut Backoff) -> u128 {
        (backoff.next(MIDDLE) + Duration::from_micros(1)).as_millis()
    }

    #[test]
    fn waits_double_from_a_quarter_second_to_fifteen_seconds() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..9).map(|_| millis(&mut backoff)).collect();
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
    }

    #[test]
    fn jitter_is_a_fifth_both_ways() {
        assert_eq!(Backoff::default().next(0), Duration::from_millis(200));
        assert_eq!(Backoff::default().next(u64::MAX), Duration::from_millis(300));
    }

    #[test]
    fn only_a_good_connection_starts_the_waits_anew() {
        let mut backoff = Backoff::default();
        for _ in 0..4 {
            backoff.next(MIDDLE);
        }
        backoff.lasted(Duration::from_secs(29));
        assert_eq!(millis(&mut backoff), 4_000);
        backoff.lasted(Duration::from_secs(30));
        assert_eq!(millis(&mut backoff), 250);
    }
}
