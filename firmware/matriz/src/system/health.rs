//! The health gate: looks at the box after its start, commits a slot on trial, or goes back into the old one.
//!
//! `judge` decides and knows no clock, `look` looks. A slot is healthy when its units run, the box says that cycles
//! come or that there is no card, SSH could start and the data partition can be written, all of it for ten seconds
//! on end. No peer, no internet and no card is needed. A committed slot is judged, too, but goes on whatever comes out: its
//! unhealthy starts are counted (`slots`).

mod judge;
mod look;

use super::{Root, messages, slots, text};
use anyhow::Context;
use judge::{Judge, Verdict};
use look::Eyes;
use std::time::{Duration, Instant};

/// How long a start may take until it is healthy.
const LIMIT: Duration = Duration::from_secs(90);

/// The same on the emulator, which is many times slower.
const LIMIT_EMULATED: Duration = Duration::from_secs(360);

/// What is on the kernel's command line there.
const EMULATOR: &str = "matriz.emulator";

/// The part of the limit for which everything must be well on end: 10 s, more than a service that crashes needs.
const STEADY: u32 = 9;

/// The part of the limit between two looks: 1 s.
const EVERY: u32 = 90;

/// The end of the log of a trial that has failed, beside what is remembered of the slots.
const LOG: &str = "failed.log";

/// Most bytes of it.
const LONGEST_LOG: usize = 256 * 1024;

/// Judges this start.
///
/// # Errors
/// The computer is no box with two slots; or the slot on trial is wanting and the box cannot even be restarted,
/// which the unit's `OnFailure=` then does.
pub fn run(root: &Root, limit: Option<Duration>) -> anyhow::Result<()> {
    let on_trial = slots::read(root)?.on_trial();
    let limit = limit.unwrap_or_else(|| default_limit(root));
    let mut eyes = Eyes::new(root, limit / STEADY)?;
    let mut judge = Judge::new(on_trial, limit, limit / STEADY);
    let begun = Instant::now();
    let verdict = loop {
        let look = eyes.look();
        match judge.handle(begun.elapsed(), &look) {
            Verdict::Wait => std::thread::sleep(limit / EVERY),
            Verdict::Healthy => break slots::found_healthy(root).map_err(|error| format!("{error:#}")),
            Verdict::Wanting(why) => break Err(why),
        }
    };
    let said = verdict.as_ref().err().map(|why| format!("this start is not healthy: {why}"));
    let left = messages::leave(root, "30-health", &said.into_iter().collect::<Vec<_>>());
    left.unwrap_or_else(|error| tracing::warn!("{error:#}"));
    match verdict {
        Ok(()) => tracing::info!("healthy after {} s", begun.elapsed().as_secs()),
        Err(why) if on_trial => go_back(root, &eyes, &why)?,
        Err(_) => {}
    }
    Ok(())
}

fn default_limit(root: &Root) -> Duration {
    let line = root.line("proc/cmdline").unwrap_or_default();
    if line.split_whitespace().any(|word| word == EMULATOR) { LIMIT_EMULATED } else { LIMIT }
}

/// Keeps the end of the log and the reason, and restarts into the old slot.
fn go_back(root: &Root, eyes: &Eyes<'_>, why: &str) -> anyhow::Result<()> {
    for kept in [slots::found_wanting(root, why), keep_log(root, eyes)] {
        kept.unwrap_or_else(|error| tracing::warn!("{error:#}"));
    }
    slots::restart(false)
}

fn keep_log(root: &Root, eyes: &Eyes<'_>) -> anyhow::Result<()> {
    let arguments = ["-b", "--no-pager", "-o", "short-monotonic", "-n", "2000"];
    let log = eyes.ask("journalctl", &arguments).map_err(anyhow::Error::msg)?;
    let end = &log[log.len().saturating_sub(LONGEST_LOG)..];
    let file = root.at(slots::FOLDER).join(LOG);
    text::replace(&file, end, true).with_context(|| format!("{} cannot be written", file.display()))
}
