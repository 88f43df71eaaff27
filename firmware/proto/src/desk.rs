//! The desk: what people have set here, and what that makes of everybody's sound.
//!
//! A [`Fader`] for each of the others, by name, so that it holds for his next visit too; mute and gain of the own
//! signal; and whether the box takes part. [`Desk::handle`] judges a person's [`Command`] and changes the desk;
//! the session, which comes after, turns it into cues. Pure, and small enough to be kept in a file.

use crate::control::{Command, Gains};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::f32::consts::{FRAC_PI_4, SQRT_2};

/// Volume and gain, in decibels: the least that is still a volume, and ten times as loud.
pub const LEAST_DB: f32 = -60.0;
/// See [`LEAST_DB`].
pub const MOST_DB: f32 = 20.0;

/// Most names that are remembered; then those go first for whom nothing is set.
const MOST_NAMES: usize = 256;

/// How one of the others is heard here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fader {
    /// How loud, in decibels, −60 to +20; 0 leaves the sound as it came.
    pub volume_db: f32,
    /// Where: −1 is left, 0 the middle, 1 right.
    pub pan: f32,
    /// Silent.
    pub muted: bool,
    /// Only this one and others who are solo are heard, as long as there is one.
    pub solo: bool,
}

impl Fader {
    /// Gains of the two sides; `somebody_solo` says that somebody who is here is solo.
    ///
    /// The law is equal power with 0 dB in the middle: whoever goes from the middle to a side is as loud there as
    /// before, and who is not panned is not touched. The same law is used for two channels, where it is a
    /// balance: the far channel goes away, the near one comes up by 3 dB at most, so a stereo signal keeps its
    /// power too. Nothing is moved from one channel into the other.
    pub fn gains(&self, somebody_solo: bool) -> Gains {
        if self.muted || (somebody_solo && !self.solo) {
            return Gains { left: 0.0, right: 0.0 };
        }
        let volume = 10_f32.powf(self.volume_db / 20.0);
        let side = |pan: f32| match pan {
            -1.0 => 0.0,
            0.0 => volume,
            _ => volume * SQRT_2 * ((pan + 1.0) * FRAC_PI_4).sin(),
        };
        Gains { left: side(-self.pan), right: side(self.pan) }
    }

    /// Whether every value is one that a command could have set.
    pub fn is_sound(&self) -> bool {
        (LEAST_DB..=MOST_DB).contains(&self.volume_db) && (-1.0..=1.0).contains(&self.pan)
    }
}

/// Everything that people have set.
#[derive(Clone, Debug, PartialEq)]
pub struct Desk {
    /// Our own signal is silent at everybody.
    pub muted: bool,
    /// Gain of our own signal in decibels; none: as the settings have it.
    pub gain_db: Option<f32>,
    /// The box takes part.
    pub in_session: bool,
    /// Everybody who was ever here, by name.
    pub faders: BTreeMap<String, Fader>,
}

impl Default for Desk {
    fn default() -> Self {
        Desk { muted: false, gain_db: None, in_session: true, faders: BTreeMap::new() }
    }
}

impl Desk {
    /// Somebody of this name is here, or was: commands may name him.
    pub fn meet(&mut self, name: &str) {
        if self.faders.contains_key(name) {
            return;
        }
        if self.faders.len() >= MOST_NAMES {
            let untouched = |(_, fader): &(&String, &Fader)| **fader == Fader::default();
            let Some(name) = self.faders.iter().find(untouched).map(|(name, _)| name.clone()) else { return };
            self.faders.remove(&name);
        }
        self.faders.insert(name.to_owned(), Fader::default());
    }

    /// How this one is heard.
    pub fn fader(&self, name: &str) -> Fader {
        self.faders.get(name).copied().unwrap_or_default()
    }

    /// Does what somebody wishes of the desk.
    ///
    /// # Errors
    /// A sentence: nobody of that name was ever here, a value is out of its range, or the wish is none of the
    /// desk's.
    pub fn handle(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Mute { peer: None, on } => self.muted = *on,
            Command::Mute { peer: Some(peer), on } => self.known(peer)?.muted = *on,
            Command::Volume { peer, db } => self.known(peer)?.volume_db = decibels("volume", *db)?,
            Command::Pan { peer, pan } => {
                if !(-1.0..=1.0).contains(pan) {
                    return Err(format!("pan is from -1 (left) to 1 (right), but it is {pan}"));
                }
                self.known(peer)?.pan = *pan;
            }
            Command::Solo { peer, on } => self.known(peer)?.solo = *on,
            Command::Gain { db } => self.gain_db = Some(decibels("gain", *db)?),
            Command::Leave => self.in_session = false,
            Command::Join => self.in_session = true,
            Command::Name { .. } | Command::Record { .. } | Command::PowerOff => {
                return Err("that is for the box, not for its desk".to_owned());
            }
        }
        Ok(())
    }

    fn known(&mut self, name: &str) -> Result<&mut Fader, String> {
        if !self.faders.contains_key(name) {
            let names = self.faders.keys().take(16).map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(match names.is_empty() {
                true => format!("nobody called \"{name}\" is here, and nobody else was yet"),
                false => format!("nobody called \"{name}\" is here or was; there are: {names}"),
            });
        }
        Ok(self.faders.get_mut(name).expect("just looked up"))
    }
}

