//! RTP packets: the twelve bytes in front of every Opus frame, written and read.
//!
//! Before it: an encoded frame and its timestamp (`engine`), or a datagram from the socket that
//! [`crate::rtcp::is_rtcp`] does not claim. After it: the wire, or the peer's slot.
//! Sources: RFC 3550 section 5.1 (header), 5.3.1 (extension), RFC 7587 (Opus in RTP).

use thiserror::Error;

/// Payload type of Opus between boxes: the first dynamic one (RFC 3551 section 6), as in the seed.
pub const OPUS: u8 = 96;

/// Opus' name, clock rate in Hz and channels for `a=rtpmap` (RFC 7587 section 7). The rate is always
/// 48000 and the channels always 2, whatever is encoded; names compare without regard to case.
pub const OPUS_RTPMAP: &str = "OPUS/48000/2";

/// RTP and RTCP version, in the first two bits of both (RFC 3550 section 5.1).
pub(crate) const VERSION: u8 = 2;

/// The fixed part of an RTP header (RFC 3550 section 5.1), without contributing sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// First packet after a silence (RFC 7587 section 4.2).
    pub marker: bool,
    /// What the payload is, 0 to 127; see [`OPUS`].
    pub payload_type: u8,
    /// Counts packets, wraps at 2¹⁶.
    pub sequence: u16,
    /// Instant of the payload's first frame in 1/48000 s, wraps at 2³².
    pub timestamp: u32,
    /// The sender's number in the session.
    pub ssrc: u32,
}

impl Header {
    /// Length of a written header, in bytes.
    pub const LEN: usize = 12;

