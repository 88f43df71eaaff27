//! The box's mind: who the others are, where they are, and whether they are heard.
//!
//! One value without IO. What happened goes in by the `handle_` calls (messages of the rendezvous, RTCP
//! datagrams, the engine's reports), always with `now`; what shall be done comes out of [`Session::poll`]
//! as [`Action`]s until it returns `None`; [`Session::deadline`] says when to poll again at the latest.
//! The real box and the simulated world drive the same code.
//!
//! The list of the rendezvous introduces; it never parts those who hear each other. A peer goes when it
//! says so (RTCP BYE), when another box comes under its name, or when it is neither listed nor heard.
//! So music goes on while the rendezvous is away.

mod guest;
mod introductions;
mod line;
mod peer;
mod recent;
mod report;
mod uplink;
mod wishes;

pub use uplink::Wish;

use crate::control::{Cue, Depth, Pace, Report, SLOTS, Sends, Status};
use crate::desk::Desk;
use crate::format::Format;
use crate::rendezvous::{Listed, Register, Request};
use crate::rtcp::{self, Writer};
use crate::units::{Time, frames_to_nanos};
use guest::Guests;
use peer::Peer;
use report::{REPORT, read_reception, write_control};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use uplink::Uplink;

/// How long the status shows that the input was too loud: long enough to be seen.
const SHOW_CLIP: Duration = Duration::from_secs(2);

/// Who this box is, for as long as it runs.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Name at the rendezvous.
    pub name: String,
    /// Key that goes with the name.
    pub key: String,
    /// TCP port of the RTSP server, told to the rendezvous.
    pub rtsp_port: u16,
    /// RTP source, chosen at random at every start (RFC 3550 section 8).
    pub ssrc: u32,
    /// Added to the card's position to make RTP timestamps, random as well (RFC 3550 section 5.1).
    pub timestamp_offset: u32,
    /// Where the media socket can be reached, as far as the box knows.
    pub media: Vec<SocketAddr>,
    /// What it sends.
    pub format: Format,
    /// How much of the line that may take.
    pub wish: Wish,
    /// How its buffers trade delay against late packets.
    pub depth: Depth,
}

/// What came from the connection to the rendezvous.
#[derive(Clone, Debug)]
pub enum FromRendezvous {
    /// Connected; the registration is on its way.
    Connected,
    /// A text frame.
    Message(String),
    /// Refused, or lost: a sentence that says why. The connection is being made again.
    Away(String),
}

/// Something to be done now.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send this text frame to the rendezvous, if it is connected.
    Rendezvous(String),
    /// Send this RTCP datagram through the media socket.
    Datagram {
        /// Where to.
        to: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// Packets of `ssrc` belong to `slot` from now on; ours go `to` there, once a way is known.
    Route {
        /// The engine's slot.
        slot: u8,
        /// Whose it is.
        name: String,
        /// The peer's RTP source.
        ssrc: u32,
        /// Where our packets go.
        to: Option<SocketAddr>,
        /// How many packets back the copy lies that each packet carries; 0: none.
        distance: u8,
    },
    /// Hear this guest by RTSP in `slot` from now on; once more, when it is said to be there again.
    Invite {
        /// The engine's slot.
        slot: u8,
        /// Who it is.
        name: String,
        /// Its RTSP server.
        at: SocketAddr,
    },
    /// The slot is free again.
    Unroute {
        /// The engine's slot.
        slot: u8,
    },
    /// Let go of the rendezvous, once everything before this is sent, and stay away.
    Disconnect,
    /// Come back to it, with this registration first.
    Connect(String),
    /// A wish for the engine.
    Engine(Cue),
    /// A sentence for the log.
    Say(String),
}

/// The session of one box.
pub struct Session {
    identity: Identity,
    started: Time,
    rendezvous: String,
    listed: Vec<Listed>,
    peers: Vec<Peer>,
    guests: Guests,
    actions: VecDeque<Action>,
    offer_due: Option<Time>,
    next_slot: u8,
    report: Report,
    uplink: Uplink,
    /// What the engine was last told.
    pace: Pace,
    /// What people have set.
    desk: Desk,
    /// What the engine was last told of mute and gain.
    told: (bool, Option<f32>),
    /// When the input was last too loud.
    clipped: Option<Time>,
}

impl Session {
    /// A box that has just started.
    pub fn new(identity: Identity, now: Time) -> Self {
        let uplink = Uplink::new(identity.wish, now);
        Session {
            pace: identity.wish.pace(),
            uplink,
            identity,
            started: now,
            rendezvous: "not connected yet".to_owned(),
            listed: Vec::new(),
            peers: Vec::new(),
            guests: Guests::default(),
            actions: VecDeque::new(),
            offer_due: None,
            next_slot: 0,
            report: Report::default(),
            desk: Desk::default(),
            told: (false, None),
            clipped: None,
        }
    }

