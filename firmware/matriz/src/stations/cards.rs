//! The network cards of this computer, as stations need them: where to announce, and what is at the other end of `%`.
//!
//! Before it: the kernel's list, read anew each time, since cards come and go. After it: [`super::announcer`] and
//! whoever turns a [`Host`] into a socket's address.

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_indextoname, if_nametoindex};
use proto::station::announcement::ALL_NODES;
use proto::station::uri::{Host, is_link_local};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

/// A subnet that a station announces itself in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circle {
    /// Our address in it.
    pub from: SocketAddr,
    /// Everybody in it; the port is 0.
    pub everybody: SocketAddr,
}

/// The subnets of all cards, or of the card that has the address `only`.
pub fn circles(only: Option<IpAddr>) -> Vec<Circle> {
    let addresses = addresses();
    let card = only.and_then(|ip| addresses.iter().find(|address| ip_of(address) == Some(ip)));
    let card = card.map(|address| address.interface_name.as_str());
    let wanted = |address: &&InterfaceAddress| match (only, ip_of(address)) {
        (None, _) => true,
        // Besides the address itself, the one of its card that every card has.
        (Some(only), Some(ip)) => {
            ip == only || (ip.is_ipv6() && card == Some(address.interface_name.as_str()))
        }
        (Some(_), None) => false,
    };
    addresses.iter().filter(wanted).filter_map(circle).collect()
}

/// The name of the card that has an address.
pub fn name(ip: IpAddr) -> Option<String> {
    addresses().into_iter().find(|address| ip_of(address) == Some(ip)).map(|address| address.interface_name)
}

/// All addresses of this computer.
pub fn own() -> Vec<IpAddr> {
    addresses().iter().filter_map(ip_of).collect()
}

/// Where an address is, with its network card's name if it needs one.
pub fn host(address: SocketAddr) -> Host {
    let card = match address {
        SocketAddr::V6(address) if address.scope_id() > 0 => if_indextoname(address.scope_id()).ok(),
        _ => None,
    };
    Host::new(address.ip(), card.and_then(|card| card.into_string().ok()).as_deref())
}

/// The address of a socket at that host.
///
/// # Errors
/// There is no such network card, or none is said where one is needed; a sentence.
pub fn address(host: &Host, port: u16) -> Result<SocketAddr, String> {
    let scope = match (&host.card, host.ip) {
        (Some(card), _) => {
            if_nametoindex(card.as_str()).map_err(|_| format!("there is no network card \"{card}\""))?
        }
        (None, IpAddr::V6(ip)) if is_link_local(ip) => {
            return Err(format!("{ip} needs the network card that leads there, such as {ip}%eth0"));
        }
        (None, _) => 0,
    };
    Ok(match host.ip {
        IpAddr::V4(ip) => SocketAddr::from((ip, port)),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
    })
}

fn addresses() -> Vec<InterfaceAddress> {
    match getifaddrs() {
        Ok(addresses) => addresses.filter(|address| address.flags.contains(InterfaceFlags::IFF_UP)).collect(),
        Err(error) => {
            tracing::debug!("the system does not list its network cards: {error}");
            Vec::new()
        }
    }
}

fn ip_of(address: &InterfaceAddress) -> Option<IpAddr> {
    let socket = address.address.as_ref()?;
    let v4 = socket.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| socket.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// The subnet of an address, if it has one that everybody in it can be reached by.
fn circle(address: &InterfaceAddress) -> Option<Circle> {
    let socket = address.address.as_ref()?;
    if let Some(v6) = socket.as_sockaddr_in6() {
        let multicast = address.flags.contains(InterfaceFlags::IFF_MULTICAST);
        let outside = !address.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let everybody = SocketAddrV6::new(ALL_NODES, 0, 0, v6.scope_id()).into();
        let from = SocketAddrV6::new(v6.ip(), 0, 0, v6.scope_id()).into();
        return (is_link_local(v6.ip()) && multicast && outside).then_some(Circle { from, everybody });
    }
    if !address.flags.contains(InterfaceFlags::IFF_BROADCAST) {
        return None;
    }
    let own = socket.as_sockaddr_in()?.ip();
    let v4 = |socket: &Option<nix::sys::socket::SockaddrStorage>| {
        socket.as_ref().and_then(|socket| socket.as_sockaddr_in()).map(|socket| socket.ip())
    };
    let everybody = broadcast(own, v4(&address.netmask)?, v4(&address.broadcast))?;
    Some(Circle { from: (own, 0).into(), everybody: (everybody, 0).into() })
}

/// The broadcast address of a subnet: the one that was set for the card, else all ones behind the mask (RFC 1122
/// section 3.2.1.3). `None` where there is no room for one, as between two ends of a line (RFC 3021).
fn broadcast(own: Ipv4Addr, mask: Ipv4Addr, set: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    let ones = Ipv4Addr::from_bits(own.to_bits() | !mask.to_bits());
    match set.filter(|set| !set.is_unspecified() && *set != own) {
        None if mask.to_bits().leading_ones() > 30 => None,
        set => Some(set.unwrap_or(ones)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broadcast_address_is_that_of_the_subnet_and_not_of_24_bits() {
        let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let of =
            |own, mask, set: Option<&str>| broadcast(ip(own), ip(mask), set.map(ip)).map(|ip| ip.to_string());
        let found = |own, mask| of(own, mask, None).unwrap();
        assert_eq!(found("192.168.0.1", "255.255.255.0"), "192.168.0.255");
        assert_eq!(found("10.1.17.2", "255.255.240.0"), "10.1.31.255");
        assert_eq!(found("10.2.0.18", "255.255.255.240"), "10.2.0.31");
        assert_eq!(found("10.2.0.1", "255.255.255.252"), "10.2.0.3");
        assert_eq!(of("10.2.0.0", "255.255.255.254", None), None);
        assert_eq!(of("10.2.0.0", "255.255.255.255", Some("10.2.0.0")), None);
        assert_eq!(of("10.1.17.2", "255.255.240.0", Some("0.0.0.0")).unwrap(), "10.1.31.255", "none is set");
        assert_eq!(
            of("10.1.17.2", "255.255.240.0", Some("10.1.16.0")).unwrap(),
            "10.1.16.0",
            "an old custom"
        );
    }

    #[test]
    fn an_address_of_the_link_needs_its_card() {
        let host = |text: &str, card| Host::new(text.parse().unwrap(), card);
        assert_eq!(address(&host("10.0.0.1", None), 7).unwrap().to_string(), "10.0.0.1:7");
        let lo = address(&host("fe80::1", Some("lo")), 7).unwrap();
        assert_eq!(super::host(lo), host("fe80::1", Some("lo")));
        assert!(address(&host("fe80::1", None), 7).unwrap_err().contains("%eth0"));
        assert!(address(&host("fe80::1", Some("none9")), 7).unwrap_err().contains("\"none9\""));
    }
}
