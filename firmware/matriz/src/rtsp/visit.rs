//! One player's connection to the RTSP server: its socket, its programme, its clock.
//!
//! Between [`super`], which accepts it, and `proto::rtsp::Connection`, which decides. A player that does
//! not read what it is sent loses packets, and after a while its connection; nobody else notices.

use super::pair::Registration;
use super::{Shared, random, told};
use crate::clock;
use crate::programs::Packet;
use proto::rtcp::ntp_from_nanos;
use proto::rtsp::{Action, Connection, House, Identity};
use proto::units::Time;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

/// Bytes read at once, and the time from one read to the next. More than any player needs, and so little that
/// even a full house of floods leaves the control thread its time. Our choice.
const READ: usize = 1_024;
const READ_EVERY: Duration = Duration::from_millis(20);

/// With more than this waiting to be sent, packets are left out and requests are not read: two seconds of
/// a stereo programme. Our choice.
const BACKLOG: usize = 40_000;

/// A player that takes nothing for this long is gone.
const STUCK: Duration = Duration::from_secs(10);

/// How long, and how much, a player may go on sending after the last answer, so that it gets to read it: a
/// connection that is closed before everything was read is reset, and the answer with it.
const LINGER: Duration = Duration::from_secs(1);
const LINGERING_READS: usize = 16;

/// One player.
pub struct Visit {
    shared: Arc<Shared>,
    from: SocketAddr,
    connection: Connection,
    /// What waits to be sent by TCP.
    out: Vec<u8>,
    /// When some of it was taken last, or when it began to wait.
    taken: Time,
    /// Not before this is anything read again.
    read_at: Time,
    closing: bool,
    /// The programme that plays, with its name.
    program: Option<(String, Receiver<Arc<Packet>>)>,
    /// The right to be a listener; there as long as the session.
    place: Option<OwnedSemaphorePermit>,
    /// Reports about its session that came by UDP.
    reports: mpsc::Receiver<()>,
    report_to: mpsc::Sender<()>,
    registration: Option<Registration>,
}

impl Visit {
    /// A player that was just accepted; `None` if it is gone again.
    pub fn new(stream: &TcpStream, from: SocketAddr, shared: Arc<Shared>) -> Option<Visit> {
        let local = stream.local_addr().ok()?.ip().to_canonical();
        // Packets must not wait for each other. Where that is refused they do.
        let _ = stream.set_nodelay(true);
        let identity = Identity {
            name: shared.name.clone(),
            number: shared.number,
            local,
            port: shared.pair.as_ref().map(|pair| pair.port()),
            seed: random(),
        };
        let (report_to, reports) = mpsc::channel(1);
        let now = clock::now();
        Some(Visit {
            shared,
            from,
            connection: Connection::new(identity, now),
            out: Vec::new(),
            taken: now,
            read_at: now,
            closing: false,
            program: None,
            place: None,
            reports,
            report_to,
            registration: None,
        })
    }

    /// Serves the player to its end.
    pub async fn run(mut self, stream: TcpStream, mut stopped: watch::Receiver<bool>) {
        let (mut reader, mut writer) = stream.into_split();
        let mut buffer = vec![0; READ];
        while !self.closing || !self.out.is_empty() {
            let rest = self.until_deadline();
            tokio::select! {
                read = reader.read(&mut buffer), if self.may_read() => match read {
                    Ok(length) if length > 0 => self.read(&buffer[..length]),
                    _ => return self.leave(),
                },
                written = writer.write(&self.out), if !self.out.is_empty() => match written {
                    Ok(length) if length > 0 => self.wrote(length),
                    _ => return self.leave(),
                },
                packet = next(&mut self.program) => self.play(packet.as_deref()),
                Some(()) = self.reports.recv() => self.connection.handle_report(clock::now()),
                () = told(&mut stopped), if !self.closing => self.connection.handle_end(),
                () = tokio::time::sleep(rest) => {
                    if self.is_stuck() {
                        return self.leave();
                    }
                    self.connection.handle_deadline(clock::now(), time_of_day());
                }
            }
            self.carry_out();
        }
        self.leave();
        drop(self);
        linger(reader, writer).await;
    }

