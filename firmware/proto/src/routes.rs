//! Which source sits in which slot, where our packets go, and the RTP header that they get.
//!
//! Between the session, which decides the routes, and whatever moves datagrams: the network thread of a
//! box or the simulated world. Source: RFC 3550 section 5.1.

use crate::control::SLOTS;
use crate::rtp::{self, Header};
use crate::session::{Action, Identity};
use std::net::SocketAddr;

/// The slots' sources and addresses.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    slots: [Option<Route>; SLOTS],
}

#[derive(Clone, Copy, Debug)]
struct Route {
    ssrc: u32,
    to: Option<SocketAddr>,
}

impl Routes {
    /// Carries out [`Action::Route`] and [`Action::Unroute`]; false if `action` is another one.
    pub fn apply(&mut self, action: &Action) -> bool {
        let (slot, route) = match action {
            Action::Route { slot, ssrc, to, .. } => (*slot, Some(Route { ssrc: *ssrc, to: *to })),
            Action::Unroute { slot } => (*slot, None),
            _ => return false,
        };
        if let Some(entry) = self.slots.get_mut(usize::from(slot)) {
            *entry = route;
        }
        true
    }

    /// The slot of an RTP source; `None` for a stranger.
    pub fn slot(&self, ssrc: u32) -> Option<u8> {
        let of = |route: &Option<Route>| route.is_some_and(|route| route.ssrc == ssrc);
        self.slots.iter().position(of).map(|slot| slot as u8)
    }

    /// Where each of our packets goes.
    pub fn listeners(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.slots.iter().flatten().filter_map(|route| route.to)
    }
}

/// Our own RTP stream: gives each packet its header.
#[derive(Clone, Debug)]
pub struct Stream {
    ssrc: u32,
    timestamp_offset: u32,
    sequence: u16,
}

impl Stream {
    /// The stream of a box. Sequence numbers begin anywhere, so that they cannot be guessed.
    pub fn new(identity: &Identity) -> Self {
        let sequence = (identity.timestamp_offset >> 16) as u16;
        Stream { ssrc: identity.ssrc, timestamp_offset: identity.timestamp_offset, sequence }
    }

    /// The datagram of the packet that begins at card position `frame`, written over `datagram`.
    pub fn write(&mut self, frame: i64, payload: &[u8], datagram: &mut Vec<u8>) {
        let header = Header {
            marker: false,
            payload_type: rtp::OPUS,
            sequence: self.sequence,
            timestamp: (frame as u32).wrapping_add(self.timestamp_offset),
            ssrc: self.ssrc,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = [0; Header::LEN];
        header.write(&mut bytes);
        datagram.clear();
        datagram.extend_from_slice(&bytes);
        datagram.extend_from_slice(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::Packet;

    #[test]
    fn a_route_names_the_slot_and_the_address() {
        let mut routes = Routes::default();
        let to: SocketAddr = "192.0.2.1:8600".parse().unwrap();
        let route = |to| Action::Route { slot: 3, name: "porto".into(), ssrc: 9, to };
        assert!(routes.apply(&route(None)));
        assert_eq!((routes.slot(9), routes.listeners().count()), (Some(3), 0));
        assert!(routes.apply(&route(Some(to))));
        assert_eq!(routes.listeners().collect::<Vec<_>>(), [to]);
        assert!(routes.apply(&Action::Unroute { slot: 3 }));
        assert_eq!((routes.slot(9), routes.listeners().count()), (None, 0));
        assert!(!routes.apply(&Action::Say(String::new())));
    }

    #[test]
    fn packets_follow_each_other_across_the_wrap() {
        let mut stream = Stream { ssrc: 5, timestamp_offset: u32::MAX - 60, sequence: u16::MAX };
        let mut datagram = Vec::new();
        stream.write(0, &[1, 2], &mut datagram);
        let first = Packet::parse(&datagram).unwrap().header;
        assert_eq!((first.sequence, first.timestamp, first.ssrc), (u16::MAX, u32::MAX - 60, 5));
        stream.write(120, &[1, 2], &mut datagram);
        let packet = Packet::parse(&datagram).unwrap();
        assert_eq!((packet.header.sequence, packet.header.timestamp), (0, 59));
        assert_eq!(packet.payload, [1, 2]);
    }
}
