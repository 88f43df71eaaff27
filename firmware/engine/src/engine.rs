//! One cycle of the box: take in what arrived, send what was captured, mix what is heard.
//!
//! Driven by the card (`matriz/audio` or the simulated world). In the middle of everything: cues and
//! arrivals come in by rings, packets and reports go out by rings. Worst case per cycle: one encode per
//! 120 frames and, for each peer, one decode per 120 frames and one more.

use crate::mix::Mix;
use crate::packet::{Arrival, Packet};
use crate::receive::Receive;
use crate::resample::Filter;
use crate::send::Send;
use crate::tap::{BLOCKS, Block, Source, Tap};
use crate::{Cycle, Keeping, MAX_CYCLE};
use proto::control::{CYCLE_TIMES, Cue, Depth, Meters, Pace, PeerReport, Report, SLOTS};
use proto::format::Format;
use proto::units::frames_to_nanos;
use rtrb::{Consumer, Producer, RingBuffer};

/// How often a report goes up, in frames: 100 ms.
const REPORT_EVERY: i64 = 4_800;

/// How often meters go up, in frames: 30 ms, so that nobody who draws 30 pictures a second shows one twice.
const METERS_EVERY: i64 = 1_440;

/// Room in the rings: 100 ms of packets of all peers, 100 ms of our own, and what a burst of cues takes.
const ARRIVALS: usize = 80 * SLOTS;
const PACKETS: usize = 128;
const CUES: usize = 256;
const REPORTS: usize = 16;
const METERS: usize = 32;

/// What is fixed while the engine lives, and what it begins with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What is sent; mono is both inputs together.
    pub format: Format,
    /// Length and bit rate of Opus packets until a cue says otherwise.
    pub pace: Pace,
    /// Whether Opus packets may build on each other.
    pub prediction: bool,
    /// Gain of our own signal in decibels.
    pub gain_db: f32,
    /// How the peers' buffers trade delay against late packets.
    pub depth: Depth,
}

impl Default for Settings {
    fn default() -> Self {
        let format = Format::default();
        let pace = Pace { frames: 120, bitrate: 96_000 };
        Settings { format, pace, prediction: false, gain_db: 0.0, depth: Depth::default() }
    }
}

/// The ends of the rings that the rest of the box holds.
pub struct Handle {
    /// Wishes for the next cycle.
    pub cues: Producer<Cue>,
    /// Packets of the peers, from the network threads.
    pub arrivals: Producer<Arrival>,
    /// Our own packets, for the network threads.
    pub packets: Consumer<Packet>,
    /// What the engine saw, about ten a second.
    pub reports: Consumer<Report>,
    /// What the meters show, about 33 a second.
    pub meters: Consumer<Meters>,
    /// Copies of the sources that [`Cue::Tap`] names.
    pub blocks: Consumer<Block>,
}

/// The sound of one box.
pub struct Engine {
    cues: Consumer<Cue>,
    arrivals: Consumer<Arrival>,
    packets: Producer<Packet>,
    reports: Producer<Report>,
    meters: Producer<Meters>,
    tap: Tap,
    send: Send,
    peers: Box<[Receive]>,
    filter: Filter,
    mix: Mix,
    /// Which slots made sound in the last cycle.
    heard: [bool; SLOTS],
    report: Report,
    reported: i64,
    metered: i64,
}

impl Engine {
    /// An engine and its handle. All memory that `process` will touch is allocated here.
    pub fn new(settings: Settings) -> (Engine, Handle) {
        let (cue_in, cues) = RingBuffer::new(CUES);
        let (arrival_in, arrivals) = RingBuffer::new(ARRIVALS);
        let (packets, packets_out) = RingBuffer::new(PACKETS);
        let (reports, reports_out) = RingBuffer::new(REPORTS);
        let (meters, meters_out) = RingBuffer::new(METERS);
        let (blocks, blocks_out) = RingBuffer::new(BLOCKS);
        let engine = Engine {
            cues,
            arrivals,
            packets,
            reports,
            meters,
            tap: Tap::new(blocks),
            send: Send::new(&settings),
            peers: (0..SLOTS).map(|_| Receive::new(settings.depth)).collect(),
            filter: Filter::new(),
            mix: Mix::new(),
            heard: [false; SLOTS],
            report: Report::default(),
            reported: 0,
            metered: 0,
        };
        let handle = Handle {
            cues: cue_in,
            arrivals: arrival_in,
            packets: packets_out,
            reports: reports_out,
            meters: meters_out,
            blocks: blocks_out,
        };
        (engine, handle)
    }

    /// One cycle: `capture` is what the card recorded in it (two channels of `cycle.frames`; the same
    /// twice for one input), [`Engine::mix`] and [`Engine::peer`] are what it shall play next.
    /// Returns whether packets wait for the network threads.
    pub fn process(&mut self, cycle: Cycle, capture: [&[f32]; 2], keeping: Keeping) -> bool {
        debug_assert!(cycle.frames <= MAX_CYCLE, "the sound backend keeps cycles within MAX_CYCLE");
        while let Ok(cue) = self.cues.pop() {
            self.carry_out(cue);
        }
        while let Ok(arrival) = self.arrivals.pop() {
            if let Some(peer) = self.peers.get_mut(usize::from(arrival.slot)) {
                peer.handle(&arrival, &cycle);
            }
        }
        let sent = self.report.sent;
        self.send(&cycle, capture);
        self.play(&cycle);
        self.copy(&cycle, capture);
        self.glance(&cycle);
        self.report(&cycle, keeping);
        self.report.sent > sent
    }

