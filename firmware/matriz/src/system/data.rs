//! The data partition before it is mounted: checked, repaired, or made anew, so that a start never hangs on it.
//!
//! A card that was just flashed has a mark where the file system will be; then it is made without a word. A
//! file system that cannot be repaired is made anew and said so, for a box without recordings plays and one
//! that waits for a person does not. `FACTORY-RESET` on the set-up partition asks for the same, and for the
//! settings as shipped; so do both volume buttons (`hold`). Exit codes: e2fsck(8). Superblock: ext4's disk layout, `s_magic`.

use super::hold::{self, Wish};
use super::{Root, SETUP, messages, settings, text};
use crate::clock;
use crate::front_panel::{Pi, Wiring};
use anyhow::{Context, bail};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;

/// What the assembled image has at the beginning of the data partition (`image/assemble`).
const FRESH: &[u8] = b"MATRIZ: the data partition is made at the first start";

/// The file that asks for everything as it came, under the names that file managers give it.
const RESET: [&str; 2] = ["FACTORY-RESET", "FACTORY-RESET.txt"];

/// What to say of buttons that were not let go of.
const STUCK: &str = "both volume buttons were down for half a minute: if nobody held them, look at their wires; \
                     for a factory reset let go of them when all lamps are lit";

/// The magic number of ext2, 3 and 4, and where it is.
const MAGIC: (u64, [u8; 2]) = (1024 + 56, [0x53, 0xEF]);

/// How a check or a repair ended.
#[derive(Debug, PartialEq, Eq)]
enum Checked {
    /// Nothing was wrong, or what a loss of power leaves behind, which the journal mends.
    Sound,
    /// Something was lost.
    Repaired,
    /// It cannot be used.
    Ruined,
}

/// Makes `device` fit to be mounted, and leaves the sentences of it.
///
/// # Errors
/// There is no such device, or no file system can be made on it.
pub fn run(root: &Root, device: &Path) -> anyhow::Result<()> {
    // A test's folder has no buttons.
    let buttons = || hold::wish(&settings::panel(&root.at(SETUP)), |panel| Pi.chip(panel), &clock::now);
    carry_out(root, device, if root.is_real() { buttons() } else { Wish::None })
}

fn carry_out(root: &Root, device: &Path, buttons: Wish) -> anyhow::Result<()> {
    let mut said = Vec::new();
    match buttons {
        Wish::None => {}
        Wish::Reset => request(root),
        Wish::Stuck => said.push(STUCK.to_owned()),
    }
    let file = RESET.iter().find_map(|name| text::find(&root.at(SETUP), name));
    let who = match (buttons, &file) {
        (Wish::Reset, _) => Some("the volume buttons"),
        (_, Some(_)) => Some("FACTORY-RESET"),
        _ => None,
    };
    let done = match who {
        Some(who) => make(device).map(|()| said.push(format!("everything is as it came, as {who} asked"))),
        None => mend(device, &|| mounts(root, device), &mut said),
    };
    if let (Some(_), Ok(())) = (who, &done) {
        let shipped = ship(root, file.as_deref());
        said.extend(shipped.err().map(|error| {
            format!(
                "the factory reset could not be carried out in full ({error:#}): \
                 if FACTORY-RESET is on the card, take it off by hand"
            )
        }));
    }
    said.extend(done.as_ref().err().map(|error| format!("there is no data partition: {error:#}")));
    messages::leave(root, "10-data", &said)?;
    done
}

/// Checks, repairs, and makes anew what cannot be repaired; `usable` tries whether it can be mounted.
fn mend(device: &Path, usable: &dyn Fn() -> bool, said: &mut Vec<String>) -> anyhow::Result<()> {
    if is_fresh(device)? {
        return make(device);
    }
    match check(device, usable)? {
        Checked::Sound => {}
        Checked::Repaired => {
            said.push("the data partition was repaired; a recording may be damaged".to_owned())
        }
        Checked::Ruined => {
            make(device)?;
            said.push(
                "the data partition was beyond repair: it was made anew, recordings are gone".to_owned(),
            );
        }
    }
    Ok(())
}

/// Whether there is the mark of a flashed card, and no file system yet.
fn is_fresh(device: &Path) -> anyhow::Result<bool> {
    let shown = device.display();
    let mut file = File::open(device).with_context(|| format!("{shown} cannot be opened"))?;
    let mut begin = [0; FRESH.len()];
    let mut magic = [0; 2];
    let read = file
        .read_exact(&mut begin)
        .and_then(|()| file.seek(SeekFrom::Start(MAGIC.0)))
        .and_then(|_| file.read_exact(&mut magic));
    read.with_context(|| format!("{shown} cannot be read"))?;
    Ok(begin == *FRESH && magic != MAGIC.1)
}

