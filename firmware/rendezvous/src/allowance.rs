//! How much one connection may send: a token bucket.
//!
//! Each frame of one is sent on to everybody. Without a limit one box gone mad would fill the queues of
//! the others on thin lines, and they would be closed for it. Whoever sends more than the allowance is
//! not refused, only read more slowly. Before it: `connection`. After it: the server's one inbox.

use proto::units::Time;
use std::time::Duration;

/// Tokens that a connection may save up. A frame costs one and one more per KiB, 65 for the longest.
/// A box sends a handful of short frames for each that comes; 128 is room for tens of boxes at once.
const BURST: f64 = 128.0;

/// Tokens per second that it gets back, which is about 64 KiB/s.
const RATE: f64 = 64.0;

/// What is left of a connection's allowance.
#[derive(Debug)]
pub struct Allowance {
    /// Below zero while the connection must wait.
    tokens: f64,
    at: Time,
}

impl Allowance {
    /// A full one.
    pub fn new(now: Time) -> Allowance {
        Allowance { tokens: BURST, at: now }
    }

    /// Takes a frame of so many bytes, and says how long to wait before reading the next.
    pub fn take(&mut self, bytes: usize, now: Time) -> Duration {
        let gained = now.since(self.at).as_secs_f64() * RATE;
        self.tokens = (self.tokens + gained).min(BURST) - 1.0 - bytes as f64 / 1024.0;
        self.at = now;
        Duration::from_secs_f64((-self.tokens / RATE).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_frames_come_at_the_rate() {
        let mut now = Time(0);
        let mut allowance = Allowance::new(now);
        let free = (0..1000).take_while(|_| allowance.take(0, now).is_zero()).count();
        assert_eq!(free, 128);
        for _ in 0..100 {
            let wait = allowance.take(0, now);
            now = now + wait;
        }
        let seconds = now.since(Time(0)).as_secs_f64();
        assert!((seconds - 101.0 / RATE).abs() < 0.02, "{seconds}");
    }

    #[test]
    fn long_frames_cost_more_and_rest_restores_no_more_than_a_burst() {
        let mut allowance = Allowance::new(Time(0));
        assert!(allowance.take(64 * 1024, Time(0)).is_zero());
        assert!(!allowance.take(64 * 1024, Time(0)).is_zero());
        let later = Time(0) + Duration::from_secs(3600);
        assert!(allowance.take(64 * 1024, later).is_zero());
        assert!(!allowance.take(64 * 1024, later).is_zero());
    }
}
