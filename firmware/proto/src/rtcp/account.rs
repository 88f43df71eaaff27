//! How one source is heard, as it is told to that source: the numbers of a report block.
//!
//! Before it: what the engine counted, and the source's own reports. After it: [`super::Writer`].
//! Source: RFC 3550 section 6.4.1 and appendix A.3.

use super::{Block, ntp_middle};
use crate::control::PeerReport;
use crate::units::Time;

/// What was told last, and what the source has told.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Highest sequence number and packets received at the last block.
    counted: (u32, u64),
    /// The last sender report: the middle of its NTP time, and when it came.
    last_sr: Option<(u32, Time)>,
}

impl Account {
    /// A sender report of the source came, with this NTP time.
    pub fn handle_sender_report(&mut self, now: Time, ntp: u64) {
        self.last_sr = Some((ntp_middle(ntp), now));
    }

    /// The next block about the source `ssrc`, of which the engine has counted `report`.
    pub fn block(&mut self, now: Time, ssrc: u32, report: &PeerReport) -> Block {
        let (highest, received) = (report.highest, report.received);
        if self.counted.1 == 0 {
            self.counted = (highest, received); // sequence numbers begin anywhere
        }
        let expected = highest.wrapping_sub(self.counted.0);
        let came = received.saturating_sub(self.counted.1).min(u64::from(expected)) as u32;
        self.counted = (highest, received);
        let (last_sr, came_at) = self.last_sr.unwrap_or((0, now));
        let fraction = u64::from(expected - came) * 256 / u64::from(expected.max(1));
        Block {
            ssrc,
            fraction_lost: fraction.min(255) as u8,
            cumulative_lost: report.lost.min(0x7f_ffff) as i32,
            highest,
            jitter: report.jitter,
            last_sr,
            delay_since_last_sr: (now.since(came_at).as_nanos() * 65_536 / 1_000_000_000) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_block_tells_what_came_since_the_last_one() {
        let mut account = Account::default();
        let report =
            |highest, received| PeerReport { highest, received, lost: 3, jitter: 5, ..Default::default() };
        let first = account.block(Time(0), 7, &report(1_000, 10));
        assert_eq!((first.fraction_lost, first.last_sr, first.delay_since_last_sr), (0, 0, 0));
        account.handle_sender_report(Time(0), 0x1234_5678_9abc_def0);
        let later = Time(0) + Duration::from_millis(500);
        let expected = Block {
            ssrc: 7,
            fraction_lost: 64,
            cumulative_lost: 3,
            highest: 1_100,
            jitter: 5,
            last_sr: 0x5678_9abc,
            delay_since_last_sr: 32_768,
        };
        assert_eq!(account.block(later, 7, &report(1_100, 85)), expected, "25 of 100 are missing");
    }
}
