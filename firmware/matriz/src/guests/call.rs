//! One guest: its connection, its reports, its clock.
//!
//! Between [`super::Guests`], which begins and ends it, and `proto::rtsp::client`, which decides. A guest that floods
//! us is read slowly, one that reads nothing loses its connection; nobody else notices.

use super::{News, Word};
use crate::clock;
use crate::net::ears::{Door, Opening};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimestampns};
use proto::control::PeerReport;
use proto::rtsp::client::{Action, Client, Settings};
use proto::units::Time;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};

/// Bytes read at once, and the time from one read to the next: three times what Opus can have at most (510 kbit/s, RFC 6716
/// section 2.1.1), and so little that floods leave the control thread its time. Our choice.
const READ: usize = 1_024;
const READ_EVERY: Duration = Duration::from_millis(5);

/// What waits to be sent, at most: requests and reports have some hundred bytes. Our choice.
const BACKLOG: usize = 16_384;

/// How long the last words may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Largest RTCP datagram that is read; what is longer is cut, and then malformed.
const LONGEST_REPORT: usize = 2_048;

type Dialling = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// The connection.
enum Line {
    None,
    Dialling(Dialling),
    Open(OwnedReadHalf, OwnedWriteHalf),
}

/// What happened on it.
enum Event {
    Connected(TcpStream),
    Read(usize),
    Closed(String),
}

/// One guest.
pub struct Call {
    slot: u8,
    at: SocketAddr,
    client: Client,
    door: Door,
    news: mpsc::Sender<News>,
    /// Our port for RTP; a network thread listens to it.
    rtp: Option<std::net::UdpSocket>,
    rtcp: Option<UdpSocket>,
    line: Line,
    /// What waits to be sent.
    out: Vec<u8>,
    /// Not before this is anything read again.
    read_at: Time,
}

impl Call {
    /// A guest that is to be called; `sockets` are those for RTP and RTCP.
    pub fn new(
        slot: u8,
        settings: Settings,
        sockets: Option<(std::net::UdpSocket, std::net::UdpSocket)>,
        door: Door,
        news: mpsc::Sender<News>,
    ) -> Call {
        let now = clock::now();
        let at = settings.at;
        let (rtp, rtcp) = sockets.unzip();
        // Without the kernel's stamps packets are stamped when they are read.
        let _ = rtp.as_ref().map(|rtp| setsockopt(rtp, ReceiveTimestampns, &true));
        let rtcp = rtcp.and_then(|rtcp| UdpSocket::from_std(rtcp).ok());
        let client = Client::new(settings, now);
        Call { slot, at, client, door, news, rtp, rtcp, line: Line::None, out: Vec::new(), read_at: now }
    }

    /// Hears the guest until it is none any more.
    pub async fn run(mut self, mut words: mpsc::Receiver<Word>, mut reports: watch::Receiver<PeerReport>) {
        let (mut bytes, mut report) = (vec![0; READ], vec![0; LONGEST_REPORT]);
        self.carry_out();
        loop {
            let (rest, may_read) = (self.until_deadline(), clock::now() >= self.read_at);
            tokio::select! {
                event = self.line.next(&mut bytes, &mut self.out, may_read) => self.handle(event, &bytes),
                Some(length) = receive(self.rtcp.as_ref(), self.at, &mut report) => {
                    self.client.handle_control(clock::now(), &report[..length]);
                }
                Ok(()) = reports.changed() => {
                    let report = *reports.borrow_and_update();
                    self.client.handle_report(clock::now(), &report);
                }
                word = words.recv() => match word {
                    Some(Word::Again) => self.client.handle_news(clock::now()),
                    Some(Word::Over) | None => break,
                },
                () = tokio::time::sleep(rest) => self.client.handle_deadline(clock::now()),
            }
            self.carry_out();
        }
        self.leave().await;
    }

    fn handle(&mut self, event: Event, bytes: &[u8]) {
        let now = clock::now();
        match event {
            Event::Connected(stream) => {
                // Reports must not wait for each other. Where that is refused they do.
                let _ = stream.set_nodelay(true);
                let (reader, writer) = stream.into_split();
                self.line = Line::Open(reader, writer);
                self.client.handle_connected(now);
            }
            Event::Read(length) => {
                self.read_at = now + READ_EVERY;
                self.client.handle_bytes(now, &bytes[..length]);
            }
            Event::Closed(why) => {
                self.line = Line::None;
                self.client.handle_closed(now, &why);
            }
        }
    }

