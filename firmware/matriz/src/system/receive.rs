//! The update that comes in by SSH: received, checked, handed to RAUC, and started on trial.
//!
//! `ssh update@BOX < BUNDLE` runs [`relay`] as a user who may nothing but open a socket. Behind it [`install`] runs as
//! root, in the background of the music (`matriz-update@.service`): it reads the wish (`wish`) and the bundle (`bundle`,
//! `incoming`), lets RAUC judge and write it (`rauc`), and says how far it is (`talk`). Which slot starts next is decided
//! in `slots`. docs/update.md tells the same for people.

mod bundle;
mod busy;
mod incoming;
mod rauc;
pub mod relay;
mod standing;
mod talk;
mod wish;

pub use bundle::begins as bundle_begins;
pub use standing::Standing;

use super::slots::{self, Slot, Slots};
use super::{DATA, Root, boot, messages};
use anyhow::{Context, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::statvfs;
use rauc::Rauc;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use talk::Talk;
use wish::Wish;

/// The bundle while it is here, in the folder of updates.
const BUNDLE: &str = "incoming.raucb";

/// Held by the one update that is under way.
const LOCK: &str = "run/matriz-system/update.lock";

/// How long whoever listens may take to read a line, and to leave when all was said.
const PATIENCE: Duration = Duration::from_secs(5);

/// What ends the music.
const NOW: &str = "say --now if it may stop (with ssh alone: now)";

/// What the world outside is asked through; tests give their own.
struct Tools {
    rauc: Rauc,
    /// The socket of the box that plays, or where one usually is.
    socket: Option<PathBuf>,
    /// Restarts the box into what is staged.
    restart: fn(&Root) -> anyhow::Result<()>,
}

impl Default for Tools {
    fn default() -> Self {
        Tools { rauc: Rauc { program: "rauc".into() }, socket: None, restart: slots::restart_into_trial }
    }
}

/// How far it is, for the box's status; none if nothing is under way.
pub fn progress(root: &Root) -> Option<String> {
    root.line(talk::PROGRESS).filter(|line| !line.is_empty())
}

/// Serves the connection on standard input.
///
/// # Errors
/// It is none.
pub fn install(root: &Root) -> anyhow::Result<()> {
    let line = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    serve(root, &Tools::default(), &line).context("matriz-update.socket starts this")
}

/// Removes what an update that was cut short has left; at the start of the box.
pub fn clear(root: &Root) {
    // There usually is none.
    let _ = std::fs::remove_file(root.at(slots::FOLDER).join(BUNDLE));
}

/// What follows the last word.
enum After {
    Nothing,
    /// Into the trial.
    Restart,
}

fn serve(root: &Root, tools: &Tools, line: &UnixStream) -> anyhow::Result<()> {
    line.set_read_timeout(Some(PATIENCE))?;
    line.set_write_timeout(Some(PATIENCE))?;
    let mut from = BufReader::new(line);
    let mut talk = Talk::new(root, line);
    let wish = read(&mut from);
    line.set_read_timeout(Some(incoming::SILENCE))?;
    match wish.and_then(|wish| carry_out(root, tools, wish, &mut from, &mut talk)) {
        Ok(After::Nothing) => talk.end(),
        Ok(After::Restart) => {
            talk.end();
            part(line);
            // Whoever came in by SSH cannot be told any more.
            if let Err(error) = (tools.restart)(root) {
                messages::leave(root, "40-update", &[format!("{error:#}: switch it off and on")])?;
            }
        }
        Err(error) => talk.refuse(&format!("{error:#}")),
    }
    Ok(())
}

/// Waits until whoever listens has left: sshd must have told it before the restart ends it.
fn part(mut line: &UnixStream) {
    let deadline = Instant::now() + PATIENCE;
    let _ = line.shutdown(Shutdown::Write);
    let _ = line.set_read_timeout(Some(PATIENCE));
    while Instant::now() < deadline && line.read(&mut [0; 4_096]).is_ok_and(|bytes| bytes > 0) {}
}

/// The first line.
fn read(from: &mut impl BufRead) -> anyhow::Result<Wish> {
    let mut words = Vec::new();
    let length = wish::LONGEST as u64 + 1;
    from.take(length).read_until(b'\n', &mut words).context("nothing was asked for")?;
    let Some(words) = words.strip_suffix(b"\n") else { bail!("this is not understood: it is too long") };
    Wish::read(&String::from_utf8_lossy(words)).map_err(anyhow::Error::msg)
}

/// Whoever listens.
type Mouth<'a> = Talk<&'a UnixStream>;

fn carry_out(
    root: &Root,
    tools: &Tools,
    wish: Wish,
    from: &mut impl Read,
    talk: &mut Mouth,
) -> anyhow::Result<After> {
    match wish {
        Wish::Status { json } => {
            let standing = standing(root);
            let lines = if json { vec![serde_json::to_string(&standing)?] } else { standing.lines() };
            lines.iter().for_each(|line| talk.say(line));
            Ok(After::Nothing)
        }
        Wish::Install { now } => {
            let _turn = turn(root)?;
            ready(root, tools, now)?;
            let version = receive(root, tools, from, talk)?;
            begin_trial(root, tools, now, &version, talk)
        }
        Wish::Revert { now } => {
            let _turn = turn(root)?;
            ready(root, tools, now)?;
            begin_trial(root, tools, now, &go_back(root)?, talk)
        }
    }
}

/// One update at a time.
fn turn(root: &Root) -> anyhow::Result<Flock<File>> {
    let path = root.at(LOCK);
    let file = File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| anyhow::anyhow!("another update is being received: wait until it is done"))
}

