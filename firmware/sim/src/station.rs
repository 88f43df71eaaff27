//! One box of the simulated world: a card that drifts, the engine, the session, and between them what the
//! network thread does on a real box.

use engine::packet::Arrival;
use engine::{Cycle, Engine, Handle, Keeping, Settings};
use proto::control::Status;
use proto::routes::{Listener, Routes, Stream, packets};
use proto::rtp;
use proto::session::{Action, Identity, Session, Wish};
use proto::units::Time;
use std::net::SocketAddr;
use std::time::Duration;

/// What a box plays: the sample at a position of its card.
pub type Input = Box<dyn FnMut(i64) -> f32>;

/// What listens at a box: card position and the left channel of the mix, each cycle.
pub type Ear = Box<dyn FnMut(i64, &[f32])>;

/// What sees every packet that reaches a box: when it came, and its RTP timestamp. Copies are not shown.
pub type Tap = Box<dyn FnMut(Time, i64)>;

/// A box to be put into the world.
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// How much faster its card runs than nominal, parts per million.
    pub ppm: f64,
    /// Frames in a cycle.
    pub period: usize,
    /// How far into the world's time its first cycle begins.
    pub phase: Duration,
    /// Settings of its engine.
    pub settings: Settings,
    /// How much of its line it may take, besides the settings' bit rate.
    pub wish: Wish,
    /// What it plays.
    pub input: Input,
    /// What listens to it.
    pub ear: Ear,
    /// What looks at its line.
    pub tap: Tap,
}

impl Spec {
    /// A box with an exact card, cycles of 120 frames, that plays and hears nothing.
    pub fn new(name: &'static str) -> Self {
        Spec {
            name,
            ppm: 0.0,
            period: 120,
            phase: Duration::ZERO,
            settings: Settings::default(),
            wish: Wish::default(),
            input: Box::new(|_| 0.0),
            ear: Box::new(|_, _| ()),
            tap: Box::new(|_, _| ()),
        }
    }
}

/// A datagram on its way out.
pub(crate) struct Out {
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

pub(crate) struct Station {
    pub spec: Spec,
    pub session: Session,
    pub identity: Identity,
    engine: Engine,
    handle: Handle,
    routes: Routes,
    stream: Stream,
    epoch: Time,
    /// Cycles done.
    cycles: i64,
    /// What the microphone hears, and the second input with nothing in it.
    capture: [Vec<f32>; 2],
    /// The instant for which the world has noted to poll the session.
    pub noted: Option<Time>,
    /// What it said in its log.
    pub said: Vec<String>,
    /// Whether it wants to be at the rendezvous.
    pub takes_part: bool,
}

impl Station {
    /// Starts a box; its RTP source is new at every start, as `incarnation` is.
    pub fn start(spec: Spec, address: SocketAddr, incarnation: u32, now: Time) -> Self {
        let seed = spec
            .name
            .bytes()
            .fold(u64::from(incarnation), |seed, byte| seed.wrapping_mul(257) + u64::from(byte));
        let mut random = fastrand::Rng::with_seed(seed);
        let identity = Identity {
            name: spec.name.to_owned(),
            key: format!("key of {}", spec.name),
            rtsp_port: 8554,
            ssrc: random.u32(..),
            timestamp_offset: random.u32(..),
            media: vec![address],
            format: spec.settings.format,
            wish: Wish { bitrate: spec.settings.pace.bitrate, ..spec.wish },
            depth: spec.settings.depth,
        };
        let (engine, handle) = Engine::new(spec.settings);
        Station {
            session: Session::new(identity.clone(), now),
            engine,
            handle,
            routes: Routes::default(),
            stream: Stream::new(&identity),
            epoch: now + spec.phase,
            cycles: 0,
            capture: [vec![0.0; spec.period], vec![0.0; spec.period]],
            noted: None,
            said: Vec::new(),
            takes_part: true,
            identity,
            spec,
        }
    }

    /// When the next cycle begins, by the drifting card.
    pub fn next_cycle(&self) -> Time {
        let frames = (self.cycles * self.spec.period as i64) as f64;
        Time(self.epoch.0 + (frames / (48_000.0 * (1.0 + self.spec.ppm * 1e-6)) * 1e9).round() as i64)
    }

    /// Runs one cycle; what it sends comes back.
    pub fn cycle(&mut self, now: Time) -> Vec<Out> {
        let frame = self.cycles * self.spec.period as i64;
        self.cycles += 1;
        for (at, sample) in self.capture[0].iter_mut().enumerate() {
            *sample = (self.spec.input)(frame + at as i64);
        }
        let cycle = Cycle { time: now, frame, frames: self.spec.period };
        self.engine.process(cycle, [&self.capture[0], &self.capture[1]], Keeping::default());
        (self.spec.ear)(frame, self.engine.mix(self.spec.period)[0]);
        while let Ok(report) = self.handle.reports.pop() {
            self.session.handle_report(now, &report);
        }
        let mut out = Vec::new();
        while let Ok(packet) = self.handle.packets.pop() {
            self.stream.push(packet.frame, packet.payload());
            for Listener { to, distance } in self.routes.listeners() {
                let mut bytes = Vec::new();
                self.stream.write(distance, &mut bytes);
                out.push(Out { to, bytes });
            }
        }
        out
    }

    /// A datagram arrives.
    pub fn receive(&mut self, from: SocketAddr, bytes: &[u8], now: Time) {
        if proto::rtcp::is_rtcp(bytes) {
            return self.session.handle_datagram(now, from, bytes);
        }
        let Ok(rtp::Packet { header, payload }) = rtp::Packet::parse(bytes) else { return };
        let Some(slot) = self.routes.slot(header.ssrc) else { return };
        for packet in packets(header.payload_type, payload) {
            if packet.1 == 0 {
                (self.spec.tap)(now, i64::from(header.timestamp));
            }
            if let Some(arrival) = Arrival::new(slot, &header, packet, now) {
                // A full ring is a box that does not keep up; a simulated one always does.
                self.handle.arrivals.push(arrival).expect("every cycle empties the ring");
            }
        }
    }

    /// Carries out what the session wants; frames for the rendezvous and datagrams come back.
    pub fn pump(&mut self, now: Time) -> (Vec<String>, Vec<Out>) {
        let (mut frames, mut out) = (Vec::new(), Vec::new());
        while let Some(action) = self.session.poll(now) {
            self.routes.apply(&action);
            match action {
                Action::Rendezvous(text) => frames.push(text),
                Action::Datagram { to, bytes } => out.push(Out { to, bytes }),
                Action::Engine(cue) => {
                    self.handle.cues.push(cue).expect("every cycle empties the ring");
                }
                Action::Say(sentence) => self.said.push(sentence),
                Action::Disconnect => self.takes_part = false,
                Action::Connect(_) => self.takes_part = true,
                // Everybody here is a box.
                Action::Route { .. } | Action::Unroute { .. } | Action::Invite { .. } => {}
            }
        }
        (frames, out)
    }

    pub fn status(&self, now: Time) -> Status {
        self.session.status(now)
    }
}
