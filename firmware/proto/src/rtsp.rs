//! RTSP, the server's side: one connection of a player that wants to listen.
//!
//! Sans-IO: what comes in by TCP, the packets of the programme that is listened to and `now` go in; what
//! goes out by TCP and UDP, and a deadline, come out. Before it: `matriz/src/rtsp.rs`, which has the
//! sockets. `inbox` cuts requests out of bytes, `answer` judges them, `stream` makes packets RTP.
//! A connection has one session at a time, and the session ends with it. The other side is [`client`].
//! Source: RFC 2326 (RTSP 1.0).

mod answer;
pub mod client;
mod description;
mod inbox;
mod stream;
mod transport;

use crate::rtcp;
use crate::units::Time;
use answer::Reply;
use inbox::{Fault, Inbox};
use rtsp_types::{Message, StatusCode};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;
pub use stream::{PACKET, Stream};
use transport::Transport;

/// After this time without a sign of life a session is over, and a connection without one too: the
/// default of RFC 2326 section 12.37, told in each `Session` header.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// A request that was begun must be complete after this time. Our choice.
const HALF_REQUEST: Duration = Duration::from_secs(10);

/// From one sender report to the next: the least that RFC 3550 section 6.2 gives.
const REPORTS_EVERY: Duration = Duration::from_secs(5);

/// Who a connection speaks for, and what must differ between connections.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Name of the box.
    pub name: String,
    /// Number of its descriptions: random, the same as long as the box runs.
    pub number: u32,
    /// The address at which this connection came in.
    pub local: IpAddr,
    /// Port of the box that RTP comes from by UDP, RTCP from the next one; `None` where there is no UDP.
    pub port: Option<u16>,
    /// A random number, for this connection only: sources, sequence numbers and the like come from it.
    pub seed: u64,
}

/// What can be listened to just now.
#[derive(Clone, Copy, Debug)]
pub struct House<'a> {
    /// The programmes, without a slash before them.
    pub programs: &'a [String],
    /// Whether there is room for one more listener.
    pub room: bool,
}

/// What a connection wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this by TCP.
    Write(Vec<u8>),
    /// Send this datagram to a port of the player's address, from our port for RTP, or that for RTCP.
    Send {
        /// Port of the player.
        to: u16,
        /// Whether it is RTCP.
        control: bool,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// From now on hand over the packets of this programme, by [`Connection::handle_packet`].
    Listen(String),
    /// No more packets.
    Rest,
    /// Close the connection when everything is sent.
    Close,
}

/// A player's connection.
#[derive(Debug)]
pub struct Connection {
    identity: Identity,
    inbox: Inbox,
    session: Option<Session>,
    actions: VecDeque<Action>,
    /// How many sessions there have been.
    sessions: u64,
    /// When the last sign of life came.
    heard: Time,
    /// Since when half a request waits for its rest.
    half_since: Option<Time>,
    over: bool,
}

/// What was set up.
#[derive(Debug)]
struct Session {
    id: String,
    program: String,
    transport: Transport,
    stream: Stream,
    playing: bool,
    /// When the next sender report is due; not before the first packet.
    report_at: Option<Time>,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(identity: Identity, now: Time) -> Connection {
        Connection {
            identity,
            inbox: Inbox::default(),
            session: None,
            actions: VecDeque::new(),
            sessions: 0,
            heard: now,
            half_since: None,
            over: false,
        }
    }

    /// Bytes came by TCP, in pieces of any size.
    pub fn handle_bytes(&mut self, now: Time, bytes: &[u8], house: House<'_>) {
        if self.over {
            return;
        }
        self.inbox.push(bytes);
        while let Some(message) = self.inbox.pop() {
            self.half_since = None;
            match message {
                Ok(Message::Request(request)) => {
                    self.heard = now;
                    self.answer(now, &request, house);
                }
                Ok(Message::Data(data)) if rtcp::parse(data.as_slice()).is_ok() => self.heard = now,
                // What is no report is of no use; and we ask nothing, so nobody answers.
                Ok(Message::Data(_) | Message::Response(_)) => {}
                Err(Fault { status, cseq }) => return self.give_up(status, cseq),
            }
        }
        if !self.inbox.is_empty() {
            self.half_since.get_or_insert(now);
        }
    }

