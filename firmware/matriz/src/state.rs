//! What a box keeps over restarts: its faders by peer's name, its gain, and its name if somebody has changed it.
//!
//! One small JSON file in the state folder, written by a thread of its own so that no card of a slow disk holds
//! up the session. A power cut leaves the old file or the new one: written beside it, brought to the disk,
//! renamed, and the folder brought to the disk. A file that is damaged all the same is said and kept aside.

use crate::config::Config;
use crate::places;
use proto::desk::Fader;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long changes are gathered: somebody who moves a fader makes many.
const GATHER: Duration = Duration::from_millis(300);

/// The longest file that is read: 256 names take 30 kB.
const LONGEST: u64 = 1 << 20;

/// What is kept. A value that replaces one of the settings knows the settings it replaced: if somebody edits those,
/// they win.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kept {
    /// Another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Instead<String>>,
    /// Another gain of what is sent, in decibels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain_db: Option<Instead<f32>>,
    /// How each of the others is heard.
    pub faders: BTreeMap<String, Fader>,
}

/// A value in place of one of the settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instead<T> {
    /// What the settings had.
    pub settings: T,
    /// What holds.
    pub now: T,
}

impl<T: PartialEq + Clone> Instead<T> {
    /// A value that replaces the settings', if it is another one.
    pub fn of(settings: T, now: T) -> Option<Self> {
        (settings != now).then_some(Instead { settings, now })
    }

    /// What holds, if the settings are still those that it replaced.
    pub fn over(this: Option<&Self>, settings: &T) -> Option<T> {
        this.filter(|this| this.settings == *settings).map(|this| this.now.clone())
    }
}

/// Where it is kept; writes what is still to be written when dropped.
pub struct State {
    to_write: Option<Sender<Kept>>,
    thread: Option<JoinHandle<()>>,
    last: Kept,
}

impl State {
    /// Reads what was kept for the box of this configuration. With it come the sentences that a person should read.
    pub fn open(config: &Config) -> (State, Kept, Vec<String>) {
        let folder = config.state_folder.clone().or_else(|| places::state_folder(&places::environment));
        let Some(folder) = folder else {
            let said = "there is no folder to keep faders in: set \"state_folder\"".to_owned();
            return (
                State { to_write: None, thread: None, last: Kept::default() },
                Kept::default(),
                vec![said],
            );
        };
        let path = folder.join(format!("{}.json", config.name));
        let (kept, said) = read(&path);
        let (to_write, written) = channel();
        let builder = std::thread::Builder::new().name("state".to_owned());
        // Without a thread nothing is kept, and the music plays.
        let thread = builder.spawn(move || write_all(&path, &written)).ok();
        (State { to_write: Some(to_write), thread, last: kept.clone() }, kept, said.into_iter().collect())
    }

    /// Keeps this from now on.
    pub fn keep(&mut self, kept: Kept) {
        if self.last == kept {
            return;
        }
        self.last = kept.clone();
        if let Some(to_write) = &self.to_write {
            let _ = to_write.send(kept); // the thread outlives this
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.to_write = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was printed already.
            let _ = thread.join();
        }
    }
}

/// The thread: writes the newest of what comes.
fn write_all(path: &Path, written: &Receiver<Kept>) {
    let mut told = false;
    while let Ok(mut kept) = written.recv() {
        let deadline = Instant::now() + GATHER;
        let mut over = false;
        while !over {
            match written.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(newer) => kept = newer,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => over = true,
            }
        }
        let text = serde_json::to_vec_pretty(&kept).expect("maps of text and numbers become JSON");
        match replace(path, &text, &mut |_| Ok(())) {
            Ok(()) => told = false,
            Err(error) if !told => {
                let place = path.display();
                tracing::warn!("{place} cannot be written ({error}): faders are not kept over a restart");
                told = true;
            }
            Err(_) => {}
        }
    }
}

/// Reads the file. One that makes no sense is set aside.
fn read(path: &Path) -> (Kept, Option<String>) {
    let place = path.display();
    let text = match read_bounded(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return (Kept::default(), None),
        Err(error) => {
            return (
                Kept::default(),
                Some(format!("{place} cannot be read ({error}); beginning without it")),
            );
        }
    };
    let damage = match serde_json::from_str::<Kept>(&text) {
        Ok(kept) if kept.faders.values().all(Fader::is_sound) => return (kept, None),
        Ok(_) => "a fader is out of range".to_owned(),
        Err(error) => error.to_string(),
    };
    let aside = path.with_extension("json.damaged");
    let kept = match std::fs::rename(path, &aside) {
        Ok(()) => format!("it is kept as {}", aside.display()),
        Err(error) => format!("it cannot be set aside ({error})"),
    };
    (Kept::default(), Some(format!("{place} is damaged ({damage}); beginning with new faders; {kept}")))
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > LONGEST {
        return Ok("it is too long".to_owned()); // which is no JSON: it is set aside
    }
    let bytes = std::fs::read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The steps of replacing a file, at each of which the power may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Folder,
    Create,
    WriteHalf,
    WriteAll,
    Sync,
    Rename,
    SyncFolder,
}

