//! The two systems on the card: which one runs, which one starts when the power comes, which one shall be tried.
//!
//! `autoboot.txt` on the set-up partition is what the firmware reads (`autoboot`), a file on the data partition says what
//! the box remembers (`memory`), `decide` says what follows, and `disk` writes it. RAUC asks through
//! `/usr/lib/matriz/boot-slots`, which is `matriz system slots`; the start and the gate ask here
//! (docs/decisions/0020).

mod autoboot;
mod decide;
mod disk;
mod facts;
mod memory;

use super::{DATA, Root, boot, messages};
use anyhow::{Context, ensure};
use clap::Subcommand;
use decide::{Refusal, Write};
pub use disk::FOLDER;
pub use facts::{FILE as FACTS, version};
use memory::{Memory, State};
use serde::{Deserialize, Serialize};
use std::process::Command;

/// What RAUC's custom boot-loader backend asks for, and what else is done about the slots.
#[derive(Subcommand)]
pub enum Verb {
    /// Print the slot that the next start leads to
    GetPrimary,
    /// Try this slot at the next start; what starts when the power comes stays
    SetPrimary {
        /// A or B
        bootname: Slot,
    },
    /// Print whether this slot is good or bad
    GetState {
        /// A or B
        bootname: Slot,
    },
    /// Say that this slot is good, which commits it if it is on trial, or bad
    SetState {
        /// A or B
        bootname: Slot,
        /// How it is
        state: State,
    },
    /// Print the slot that runs
    GetCurrent,
    /// Remember which version is in this slot, until it says so itself
    Name {
        /// A or B
        bootname: Slot,
        /// Its version
        version: String,
    },
    /// Restart into the slot that waits for its trial
    Try,
}

/// One of the two systems on the card: a boot partition and a root partition (docs/decisions/0016).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
pub enum Slot {
    /// Partitions 2 and 5.
    #[value(name = "A")]
    A,
    /// Partitions 3 and 6.
    #[value(name = "B")]
    B,
}

impl Slot {
    /// Both.
    pub const BOTH: [Slot; 2] = [Slot::A, Slot::B];

    /// The other one.
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    /// The slot of a boot partition, as `autoboot.txt` numbers it.
    fn of_digit(digit: &str) -> Option<Slot> {
        Slot::BOTH.into_iter().find(|slot| digit.as_bytes() == [slot.digit()])
    }

    /// The number of its boot partition in `autoboot.txt`.
    fn digit(self) -> u8 {
        match self {
            Slot::A => b'2',
            Slot::B => b'3',
        }
    }

    /// The slot whose root file system the kernel was told to mount. The last `root=` holds, as for the kernel.
    fn of_command_line(line: &str) -> Option<Slot> {
        match line.split_whitespace().rev().find_map(|word| word.strip_prefix("root="))? {
            "/dev/mmcblk0p5" => Some(Slot::A),
            "/dev/mmcblk0p6" => Some(Slot::B),
            _ => None,
        }
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Slot::A => "A",
            Slot::B => "B",
        })
    }
}

/// How things are with the two slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    /// The slot that runs.
    pub running: Slot,
    /// The slot that starts when the power comes.
    pub committed: Slot,
    /// Whether `[tryboot]` names the other one, as it always does unless a person has changed one digit only.
    differ: bool,
    /// What is remembered; nothing if the data partition is not there.
    memory: Memory,
}

impl Slots {
    /// The version in `slot`, if that is known.
    pub fn version(&self, slot: Slot) -> Option<&str> {
        self.memory.of(slot).version.as_deref()
    }
}

/// Answers RAUC.
///
/// # Errors
/// The computer is no box, it is not allowed, or it cannot be written: a sentence.
pub fn run(root: &Root, verb: &Verb) -> anyhow::Result<()> {
    match *verb {
        Verb::GetPrimary => println!("{}", read(root)?.primary()),
        Verb::GetState { bootname } => {
            println!("{}", if read(root)?.is_good(bootname) { "good" } else { "bad" });
        }
        Verb::GetCurrent => println!("{}", running(root).context(NO_BOX)?),
        Verb::SetPrimary { bootname } => drop(change(root, |slots| Ok(slots.set_primary(bootname)))?),
        Verb::SetState { bootname, state } => drop(change(root, |slots| slots.set_state(bootname, state))?),
        Verb::Name { bootname, ref version } => name_version(root, bootname, version)?,
        Verb::Try => restart_into_trial(root)?,
    }
    Ok(())
}

