//! The body of a box: gives the mind (session) and the sound (engine) their sockets, cards and clock.
//!
//! One loop owns the session. What happens anywhere comes in by queues, with the time at which it
//! happened; what the session wants is carried out here. The body has no opinions.

mod line;
mod waiting;

use crate::api;
use crate::audio::{Card, Driver};
use crate::broadcast::Broadcast;
use crate::clock;
use crate::config::{Config, Sound};
use crate::door::Levels;
use crate::front_panel;
use crate::guests::{Guests, News};
use crate::net::{self, Bell, Control, Network, Parts, ears};
use crate::people::{CardFacts, People};
use crate::programs::Programs;
use crate::realtime;
use crate::rendezvous::{Endpoint, Event};
use crate::rtsp;
use crate::stations::{SharedRing, Station};
use crate::system;
use crate::taps::{Pump, Taps};
use crate::watchdog;
use engine::{Engine, Handle, Settings};
use line::Line;
use proto::control::{Cue, Meters, Status, Tapped};
use proto::routes::{Routes, Stream};
use proto::session::{Action, FromRendezvous, Identity, Session};
use proto::units::Time;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
pub use waiting::{Found, Told, find_card};
use waiting::{Pause, pause};

/// How often the engine's reports and meters are looked for; it makes ten and 33 a second.
const REPORTS_EVERY: Duration = Duration::from_millis(30);

/// How often the status is shown.
const STATUS_EVERY: Duration = Duration::from_millis(250);

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
    let (people, door) = People::new(config, &taps, &programs, &media);
    let api = api::Server::start(config, &door);
    let front_panel = tokio::spawn(front_panel::attend(config.panel.clone(), door.clone()));
    let played = play(config, people, show, &mut stop, &socket, &media, &endpoint, &taps).await;
    drop(api);
    front_panel.abort();
    let _ = front_panel.await; // dark now, or there was none
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
#[expect(clippy::too_many_arguments, reason = "what lives as long as the box, and is made in `run`")]
async fn play(
    config: &Config,
    mut people: People,
    mut show: impl FnMut(&Status),
    stop: &mut Stop,
    socket: &UdpSocket,
    media: &[SocketAddr],
    endpoint: &Endpoint,
    taps: &Taps,
) -> anyhow::Result<()> {
    let mut record = config.record;
    let (mut told, mut gone) = (Told::default(), false);
    loop {
        let Some(found) = find_card(config, stop, Some(&mut people), &mut told, gone).await else {
            return Ok(());
        };
        let identity = identity(config, people.name(), media);
        let line = Line::new(endpoint.clone());
        let start = Body::start(config, found, identity, socket.try_clone()?, line, taps.clone());
        let mut body = match start {
            Ok(body) => body,
            // JACK may be better after its next start; what a simulated card lacks does not come by itself.
            Err(error) if config.sound == Sound::Jack => {
                told.say(Some(&mut people), format!("{error:#}; waiting for it"));
                match pause(stop, Some(&mut people)).await {
                    Pause::Over => continue,
                    Pause::Stopped => return Ok(()),
                }
            }
            Err(error) => return Err(error),
        };
        // A recording goes on when the card comes back. Without a place for it the music plays all the same.
        if std::mem::take(&mut record)
            && let Err(why) = people.record()
        {
            tracing::warn!("{}", config.wrong("record_folder", why));
        }
        told.clear(Some(&mut people));
        body.begin(config, &people);
        let end = body.play(config, stop, &mut people, &mut show).await;
        body.leave(&mut people, &mut show).await;
        match end {
            End::Stopped => return Ok(()),
            End::CardGone(sentence) => {
                told.say(Some(&mut people), system::missing_card().unwrap_or(sentence));
            }
        }
        gone = true;
    }
}

