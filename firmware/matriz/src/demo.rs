//! `matriz demo`: a session of three boxes and their rendezvous on this computer, as real processes, and a
//! report of what each heard of the others.
//!
//! It shows and measures what the boxes do by themselves: it writes their configurations, starts them,
//! reads the status that they print, ends them, and compares what was played with what was recorded.

mod cast;
pub mod measure;
mod report;
pub mod tape;

use crate::{clock, front_panel, table};
use anyhow::{Context, bail};
use cast::{Cast, Player};
use clap::Args;
use report::Report;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

/// How often the table is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// What the demo is told on its command line.
#[derive(Args)]
pub struct Options {
    /// End after so many seconds [default: at Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(3..))]
    seconds: Option<u32>,
    /// Print the report as JSON, and nothing else, on standard output
    #[arg(long)]
    json: bool,
    /// Play on JACK servers with the dummy backend instead of simulated cards
    #[arg(long)]
    jack: bool,
    /// Folder with porto.wav, montemor.wav and lisboa.wav: what the boxes play
    #[arg(long, value_name = "FOLDER", default_value = "out/music")]
    music: PathBuf,
    /// Folder for what each box hears, and for their configurations and logs
    #[arg(long, value_name = "FOLDER", default_value = "out")]
    out: PathBuf,
}

/// The three boxes of the seed's example, and how far off their cards run, in parts per million.
const PLAYERS: [(&str, f64); 3] = [("porto", 40.0), ("montemor", 0.0), ("lisboa", -60.0)];

/// Runs the demo.
///
/// # Errors
/// Something did not start, or somebody was not heard; says what and where to look.
pub fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(play(options))
}

async fn play(options: Options) -> anyhow::Result<()> {
    let players = PLAYERS.map(|(name, ppm)| Player::new(name, ppm, &options.music));
    if let Some(player) = players.iter().find(|player| !player.music.exists()) {
        let music = player.music.display();
        bail!("{music} is missing: `make run` prepares it, or name a folder with --music");
    }
    let mut cast = Cast::start(&players, &options.out, options.jack).await?;
    let started = clock::now();
    let listened = listen(&options, &mut cast).await;
    let statuses = cast.statuses();
    cast.end().await;
    let pressed = listened?;
    let report = Report::new(&players, &statuses, &cast, started)?;
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        if options.seconds.is_none() || !std::io::stdout().is_terminal() {
            print!("{}", table::draw(&statuses));
        }
        print!("{report}");
        let heard = players.each_ref().map(|player| cast.recording(player.name).display().to_string());
        println!("What each box heard is in {}.", heard.join(", "));
    }
    if pressed {
        println!("Keys were pressed meanwhile, so what was heard is not what was played: it is not judged.");
        return Ok(());
    }
    report.verdict(&options.out)
}

/// Lets them play until the time is up or Ctrl-C is pressed. Meanwhile draws the table, and below it the front panel
/// of the first box, if the terminal has room for it, with keys as its buttons. True if they changed what is heard.
async fn listen(options: &Options, cast: &mut Cast) -> anyhow::Result<bool> {
    let draw = !options.json && std::io::stdout().is_terminal();
    let mut ticks = tokio::time::interval(DRAW_EVERY);
    let mut inset = front_panel::Inset::new(cast.socket());
    let mut stop = crate::body::Stop::new().context("signals cannot be caught")?;
    let length = options.seconds.map_or(Duration::MAX, |seconds| Duration::from_secs(u64::from(seconds)));
    let end = tokio::time::sleep(length);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return Ok(inset.has_wished()),
            () = stop.wait() => return Ok(inset.has_wished()),
            _ = ticks.tick() => {
                cast.check()?;
                if draw {
                    let statuses = cast.statuses();
                    let text = table::draw(&statuses) + "Ctrl-C ends the session.\n";
                    let panel = statuses.first().map_or_else(String::new, |status| inset.draw(status, &text));
                    let mut out = std::io::stdout().lock();
                    out.write_all(table::redraw(&(text + &panel)).as_bytes())?;
                    out.flush()?;
                }
            }
        }
    }
}
