//! The thread that takes in a station's sound: datagrams to the engine, and reports back to the station.
//!
//! Before it: the UDP port that the subscription is for. After it: the engine's rings, slot 0. The thread has all of the
//! engine's handle, as nobody else wants anything of it. It believes what comes from the station's address, one stream at
//! a time, and tells the ring who is heard. Sources: RFC 3550 section 6.4.2 (its reports, which also say who we are).

use crate::stations::SharedRing;
use crate::taps::Taps;
use crate::{clock, realtime};
use anyhow::Context;
use engine::packet::Arrival;
use proto::control::{Cue, PeerReport, Report, Tapped};
use proto::format::Format;
use proto::rtcp::{self, Writer};
use proto::rtp::Packet;
use proto::station::sources;
use proto::units::Time;
use rtrb::{Consumer, Producer};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The slot that the station sits in.
pub const SLOT: u8 = 0;

/// How long the thread waits for a datagram; then it looks what else there is.
const NAP: Duration = Duration::from_millis(50);

/// From one report to the next. Our choice: a station forgets us after ten that it misses.
const REPORT_EVERY: Duration = Duration::from_secs(2);

/// Another stream is believed only when the one before has been silent for so long.
const SILENT: Duration = Duration::from_secs(1);

/// What the thread works with.
pub struct Parts {
    /// The socket at the port that we have subscribed for.
    pub socket: UdpSocket,
    /// The station's address.
    pub station: IpAddr,
    /// What we call ourselves in reports.
    pub name: String,
    /// Wishes to the engine.
    pub cues: Producer<Cue>,
    /// The packets.
    pub arrivals: Producer<Arrival>,
    /// What the engine says.
    pub reports: Consumer<Report>,
    /// Whose copies are wanted.
    pub taps: Taps,
    /// Whom we hear.
    pub ring: SharedRing,
}

/// What is heard.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Heard {
    /// Whether the station is heard now.
    pub plays: bool,
    /// The station hears us as well, directly or through others: what comes from it is not sent to it.
    pub hears_us: bool,
    /// Packets received.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came too late.
    pub late: u64,
    /// Packets' worth of sound that was invented.
    pub concealed: u64,
    /// Time that a packet waits in our buffer, in milliseconds.
    pub depth_ms: f32,
    /// Clock of the station's card against ours, parts per million.
    pub drift_ppm: f32,
    /// Loudness, dB full scale.
    pub level_db: f32,
}

/// The running thread; ends when dropped.
pub struct Receiver {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    paused: AtomicBool,
    heard: Mutex<Heard>,
}

impl Receiver {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(parts: Parts) -> anyhow::Result<Receiver> {
        parts.socket.set_read_timeout(Some(NAP)).context("the socket cannot wait")?;
        let shared = Arc::new(Shared::default());
        let own = parts.ring.lock().own();
        let now = clock::now();
        let worker = Worker {
            parts,
            shared: Arc::clone(&shared),
            own,
            stream: None,
            tapped: Tapped::default(),
            reported: now,
            report: PeerReport::default(),
            told: false,
        };
        let builder = std::thread::Builder::new().name("network".to_owned());
        let run = move || worker.run();
        let thread = builder.spawn(run).context("the system gives no thread for the network")?;
        Ok(Receiver { shared, thread: Some(thread) })
    }

    /// Hears nothing from now on, or hears again.
    pub fn pause(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::Relaxed);
    }

    /// What is heard.
    pub fn heard(&self) -> Heard {
        self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there was printed already.
            let _ = thread.join();
        }
    }
}

/// The stream that is heard.
struct Stream {
    from: SocketAddr,
    source: u32,
    last: Time,
}

struct Worker {
    parts: Parts,
    shared: Arc<Shared>,
    own: u32,
    stream: Option<Stream>,
    tapped: Tapped,
    reported: Time,
    report: PeerReport,
    /// It was said that the station hears us.
    told: bool,
}

