//! The body's clock: `CLOCK_MONOTONIC_RAW`, the one that JACK counts by on Linux.
//!
//! Read by the network threads, the control loop and the simulated card; handed as `now` to whatever
//! decides.

use nix::sys::time::{TimeSpec, TimeValLike};
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};
use proto::units::Time;
use std::time::Duration;

/// Now.
pub fn now() -> Time {
    read(ClockId::CLOCK_MONOTONIC_RAW)
}

/// When something happened that the kernel stamped with its wall clock.
pub fn from_wall_clock(stamp: TimeSpec) -> Time {
    let age = read(ClockId::CLOCK_REALTIME).0 - stamp.num_nanoseconds();
    // A wall clock that is being set must not make packets come from the future or from last year.
    Time(now().0 - age.clamp(0, 1_000_000_000))
}

/// Sleeps until `at`, as precisely as the kernel can. Returns late, never early.
pub fn sleep_until(at: Time) {
    loop {
        let left = at.since(now());
        if left.is_zero() {
            return;
        }
        // The kernel cannot sleep by the raw clock; over some milliseconds the two go alike.
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has this clock");
        let until = Duration::from(monotonic) + left;
        // Interrupted by a signal it returns early, and the loop goes round.
        let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &until.into());
    }
}

fn read(clock: ClockId) -> Time {
    Time(clock_gettime(clock).expect("Linux has this clock").num_nanoseconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_is_never_short() {
        let until = now() + Duration::from_millis(3);
        sleep_until(until);
        assert!(now() >= until);
        sleep_until(until);
    }

    #[test]
    fn a_stamp_of_the_wall_clock_lies_in_the_past() {
        let stamp = clock_gettime(ClockId::CLOCK_REALTIME).unwrap();
        let before = now();
        assert!(from_wall_clock(stamp) <= before + Duration::from_millis(1));
        assert!(from_wall_clock(TimeSpec::new(0, 0)) <= before);
    }
}
