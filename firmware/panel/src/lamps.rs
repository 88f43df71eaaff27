//! When the lamps are lit: a function of the [`Status`] and of now.
//!
//! Four lamps, from left to right: health, session, signal, trouble. A lamp shows what the box does, not what was
//! asked of it: the muted lamp blinks when the box is silent, and not when the button goes down.

use crate::verdict;
use proto::control::Status;
use proto::units::Time;

/// The lamps of the panel, from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lamp {
    /// Steady: the box is well. Slow: no sound card plays.
    Health,
    /// Steady: somebody is heard. Slow: nobody yet. Dark: the box has left.
    Session,
    /// Steady: the own signal is there. Fast: it clips. Slow: it is muted.
    Signal,
    /// Steady: there is a message. Slow: somebody is not heard as it should be.
    Trouble,
}

/// All lamps.
pub const LAMPS: [Lamp; 4] = [Lamp::Health, Lamp::Session, Lamp::Signal, Lamp::Trouble];

/// What a lamp does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Light {
    /// Dark.
    Off,
    /// Lit.
    On,
    /// Once in a second, half of it.
    Slow,
    /// Five times in a second.
    Fast,
}

/// Own signals below this are not worth a lamp, in dB full scale.
const SIGNAL_DB: f32 = -50.0;

impl Light {
    /// Whether the lamp is lit at `now`. Lamps that blink alike blink together.
    pub fn lit(self, now: Time) -> bool {
        let milliseconds = now.0.div_euclid(1_000_000);
        match self {
            Light::Off => false,
            Light::On => true,
            Light::Slow => milliseconds.rem_euclid(1_000) < 500,
            Light::Fast => milliseconds.rem_euclid(200) < 100,
        }
    }
}

/// What each of [`LAMPS`] does.
pub fn lights(status: &Status) -> [Light; 4] {
    LAMPS.map(|lamp| match lamp {
        Lamp::Health if status.machine.plays => Light::On,
        Lamp::Health => Light::Slow,
        Lamp::Session if !status.in_session => Light::Off,
        Lamp::Session if status.peers.iter().any(|peer| peer.connected) => Light::On,
        Lamp::Session => Light::Slow,
        Lamp::Signal if status.muted => Light::Slow,
        Lamp::Signal if status.clips => Light::Fast,
        Lamp::Signal if status.peak_db > SIGNAL_DB => Light::On,
        Lamp::Signal => Light::Off,
        Lamp::Trouble if !status.messages.is_empty() => Light::On,
        Lamp::Trouble if status.in_session && status.peers.iter().any(verdict::suffers) => Light::Slow,
        Lamp::Trouble => Light::Off,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::control::{Machine, PeerStatus};

    fn healthy() -> Status {
        let peer = PeerStatus { name: "Porto".into(), connected: true, ..Default::default() };
        let machine = Machine { plays: true, ..Default::default() };
        Status { in_session: true, peak_db: -12.0, peers: vec![peer], machine, ..Default::default() }
    }

    #[test]
    fn each_lamp_has_its_reasons() {
        use Light::{Fast, Off, On, Slow};
        let changed = |change: fn(&mut Status)| {
            let mut status = healthy();
            change(&mut status);
            lights(&status)
        };
        assert_eq!(lights(&healthy()), [On, On, On, Off]);
        assert_eq!(changed(|s| s.machine.plays = false)[0], Slow);
        assert_eq!(changed(|s| s.peers.clear())[1], Slow);
        assert_eq!(changed(|s| s.in_session = false), [On, Off, On, Off]);
        assert_eq!(changed(|s| s.peak_db = -60.0)[2], Off);
        assert_eq!(changed(|s| s.clips = true)[2], Fast);
        assert_eq!(changed(|s| (s.clips, s.muted) = (true, true))[2], Slow, "who is muted clips for nobody");
        assert_eq!(changed(|s| s.messages.push("no sound card".into()))[3], On);
        assert_eq!(changed(|s| s.peers[0].lost_percent = 2.0)[3], Slow);
        assert_eq!(changed(|s| s.peers[0].connected = false)[3], Slow);
    }

    #[test]
    fn lamps_blink_by_the_clock_also_before_its_beginning() {
        let lit = |light: Light| (0..1_000).filter(|ms| light.lit(Time(ms * 1_000_000))).count();
        assert_eq!([Light::Off, Light::On, Light::Slow, Light::Fast].map(lit), [0, 1_000, 500, 500]);
        assert!(Light::Slow.lit(Time(0)) && !Light::Slow.lit(Time(-1)));
    }
}