/// What is said where there are no slots.
const NO_BOX: &str = "this computer is no box with two slots";

/// The start of the box: a trial that waits is begun, one that has failed is told, the start is counted. True if the
/// box restarts now. Nothing here keeps it from starting.
pub fn start(root: &Root) -> bool {
    if running(root).is_none() {
        return false;
    }
    let mut said: Vec<String> = disk::read_memory(root).err().into_iter().collect();
    let restarts = start_noted(root, &mut said).unwrap_or_else(|error| {
        said.push(format!("{error:#}"));
        false
    });
    messages::leave(root, "15-slots", &said).unwrap_or_else(|error| tracing::warn!("{error:#}"));
    restarts
}

fn start_noted(root: &Root, said: &mut Vec<String>) -> anyhow::Result<bool> {
    let alone = disk::lock(root)?;
    let slots = read(root)?;
    let start = slots.start(version(root).as_deref());
    said.extend(start.said);
    let noted = disk::write(root, &Write::Memory(start.memory));
    facts::leave(root, &read(root)?)?;
    drop(alone);
    if !boot::is_there(root, DATA) {
        return Ok(false); // which `boot` tells
    }
    noted?; // a trial whose number of tries is not kept would be tried for ever
    if start.try_it {
        restart(true)?;
    }
    Ok(start.try_it)
}

/// The gate's verdict on the slot that runs: healthy. If it is on trial, it is committed.
///
/// # Errors
/// The trial was taken back, or it cannot be written.
pub fn found_healthy(root: &Root) -> anyhow::Result<()> {
    change(root, Slots::found_healthy).map(drop)
}

/// The gate's verdict on the slot that runs: wanting.
///
/// # Errors
/// It cannot be written.
pub fn found_wanting(root: &Root, reason: &str) -> anyhow::Result<()> {
    change(root, |slots| Ok(slots.found_wanting(reason))).map(drop)
}

/// Remembers which version is in `slot`, for what a person reads; a slot that runs says so itself.
///
/// # Errors
/// It cannot be written.
pub fn name_version(root: &Root, slot: Slot, version: &str) -> anyhow::Result<()> {
    change(root, |slots| Ok(slots.name_version(slot, version))).map(drop)
}

/// Restarts into the slot that is staged.
///
/// # Errors
/// None is, it cannot be noted, or systemd does not restart.
pub fn restart_into_trial(root: &Root) -> anyhow::Result<()> {
    change(root, |slots| Ok(vec![Write::Memory(slots.arm()?)]))?;
    restart(true)
}

/// Restarts: with `into_trial` the firmware is told to try the other slot, which it forgets with the power.
///
/// # Errors
/// systemd does not.
pub fn restart(into_trial: bool) -> anyhow::Result<()> {
    let mut systemctl = Command::new("systemctl");
    systemctl.args(["--no-block", "reboot"]).args(into_trial.then_some("--reboot-argument=0 tryboot"));
    let done = systemctl.output().context("systemctl cannot be started, so the box does not restart")?;
    let why = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "systemd does not restart the box: {}", why.trim());
    Ok(())
}

/// Decides on what there is, and writes it, while nobody else does.
fn change(root: &Root, decide: impl FnOnce(&Slots) -> Result<Vec<Write>, Refusal>) -> anyhow::Result<Slots> {
    let _alone = disk::lock(root)?;
    let writes = decide(&read(root)?)?;
    let written = writes.iter().try_for_each(|write| disk::write(root, write));
    let now = read(root)?; // what was written before a failure counts
    facts::leave(root, &now)?;
    written.map(|()| now)
}

/// The slot that runs; `None` on a computer that is no box.
pub fn running(root: &Root) -> Option<Slot> {
    Slot::of_command_line(&root.line("proc/cmdline")?)
}

/// Reads how things are.
///
/// # Errors
/// The computer is no box with two slots, or `autoboot.txt` is not one that the box could change: a sentence.
pub fn read(root: &Root) -> anyhow::Result<Slots> {
    let running = running(root).context(NO_BOX)?;
    let file = disk::read_autoboot(root)?;
    let committed = file.committed();
    let memory = disk::read_memory(root).unwrap_or_default();
    Ok(Slots { running, committed, differ: file.tried() != committed, memory })
}

#[cfg(test)]
mod tests;