    /// Carries out what the client wants.
    fn carry_out(&mut self) {
        let mut handed = false;
        while let Some(action) = self.client.poll() {
            match action {
                Action::Connect => {
                    self.out.clear();
                    self.line = Line::Dialling(Box::pin(TcpStream::connect(self.at)));
                }
                Action::Write(bytes) => self.out.extend_from_slice(&bytes),
                Action::Listen { payload_type, udp } => self.listen(payload_type, udp),
                Action::Packet(bytes) => {
                    self.door.hand(self.slot, clock::now(), bytes);
                    handed = true;
                }
                Action::Send { to, control, bytes } => self.send(to, control, &bytes),
                Action::Rest => self.door.shut(self.slot),
                Action::Close => self.hang_up(),
                // Full: the body stands still, and nobody looks at its status.
                Action::Tell(way) => drop(self.news.try_send(News { slot: self.slot, way })),
            }
        }
        if handed {
            self.door.ring();
        }
        if self.out.len() > BACKLOG {
            self.line = Line::None;
            self.client.handle_closed(clock::now(), "does not read what we say");
            self.out.clear();
        }
    }

    fn listen(&self, payload_type: u8, udp: bool) {
        let socket = self.rtp.as_ref().filter(|_| udp).and_then(|rtp| rtp.try_clone().ok());
        if socket.is_some() || !udp {
            self.door.open(Opening { slot: self.slot, ip: self.at.ip(), payload_type, socket });
        }
    }

    /// A datagram that a line does not take is lost.
    fn send(&self, to: u16, control: bool, bytes: &[u8]) {
        let to = SocketAddr::new(self.at.ip(), to);
        if control {
            let _ = self.rtcp.as_ref().map(|rtcp| rtcp.try_send_to(bytes, to));
        } else {
            let _ = self.rtp.as_ref().map(|rtp| rtp.send_to(bytes, to));
        }
    }

    /// Closes the connection, with the last words if they can be said at once.
    fn hang_up(&mut self) {
        if let Line::Open(_, writer) = std::mem::replace(&mut self.line, Line::None) {
            let _ = writer.try_write(&self.out);
        }
        self.out.clear();
    }

    /// Says goodbye.
    async fn leave(mut self) {
        self.client.end();
        while let Some(action) = self.client.poll() {
            if let Action::Write(bytes) = action {
                self.out.extend_from_slice(&bytes);
            }
        }
        if let Line::Open(reader, mut writer) = self.line {
            let goodbye = async {
                let _ = writer.write_all(&self.out).await;
                let _ = writer.shutdown().await;
                drain(reader).await;
            };
            let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        }
    }

    fn until_deadline(&self) -> Duration {
        let now = clock::now();
        let read = (now < self.read_at).then_some(self.read_at);
        let deadline = self.client.deadline().into_iter().chain(read).min();
        deadline.map_or(GOODBYE, |deadline| deadline.since(now))
    }
}

impl Line {
    /// What happens next. What waits to be sent is sent meanwhile; without `may_read` nothing is read.
    async fn next(&mut self, bytes: &mut [u8], out: &mut Vec<u8>, may_read: bool) -> Event {
        match self {
            Line::None => std::future::pending().await,
            Line::Dialling(dialling) => match dialling.await {
                Ok(stream) => Event::Connected(stream),
                Err(error) => Event::Closed(format!("cannot be reached ({error})")),
            },
            Line::Open(reader, writer) => loop {
                let ended = tokio::select! {
                    read = reader.read(bytes), if may_read => match read {
                        Ok(length) if length > 0 => return Event::Read(length),
                        other => other.err(),
                    },
                    written = writer.write(out), if !out.is_empty() => match written {
                        Ok(length) if length > 0 => {
                            out.drain(..length);
                            continue;
                        }
                        other => other.err(),
                    },
                    else => std::future::pending().await,
                };
                let why = ended.map_or_else(String::new, |error| format!(" ({error})"));
                return Event::Closed(format!("has closed the connection{why}"));
            },
        }
    }
}

/// Reads to the end, so that what we said last is not lost by a reset.
async fn drain(mut reader: OwnedReadHalf) {
    let mut bytes = [0; READ];
    while matches!(reader.read(&mut bytes).await, Ok(1..)) {}
}

/// The next RTCP datagram from the guest's address; `None` after one from elsewhere.
async fn receive(socket: Option<&UdpSocket>, at: SocketAddr, bytes: &mut [u8]) -> Option<usize> {
    let Some(socket) = socket else { return std::future::pending().await };
    match socket.recv_from(bytes).await {
        Ok((length, from)) => (from.ip() == at.ip()).then_some(length),
        Err(_) => {
            // An earlier datagram found nobody: that says nothing about the next one.
            tokio::time::sleep(READ_EVERY).await;
            None
        }
    }
}
