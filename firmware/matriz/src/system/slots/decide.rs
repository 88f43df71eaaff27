//! How a slot is chosen: the decisions, without a file or a clock (docs/decisions/0020).
//!
//! What is asked for comes from RAUC's custom boot-loader backend, from the start and from the gate; what comes out is
//! the writes to do, in their order. Each write is whole or not done, and after any of them the power may go. Source:
//! RAUC's manual, "Custom Bootloader Backend Interface"; Raspberry Pi documentation, "Fail-safe OS updates".

use super::memory::{Failed, Found, Memory, State, Trial};
use super::{Slot, Slots};

/// How many times a trial is begun that has never said that it started: the power may have gone before the
/// firmware was told.
pub const TRIES: u8 = 3;

/// So many starts of a committed slot that was not found healthy, and the other one is tried.
pub const FAILING: u8 = 3;

/// One thing that is changed, whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The state file.
    Memory(Memory),
    /// `autoboot.txt`: this slot starts when the power comes.
    Commit(Slot),
}

/// What to do at the start of the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// To be written first. Without it there is no trial, or it would never end.
    pub memory: Memory,
    /// Then restart into the trial.
    pub try_it: bool,
    /// What the person in front of the box should know, once.
    pub said: Option<String>,
}

/// Why a wish is not carried out; each is a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The other slot is the one to fall back to.
    #[error("slot {0} is what the box falls back to while slot {1} is on trial: wait until it is judged")]
    OnTrial(Slot, Slot),
    /// Nobody has seen it run.
    #[error("slot {0} does not run, so nobody can have found it good")]
    DoesNotRun(Slot),
    /// It was marked bad while it ran.
    #[error("slot {0} was taken back: the next start is into slot {1}")]
    TakenBack(Slot, Slot),
    /// Nothing is staged.
    #[error("no slot waits for a trial: install an update first")]
    NothingStaged,
}

impl Slots {
    /// The slot that is staged for a trial and has not started yet.
    pub fn staged(&self) -> Option<Slot> {
        let waits = |trial: &&Trial| !trial.started && trial.slot != self.committed && !self.on_trial();
        self.memory.trial.as_ref().filter(waits).map(|trial| trial.slot)
    }

    /// Whether the slot that runs is on trial: a reset brings the other one back.
    pub fn on_trial(&self) -> bool {
        self.running != self.committed
    }

    /// `get-primary`: what the next start leads to, unless it fails.
    pub fn primary(&self) -> Slot {
        self.staged().unwrap_or(self.committed)
    }

    /// `get-state`. Of a slot of which nothing is known: whether the box relies on it.
    pub fn is_good(&self, slot: Slot) -> bool {
        match self.memory.of(slot).state {
            Some(state) => state == State::Good,
            None => slot == self.committed,
        }
    }

    /// `set-primary`: stages a trial of the slot that does not run, or takes it back. The committed slot stays.
    pub fn set_primary(&self, slot: Slot) -> Vec<Write> {
        let mut memory = self.memory.clone();
        if self.on_trial() {
            // It runs already; or it is given up, which the next start does in any case.
            if slot == self.committed {
                memory.fail(self.running, "it was taken back");
            }
        } else if slot == self.committed {
            memory.trial = None;
        } else if self.staged() != Some(slot) {
            memory.trial = Some(Trial { slot, tries: 0, started: false });
            memory.failed = None;
        }
        // A person has changed one digit only: without the other there is nothing to try.
        let mend = !self.differ && !self.on_trial() && slot != self.committed;
        let mut writes: Vec<Write> = mend.then_some(Write::Commit(self.committed)).into_iter().collect();
        writes.extend(self.remember(memory));
        writes
    }

    /// `set-state`. `good` of the slot that is on trial commits it.
    ///
    /// # Errors
    /// It would be good without having run, or the slot to fall back to would be given up.
    pub fn set_state(&self, slot: Slot, state: State) -> Result<Vec<Write>, Refusal> {
        let mut memory = self.memory.clone();
        match state {
            State::Good if slot != self.running => return Err(Refusal::DoesNotRun(slot)),
            State::Good => return self.found_healthy(),
            State::Bad if self.on_trial() && slot == self.committed => {
                return Err(Refusal::OnTrial(slot, self.running));
            }
            State::Bad if slot == self.running && self.on_trial() => memory.fail(slot, "it was marked bad"),
            State::Bad if slot == self.running => memory.of_mut(slot).state = Some(state),
            // RAUC is about to write into it: nothing that was known of it holds any more.
            State::Bad => {
                *memory.of_mut(slot) = Found { state: Some(state), ..Found::default() };
                memory.trial = None;
                memory.failed = memory.failed.filter(|failed| failed.slot != slot);
            }
        }
        Ok(self.remember(memory).into_iter().collect())
    }

