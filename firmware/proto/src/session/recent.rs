//! How a peer was heard in the last ten seconds, in percent: what a person looks at when it breaks up now.
//!
//! Fed with the engine's reports, whose counters run from the beginning; gives shares of what has passed since the
//! oldest one that is kept. For people; nothing is decided by it.

use crate::control::PeerReport;
use crate::units::{SAMPLE_RATE, Time};
use std::collections::VecDeque;
use std::time::Duration;

/// How far back it looks, and how far apart the counts that are kept lie.
const WINDOW: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(1);

/// Shares in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shares {
    /// Packets that never came, of all that should have.
    pub lost: f32,
    /// Packets that came too late, of the same.
    pub late: f32,
    /// Sound that was invented.
    pub concealed: f32,
}

/// The counts of the last ten seconds, the oldest first.
#[derive(Debug, Default)]
pub struct Recent {
    counts: VecDeque<Count>,
    newest: Count,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    at: Time,
    received: u64,
    lost: u64,
    late: u64,
    /// In frames.
    concealed: u64,
}

impl Recent {
    /// Takes in a report.
    pub fn push(&mut self, now: Time, report: &PeerReport) {
        let count = Count {
            at: now,
            received: report.received,
            lost: report.lost,
            late: report.late,
            concealed: report.concealed * u64::from(report.packet),
        };
        if count.received < self.newest.received {
            self.counts.clear(); // the slot was somebody else's
        }
        self.newest = count;
        if self.counts.back().is_none_or(|last| now.since(last.at) >= EVERY) {
            self.counts.push_back(count);
        }
        while self.counts.get(1).is_some_and(|second| now.since(second.at) >= WINDOW) {
            self.counts.pop_front();
        }
    }

    /// Shares of the last ten seconds, or of as much as there was.
    pub fn shares(&self) -> Shares {
        let (Some(first), last) = (self.counts.front(), &self.newest) else { return Shares::default() };
        let since = |count: fn(&Count) -> u64| count(last).saturating_sub(count(first));
        let percent = |part: u64, whole: u64| (100.0 * part as f64 / whole.max(1) as f64).min(100.0) as f32;
        let (lost, late) = (since(|count| count.lost), since(|count| count.late));
        let packets = since(|count| count.received) + lost;
        let frames = last.at.since(first.at).as_secs_f64() * f64::from(SAMPLE_RATE);
        Shares {
            lost: percent(lost, packets),
            late: percent(late, packets),
            concealed: percent(since(|count| count.concealed), frames as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Time {
        Time(milliseconds * 1_000_000)
    }

    #[test]
    fn shares_are_of_the_last_ten_seconds_and_then_forgotten() {
        let mut recent = Recent::default();
        assert_eq!(recent.shares(), Shares::default());
        let mut report = PeerReport { packet: 120, ..PeerReport::default() };
        let mut seen = Vec::new();
        for tenth in 0..400 {
            // 40 packets in a tenth of a second; from second 5 to 10 two of them are lost, one is late.
            let bad = u64::from((50..100).contains(&tenth));
            report.received += 40 - 2 * bad;
            report.lost += 2 * bad;
            report.late += bad;
            report.concealed += 3 * bad;
            recent.push(at(tenth * 100), &report);
            seen.push(recent.shares());
        }
        assert_eq!(seen[49], Shares::default());
        let Shares { lost, late, concealed } = seen[99];
        // Half of the window.
        assert!((lost - 2.5).abs() < 0.2 && (late - 1.25).abs() < 0.1 && (concealed - 3.75).abs() < 0.3);
        assert_eq!(seen[220], Shares::default(), "it is more than ten seconds ago");
        // Another peer has the slot.
        recent.push(at(50_000), &PeerReport { received: 3, lost: 1, ..report });
        assert_eq!(recent.shares().lost, 0.0);
    }
}
