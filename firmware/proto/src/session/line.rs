//! What the line to a peer does to our packets, and what we do about it.
//!
//! Fed with what the peer reports ten times a second ([`Reception`]); gives the distance of the copy that
//! each packet to it carries, and whether the line is congested: then a copy would only make it worse.
//! Distance beats number of copies: losses come in bursts, and a copy helps if it is outside of the burst.

use crate::routes::MAX_DISTANCE;
use std::time::Duration;

/// How far back losses are remembered, in packets (10 s at 2.5 ms).
const MEMORY: f64 = 4_000.0;

/// Packets that a line is taken to have carried well before we knew it: one loss proves little.
const TRUST: f64 = 2_000.0;

/// Copies are sent from this share of losses on, and no longer below the second.
const ON: f64 = 0.000_7;
const OFF: f64 = 0.000_2;

/// Reports of which the losses are held together with the round trip: 1 s.
const RECENT: usize = 10;

/// A line is congested when so many of the recent packets were lost while they waited so much longer than
/// in better times.
const CONGESTED_LOSS: f64 = 0.01;
const CONGESTED_WAIT: Duration = Duration::from_millis(8);

/// Reports for which a crowded line's losses come in after it is over (they are counted late): 3 s.
const AFTERMATH: u32 = 30;

/// Reports after which a longer way counts as the usual one, to two thirds: a minute.
const FORGET: u32 = 600;

/// A copy may be lost together with its packet with this probability, not more.
const SHARED_FATE: f64 = 0.06;

/// From this patience on, in microseconds, copies lie as far back as they may, if there are bursts.
const MUCH_PATIENCE: u32 = 30_000;

/// How a peer receives us; all numbers count from the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reception {
    /// Packets that came.
    pub received: u32,
    /// Packets that did not.
    pub lost: u32,
    /// Runs of packets that did not come.
    pub bursts: u32,
    /// How much later than its packet a copy may come to be worth its while, in microseconds.
    pub patience_us: u32,
}

/// Losses that followed another, below which bursts are taken for chance: two in a row among a few are no rule.
const BY_CHANCE: f64 = 2.0;

/// The line to one peer.
#[derive(Clone, Debug)]
pub struct Line {
    last: Option<Reception>,
    /// Packets sent, packets lost and runs of lost ones, the older the less they count.
    sent: f64,
    lost: f64,
    bursts: f64,
    distance: u8,
    /// Packets sent and lost in each of the last reports, the newest last.
    recent: [(f64, f64); RECENT],
    /// Round trip in better times, which are forgotten slowly.
    quick_trip: Option<Duration>,
    /// Reports until it is over that packets wait longer than in better times.
    crowded: u32,
    /// They wait, and are lost as well.
    congested: bool,
}

impl Default for Line {
    fn default() -> Self {
        Line {
            last: None,
            sent: TRUST,
            lost: 0.0,
            bursts: 0.0,
            distance: 0,
            recent: [(0.0, 0.0); RECENT],
            quick_trip: None,
            crowded: 0,
            congested: false,
        }
    }
}

impl Line {
    /// How many packets back the copy lies that each packet shall carry; 0: none.
    pub fn distance(&self) -> u8 {
        self.distance
    }

    /// Whether more is sent than the line carries.
    pub fn is_congested(&self) -> bool {
        self.congested
    }

    /// Takes in a report: the round trip that it always takes now, and the length of our packets. True if the distance has changed.
    pub fn handle(&mut self, now: Reception, trip: Option<Duration>, packet: Duration) -> bool {
        let Some(last) = self.last.replace(now) else { return false };
        let since = |now: u32, last: u32| f64::from(now.wrapping_sub(last).min(10_000));
        let (received, lost) = (since(now.received, last.received), since(now.lost, last.lost));
        let keep = (1.0 - (received + lost) / MEMORY).max(0.0);
        self.sent = self.sent * keep + received + lost;
        self.lost = self.lost * keep + lost;
        self.bursts = self.bursts * keep + since(now.bursts, last.bursts);
        self.recent.rotate_left(1);
        self.recent[RECENT - 1] = (received + lost, lost);
        self.judge_congestion(trip);
        let most = (u128::from(now.patience_us) / packet.as_micros().max(1)).min(MAX_DISTANCE.into());
        let wanted = match self.wanted(most as u8) {
            _ if self.crowded > 0 => 0,
            // Every change costs depth at the other end: where delay does not matter, one is enough.
            1.. if now.patience_us > MUCH_PATIENCE && self.lost > 1.5 * self.bursts => most as u8,
            wanted => wanted,
        };
        std::mem::replace(&mut self.distance, wanted) != wanted
    }

    /// Losses alone may be a bad radio, and a long wait alone another route. While packets wait, losses say nothing
    /// about how the line loses packets by itself.
    fn judge_congestion(&mut self, trip: Option<Duration>) {
        let Some(trip) = trip else { return };
        let quick = self.quick_trip.map_or(trip, |quick| quick + trip.saturating_sub(quick) / FORGET);
        let quick = quick.min(trip);
        self.quick_trip = Some(quick);
        let waits = trip - quick > CONGESTED_WAIT;
        self.crowded = if waits { AFTERMATH } else { self.crowded.saturating_sub(1) };
        if self.crowded > 0 {
            (self.lost, self.bursts) = (0.0, 0.0);
        }
        let (sent, lost) = self.recent.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        self.congested = waits && lost > CONGESTED_LOSS * sent;
    }