/// Replaces a file so that whoever reads it, also after a power cut, finds the old text or the new one. `before` is
/// asked before each step; a test lets the power go there.
fn replace(
    path: &Path,
    text: &[u8],
    before: &mut dyn FnMut(Step) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    before(Step::Folder)?;
    std::fs::create_dir_all(folder)?;
    let new = path.with_extension("json.new");
    before(Step::Create)?;
    let mut file = File::create(&new)?;
    let (half, rest) = text.split_at(text.len() / 2);
    before(Step::WriteHalf)?;
    file.write_all(half)?;
    before(Step::WriteAll)?;
    file.write_all(rest)?;
    before(Step::Sync)?;
    file.sync_all()?;
    before(Step::Rename)?;
    std::fs::rename(&new, path)?;
    before(Step::SyncFolder)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(volume_db: f32) -> Kept {
        let fader = Fader { volume_db, pan: -0.5, muted: true, solo: false };
        let gain_db = Instead::of(0.0, 3.0);
        Kept { name: None, gain_db, faders: [("lisboa".to_owned(), fader)].into() }
    }

    fn text(kept: &Kept) -> Vec<u8> {
        serde_json::to_vec_pretty(kept).unwrap()
    }

    #[test]
    fn a_power_cut_at_any_step_leaves_the_old_or_the_new() {
        let steps = [
            Step::Folder,
            Step::Create,
            Step::WriteHalf,
            Step::WriteAll,
            Step::Sync,
            Step::Rename,
            Step::SyncFolder,
        ];
        for old in [None, Some(kept(-1.0))] {
            for (at, cut) in steps.into_iter().enumerate() {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("state/porto.json");
                if let Some(old) = &old {
                    replace(&path, &text(old), &mut |_| Ok(())).unwrap();
                }
                let mut seen = Vec::new();
                let power = &mut |step| {
                    seen.push(step);
                    if step == cut { Err(std::io::Error::other("no power")) } else { Ok(()) }
                };
                assert!(replace(&path, &text(&kept(-9.0)), power).is_err());
                assert_eq!(seen, steps[..=at], "each step is asked for, in this order");
                let wanted =
                    if cut == Step::SyncFolder { kept(-9.0) } else { old.clone().unwrap_or_default() };
                assert_eq!(read(&path), (wanted, None), "cut before {cut:?}");
                // And what the cut has left is in nobody's way.
                replace(&path, &text(&kept(-3.0)), &mut |_| Ok(())).unwrap();
                assert_eq!(read(&path), (kept(-3.0), None));
            }
        }
    }

    #[test]
    fn a_damaged_file_is_said_and_kept_aside() {
        for damage in [
            "",
            "{",
            "[1]",
            "\u{0}\u{0}",
            r#"{"faders":{"a":{"volume_db":99}}}"#,
            r#"{"fader":{}}"#,
            r#"{"faders":{"a":{"volume":1}}}"#,
            "\"\u{fffd}",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("porto.json");
            std::fs::write(&path, damage).unwrap();
            let (kept, said) = read(&path);
            assert_eq!(kept, Kept::default());
            let said = said.unwrap();
            assert!(said.contains("porto.json is damaged") && said.contains("porto.json.damaged"), "{said}");
            assert_eq!(std::fs::read(folder.path().join("porto.json.damaged")).unwrap(), damage.as_bytes());
            assert_eq!(read(&path), (Kept::default(), None), "and the next time there is none");
        }
    }

    #[test]
    fn settings_that_were_edited_win() {
        let instead = Instead::of(0.0, 3.0);
        assert_eq!(Instead::over(instead.as_ref(), &0.0), Some(3.0));
        assert_eq!(Instead::over(instead.as_ref(), &1.0), None);
        assert_eq!(Instead::of(3.0, 3.0), None);
    }

    #[test]
    fn the_newest_is_on_the_disk_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let least = r#"{"name": "porto", "key": "key1", "url": "ws://localhost:5000/config"}"#;
        let file = folder.path().join("client.json");
        std::fs::write(&file, least.replace('}', r#", "state_folder": "state"}"#)).unwrap();
        let config = Config::read(&file).unwrap();
        let (mut state, first, said) = State::open(&config);
        assert_eq!((first, said), (Kept::default(), vec![]));
        (0..50).for_each(|n| state.keep(kept(-(n as f32))));
        drop(state);
        let (_state, second, _) = State::open(&config);
        assert_eq!(second, kept(-49.0));
    }
}