/// Who this box is until it is started again. What must not be guessed is random (RFC 3550 section 8).
fn identity(config: &Config, name: &str, media: &[SocketAddr]) -> Identity {
    let random = || RandomState::new().build_hasher().finish() as u32;
    Identity {
        name: name.to_owned(),
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
    line: Line,
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
    meters: rtrb::Consumer<Meters>,
}

impl Body {
    fn start(
        config: &Config,
        found: Found,
        identity: Identity,
        socket: UdpSocket,
        line: Line,
        taps: Taps,
    ) -> anyhow::Result<Body> {
        let bell = Bell::new()?;
        let (engine, handle) = Engine::new(settings(config));
        let Handle { cues, arrivals, packets, reports, meters, blocks } = handle;
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
        let guests = Guests::new(&identity.name, door, news_in);
        Ok(Body {
            session: Session::new(identity, clock::now()),
            card,
            handle: ControlHandle { cues, reports, meters },
            socket,
            routes,
            line,
            control,
            guests,
            news,
            _network: network,
            _pump: Pump::start(taps.clone(), blocks)?,
            taps,
            tapped: Tapped::default(),
        })
    }

    /// Takes part, if people have not left before, with what they have set.
    fn begin(&mut self, config: &Config, people: &People) {
        if people.desk().in_session {
            self.line.connect(Session::hello(self.session.identity()));
        }
        self.session.take_over(people.desk().clone());
        config.guest().into_iter().for_each(|at| self.session.receive_from(clock::now(), at));
    }

    async fn play(
        &mut self,
        config: &Config,
        stop: &mut Stop,
        people: &mut People,
        show: &mut impl FnMut(&Status),
    ) -> End {
        let mut reports = tokio::time::interval(REPORTS_EVERY);
        let mut status = tokio::time::interval(STATUS_EVERY);
        loop {
            self.pump();
            let deadline = self.until_deadline();
            tokio::select! {
                () = stop.wait() => return End::Stopped,
                event = self.line.next() => self.hear_rendezvous(config, event),
                Some(Control { from, time, bytes }) = self.control.recv() => {
                    self.session.handle_datagram(time, from, &bytes);
                }
                Some(News { slot, way }) = self.news.recv() => self.session.handle_guest(slot, &way),
                wish = people.next() => {
                    people.handle(clock::now(), wish, Some(&mut self.session));
                    self.show(people); // before whoever wished it looks
                }
                _ = reports.tick() => {
                    self.hear_engine(people);
                    if let Some(sentence) = self.card.gone() {
                        return End::CardGone(sentence);
                    }
                }
                _ = status.tick() => show(&self.show(people)),
                () = tokio::time::sleep(deadline) => {}
            }
        }
    }

    /// Takes in what the engine has reported, and shows it.
    fn hear_engine(&mut self, people: &mut People) {
        let mut news = false;
        while let Ok(report) = self.handle.reports.pop() {
            self.session.handle_report(clock::now(), &report);
            self.guests.handle_report(&report);
            news = true;
        }
        let mut newest = None;
        while let Ok(meters) = self.handle.meters.pop() {
            newest = Some(meters);
        }
        if let Some(Meters { own, peers }) = newest {
            let of = |(slot, name): (u8, _)| (name, peers[usize::from(slot)]);
            people.show_levels(Levels::new(own, self.session.slots().map(of)));
        }
        self.open_taps();
        if news {
            people.keep(self.session.desk());
            self.show(people);
        }
    }

    fn show(&self, people: &mut People) -> Arc<Status> {
        let card = CardFacts {
            words: self.card.words().to_owned(),
            period: self.session.report().period,
            xruns: self.card.xruns(),
        };
        people.show(self.session.status(clock::now()), &card)
    }

    fn hear_rendezvous(&mut self, config: &Config, event: Event) {
        if !self.session.desk().in_session {
            return; // the last words of a line that is hung up
        }
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
                Action::Rendezvous(text) => self.line.say(text),
                Action::Disconnect => self.line.disconnect(),
                Action::Connect(hello) => self.line.connect(hello),
                // A report that is lost is followed by the next one.
                Action::Datagram { to, bytes } => drop(self.socket.send_to(&bytes, to)),
                Action::Engine(cue) => {
                    let told_again = matches!(cue, Cue::Fader { .. } | Cue::Gain { .. } | Cue::Mute { .. });
                    if self.handle.cues.push(cue).is_err() && !told_again {
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
    async fn leave(mut self, people: &mut People, show: &mut impl FnMut(&Status)) {
        show(&self.show(people));
        people.keep(self.session.desk());
        self.session.leave();
        self.pump();
        let Body { line, card, guests, .. } = self;
        drop(card);
        guests.stop().await;
        line.end().await;
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