fn decibels(what: &str, db: f32) -> Result<f32, String> {
    match (LEAST_DB..=MOST_DB).contains(&db) {
        true => Ok(db),
        false => Err(format!("{what} is from {LEAST_DB} to {MOST_DB} decibels, but it is {db}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> Desk {
        let mut desk = Desk::default();
        desk.meet("lisboa");
        desk.meet("montemor");
        desk
    }

    #[test]
    fn a_pan_keeps_the_power_and_the_middle_is_untouched() {
        assert_eq!(Fader::default().gains(false), Gains { left: 1.0, right: 1.0 });
        for step in -20..=20 {
            let fader = Fader { pan: step as f32 / 20.0, ..Fader::default() };
            let Gains { left, right } = fader.gains(false);
            assert!((left * left + right * right - 2.0).abs() < 1e-5, "{fader:?}: {left} {right}");
            assert_eq!(left > right, step < 0, "{fader:?}: {left} {right}");
        }
        let side = Fader { pan: 1.0, volume_db: 20.0, ..Fader::default() }.gains(false);
        assert!(side.left == 0.0 && (side.right - 14.142).abs() < 1e-3, "{side:?}");
    }

    #[test]
    fn mute_goes_before_solo_and_solo_before_all_others() {
        let fader = |muted, solo| Fader { muted, solo, ..Fader::default() };
        let heard = |fader: Fader, somebody| fader.gains(somebody) != Gains { left: 0.0, right: 0.0 };
        assert!(heard(fader(false, false), false) && !heard(fader(false, false), true));
        assert!(heard(fader(false, true), true) && !heard(fader(true, true), true));
    }

    #[test]
    fn a_command_changes_its_own_thing_only() {
        let mut desk = desk();
        let lisboa = || "lisboa".to_owned();
        for command in [
            Command::Mute { peer: None, on: true },
            Command::Mute { peer: Some(lisboa()), on: true },
            Command::Volume { peer: lisboa(), db: -6.0 },
            Command::Pan { peer: lisboa(), pan: 0.5 },
            Command::Solo { peer: lisboa(), on: true },
            Command::Gain { db: 3.0 },
            Command::Leave,
        ] {
            desk.handle(&command).unwrap();
        }
        let fader = Fader { volume_db: -6.0, pan: 0.5, muted: true, solo: true };
        assert_eq!((desk.fader("lisboa"), desk.fader("montemor")), (fader, Fader::default()));
        assert_eq!((desk.muted, desk.gain_db, desk.in_session), (true, Some(3.0), false));
    }

    #[test]
    fn what_is_wrong_is_a_sentence_and_changes_nothing() {
        let mut desk = desk();
        let before = desk.clone();
        let volume = |peer: &str, db| Command::Volume { peer: peer.to_owned(), db };
        for (command, words) in [
            (volume("lisbon", 0.0), "nobody called \"lisbon\" is here or was; there are: lisboa, montemor"),
            (volume("lisboa", 20.1), "volume is from -60 to 20 decibels, but it is 20.1"),
            (volume("lisboa", f32::NAN), "but it is NaN"),
            (Command::Gain { db: -61.0 }, "gain is from -60 to 20 decibels, but it is -61"),
            (Command::Pan { peer: "lisboa".to_owned(), pan: -1.5 }, "pan is from -1 (left) to 1 (right)"),
            (Command::PowerOff, "for the box"),
        ] {
            let said = desk.handle(&command).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(desk, before);
        let said = Desk::default().handle(&volume("lisboa", 0.0)).unwrap_err();
        assert!(said.contains("nobody else was yet"), "{said}");
    }

    #[test]
    fn names_are_forgotten_only_if_nothing_is_set_for_them() {
        let mut desk = desk();
        desk.handle(&Command::Volume { peer: "lisboa".to_owned(), db: -3.0 }).unwrap();
        (0..2 * MOST_NAMES).for_each(|n| desk.meet(&format!("box {n}")));
        assert_eq!((desk.faders.len(), desk.fader("lisboa").volume_db), (MOST_NAMES, -3.0));
        assert!(desk.faders.contains_key(&format!("box {}", 2 * MOST_NAMES - 1)));
    }
}