impl Worker {
    fn run(mut self) {
        realtime::promote(realtime::NETWORK);
        realtime::pin(realtime::Work::Network);
        let mut datagram = [0; 2_048];
        let mut looked = clock::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let received = self.parts.socket.recv_from(&mut datagram);
            let now = clock::now();
            if self.shared.paused.load(Ordering::Relaxed) {
                self.rest();
            } else if let Ok((length, from)) = received {
                self.hear(now, from, &datagram[..length]);
            }
            if now.since(looked) >= NAP {
                looked = now;
                self.look(now);
            }
        }
        self.goodbye();
    }

    fn hear(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) {
        if from.ip().to_canonical() != self.parts.station.to_canonical() {
            return;
        }
        if rtcp::is_rtcp(datagram) {
            let ours = |source| self.stream.as_ref().is_some_and(|stream| stream.source == source);
            let mut packets = rtcp::parse(datagram).into_iter().flatten();
            if packets.any(|packet| matches!(packet, rtcp::Packet::Bye { ssrc } if ours(ssrc))) {
                self.stream = None;
            }
            return;
        }
        let (Ok(Packet { header, payload }), Ok(behind)) = (Packet::parse(datagram), sources::read(datagram))
        else {
            return;
        };
        let Some(format) = Format::of(header.payload_type) else { return };
        if !self.follow(now, from, header.ssrc) {
            return;
        }
        self.parts.ring.lock().handle_packet(now, from.ip().to_canonical(), header.ssrc, behind);
        if let Some(arrival) = Arrival::new(SLOT, &header, (format, 0, payload), now) {
            // A full ring is an audio thread that stands still: nothing would be heard anyway.
            let _ = self.parts.arrivals.push(arrival);
        }
    }

    /// Whether a packet is of the stream that is heard; a new one is, if there is no other.
    fn follow(&mut self, now: Time, from: SocketAddr, source: u32) -> bool {
        match &mut self.stream {
            Some(stream) if (stream.from, stream.source) == (from, source) => {
                stream.last = now;
                true
            }
            Some(stream) if now.since(stream.last) < SILENT => false,
            _ => {
                let _ = self.parts.cues.push(Cue::Join { slot: SLOT }); // full: the card stands still
                self.stream = Some(Stream { from, source, last: now });
                self.say_who_we_are(now);
                true
            }
        }
    }

    /// What is to be done from time to time.
    fn look(&mut self, now: Time) {
        let wanted = self.parts.taps.wanted();
        if wanted != self.tapped && self.parts.cues.push(Cue::Tap(wanted)).is_ok() {
            self.tapped = wanted;
        }
        while let Ok(report) = self.parts.reports.pop() {
            self.report = report.peers[usize::from(SLOT)];
        }
        if now.since(self.reported) >= REPORT_EVERY {
            self.say_who_we_are(now);
        }
        let hears_us = self.parts.ring.lock().is_closed(now);
        if hears_us && !self.told {
            tracing::info!("the station hears this one, too: what comes from it is not sent back to it");
        }
        self.told = hears_us;
        let PeerReport { playing, received, lost, late, concealed, depth_ms, drift_ppm, level_db, .. } =
            self.report;
        let plays = playing && self.stream.as_ref().is_some_and(|stream| now.since(stream.last) < SILENT);
        let heard = Heard { plays, hears_us, received, lost, late, concealed, depth_ms, drift_ppm, level_db };
        *self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner) = heard;
    }

    /// A report to the station: that we are there, and our source, by which it knows us if we are a station too.
    fn say_who_we_are(&mut self, now: Time) {
        self.reported = now;
        let Some(stream) = &self.stream else { return };
        let mut report = Vec::new();
        Writer::new(&mut report)
            .receiver_report(self.own, &[])
            .source_description(self.own, &self.parts.name);
        let _ = self.parts.socket.send_to(&report, stream.from); // if it is lost, the next one says the same
    }

    /// Hears nothing for a while.
    fn rest(&mut self) {
        self.goodbye();
        if self.stream.take().is_some() {
            let _ = self.parts.cues.push(Cue::Leave { slot: SLOT });
            self.parts.ring.lock().handle_rest();
        }
    }

    fn goodbye(&mut self) {
        let Some(stream) = &self.stream else { return };
        let mut goodbye = Vec::new();
        Writer::new(&mut goodbye)
            .receiver_report(self.own, &[])
            .source_description(self.own, &self.parts.name)
            .bye(self.own);
        let _ = self.parts.socket.send_to(&goodbye, stream.from); // the subscription ends in any case
    }
}
