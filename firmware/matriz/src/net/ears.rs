//! The RTP of guests: what comes to their own UDP ports, and what came through their connections.
//!
//! Between [`crate::guests`], which opens and shuts an ear for each guest that plays, and the engine's ring. An ear
//! belongs to a slot, whatever source the guest sends as; it hears nobody but the guest's address, only one
//! stream at a time, and no more packets than Opus can have, so that a guest gone mad costs nobody else anything.
//! Sources: RFC 3550 (RTP), RFC 7587 (Opus in RTP).

use super::Bell;
use super::batch::{Inbox, Sleep};
use crate::clock;
use engine::packet::Arrival;
use proto::control::SLOTS;
use proto::format::Format;
use proto::rtcp;
use proto::rtp::{Header, Packet};
use proto::units::Time;
use rtrb::Producer;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// Packets that came through connections and wait to be taken, at most: 20 ms each, that is 5 s of one guest.
const WAITING: usize = 256;

/// Packets of a guest in a second, at most, and at once: twice as many as Opus has at its shortest (2.5 ms), and half a
/// second of these.
const RATE: f64 = 800.0;
const BURST: f64 = 400.0;

/// A stream that was silent for this long gives way to another one of the same guest.
const STALE: Duration = Duration::from_secs(1);

/// An ear that is opened.
pub struct Opening {
    /// The slot of the guest.
    pub slot: u8,
    /// Where it is.
    pub ip: IpAddr,
    /// RTP payload type of its Opus.
    pub payload_type: u8,
    /// Where RTP comes by UDP; `None` if it comes through the connection.
    pub socket: Option<UdpSocket>,
}

enum Change {
    Open(Opening),
    Shut { slot: u8 },
}

/// An RTP packet that came through a guest's connection.
struct Through {
    slot: u8,
    time: Time,
    bytes: Vec<u8>,
}

/// The way to the ears. Nothing here waits.
#[derive(Clone)]
pub struct Door {
    changes: Sender<Change>,
    packets: SyncSender<Through>,
    bell: Bell,
}

impl Door {
    /// Opens an ear, in the place of the one that its slot may have.
    pub fn open(&self, opening: Opening) {
        self.change(Change::Open(opening));
    }

    /// Shuts the ear of a slot.
    pub fn shut(&self, slot: u8) {
        self.change(Change::Shut { slot });
    }

    /// Hands over an RTP packet; when too many wait, it is lost as on any line. [`Door::ring`] comes after the last one.
    pub fn hand(&self, slot: u8, time: Time, bytes: Vec<u8>) {
        let _ = self.packets.try_send(Through { slot, time, bytes });
    }

    /// Says that something was handed over: once for all packets of one read, as each ring wakes a realtime thread.
    pub fn ring(&self) {
        self.bell.ring();
    }

    fn change(&self, change: Change) {
        let _ = self.changes.send(change); // a thread that is gone hears nobody
        self.bell.ring();
    }
}

/// The ears of the thread for what comes in.
pub struct Ears {
    /// Rung when something was handed over.
    pub bell: Bell,
    ears: Vec<Ear>,
    changes: Receiver<Change>,
    packets: Receiver<Through>,
}

struct Ear {
    slot: u8,
    socket: Option<UdpSocket>,
    gate: Gate,
}

/// Decides which packets are the guest's.
struct Gate {
    ip: IpAddr,
    payload_type: u8,
    /// The stream that is heard: where it comes from by UDP, and its source.
    stream: Option<(Option<SocketAddr>, u32)>,
    /// When a packet of it came last.
    heard: Time,
    /// Packets that may come now.
    allowance: f64,
}

/// No ears yet, and the way to them; `bell` is theirs alone.
pub fn ears(bell: Bell) -> (Door, Ears) {
    let (changes, changes_out) = channel();
    let (packets, packets_out) = sync_channel(WAITING);
    let ears = Ears {
        bell: bell.clone(),
        ears: Vec::with_capacity(SLOTS),
        changes: changes_out,
        packets: packets_out,
    };
    (Door { changes, packets, bell }, ears)
}