    fn may_read(&self) -> bool {
        !self.closing && self.out.len() < BACKLOG && clock::now() >= self.read_at
    }

    fn read(&mut self, bytes: &[u8]) {
        let now = clock::now();
        self.read_at = now + READ_EVERY;
        let programs = self.shared.programs.names();
        let place = match self.place.take() {
            Some(place) => Some(place),
            None => Arc::clone(&self.shared.places).try_acquire_owned().ok(),
        };
        let house = House { programs: &programs, room: place.is_some() };
        self.connection.handle_bytes(now, bytes, house);
        self.place = place.filter(|_| self.connection.ssrc().is_some());
        self.register();
    }

    /// Lets reports about the session that there is now find it.
    fn register(&mut self) {
        let ssrc = self.connection.ssrc();
        if self.registration.as_ref().map(Registration::ssrc) != ssrc {
            self.registration = None; // before there is another: the sources could be the same
            let pair = self.shared.pair.as_ref();
            self.registration =
                pair.zip(ssrc).map(|(pair, ssrc)| pair.register(ssrc, self.report_to.clone()));
        }
    }

    fn wrote(&mut self, length: usize) {
        self.out.drain(..length);
        self.taken = clock::now();
    }

    /// A packet of the programme, or its end.
    fn play(&mut self, packet: Option<&Packet>) {
        match packet {
            Some(packet) if self.out.len() < BACKLOG => {
                self.connection.handle_packet(clock::now(), packet.frame, &packet.payload);
            }
            Some(_) => {}
            None => self.connection.handle_end(),
        }
    }

    fn is_stuck(&self) -> bool {
        !self.out.is_empty() && clock::now() >= self.taken + STUCK
    }

    fn until_deadline(&self) -> Duration {
        let now = clock::now();
        let stuck = (!self.out.is_empty()).then(|| self.taken + STUCK);
        let read = (now < self.read_at).then_some(self.read_at);
        let deadline = self.connection.deadline().into_iter().chain(stuck).chain(read).min();
        deadline.map_or(STUCK, |deadline| deadline.since(now))
    }

    /// Carries out what the connection wants.
    fn carry_out(&mut self) {
        while let Some(action) = self.connection.poll() {
            match action {
                Action::Write(bytes) => {
                    if self.out.is_empty() {
                        self.taken = clock::now();
                    }
                    self.out.extend_from_slice(&bytes);
                }
                Action::Send { to, control, bytes } => {
                    if let Some(pair) = &self.shared.pair {
                        pair.send(control, SocketAddr::new(self.from.ip(), to), &bytes);
                    }
                }
                Action::Listen(name) => self.listen(name),
                Action::Rest => self.leave(),
                Action::Close => self.closing = true,
            }
        }
    }

    fn listen(&mut self, name: String) {
        match self.shared.programs.listen(&name) {
            Some(program) => {
                tracing::debug!("{} listens to /{name}", self.from.ip().to_canonical());
                self.program = Some((name, program));
            }
            // It ended just now.
            None => self.connection.handle_end(),
        }
    }

    /// Listens to nothing any more.
    fn leave(&mut self) {
        if let Some((name, _)) = self.program.take() {
            tracing::debug!("{} does not listen to /{name} any more", self.from.ip().to_canonical());
        }
    }
}

/// The next packet of the programme; `None` when it is over. What came too fast for us is left out.
async fn next(program: &mut Option<(String, Receiver<Arc<Packet>>)>) -> Option<Arc<Packet>> {
    let Some((_, packets)) = program else { return std::future::pending().await };
    loop {
        match packets.recv().await {
            Ok(packet) => return Some(packet),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Lets the player read the last answer.
async fn linger(mut reader: OwnedReadHalf, mut writer: OwnedWriteHalf) {
    let _ = writer.shutdown().await;
    let drain = async {
        let mut buffer = [0; READ];
        for _ in 0..LINGERING_READS {
            if !matches!(reader.read(&mut buffer).await, Ok(1..)) {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// The time of day, as reports tell it.
fn time_of_day() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ntp_from_nanos(i64::try_from(since.as_nanos()).unwrap_or_default())
}
