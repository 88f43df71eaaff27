//! Sends a station's sound to its listeners: one encoder, one datagram for each of them and each packet.
//!
//! Between [`crate::programs`], which makes the packets, and the listeners' UDP ports; `proto::station::Station`
//! decides. There are two programmes at most: `session`, which is everything that is heard here, and `stream`, our own
//! sound alone, only as long as somebody must not get more (`proto::station::ring`). Each listener has a socket of its
//! own that is connected to it, so that the kernel tells when nobody is there.

use super::SharedRing;
use super::line::Wish;
use crate::clock;
use crate::programs::{Packet, Programs};
use proto::rtcp::ntp_from_nanos;
use proto::station::ring::Share;
use proto::station::{Action, Identity, Station};
use proto::units::Time;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::UdpSocket;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

/// How often it is looked who has vanished.
const LOOK: Duration = Duration::from_secs(1);

/// From one look at a listener's datagrams to the next: even a flood of them leaves the control thread its time.
const READ_EVERY: Duration = Duration::from_millis(20);

/// Something came from a listener's address.
enum Heard {
    Datagram(SocketAddr, Vec<u8>),
    Refused(SocketAddr),
}

/// A listener's socket.
struct Line {
    socket: Arc<UdpSocket>,
    reader: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A programme, as long as somebody gets it.
#[derive(Default)]
struct Tuned {
    packets: Option<Receiver<Arc<Packet>>>,
    /// It could not be had; not before this is it tried again.
    not_before: Option<Time>,
}

/// The station's sound.
pub struct Sender {
    station: Station,
    programs: Programs,
    ring: SharedRing,
    lines: HashMap<SocketAddr, Line>,
    heard: mpsc::Receiver<Heard>,
    hear: mpsc::Sender<Heard>,
    session: Tuned,
    stream: Tuned,
    listeners: Arc<AtomicUsize>,
}

impl Sender {
    /// Nobody listens yet; `listeners` will say how many do.
    pub fn new(
        identity: Identity,
        programs: Programs,
        ring: SharedRing,
        listeners: Arc<AtomicUsize>,
    ) -> Sender {
        let (hear, heard) = mpsc::channel(64);
        let station = Station::new(identity, clock::now());
        let (session, stream) = (Tuned::default(), Tuned::default());
        Sender { station, programs, ring, lines: HashMap::new(), heard, hear, session, stream, listeners }
    }

    /// Serves until told to stop, and says goodbye then.
    pub async fn run(mut self, mut wishes: mpsc::Receiver<Wish>, mut stopped: watch::Receiver<bool>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(Wish { from, command, reply }) = wishes.recv() => {
                    // Who does not wait for the answer does not get it.
                    let _ = reply.send(self.station.handle_command(clock::now(), from, command));
                }
                Some(heard) = self.heard.recv() => self.hear(heard),
                packet = self.session.next() => self.play(Share::Everything, packet.as_deref()),
                packet = self.stream.next() => self.play(Share::Own, packet.as_deref()),
                _ = looks.tick() => self.station.handle_second(clock::now(), time_of_day()),
                // A station that is gone has told everybody.
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
            self.carry_out();
            self.tune();
        }
        self.station.handle_end();
        self.carry_out();
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Datagram(from, bytes) => self.station.handle_datagram(clock::now(), from, &bytes),
            Heard::Refused(to) => self.station.handle_refusal(clock::now(), to),
        }
    }

    fn play(&mut self, share: Share, packet: Option<&Packet>) {
        let ring = self.ring.lock();
        match packet {
            Some(Packet { frame, payload }) => {
                self.station.handle_packet(clock::now(), &ring, share, *frame, payload);
            }
            None => {
                let tuned = if share == Share::Own { &mut self.stream } else { &mut self.session };
                *tuned = Tuned { packets: None, not_before: Some(clock::now() + LOOK) };
            }
        }
    }

    /// Listens to the programmes that somebody gets, and to no others: then their encoders rest.
    fn tune(&mut self) {
        let now = clock::now();
        let ring = self.ring.lock();
        for (share, name) in [(Share::Everything, "session"), (Share::Own, "stream")] {
            let tuned = if share == Share::Own { &mut self.stream } else { &mut self.session };
            if !self.station.wants(now, &ring, share) {
                tuned.packets = None;
            } else if tuned.packets.is_none() && tuned.not_before.is_none_or(|not_before| now >= not_before) {
                tuned.packets = self.programs.listen(name);
                tuned.not_before = tuned.packets.is_none().then_some(now + LOOK);
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.station.poll() {
            match action {
                Action::Open(to) => self.open(to),
                Action::Send(to, datagram) => self.send(to, &datagram),
                Action::Close(to) => {
                    tracing::debug!("{to} does not listen to this station any more");
                    self.lines.remove(&to);
                }
            }
        }
        self.listeners.store(self.station.count(), Ordering::Relaxed);
    }

    fn open(&mut self, to: SocketAddr) {
        match connect(to) {
            Ok(socket) => {
                tracing::debug!("{to} listens to this station");
                let socket = Arc::new(socket);
                let reader = tokio::spawn(read(Arc::clone(&socket), to, self.hear.clone())).abort_handle();
                self.lines.insert(to, Line { socket, reader });
            }
            // It is tried again with each packet, until the listener expires.
            Err(error) => tracing::debug!("nothing can be sent to {to}: {error}"),
        }
    }

    fn send(&mut self, to: SocketAddr, datagram: &[u8]) {
        if !self.lines.contains_key(&to) {
            self.open(to);
        }
        let Some(line) = self.lines.get(&to) else { return self.station.handle_refusal(clock::now(), to) };
        // No room in the kernel: it is lost, as on any line.
        if line.socket.try_send(datagram).is_err_and(|error| is_refusal(&error)) {
            self.station.handle_refusal(clock::now(), to);
        }
    }
}

impl Tuned {
    /// The next packet, `None` when the programme has ended. What came too fast for us is left out.
    async fn next(&mut self) -> Option<Arc<Packet>> {
        let Some(packets) = &mut self.packets else { return std::future::pending().await };
        loop {
            match packets.recv().await {
                Ok(packet) => return Some(packet),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn connect(to: SocketAddr) -> io::Result<UdpSocket> {
    let any = if to.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Hands over what comes from a listener, and what the kernel says of datagrams to him.
async fn read(socket: Arc<UdpSocket>, to: SocketAddr, hear: mpsc::Sender<Heard>) {
    let mut buffer = [0; 1_500];
    loop {
        let heard = match socket.recv(&mut buffer).await {
            Ok(length) => Some(Heard::Datagram(to, buffer[..length].to_vec())),
            Err(error) if is_refusal(&error) => Some(Heard::Refused(to)),
            Err(_) => None,
        };
        if let Some(heard) = heard
            && hear.send(heard).await.is_err()
        {
            return;
        }
        tokio::time::sleep(READ_EVERY).await;
    }
}

/// Whether an error says that nobody is there (ICMP), and not that we have no room.
fn is_refusal(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

/// The time of day, as reports tell it.
fn time_of_day() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ntp_from_nanos(i64::try_from(since.as_nanos()).unwrap_or_default())
}
