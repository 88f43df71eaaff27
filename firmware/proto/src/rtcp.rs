//! RTCP: who is heard how well, told beside the music on the same port.
//!
//! Before it: a datagram that [`is_rtcp`] tells from RTP, or what the engine counted. After it:
//! the session (round trips, losses, names, goodbyes), or the wire.
//! Sources: RFC 3550 section 6 (packets, round trip), RFC 5761 section 4 (one port for both),
//! RFC 5506 (a packet may come alone, without the compound around it).

mod account;
mod write;

pub use crate::rtp::Malformed;
use crate::rtp::{VERSION, strip_padding};
pub use account::Account;
use std::time::Duration;
pub use write::Writer;

/// Packet types (RFC 3550 section 12.1).
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const APP: u8 = 204;

/// The item of a source description that names its sender for good (RFC 3550 section 6.5.1).
const CNAME: u8 = 1;

/// Seconds from 1900, where NTP starts to count, to 1970 (RFC 868; 70 years, 17 of them leap years).
const NTP_AT_1970: i64 = 2_208_988_800;

/// Round trips longer than this are told by a wrong clock, not by a network. Our choice.
const ABSURD: Duration = Duration::from_secs(10);

/// Whether a datagram on a port shared with RTP is RTCP: version 2, and a packet type of 192 to 223
/// where RTP has its marker and payload type (RFC 5761 section 4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [flags, 192..=223, ..] if flags >> 6 == VERSION)
}

/// Reads a compound packet, or a single packet of any kind (RFC 5506). Allocates nothing.
///
/// # Errors
/// [`Malformed`] when any part of the datagram is: half a compound is not trusted.
pub fn parse(datagram: &[u8]) -> Result<Packets<'_>, Malformed> {
    if let [flags, kind, ..] = datagram {
        if flags >> 6 != VERSION {
            return Err(Malformed::Version);
        }
        if !(192..=223).contains(kind) {
            return Err(Malformed::Type);
        }
    }
    let (_, mut rest) = split(datagram)?;
    while !rest.is_empty() {
        (_, rest) = split(rest)?;
    }
    Ok(Packets { rest: datagram })
}

/// The packets of one datagram, in order; from [`parse`].
#[derive(Clone, Copy, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        // `parse` has split the whole datagram before, so an error can only be its end.
        let (packet, rest) = split(self.rest).ok()?;
        self.rest = rest;
        Some(packet)
    }
}

/// One RTCP packet, its variable parts still in the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// What a sender has sent, and how it hears others (RFC 3550 section 6.4.1).
    SenderReport {
        /// The sender.
        ssrc: u32,
        /// Instant of this report on the sender's wall clock: 32.32 bit seconds since 1900.
        ntp: u64,
        /// The same instant in RTP timestamps, in 1/48000 s.
        rtp: u32,
        /// RTP packets sent so far.
        packets: u32,
        /// Payload bytes sent so far.
        octets: u32,
        /// How it hears others.
        blocks: Blocks<'a>,
    },
    /// How one who sends nothing hears others (RFC 3550 section 6.4.2).
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// How it hears others.
        blocks: Blocks<'a>,
    },
    /// The lasting name of a sender (RFC 3550 section 6.5). Only the first chunk is read; further
    /// chunks and other items are passed over.
    SourceDescription {
        /// Whose name.
        ssrc: u32,
        /// The name.
        cname: &'a str,
    },
    /// The sender leaves (RFC 3550 section 6.6). Only the first of several is read.
    Bye {
        /// Who leaves.
        ssrc: u32,
    },
    /// Something between applications (RFC 3550 section 6.7).
    App {
        /// Who sends it.
        ssrc: u32,
        /// 0 to 31, as the application likes.
        subtype: u8,
        /// Four ASCII letters that tell the application.
        name: [u8; 4],
        /// A multiple of four bytes.
        data: &'a [u8],
    },
    /// Well formed and of no use here: feedback, extended reports, a description without a name.
    Other,
}

