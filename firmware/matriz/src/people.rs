//! The box's dealings with people: their wishes come in, and what they are shown goes out.
//!
//! Behind [`crate::door`], and beside the session: this outlives the sound card, which may come and go. It judges
//! what is wished of the box itself (another name, a recording, power off), hands the rest to the session, keeps
//! what was set ([`crate::state`]), and adds to the session's status what only the body knows.

use crate::config::{self, Config};
use crate::door::{Door, Inside, Levels, Wish, door};
use crate::machine::Computer;
use crate::places;
use crate::programs::Programs;
use crate::record::Recorder;
use crate::state::{Instead, Kept, State};
use crate::system;
use crate::taps::Taps;
use proto::control::{Command, Status};
use proto::desk::Desk;
use proto::session::Session;
use proto::units::Time;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

/// How long `systemctl` may take to say yes or no.
const SYSTEMCTL: Duration = Duration::from_secs(8);

/// What the session's own sentence is when nothing is wrong with the rendezvous.
const FINE: [&str; 3] = ["connected", "connecting", "not connected yet"];

/// The answer of a box on a computer that is not its own.
const STAYS_ON: &str = "this box does not switch its computer off: end the box with Ctrl-C or `systemctl stop matriz`, or \
                        set \"power_off\" to true if the computer is nothing but a box";

/// The people's side of a box.
pub struct People {
    inside: Inside,
    /// What the others call this box now, and what the settings say.
    name: String,
    settings_name: String,
    settings_gain: f32,
    may_power_off: bool,
    record_folder: PathBuf,
    /// What people have set, while no session has it.
    desk: Desk,
    state: State,
    taps: Taps,
    programs: Programs,
    recorder: Option<Recorder>,
    computer: Computer,
    /// Why there is no sound card.
    no_card: Option<String>,
    /// Why the last recording has ended, if that was not wished.
    recording_ended: Option<String>,
    /// What is to be said as long as the box runs.
    standing: Vec<String>,
}

/// What the body knows of the sound card, for the status.
#[derive(Clone, Debug, Default)]
pub struct CardFacts {
    /// The card in words.
    pub words: String,
    /// Frames in its cycle.
    pub period: u32,
    /// Cycles that the sound server has lost.
    pub xruns: u64,
}

impl People {
    /// Begins with what was kept; the door leads here.
    pub fn new(config: &Config, taps: &Taps, programs: &Programs, media: &[SocketAddr]) -> (People, Door) {
        let (door, inside) = door();
        let (state, kept, said) = State::open(config);
        said.iter().for_each(|sentence| tracing::warn!("{sentence}"));
        let name = Instead::over(kept.name.as_ref(), &config.name).unwrap_or_else(|| config.name.clone());
        let gain_db = Instead::over(kept.gain_db.as_ref(), &config.gain_db);
        let people = People {
            inside,
            name,
            settings_name: config.name.clone(),
            settings_gain: config.gain_db,
            may_power_off: config.power_off,
            record_folder: config.record_folder.clone(),
            desk: Desk { gain_db, faders: kept.faders, ..Desk::default() },
            state,
            taps: taps.clone(),
            programs: programs.clone(),
            recorder: None,
            computer: Computer::new(Path::new("/"), media),
            no_card: None,
            recording_ended: None,
            standing: said.into_iter().chain(system::left_messages()).collect(),
        };
        (people, door)
    }

    /// What the others call this box now.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What people have set: for a session that begins.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// The next wish.
    pub async fn next(&mut self) -> Wish {
        self.inside.next().await
    }

    /// Carries out a wish and answers it; `session` is none while there is no sound card.
    pub fn handle(&mut self, now: Time, wish: Wish, mut session: Option<&mut Session>) {
        let Wish { command, answer } = wish;
        let done = match command {
            Command::Name { name } => self.rename(now, &name, session.as_deref_mut()),
            Command::Record { on: true } => self.record(),
            Command::Record { on: false } => self.end_recording(),
            Command::PowerOff if self.may_power_off => {
                // It asks another program, and nobody here waits for that.
                tokio::spawn(async move { answer.send(power_off().await) });
                return;
            }
            Command::PowerOff => Err(STAYS_ON.to_owned()),
            command => match &mut session {
                Some(session) => session.handle_command(now, &command),
                None => self.desk.handle(&command),
            },
        };
        let desk = session.map_or_else(|| self.desk.clone(), |session| session.desk().clone());
        self.keep(&desk);
        let _ = answer.send(done); // who asked may be gone
    }

