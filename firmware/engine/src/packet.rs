//! What crosses between the audio thread and the network threads: encoded packets, fixed in size.
//!
//! Going out, a [`Packet`] has only its place on the card's time line; the network adds the RTP
//! header. Coming in, an [`Arrival`] has the peer's slot instead of an address.

use proto::format::Format;
use proto::rtp::Header;
use proto::units::Time;

/// Most bytes of one payload: 5 ms of 24-bit stereo, the largest that the box ever sends, and well
/// below the 1472 bytes that fit a UDP datagram on Ethernet.
pub const MAX_PAYLOAD: usize = 1440;

/// One encoded frame on its way to all peers.
#[derive(Clone, Copy)]
pub struct Packet {
    /// Position of its first frame on our card's time line.
    pub frame: i64,
    /// How many bytes of `bytes` are used.
    pub len: u16,
    /// The payload.
    pub bytes: [u8; MAX_PAYLOAD],
}

impl Packet {
    /// The bytes that go on the wire after the RTP header.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// One packet of a peer, as it came from the network.
#[derive(Clone, Copy)]
pub struct Arrival {
    /// Whose it is.
    pub slot: u8,
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp, in frames of the peer's card.
    pub timestamp: u32,
    /// What the payload is.
    pub format: Format,
    /// 0, or how many frames it lies before the packet `sequence`, in which it came as a copy (RFC 2198).
    pub behind: u32,
    /// When the datagram reached this machine.
    pub time: Time,
    /// How many bytes of `bytes` are used.
    pub len: u16,
    /// The payload.
    pub bytes: [u8; MAX_PAYLOAD],
}

impl Arrival {
    /// What the datagram with this header brought at `time`, as [`proto::routes::packets`] takes it apart.
    /// `None` if the payload is empty or longer than [`MAX_PAYLOAD`].
    pub fn new(
        slot: u8,
        header: &Header,
        (format, behind, payload): (Format, u32, &[u8]),
        time: Time,
    ) -> Option<Self> {
        if payload.is_empty() || payload.len() > MAX_PAYLOAD {
            return None;
        }
        let mut bytes = [0; MAX_PAYLOAD];
        bytes[..payload.len()].copy_from_slice(payload);
        let timestamp = header.timestamp.wrapping_sub(behind);
        let (sequence, len) = (header.sequence, payload.len() as u16);
        Some(Arrival { slot, sequence, timestamp, format, behind, time, len, bytes })
    }

    /// The encoded frame.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}