    /// Who this box is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Who sits in which slot.
    pub fn slots(&self) -> impl Iterator<Item = (u8, &str)> {
        self.peers.iter().map(|peer| (peer.slot, peer.name.as_str())).chain(self.guests.slots())
    }

    /// The engine's last report.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The first frame of every connection to the rendezvous.
    ///
    /// # Panics
    /// If name or key cannot be said to an original server; the configuration refuses those.
    pub fn hello(identity: &Identity) -> String {
        let register = Register::new(&identity.name, &identity.key, identity.rtsp_port)
            .expect("the configuration refuses a name or key that the rendezvous cannot read");
        Request::Register(register).encode().expect("a short registration without escapes")
    }

    /// An RTCP datagram came to the media socket. What is malformed or from a stranger is dropped.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) {
        let Ok(packets) = rtcp::parse(datagram) else { return };
        for packet in packets {
            let (ssrc, blocks) = match packet {
                rtcp::Packet::SenderReport { ssrc, ntp, blocks, .. } => {
                    if let Some(peer) = self.peer_by_ssrc(ssrc) {
                        peer.handle_sender_report(now, ntp);
                    }
                    (ssrc, blocks)
                }
                rtcp::Packet::ReceiverReport { ssrc, blocks } => (ssrc, blocks),
                rtcp::Packet::Bye { ssrc } => {
                    if self.peer_by_ssrc(ssrc).is_some_and(|peer| peer.way == Some(from)) {
                        self.part(ssrc, "left");
                    }
                    continue;
                }
                rtcp::Packet::App { ssrc, name: REPORT, data, .. } => {
                    self.handle_reception(now, ssrc, from, data);
                    continue;
                }
                _ => continue,
            };
            // Whoever names our source has had our offer: this is the peer, and this is a way to it.
            let own = self.identity.ssrc;
            let Some(block) = blocks.into_iter().find(|block| block.ssrc == own) else { continue };
            if let Some(peer) = self.peer_by_ssrc(ssrc)
                && peer.handle_block(now, from, &block)
            {
                let route = peer.route();
                self.actions.push_back(route);
            }
        }
    }

    /// A peer tells in detail how it receives us.
    fn handle_reception(&mut self, now: Time, ssrc: u32, from: SocketAddr, data: &[u8]) {
        let Some((reception, muted)) = read_reception(data) else { return };
        let packet = Duration::from_nanos(frames_to_nanos(self.report.pace.frames.into()).unsigned_abs());
        let Some(peer) = self.peer_by_ssrc(ssrc).filter(|peer| peer.way == Some(from)) else { return };
        peer.muted_itself = muted;
        if peer.handle_reception(reception, packet) {
            let route = peer.route();
            self.actions.push_back(route);
        }
        let congested = self.peers.iter().find(|peer| peer.is_congested()).map(|peer| peer.name.clone());
        if self.uplink.handle(now, congested.is_some()) {
            self.follow_pace();
            if let Some(name) = congested {
                self.say_it_is_full(&name);
            }
        }
    }

    /// Tells the engine the pace, if it is another one now.
    fn follow_pace(&mut self) {
        let pace = self.uplink.pace(self.peers.len() + 1);
        if pace != std::mem::replace(&mut self.pace, pace) {
            self.actions.push_back(Action::Engine(Cue::Pace(pace)));
        }
    }

    fn say_it_is_full(&mut self, name: &str) {
        let what = if self.identity.wish.bitrate == 0 {
            "plain samples cannot be made smaller: set \"codec\" to \"opus\"".to_owned()
        } else {
            let Pace { frames, bitrate } = self.pace;
            let (kbits, packet) = (bitrate / 1_000, f64::from(frames) / 48.0);
            format!("sending {kbits} kbit/s in packets of {packet} ms now")
        };
        self.say(format!("the line to {name} is full; {what}"));
    }

    /// The engine tells what it saw.
    pub fn handle_report(&mut self, now: Time, report: &Report) {
        let news = report.muted != self.report.muted;
        self.report = *report;
        self.clipped = if report.clips { Some(now) } else { self.clipped };
        self.handle_guests_report(now, report);
        self.follow_desk(true);
        self.confirm_faders();
        if news {
            self.tell_everybody(now);
        }
        for peer in &mut self.peers {
            if peer.handle_report(now, &report.peers[usize::from(peer.slot)]) {
                let sentence = format!("playing with {} ({})", peer.name, peer.way_in_words());
                self.actions.push_back(Action::Say(sentence));
            }
        }
    }

    /// What shall be done now; call until it returns `None`.
    pub fn poll(&mut self, now: Time) -> Option<Action> {
        if self.actions.is_empty() {
            if self.offer_due.is_some_and(|due| due <= now) {
                self.offer_due = None;
                self.actions.push_back(Action::Rendezvous(self.offer().encode()));
            }
            self.poll_peers(now);
            self.poll_guests(now);
        }
        self.actions.pop_front()
    }

    /// When to poll again, if nothing happens before; `None`: only when something happens.
    pub fn deadline(&self) -> Option<Time> {
        let peers = self.peers.iter().map(|peer| peer.next_control);
        peers.chain(self.offer_due).chain(self.guests.deadline()).min()
    }

    /// The box shuts down: everybody is told.
    pub fn leave(&mut self) {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes)
            .receiver_report(self.identity.ssrc, &[])
            .source_description(self.identity.ssrc, &self.identity.name)
            .bye(self.identity.ssrc);
        let ways = self.peers.iter().filter_map(|peer| peer.way);
        self.actions.extend(ways.map(|to| Action::Datagram { to, bytes: bytes.clone() }));
        let goodbye = Request::Deregister.encode().expect("a constant frame");
        self.actions.push_back(Action::Rendezvous(goodbye));
    }

    /// What the box shows of itself.
    pub fn status(&self, now: Time) -> Status {
        let mut peers: Vec<_> =
            self.peers.iter().map(|peer| peer.status(self.started, &self.report)).collect();
        peers.extend(self.guests.status());
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        Status {
            name: self.identity.name.clone(),
            rendezvous: self.rendezvous.clone(),
            started: self.started,
            card_time: self.report.time,
            card_frame: self.report.frame,
            uptime_ms: now.since(self.started).as_millis() as u64,
            level_db: self.report.level_db,
            cycles: self.report.cycles,
            overruns: self.report.overruns,
            cycle_times: self.report.cycle_times,
            longest_cycle_ms: self.report.longest_cycle as f32 / 1e6,
            sends: Sends {
                format: self.identity.format,
                packet_ms: f32::from(self.report.pace.frames) / 48.0,
                kbits: (self.report.pace.bitrate > 0).then_some(self.report.pace.bitrate as f32 / 1e3),
            },
            depth: self.identity.depth,
            peak_db: self.report.peak_db,
            clips: self.clipped.is_some_and(|at| now.since(at) < SHOW_CLIP),
            muted: self.report.muted,
            gain_db: self.report.gain_db,
            in_session: self.desk.in_session,
            peers,
            ..Status::default()
        }
    }

    /// Slots are taken in turn, so that a late report about the last peer of a slot is not taken for one
    /// about the next.
    fn free_slot(&mut self) -> Option<u8> {
        let in_turn = (0..SLOTS as u8).map(|n| (self.next_slot + n) % SLOTS as u8);
        let is_free = |slot: &u8| self.peers.iter().all(|peer| peer.slot != *slot) && !self.guests.has(*slot);
        let slot = in_turn.into_iter().find(is_free)?;
        self.next_slot = (slot + 1) % SLOTS as u8;
        Some(slot)
    }

    fn poll_peers(&mut self, now: Time) {
        let mut gone = Vec::new();
        for peer in self.peers.iter_mut().filter(|peer| peer.next_control <= now) {
            if peer.is_gone(now) {
                gone.push(peer.ssrc);
            }
            if peer.lose_way(now) {
                self.actions.push_back(peer.route());
            }
            let mut bytes = Vec::new();
            write_control(&mut bytes, &self.identity, &self.report, peer, now);
            let datagrams = peer.control_due(now).into_iter();
            self.actions.extend(datagrams.map(|to| Action::Datagram { to, bytes: bytes.clone() }));
        }
        gone.into_iter().for_each(|ssrc| self.part(ssrc, "is gone"));
    }

    fn part(&mut self, ssrc: u32, how: &str) {
        let Some(index) = self.peers.iter().position(|peer| peer.ssrc == ssrc) else { return };
        let peer = self.peers.remove(index);
        self.actions.push_back(Action::Engine(Cue::Leave { slot: peer.slot }));
        self.actions.push_back(Action::Unroute { slot: peer.slot });
        self.say(format!("{} {how}", peer.name));
        self.follow_pace();
        self.follow_desk(false); // he may have been solo
    }

    fn peer_by_ssrc(&mut self, ssrc: u32) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.ssrc == ssrc)
    }

    fn say(&mut self, sentence: String) {
        self.actions.push_back(Action::Say(sentence));
    }
}

#[cfg(test)]
mod tests;
