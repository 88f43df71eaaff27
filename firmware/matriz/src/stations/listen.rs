//! `matriz listen`: plays a station on this computer's sound card, or into a WAV file.
//!
//! A box without a rendezvous: one slot of the same engine, with the same buffer and the same clocks, has the station
//! ([`receiver`]). The subscription is kept ([`super::client`]), so that a station that was away is heard again. If the
//! configuration says that this computer is a station too, what is heard here can be heard by others, except by those
//! that it comes from (`proto::station::ring`). Typed lines pause it and play on ([`typed`]).

mod receiver;
mod typed;

use super::browse::{self, refusal};
use super::client::{Event, Subscription};
use super::find::{self, Place};
use super::{SharedRing, Station};
use crate::audio::{Card, Driver};
use crate::body::{Found, Stop, Told, find_card, settings};
use crate::config::{Config, Sound};
use crate::net::Bell;
use crate::programs::Programs;
use crate::realtime;
use crate::taps::{Pump, Taps};
use anyhow::{Context, bail};
use engine::{Engine, Handle};
use proto::station::{announcement, line};
use receiver::{Heard, Parts, Receiver};
use serde::Serialize;
use std::io::Write;
use std::net::{IpAddr, UdpSocket};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use typed::Typed;

/// How often it is looked what is heard, and printed with `--json`.
const SHOW: Duration = Duration::from_millis(250);

/// What `matriz listen` is told on the command line.
#[derive(clap::Args)]
pub struct Options {
    /// The station: rtp:ADDRESS, or its name; rtp:stations lists them
    #[arg(value_name = "STATION")]
    station: String,
    /// Configuration, as for a box that plays: the sound card, and whether this computer is a station too [default: JACK,
    /// and it is none]
    file: Option<PathBuf>,
    /// Play into this WAV file instead
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    wav: Option<PathBuf>,
    /// Print what is heard as a line of JSON, four times a second
    #[arg(long)]
    json: bool,
}

/// Listens until told to end: by `exit`, SIGINT or SIGTERM.
///
/// # Errors
/// The station is not there, or does not want to; or a mistake in what it was told: one sentence.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let config = match &options.file {
        Some(file) => Config::read(file)?,
        None => Config::of_listener(options.wav.as_deref()),
    };
    crate::name_jack_server(&config);
    let (port, broadcast_port) = match &config.station {
        Some(station) => (station.port, station.broadcast_port), // one port for everybody, as in mopidy-rtp
        None => (line::PORT, announcement::PORT),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if options.station == "rtp:stations" {
            return browse::list(options.json, 3, broadcast_port).await;
        }
        let place = find::find(&options.station, broadcast_port, port).await?;
        Listening::start(config, place, options.json)?.play().await
    })
}

/// What is shown with `--json`.
#[derive(Serialize)]
struct Status<'a> {
    /// The station.
    station: String,
    /// What it calls itself, if that is known.
    name: Option<&'a str>,
    /// Whether it was paused here.
    paused: bool,
    #[serde(flatten)]
    heard: Heard,
    /// How many listen to this computer, if it is a station.
    listeners: Option<usize>,
    /// Why the station is not reached, if it is not.
    away: Option<&'a str>,
}

/// Somebody who listens.
struct Listening {
    config: Config,
    place: Place,
    json: bool,
    stop: Stop,
    socket: UdpSocket,
    port: NonZeroU16,
    taps: Taps,
    ring: SharedRing,
    station: Option<Station>,
    events: mpsc::Sender<Event>,
    became: mpsc::Receiver<Event>,
    /// There unless it is paused.
    subscription: Option<Subscription>,
    typed: mpsc::Receiver<Typed>,
    /// It has worked once; from then on trouble passes.
    subscribed: bool,
    away: Option<String>,
    /// What was last said of the station.
    told: String,
}

/// How playing on one card ended.
enum End {
    Stopped,
    CardGone(String),
}

impl Listening {
    fn start(config: Config, place: Place, json: bool) -> anyhow::Result<Listening> {
        let stop = Stop::new()?;
        let any: IpAddr = if place.at.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        let socket = UdpSocket::bind((any, 0)).context("no UDP port is free")?;
        let port = NonZeroU16::new(socket.local_addr()?.port()).expect("the kernel gives a port");
        realtime::lock_memory();
        let taps = Taps::default();
        let programs = Programs::new(taps.clone()).playing(config.format().layout, config.gain_db);
        let ring = SharedRing::random();
        let station = Station::start(&config, &programs, ring.clone());
        let (events, became) = mpsc::channel(4);
        let subscription = Some(Subscription::keep(place.at, port, events.clone()));
        let (typed, told) = (typed::read(), String::new());
        Ok(Listening {
            config,
            place,
            json,
            stop,
            socket,
            port,
            taps,
            ring,
            station,
            events,
            became,
            subscription,
            typed,
            subscribed: false,
            away: None,
            told,
        })
    }

