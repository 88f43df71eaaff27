//! Hears the announcements of stations.
//!
//! Before it: the announcement port, IPv4 and IPv6, which several programs may hear at the same time. After it:
//! `proto::station::seen`.

use super::cards;
use anyhow::Context;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt::Ipv6V6Only,
    sockopt::ReuseAddr,
};
use proto::station::announcement::{LONGEST, parse};
use proto::station::uri::Host;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;
use tokio::net::UdpSocket;

/// How long to wait after an error that does not come from a station.
const BREATH: Duration = Duration::from_millis(100);

/// The sockets.
pub struct Ears {
    v4: UdpSocket,
    v6: Option<UdpSocket>,
}

impl Ears {
    /// Opens the port, of IPv6 too where the system has it.
    ///
    /// # Errors
    /// Another program has it for itself.
    pub fn open(port: u16) -> anyhow::Result<Ears> {
        let v4 = open(Ipv4Addr::UNSPECIFIED.into(), port).with_context(|| {
            format!(
                "UDP port {port}, where stations are announced, cannot be opened: end the program that has it"
            )
        })?;
        Ok(Ears { v4, v6: open(Ipv6Addr::UNSPECIFIED.into(), port).ok() })
    }

    /// The next announcement: where it comes from, and the name.
    pub async fn hear(&self) -> (Host, String) {
        let (mut first, mut second) = ([0; LONGEST], [0; LONGEST]);
        loop {
            let heard = tokio::select! {
                heard = self.v4.recv_from(&mut first) => heard.map(|(length, from)| (&first[..length], from)),
                heard = of(&self.v6, &mut second) => heard.map(|(length, from)| (&second[..length], from)),
            };
            match heard {
                Ok((datagram, from)) => {
                    if let Some(name) = parse(datagram) {
                        return (cards::host(from), name);
                    }
                }
                Err(error) => {
                    tracing::debug!("no announcement can be received: {error}");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }
}

async fn of(socket: &Option<UdpSocket>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(buffer).await,
        None => std::future::pending().await,
    }
}

fn open(ip: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Datagram, flags, None)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    if ip.is_ipv6() {
        setsockopt(&socket, Ipv6V6Only, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(ip, port)))?;
    UdpSocket::from_std(socket.into())
}