    /// A packet of the programme came that is listened to: it begins at this frame.
    pub fn handle_packet(&mut self, now: Time, frame: i64, payload: &[u8]) {
        let Some(session) = self.session.as_mut().filter(|session| session.playing) else { return };
        let datagram = session.stream.packet(now, frame, payload);
        // The first report follows the first packet, so that players know early which time it is.
        session.report_at.get_or_insert(now);
        self.send(false, datagram);
    }

    /// A report of the player came by UDP that names our source.
    pub fn handle_report(&mut self, now: Time) {
        self.heard = now;
    }

    /// The programme is over (its peer has left), or the box ends.
    pub fn handle_end(&mut self) {
        self.end_session();
        self.close();
    }

    /// The source of what is sent to this player, if it has a session.
    pub fn ssrc(&self) -> Option<u32> {
        self.session.as_ref().map(|session| session.stream.ssrc())
    }

    /// When [`Connection::handle_deadline`] wants to be called; `None` when it is over.
    pub fn deadline(&self) -> Option<Time> {
        if self.over {
            return None;
        }
        let half = self.half_since.map(|since| since + HALF_REQUEST);
        [half, self.report_at()].into_iter().flatten().chain([self.heard + TIMEOUT]).min()
    }

    /// Does what is due. `ntp` is the time of day (RFC 3550 section 4).
    pub fn handle_deadline(&mut self, now: Time, ntp: u64) {
        if self.over {
            return;
        }
        if now >= self.heard + TIMEOUT {
            return self.handle_end();
        }
        if self.half_since.is_some_and(|since| now >= since + HALF_REQUEST) {
            return self.give_up(StatusCode::RequestTimeout, None);
        }
        if self.report_at().is_some_and(|at| now >= at)
            && let Some(session) = &mut self.session
        {
            session.report_at = Some(now + REPORTS_EVERY);
            if let Some(report) = session.stream.report(now, ntp, &self.identity.name) {
                self.send(true, report);
            }
        }
    }

    /// What shall be done.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn report_at(&self) -> Option<Time> {
        self.session.as_ref().filter(|session| session.playing)?.report_at
    }

    /// RTP, or RTCP (`control`), by the way that was set up.
    fn send(&mut self, control: bool, bytes: Vec<u8>) {
        let Some(session) = &self.session else { return };
        self.actions.push_back(match session.transport {
            Transport::Udp { rtp, rtcp } => {
                Action::Send { to: if control { rtcp } else { rtp }, control, bytes }
            }
            Transport::Tcp { rtp, rtcp } => {
                // No packet of Opus is longer than 1275 bytes (RFC 6716 section 3.2.1), no report than 300.
                let Ok(length) = u16::try_from(bytes.len()) else { return };
                let [high, low] = length.to_be_bytes();
                let channel = if control { rtcp } else { rtp };
                Action::Write([&[b'$', channel, high, low], &bytes[..]].concat())
            }
        });
    }

    fn reply(&mut self, reply: Reply, cseq: Option<u32>) {
        let session = self.session.as_ref().map(|session| session.id.as_str());
        self.actions.push_back(Action::Write(reply.write(cseq, session)));
    }

    /// Answers what cannot be read, or was not finished; where the next request begins is unknown.
    fn give_up(&mut self, status: StatusCode, cseq: Option<u32>) {
        self.reply(Reply::new(status), cseq);
        self.handle_end();
    }

    fn end_session(&mut self) {
        let Some(session) = &self.session else { return };
        let goodbye = session.stream.goodbye(&self.identity.name);
        self.send(true, goodbye);
        self.forget_session();
    }

    fn forget_session(&mut self) {
        if self.session.take().is_some_and(|session| session.playing) {
            self.actions.push_back(Action::Rest);
        }
    }

    fn close(&mut self) {
        self.over = true;
        self.actions.push_back(Action::Close);
    }
}

#[cfg(test)]
mod tests;
