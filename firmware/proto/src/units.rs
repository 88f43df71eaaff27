//! Units instead of bare numbers: instants, RTP time, clock error.
//!
//! 64 bits inside; values wrap only where they go on the wire (RFC 3550 section 5.1).

use serde::{Deserialize, Serialize};
use std::ops::{Add, Sub};
use std::time::Duration;

/// The one sample rate of the box, in frames per second: Opus' own (RFC 6716 section 2).
pub const SAMPLE_RATE: u32 = 48_000;

/// An instant on the box's monotonic clock, in nanoseconds. On a real box this is
/// `CLOCK_MONOTONIC_RAW`, the clock that JACK uses; in the simulated world it is virtual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub i64);

impl Time {
    /// An instant given in microseconds.
    pub const fn from_micros(us: i64) -> Self {
        Time(us * 1_000)
    }

    /// Signed nanoseconds from `earlier` to this instant.
    pub const fn nanos_since(self, earlier: Time) -> i64 {
        self.0 - earlier.0
    }

    /// Time passed since `earlier`, zero if `earlier` lies ahead.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, d: Duration) -> Time {
        Time(self.0.saturating_sub(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// Turns the 32-bit RTP timestamps (or 16-bit sequence numbers) of one stream into numbers that
/// never wrap. A step counts as forward when it is less than half the range (RFC 3550 appendix A.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwrap {
    last: Option<i64>,
}

impl Unwrap {
    /// The unwrapped value of RTP timestamp `wire`.
    pub fn timestamp(&mut self, wire: u32) -> i64 {
        let next = match self.last {
            None => i64::from(wire),
            Some(last) => last + i64::from(wire.wrapping_sub(last as u32) as i32),
        };
        self.last = Some(self.last.map_or(next, |last| last.max(next)));
        next
    }

    /// The unwrapped value of RTP sequence number `wire`.
    pub fn sequence(&mut self, wire: u16) -> i64 {
        let next = match self.last {
            None => i64::from(wire),
            Some(last) => last + i64::from(wire.wrapping_sub(last as u16) as i16),
        };
        self.last = Some(self.last.map_or(next, |last| last.max(next)));
        next
    }
}

/// Converts a count of frames to nanoseconds at the nominal rate, rounded to nearest.
pub fn frames_to_nanos(frames: f64) -> i64 {
    (frames * 1e9 / f64::from(SAMPLE_RATE)).round() as i64
}

/// Converts nanoseconds to frames at the nominal rate.
pub fn nanos_to_frames(nanos: i64) -> f64 {
    nanos as f64 * f64::from(SAMPLE_RATE) / 1e9
}

/// Linear gain (1.0 = unchanged) in decibels; silence is −120 dB.
pub fn to_decibels(linear: f32) -> f32 {
    if linear > 1e-6 { 20.0 * linear.log10() } else { -120.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_unwrap_across_the_end_of_32_bits_and_backwards() {
        let mut unwrap = Unwrap::default();
        let first = unwrap.timestamp(u32::MAX - 119);
        assert_eq!(unwrap.timestamp(0), first + 120);
        assert_eq!(unwrap.timestamp(u32::MAX - 119), first, "a reordered packet goes back");
        assert_eq!(unwrap.timestamp(120), first + 240);
    }

    #[test]
    fn sequence_numbers_unwrap_across_the_end_of_16_bits() {
        let mut unwrap = Unwrap::default();
        let first = unwrap.sequence(65_535);
        assert_eq!(unwrap.sequence(1), first + 2);
        assert_eq!(unwrap.sequence(0), first + 1);
    }

    #[test]
    fn frames_and_nanoseconds_are_inverse() {
        assert_eq!(frames_to_nanos(120.0), 2_500_000);
        assert!((nanos_to_frames(frames_to_nanos(48_000.0)) - 48_000.0).abs() < 1e-9);
    }
}
