//! The body of a box: gives the mind (session) and the sound (engine) their sockets, cards and clock.
//!
//! One loop owns the session. What happens anywhere comes in by queues, with the time at which it
//! happened; what the session wants is carried out here. The body has no opinions.

use crate::audio::{Card, Driver, jack, simulated};
use crate::broadcast::Broadcast;
use crate::clock;
use crate::config::{Config, Sound};
use crate::guests::{Guests, News};
use crate::net::{self, Bell, Control, Network, Parts, ears};
use crate::programs::Programs;
use crate::realtime;
use crate::record::Recorder;
use crate::rendezvous::{self, Endpoint, Event};
use crate::rtsp;
use crate::stations::{SharedRing, Station};
use crate::taps::{Pump, Taps};
use crate::watchdog;
use engine::{Engine, Handle, Settings};
use proto::control::{Cue, Status, Tapped};
use proto::routes::{Routes, Stream};
use proto::session::{Action, FromRendezvous, Identity, Session};
use proto::units::Time;
use std::cell::OnceCell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How often the engine's reports are looked for; it makes ten a second.
const REPORTS_EVERY: Duration = Duration::from_millis(50);

/// How often the status is shown.
const STATUS_EVERY: Duration = Duration::from_millis(250);

/// How long to wait before looking for a JACK server again.
const CARD_RETRY: Duration = Duration::from_secs(1);

/// How long a goodbye to the rendezvous may take.
const GOODBYE: Duration = Duration::from_millis(700);

/// Plays until told to end (SIGINT, SIGTERM). `show` is handed the status four times a second.
///
/// # Errors
/// Something is missing that waiting does not mend: a file, a port. One sentence says what to do.
pub async fn run(config: &Config, mut show: impl FnMut(&Status)) -> anyhow::Result<()> {
    let endpoint = Endpoint::of(config)?;
    let mut stop = Stop::new()?;
    let (socket, media) = net::bind(config)?;
    realtime::lock_memory();
    let taps = Taps::default();
    let programs = Programs::new(taps.clone()).playing(config.format().layout, config.gain_db);
    // They outlive the card: who listens hears nothing while it is gone, and music again when it is back.
    let rtsp = rtsp::Server::start(config, programs.clone());
    let mut broadcast = Broadcast::start(config, &programs);
    let station = Station::start(config, &programs, SharedRing::random());
    let show = |status: &Status| {
        watchdog::playing(status.cycles);
        show(status);
        broadcast.iter_mut().for_each(|broadcast| broadcast.hear(status));
    };
    let played = play(config, show, &mut stop, &socket, &media, &endpoint, &taps).await;
    if let Some(broadcast) = broadcast {
        broadcast.leave().await;
    }
    if let Some(station) = station {
        station.stop().await;
    }
    if let Some(rtsp) = rtsp {
        rtsp.stop().await;
    }
    played
}

/// Plays on one card after the other: JACK comes and goes.
async fn play(
    config: &Config,
    mut show: impl FnMut(&Status),
    stop: &mut Stop,
    socket: &UdpSocket,
    media: &[SocketAddr],
    endpoint: &Endpoint,
    taps: &Taps,
) -> anyhow::Result<()> {
    let recorder = OnceCell::new();
    let (mut told, mut gone) = (String::new(), false);
    loop {
        let Some(found) = find_card(config, stop, &mut told, gone).await else { return Ok(()) };
        let identity = identity(config, media);
        let start = Body::start(config, found, identity, socket.try_clone()?, endpoint.clone(), taps.clone());
        let mut body = match start {
            Ok(body) => body,
            // JACK may be better after its next start; what a simulated card lacks does not come by itself.
            Err(error) if config.sound == Sound::Jack => {
                say_once(&mut told, format!("{error:#}; waiting for it"));
                match pause(stop).await {
                    Pause::Over => continue,
                    Pause::Stopped => return Ok(()),
                }
            }
            Err(error) => return Err(error),
        };
        // A recording goes on when the card comes back.
        recorder.get_or_init(|| record(config, taps));
        told.clear();
        let end = body.play(config, stop, &mut show).await;
        body.leave(&mut show).await;
        match end {
            End::Stopped => return Ok(()),
            End::CardGone(sentence) => say_once(&mut told, sentence),
        }
        gone = true;
    }
}

/// Begins to record, if the configuration says so. Without a place for it the music plays all the same.
fn record(config: &Config, taps: &Taps) -> Option<Recorder> {
    let started = config.record.then(|| Recorder::start(taps, &config.record_folder, &config.name))?;
    let told =
        |error: &anyhow::Error| tracing::warn!("{}", config.wrong("record_folder", format!("{error:#}")));
    started.inspect_err(told).ok()
}

