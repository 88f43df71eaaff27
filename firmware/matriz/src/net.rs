//! The network thread: datagrams to packets and back, one UDP socket for everything.
//!
//! Between the engine's rings and the kernel. RTP goes to and from the audio thread, RTCP to and from the
//! session; both share the socket (RFC 5761), so that one hole in a NAT serves for all. The thread sees
//! addresses and never a sample. It sleeps in `poll` until the kernel has datagrams or the audio thread
//! has rung the bell.

use crate::config::{Config, ConfigError};
use crate::{clock, realtime};
use anyhow::Context;
use engine::packet::{Arrival, Packet};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt::Ipv4Tos,
    sockopt::ReceiveTimestampns,
};
use proto::routes::{Listener, Routes, Stream, packets};
use proto::units::Time;
use proto::{rtcp, rtp};
use rtrb::{Consumer, Producer};
use std::io::{ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Largest datagram that is read; what is longer is no packet of ours.
const LONGEST_DATAGRAM: usize = 2_048;

/// The mark for routers that know one: expedited forwarding, DSCP 46 (RFC 3246), in the upper six bits.
const EXPEDITED: i32 = 46 << 2;

/// How long the thread sleeps at most, in milliseconds: then it looks whether it should end.
const NAP: u16 = 100;

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
    socket.set_nonblocking(true).context("the media socket cannot be made non-blocking")?;
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

/// A bell that the audio thread rings when packets wait: one system call that never blocks.
#[derive(Clone)]
pub struct Bell(Arc<EventFd>);

impl Bell {
    /// A bell.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> anyhow::Result<Bell> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let event = EventFd::from_value_and_flags(0, flags).context("no file descriptor is left")?;
        Ok(Bell(Arc::new(event)))
    }

    /// Rings. Full is as good as rung, so there is nothing to fail.
    pub fn ring(&self) {
        let _ = self.0.write(1);
    }

    fn hush(&self) {
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
}

/// The running thread; ends when dropped.
pub struct Network {
    stop: Arc<AtomicBool>,
    bell: Bell,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(parts: Parts) -> anyhow::Result<Network> {
        let stop = Arc::new(AtomicBool::new(false));
        let bell = parts.bell.clone();
        let run = {
            let stop = Arc::clone(&stop);
            move || Worker { parts, datagram: Vec::with_capacity(LONGEST_DATAGRAM) }.run(&stop)
        };
        let builder = std::thread::Builder::new().name("network".to_owned());
        let thread = builder.spawn(run).context("the system gives no thread for the network")?;
        Ok(Network { stop, bell, thread: Some(thread) })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            // A panic there was printed already.
            let _ = thread.join();
        }
    }
}

struct Worker {
    parts: Parts,
    datagram: Vec<u8>,
}

impl Worker {
    fn run(mut self, stop: &AtomicBool) {
        realtime::promote(realtime::NETWORK);
        let mut buffer = [0; LONGEST_DATAGRAM];
        let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
        while !stop.load(Ordering::Relaxed) {
            let mut waiting = [
                PollFd::new(self.parts.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.parts.bell.0.as_fd(), PollFlags::POLLIN),
            ];
            // Interrupted or timed out: look again.
            let _ = poll(&mut waiting, PollTimeout::from(NAP));
            self.parts.bell.hush();
            self.send();
            while self.receive(&mut buffer, &mut space) {}
        }
    }

    /// Each packet of ours once to everybody.
    fn send(&mut self) {
        while let Ok(packet) = self.parts.packets.pop() {
            self.parts.stream.push(packet.frame, packet.payload());
            let routes = self.parts.routes.lock().unwrap_or_else(PoisonError::into_inner);
            for Listener { to, distance } in routes.listeners() {
                self.parts.stream.write(distance, &mut self.datagram);
                // A line that is down loses this packet; the peer conceals it, and the next may pass.
                let _ = self.parts.socket.send_to(&self.datagram, to);
            }
        }
    }

    /// Takes one datagram from the kernel; false when there is none.
    fn receive(&mut self, buffer: &mut [u8], space: &mut [u8]) -> bool {
        let fd = self.parts.socket.as_raw_fd();
        let (len, from, time) = {
            let mut slices = [IoSliceMut::new(buffer)];
            match recvmsg::<SockaddrIn>(fd, &mut slices, Some(space), MsgFlags::MSG_DONTWAIT) {
                Ok(message) => {
                    let stamps = message.cmsgs().into_iter().flatten();
                    let stamp = stamps.into_iter().find_map(|control| match control {
                        ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
                        _ => None,
                    });
                    let time = stamp.map_or_else(clock::now, clock::from_wall_clock);
                    (message.bytes, message.address, time)
                }
                // An earlier datagram found nobody (ICMP): that says nothing about this one.
                Err(Errno::ECONNREFUSED | Errno::EINTR) => return true,
                Err(_) => return false,
            }
        };
        if let Some(from) = from {
            self.handle(&buffer[..len], SocketAddr::V4(SocketAddrV4::from(from)), time);
        }
        true
    }

    /// What is malformed or from a stranger is dropped.
    fn handle(&mut self, datagram: &[u8], from: SocketAddr, time: Time) {
        if rtcp::is_rtcp(datagram) {
            // A full queue is a flood; RTCP may be lost.
            let _ = self.parts.control.try_send(Control { from, time, bytes: datagram.to_vec() });
            return;
        }
        let Ok(rtp::Packet { header, payload }) = rtp::Packet::parse(datagram) else { return };
        let slot = self.parts.routes.lock().unwrap_or_else(PoisonError::into_inner).slot(header.ssrc);
        let Some(slot) = slot else { return };
        for packet in packets(header.payload_type, payload) {
            if let Some(arrival) = Arrival::new(slot, &header, packet, time) {
                // A full ring is an audio thread that stands still: nothing would be heard anyway.
                let _ = self.parts.arrivals.push(arrival);
            }
        }
    }
}
