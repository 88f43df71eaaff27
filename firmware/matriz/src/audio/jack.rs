//! The JACK backend: the engine in the process callback of a JACK client.
//!
//! Ports: `in_1` and `in_2` are sent, `mix_1` and `mix_2` are everybody together, and every slot has two of
//! its own, named after the peer (`lisboa_1`, `lisboa_2`), so that people can patch. JACK brings the
//! realtime thread, [`super::timeline`] the time; there is neither when the server is gone, which
//! [`Card::gone`] tells.

use super::Driver;
use super::timeline::Timeline;
use crate::config::Config;
use crate::{clock, machine, realtime};
use anyhow::{Context, bail};
use engine::{Cycle, MAX_CYCLE};
use jack::{
    AsyncClient, AudioIn, AudioOut, Client, ClientOptions, ClientStatus, Control, LoggerType,
    NotificationHandler, Port, ProcessHandler, ProcessScope,
};
use proto::control::SLOTS;
use proto::units::{SAMPLE_RATE, Time, frames_to_nanos};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A JACK client that plays; leaves the graph when dropped.
pub struct Card {
    client: AsyncClient<Notifications, Process>,
    gone: Arc<Mutex<Option<String>>>,
    xruns: Arc<AtomicU64>,
    words: String,
}

/// Why there is no client: a sentence, to be said once while the box waits and tries again.
#[derive(Debug, thiserror::Error)]
pub enum NoServer {
    /// No server runs.
    #[error("{0}")]
    Absent(String),
    /// One runs, but the box cannot play on it, or JACK is not installed.
    #[error("{0}")]
    Unfit(String),
}

/// A client of the JACK server that is not yet part of its graph.
pub struct Waiting(Client);

/// Looks for the JACK server.
///
/// # Errors
/// There is none, or it does not run at 48 kHz; says what to do.
pub fn find(config: &Config) -> Result<Waiting, NoServer> {
    jack::set_logger(LoggerType::None); // libjack would print many lines for each try
    let options = ClientOptions::NO_START_SERVER | ClientOptions::USE_EXACT_NAME;
    let name = config.jack_name();
    let server = server_name(config);
    let (client, _) = Client::new(name, options).map_err(|error| match error {
        jack::Error::LibraryError(_) => NoServer::Unfit(
            "JACK is not installed: install it (Debian: jackd2), or set \"sound\" to \"simulated\""
                .to_owned(),
        ),
        jack::Error::ClientError(status) if status.contains(ClientStatus::NAME_NOT_UNIQUE) => {
            NoServer::Unfit(format!(
                "the JACK server \"{server}\" has a client \"{name}\" already: end it, or set \
                 \"client_name\" in the table \"jack\""
            ))
        }
        _ => NoServer::Absent(format!(
            "no JACK server \"{server}\" is running: start one (`jackd -d alsa -r 48000 -p 120`), or set \
             \"sound\" to \"simulated\"; waiting for it"
        )),
    })?;
    if client.sample_rate() != SAMPLE_RATE {
        let rate = client.sample_rate();
        let sentence =
            format!("the JACK server \"{server}\" runs at {rate} Hz: start it with 48000 Hz (-r 48000)");
        return Err(NoServer::Unfit(sentence));
    }
    Ok(Waiting(client))
}

/// The server that libjack will talk to: `JACK_DEFAULT_SERVER`, which `main` sets from the configuration.
fn server_name(config: &Config) -> String {
    let configured = config.jack.server.clone();
    configured.or_else(|| std::env::var("JACK_DEFAULT_SERVER").ok()).unwrap_or_else(|| "default".to_owned())
}

impl Card {
    /// Joins the graph and plays.
    ///
    /// # Errors
    /// JACK refuses a port or the activation, or its period is too long.
    pub fn start(config: &Config, Waiting(client): Waiting, driver: Driver) -> anyhow::Result<Card> {
        let period = client.buffer_size();
        if period as usize > MAX_CYCLE {
            bail!("JACK's period of {period} frames is too long: start it with at most {MAX_CYCLE} (-p)");
        }
        let gone = Arc::new(Mutex::new(None));
        let xruns = Arc::new(AtomicU64::new(0));
        let notifications =
            Notifications { gone: Arc::clone(&gone), overruns: driver.overruns(), xruns: Arc::clone(&xruns) };
        let process = Process::new(&client, driver)?;
        let client = client.activate_async(notifications, process).map_err(|error| {
            anyhow::anyhow!("JACK does not let the box take part ({error}): start it again")
        })?;
        let card = Card { client, gone, xruns, words: words(config) };
        if config.jack.connect {
            card.connect();
        }
        Ok(card)
    }

    /// Names the ports of a slot after its peer, or after its number when the peer has left.
    pub fn name_slot(&self, slot: u8, name: Option<&str>) {
        let client = self.client.as_client();
        for channel in 1..=2 {
            let wanted = match name {
                // JACK's names have a colon after the client's, and 256 bytes; ours are shorter.
                Some(name) => format!("{name}_{channel}"),
                None => free_name(slot, channel),
            };
            let alias = format!("{}:slot{}_{channel}", client.name(), slot + 1);
            if let Some(mut port) = client.port_by_name(&alias) {
                // Two peers may not have the same name; then the number stays, which hurts nobody.
                let _ = port.set_name(&wanted);
            }
        }
    }

    /// The card in words.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Cycles that the server says it has lost.
    pub fn xruns(&self) -> u64 {
        self.xruns.load(Ordering::Relaxed)
    }