/// Repairs without asking: first what is always safe, which a file system needs after a loss of power, and which
/// is all that is looked at as long as the kernel has not found a fault. Then everything.
fn check(device: &Path, usable: &dyn Fn() -> bool) -> anyhow::Result<Checked> {
    if fsck(device, &["-p"])? == Checked::Sound && usable() {
        return Ok(Checked::Sound);
    }
    let repaired = fsck(device, &["-f", "-y"])? != Checked::Ruined && usable();
    Ok(if repaired { Checked::Repaired } else { Checked::Ruined })
}

/// Where it is tried. Not where it belongs: to systemd the partition would be mounted then, and the job that waits
/// to mount it done, just before it is gone again.
const TRIED_AT: &str = "run/matriz-system/data";

/// Whether the kernel takes it. A test's folder has no kernel.
fn mounts(root: &Root, device: &Path) -> bool {
    if !root.is_real() {
        return true;
    }
    let at = root.at(TRIED_AT);
    let mount = || Command::new("mount").args(["-t", "ext4"]).arg(device).arg(&at).output();
    let mounted = std::fs::create_dir_all(&at).and_then(|()| mount());
    mounted.is_ok_and(|done| done.status.success())
        && Command::new("umount").arg(&at).output().is_ok_and(|done| done.status.success())
}

fn fsck(device: &Path, how: &[&str]) -> anyhow::Result<Checked> {
    let done = Command::new("e2fsck").args(how).arg(device).output().context("e2fsck cannot be started")?;
    let code = done.status.code();
    tracing::info!("e2fsck {}: {}", how.join(" "), String::from_utf8_lossy(&done.stdout).trim());
    Ok(match code {
        // With -p, 1 and 2 are the journal and what else is safe.
        Some(0..=2) if how == ["-p"] => Checked::Sound,
        Some(0) => Checked::Sound,
        Some(1 | 2) => Checked::Repaired,
        _ => Checked::Ruined,
    })
}

/// Makes an empty file system, with few inodes, as its files are large. Everything is written now, so that nothing
/// writes in the background while music plays; 1 % stays for the settings when recordings have filled the rest.
fn make(device: &Path) -> anyhow::Result<()> {
    let done = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-L", "matriz-data", "-m", "1", "-i", "262144", "-J", "size=8"])
        .args(["-E", "lazy_itable_init=0,lazy_journal_init=0"])
        .arg(device)
        .output()
        .context("mkfs.ext4 cannot be started")?;
    if !done.status.success() {
        bail!("mkfs.ext4 {}: {}", device.display(), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}

/// Asks for a factory reset by the file, so that a loss of power in the middle repeats it. Where the file cannot be
/// written nothing is repeated.
fn request(root: &Root) {
    let file = root.at(SETUP).join(RESET[0]);
    let write = || Ok(File::create(&file)?.sync_all()?);
    if let Err(error) = rewrite(root, write) {
        tracing::warn!("{} could not be written: {error:#}", file.display());
    }
}

/// Makes the set-up partition as shipped: no keys, the settings of always. The request goes last, so that
/// a loss of power repeats everything.
fn ship(root: &Root, request: Option<&Path>) -> anyhow::Result<()> {
    let card = root.at(SETUP);
    rewrite(root, || {
        for name in ["matriz.toml.txt", "authorized_keys", "authorized_keys.txt"] {
            if let Some(file) = text::find(&card, name) {
                std::fs::remove_file(file)?;
            }
        }
        let settings = text::find(&card, settings::NAME).unwrap_or(card.join(settings::NAME));
        text::replace(&settings, settings::TEMPLATE.as_bytes(), false)?;
        request.map_or(Ok(()), std::fs::remove_file)?;
        Ok(File::open(&card)?.sync_all()?)
    })
}

/// Lets `write` write on the set-up partition.
fn rewrite(root: &Root, write: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    remount(root, "remount,rw")?;
    let done = write();
    remount(root, "remount,ro")?;
    done
}

/// The set-up partition is read-only but for this.
pub(super) fn remount(root: &Root, how: &str) -> anyhow::Result<()> {
    if !root.is_real() {
        return Ok(());
    }
    let done = Command::new("mount").args(["-o", how]).arg(root.at(SETUP)).output()?;
    if !done.status.success() {
        bail!("mount -o {how}: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