impl Ears {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ears.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ears.len()
    }

    /// The socket of one of them.
    pub fn fd(&self, at: usize) -> Option<BorrowedFd<'_>> {
        Some(self.ears.get(at)?.socket.as_ref()?.as_fd())
    }

    /// Takes in what was handed over.
    pub fn take_in(&mut self, arrivals: &mut Producer<Arrival>) {
        while let Ok(change) = self.changes.try_recv() {
            let (Change::Open(Opening { slot, .. }) | Change::Shut { slot }) = change;
            self.ears.retain(|ear| ear.slot != slot);
            if let Change::Open(Opening { ip, payload_type, socket, .. }) = change
                && self.ears.len() < SLOTS
            {
                let gate = Gate::new(ip, payload_type, clock::now());
                self.ears.push(Ear { slot, socket, gate });
            }
        }
        while let Ok(Through { slot, time, bytes }) = self.packets.try_recv() {
            let by_tcp = |ear: &&mut Ear| ear.slot == slot && ear.socket.is_none();
            if let Some(ear) = self.ears.iter_mut().find(by_tcp) {
                ear.gate.deliver(slot, None, &bytes, time, arrivals);
            }
        }
    }

    /// Takes in what waits at the socket of one of them; what is left there is for the next round, as others wait too.
    pub fn receive(&mut self, at: usize, inbox: &mut Inbox, arrivals: &mut Producer<Arrival>) {
        let Some(Ear { slot, socket: Some(socket), gate }) = self.ears.get_mut(at) else { return };
        // That nothing is there after all says nothing about the next.
        let _ = inbox.receive(socket, Sleep::Never, |datagram, from, stamp| {
            let time = stamp.map_or_else(clock::now, clock::from_wall_clock);
            gate.deliver(*slot, Some(from), datagram, time, arrivals);
        });
    }
}

impl Gate {
    fn new(ip: IpAddr, payload_type: u8, now: Time) -> Gate {
        Gate { ip, payload_type, stream: None, heard: now, allowance: BURST }
    }

    /// A packet to the engine, if it is one of the guest's.
    fn deliver(
        &mut self,
        slot: u8,
        from: Option<SocketAddr>,
        datagram: &[u8],
        time: Time,
        arrivals: &mut Producer<Arrival>,
    ) {
        if rtcp::is_rtcp(datagram) {
            return;
        }
        let Ok(Packet { header, payload }) = Packet::parse(datagram) else { return };
        if !self.admits(from, &header, time) {
            return;
        }
        // Opus says itself whether it is mono or stereo.
        if let Some(arrival) = Arrival::new(slot, &header, (Format::default(), 0, payload), time) {
            // A full ring is an audio thread that stands still: nothing would be heard anyway.
            let _ = arrivals.push(arrival);
        }
    }

