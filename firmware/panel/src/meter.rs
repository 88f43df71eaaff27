//! How a meter moves: up at once, down slowly, and its peak stays for a while.
//!
//! The levels come with each `Status`; what is drawn between two of them follows from `now`. The falls are those of
//! a sound engineer's meter (IEC 60268-18: 20 dB in 1.7 s), so that a short note is seen.

use proto::control::Status;
use proto::units::Time;
use std::collections::BTreeMap;

/// How fast a bar falls, in decibels per second.
const FALL: f32 = 20.0 / 1.7;

/// How long a peak stays before it falls, in seconds.
const HOLD: f32 = 1.5;

/// What is silence to a meter, in dB full scale.
pub(crate) const FLOOR: f32 = -60.0;

/// Louder than this nothing is shown, in dB full scale.
const CEILING: f32 = 0.0;

/// One bar with its peak.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    /// The last level that came, in dB full scale.
    level: f32,
    /// From where the bar falls to it, and since when.
    top: (f32, Time),
    /// The highest peak, and when it was.
    peak: (f32, Time),
}

impl Meter {
    fn new(now: Time) -> Meter {
        Meter { level: FLOOR, top: (FLOOR, now), peak: (FLOOR, now) }
    }

    fn hear(&mut self, now: Time, level: f32, peak: f32) {
        // What is no number, as a damaged file may have it, is silence.
        let shown = |db: f32| if db.is_nan() { FLOOR } else { db.clamp(FLOOR, CEILING) };
        let (level, peak) = (shown(level), shown(peak));
        self.top = (self.bar(now).max(level), now);
        self.level = level;
        if peak >= self.peak(now) {
            self.peak = (peak, now);
        }
    }

    /// How long the bar is, in dB full scale.
    pub(crate) fn bar(&self, now: Time) -> f32 {
        let (top, since) = self.top;
        (top - FALL * now.since(since).as_secs_f32()).max(self.level)
    }

    /// Where the peak stands, in dB full scale.
    pub(crate) fn peak(&self, now: Time) -> f32 {
        let (peak, since) = self.peak;
        let falling = (now.since(since).as_secs_f32() - HOLD).max(0.0);
        (peak - FALL * falling).max(self.bar(now))
    }
}

/// The meters of everybody who is heard.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    own: Option<Meter>,
    peers: BTreeMap<String, Meter>,
}

impl Meters {
    /// Takes in what the box says now.
    pub(crate) fn hear(&mut self, now: Time, status: &Status) {
        let own = self.own.get_or_insert_with(|| Meter::new(now));
        own.hear(now, status.level_db, status.peak_db);
        let heard = status.peers.iter().filter(|peer| peer.connected);
        let mut before = std::mem::take(&mut self.peers);
        for peer in heard {
            let mut meter = before.remove(&peer.name).unwrap_or(Meter::new(now));
            meter.hear(now, peer.level_db, peer.peak_db);
            self.peers.insert(peer.name.clone(), meter);
        }
    }

    /// The box's own, once there was a status.
    pub(crate) fn own(&self) -> Option<&Meter> {
        self.own.as_ref()
    }

    /// The one of a peer, while it is heard.
    pub(crate) fn peer(&self, name: &str) -> Option<&Meter> {
        self.peers.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bar_rises_at_once_and_falls_as_a_meter_does() {
        let start = Time(0);
        let after = |seconds: f32| start + Duration::from_secs_f32(seconds);
        let mut meter = Meter::new(start);
        meter.hear(start, -10.0, -3.0);
        assert_eq!((meter.bar(start), meter.peak(start)), (-10.0, -3.0));
        meter.hear(after(0.1), -60.0, -60.0);
        assert!((meter.bar(after(1.8)) - -30.0).abs() < 0.1, "20 dB in 1.7 s: {}", meter.bar(after(1.8)));
        assert_eq!(meter.peak(after(1.5)), -3.0, "the peak stays");
        assert!((meter.peak(after(3.2)) - -23.0).abs() < 0.1, "and then falls: {}", meter.peak(after(3.2)));
        assert_eq!((meter.bar(after(60.0)), meter.peak(after(60.0))), (FLOOR, FLOOR));
        meter.hear(after(60.0), f32::NAN, f32::INFINITY);
        assert_eq!(
            (meter.bar(after(60.0)), meter.peak(after(60.0))),
            (FLOOR, CEILING),
            "no number is silence"
        );
        assert_eq!(meter.peak(after(70.0)), FLOOR);
    }
}
