//! Stations: boxes whose sound anybody in the same network can find and subscribe to. The system of mopidy-rtp
//! 0.1.0, with what it left broken mended.
//!
//! A station announces its name by broadcast ([`announcement`]), takes subscriptions by TCP ([`mod@line`]) and sends its
//! programme by UDP to each of its subscribers. Sans-IO: commands, datagrams, packets of the programmes and `now`
//! go in; datagrams, and who shall be sent to, come out. One encoder makes the packets, however many listen; here
//! they only get their headers. [`ring`] says what a listener must not get. The other side: [`seen`] and [`uri`].

pub mod announcement;
pub mod line;
pub mod ring;
pub mod sdp;
pub mod seen;
pub mod sources;
mod subscribers;
pub mod uri;

use crate::rtcp;
use crate::rtsp::Stream;
use crate::units::Time;
use line::{Command, Reply};
use ring::{Ring, Share};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use subscribers::{Subscribed, Subscribers};

/// From one sender report to the next: the least that RFC 3550 section 6.2 gives.
const REPORTS_EVERY: Duration = Duration::from_secs(5);

/// Packets that come after a longer time than this follow a pause: then time has gone on in it. Our choice.
const PAUSE: Duration = Duration::from_millis(500);

/// Who a station is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Name of the box, for reports.
    pub name: String,
    /// Its RTP source, random (RFC 3550 section 8): also what other stations know it by.
    pub source: u32,
    /// Another random number: where sequence numbers and timestamps begin.
    pub seed: u64,
    /// Most listeners at a time.
    pub max_subscribers: usize,
}

/// What a station wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// There is a listener at this address: from now on hand over what comes from there, and what is refused.
    Open(SocketAddr),
    /// Send a datagram there.
    Send(SocketAddr, Vec<u8>),
    /// The listener there is gone.
    Close(SocketAddr),
}

/// One station.
#[derive(Debug)]
pub struct Station {
    identity: Identity,
    listeners: Subscribers<Line>,
    /// When the last packet of each share came.
    came: [Option<Time>; 2],
    reported: Time,
    actions: VecDeque<Action>,
}

/// A listener's stream, and what was in its last packet.
#[derive(Clone, Debug)]
struct Line {
    stream: Stream,
    share: Option<Share>,
}

impl Station {
    /// A station that nobody listens to yet.
    pub fn new(identity: Identity, now: Time) -> Station {
        let listeners = Subscribers::new(identity.max_subscribers, now);
        Station { identity, listeners, came: [None; 2], reported: now, actions: VecDeque::new() }
    }

    /// A listener has said something, from this address and any port.
    pub fn handle_command(&mut self, now: Time, from: SocketAddr, command: Command) -> Reply {
        let mut to = from;
        match command {
            Command::Subscribe(port) => {
                to.set_port(port.get());
                self.subscribe(now, to)
            }
            Command::Unsubscribe(port) => {
                to.set_port(port.get());
                self.leave(to);
                Reply::Done // the original says so even to a stranger
            }
        }
    }

    fn subscribe(&mut self, now: Time, to: SocketAddr) -> Reply {
        let Identity { source, seed, .. } = self.identity;
        let (sequence, offset) = ((seed >> 48) as u16, seed as u32);
        let line = || Line { stream: Stream::new(source, sequence, offset), share: None };
        match self.listeners.subscribe(now, to, line) {
            Subscribed::Full => return Reply::LimitReached,
            Subscribed::New => self.actions.push_back(Action::Open(to)),
            Subscribed::Again => {}
        }
        Reply::Done
    }

    fn leave(&mut self, to: SocketAddr) {
        if self.listeners.unsubscribe(to) {
            self.actions.push_back(Action::Close(to));
        }
    }

    /// A datagram of a listener: a report, or nothing.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) {
        for packet in rtcp::parse(datagram).into_iter().flatten() {
            match packet {
                rtcp::Packet::ReceiverReport { ssrc, .. } | rtcp::Packet::SenderReport { ssrc, .. } => {
                    self.listeners.handle_report(now, from, ssrc);
                }
                rtcp::Packet::Bye { .. } => self.leave(from),
                _ => {}
            }
        }
    }

    /// A datagram to a listener was refused there, or found no way.
    pub fn handle_refusal(&mut self, now: Time, to: SocketAddr) {
        self.listeners.handle_refusal(now, to);
    }

    /// Whether somebody gets this share now: then its packets are needed.
    pub fn wants(&self, now: Time, ring: &Ring, share: Share) -> bool {
        self.listeners.iter().any(|listener| ring.share(now, listener.to.ip(), listener.source) == share)
    }

    /// A packet of the programme that is this share, beginning at this frame of it.
    pub fn handle_packet(&mut self, now: Time, ring: &Ring, share: Share, frame: i64, payload: &[u8]) {
        let last = self.came[share as usize].replace(now);
        let after_pause = last.is_some_and(|last| now.since(last) > PAUSE);
        let behind = ring.sources(now);
        for listener in self.listeners.iter_mut() {
            if ring.share(now, listener.to.ip(), listener.source) != share {
                continue;
            }
            let line = &mut listener.of_station;
            if line.share != Some(share) || after_pause {
                line.share = Some(share);
                line.stream.play(now);
            }
            let mut datagram = line.stream.packet(now, frame, payload);
            sources::insert(&mut datagram, behind);
            self.actions.push_back(Action::Send(listener.to, datagram));
        }
    }

    /// Looks who has vanished, and reports; to be called about once a second. The time of day is `ntp`.
    pub fn handle_second(&mut self, now: Time, ntp: u64) {
        let gone = self.listeners.expire(now);
        self.actions.extend(gone.into_iter().map(Action::Close));
        if now.since(self.reported) < REPORTS_EVERY {
            return;
        }
        self.reported = now;
        for listener in self.listeners.iter() {
            let report = listener.of_station.stream.report(now, ntp, &self.identity.name);
            self.actions.extend(report.map(|report| Action::Send(listener.to, report)));
        }
    }

    /// The station ends: goodbyes to all.
    pub fn handle_end(&mut self) {
        for listener in self.listeners.iter() {
            let goodbye = listener.of_station.stream.goodbye(&self.identity.name);
            self.actions.push_back(Action::Send(listener.to, goodbye));
        }
    }

    /// How many listen.
    pub fn count(&self) -> usize {
        self.listeners.count()
    }

    /// What shall be done next.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}

#[cfg(test)]
mod tests;