/// How one source is heard (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Who is heard.
    pub ssrc: u32,
    /// Packets lost since the last block, in 1/256 of those expected.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, 24 bits on the wire; negative when duplicates came.
    pub cumulative_lost: i32,
    /// Highest sequence number heard; how often it wrapped in the upper 16 bits.
    pub highest: u32,
    /// Interarrival jitter, in 1/48000 s (RFC 3550 appendix A.8).
    pub jitter: u32,
    /// [`ntp_middle`] of the last sender report heard, 0 if none.
    pub last_sr: u32,
    /// From hearing that report to sending this block, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl Block {
    /// Bytes of a block on the wire.
    const LEN: usize = 24;

    fn read(bytes: &[u8; Self::LEN]) -> Block {
        let word = |n: usize| u32_at(bytes, 4 * n);
        Block {
            ssrc: word(0),
            fraction_lost: bytes[4],
            cumulative_lost: (word(1) << 8).cast_signed() >> 8, // the sign is bit 23
            highest: word(2),
            jitter: word(3),
            last_sr: word(4),
            delay_since_last_sr: word(5),
        }
    }
}

/// The blocks of one report, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks<'a> {
    rest: &'a [u8],
}

impl Iterator for Blocks<'_> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        let (block, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(Block::read(block))
    }
}

/// The middle 32 bits of an NTP timestamp: seconds in 16.16 bits, wrapping every 18 hours
/// (RFC 3550 section 4). This is the form in which reports refer to reports.
pub fn ntp_middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32 // the upper 16 bits are dropped on purpose
}

/// NTP timestamp of an instant given in nanoseconds since 1970. With nanoseconds of another epoch
/// (a monotonic clock) the result is no wall-clock time, but differences still hold, which is all
/// that round trips need. Rounded down to 2⁻³² s; wraps in 2036 as NTP does.
pub fn ntp_from_nanos(nanos: i64) -> u64 {
    const SECOND: i64 = 1_000_000_000;
    let seconds = (nanos.div_euclid(SECOND) + NTP_AT_1970).cast_unsigned();
    let fraction = (nanos.rem_euclid(SECOND).cast_unsigned() << 32) / SECOND.cast_unsigned();
    seconds << 32 | fraction
}

/// The round trip that a block tells to the sender of the report it refers to: arrival of the block
/// less `last_sr` less `delay_since_last_sr`, all in 1/65536 s (RFC 3550 section 6.4.1).
///
/// `None` when there was no report yet (`last_sr` is 0), or the result is negative or above 10 s:
/// then one of the two counts wrongly.
pub fn round_trip(arrival_middle: u32, last_sr: u32, delay_since_last_sr: u32) -> Option<Duration> {
    if last_sr == 0 {
        return None;
    }
    let units = arrival_middle.wrapping_sub(last_sr).wrapping_sub(delay_since_last_sr);
    let trip = Duration::from_nanos((u64::from(units) * 1_000_000_000) >> 16);
    (trip <= ABSURD).then_some(trip) // a negative one has wrapped to hours
}

/// Takes the first packet off a compound: the packet, and what follows it.
fn split(bytes: &[u8]) -> Result<(Packet<'_>, &[u8]), Malformed> {
    let ([flags, kind, high, low], rest) = bytes.split_first_chunk::<4>().ok_or(Malformed::Truncated)?;
    if flags >> 6 != VERSION {
        return Err(Malformed::Version);
    }
    let length = usize::from(u16::from_be_bytes([*high, *low])) * 4;
    let (mut body, rest) = rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
    if flags & 0x20 != 0 {
        body = strip_padding(body)?;
    }
    let count = flags & 0x1f;
    let packet = match *kind {
        SENDER_REPORT => sender_report(body, count)?,
        RECEIVER_REPORT => {
            let (ssrc, body) = take_u32(body)?;
            Packet::ReceiverReport { ssrc, blocks: blocks(body, count)? }
        }
        SOURCE_DESCRIPTION if count > 0 => source_description(body)?,
        BYE if count > 0 => Packet::Bye { ssrc: take_u32(body)?.0 },
        APP => {
            let (ssrc, body) = take_u32(body)?;
            let (name, data) = body.split_first_chunk().ok_or(Malformed::Truncated)?;
            Packet::App { ssrc, subtype: count, name: *name, data }
        }
        _ => Packet::Other,
    };
    Ok((packet, rest))
}

fn sender_report(body: &[u8], count: u8) -> Result<Packet<'_>, Malformed> {
    let (info, rest) = body.split_first_chunk::<24>().ok_or(Malformed::Truncated)?;
    let word = |n: usize| u32_at(info, 4 * n);
    Ok(Packet::SenderReport {
        ssrc: word(0),
        ntp: u64::from(word(1)) << 32 | u64::from(word(2)),
        rtp: word(3),
        packets: word(4),
        octets: word(5),
        blocks: blocks(rest, count)?,
    })
}

