//! How much of the line our own sound takes: the pace of its packets.
//!
//! Fed by the session with whether a line is congested (losses while packets wait longer than before: a
//! queue is full) and how many boxes play; gives the pace for the engine. One encoder serves all
//! listeners, so the worst line decides. Congestion takes bit rate first and then every other packet
//! header; better times are tried again step by step, less often the more often that failed.

use crate::control::Pace;
use crate::units::Time;
use std::time::Duration;

/// Boxes up to which packets are short: with more, the headers to all of them become most of the line.
const FEW_BOXES: usize = 4;

/// Frames in a short and in a long packet: 2.5 and 5 ms.
const SHORT: u16 = 120;
const LONG: u16 = 240;

/// Shares of the bit rate, and whether packets are long, the worse the line the farther down.
const STEPS: [(f64, bool); 5] = [(1.0, false), (0.7, false), (0.5, false), (0.5, true), (0.35, true)];

/// Never fewer bits per second than this.
const LEAST_BITRATE: f64 = 24_000.0;

/// Time between two steps down: what a step does is seen only when the queue has drained, the losses are counted
/// (0.4 s), told and out of what counts as recent (1 s), and three round trips were measured (1.5 s).
const BETWEEN: Duration = Duration::from_secs(3);

/// Time without congestion before a step up is tried, at first and at most.
const CALM: Duration = Duration::from_secs(10);
const LONGEST_CALM: Duration = Duration::from_secs(160);

/// Bytes of headers of a packet: Ethernet 14, IPv4 20, UDP 8, RTP 12.
const HEADERS: f64 = 54.0;

/// Bits per second of the reports to one peer, with all headers.
const REPORTS: f64 = 9_000.0;

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Bits per second of Opus; 0 for plain samples, which have no pace.
    pub bitrate: i32,
    /// Frames in a packet, if the box shall not choose.
    pub frames: Option<u16>,
    /// Bits per second that the line to the internet carries upwards, if known.
    pub uplink: Option<u32>,
}

impl Wish {
    /// The pace of a box that is alone.
    pub fn pace(self) -> Pace {
        Pace { frames: self.frames.unwrap_or(SHORT), bitrate: self.bitrate }
    }
}

/// The pace of our packets.
#[derive(Clone, Debug)]
pub struct Uplink {
    wish: Wish,
    step: usize,
    changed: Time,
    /// When there last was congestion.
    congested: Time,
    calm: Duration,
    /// The last step was one up.
    trying: bool,
}

impl Uplink {
    /// As wished, from `now` on.
    pub fn new(wish: Wish, now: Time) -> Self {
        Uplink { wish, step: 0, changed: now, congested: now, calm: CALM, trying: false }
    }

    /// Takes in whether a line is congested now. True if the pace may have changed.
    pub fn handle(&mut self, now: Time, congested: bool) -> bool {
        if congested {
            self.congested = now;
            let tried_too_early = self.trying && now.since(self.changed) < self.calm;
            if tried_too_early {
                self.calm = (self.calm * 2).min(LONGEST_CALM);
            }
            if self.step == STEPS.len() - 1 || (now.since(self.changed) < BETWEEN && !tried_too_early) {
                return false;
            }
            self.step += 1;
            self.trying = false;
        } else {
            let calm = now.since(self.congested).min(now.since(self.changed));
            if self.step == 0 || calm < self.calm {
                return false;
            }
            self.step -= 1;
            self.trying = true;
        }
        self.changed = now;
        true
    }

    /// The pace for a session of so many boxes, this one included.
    pub fn pace(&self, boxes: usize) -> Pace {
        let (share, long) = STEPS[self.step];
        let mut bitrate = f64::from(self.wish.bitrate) * share;
        let long = long || boxes > FEW_BOXES || self.takes(SHORT, bitrate, boxes) > self.room();
        let frames = self.wish.frames.unwrap_or(if long { LONG } else { SHORT });
        let too_much = self.takes(frames, bitrate, boxes) - self.room();
        if too_much > 0.0 {
            bitrate -= too_much / boxes.saturating_sub(1).max(1) as f64;
        }
        // Whole bytes in a packet of 2.5 ms are whole kilobits; least is least.
        let bitrate = (bitrate.max(LEAST_BITRATE.min(f64::from(self.wish.bitrate))) / 1_000.0).floor();
        Pace { frames, bitrate: bitrate as i32 * 1_000 }
    }

    /// Bits per second upwards.
    fn takes(&self, frames: u16, bitrate: f64, boxes: usize) -> f64 {
        let packets = 48_000.0 / f64::from(frames);
        (bitrate + packets * HEADERS * 8.0 + REPORTS) * boxes.saturating_sub(1) as f64
    }

    fn room(&self) -> f64 {
        self.wish.uplink.map_or(f64::INFINITY, f64::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Time {
        Time((seconds * 1e9) as i64)
    }

    fn uplink(wish: Wish) -> Uplink {
        Uplink::new(Wish { bitrate: 96_000, ..wish }, at(0.0))
    }

    #[test]
    fn five_boxes_send_longer_packets_than_four() {
        let uplink = uplink(Wish::default());
        assert_eq!(uplink.pace(4), Pace { frames: 120, bitrate: 96_000 });
        assert_eq!(uplink.pace(5), Pace { frames: 240, bitrate: 96_000 });
        let forced = self::uplink(Wish { frames: Some(120), ..Wish::default() });
        assert_eq!(forced.pace(9).frames, 120);
    }

    #[test]
    fn a_thin_uplink_is_not_asked_for_more_than_it_has() {
        // Two listeners at 96 kbit/s in 2.5 ms take 556 kbit/s, in 5 ms 383.
        assert_eq!(uplink(Wish { uplink: Some(560_000), ..Wish::default() }).pace(3).frames, 120);
        let thin = uplink(Wish { uplink: Some(400_000), ..Wish::default() });
        assert_eq!(thin.pace(3), Pace { frames: 240, bitrate: 96_000 });
        let thinner = uplink(Wish { uplink: Some(300_000), ..Wish::default() });
        let pace = thinner.pace(3);
        assert!(pace.frames == 240 && (40_000..=60_000).contains(&pace.bitrate), "{pace:?}");
        assert!(thinner.takes(pace.frames, f64::from(pace.bitrate), 3) <= 300_000.0);
    }

    #[test]
    fn congestion_takes_bits_first_and_packets_then_and_gives_back_slowly() {
        let mut uplink = uplink(Wish::default());
        let mut seen = vec![uplink.pace(2)];
        for tenth in 20..200 {
            if uplink.handle(at(f64::from(tenth) / 10.0), true) {
                seen.push(uplink.pace(2));
            }
        }
        assert_eq!(seen.len(), STEPS.len());
        assert!(seen.is_sorted_by(|a, b| b.bitrate <= a.bitrate && b.frames >= a.frames), "{seen:?}");
        assert_eq!((seen[2].frames, seen[3].frames), (120, 240));
        assert!(!uplink.handle(at(25.0), false), "not yet");
        assert!(uplink.handle(at(31.0), false));
        assert_eq!(uplink.pace(2), seen[3]);
        // That was too early: the next try waits twice as long.
        assert!(uplink.handle(at(32.0), true));
        assert!(!uplink.handle(at(51.0), false));
        assert!(uplink.handle(at(53.0), false));
    }
}
