//! `matriz update`: sends a bundle to a box, and stays until the box plays with it or is back with the old one.
//!
//! It is what `ssh update@BOX < BUNDLE` does, by the system's own `ssh` ([`ssh`]), with a bar ([`bar`]) and the end of the
//! story. What the box answers comes from `system/receive.rs`. docs/update.md describes all of it.

mod bar;
mod ssh;

use super::client::Failure;
use crate::system::Standing;
use bar::Bar;
use clap::Args;
use serde_json::json;
use ssh::Ssh;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a box that restarts is asked.
const EVERY: Duration = Duration::from_secs(2);

/// What to do with which box.
#[derive(Args, Clone, Debug, Default)]
pub struct Update {
    /// The box, such as matriz-1a2b or 192.168.1.20
    host: String,
    /// What to install, such as matriz-rpi2-1.1.0.raucb
    #[arg(required_unless_present_any = ["status", "revert"])]
    bundle: Option<PathBuf>,
    /// Show what runs, what waits and what failed
    #[arg(long, conflicts_with_all = ["bundle", "revert", "now"])]
    status: bool,
    /// Go back to the system of before
    #[arg(long, conflicts_with = "bundle")]
    revert: bool,
    /// Even while music is playing: it stops
    #[arg(long)]
    now: bool,
    /// Seconds to wait until the box is back
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

impl Update {
    /// The words for the box.
    fn words(&self) -> Vec<&'static str> {
        let said = [(self.revert, "revert"), (self.now, "now")];
        said.into_iter().filter_map(|(is_so, word)| is_so.then_some(word)).collect()
    }
}

/// Does it; what came of it, for standard output.
///
/// # Errors
/// The box cannot be reached, refuses, did not stay with the new system, or has not come back.
pub fn run(update: &Update) -> Result<String, Failure> {
    let ssh = Ssh::to(&update.host)?;
    if update.status {
        let standing = ssh.standing()?;
        return Ok(match update.json {
            true => format!("{}\n", json!(standing)),
            false => standing.lines().iter().map(|line| format!("{line}\n")).collect(),
        });
    }
    let bundle = update.bundle.as_deref().map(open).transpose()?;
    let mut bar = Bar::new(!update.json);
    ssh.send(&update.words(), bundle, &mut bar)?;
    let standing = wait(&ssh, Duration::from_secs(update.wait), &mut bar)?;
    Ok(match update.json {
        true => format!("{}\n", json!({"ok": true, "standing": standing})),
        false => format!("{} plays with {}\n", ssh.host(), standing.version),
    })
}

/// Opens a bundle, and its length; another file is not sent.
fn open(path: &Path) -> Result<(File, u64), Failure> {
    let shown = path.display();
    let wrong = |error: std::io::Error| Failure::Here(format!("{shown} cannot be read ({error})"));
    let mut file = File::open(path).map_err(wrong)?;
    let length = file.metadata().map_err(wrong)?.len();
    let mut begin = [0; 4];
    let bundle = file.read_exact(&mut begin).is_ok() && crate::system::bundle_begins(&begin);
    if !bundle {
        return Err(Failure::Here(format!("{shown} is no bundle: those end in .raucb")));
    }
    std::io::Seek::rewind(&mut file).map_err(wrong)?;
    Ok((file, length))
}

/// Waits until the box has made up its mind.
fn wait(ssh: &Ssh, patience: Duration, bar: &mut Bar) -> Result<Standing, Failure> {
    let deadline = Instant::now() + patience;
    loop {
        let last = match ssh.standing() {
            Ok(standing) => match outcome(standing) {
                Outcome::Stays(standing) => return Ok(standing),
                Outcome::Failed(why) => return Err(Failure::Refused(why)),
                Outcome::Open(how) => {
                    bar.say(&how);
                    how
                }
            },
            Err(failure) => {
                bar.say("restarting");
                failure.to_string()
            }
        };
        if Instant::now() + EVERY > deadline {
            return Err(Failure::NoBox(format!(
                "{} has not come back within {} s ({last}): look at its display; if it stays dark, docs/update.md has \
                 the rescue",
                ssh.host(),
                patience.as_secs()
            )));
        }
        std::thread::sleep(EVERY);
    }
}

/// What a box's standing means to whoever has just updated it.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Stays(Standing),
    Failed(String),
    Open(String),
}

fn outcome(standing: Standing) -> Outcome {
    match standing {
        Standing { trial: true, version, .. } => Outcome::Open(format!("{version} runs on trial")),
        Standing { waits: Some(_), .. } => Outcome::Open("about to restart".to_owned()),
        Standing { failed: Some(why), .. } => Outcome::Failed(why),
        standing => Outcome::Stays(standing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_has_made_up_its_mind_when_nothing_is_tried_and_nothing_waits() {
        let standing = |trial, waits: Option<&str>, failed: Option<&str>| Standing {
            version: "1.0.0".to_owned(),
            slot: Some("A".to_owned()),
            trial,
            waits: waits.map(str::to_owned),
            failed: failed.map(str::to_owned),
        };
        assert_eq!(outcome(standing(true, None, None)), Outcome::Open("1.0.0 runs on trial".to_owned()));
        assert_eq!(
            outcome(standing(false, Some("1.1.0"), None)),
            Outcome::Open("about to restart".to_owned())
        );
        let failed = outcome(standing(false, None, Some("1.1.0 failed: it crashed, running 1.0.0")));
        assert_eq!(failed, Outcome::Failed("1.1.0 failed: it crashed, running 1.0.0".to_owned()));
        let stays = standing(false, None, None);
        assert_eq!(outcome(stays.clone()), Outcome::Stays(stays));
    }

    #[test]
    fn only_bundles_are_sent() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.raucb");
        let told = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            open(&file).map(|(_, length)| length).map_err(|failure| failure.to_string())
        };
        assert_eq!(told(b"hsqs..."), Ok(7));
        assert!(told(b"PK..").unwrap_err().ends_with("a.raucb is no bundle: those end in .raucb"));
        assert!(told(b"").is_err());
        assert!(open(folder.path()).is_err() && open(Path::new("/nowhere")).is_err());
    }
}
