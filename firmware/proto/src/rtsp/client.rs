//! RTSP, the client's side: a box that hears a guest, somebody who plays as the original does.
//!
//! Sans-IO: what comes by TCP and as RTCP, how the engine hears the guest, and `now` go in; what goes out,
//! RTP that came through the connection, and a deadline come out. Before it: the session, which invites; after it:
//! `matriz/src/guests.rs`, which has the sockets. UDP is asked for first, and when nothing comes by it,
//! the connection itself. It tries for ever, ever more slowly, and no answer may be long or take long.
//! Source: RFC 2326 (RTSP 1.0); `ask` says the requests, `answer` judges the answers.

mod answer;
mod ask;
mod offered;

use super::inbox::Inbox;
use crate::control::PeerReport;
use crate::rtcp;
use crate::rtp;
use crate::units::Time;
use answer::Granted;
use ask::Ask;
use offered::Offered;
use rtsp_types::{Message, Url};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a connection may take to be made, and how long an answer to be complete. Our choice.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long nothing may be heard before the guest is called anew: after PLAY, and after there was music. GStreamer's
/// player waits 5 s too before it asks for TCP.
const FIRST_SOUND: Duration = Duration::from_secs(4);
const SILENCE: Duration = Duration::from_secs(5);

/// From one receiver report to the next: the least that RFC 3550 section 6.2 gives.
const REPORTS_EVERY: Duration = Duration::from_secs(5);

/// Waits between tries: doubling from the first to the longest. A guest that was heard for as long as the last is
/// called again soon.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(16);
const GOOD: Duration = Duration::from_secs(10);

/// Who calls, and whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The RTSP server of the guest.
    pub at: SocketAddr,
    /// Name of the box, for reports.
    pub name: String,
    /// Our UDP port for RTP, with the next one for RTCP; `None` where there is no UDP.
    pub port: Option<u16>,
    /// A random number: our source in reports, and how long the waits are.
    pub seed: u64,
}

/// What shall be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection to the guest; then [`Client::handle_connected`] or [`Client::handle_closed`].
    Connect,
    /// Send this through the connection.
    Write(Vec<u8>),
    /// From now on RTP with Opus of this payload type is to be heard: what comes to our UDP port, if `udp`, else
    /// what [`Action::Packet`] says.
    Listen {
        /// Payload type of the packets.
        payload_type: u8,
        /// By UDP.
        udp: bool,
    },
    /// This RTP packet came through the connection.
    Packet(Vec<u8>),
    /// Send this datagram to a port of the guest's address, from our port for RTP, or that for RTCP.
    Send {
        /// Port of the guest.
        to: u16,
        /// Whether it is RTCP.
        control: bool,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// Nothing is to be heard any more.
    Rest,
    /// Send what is left and close the connection.
    Close,
    /// How the guest is reached has changed.
    Tell(Way),
}

/// How a guest is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Its sound comes by UDP.
    Udp,
    /// Its sound comes through the connection.
    Tcp,
    /// Not at all; why, in words that follow the guest's name. It is tried again.
    Nowhere(String),
}

/// A box's line to one guest.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    /// What is asked for.
    url: Url,
    state: State,
    call: Call,
    actions: VecDeque<Action>,
    /// Ask for TCP, since by UDP nothing came.
    by_tcp: bool,
    wait: Duration,
    random: u64,
    told: Option<Way>,
    /// How the engine hears the guest.
    heard: PeerReport,
    account: rtcp::Account,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Until it is tried again.
    Waiting { until: Time },
    /// The connection is being made.
    Dialling { until: Time },
    /// A request waits for its answer.
    Asking { what: Ask, until: Time },
    /// There should be music.
    Playing(Playing),
    /// The guest is none any more.
    Over,
}

#[derive(Clone, Copy, Debug)]
struct Playing {
    since: Time,
    /// When a packet was last heard.
    heard: Option<Time>,
    next_report: Time,
    next_sign: Time,
}

/// What is known of one connection.
#[derive(Debug, Default)]
struct Call {
    inbox: Inbox,
    /// Number of the last request.
    cseq: u32,
    /// It knows GET_PARAMETER.
    parameters: bool,
    offered: Option<Offered>,
    session: Option<answer::Session>,
    granted: Option<Granted>,
    /// The source of its stream, once that is known.
    ssrc: Option<u32>,
}

