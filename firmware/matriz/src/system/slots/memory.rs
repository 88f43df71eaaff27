//! What the box remembers of its two slots, on the data partition: a small TOML file.
//!
//! `autoboot.txt` alone says what starts; this says what a person wants to know and what a start has to decide. It
//! may be lost at any time, with the data partition or alone: then it is as if nothing were staged. Fields that a
//! later release adds are passed over, so that the old slot reads what the new one has written.

use super::Slot;
use serde::{Deserialize, Serialize};

/// Everything that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Of slot A.
    pub a: Found,
    /// Of slot B.
    pub b: Found,
    /// The slot that shall be tried, or is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// What the last failure was. Gone with the next update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
}

/// What is known of one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Found {
    /// How it was found; none if nobody has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The version of the system in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Starts of it, while it was committed, since the gate has last found it healthy; 3 at most.
    pub failing: u8,
}

/// How a slot was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was healthy once, and nothing has been written into it since.
    Good,
    /// It is being written, its trial has failed, or it was not healthy any more.
    Bad,
}

/// A slot that is to be tried.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trial {
    /// Which.
    pub slot: Slot,
    /// How many times the firmware was about to be told to try it.
    #[serde(default)]
    pub tries: u8,
    /// Whether it has started as far as to say so.
    #[serde(default)]
    pub started: bool,
}

/// A slot that did not do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Failed {
    /// Which.
    pub slot: Slot,
    /// The version that was in it, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why, as in "1.1.0 failed: it did not start".
    pub reason: String,
    /// Whether a start has told it to the person in front of the box.
    #[serde(default)]
    pub told: bool,
}

impl Memory {
    /// Reads the file's text.
    ///
    /// # Errors
    /// It is damaged: the end of a sentence.
    pub fn decode(text: &str) -> Result<Memory, String> {
        toml::from_str(text).map_err(|error| error.message().replace('\n', ", "))
    }

    /// The file's text.
    pub fn encode(&self) -> String {
        toml::to_string(self).expect("words and numbers below named tables become TOML")
    }

    /// What is known of `slot`.
    pub fn of(&self, slot: Slot) -> &Found {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, slot: Slot) -> &mut Found {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }

    /// The trial has failed: it is over, and `slot` is none to go back to.
    pub fn fail(&mut self, slot: Slot, reason: &str) {
        self.of_mut(slot).state = Some(State::Bad);
        self.trial = None;
        let version = self.of(slot).version.clone();
        self.failed = Some(Failed { slot, version, reason: reason.to_owned(), told: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_and_what_a_later_release_adds_is_passed_over() {
        let found = |state, version: &str| Found { state, version: Some(version.to_owned()), failing: 1 };
        let mut memory = Memory {
            a: found(Some(State::Good), "1.0.0"),
            b: found(None, "1.1.0 \"é\"\n"),
            trial: Some(Trial { slot: Slot::B, tries: 1, started: true }),
            failed: None,
        };
        assert_eq!(Memory::decode(&memory.encode()).unwrap(), memory);
        memory.fail(Slot::B, "it did not start");
        assert_eq!(Memory::decode(&memory.encode()).unwrap(), memory);
        let later = format!("colour = 1\n{}[c]\nx = 2\n", memory.encode());
        assert_eq!(Memory::decode(&later).unwrap(), memory);
        assert_eq!(Memory::decode("").unwrap(), Memory::default());
        assert_eq!(Memory::decode(&Memory::default().encode()).unwrap(), Memory::default());
    }

    #[test]
    fn what_is_damaged_is_told() {
        for text in ["[trial]\nslot = \"C\"\n", "[a]\nfailing = 1000\n", "[a", "a = 1"] {
            assert!(!Memory::decode(text).unwrap_err().contains('\n'), "{text}");
        }
    }
}