    /// At most `most` packets back; none if bursts are so long that this would save few.
    fn wanted(&self, most: u8) -> u8 {
        let share = self.lost / self.sent.max(1.0);
        let enough = if self.distance > 0 { OFF } else { ON };
        if share < enough || self.bursts <= 0.0 {
            return 0;
        }
        // A two-state line (Gilbert): the chance that a lost packet's copy is lost too falls by this factor
        // with every packet between them, down to the share of all losses.
        let together = self.lost - self.bursts;
        let burst = if together < BY_CHANCE { 1.0 } else { self.lost / self.bursts };
        let stay = (1.0 - 1.0 / burst).clamp(0.001, 0.95);
        let wanted = (SHARED_FATE.ln() / stay.ln()).ceil().clamp(1.0, 255.0) as u8;
        let wanted = if wanted > most + most / 4 { 0 } else { wanted.min(most) };
        // One less than now is within the noise of the estimate: a change costs depth at the other end.
        if wanted + 1 == self.distance { self.distance } else { wanted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: Duration = Duration::from_micros(2_500);

    /// Reports of a Gilbert line every 40 packets; the distances that were chosen, one a report.
    fn reports(loss: f64, burst: f64, packets: u32) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(3);
        let mut reception = Reception { patience_us: 10_000, ..Reception::default() };
        let (mut line, mut bad) = (Line::default(), false);
        let mut distances = Vec::new();
        for packet in 0..packets {
            let begin = loss / (burst * (1.0 - loss));
            let now_bad = random.f64() < if bad { 1.0 - 1.0 / burst } else { begin };
            reception.bursts += u32::from(now_bad && !bad);
            reception.lost += u32::from(now_bad);
            reception.received += u32::from(!now_bad);
            bad = now_bad;
            if packet % 40 == 0 {
                line.handle(reception, None, PACKET);
                distances.push(line.distance());
            }
        }
        distances
    }

    #[test]
    fn a_good_line_carries_no_copies() {
        assert!(reports(0.0001, 1.0, 100_000).iter().filter(|distance| **distance > 0).count() < 100);
        assert!(reports(0.0, 1.0, 100_000).iter().all(|distance| *distance == 0));
    }

    #[test]
    fn the_distance_reaches_beyond_the_bursts() {
        for (loss, burst, least, most) in
            [(0.005, 1.02, 1, 2), (0.01, 1.5, 2, 4), (0.01, 2.0, 3, 4), (0.05, 2.0, 3, 4)]
        {
            let distances = reports(loss, burst, 40_000);
            let usual = distances[200..].iter().filter(|d| (least..=most).contains(*d)).count();
            assert!(usual > 750, "{loss} in bursts of {burst}: {usual} of 800");
        }
    }

    #[test]
    fn it_begins_within_two_seconds_and_ends_when_the_line_is_good_again() {
        let distances = reports(0.01, 1.5, 40_000);
        assert!(distances[..20].iter().any(|distance| *distance > 0));
        let mut line = Line::default();
        let lossy = |received| Reception { received, lost: 10, bursts: 8, patience_us: 10_000 };
        line.handle(Reception::default(), None, PACKET);
        line.handle(lossy(390), None, PACKET);
        assert!(line.distance() > 0);
        for n in 1..1_000 {
            line.handle(lossy(390 + n * 40), None, PACKET);
        }
        assert_eq!(line.distance(), 0);
    }

    #[test]
    fn bursts_too_long_for_the_listener_s_patience_get_no_copies() {
        let distance = |patience_us| {
            let mut line = Line::default();
            line.handle(Reception::default(), None, PACKET);
            let reception = Reception { received: 3_800, lost: 200, bursts: 40, patience_us };
            line.handle(reception, None, PACKET);
            line.distance()
        };
        assert_eq!(distance(0), 0);
        assert_eq!(distance(10_000), 0, "four packets back are not enough for bursts of five");
        assert_eq!(distance(50_000), MAX_DISTANCE);
    }

    #[test]
    fn losses_with_a_longer_way_are_congestion_and_get_no_copies() {
        let mut line = Line::default();
        let mut reception = Reception { patience_us: 10_000, ..Reception::default() };
        let mut play = |trip_ms, lost: u32| {
            reception.received += 40 - lost;
            reception.lost += lost;
            reception.bursts += lost.min(1);
            line.handle(reception, Some(Duration::from_millis(trip_ms)), PACKET);
            (line.is_congested(), line.distance() > 0)
        };
        (0..30).for_each(|_| assert_eq!(play(20, 0), (false, false)));
        assert_eq!(play(20, 2), (false, true), "losses alone");
        assert_eq!((0..10).map(|_| play(35, 2)).last(), Some((true, false)), "losses and a full queue");
        assert_eq!((0..30).map(|_| play(35, 0)).last(), Some((false, false)), "a longer way alone");
        (0..1_000).for_each(|_| assert!(!play(35, 0).0));
        assert_eq!(
            (0..9).map(|_| play(35, 2)).last(),
            Some((false, true)),
            "which is the usual one after a while"
        );
    }
}
