//! Where the choice of a slot is kept, and how it is written so that the power may go at any time.
//!
//! `autoboot.txt` is changed where it stands: one write of one sector, brought to the card, and read back from it. The
//! state file is replaced whole. Both are written under one lock, as RAUC, the gate and a person's command may come
//! together.

use super::Slot;
use super::autoboot::{Autoboot, SECTOR};
use super::decide::Write;
use super::memory::Memory;
use crate::system::{DATA, Root, SETUP, boot, data, text};
use anyhow::{Context, bail, ensure};
use nix::fcntl::{Flock, FlockArg, PosixFadviseAdvice, posix_fadvise};
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::PathBuf;

/// What the firmware reads, on the set-up partition.
const AUTOBOOT: &str = "autoboot.txt";

/// The folder of updates: root's alone.
pub const FOLDER: &str = "data/matriz-system/update";

/// What is remembered, in that folder.
const STATE: &str = "state.toml";

/// Held while something is read that shall be changed.
const LOCK: &str = "run/matriz-system/slots.lock";

/// Waits until nobody else changes anything; until it is dropped nobody does.
///
/// # Errors
/// `/run` cannot be written.
pub fn lock(root: &Root) -> anyhow::Result<Flock<File>> {
    let path = root.at(LOCK);
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| File::create(&path));
    let file = made.with_context(|| format!("{} cannot be made", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| anyhow::Error::from(error))
        .with_context(|| format!("{} cannot be locked", path.display()))
}

/// Carries out one write.
///
/// # Errors
/// It was not done.
pub fn write(root: &Root, write: &Write) -> anyhow::Result<()> {
    match write {
        Write::Memory(memory) => write_memory(root, memory),
        Write::Commit(slot) => write_autoboot(root, *slot),
    }
}

/// Reads `autoboot.txt`.
///
/// # Errors
/// It is not there, or not one of ours.
pub fn read_autoboot(root: &Root) -> anyhow::Result<Autoboot> {
    let file = File::open(autoboot(root)?).context("autoboot.txt cannot be opened")?;
    Ok(Autoboot::decode(&first_sector(&file)?)?)
}

/// Lets `slot` start when the power comes, by changing `autoboot.txt` in place.
fn write_autoboot(root: &Root, slot: Slot) -> anyhow::Result<()> {
    let new = read_autoboot(root)?.with_committed(slot);
    data::remount(root, "remount,rw")?;
    let written = write_in_place(root, &new);
    if let Err(error) = data::remount(root, "remount,ro") {
        tracing::warn!("the set-up partition stays writable: {error:#}");
    }
    written
}

fn write_in_place(root: &Root, new: &Autoboot) -> anyhow::Result<()> {
    let path = autoboot(root)?;
    let file = File::options().read(true).write(true).open(path).context("autoboot.txt cannot be opened")?;
    let there = first_sector(&file)?;
    ensure!(there.len() == new.bytes().len(), "autoboot.txt was changed meanwhile: try again");
    let sent = file.write_at(new.bytes(), 0).and_then(|length| file.sync_all().map(|()| length));
    let length = sent.context("autoboot.txt cannot be written")?;
    // What the kernel has in memory says nothing of the card.
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    if length != new.bytes().len() || first_sector(&file)? != new.bytes() {
        bail!("the card has not kept what was written into autoboot.txt: it is worn out, take another one");
    }
    Ok(())
}

/// The file, in whatever case an editor has left its name.
fn autoboot(root: &Root) -> anyhow::Result<PathBuf> {
    text::find(&root.at(SETUP), AUTOBOOT).context("autoboot.txt is not on the set-up partition")
}

fn first_sector(file: &File) -> anyhow::Result<Vec<u8>> {
    let mut bytes = [0; SECTOR];
    let mut length = 0;
    loop {
        match file.read_at(&mut bytes[length..], length as u64).context("autoboot.txt cannot be read")? {
            0 => return Ok(bytes[..length].to_vec()),
            more => length += more,
        }
    }
}

/// Reads what is remembered. Nothing, if it was lost.
///
/// # Errors
/// It is damaged: a sentence.
pub fn read_memory(root: &Root) -> Result<Memory, String> {
    let file = root.at(FOLDER).join(STATE);
    if !file.exists() {
        return Ok(Memory::default());
    }
    let read = text::read(&file).and_then(|text| Memory::decode(&text));
    read.map_err(|why| format!("what the box knew of its two systems is lost ({STATE}: {why})"))
}

/// Keeps what is remembered.
fn write_memory(root: &Root, memory: &Memory) -> anyhow::Result<()> {
    ensure!(boot::is_there(root, DATA), "there is no data partition to remember it on");
    let folder = root.at(FOLDER);
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.and_then(|()| text::replace(&folder.join(STATE), memory.encode().as_bytes(), true))
        .with_context(|| format!("{} cannot be written", folder.join(STATE).display()))
}
