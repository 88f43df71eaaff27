//! The data partition before it is mounted: checked, repaired, or made anew, so that a start never hangs on it.
//!
//! A card that was just flashed has a mark where the file system will be; then it is made without a word. A
//! file system that cannot be repaired is made anew and said so, for a box without recordings plays and one
//! that waits for a person does not. `FACTORY-RESET` on the set-up partition asks for the same, and for the
//! settings as shipped. Exit codes: e2fsck(8). Superblock: ext4's disk layout, `s_magic`.

use super::{DATA, Root, SETUP, messages, settings, text};
use anyhow::{Context, bail};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;

/// What the assembled image has at the beginning of the data partition (`image/assemble`).
const FRESH: &[u8] = b"MATRIZ: the data partition is made at the first start";

/// The file that asks for everything as it came, under the names that file managers give it.
const RESET: [&str; 2] = ["FACTORY-RESET", "FACTORY-RESET.txt"];

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
    let mut said = Vec::new();
    let reset = RESET.iter().find_map(|name| text::find(&root.at(SETUP), name));
    let done = match &reset {
        Some(_) => {
            make(device).map(|()| said.push("everything is as it came, as FACTORY-RESET asked".to_owned()))
        }
        None => mend(device, &|| mounts(root, device), &mut said),
    };
    if let (Some(file), Ok(())) = (&reset, &done) {
        let shipped = ship(root, file);
        said.extend(shipped.err().map(|error| {
            format!(
                "FACTORY-RESET could not be carried out in full ({error:#}): take it off the card by hand"
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

/// Whether the kernel takes it. A test's folder has no kernel.
fn mounts(root: &Root, device: &Path) -> bool {
    if !root.is_real() {
        return true;
    }
    let at = root.at(DATA);
    let mounted = Command::new("mount").args(["-t", "ext4"]).arg(device).arg(&at).output();
    let mounted = mounted.is_ok_and(|done| done.status.success());
    mounted && Command::new("umount").arg(&at).output().is_ok_and(|done| done.status.success())
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

/// Makes an empty file system. Everything is written now, so that nothing writes in the background while music
/// plays; 1 % stays for the settings when recordings have filled the rest.
fn make(device: &Path) -> anyhow::Result<()> {
    let done = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-L", "matriz-data", "-m", "1", "-i", "65536", "-J", "size=16"])
        .args(["-E", "lazy_itable_init=0,lazy_journal_init=0"])
        .arg(device)
        .output()
        .context("mkfs.ext4 cannot be started")?;
    if !done.status.success() {
        bail!("mkfs.ext4 {}: {}", device.display(), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}

/// Makes the set-up partition as shipped: no keys, the settings of always. The request goes last, so that
/// a loss of power repeats everything.
fn ship(root: &Root, request: &Path) -> anyhow::Result<()> {
    remount(root, "remount,rw")?;
    let card = root.at(SETUP);
    let shipped = || -> anyhow::Result<()> {
        for name in ["matriz.toml.txt", "authorized_keys", "authorized_keys.txt"] {
            if let Some(file) = text::find(&card, name) {
                std::fs::remove_file(file)?;
            }
        }
        let settings = text::find(&card, settings::NAME).unwrap_or(card.join(settings::NAME));
        text::replace(&settings, settings::TEMPLATE.as_bytes(), false)?;
        std::fs::remove_file(request)?;
        Ok(File::open(&card)?.sync_all()?)
    };
    let done = shipped();
    remount(root, "remount,ro")?;
    done
}

/// The set-up partition is read-only but for this.
fn remount(root: &Root, how: &str) -> anyhow::Result<()> {
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
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::path::PathBuf;

    /// A set-up partition, and a data partition in a file.
    fn world() -> (tempfile::TempDir, Root, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("setup")).unwrap();
        let device = folder.path().join("p7");
        let file = File::create(&device).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(FRESH, 0).unwrap();
        let root = Root(folder.path().to_owned());
        (folder, root, device)
    }

    fn start(root: &Root, device: &Path) -> Vec<String> {
        run(root, device).unwrap();
        messages::read(root)
    }

    fn debugfs(device: &Path, request: &str) {
        let done = Command::new("debugfs").args(["-w", "-R", request]).arg(device).output().unwrap();
        assert!(done.status.success());
    }

    /// When the file system was made: its random identity.
    fn identity(device: &Path) -> [u8; 16] {
        let mut uuid = [0; 16];
        File::open(device).unwrap().read_exact_at(&mut uuid, 1024 + 104).unwrap();
        uuid
    }

    #[test]
    fn the_mark_is_the_one_that_the_image_has() {
        let script = include_str!("../../../../image/assemble");
        assert!(script.contains(&format!("printf %s '{}'", String::from_utf8_lossy(FRESH))));
    }

    #[test]
    fn a_flashed_card_gets_its_data_partition_once_without_a_word() {
        let (_folder, root, device) = world();
        assert_eq!(start(&root, &device), Vec::<String>::new());
        let first = identity(&device);
        assert_ne!(first, [0; 16]);
        assert_eq!(start(&root, &device), Vec::<String>::new());
        assert_eq!(identity(&device), first);
    }

    #[test]
    fn what_can_be_repaired_is_and_what_cannot_is_made_anew() {
        let (_folder, root, device) = world();
        start(&root, &device);
        let first = identity(&device);
        let file = File::options().write(true).open(&device).unwrap();

        // Its first folder is gone, and the kernel has noticed.
        debugfs(&device, "clri <2>");
        debugfs(&device, "set_super_value state 2");
        assert_eq!(start(&root, &device), ["the data partition was repaired; a recording may be damaged"]);
        assert_eq!(start(&root, &device), Vec::<String>::new());
        assert_eq!(identity(&device), first);

        // Its first superblock is gone: e2fsck finds another one.
        file.write_all_at(&[0; 4096], 0).unwrap();
        assert_eq!(start(&root, &device), ["the data partition was repaired; a recording may be damaged"]);
        assert_eq!(identity(&device), first);

        // All of it is gone.
        file.set_len(0).unwrap();
        file.set_len(64 << 20).unwrap();
        let said = start(&root, &device);
        assert_eq!(said, ["the data partition was beyond repair: it was made anew, recordings are gone"]);
        assert_ne!(identity(&device), first);
    }

    #[test]
    fn what_the_kernel_does_not_take_is_looked_at_closely() {
        let (_folder, root, device) = world();
        start(&root, &device);
        let first = identity(&device);
        debugfs(&device, "clri <2>"); // and nobody has noticed
        let tries = Cell::new(0);
        let second_time = || tries.replace(tries.get() + 1) > 0;
        let mut said = Vec::new();
        mend(&device, &second_time, &mut said).unwrap();
        assert_eq!(said, ["the data partition was repaired; a recording may be damaged"]);
        assert_eq!(identity(&device), first);

        said.clear();
        mend(&device, &|| false, &mut said).unwrap();
        assert_eq!(said, ["the data partition was beyond repair: it was made anew, recordings are gone"]);
        assert_ne!(identity(&device), first);
    }

    #[test]
    fn a_superblock_full_of_nonsense_is_beyond_repair() {
        let (_folder, root, device) = world();
        start(&root, &device);
        let first = identity(&device);
        let file = File::options().write(true).open(&device).unwrap();
        file.set_len(0).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&MAGIC.1, MAGIC.0).unwrap();
        let said = start(&root, &device);
        assert_eq!(said, ["the data partition was beyond repair: it was made anew, recordings are gone"]);
        assert_ne!(identity(&device), first);
    }

    #[test]
    fn a_factory_reset_makes_everything_as_it_came_once() {
        let (_folder, root, device) = world();
        start(&root, &device);
        let first = identity(&device);
        for (name, text) in [("matriz.toml", "name = 1"), ("authorized_keys", "k"), ("Factory-Reset.txt", "")]
        {
            fs::write(root.at("setup").join(name), text).unwrap();
        }
        assert_eq!(start(&root, &device), ["everything is as it came, as FACTORY-RESET asked"]);
        let second = identity(&device);
        assert_ne!(first, second);
        let left: Vec<_> =
            fs::read_dir(root.at("setup")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["matriz.toml"]);
        assert_eq!(fs::read_to_string(root.at("setup/matriz.toml")).unwrap(), settings::TEMPLATE);
        assert_eq!(start(&root, &device), Vec::<String>::new());
        assert_eq!(identity(&device), second);
    }

    #[test]
    fn a_device_that_is_not_there_is_said() {
        let (_folder, root, _) = world();
        assert!(run(&root, &root.at("p9")).is_err());
        let said = messages::read(&root);
        assert!(said[0].starts_with("there is no data partition: ") && said[0].contains("p9"), "{said:?}");
    }
}
