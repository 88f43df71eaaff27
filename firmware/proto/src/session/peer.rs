//! One of the others, as the session sees it: the ways to it, its reports, its lamps.
//!
//! A way is an address from which the peer has named our RTP source in a report: it must have had our
//! offer through the rendezvous, and what comes from there can go back there (so holes in NATs work).
//! Until there is one, every address that the peer may have gets a report now and then.

use super::Action;
use super::line::{Line, Reception};
use super::recent::{Recent, Shares};
use crate::control::{Depth, Gains, PeerReport, PeerStatus, Report, Sends};
use crate::desk::Fader;
use crate::format::Encoding;
use crate::rtcp::{self, Block};
use crate::units::Time;
use std::net::SocketAddr;
use std::time::Duration;

/// Reports to a peer that is heard: ten a second, so that it can act on losses while they last. Every
/// fifth is a whole one, the others say only how we hear it (RFC 5506): 7 kbit/s with all headers.
const CONTROL_EVERY: Duration = Duration::from_millis(100);
const WHOLE_REPORT: u32 = 5;

/// Knocking at a peer that is not heard yet: ten times a second at first, then once a second.
const KNOCK_EVERY: Duration = Duration::from_millis(100);
const KNOCK_LATER: Duration = Duration::from_secs(1);
const KNOCKS: u32 = 30;

/// A way that was silent for this long gives way to another one that is heard.
const WAY_STALE: Duration = Duration::from_secs(2);

/// A way that was silent for this long is none any more: sending there stops.
const WAY_LOST: Duration = Duration::from_secs(5);

/// A peer neither listed nor heard for this long is gone.
const GONE: Duration = Duration::from_secs(5);

/// Opus' look-ahead and half the resampler's filter, in frames: what the sound takes besides packet, cards,
/// network and buffer.
const LOOKAHEAD: u32 = 120;
const FILTER: u32 = 5;

pub(super) struct Peer {
    pub name: String,
    pub ssrc: u32,
    pub slot: u8,
    pub listed: bool,
    /// Where it is reached, once that is known.
    pub way: Option<SocketAddr>,
    pub next_control: Time,
    /// What the engine was last told of its fader, and the fader that the engine has.
    pub told: Gains,
    pub fader: Fader,
    /// It has muted itself at its end.
    pub muted_itself: bool,
    candidates: Vec<SocketAddr>,
    knocks: u32,
    /// Reports sent since the way was found.
    reports: u32,
    /// It understands packets with copies.
    redundancy: bool,
    line: Line,
    /// Last instant at which it was certainly there.
    heard: Time,
    /// When music from it was first heard.
    first_heard: Option<Time>,
    report: PeerReport,
    account: rtcp::Account,
    recent: Recent,
    round_trip: Option<Duration>,
    /// The last round trips as they were; the least of them is what always waits on the way.
    trips: [Option<Duration>; 3],
}

impl Peer {
    pub fn new(
        now: Time,
        name: String,
        ssrc: u32,
        slot: u8,
        candidates: Vec<SocketAddr>,
        redundancy: bool,
    ) -> Self {
        Peer {
            name,
            ssrc,
            slot,
            listed: true,
            way: None,
            next_control: now,
            told: Gains::default(),
            fader: Fader::default(),
            muted_itself: false,
            candidates,
            knocks: 0,
            reports: 0,
            redundancy,
            line: Line::default(),
            heard: now,
            first_heard: None,
            report: PeerReport::default(),
            account: rtcp::Account::default(),
            recent: Recent::default(),
            round_trip: None,
            trips: [None; 3],
        }
    }

    /// The same box has sent its offer once more, perhaps from elsewhere.
    pub fn meet_again(&mut self, now: Time, candidates: Vec<SocketAddr>) {
        self.candidates = candidates;
        if self.way.is_none() {
            self.knocks = 0;
            self.next_control = now;
        }
    }

    pub fn route(&self) -> Action {
        let distance = if self.redundancy { self.line.distance() } else { 0 };
        Action::Route { slot: self.slot, name: self.name.clone(), ssrc: self.ssrc, to: self.way, distance }
    }

    /// The peer tells in detail how it receives us, whose packets are of length `packet`. True if the route
    /// changes by it.
    pub fn handle_reception(&mut self, reception: Reception, packet: Duration) -> bool {
        let trip = self.trips.iter().flatten().min().copied();
        self.line.handle(reception, trip, packet) && self.redundancy
    }

    /// Whether more is sent to it than the line carries.
    pub fn is_congested(&self) -> bool {
        self.way.is_some() && self.line.is_congested()
    }

    /// How we receive the peer, in detail.
    pub fn reception(&self, depth: Depth) -> Reception {
        Reception {
            received: self.report.received as u32,
            lost: self.report.lost as u32,
            bursts: self.report.bursts as u32,
            patience_us: match depth {
                Depth::Tight => 0,
                Depth::Balanced => 10_000,
                Depth::Safe => 50_000,
            },
        }
    }