    /// The sentence that says why the server is gone, if it is.
    pub fn gone(&self) -> Option<String> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connects to the card's own ports, as far as it has them.
    fn connect(&self) {
        let client = self.client.as_client();
        for channel in 1..=2 {
            let own = |port: &str| format!("{}:{port}_{channel}", client.name());
            // A card with one input has no second one; a dummy card has what its options say.
            let _ = client.connect_ports_by_name(&format!("system:capture_{channel}"), &own("in"));
            let _ = client.connect_ports_by_name(&own("mix"), &format!("system:playback_{channel}"));
        }
    }
}

/// JACK does not say which card it plays on: if there is only one by USB, it is that.
fn words(config: &Config) -> String {
    let server = format!("JACK server \"{}\"", server_name(config));
    let cards = machine::sound_cards(Path::new("/"));
    let mut usb = cards.iter().filter(|card| card.driver == "USB-Audio");
    match (usb.next(), usb.next()) {
        (Some(card), None) => format!("{}, {server}", card.name),
        _ => server,
    }
}

fn free_name(slot: u8, channel: usize) -> String {
    format!("free{}_{channel}", slot + 1)
}

/// What JACK tells outside of its cycles.
struct Notifications {
    gone: Arc<Mutex<Option<String>>>,
    overruns: Arc<AtomicU64>,
    xruns: Arc<AtomicU64>,
}

impl NotificationHandler for Notifications {
    fn thread_init(&self, _: &Client) {
        realtime::name(c"audio");
        realtime::pin(realtime::Work::Sound);
    }

    // SAFETY: the trait wants this to be safe in a signal handler of libjack's; jackd2 calls it from an
    // ordinary thread of the client, and all it does is to keep a sentence.
    unsafe fn shutdown(&mut self, _: ClientStatus, reason: &str) {
        let sentence = format!("the JACK server is gone ({reason}): start it again; waiting for it");
        *self.gone.lock().unwrap_or_else(PoisonError::into_inner) = Some(sentence);
    }

    fn xrun(&mut self, _: &Client) -> Control {
        self.overruns.fetch_add(1, Ordering::Relaxed);
        self.xruns.fetch_add(1, Ordering::Relaxed);
        Control::Continue
    }
}

/// What runs in JACK's realtime thread.
struct Process {
    driver: Driver,
    capture: [Port<AudioIn>; 2],
    mix: [Port<AudioOut>; 2],
    peers: Vec<[Port<AudioOut>; 2]>,
    /// From JACK's microseconds to the box's clock, in nanoseconds.
    offset: i64,
    timeline: Timeline,
}

impl Process {
    fn new(client: &Client, driver: Driver) -> anyhow::Result<Process> {
        let input = |name: &str| client.register_port(name, AudioIn::default());
        let output = |name: &str| client.register_port(name, AudioOut::default());
        let ports = || -> Result<_, jack::Error> {
            let capture = [input("in_1")?, input("in_2")?];
            let mix = [output("mix_1")?, output("mix_2")?];
            let mut peers = Vec::new();
            for slot in 0..SLOTS as u8 {
                let mut pair = [output(&free_name(slot, 1))?, output(&free_name(slot, 2))?];
                for (channel, port) in pair.iter_mut().enumerate() {
                    port.set_alias(&format!("{}:slot{}_{}", client.name(), slot + 1, channel + 1))?;
                }
                peers.push(pair);
            }
            Ok((capture, mix, peers))
        };
        let (capture, mix, peers) = ports().context("JACK gives the box no ports")?;
        // Both count by the same clock on Linux; should JACK run on another (-c), the difference stays
        // the same up to that clock's drift, and only whole milliseconds would matter.
        let offset = clock::now().0 - client.time() as i64 * 1_000;
        let offset = if offset.abs() < 1_000_000 { 0 } else { offset };
        Ok(Process { driver, capture, mix, peers, offset, timeline: Timeline::default() })
    }

    /// The cycle that begins.
    fn cycle(&mut self, client: &Client, scope: &ProcessScope) -> Cycle {
        let woke = woke(client, scope);
        self.timeline.cycle(Time(woke.0 + self.offset), scope.n_frames() as usize)
    }
}

/// When the card's driver woke for this cycle, by JACK's clock.
pub fn woke(client: &Client, scope: &ProcessScope) -> Time {
    // In this order: what comes between the two makes it later, which is what a wake-up may be.
    let since = frames_to_nanos(f64::from(scope.frames_since_cycle_start()));
    Time(client.time() as i64 * 1_000 - since)
}

impl ProcessHandler for Process {
    fn process(&mut self, client: &Client, scope: &ProcessScope) -> Control {
        let cycle = Some(self.cycle(client, scope)).filter(|cycle| cycle.frames <= MAX_CYCLE);
        if let Some(cycle) = cycle {
            let capture = [self.capture[0].as_slice(scope), self.capture[1].as_slice(scope)];
            self.driver.cycle(cycle, capture);
        }
        let engine = &self.driver.engine;
        let frames = cycle.map(|cycle| cycle.frames);
        copy(&mut self.mix, frames.map(|frames| engine.mix(frames)), scope);
        for (slot, ports) in self.peers.iter_mut().enumerate() {
            copy(ports, frames.and_then(|frames| engine.peer(slot, frames)), scope);
        }
        Control::Continue
    }
}

/// Copies a pair of channels out, or silence.
fn copy(ports: &mut [Port<AudioOut>; 2], sound: Option<[&[f32]; 2]>, scope: &ProcessScope) {
    for (channel, port) in ports.iter_mut().enumerate() {
        match sound {
            Some(sound) => port.as_mut_slice(scope).copy_from_slice(sound[channel]),
            None => port.as_mut_slice(scope).fill(0.0),
        }
    }
}