/// A card that can be started.
pub enum Found {
    /// A JACK server's.
    Jack(jack::Waiting),
    /// One in the process.
    Simulated,
}

impl Found {
    /// Starts it.
    ///
    /// # Errors
    /// JACK refuses, or a file of the simulated card cannot be read or written.
    pub fn start(self, config: &Config, driver: Driver) -> anyhow::Result<Card> {
        Ok(match self {
            Found::Jack(waiting) => Card::Jack(jack::Card::start(config, waiting, driver)?),
            Found::Simulated => Card::Simulated(simulated::Card::start(config, driver)?),
        })
    }
}

/// Waits for the card as long as it takes; `None` when told to end meanwhile. That there is none is not
/// said of a card that is known to be `gone`.
pub async fn find_card(config: &Config, stop: &mut Stop, told: &mut String, gone: bool) -> Option<Found> {
    if config.sound == Sound::Simulated {
        return Some(Found::Simulated);
    }
    loop {
        match jack::find(config) {
            Ok(waiting) => return Some(Found::Jack(waiting)),
            Err(jack::NoServer::Absent(_)) if gone => {}
            Err(why) => say_once(told, why.to_string()),
        }
        if let Pause::Stopped = pause(stop).await {
            return None;
        }
    }
}

/// How a pause between two looks at the card ended.
enum Pause {
    Over,
    Stopped,
}

async fn pause(stop: &mut Stop) -> Pause {
    watchdog::no_card();
    tokio::select! {
        () = stop.wait() => Pause::Stopped,
        () = tokio::time::sleep(CARD_RETRY) => Pause::Over,
    }
}

/// Warns, unless it was the last that was said.
pub fn say_once(told: &mut String, sentence: String) {
    if *told != sentence {
        tracing::warn!("{sentence}");
        *told = sentence;
    }
}

/// Who this box is until it is started again. What must not be guessed is random (RFC 3550 section 8).
fn identity(config: &Config, media: &[SocketAddr]) -> Identity {
    let random = || RandomState::new().build_hasher().finish() as u32;
    Identity {
        name: config.name.clone(),
        key: config.key.clone(),
        rtsp_port: config.port,
        ssrc: random(),
        timestamp_offset: random(),
        media: media.to_vec(),
        format: config.format(),
        wish: config.wish(),
        depth: config.depth,
    }
}

/// What the engine begins with.
pub fn settings(config: &Config) -> Settings {
    Settings {
        format: config.format(),
        pace: config.wish().pace(),
        prediction: config.prediction,
        gain_db: config.gain_db,
        depth: config.depth,
    }
}

/// How playing ended.
enum End {
    Stopped,
    CardGone(String),
}

/// A box that plays.
struct Body {
    session: Session,
    card: Card,
    handle: ControlHandle,
    socket: UdpSocket,
    routes: Arc<Mutex<Routes>>,
    to_rendezvous: mpsc::Sender<String>,
    from_rendezvous: mpsc::Receiver<Event>,
    rendezvous: JoinHandle<()>,
    control: mpsc::Receiver<Control>,
    guests: Guests,
    news: mpsc::Receiver<News>,
    _network: Network,
    _pump: Pump,
    taps: Taps,
    /// What the engine was last told to copy.
    tapped: Tapped,
}

/// What is left of the engine's handle when the network threads have theirs.
struct ControlHandle {
    cues: rtrb::Producer<Cue>,
    reports: rtrb::Consumer<proto::control::Report>,
}

impl Body {
    fn start(
        config: &Config,
        found: Found,
        identity: Identity,
        socket: UdpSocket,
        endpoint: Endpoint,
        taps: Taps,
    ) -> anyhow::Result<Body> {
        let bell = Bell::new()?;
        let (engine, handle) = Engine::new(settings(config));
        let Handle { cues, arrivals, packets, reports, blocks } = handle;
        let driver = Driver::new(engine, bell.clone());
        let routes = Arc::new(Mutex::new(Routes::default()));
        let (control_in, control) = mpsc::channel(256);
        let (door, ears) = ears::ears(Bell::new()?);
        let (news_in, news) = mpsc::channel(64);
        let network = Network::start(Parts {
            socket: socket.try_clone()?,
            bell,
            arrivals,
            packets,
            routes: Arc::clone(&routes),
            stream: Stream::new(&identity),
            control: control_in,
            ears,
        })?;
        let card = found.start(config, driver)?;
        let (to_rendezvous, outgoing) = mpsc::channel(64);
        let (events, from_rendezvous) = mpsc::channel(64);
        let hello = Session::hello(&identity);
        let rendezvous = tokio::spawn(rendezvous::run(endpoint, hello, outgoing, events));
        let mut session = Session::new(identity, clock::now());
        config.guest().into_iter().for_each(|at| session.receive_from(clock::now(), at));
        Ok(Body {
            session,
            card,
            handle: ControlHandle { cues, reports },
            socket,
            routes,
            to_rendezvous,
            from_rendezvous,
            rendezvous,
            control,
            guests: Guests::new(&config.name, door, news_in),
            news,
            _network: network,
            _pump: Pump::start(taps.clone(), blocks)?,
            taps,
            tapped: Tapped::default(),
        })
    }

