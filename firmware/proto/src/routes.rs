//! Which source sits in which slot, where our packets go, and the datagrams that are made of them.
//!
//! Between the session, which decides the routes, and whatever moves datagrams: the network threads of a
//! box or the simulated world. Each listener gets the same packets; one whose line loses some gets an
//! earlier packet along with each. Sources: RFC 3550 section 5.1, RFC 2198.

use crate::control::SLOTS;
use crate::format::Format;
use crate::red::{self, RED};
use crate::rtp::Header;
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
    distance: u8,
}

/// Where packets go, and with which copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address.
    pub to: SocketAddr,
    /// How many packets back the copy lies that each packet carries; 0: none.
    pub distance: u8,
}

impl Routes {
    /// Carries out [`Action::Route`] and [`Action::Unroute`]; false if `action` is another one.
    pub fn apply(&mut self, action: &Action) -> bool {
        let (slot, route) = match action {
            Action::Route { slot, ssrc, to, distance, .. } => {
                (*slot, Some(Route { ssrc: *ssrc, to: *to, distance: *distance }))
            }
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
    pub fn listeners(&self) -> impl Iterator<Item = Listener> + '_ {
        let listener = |route: &Route| route.to.map(|to| Listener { to, distance: route.distance });
        self.slots.iter().flatten().filter_map(listener)
    }
}

/// Our own RTP stream: makes datagrams of packets, and remembers the last ones for copies.
#[derive(Clone, Debug)]
pub struct Stream {
    ssrc: u32,
    timestamp_offset: u32,
    payload_type: u8,
    /// Sequence number of the newest packet.
    sequence: u16,
    /// The last packets; the newest one is at `sequence` modulo the length, a power of two, so that the wrap of
    /// sequence numbers is none here.
    past: [Past; PAST],
}

/// A packet that was sent.
#[derive(Clone, Debug, Default)]
struct Past {
    frame: i64,
    payload: Vec<u8>,
}

/// Most bytes of a packet and its copy: both headers around them, they still fit one Ethernet frame.
const MAX_BOTH: usize = 1_440;

/// Packets that are remembered.
const PAST: usize = 32;

/// Farthest back that a copy can lie, in packets.
pub const MAX_DISTANCE: u8 = 20;

impl Stream {
    /// The stream of a box. Sequence numbers begin anywhere, so that they cannot be guessed.
    pub fn new(identity: &Identity) -> Self {
        let sequence = (identity.timestamp_offset >> 16) as u16;
        let Identity { ssrc, timestamp_offset, .. } = *identity;
        let payload_type = identity.format.payload_type();
        Stream { ssrc, timestamp_offset, payload_type, sequence, past: Default::default() }
    }

    /// The packet that begins at card position `frame` is the newest one now.
    pub fn push(&mut self, frame: i64, payload: &[u8]) {
        self.sequence = self.sequence.wrapping_add(1);
        let newest = &mut self.past[usize::from(self.sequence) % PAST];
        newest.frame = frame;
        newest.payload.clear();
        newest.payload.extend_from_slice(payload);
    }

    /// Writes the newest packet over `datagram`, for a listener who gets a copy `distance` packets back.
    pub fn write(&self, distance: u8, datagram: &mut Vec<u8>) {
        let newest = self.back(0);
        let mut header = Header {
            marker: false,
            payload_type: RED,
            sequence: self.sequence,
            timestamp: (newest.frame as u32).wrapping_add(self.timestamp_offset),
            ssrc: self.ssrc,
        };
        datagram.clear();
        datagram.resize(Header::LEN, 0);
        if !self.write_copy(distance, datagram) {
            header.payload_type = self.payload_type;
            datagram.extend_from_slice(&newest.payload);
        }
        let mut bytes = [0; Header::LEN];
        header.write(&mut bytes);
        datagram[..Header::LEN].copy_from_slice(&bytes);
    }

    /// The payload with its copy; false if there is none to give.
    fn write_copy(&self, distance: u8, datagram: &mut Vec<u8>) -> bool {
        let (newest, copy) = (self.back(0), self.back(distance.min(MAX_DISTANCE)));
        let fits = newest.payload.len() + copy.payload.len() <= MAX_BOTH;
        if distance == 0 || copy.payload.is_empty() || !fits {
            return false;
        }
        let Ok(offset) = u32::try_from(newest.frame - copy.frame) else { return false };
        let copy = red::Copy { offset, payload: &copy.payload };
        red::write(copy, &newest.payload, self.payload_type, datagram)
    }

