//! The network threads: datagrams to packets and back, one UDP socket for everything.
//!
//! Between the engine's rings and the kernel. RTP goes to and from the audio thread, RTCP to and from the
//! session; both share the socket (RFC 5761), so that one hole in a NAT serves for all. The threads see
//! addresses and never a sample. One sleeps until the kernel has datagrams, the other until the audio thread
//! has rung the bell: a single system call each, which costs less than to wait for both in one thread.
//! Guests come by ports of their own ([`ears`]).

mod batch;
pub mod ears;

use crate::config::{Config, ConfigError};
use crate::{clock, realtime};
use anyhow::Context;
use batch::{Inbox, Outbox, Sleep};
use ears::Ears;
use engine::packet::{Arrival, Packet};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{setsockopt, sockopt::Ipv4Tos, sockopt::ReceiveTimestampns};
use proto::control::SLOTS;
use proto::routes::{Listener, Routes, Stream, packets};
use proto::units::Time;
use proto::{rtcp, rtp};
use rtrb::{Consumer, Producer};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// The mark for routers that know one: expedited forwarding, DSCP 46 (RFC 3246), in the upper six bits.
const EXPEDITED: i32 = 46 << 2;

/// How long the thread that receives sleeps at most: then it looks whether it should end.
const NAP: Duration = Duration::from_millis(100);

/// How long a report may wait for a line that takes nothing. Music does not wait at all.
const FULL: Duration = Duration::from_millis(1);

/// An RTCP datagram for the session.
pub struct Control {
    /// Who sent it.
    pub from: SocketAddr,
    /// When it came.
    pub time: Time,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// Opens the media socket of a box and says under which addresses it can be reached.
///
/// # Errors
/// The port is taken, or the configuration's network card has no address; says what to change.
pub fn bind(config: &Config) -> anyhow::Result<(UdpSocket, Vec<SocketAddr>)> {
    let addresses = own_addresses(config)?;
    let at = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, config.media_port);
    let socket = UdpSocket::bind(at).map_err(|error| taken(config, &error))?;
    socket.set_read_timeout(Some(NAP)).context("the media socket takes no time limit")?;
    socket.set_write_timeout(Some(FULL)).context("the media socket takes no time limit")?;
    setsockopt(&socket, ReceiveTimestampns, &true).context("the kernel does not stamp datagrams")?;
    if setsockopt(&socket, Ipv4Tos, &EXPEDITED).is_err() {
        tracing::debug!("the kernel does not mark our datagrams as urgent");
    }
    let port = socket.local_addr().context("the media socket has no address")?.port();
    Ok((socket, addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()))
}

fn taken(config: &Config, error: &std::io::Error) -> ConfigError {
    let port = config.media_port;
    let what = match error.kind() {
        ErrorKind::AddrInUse => format!(
            "UDP port {port} is taken by another program, perhaps a second matriz: end that one, or set \
             \"media_port\" to another number"
        ),
        _ => format!("UDP port {port} cannot be opened ({error}): set \"media_port\" to another number"),
    };
    config.wrong("media_port", what)
}

/// The addresses to offer: those of the configured card, else of all cards, else loopback.
fn own_addresses(config: &Config) -> anyhow::Result<Vec<IpAddr>> {
    let mut cards: Vec<(String, Ipv4Addr)> = Vec::new();
    for card in nix::ifaddrs::getifaddrs().context("the system does not list its network cards")? {
        if let Some(address) = card.address.as_ref().and_then(|address| address.as_sockaddr_in()) {
            cards.push((card.interface_name, address.ip()));
        }
    }
    if let Some(name) = &config.interface {
        let of_card: Vec<IpAddr> =
            cards.iter().filter(|(card, _)| card == name).map(|(_, ip)| IpAddr::V4(*ip)).collect();
        if !of_card.is_empty() {
            return Ok(of_card);
        }
        let names: Vec<&str> = cards.iter().map(|(card, _)| card.as_str()).collect();
        let there = names.join(", ");
        let sentence =
            format!("there is no network card \"{name}\" with an address (there is {there}); using all");
        tracing::warn!("{}", config.wrong("interface", sentence));
    }
    let outside: Vec<IpAddr> =
        cards.iter().filter(|(_, ip)| !ip.is_loopback()).map(|(_, ip)| IpAddr::V4(*ip)).collect();
    Ok(if outside.is_empty() { vec![IpAddr::V4(Ipv4Addr::LOCALHOST)] } else { outside })
}