    /// Whether the next report is a whole one; counts it.
    pub fn is_whole_report(&mut self) -> bool {
        self.reports = if self.way.is_some() { self.reports + 1 } else { 0 };
        self.reports == 0 || self.reports % WHOLE_REPORT == 1
    }

    pub fn handle_sender_report(&mut self, now: Time, ntp: u64) {
        self.account.handle_sender_report(now, ntp);
    }

    /// The peer tells from address `from` how it hears us. True if that is a new way to it.
    pub fn handle_block(&mut self, now: Time, from: SocketAddr, block: &Block) -> bool {
        let arrival = rtcp::ntp_middle(rtcp::ntp_from_nanos(now.0));
        let trip = rtcp::round_trip(arrival, block.last_sr, block.delay_since_last_sr);
        if trip.is_some() {
            self.trips.rotate_left(1);
            self.trips[2] = trip;
        }
        // Smoothed, for people; nothing is decided by it.
        self.round_trip = match (self.round_trip, trip) {
            (Some(old), Some(new)) => Some((old * 3 + new) / 4),
            (old, new) => new.or(old),
        };
        let stale = now.since(self.heard) > WAY_STALE;
        if self.way == Some(from) || self.way.is_none() || stale {
            self.heard = now;
        }
        if self.way == Some(from) || (self.way.is_some() && !stale) {
            return false;
        }
        self.way = Some(from);
        self.next_control = now;
        true
    }

    /// The engine tells how the peer is heard. True when it is heard for the first time.
    pub fn handle_report(&mut self, now: Time, report: &PeerReport) -> bool {
        if report.received > self.report.received {
            self.heard = now;
        }
        self.report = *report;
        self.recent.push(now, report);
        let first = self.first_heard.is_none() && report.playing;
        if first {
            self.first_heard = Some(now);
        }
        first
    }

    pub fn is_gone(&self, now: Time) -> bool {
        !self.listed && now.since(self.heard) > GONE
    }

    /// Nothing has come from it lately.
    pub fn is_silent(&self, now: Time) -> bool {
        now.since(self.heard) > WAY_STALE
    }

    /// Gives up a way on which nothing has come for long. True if it did.
    pub fn lose_way(&mut self, now: Time) -> bool {
        if now.since(self.heard) <= WAY_LOST || self.way.is_none() {
            return false;
        }
        self.way = None;
        self.knocks = 0;
        true
    }

    /// Where a report goes now, and when the next one is due.
    pub fn control_due(&mut self, now: Time) -> Vec<SocketAddr> {
        if let Some(way) = self.way {
            self.next_control = now + CONTROL_EVERY;
            return vec![way];
        }
        self.next_control = now + if self.knocks < KNOCKS { KNOCK_EVERY } else { KNOCK_LATER };
        self.knocks += 1;
        self.candidates.clone()
    }

    /// How we hear the peer.
    pub fn block(&mut self, now: Time) -> Block {
        self.account.block(now, self.ssrc, &self.report)
    }

    pub fn way_in_words(&self) -> String {
        self.way.map_or_else(|| "no way found yet".to_owned(), |way| way.to_string())
    }

    pub fn status(&self, started: Time, report: &Report) -> PeerStatus {
        let in_ms = |trip: Duration| trip.as_secs_f32() * 1e3;
        let connected = self.report.playing;
        // A packet's length or a cycle to fill, a cycle to play out, and the codec between.
        let lookahead = if self.report.format.encoding == Encoding::Opus { LOOKAHEAD } else { 0 };
        let sound = self.report.packet.max(report.period) + lookahead + FILTER + report.period;
        let delay =
            self.round_trip.map(|trip| in_ms(trip) / 2.0 + sound as f32 / 48.0 + self.report.depth_ms);
        let Shares { lost: lost_percent, late: late_percent, concealed: concealed_percent } =
            self.recent.shares();
        let Fader { volume_db, pan, muted, solo } = self.fader;
        PeerStatus {
            name: self.name.clone(),
            connected,
            connected_after_ms: self.first_heard.map(|at| at.since(started).as_millis() as u64),
            way: self.way_in_words(),
            delay_ms: delay.filter(|_| connected),
            round_trip_ms: self.round_trip.map(in_ms),
            depth_ms: self.report.depth_ms,
            sends: Sends {
                format: self.report.format,
                packet_ms: self.report.packet as f32 / 48.0,
                kbits: None,
            },
            received: self.report.received,
            lost: self.report.lost,
            late: self.report.late,
            recovered: self.report.recovered,
            concealed: self.report.concealed,
            drift_ppm: self.report.drift_ppm,
            stretch_ppm: self.report.stretch_ppm,
            level_db: self.report.level_db,
            peak_db: self.report.peak_db,
            volume_db,
            pan,
            muted,
            solo,
            muted_itself: self.muted_itself,
            lost_percent,
            late_percent,
            concealed_percent,
            relayed: false, // every way that there is leads straight to the peer
        }
    }
}
