//! The verbs of the command line that speak with a box that plays, through its API.
//!
//! What a button can do, a verb can do: [`Verb::command`] says which [`Command`] it is. [`client`] carries it to the
//! box, [`show`] prints, [`watch`] is the live table, [`doctor`] looks at the computer, [`update`] speaks with another computer's box by SSH. Completions and man pages come
//! from the same definitions. Exit codes: 0 done, 1 refused or something found, 2 a mistake in the command line, 3 no
//! box answers.

pub mod client;
pub mod doctor;
mod show;
mod update;
mod watch;

use clap::{Args, CommandFactory, Subcommand, ValueEnum};
use client::{Client, Failure};
use proto::control::Command;
use serde_json::json;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// What a musician says to his box.
#[derive(Subcommand)]
pub enum Verb {
    /// Show what the box does: who is there and how they are heard
    Status {
        /// Live, on the whole screen; q ends it
        #[arg(long, conflicts_with = "json")]
        watch: bool,
        #[command(flatten)]
        at: At,
    },
    /// List the others, and how they are set here
    Peers {
        #[command(flatten)]
        at: At,
    },
    /// Silence yourself at everybody, or one of the others here
    Mute {
        /// One of the others; yourself if left out
        peer: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Let yourself be heard again, or one of the others
    Unmute {
        /// One of the others; yourself if left out
        peer: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Set how loud one of the others is here
    Volume {
        /// Who
        peer: String,
        /// Decibels, -60 to 20; 0 is as it comes
        #[arg(allow_negative_numbers = true)]
        db: f32,
        #[command(flatten)]
        at: At,
    },
    /// Set where one of the others stands here
    Pan {
        /// Who
        peer: String,
        /// From -1 (left) to 1 (right), or left, middle, right
        #[arg(allow_negative_numbers = true, value_parser = pan)]
        pan: f32,
        #[command(flatten)]
        at: At,
    },
    /// Hear only this one, and others who are solo
    Solo {
        /// Who
        peer: String,
        /// Not any more
        #[arg(long)]
        off: bool,
        #[command(flatten)]
        at: At,
    },
    /// Set the gain of what you send
    Gain {
        /// Decibels, -60 to 20; 0 is as it comes
        #[arg(allow_negative_numbers = true)]
        db: f32,
        #[command(flatten)]
        at: At,
    },
    /// Leave the session: nobody hears you, and you hear nobody; the box stays on
    Leave {
        #[command(flatten)]
        at: At,
    },
    /// Come back into the session
    Join {
        #[command(flatten)]
        at: At,
    },
    /// Give the box another name, for good
    Name {
        /// As the rendezvous knows it with this box's key
        name: String,
        #[command(flatten)]
        at: At,
    },
    /// Record: yourself, each of the others and the mix
    Record {
        /// Begin or end
        what: Record,
        #[command(flatten)]
        at: At,
    },
    /// Switch the box's computer off
    PowerOff {
        #[command(flatten)]
        at: At,
    },
    /// Look at the computer as a sound engineer would, and say what to do
    Doctor {
        /// Where the computer's files are
        #[arg(long, hide = true, default_value = "/")]
        root: PathBuf,
        #[command(flatten)]
        at: At,
    },
    /// Install another version on a box, by SSH, and wait until it plays with it
    Update(update::Update),
    /// Print completions for a shell
    Completions {
        /// Which
        shell: clap_complete::Shell,
    },
    /// Print the man page, or write all of them into a folder
    Man {
        /// The folder
        folder: Option<PathBuf>,
    },
}

/// Which box, and how it is told.
#[derive(Args, Clone, Debug, Default)]
pub struct At {
    /// The box's socket [default: that of the one box here]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Begin or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Record {
    /// Begin, into a new folder.
    Start,
    /// End.
    Stop,
}

fn pan(text: &str) -> Result<f32, String> {
    match text {
        "left" => Ok(-1.0),
        "middle" => Ok(0.0),
        "right" => Ok(1.0),
        _ => text.parse().map_err(|_| "it is a number from -1 to 1, or left, middle, right".to_owned()),
    }
}

impl Verb {
    /// The wish that it is, if it is one.
    fn command(&self) -> Option<Command> {
        Some(match self {
            Verb::Mute { peer, .. } => Command::Mute { peer: peer.clone(), on: true },
            Verb::Unmute { peer, .. } => Command::Mute { peer: peer.clone(), on: false },
            Verb::Volume { peer, db, .. } => Command::Volume { peer: peer.clone(), db: *db },
            Verb::Pan { peer, pan, .. } => Command::Pan { peer: peer.clone(), pan: *pan },
            Verb::Solo { peer, off, .. } => Command::Solo { peer: peer.clone(), on: !off },
            Verb::Gain { db, .. } => Command::Gain { db: *db },
            Verb::Leave { .. } => Command::Leave,
            Verb::Join { .. } => Command::Join,
            Verb::Name { name, .. } => Command::Name { name: name.clone() },
            Verb::Record { what, .. } => Command::Record { on: *what == Record::Start },
            Verb::PowerOff { .. } => Command::PowerOff,
            Verb::Status { .. } | Verb::Peers { .. } | Verb::Doctor { .. } => return None,
            Verb::Update(_) | Verb::Completions { .. } | Verb::Man { .. } => return None,
        })
    }

    fn at(&self) -> At {
        match self {
            Verb::Status { at, .. }
            | Verb::Peers { at }
            | Verb::Mute { at, .. }
            | Verb::Unmute { at, .. } => at,
            Verb::Volume { at, .. }
            | Verb::Pan { at, .. }
            | Verb::Solo { at, .. }
            | Verb::Gain { at, .. } => at,
            Verb::Leave { at } | Verb::Join { at } | Verb::Name { at, .. } | Verb::Record { at, .. } => at,
            Verb::PowerOff { at } | Verb::Doctor { at, .. } => at,
            Verb::Update(update) => return At { json: update.json, ..At::default() },
            Verb::Completions { .. } | Verb::Man { .. } => return At::default(),
        }
        .clone()
    }
}

/// Does what was said, and how it went.
pub fn run<C: CommandFactory>(verb: &Verb) -> ExitCode {
    let at = verb.at();
    let done = match verb {
        Verb::Status { watch: true, .. } => Client::find(at.socket.as_deref()).and_then(watch::run),
        Verb::Status { .. } => status(&at),
        Verb::Peers { .. } => peers(&at),
        Verb::Doctor { root, .. } => return doctor::run(root, &at),
        Verb::Update(update) => update::run(update).and_then(|said| print(&said)),
        Verb::Completions { shell } => completions::<C>(*shell),
        Verb::Man { folder } => man::<C>(folder.as_ref()),
        wish => carry_out(wish, &at),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if at.json {
                println!("{}", json!({"ok": false, "error": failure.to_string()}));
            } else {
                eprintln!("matriz: {failure}");
            }
            failure.code()
        }
    }
}

/// Prints to standard output. Who has read enough and closed it is content.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Here(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

fn status(at: &At) -> Result<(), Failure> {
    let status = Client::find(at.socket.as_deref())?.status()?;
    match at.json {
        true => print(&format!("{}\n", json!(status))),
        false => print(&show::status(&status)),
    }
}

fn peers(at: &At) -> Result<(), Failure> {
    let status = Client::find(at.socket.as_deref())?.status()?;
    match at.json {
        true => print(&format!("{}\n", json!(status.peers))),
        false => print(&show::peers(&status)),
    }
}

fn carry_out(verb: &Verb, at: &At) -> Result<(), Failure> {
    let command = verb.command().expect("every other verb was looked at before");
    let mut client = Client::find(at.socket.as_deref())?;
    client.command(&command)?;
    match (at.json, &command) {
        (true, _) => print(&format!("{}\n", json!({"ok": true}))),
        (false, Command::Record { on: true }) => {
            let folder = client.status()?.recording.unwrap_or_default();
            print(&format!("recording into {folder}\n"))
        }
        (false, Command::Name { name }) => print(&format!(
            "the box is called {name} now; if the rendezvous does not know that name with this key, `matriz status` \
             says so\n"
        )),
        (false, _) => Ok(()),
    }
}

fn completions<C: CommandFactory>(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut C::command(), "matriz", &mut text);
    print(&String::from_utf8_lossy(&text))
}

