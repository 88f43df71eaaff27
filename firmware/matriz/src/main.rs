//! The box and its command line.
//!
//! `matriz [FILE]` is a box: configuration (`config`), then `body`, which ties together the sound card
//! (`audio`), the network threads (`net`), the rendezvous (`rendezvous`), guests (`guests`) and the session of
//! `proto`. `matriz status`, `mute` and the like speak with a box that plays (`cli`).
//! `matriz demo` starts three of them on this computer and measures what they hear; `matriz monitor` shows
//! who is at a rendezvous, `matriz stations` and `matriz listen` are for stations (`stations`), and `matriz panel` shows
//! a box's front panel in the terminal (`front_panel`).

mod api;
mod audio;
mod body;
mod broadcast;
mod cli;
mod clock;
mod config;
mod demo;
mod door;
mod doorstep;
mod front_panel;
mod guests;
mod machine;
mod monitor;
mod net;
mod people;
mod places;
mod programs;
mod realtime;
mod record;
mod rendezvous;
mod rtsp;
mod state;
mod stations;
mod system;
mod table;
mod taps;
mod watchdog;

use clap::{Parser, Subcommand};
use config::Config;
use proto::control::Status;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Plays music together with the other boxes of a group.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Configuration: the original's client.json, or a matriz.toml [default: one of these, here]
    file: Option<PathBuf>,
    /// Print the status as a line of JSON, four times a second
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Listen to the others without a sound card, and send them to the audience of "broadcast"
    Broadcast {
        /// Configuration, as for a box that plays
        file: Option<PathBuf>,
        /// Print the status as a line of JSON, four times a second
        #[arg(long)]
        json: bool,
    },
    /// Play a session of three boxes on this computer and measure it
    Demo(demo::Options),
    /// Watch a rendezvous: who is there, since when, from where; type refresh or exit
    Monitor(monitor::Options),
    /// What the system of a box on an SD card calls (see docs/install.md)
    System(system::Options),
    /// Listen to a station of this network, to JACK or into a WAV file; type pause, play or exit
    Listen(stations::listen::Options),
    /// Show the stations of this network
    Stations(stations::browse::Options),
    /// Show a box's front panel in this terminal, its keys as buttons, or write it as a picture
    Panel(front_panel::Options),
    /// Play a WAV file into a box on a JACK server and record what it plays (for the demo)
    #[command(hide = true)]
    Tape(demo::tape::Options),
    #[command(flatten)]
    Verb(cli::Verb),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let done = match arguments.command {
        None => Config::find(arguments.file.as_deref())
            .map_err(Into::into)
            .and_then(|config| play(&config, arguments.json)),
        Some(Command::Broadcast { file, json }) => Config::find(file.as_deref())
            .and_then(Config::only_listen)
            .map_err(Into::into)
            .and_then(|config| play(&config, json)),
        Some(Command::Demo(options)) => demo::run(options),
        Some(Command::Monitor(options)) => monitor::run(&options),
        Some(Command::System(options)) => return system::run(&options),
        Some(Command::Listen(options)) => stations::listen::run(&options),
        Some(Command::Stations(options)) => stations::browse::run(&options),
        Some(Command::Panel(options)) => front_panel::show(&options),
        Some(Command::Tape(options)) => demo::tape::run(&options),
        Some(Command::Verb(verb)) => return cli::run::<Arguments>(&verb),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("matriz: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Names the JACK server of the configuration to libjack; before any thread is started.
fn name_jack_server(config: &Config) {
    if let Some(server) = &config.jack.server {
        // SAFETY: no other thread runs yet, so nobody reads the environment meanwhile. libjack takes the
        // server's name from here, since the `jack` crate cannot hand it over.
        unsafe { std::env::set_var("JACK_DEFAULT_SERVER", server) };
    }
}

fn play(config: &Config, json: bool) -> anyhow::Result<()> {
    name_jack_server(config);
    let in_vain = config.without_tls().into_iter().chain(config.half_a_guest());
    in_vain.for_each(|sentence| tracing::info!("{sentence}"));
    let draw = !json && std::io::stdout().is_terminal();
    let show = |status: &Status| {
        let mut out = std::io::stdout().lock();
        // Whoever read our standard output may be gone; the music plays on.
        let _ = match json {
            true => serde_json::to_writer(&mut out, status)
                .map_err(Into::into)
                .and_then(|()| out.write_all(b"\n")),
            false if draw => {
                out.write_all(table::redraw(&table::draw(std::slice::from_ref(status))).as_bytes())
            }
            false => Ok(()),
        };
        let _ = out.flush();
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(body::run(config, show))
}
