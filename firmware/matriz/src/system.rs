//! The box as a machine: what the system on the SD card asks of the program before and beside the music.
//!
//! `matriz system VERB`, called by the units in `overlays/`: `data` makes the data partition fit to be mounted,
//! `boot` takes over the settings from the set-up partition, `tune` makes the machine a realtime one,
//! `jackd` starts the sound server on the right card, `health` judges the start, `slots` says which of the two systems
//! on the card starts. Every decision takes the folder that stands for `/`
//! as an argument, so that tests give it one of their own. What a person should know goes to `messages`.

mod boot;
mod card;
mod data;
mod health;
mod hold;
mod messages;
mod network;
mod receive;
mod settings;
mod slots;
mod ssh;
mod text;
mod tune;

use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The first FAT partition, which any computer reads: settings, keys, a README.
const SETUP: &str = "setup";

/// The data partition: last good settings, recordings, host keys.
const DATA: &str = "data";

/// The box's folder, where its settings in force are and paths in them begin. `boot` lets it point to
/// the data partition, or to memory where there is none.
const BOX: &str = "run/matriz-system/box";

/// What the box is to show of its two systems, for the service that plays; a file below `/`.
pub use slots::FACTS;

pub use receive::{Standing, bundle_begins};

/// How far an update is that is under way on this computer, whose files are below `root`.
pub fn update_progress(root: &Path) -> Option<String> {
    receive::progress(&Root(root.to_owned()))
}

/// What the steps before the music have left for the person in front of the box.
pub fn left_messages() -> Vec<String> {
    messages::read(&Root(PathBuf::from("/")))
}

/// On a box, what a person there can do while the JACK server is missing; `None` on other computers.
pub fn missing_card() -> Option<String> {
    card::missing(&Root(PathBuf::from("/")))
}

/// What the verbs have in common.
#[derive(Args)]
pub struct Options {
    /// The folder that stands for /
    #[arg(long, default_value = "/", global = true)]
    root: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Take over settings, keys and names from the set-up partition
    Boot,
    /// Check the data partition, repair it, or make it anew
    Data {
        /// The partition
        device: PathBuf,
    },
    /// Judge this start: commit a system on trial, or go back to the old one
    Health {
        /// Seconds until the start must be healthy
        #[arg(long, hide = true)]
        limit: Option<u64>,
    },
    /// Receive and install an update, as matriz-update.socket asks
    Install,
    /// Start the JACK server on the best sound card there is
    Jackd {
        /// Only print the command
        #[arg(long)]
        print: bool,
    },
    /// Pass an update on that comes in by SSH, as its forced command
    Receive,
    /// Show what needs a person
    Messages,
    /// Say which of the two systems on the card starts, as RAUC asks it
    Slots {
        #[command(subcommand)]
        verb: slots::Verb,
    },
    /// Make the machine a realtime one, and say what is in force and what is not (then the exit code is 2)
    Tune {
        /// Change nothing
        #[arg(long)]
        check: bool,
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Carries out one verb.
pub fn run(options: &Options) -> ExitCode {
    let root = Root(options.root.clone());
    let done = match &options.verb {
        Verb::Boot => boot::run(&root).map(|()| ExitCode::SUCCESS),
        Verb::Data { device } => data::run(&root, device).map(|()| ExitCode::SUCCESS),
        Verb::Health { limit } => {
            health::run(&root, limit.map(Duration::from_secs)).map(|()| ExitCode::SUCCESS)
        }
        Verb::Jackd { print } => card::run(&root, *print).map(|()| ExitCode::SUCCESS),
        Verb::Install => receive::install(&root).map(|()| ExitCode::SUCCESS),
        Verb::Receive => receive::relay::run(&root),
        Verb::Messages => {
            messages::read(&root).iter().for_each(|sentence| println!("{sentence}"));
            Ok(ExitCode::SUCCESS)
        }
        Verb::Slots { verb } => slots::run(&root, verb).map(|()| ExitCode::SUCCESS),
        Verb::Tune { check, json } => tune::run(&root, *check, *json),
    };
    done.unwrap_or_else(|error| {
        eprintln!("matriz: {error:#}");
        ExitCode::FAILURE
    })
}

/// The folder that stands for `/`.
pub(crate) struct Root(PathBuf);

impl Root {
    /// `path`, which has no leading slash, below the root.
    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Whether it is the machine itself and no test's folder: only then mounts and owners are changed.
    fn is_real(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// The text of a small file such as those in `/proc` and `/sys`, without white space at its ends.
    fn line(&self, path: &str) -> Option<String> {
        let text = std::fs::read(self.at(path)).ok()?;
        Some(String::from_utf8_lossy(&text).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
    }
}