impl Client {
    /// A guest that is called now.
    pub fn new(settings: Settings, now: Time) -> Client {
        let url =
            Url::parse(&format!("rtsp://{}/stream", settings.at)).expect("an address is a host and a port");
        Client {
            by_tcp: settings.port.is_none(),
            random: settings.seed,
            url,
            settings,
            state: State::Dialling { until: now + PATIENCE },
            call: Call::default(),
            actions: [Action::Connect].into(),
            wait: FIRST_WAIT,
            told: None,
            heard: PeerReport::default(),
            account: rtcp::Account::default(),
        }
    }

    /// The connection was made.
    pub fn handle_connected(&mut self, now: Time) {
        if matches!(self.state, State::Dialling { .. }) {
            self.call = Call::default();
            self.ask(now, Ask::Options);
        }
    }

    /// The connection could not be made, or is gone; why, in words that follow the guest's name.
    pub fn handle_closed(&mut self, now: Time, why: &str) {
        if !matches!(self.state, State::Waiting { .. } | State::Over) {
            self.call.session = None; // there is nobody to say goodbye to
            self.fail(now, why);
        }
    }

    /// Bytes came through the connection, in pieces of any size.
    pub fn handle_bytes(&mut self, now: Time, bytes: &[u8]) {
        if !self.is_connected() {
            return;
        }
        self.call.inbox.push(bytes);
        while let Some(message) = self.call.inbox.pop() {
            match message {
                Ok(Message::Response(response)) => self.judge(now, &response),
                Ok(Message::Data(data)) => self.handle_data(now, data.channel_id(), data.as_slice()),
                Ok(Message::Request(request)) => self.decline(&request),
                Err(_) => self.fail(now, "says what is no RTSP"),
            }
            if !self.is_connected() {
                return;
            }
        }
    }

    /// RTCP of the guest came.
    pub fn handle_control(&mut self, now: Time, datagram: &[u8]) {
        let Ok(packets) = rtcp::parse(datagram) else { return };
        for packet in packets {
            match packet {
                rtcp::Packet::SenderReport { ssrc, ntp, .. }
                    if *self.call.ssrc.get_or_insert(ssrc) == ssrc =>
                {
                    self.account.handle_sender_report(now, ntp);
                }
                rtcp::Packet::Bye { ssrc } if self.call.ssrc == Some(ssrc) && self.is_connected() => {
                    return self.fail(now, "has ended its stream");
                }
                _ => {}
            }
        }
    }

    /// How the engine hears the guest.
    pub fn handle_report(&mut self, now: Time, report: &PeerReport) {
        let more = report.received > self.heard.received;
        self.heard = *report;
        if let State::Playing(playing) = &mut self.state
            && more
        {
            playing.heard = Some(now);
            if now.since(playing.since) >= GOOD {
                self.wait = FIRST_WAIT;
            }
            self.tell(if self.by_tcp { Way::Tcp } else { Way::Udp });
        }
    }

    /// Somebody says that the guest is there (again): a wait is over.
    pub fn handle_news(&mut self, now: Time) {
        if let State::Waiting { until } = &mut self.state {
            *until = now;
            self.wait = FIRST_WAIT;
        }
    }