    fn back(&self, distance: u8) -> &Past {
        let sequence = self.sequence.wrapping_sub(u16::from(distance));
        &self.past[usize::from(sequence) % PAST]
    }
}

/// What an RTP payload holds, copies first: the format, how many frames the packet lies behind the datagram's
/// timestamp, and its payload. Nothing, if the payload is of another kind.
pub fn packets(payload_type: u8, payload: &[u8]) -> impl Iterator<Item = (Format, u32, &[u8])> {
    let redundant = (payload_type == RED).then(|| red::Redundant::parse(payload).ok()).flatten();
    let copies = redundant.into_iter().flat_map(|redundant| {
        (0..).map_while(move |n| redundant.copies().nth(n)).map(|copy| (copy.offset, copy.payload))
    });
    let format = Format::of(redundant.map_or(payload_type, |redundant| redundant.payload_type));
    let primary = redundant.map_or(payload, |redundant| redundant.primary);
    let packets = copies.chain([(0, primary)]);
    packets.filter_map(move |(behind, payload)| Some((format?, behind, payload)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::{OPUS, Packet};

    #[test]
    fn a_route_names_the_slot_and_the_address() {
        let mut routes = Routes::default();
        let to: SocketAddr = "192.0.2.1:8600".parse().unwrap();
        let route = |to| Action::Route { slot: 3, name: "porto".into(), ssrc: 9, to, distance: 2 };
        assert!(routes.apply(&route(None)));
        assert_eq!((routes.slot(9), routes.listeners().count()), (Some(3), 0));
        assert!(routes.apply(&route(Some(to))));
        assert_eq!(routes.listeners().collect::<Vec<_>>(), [Listener { to, distance: 2 }]);
        assert!(routes.apply(&Action::Unroute { slot: 3 }));
        assert_eq!((routes.slot(9), routes.listeners().count()), (None, 0));
        assert!(!routes.apply(&Action::Say(String::new())));
    }

    fn stream() -> Stream {
        let past = Default::default();
        let (timestamp_offset, sequence) = (u32::MAX - 60, u16::MAX - 1);
        Stream { ssrc: 5, timestamp_offset, payload_type: OPUS, sequence, past }
    }

    #[test]
    fn packets_follow_each_other_across_the_wrap() {
        let mut stream = stream();
        let mut datagram = Vec::new();
        stream.push(0, &[1, 2]);
        stream.write(0, &mut datagram);
        let first = Packet::parse(&datagram).unwrap().header;
        assert_eq!((first.sequence, first.timestamp, first.ssrc), (u16::MAX, u32::MAX - 60, 5));
        stream.push(120, &[1, 2]);
        stream.write(0, &mut datagram);
        let packet = Packet::parse(&datagram).unwrap();
        assert_eq!((packet.header.sequence, packet.header.timestamp), (0, 59));
        assert_eq!((packet.header.payload_type, packet.payload), (OPUS, &[1, 2][..]));
    }

    #[test]
    fn a_copy_lies_as_far_back_as_was_asked() {
        let mut stream = stream();
        let mut datagram = Vec::new();
        for n in 0..20_u8 {
            stream.push(i64::from(n) * 120, &[n, n]);
            stream.write(3, &mut datagram);
            let packet = Packet::parse(&datagram).unwrap();
            let inside: Vec<_> = packets(packet.header.payload_type, packet.payload)
                .map(|(format, behind, payload)| {
                    assert_eq!(format.payload_type(), OPUS);
                    (behind, payload)
                })
                .collect();
            match n {
                0..3 => assert_eq!(inside, [(0, &[n, n][..])], "nothing was sent so long ago"),
                _ => assert_eq!(inside, [(360, &[n - 3, n - 3][..]), (0, &[n, n][..])]),
            }
        }
        assert_eq!(packets(111, &[1, 2, 3]).count(), 0, "another kind of payload");
    }
}