    async fn play(&mut self, config: &Config, stop: &mut Stop, show: &mut impl FnMut(&Status)) -> End {
        let mut reports = tokio::time::interval(REPORTS_EVERY);
        let mut status = tokio::time::interval(STATUS_EVERY);
        loop {
            self.pump();
            let deadline = self.until_deadline();
            tokio::select! {
                () = stop.wait() => return End::Stopped,
                Some(event) = self.from_rendezvous.recv() => self.hear_rendezvous(config, event),
                Some(Control { from, time, bytes }) = self.control.recv() => {
                    self.session.handle_datagram(time, from, &bytes);
                }
                Some(News { slot, way }) = self.news.recv() => self.session.handle_guest(slot, &way),
                _ = reports.tick() => {
                    while let Ok(report) = self.handle.reports.pop() {
                        self.session.handle_report(clock::now(), &report);
                        self.guests.handle_report(&report);
                    }
                    self.open_taps();
                    if let Some(sentence) = self.card.gone() {
                        return End::CardGone(sentence);
                    }
                }
                _ = status.tick() => show(&self.session.status(clock::now())),
                () = tokio::time::sleep(deadline) => {}
            }
        }
    }

    fn hear_rendezvous(&mut self, config: &Config, event: Event) {
        let event = match event {
            Event::Connected => FromRendezvous::Connected,
            Event::Message(text) => FromRendezvous::Message(text),
            Event::Refused(why) => {
                tracing::warn!("{}", config.wrong("key", why.as_str()));
                FromRendezvous::Away(why)
            }
            Event::Disconnected(why) => {
                tracing::warn!("{why}");
                FromRendezvous::Away(why)
            }
        };
        self.session.handle_rendezvous(clock::now(), event);
    }

    /// Tells the engine whose sound is wanted, if that has changed.
    fn open_taps(&mut self) {
        let wanted = self.taps.wanted();
        if wanted != self.tapped && self.handle.cues.push(Cue::Tap(wanted)).is_ok() {
            self.tapped = wanted;
        }
    }

    fn until_deadline(&self) -> Duration {
        let deadline = self.session.deadline();
        deadline.map_or(REPORTS_EVERY, |deadline: Time| deadline.since(clock::now()))
    }

    /// Carries out what the session wants.
    fn pump(&mut self) {
        while let Some(action) = self.session.poll(clock::now()) {
            self.routes.lock().unwrap_or_else(PoisonError::into_inner).apply(&action);
            match action {
                // Full or closed: the rendezvous is away, and will be told anew when it is back.
                Action::Rendezvous(text) => drop(self.to_rendezvous.try_send(text)),
                // A report that is lost is followed by the next one.
                Action::Datagram { to, bytes } => drop(self.socket.send_to(&bytes, to)),
                Action::Engine(cue) => {
                    if self.handle.cues.push(cue).is_err() {
                        tracing::warn!("the sound card stands still, so {cue:?} was not carried out");
                    }
                }
                Action::Route { slot, name, .. } => self.name_slot(slot, Some(&name)),
                Action::Invite { slot, name, at } => {
                    self.name_slot(slot, Some(&name));
                    self.guests.invite(slot, at);
                }
                Action::Unroute { slot } => {
                    self.name_slot(slot, None);
                    self.guests.dismiss(slot);
                }
                Action::Say(sentence) => tracing::info!("{sentence}"),
            }
        }
    }

    fn name_slot(&mut self, slot: u8, name: Option<&str>) {
        self.card.name_slot(slot, name);
        self.taps.name_slot(slot, name);
        if name.is_some() {
            self.open_taps(); // before there is anything to hear; who leaves is still fading out
        }
    }

    /// Says goodbye to everybody and lets go of the card.
    async fn leave(mut self, show: &mut impl FnMut(&Status)) {
        show(&self.session.status(clock::now()));
        self.session.leave();
        self.pump();
        let Body { to_rendezvous, rendezvous, card, guests, .. } = self;
        drop(card);
        drop(to_rendezvous);
        guests.stop().await;
        // It has sent the goodbye, or cannot: nobody depends on it.
        let _ = tokio::time::timeout(GOODBYE, rendezvous).await;
    }
}

/// The signals that end a box.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub fn new() -> std::io::Result<Stop> {
        Ok(Stop { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