    /// The gate has found the slot that runs healthy: if it is on trial, it is committed. First what starts, then what
    /// is remembered: the next start mends the memory if the power goes between.
    ///
    /// # Errors
    /// The trial was taken back.
    pub fn found_healthy(&self) -> Result<Vec<Write>, Refusal> {
        let mut memory = self.memory.clone();
        let failed = memory.failed.as_ref().is_some_and(|failed| failed.slot == self.running);
        if self.on_trial() && memory.trial.is_none() && failed {
            return Err(Refusal::TakenBack(self.running, self.committed));
        }
        let found = memory.of_mut(self.running);
        (found.state, found.failing) = (Some(State::Good), 0);
        memory.trial = memory.trial.filter(|trial| trial.slot != self.running);
        memory.failed = memory.failed.filter(|failed| failed.slot != self.running);
        let commit = self.on_trial().then_some(Write::Commit(self.running));
        Ok(commit.into_iter().chain(self.remember(memory)).collect())
    }

    /// The gate has found the slot that runs wanting. Only a trial has failed by that; a committed slot goes on, and
    /// its starts are counted.
    pub fn found_wanting(&self, reason: &str) -> Vec<Write> {
        let mut memory = self.memory.clone();
        if self.on_trial() {
            memory.fail(self.running, reason);
        }
        self.remember(memory).into_iter().collect()
    }

    /// Somebody knows which version is in `slot`.
    pub fn name_version(&self, slot: Slot, version: &str) -> Vec<Write> {
        let mut memory = self.memory.clone();
        memory.of_mut(slot).version = Some(version.to_owned());
        self.remember(memory).into_iter().collect()
    }

    /// A restart into the trial is about to be asked for.
    ///
    /// # Errors
    /// There is none that has not started yet.
    pub fn arm(&self) -> Result<Memory, Refusal> {
        let mut memory = self.memory.clone();
        match &mut memory.trial {
            Some(trial) if self.staged().is_some() => trial.tries = (trial.tries + 1).min(TRIES),
            _ => return Err(Refusal::NothingStaged),
        }
        Ok(memory)
    }

    /// The box starts, with the system of this version.
    pub fn start(&self, version: Option<&str>) -> Start {
        let mut memory = self.memory.clone();
        memory.of_mut(self.running).version = version.map(str::to_owned);
        if self.on_trial() {
            let tries = memory.trial.as_ref().map_or(1, |trial| trial.tries);
            memory.trial = Some(Trial { slot: self.running, tries, started: true });
            memory.failed = memory.failed.filter(|failed| failed.slot != self.running);
            return told(memory, version);
        }
        match memory.trial.clone() {
            // It was committed, and the power went before that was remembered; or a person has swapped the digits.
            Some(trial) if trial.slot == self.committed => memory.trial = None,
            Some(trial) if trial.started => memory.fail(trial.slot, "it stopped before it was found healthy"),
            Some(trial) if trial.tries >= TRIES => memory.fail(trial.slot, "it did not start"),
            Some(_) => return self.start_trial(memory),
            None => {}
        }
        if memory.of(self.committed).failing >= FAILING && self.gives_way(&mut memory) {
            return self.start_trial(memory);
        }
        let found = memory.of_mut(self.committed);
        found.failing = (found.failing + 1).min(FAILING);
        told(memory, version)
    }

    fn start_trial(&self, memory: Memory) -> Start {
        let armed = Slots { memory, ..self.clone() };
        let memory = armed.arm().expect("the caller has staged it");
        Start { memory, try_it: true, said: None }
    }

    /// The committed slot has not been healthy for too long: the other one is staged, if it was ever good.
    fn gives_way(&self, memory: &mut Memory) -> bool {
        let other = self.committed.other();
        if memory.of(other).state != Some(State::Good) {
            return false;
        }
        memory.fail(self.committed, "it was not healthy three times in a row");
        memory.of_mut(self.committed).failing = 0;
        memory.trial = Some(Trial { slot: other, tries: 0, started: false });
        true
    }

    /// Nothing is written that is there already.
    fn remember(&self, memory: Memory) -> Option<Write> {
        (memory != self.memory).then_some(Write::Memory(memory))
    }

    /// The sentence of the last failure, as long as it stands.
    pub fn failure(&self) -> Option<String> {
        let version = self.memory.of(self.running).version.as_deref();
        self.memory.failed.as_ref().map(|failed| sentence(failed, version))
    }
}

/// The start goes on, and tells what has failed if no start has told it yet.
fn told(mut memory: Memory, version: Option<&str>) -> Start {
    let said = memory.failed.as_mut().filter(|failed| !failed.told).map(|failed| {
        failed.told = true;
        sentence(failed, version)
    });
    Start { memory, try_it: false, said }
}

/// `1.1.0 failed: it did not start, running 1.0.0`.
fn sentence(failed: &Failed, running: Option<&str>) -> String {
    let slot = format!("slot {}", failed.slot);
    let what = failed.version.as_deref().unwrap_or(&slot);
    let running = running.unwrap_or("the one of before");
    format!("{what} failed: {}, running {running}", failed.reason)
}

#[cfg(test)]
mod tests;