/// Whether the box may be updated: no trial runs, and no music plays, unless it shall stop.
fn ready(root: &Root, tools: &Tools, now: bool) -> anyhow::Result<()> {
    let slots = slots::read(root)?;
    ensure!(
        !slots.on_trial(),
        "{} runs on trial: it is judged within two minutes after its start, then send it again",
        version(root)
    );
    match music(tools, now)? {
        Some(music) => bail!("{music}: {NOW}"),
        None => Ok(()),
    }
}

fn music(tools: &Tools, now: bool) -> anyhow::Result<Option<String>> {
    if now {
        return Ok(None);
    }
    busy::music(tools.socket.as_deref()).map_err(|why| anyhow::anyhow!("{why}: {NOW}"))
}

/// A file that is gone when it is no longer needed.
struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // it may not be there
    }
}

/// Receives a bundle and installs it; its version.
fn receive(root: &Root, tools: &Tools, from: &mut impl Read, talk: &mut Mouth) -> anyhow::Result<String> {
    ensure!(boot::is_there(root, DATA), "there is no data partition, which a bundle needs on its way");
    let folder = root.at(slots::FOLDER);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .context("the data partition cannot be written")?;
    clear(root);
    let bundle = Gone(folder.join(BUNDLE));
    let room = statvfs(&folder).context("the data partition cannot be read")?;
    #[allow(clippy::useless_conversion, reason = "both are shorter on computers of 32 bits")]
    let free = u64::from(room.blocks_available()).saturating_mul(u64::from(room.fragment_size()));
    talk.say(&format!("waiting for the bundle; {} runs", version(root)));
    incoming::receive(from, &bundle.0, free, &mut |percent| talk.progress("receiving", percent))?;
    let version = tools.rauc.info(&bundle.0)?;
    talk.say(&format!("the bundle is {version}, and its signature is good"));
    tools.rauc.install(&bundle.0, &mut |percent| talk.progress("installing", percent))?;
    let staged = slots::read(root)?
        .staged()
        .context("RAUC has installed it and staged nothing: a fault of this box")?;
    slots::name_version(root, staged, &version)?;
    Ok(version)
}

/// Stages the other system, if it was good once; its version.
fn go_back(root: &Root) -> anyhow::Result<String> {
    let slots = slots::read(root)?;
    let other = slots.running.other();
    ensure!(
        slots.is_good(other),
        "there is nothing to go back to: what is in slot {other} has never played here"
    );
    slots::run(root, &slots::Verb::SetPrimary { bootname: other })?;
    Ok(named(&slots, other))
}

/// What is staged is tried: now, or when the music is over.
fn begin_trial(
    root: &Root,
    tools: &Tools,
    now: bool,
    installed: &str,
    talk: &mut Mouth,
) -> anyhow::Result<After> {
    if let Some(music) = music(tools, now)? {
        bail!("{installed} is installed, but {music}: it is tried when the box is next switched on");
    }
    talk.say(&format!(
        "the box restarts into {installed}; if that does not play, it comes back with {}",
        version(root)
    ));
    Ok(After::Restart)
}

/// The version of the system that runs.
fn version(root: &Root) -> String {
    slots::version(root).unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned())
}

/// How the two systems stand.
fn standing(root: &Root) -> Standing {
    let version = version(root);
    let Ok(slots) = slots::read(root) else { return Standing { version, ..Standing::default() } };
    Standing {
        version,
        slot: Some(slots.running.to_string()),
        trial: slots.on_trial(),
        waits: slots.staged().map(|slot| named(&slots, slot)),
        failed: slots.failure(),
    }
}

/// What is in a slot.
fn named(slots: &Slots, slot: Slot) -> String {
    slots.version(slot).map_or_else(|| format!("slot {slot}"), str::to_owned)
}

#[cfg(test)]
mod tests;