/// A bell that the audio thread rings when packets wait: one system call, which never blocks, as nobody can ring
/// 2^64 times before it is heard.
#[derive(Clone)]
pub struct Bell(Arc<EventFd>);

impl Bell {
    /// A bell.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> anyhow::Result<Bell> {
        let flags = EfdFlags::EFD_CLOEXEC;
        let event = EventFd::from_value_and_flags(0, flags).context("no file descriptor is left")?;
        Ok(Bell(Arc::new(event)))
    }

    /// Rings. Full is as good as rung, so there is nothing to fail.
    pub fn ring(&self) {
        let _ = self.0.write(1);
    }

    /// Sleeps until it rings.
    fn wait(&self) {
        let _ = self.0.read();
    }
}

/// What the thread works with.
pub struct Parts {
    /// The media socket.
    pub socket: UdpSocket,
    /// Rung by the audio thread.
    pub bell: Bell,
    /// The peers' packets, to the engine.
    pub arrivals: Producer<Arrival>,
    /// Our packets, from the engine.
    pub packets: Consumer<Packet>,
    /// Who is who; changed by the control loop.
    pub routes: Arc<Mutex<Routes>>,
    /// Gives our packets their headers.
    pub stream: Stream,
    /// RTCP, to the control loop.
    pub control: mpsc::Sender<Control>,
    /// What guests send.
    pub ears: Ears,
}

/// The running threads; they end when this is dropped.
pub struct Network {
    stop: Arc<AtomicBool>,
    bell: Bell,
    threads: Vec<JoinHandle<()>>,
}

impl Network {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives no thread or no file descriptor.
    pub fn start(parts: Parts) -> anyhow::Result<Network> {
        let Parts { socket, bell, arrivals, packets, routes, stream, control, ears } = parts;
        let mut network = Network { stop: Arc::default(), bell: bell.clone(), threads: Vec::new() };
        let (own, shared) = (socket.try_clone().context("no file descriptor is left")?, Arc::clone(&routes));
        let going = Out { socket: own, bell, packets, routes: shared, stream, outbox: Outbox::new() };
        let coming = In { socket, arrivals, routes, control, ears };
        network.spawn("network out", |stop| going.run(stop))?;
        network.spawn("network in", |stop| coming.run(stop))?;
        Ok(network)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce(&AtomicBool) + Send + 'static) -> anyhow::Result<()> {
        let stop = Arc::clone(&self.stop);
        let builder = std::thread::Builder::new().name(name.to_owned());
        let thread =
            builder.spawn(move || run(&stop)).context("the system gives no thread for the network")?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.bell.ring();
        for thread in self.threads.drain(..) {
            // A panic there was printed already.
            let _ = thread.join();
        }
    }
}

/// The thread for what goes out.
struct Out {
    socket: UdpSocket,
    bell: Bell,
    packets: Consumer<Packet>,
    routes: Arc<Mutex<Routes>>,
    stream: Stream,
    outbox: Outbox,
}

impl Out {
    fn run(mut self, stop: &AtomicBool) {
        be_urgent();
        while !stop.load(Ordering::Relaxed) {
            self.bell.wait();
            self.send();
        }
    }

    /// Each packet of ours once to everybody.
    fn send(&mut self) {
        let Out { socket, packets, routes, stream, .. } = self;
        while let Ok(packet) = packets.pop() {
            stream.push(packet.frame, packet.payload());
            let routes = routes.lock().unwrap_or_else(PoisonError::into_inner);
            for Listener { to, distance } in routes.listeners() {
                self.outbox.add(socket, to, |datagram| stream.write(distance, datagram));
            }
        }
        self.outbox.send(socket);
    }
}