    /// When [`Client::handle_deadline`] wants to be called; `None` when it is over.
    pub fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Waiting { until } | State::Dialling { until } | State::Asking { until, .. } => Some(until),
            State::Playing(playing) => {
                Some(playing.next_report.min(playing.next_sign).min(playing.silent_at()))
            }
            State::Over => None,
        }
    }

    /// Does what is due.
    pub fn handle_deadline(&mut self, now: Time) {
        match self.state {
            State::Waiting { until } if now >= until => {
                self.actions.push_back(Action::Connect);
                self.state = State::Dialling { until: now + PATIENCE };
            }
            State::Dialling { until } if now >= until => self.fail(now, "does not answer"),
            State::Asking { what, until } if now >= until => {
                let why = format!("does not answer {}", what.method());
                self.fail(now, &why);
            }
            State::Playing(playing) if now >= playing.silent_at() => self.be_silent(now, playing),
            State::Playing(playing) => self.keep_alive(now, playing),
            _ => {}
        }
    }

    /// The guest is none any more: says goodbye.
    pub fn end(&mut self) {
        self.hang_up();
        self.state = State::Over;
    }

    /// What shall be done; call until it returns `None`.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn is_connected(&self) -> bool {
        matches!(self.state, State::Asking { .. } | State::Playing(_))
    }

    /// Interleaved data (RFC 2326 section 10.12).
    fn handle_data(&mut self, now: Time, channel: u8, data: &[u8]) {
        match self.call.granted {
            Some(Granted::Tcp { rtp, .. }) if channel == rtp => {
                if let Ok(packet) = rtp::Packet::parse(data) {
                    self.call.ssrc.get_or_insert(packet.header.ssrc);
                    self.actions.push_back(Action::Packet(data.to_vec()));
                }
            }
            Some(Granted::Tcp { rtcp, .. }) if channel == rtcp => self.handle_control(now, data),
            _ => {}
        }
    }

    /// Nothing has been heard for too long. If nothing ever was, the other transport may do.
    fn be_silent(&mut self, now: Time, playing: Playing) {
        let way = if self.by_tcp { "TCP" } else { "UDP" };
        if playing.heard.is_some() {
            return self.fail(now, &format!("sends nothing by {way} any more"));
        }
        let try_tcp = !self.by_tcp;
        self.by_tcp = try_tcp || self.settings.port.is_none();
        self.fail(now, &format!("grants its stream, and nothing comes by {way}"));
        if try_tcp {
            self.state = State::Waiting { until: now };
        }
    }

    /// Reports and signs of life.
    fn keep_alive(&mut self, now: Time, mut playing: Playing) {
        if now >= playing.next_report {
            playing.next_report = now + REPORTS_EVERY;
            self.report(now);
        }
        if now >= playing.next_sign {
            playing.next_sign = now + self.sign_every();
            self.write_request(Ask::Alive);
        }
        self.state = State::Playing(playing);
    }

    fn sign_every(&self) -> Duration {
        self.call.session.as_ref().map_or(REPORTS_EVERY, answer::Session::sign_every)
    }

    /// Tells how we hear the guest, and by UDP keeps the ways through routers open.
    fn report(&mut self, now: Time) {
        let own = self.settings.seed as u32;
        let block = self.call.ssrc.map(|ssrc| self.account.block(now, ssrc, &self.heard));
        let mut bytes = Vec::new();
        rtcp::Writer::new(&mut bytes)
            .receiver_report(own, block.as_slice())
            .source_description(own, &self.settings.name);
        match self.call.granted {
            Some(Granted::Udp { rtp, rtcp }) => {
                // A header and nothing else: what ffmpeg and others send to open a way.
                let mut opener = [0; rtp::Header::LEN];
                rtp::Header { ssrc: own, ..rtp::Header::default() }.write(&mut opener);
                let opener = rtp.map(|to| Action::Send { to, control: false, bytes: opener.to_vec() });
                let report = rtcp.map(|to| Action::Send { to, control: true, bytes });
                self.actions.extend(opener.into_iter().chain(report));
            }
            Some(Granted::Tcp { rtcp, .. }) => {
                // A report of one block and a name is far shorter than 64 KiB.
                let [high, low] = (bytes.len() as u16).to_be_bytes();
                self.actions.push_back(Action::Write([&[b'$', rtcp, high, low], &bytes[..]].concat()));
            }
            None => {}
        }
    }

    /// There is music to come.
    fn play(&mut self, now: Time) {
        let next_sign = now + self.sign_every();
        self.state = State::Playing(Playing { since: now, heard: None, next_report: now, next_sign });
    }

    /// This try has failed; there will be another one.
    fn fail(&mut self, now: Time, why: &str) {
        self.hang_up();
        self.tell(Way::Nowhere(why.to_owned()));
        self.state = State::Waiting { until: now + self.next_wait() };
    }

    /// Says goodbye, as far as there is somebody to say it to.
    fn hang_up(&mut self) {
        if self.call.session.is_some() && self.is_connected() {
            self.write_request(Ask::Teardown);
        }
        if !matches!(self.state, State::Waiting { .. } | State::Over) {
            self.actions.extend([Action::Rest, Action::Close]);
        }
        self.call = Call::default();
    }

    /// The next wait, which is longer or shorter by up to a fifth: boxes that lost the same guest do not all call at
    /// once.
    fn next_wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST_WAIT);
        // Knuth's linear congruential generator (MMIX).
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        wait * (80 + (self.random >> 33) as u32 % 41) / 100
    }

    fn tell(&mut self, way: Way) {
        if self.told.as_ref() != Some(&way) {
            self.told = Some(way.clone());
            self.actions.push_back(Action::Tell(way));
        }
    }
}

impl Playing {
    /// When the silence has become too long.
    fn silent_at(&self) -> Time {
        self.heard.map_or(self.since + FIRST_SOUND, |heard| heard + SILENCE)
    }
}

#[cfg(test)]
mod tests;