    /// Writes the header: version 2, no padding, no extension, no contributing sources. Never
    /// allocates. Only the low seven bits of the payload type are sent.
    pub fn write(&self, out: &mut [u8; Self::LEN]) {
        out[0] = VERSION << 6;
        out[1] = u8::from(self.marker) << 7 | self.payload_type & 0x7f;
        out[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        out[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        out[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
    }
}

/// One RTP packet, its payload still in the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The fixed header.
    pub header: Header,
    /// What is left without contributing sources, header extension and padding; may be empty.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads one datagram. Contributing sources and the header extension are skipped, padding is
    /// stripped. Never allocates, never panics.
    ///
    /// # Errors
    /// [`Malformed`] when the version is not 2, or a length points outside the datagram.
    pub fn parse(datagram: &'a [u8]) -> Result<Packet<'a>, Malformed> {
        let (fixed, rest) = datagram.split_first_chunk::<{ Header::LEN }>().ok_or(Malformed::Truncated)?;
        let [flags, kind, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if flags >> 6 != VERSION {
            return Err(Malformed::Version);
        }
        let sources = usize::from(flags & 0x0f) * 4;
        let mut payload = rest.get(sources..).ok_or(Malformed::Truncated)?;
        if flags & 0x10 != 0 {
            payload = skip_extension(payload)?;
        }
        if flags & 0x20 != 0 {
            payload = strip_padding(payload)?;
        }
        let header = Header {
            marker: kind & 0x80 != 0,
            payload_type: kind & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
        };
        Ok(Packet { header, payload })
    }
}

/// Why a datagram is neither RTP nor RTCP as the RFCs have it. Such bytes are dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// It ends before what its own fields promise.
    #[error("it ends before the length that its header gives")]
    Truncated,
    /// The first two bits are not 2: not RTP at all, or not of this century.
    #[error("its version is not 2")]
    Version,
    /// The padding count is zero or longer than what it pads.
    #[error("its padding count is impossible")]
    Padding,
    /// The packet type is not one of RTCP's (RFC 5761 section 4).
    #[error("its packet type is not one of RTCP")]
    Type,
}

/// Skips the header extension: 16 bits of profile, 16 bits of length in words (RFC 3550 section 5.3.1).
fn skip_extension(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let ([_, _, high, low], rest) = bytes.split_first_chunk::<4>().ok_or(Malformed::Truncated)?;
    rest.get(usize::from(u16::from_be_bytes([*high, *low])) * 4..).ok_or(Malformed::Truncated)
}

/// Strips the padding whose count, itself included, is the last byte.
pub(crate) fn strip_padding(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let padding = usize::from(*bytes.last().ok_or(Malformed::Padding)?);
    let left = bytes.len().checked_sub(padding).ok_or(Malformed::Padding)?;
    if padding == 0 { Err(Malformed::Padding) } else { Ok(&bytes[..left]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 3550 section 5.1, field by field.
    const PLAIN: [u8; 15] = [
        0x80, 0xe0, // V=2 P=0 X=0 CC=0, M=1 PT=96
        0x12, 0x34, // sequence
        0xde, 0xad, 0xbe, 0xef, // timestamp
        0x01, 0x02, 0x03, 0x04, // SSRC
        0xaa, 0xbb, 0xcc,
    ];
    const HEADER: Header = Header {
        marker: true,
        payload_type: OPUS,
        sequence: 0x1234,
        timestamp: 0xdead_beef,
        ssrc: 0x0102_0304,
    };

    #[test]
    fn the_diagram_of_section_5_1_is_written_and_read() {
        let mut out = [0; Header::LEN];
        HEADER.write(&mut out);
        assert_eq!(out, PLAIN[..12]);
        let packet = Packet::parse(&PLAIN).unwrap();
        assert_eq!(packet, Packet { header: HEADER, payload: &[0xaa, 0xbb, 0xcc] });
    }

    #[test]
    fn sources_extension_and_padding_are_not_payload() {
        let mut bytes = vec![0xb2, 0x60]; // V=2 P=1 X=1 CC=2, M=0 PT=96
        bytes.extend_from_slice(&PLAIN[2..12]);
        bytes.extend_from_slice(&[1; 8]); // two contributing sources
        bytes.extend_from_slice(&[0xbe, 0xde, 0, 1, 2, 2, 2, 2]); // extension of one word
        bytes.extend_from_slice(&[0xaa, 0xbb, 0, 0, 3]); // payload, padding of three
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.header, Header { marker: false, ..HEADER });
        assert_eq!(packet.payload, [0xaa, 0xbb]);
    }

    #[test]
    fn lengths_that_lie_are_malformed() {
        let with = |first: u8, tail: &[u8]| {
            let mut bytes = PLAIN[..12].to_vec();
            bytes[0] = first;
            bytes.extend_from_slice(tail);
            Packet::parse(&bytes).map(|p| p.payload.len())
        };
        assert_eq!(Packet::parse(&PLAIN[..11]), Err(Malformed::Truncated));
        assert_eq!(with(0x40, &[]), Err(Malformed::Version));
        assert_eq!(with(0x82, &[0; 7]), Err(Malformed::Truncated), "two sources need eight bytes");
        assert_eq!(with(0x90, &[0, 0, 0]), Err(Malformed::Truncated), "no room for an extension");
        assert_eq!(with(0x90, &[0, 0, 0, 1, 0]), Err(Malformed::Truncated), "an extension too long");
        assert_eq!(with(0xa0, &[]), Err(Malformed::Padding), "no padding count");
        assert_eq!(with(0xa0, &[7, 0]), Err(Malformed::Padding), "a count of zero");
        assert_eq!(with(0xa0, &[7, 3]), Err(Malformed::Padding), "more padding than payload");
        assert_eq!(with(0xa0, &[7, 2]), Ok(0), "all padding is an empty payload");
        assert_eq!(with(0x80, &[]), Ok(0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            marker: bool, payload_type in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
            payload in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let header = Header { marker, payload_type, sequence, timestamp, ssrc };
            let mut head = [0; Header::LEN];
            header.write(&mut head);
            let bytes = [&head[..], &payload].concat();
            prop_assert_eq!(Packet::parse(&bytes), Ok(Packet { header, payload: &payload }));
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..64), version_2: bool) {
            if version_2 && let Some(first) = bytes.first_mut() {
                *first = *first & 0x3f | 0x80;
            }
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.payload.len() + Header::LEN <= bytes.len());
            }
        }
    }
}