/// The thread for what comes in.
struct In {
    socket: UdpSocket,
    arrivals: Producer<Arrival>,
    routes: Arc<Mutex<Routes>>,
    control: mpsc::Sender<Control>,
    ears: Ears,
}

impl In {
    fn run(mut self, stop: &AtomicBool) {
        be_urgent();
        let mut inbox = Inbox::new();
        while !stop.load(Ordering::Relaxed) {
            if self.ears.is_empty() {
                self.receive(&mut inbox, Sleep::UntilOne);
            } else {
                self.listen(&mut inbox);
            }
            self.ears.take_in(&mut self.arrivals); // last, as it changes whose socket is where
        }
    }

    /// Takes in what waits at the media socket; asleep until then, or for [`NAP`], if so told.
    fn receive(&mut self, inbox: &mut Inbox, sleep: Sleep) {
        let In { socket, arrivals, routes, control, .. } = self;
        let came = inbox.receive(socket, sleep, |datagram, from, stamp| {
            let time = stamp.map_or_else(clock::now, clock::from_wall_clock);
            if rtcp::is_rtcp(datagram) {
                // A full queue is a flood; RTCP may be lost.
                let _ = control.try_send(Control { from, time, bytes: datagram.to_vec() });
            } else {
                let routes = routes.lock().unwrap_or_else(PoisonError::into_inner);
                deliver(datagram, time, &routes, arrivals);
            }
        });
        // Nothing came, or an earlier datagram found nobody (ICMP). Anything else is no reason to spin.
        if let Err(error) = came
            && !matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionRefused
            )
        {
            std::thread::sleep(NAP);
        }
    }

    /// The same while there are guests: at their sockets too.
    fn listen(&mut self, inbox: &mut Inbox) {
        let [came, rung, guests @ ..] = self.wait();
        if came {
            self.receive(inbox, Sleep::Never);
        }
        if rung {
            self.ears.bell.wait();
        }
        for (at, _) in guests.iter().enumerate().filter(|(_, came)| **came) {
            self.ears.receive(at, inbox, &mut self.arrivals);
        }
    }

    /// Sleeps; then whether something waits at the media socket, whether a guest's connection has handed something over,
    /// and which guests have sent.
    fn wait(&self) -> [bool; 2 + SLOTS] {
        let In { socket, ears, .. } = self;
        let nothing = || PollFd::new(socket.as_fd(), PollFlags::empty());
        let mut waiting: [PollFd; 2 + SLOTS] = std::array::from_fn(|at| match at {
            0 => PollFd::new(socket.as_fd(), PollFlags::POLLIN),
            1 => PollFd::new(ears.bell.0.as_fd(), PollFlags::POLLIN),
            _ => ears.fd(at - 2).map_or_else(nothing, |fd| PollFd::new(fd, PollFlags::POLLIN)),
        });
        // Interrupted or timed out: look again.
        let _ = poll(&mut waiting[..2 + ears.len()], PollTimeout::try_from(NAP).unwrap_or(PollTimeout::MAX));
        waiting.map(|ready| ready.any() == Some(true))
    }
}

/// Before everything that can wait, on the core for it.
fn be_urgent() {
    realtime::promote(realtime::NETWORK);
    realtime::pin(realtime::Work::Network);
}

/// An RTP datagram to the engine. What is malformed or from a stranger is dropped.
fn deliver(datagram: &[u8], time: Time, routes: &Routes, arrivals: &mut Producer<Arrival>) {
    let Ok(rtp::Packet { header, payload }) = rtp::Packet::parse(datagram) else { return };
    let Some(slot) = routes.slot(header.ssrc) else { return };
    for packet in packets(header.payload_type, payload) {
        if let Some(arrival) = Arrival::new(slot, &header, packet, time) {
            // A full ring is an audio thread that stands still: nothing would be heard anyway.
            let _ = arrivals.push(arrival);
        }
    }
}