    fn admits(&mut self, from: Option<SocketAddr>, header: &Header, time: Time) -> bool {
        let is_its = from.is_none_or(|from| from.ip() == self.ip);
        if !is_its || header.payload_type != self.payload_type {
            return false;
        }
        let (stream, silence) = (Some((from, header.ssrc)), time.since(self.heard));
        if self.stream != stream && self.stream.is_some() && silence < STALE {
            return false;
        }
        self.allowance = (self.allowance + silence.as_secs_f64() * RATE).min(BURST);
        (self.stream, self.heard) = (stream, time);
        let admitted = self.allowance >= 1.0;
        self.allowance -= if admitted { 1.0 } else { 0.0 };
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtrb::{Consumer, RingBuffer};
    use std::time::Instant;

    /// An RTP packet of Opus.
    fn packet(payload_type: u8, ssrc: u32, sequence: u16) -> Vec<u8> {
        let header = Header { payload_type, ssrc, sequence, ..Header::default() };
        let mut head = [0; Header::LEN];
        header.write(&mut head);
        [&head[..], &[0xfc, 1, 2]].concat()
    }

    fn sequences(ring: &mut Consumer<Arrival>, of: u8) -> Vec<u16> {
        std::iter::from_fn(|| ring.pop().ok())
            .map(|arrival| {
                assert_eq!(arrival.slot, of);
                arrival.sequence
            })
            .collect()
    }

    #[test]
    fn what_comes_through_a_connection_reaches_the_slot_while_its_ear_is_open() {
        let (door, mut ears) = ears(Bell::new().unwrap());
        let (mut arrivals, mut ring) = RingBuffer::new(16);
        let ip = [192, 0, 2, 1].into();
        door.hand(4, Time(0), packet(97, 1, 10));
        ears.take_in(&mut arrivals);
        door.open(Opening { slot: 4, ip, payload_type: 97, socket: None });
        let mut of_another_kind = packet(96, 1, 12);
        for bytes in [packet(97, 1, 11), of_another_kind.clone(), packet(97, 1, 13), vec![], vec![0x80, 97]] {
            door.hand(4, Time(0), bytes);
        }
        ears.take_in(&mut arrivals);
        of_another_kind[1] = 97;
        door.shut(4);
        door.hand(4, Time(0), of_another_kind);
        ears.take_in(&mut arrivals);
        assert_eq!(sequences(&mut ring, 4), [11, 13]);
    }

    #[test]
    fn what_comes_by_udp_is_heard_from_the_guests_address_only() {
        let (door, mut ears) = ears(Bell::new().unwrap());
        let (mut arrivals, mut ring) = RingBuffer::new(16);
        let bind = |ip: &str| UdpSocket::bind((ip, 0)).unwrap();
        let (own, guest, stranger) = (bind("127.0.0.1"), bind("127.0.0.1"), bind("127.0.0.2"));
        own.set_nonblocking(true).unwrap();
        let to = own.local_addr().unwrap();
        let ip = guest.local_addr().unwrap().ip();
        door.open(Opening { slot: 2, ip, payload_type: 96, socket: Some(own) });
        ears.take_in(&mut arrivals);
        assert!(ears.len() == 1 && ears.fd(0).is_some() && ears.fd(1).is_none());
        for (socket, sequence) in [(&stranger, 1), (&guest, 2), (&stranger, 3), (&guest, 4)] {
            socket.send_to(&packet(96, 7, sequence), to).unwrap();
        }
        door.hand(2, Time(0), packet(96, 7, 5)); // it was not granted by TCP
        ears.take_in(&mut arrivals);
        let (mut inbox, deadline) = (Inbox::new(), Instant::now() + Duration::from_secs(10));
        let mut heard = Vec::new();
        while heard.len() < 2 && Instant::now() < deadline {
            ears.receive(0, &mut inbox, &mut arrivals);
            heard.extend(sequences(&mut ring, 2));
        }
        assert_eq!(heard, [2, 4]);
    }

    #[test]
    fn one_stream_at_a_time_and_the_next_when_that_is_silent() {
        let mut gate = Gate::new([192, 0, 2, 1].into(), 96, Time(0));
        let at = |milliseconds| Time(0) + Duration::from_millis(milliseconds);
        let mut admits = |ssrc, milliseconds| {
            gate.admits(None, &Header { payload_type: 96, ssrc, ..Header::default() }, at(milliseconds))
        };
        assert!(admits(1, 0) && !admits(2, 20) && admits(1, 40));
        assert!(!admits(2, 1_039) && admits(2, 1_040) && !admits(1, 1_060));
    }

    #[test]
    fn a_flood_is_cut_to_what_opus_can_be() {
        let mut gate = Gate::new([192, 0, 2, 1].into(), 96, Time(0));
        let header = Header { payload_type: 96, ..Header::default() };
        let passed = (0..100_000).filter(|n| gate.admits(None, &header, Time::from_micros(n * 10))).count();
        assert!((1_000..1_250).contains(&passed), "{passed} in a second");
    }
}