fn man<C: CommandFactory>(folder: Option<&PathBuf>) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| Failure::Here(format!("the man pages cannot be written: {error}"));
    match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(wrong)?;
            clap_mangen::generate_to(C::command().name("matriz"), folder).map_err(wrong)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(C::command().name("matriz")).render(&mut page).map_err(wrong)?;
            print(&String::from_utf8_lossy(&page))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::rpc::tests::every_command;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        verb: Verb,
    }

    fn command(line: &str) -> Option<Command> {
        let words = ["matriz"].into_iter().chain(line.split(' '));
        Line::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")).verb.command()
    }

    #[test]
    fn there_is_a_verb_for_every_command() {
        let lines = [
            "mute lisboa",
            "volume lisboa -6",
            "pan lisboa 0.5",
            "solo lisboa",
            "gain 3",
            "leave",
            "join",
            "name gaia",
            "record start",
            "power-off",
        ];
        for wanted in every_command() {
            assert!(lines.iter().any(|line| command(line) == Some(wanted.clone())), "no verb for {wanted:?}");
        }
    }

    #[test]
    fn what_can_be_done_can_be_undone() {
        let lisboa = || "lisboa".to_owned();
        assert_eq!(command("mute"), Some(Command::Mute { peer: None, on: true }));
        assert_eq!(command("unmute"), Some(Command::Mute { peer: None, on: false }));
        assert_eq!(command("unmute lisboa"), Some(Command::Mute { peer: Some(lisboa()), on: false }));
        assert_eq!(command("solo lisboa --off"), Some(Command::Solo { peer: lisboa(), on: false }));
        assert_eq!(command("pan lisboa left"), Some(Command::Pan { peer: lisboa(), pan: -1.0 }));
        assert_eq!(command("pan lisboa -0.25"), Some(Command::Pan { peer: lisboa(), pan: -0.25 }));
        assert_eq!(command("record stop"), Some(Command::Record { on: false }));
        assert!(Line::try_parse_from(["matriz", "pan", "lisboa", "up"]).is_err());
    }
}
