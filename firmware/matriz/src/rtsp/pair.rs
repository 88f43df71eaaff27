//! The UDP sockets of the RTSP server: RTP goes out of one port, RTCP out of the next, to all listeners.
//!
//! Before it: [`super::visit`], which sends. What comes in is looked at only for reports: a listener that
//! reports about its stream is alive (RFC 2326 section 10.8 leaves that open; players report every few
//! seconds and some ask for nothing else).

use proto::rtcp::{self, Packet};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// Ports for RTP; the one for RTCP is the next. Of those that musicians open (8600 to 8700) they are taken
/// from the end, as the media ports of boxes on the same computer count up from the beginning.
pub const PORTS: RangeInclusive<u16> = 8_602..=8_698;

/// How long to wait after an error that does not come from a listener.
const BREATH: Duration = Duration::from_millis(100);

/// Both sockets, and who is sent to.
pub struct Pair {
    port: u16,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// The listeners by the source that they hear. Each is woken by a report about it.
    listeners: Mutex<HashMap<u32, mpsc::Sender<()>>>,
}

impl Pair {
    /// Opens the last two ports that are free; `None` if there are none.
    pub fn bind(ip: IpAddr) -> Option<Pair> {
        let (port, rtp, rtcp) = two_ports(ip)?;
        let [rtp, rtcp] = [rtp, rtcp].map(UdpSocket::from_std);
        Some(Pair { port, rtp: rtp.ok()?, rtcp: rtcp.ok()?, listeners: Mutex::default() })
    }

    /// The port for RTP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends a datagram, unless the kernel has no room for it: then it is lost, as on any line.
    pub fn send(&self, control: bool, to: SocketAddr, datagram: &[u8]) {
        let socket = if control { &self.rtcp } else { &self.rtp };
        let _ = socket.try_send_to(datagram, to);
    }

    /// From now on reports about this source wake `listener`, until the return value is dropped.
    pub fn register(self: &Arc<Pair>, ssrc: u32, listener: mpsc::Sender<()>) -> Registration {
        self.listeners().insert(ssrc, listener);
        Registration { ssrc, pair: Arc::clone(self) }
    }

    /// Hears what comes in, for ever.
    pub async fn hear(self: Arc<Pair>) {
        // What comes to the port for RTP opens ways through routers and says nothing.
        let (mut report, mut nothing) = ([0; 2_048], [0; 16]);
        loop {
            let heard = tokio::select! {
                heard = self.rtcp.recv_from(&mut report) => heard,
                ignored = self.rtp.recv_from(&mut nothing) => ignored.map(|(_, from)| (0, from)),
            };
            match heard {
                Ok((length, _)) => self.wake(&report[..length]),
                Err(error) => {
                    tracing::debug!("no report of an RTSP listener can be received: {error}");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }

    /// Wakes everybody whom a report is about.
    fn wake(&self, datagram: &[u8]) {
        let Ok(packets) = rtcp::parse(datagram) else { return };
        let listeners = self.listeners();
        for packet in packets {
            if let Packet::ReceiverReport { blocks, .. } | Packet::SenderReport { blocks, .. } = packet {
                for listener in blocks.filter_map(|block| listeners.get(&block.ssrc)) {
                    // Full: it will wake anyway.
                    let _ = listener.try_send(());
                }
            }
        }
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, HashMap<u32, mpsc::Sender<()>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener whose reports are heard, until this is dropped.
pub struct Registration {
    ssrc: u32,
    pair: Arc<Pair>,
}

impl Registration {
    /// The source it hears.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.pair.listeners().remove(&self.ssrc);
    }
}

/// The last two ports that are free, for RTP and RTCP, and the first of them; `None` if there are none.
pub fn two_ports(ip: IpAddr) -> Option<(u16, std::net::UdpSocket, std::net::UdpSocket)> {
    PORTS.rev().step_by(2).find_map(|port| Some((port, bind(ip, port).ok()?, bind(ip, port + 1).ok()?)))
}

fn bind(ip: IpAddr, port: u16) -> io::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind(SocketAddr::new(ip, port))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
