//! What the box shows of its two systems, handed to the service that plays: it may not read root's files.
//!
//! A small file in `/run/matriz-system`, replaced whole whenever something has changed. `crate::machine` reads it into
//! the status.

use super::{Slot, Slots};
use crate::system::{Root, text};
use anyhow::Context;
use proto::control::System;

/// Where the file is.
pub const FILE: &str = "run/matriz-system/system.json";

/// Where the system says its version.
const RELEASE: &str = "usr/lib/os-release";

/// Leaves what is to be shown.
///
/// # Errors
/// `/run` cannot be written.
pub fn leave(root: &Root, slots: &Slots) -> anyhow::Result<()> {
    let shown = show(slots, version(root));
    let text = serde_json::to_vec(&shown).expect("words become JSON");
    let file = root.at(FILE);
    let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| text::replace(&file, &text, false))
        .with_context(|| format!("{} cannot be written", file.display()))
}

/// The version of the system that runs: `VERSION_ID` of os-release(5).
pub fn version(root: &Root) -> Option<String> {
    let text = root.line(RELEASE)?;
    let version = text.lines().find_map(|line| line.strip_prefix("VERSION_ID="))?;
    Some(version.trim_matches('"').to_owned()).filter(|version| !version.is_empty())
}

fn show(slots: &Slots, version: Option<String>) -> System {
    let name = |slot: Slot| slots.version(slot).map_or_else(|| format!("slot {slot}"), str::to_owned);
    let pending = match slots.staged() {
        Some(staged) => Some(format!("{} is tried at the next start", name(staged))),
        None if slots.on_trial() => Some(format!("on trial, else back to {}", name(slots.committed))),
        None => None,
    };
    let slot = slots.running.to_string();
    System { slot, version: version.unwrap_or_default(), pending, failed: slots.failure() }
}