    /// What everybody together sounds like: the last cycle's `frames` frames, left and right.
    pub fn mix(&self, frames: usize) -> [&[f32]; 2] {
        self.mix.out(frames)
    }

    /// What one peer alone sounds like, `None` while the slot is silent.
    pub fn peer(&self, slot: usize, frames: usize) -> Option<[&[f32]; 2]> {
        self.heard[slot].then(|| self.peers[slot].out(frames))
    }

    fn carry_out(&mut self, cue: Cue) {
        match cue {
            Cue::Join { slot } => {
                if let Some(peer) = self.peers.get_mut(usize::from(slot)) {
                    peer.join();
                    self.mix.join(slot);
                }
            }
            Cue::Leave { slot } => {
                if let Some(peer) = self.peers.get_mut(usize::from(slot)) {
                    peer.leave();
                }
            }
            Cue::Fader { slot, gains } => self.mix.set(slot, gains),
            Cue::Gain { db } => self.send.set_gain(db),
            Cue::Mute { on } => self.send.set_muted(on),
            Cue::Pace(pace) => self.send.set_pace(pace),
            Cue::Tap(open) => self.tap.set(open),
        }
    }

    fn send(&mut self, cycle: &Cycle, capture: [&[f32]; 2]) {
        let listened = self.peers.iter().any(Receive::is_joined);
        let (packets, report) = (&mut self.packets, &mut self.report);
        self.send.process(cycle.frame, capture, listened, |packet| {
            report.sent += 1;
            report.sent_bytes += u64::from(packet.len);
            report.overflows += u64::from(packets.push(*packet).is_err());
        });
    }

    fn play(&mut self, cycle: &Cycle) {
        self.mix.clear(cycle.frames);
        for (slot, (peer, heard)) in self.peers.iter_mut().zip(&mut self.heard).enumerate() {
            *heard = peer.process(cycle, &self.filter);
            match *heard {
                true => self.mix.add(slot, peer.out(cycle.frames), peer.format().layout),
                false => self.mix.rest(slot),
            }
        }
    }

    /// Copies for whoever records or makes programmes.
    fn copy(&mut self, cycle: &Cycle, capture: [&[f32]; 2]) {
        self.tap.copy(Source::Own, cycle, Some(capture));
        self.tap.copy(Source::Mix, cycle, Some(self.mix.out(cycle.frames)));
        for slot in self.tap.slots() {
            let at = usize::from(slot);
            let sound = self.heard[at].then(|| self.peers[at].out(cycle.frames));
            self.tap.copy(Source::Peer(slot), cycle, sound);
        }
    }

    /// What the meters show, between two reports.
    fn glance(&mut self, cycle: &Cycle) {
        if cycle.frame - self.metered < METERS_EVERY {
            return;
        }
        self.metered = cycle.frame;
        let mut meters = Meters { own: self.send.glance(), ..Meters::default() };
        for (reading, peer) in meters.peers.iter_mut().zip(self.peers.iter_mut()) {
            *reading = peer.glance();
        }
        // A full ring means that nobody looks just now.
        let _ = self.meters.push(meters);
    }

    fn report(&mut self, cycle: &Cycle, keeping: Keeping) {
        self.report.cycles += 1;
        if keeping.last_cycle > 0 {
            let tenth = frames_to_nanos(cycle.frames as f64).unsigned_abs().max(10) / 10;
            let class = (keeping.last_cycle / tenth).min(CYCLE_TIMES as u64 - 1);
            self.report.cycle_times[class as usize] += 1;
            self.report.longest_cycle = self.report.longest_cycle.max(keeping.last_cycle);
        }
        if cycle.frame - self.reported < REPORT_EVERY {
            return;
        }
        self.reported = cycle.frame;
        self.report.time = cycle.time;
        self.report.frame = cycle.frame;
        self.report.period = cycle.frames as u32;
        self.report.overruns = keeping.overruns;
        self.report.pace = self.send.pace();
        self.report.tap_dropped = self.tap.dropped;
        let own = self.send.read_own();
        (self.report.level_db, self.report.peak_db) = (own.reading.level_db, own.reading.peak_db);
        (self.report.clips, self.report.gain_db, self.report.muted) = (own.clips, own.gain_db, own.muted);
        for (slot, (report, peer)) in self.report.peers.iter_mut().zip(self.peers.iter_mut()).enumerate() {
            *report = PeerReport { gains: self.mix.gains(slot), ..peer.read_report() };
        }
        // A full ring means that nobody reads just now: the next report says it all again.
        let _ = self.reports.push(self.report);
    }
}