    /// The session tells what is set now; it is kept over restarts.
    pub fn keep(&mut self, desk: &Desk) {
        if self.desk != *desk {
            self.desk = desk.clone();
        }
        let gain_db = desk.gain_db.and_then(|now| Instead::of(self.settings_gain, now));
        let name = Instead::of(self.settings_name.clone(), self.name.clone());
        self.state.keep(Kept { name, gain_db, faders: self.desk.faders.clone() });
    }

    fn rename(&mut self, now: Time, name: &str, session: Option<&mut Session>) -> Result<(), String> {
        config::judge_name(name)?;
        if let Some(session) = session {
            session.rename(now, name);
        }
        self.name = name.to_owned();
        Ok(())
    }

    /// Begins to record; nothing new, if that is under way.
    ///
    /// # Errors
    /// There is no place for it: a sentence.
    pub fn record(&mut self) -> Result<(), String> {
        self.look_after_recording();
        if self.recorder.is_none() {
            let started = Recorder::start(&self.taps, &self.record_folder, &self.name);
            self.recorder = Some(started.map_err(|error| format!("{error:#}"))?);
            self.recording_ended = None;
        }
        Ok(())
    }

    fn end_recording(&mut self) -> Result<(), String> {
        self.recording_ended = None;
        match self.recorder.take() {
            // The disk may be slow to take the last of it.
            Some(recorder) => drop(tokio::task::spawn_blocking(move || drop(recorder))),
            None => return Err("no recording is under way".to_owned()),
        }
        Ok(())
    }

    /// A recording that could not go on is none any more.
    fn look_after_recording(&mut self) {
        if let Some(why) = self.recorder.as_ref().and_then(Recorder::ended) {
            self.recording_ended = Some(why);
            self.recorder = None;
        }
    }

    /// There is a sound card, or none, and why.
    pub fn card(&mut self, missing: Option<String>) {
        self.no_card = missing;
    }

    /// Completes the session's status and shows it to everybody.
    pub fn show(&mut self, mut status: Status, card: &CardFacts) -> Arc<Status> {
        self.look_after_recording();
        self.programs.follow(status.gain_db, status.muted || !status.in_session);
        status.recording = self.recorder.as_ref().map(|recorder| recorder.folder().display().to_string());
        status.machine = self.computer.machine();
        status.machine.card = self.no_card.clone().unwrap_or_else(|| card.words.clone());
        status.machine.plays = self.no_card.is_none() && card.period > 0;
        (status.machine.period, status.machine.xruns) = (card.period, card.xruns);
        status.messages = self.messages(&status);
        self.inside.show(status)
    }

    /// Lets the meters move.
    pub fn show_levels(&self, levels: Levels) {
        self.inside.show_levels(levels);
    }

    /// What a box without a card shows.
    pub fn show_waiting(&mut self) -> Arc<Status> {
        let status = Status {
            name: self.name.clone(),
            rendezvous: "waiting for the sound card".to_owned(),
            in_session: self.desk.in_session,
            muted: self.desk.muted,
            gain_db: self.desk.gain_db.unwrap_or(self.settings_gain),
            level_db: -120.0,
            peak_db: -120.0,
            ..Status::default()
        };
        self.show_levels(Levels::default());
        self.show(status, &CardFacts::default())
    }

    /// What needs a person, the most urgent first.
    fn messages(&self, status: &Status) -> Vec<String> {
        let plays = self.no_card.is_none();
        let rendezvous = Some(&status.rendezvous)
            .filter(|sentence| plays && status.in_session && !FINE.contains(&sentence.as_str()));
        let urgent = [self.no_card.as_ref(), self.recording_ended.as_ref(), rendezvous];
        urgent.into_iter().flatten().chain(&self.standing).cloned().collect()
    }
}

/// Names the file that asks for it, where the box runs as a service that may not switch off the computer itself.
const POWER_OFF: &str = "MATRIZ_POWER_OFF";

/// Asks systemd to switch the computer off, which then ends the box like any other service.
async fn power_off() -> Result<(), String> {
    if let Some(file) = places::environment(POWER_OFF) {
        return std::fs::write(&file, "").map_err(|error| {
            format!("the computer stays on: {} cannot be written ({error})", file.display())
        });
    }
    let mut systemctl = tokio::process::Command::new("systemctl");
    systemctl
        .arg("poweroff")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    match tokio::time::timeout(SYSTEMCTL, systemctl.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let why = String::from_utf8_lossy(&output.stderr);
            let why = why.lines().next().unwrap_or("it does not say why");
            Err(format!("systemd does not switch the computer off: {why}"))
        }
        Ok(Err(error)) => Err(format!("systemctl cannot be started ({error}), so the computer stays on")),
        Err(_) => Err(format!("systemctl has not answered for {} s", SYSTEMCTL.as_secs())),
    }
}