/// The first `count` blocks; what follows them is an extension of the profile (RFC 3550 section 6.4.3).
fn blocks(body: &[u8], count: u8) -> Result<Blocks<'_>, Malformed> {
    let rest = body.get(..usize::from(count) * Block::LEN).ok_or(Malformed::Truncated)?;
    Ok(Blocks { rest })
}

/// The first chunk: a source, then items of type, length and text up to a type of zero.
fn source_description(body: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (ssrc, mut items) = take_u32(body)?;
    while let [kind, rest @ ..] = items
        && *kind != 0
    {
        let (length, rest) = rest.split_first().ok_or(Malformed::Truncated)?;
        let (text, rest) = rest.split_at_checked(usize::from(*length)).ok_or(Malformed::Truncated)?;
        if *kind == CNAME {
            return Ok(
                str::from_utf8(text).map_or(Packet::Other, |cname| Packet::SourceDescription { ssrc, cname })
            );
        }
        items = rest;
    }
    Ok(Packet::Other)
}

fn take_u32(bytes: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let (word, rest) = bytes.split_first_chunk().ok_or(Malformed::Truncated)?;
    Ok((u32::from_be_bytes(*word), rest))
}

/// The big-endian word at byte `at` of a header whose length the caller's type promises.
fn u32_at(bytes: &[u8; 24], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 3550 section 6.4.1, field by field, with one block; then a source description of section
    /// 6.5 and a goodbye of section 6.6 with a reason.
    #[rustfmt::skip]
    const COMPOUND: [u8; 84] = [
        0x81, 200, 0, 12,  1, 2, 3, 4,              // V=2 P=0 RC=1, 13 words, SSRC
        0xe0, 0, 0, 1,  0x80, 0, 0, 0,              // NTP: a second and a half
        0, 0, 0xbb, 0x80,  0, 0, 1, 0,  0, 1, 0, 0, // RTP 48000, 256 packets, 65536 octets
        9, 9, 9, 9,  64, 0xff, 0xff, 0xfe,          // block: SSRC, a quarter lost, -2 in all
        0, 1, 0, 7,  0, 0, 0, 48,                   // highest 7 after one wrap, jitter 1 ms
        0, 1, 0x80, 0,  0, 2, 0, 0,                 // LSR 1.5 s, DLSR 2 s
        0x81, 202, 0, 3,  1, 2, 3, 4,               // description of one source, 4 words
        1, 5, b'p', b'o', b'r', b't', b'o', 0,      // CNAME, five bytes, end
        0x81, 203, 0, 3,  1, 2, 3, 4,               // goodbye of one source
        6, b'd', b'i', b'n', b'n', b'e', b'r', 0,   // its reason
    ];
    const BLOCK: Block = Block {
        ssrc: 0x0909_0909,
        fraction_lost: 64,
        cumulative_lost: -2,
        highest: 0x0001_0007,
        jitter: 48,
        last_sr: 0x0001_8000,
        delay_since_last_sr: 0x0002_0000,
    };

    #[test]
    fn the_diagrams_of_section_6_are_read() {
        let all: Vec<_> = parse(&COMPOUND).unwrap().collect();
        let [Packet::SenderReport { ssrc, ntp, rtp, packets, octets, blocks }, description, bye] = all[..]
        else {
            panic!("{all:?}");
        };
        assert_eq!(ssrc, 0x0102_0304);
        assert_eq!(ntp, 0xe000_0001_8000_0000);
        assert_eq!((rtp, packets, octets), (48_000, 256, 65_536));
        assert_eq!(blocks.collect::<Vec<_>>(), [BLOCK]);
        assert_eq!(description, Packet::SourceDescription { ssrc, cname: "porto" });
        assert_eq!(bye, Packet::Bye { ssrc });
    }

    #[test]
    fn one_port_carries_both() {
        assert!(is_rtcp(&COMPOUND));
        assert!(is_rtcp(&[0x80, 192]) && is_rtcp(&[0x80, 223]));
        assert!(!is_rtcp(&[0x80, 191]) && !is_rtcp(&[0x80, 224]), "RTP with a marker");
        assert!(!is_rtcp(&[0x80, 96]) && !is_rtcp(&[0x40, 200]) && !is_rtcp(&[0x80]) && !is_rtcp(&[]));
    }

    #[test]
    fn reports_of_others_are_tolerated() {
        fn only(bytes: &[u8]) -> Result<(Option<Packet<'_>>, Option<Packet<'_>>), Malformed> {
            parse(bytes).map(|mut packets| (packets.next(), packets.next()))
        }
        let ssrc = 0x0102_0304;
        // Feedback, unknown to us, and alone (RFC 5506); an empty goodbye; an empty description.
        assert_eq!(only(&[0x81, 205, 0, 0]), Ok((Some(Packet::Other), None)));
        assert_eq!(only(&[0x80, 203, 0, 0]), Ok((Some(Packet::Other), None)));
        assert_eq!(only(&[0x80, 202, 0, 0]), Ok((Some(Packet::Other), None)));
        // Another item before the name, no end of the chunk, padding after it.
        let named = [0xa1, 202, 0, 4, 1, 2, 3, 4, 2, 1, b'x', 1, 2, b'a', b'b', 0, 0, 0, 0, 4];
        assert_eq!(only(&named), Ok((Some(Packet::SourceDescription { ssrc, cname: "ab" }), None)));
        // A name that is no UTF-8 is passed over.
        let odd = [0x81, 202, 0, 2, 1, 2, 3, 4, 1, 1, 0xff, 0];
        assert_eq!(only(&odd), Ok((Some(Packet::Other), None)));
        // A receiver report with a profile's extension after its (zero) blocks.
        let extended = [0x80, 201, 0, 2, 1, 2, 3, 4, 7, 7, 7, 7];
        let report = Packet::ReceiverReport { ssrc, blocks: Blocks { rest: &[] } };
        assert_eq!(only(&extended), Ok((Some(report), None)));
    }

    #[test]
    fn lengths_that_lie_are_malformed() {
        let why = |bytes: &[u8]| parse(bytes).err();
        assert_eq!(why(&[]), Some(Malformed::Truncated));
        assert_eq!(why(&COMPOUND[..83]), Some(Malformed::Truncated), "the last packet is cut");
        assert_eq!(why(&[0x80, 96, 0, 0]), Some(Malformed::Type));
        assert_eq!(why(&[0x80, 203, 0, 0, 0x40, 203, 0, 0]), Some(Malformed::Version));
        assert_eq!(why(&[0x81, 201, 0, 1, 1, 2, 3, 4]), Some(Malformed::Truncated), "a block is missing");
        assert_eq!(why(&[0x81, 203, 0, 0]), Some(Malformed::Truncated), "nobody leaves");
        assert_eq!(why(&[0x80, 204, 0, 1, 1, 2, 3, 4]), Some(Malformed::Truncated), "no name");
        assert_eq!(why(&[0xa0, 203, 0, 1, 0, 0, 0, 8]), Some(Malformed::Padding));
        let long_item = [0x81, 202, 0, 2, 1, 2, 3, 4, 1, 9, 0, 0];
        assert_eq!(why(&long_item), Some(Malformed::Truncated));
    }

    #[test]
    fn ntp_counts_from_1900_in_binary_fractions() {
        assert_eq!(ntp_from_nanos(0), 2_208_988_800 << 32);
        assert_eq!(ntp_from_nanos(500_000_000), 2_208_988_800 << 32 | 1 << 31);
        assert_eq!(ntp_from_nanos(-250_000_000), 2_208_988_799 << 32 | 3 << 30);
        assert_eq!(ntp_middle(0x1234_5678_9abc_def0), 0x5678_9abc);
    }

    #[test]
    fn the_round_trip_of_section_6_4_1() {
        // The RFC's own example: A 46864.500 s, LSR 46853.125 s, DLSR 5.250 s make 6.125 s.
        assert_eq!(round_trip(0xb710_8000, 0xb705_2000, 0x0005_4000), Some(Duration::from_millis(6_125)));
        assert_eq!(round_trip(0x0000_1000, 0xffff_f000, 0), Some(Duration::from_millis(125)), "wraps");
        assert_eq!(round_trip(0xb710_8000, 0, 0), None, "no report yet");
        assert_eq!(round_trip(100, 90, 11), None, "negative");
        assert_eq!(round_trip(0x0010_0000, 0x0001_0000, 0), None, "fifteen seconds");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..80), kind in 198u8..208, words in 0u8..20,
        ) {
            let framed = [&[bytes.len() as u8 & 0x3f | 0x80, kind, 0, words], &bytes[..]].concat();
            for datagram in [&bytes, &framed] {
                for packet in parse(datagram).into_iter().flatten() {
                    if let Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } = packet {
                        prop_assert!(blocks.count() * Block::LEN <= datagram.len());
                    }
                }
            }
        }
    }
}