    /// Plays on one card after the other: JACK comes and goes.
    async fn play(mut self) -> anyhow::Result<()> {
        let (mut told, mut gone) = (Told::default(), false);
        while let Some(found) = find_card(&self.config, &mut self.stop, None, &mut told, gone).await {
            match self.play_on(found).await? {
                End::Stopped => break,
                End::CardGone(sentence) if self.config.sound == Sound::Jack => told.say(None, sentence),
                End::CardGone(sentence) => bail!("{sentence}"),
            }
            gone = true;
        }
        if let Some(subscription) = self.subscription.take() {
            subscription.end().await;
        }
        if let Some(station) = self.station.take() {
            station.stop().await;
        }
        Ok(())
    }

    async fn play_on(&mut self, found: Found) -> anyhow::Result<End> {
        let (engine, handle) = Engine::new(settings(&self.config));
        let Handle { cues, arrivals, reports, blocks, packets: _nobody_gets_them, meters: _nor_these } =
            handle;
        let card = found.start(&self.config, Driver::new(engine, Bell::new()?))?;
        let _pump = Pump::start(self.taps.clone(), blocks)?;
        let (socket, taps, ring) = (self.socket.try_clone()?, self.taps.clone(), self.ring.clone());
        let station = self.place.at.ip();
        let name = self.config.name.clone();
        let receiver = Receiver::start(Parts { socket, station, name, cues, arrivals, reports, taps, ring })?;
        receiver.pause(self.subscription.is_none());
        self.name(&card);
        self.listen(&card, &receiver).await
    }

    /// Names the ports in JACK, and the peer for who records.
    fn name(&self, card: &Card) {
        let name = self.place.name.clone().unwrap_or_else(|| self.place.uri.to_string());
        card.name_slot(receiver::SLOT, Some(&name));
        self.taps.name_slot(receiver::SLOT, Some(&name));
    }

    async fn listen(&mut self, card: &Card, receiver: &Receiver) -> anyhow::Result<End> {
        let mut shows = tokio::time::interval(SHOW);
        loop {
            tokio::select! {
                () = self.stop.wait() => return Ok(End::Stopped),
                event = self.became.recv() => {
                    self.hear(event.expect("there is a sender in `self.events`"))?;
                }
                Some(typed) = self.typed.recv() => match typed {
                    Typed::Exit => return Ok(End::Stopped),
                    Typed::Pause => self.pause(receiver).await,
                    Typed::Play => self.go_on(receiver),
                    Typed::Unknown(word) => {
                        tracing::warn!("there is no command \"{word}\": type pause, play or exit");
                    }
                },
                _ = shows.tick() => {
                    if let Some(sentence) = card.gone() {
                        return Ok(End::CardGone(sentence));
                    }
                    self.show(receiver.heard());
                }
            }
        }
    }

    async fn pause(&mut self, receiver: &Receiver) {
        receiver.pause(true);
        if let Some(subscription) = self.subscription.take() {
            subscription.end().await;
        }
        self.away = None;
    }

    fn go_on(&mut self, receiver: &Receiver) {
        receiver.pause(false);
        let keep = || Subscription::keep(self.place.at, self.port, self.events.clone());
        self.subscription.get_or_insert_with(keep);
    }

    /// Something became of the subscription.
    fn hear(&mut self, event: Event) -> anyhow::Result<()> {
        if self.subscription.is_none() {
            return Ok(()); // it was on its way when we paused
        }
        let trouble = match event {
            Event::Subscribed(_) => {
                self.subscribed = true;
                self.away = None;
                let sentence = format!("listening to {}", self.place.uri);
                if self.told != sentence {
                    tracing::info!("{sentence}");
                    self.told = sentence;
                }
                return Ok(());
            }
            Event::Refused(reply) if !self.subscribed => bail!("{}", refusal(&self.place.uri, reply)),
            Event::Refused(reply) => refusal(&self.place.uri, reply),
            Event::Away(why) => why,
        };
        let sentence = format!("{trouble}; trying again");
        if self.told != sentence {
            tracing::warn!("{sentence}");
            self.told = sentence;
        }
        self.away = Some(trouble);
        Ok(())
    }

    fn show(&mut self, heard: Heard) {
        if !self.json {
            return;
        }
        let status = Status {
            station: self.place.uri.to_string(),
            name: self.place.name.as_deref(),
            paused: self.subscription.is_none(),
            heard,
            listeners: self.station.as_ref().map(Station::listeners),
            away: self.away.as_deref(),
        };
        let mut out = std::io::stdout().lock();
        let line = serde_json::to_string(&status).expect("it has nothing that JSON has no words for");
        // Whoever read our standard output may be gone; the music plays on.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}
