//! Writing RTCP: packets appended to a datagram, one after the other.
//!
//! Before it: the session's reports, name and goodbye. After it: the wire. A compound should begin
//! with a report and hold a description (RFC 3550 section 6.1); a packet alone is RFC 5506's.
//! For the control plane: it allocates.

use super::{APP, BYE, Block, CNAME, RECEIVER_REPORT, SENDER_REPORT, SOURCE_DESCRIPTION};
use crate::rtp::VERSION;

/// Most blocks that fit one report: its count has five bits (RFC 3550 section 6.4.1).
const MOST_BLOCKS: usize = 31;

/// Most bytes of data in an application's packet: UDP over IPv4 carries 65507, header and name are
/// 12 of them, and what is left must be whole words.
const MOST_DATA: usize = 65_492;

/// Appends RTCP packets to a datagram. Allocates when the datagram must grow.
///
/// ```
/// let mut datagram = Vec::new();
/// proto::rtcp::Writer::new(&mut datagram).receiver_report(7, &[]).source_description(7, "porto");
/// assert_eq!(proto::rtcp::parse(&datagram).expect("just written").count(), 2);
/// ```
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Writer { out }
    }

    /// A sender report (RFC 3550 section 6.4.1): `ntp` in 32.32 bit seconds and `rtp` in 1/48000 s
    /// are the same instant; `packets` and payload `octets` count from the beginning. Blocks beyond
    /// the 31 that fit follow in receiver reports (RFC 3550 section 6.1).
    pub fn sender_report(
        &mut self,
        ssrc: u32,
        ntp: u64,
        rtp: u32,
        packets: u32,
        octets: u32,
        blocks: &[Block],
    ) -> &mut Self {
        let (here, beyond) = blocks.split_at(blocks.len().min(MOST_BLOCKS));
        self.packet(SENDER_REPORT, here.len() as u8, |out| {
            out.extend_from_slice(&ssrc.to_be_bytes());
            out.extend_from_slice(&ntp.to_be_bytes());
            for word in [rtp, packets, octets] {
                out.extend_from_slice(&word.to_be_bytes());
            }
            here.iter().for_each(|block| write_block(block, out));
        });
        if beyond.is_empty() { self } else { self.receiver_report(ssrc, beyond) }
    }

    /// A receiver report (RFC 3550 section 6.4.2); one more for every 31 blocks beyond the first 31.
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[Block]) -> &mut Self {
        let (here, beyond) = blocks.split_at(blocks.len().min(MOST_BLOCKS));
        self.packet(RECEIVER_REPORT, here.len() as u8, |out| {
            out.extend_from_slice(&ssrc.to_be_bytes());
            here.iter().for_each(|block| write_block(block, out));
        });
        if beyond.is_empty() { self } else { self.receiver_report(ssrc, beyond) }
    }

    /// The lasting name of `ssrc` (RFC 3550 section 6.5.1). What exceeds 255 bytes is cut off
    /// between two letters.
    pub fn source_description(&mut self, ssrc: u32, cname: &str) -> &mut Self {
        let cname = &cname[..cname.floor_char_boundary(255)];
        self.packet(SOURCE_DESCRIPTION, 1, |out| {
            out.extend_from_slice(&ssrc.to_be_bytes());
            out.extend_from_slice(&[CNAME, cname.len() as u8]);
            out.extend_from_slice(cname.as_bytes());
            out.push(0); // ends the chunk even where no byte is missing to a word
        })
    }

    /// The goodbye of `ssrc` (RFC 3550 section 6.6).
    pub fn bye(&mut self, ssrc: u32) -> &mut Self {
        self.packet(BYE, 1, |out| out.extend_from_slice(&ssrc.to_be_bytes()))
    }

    /// An application's own packet (RFC 3550 section 6.7), `subtype` 0 to 31. The data is filled up
    /// with zeros to a multiple of four bytes, and read back like that; what no datagram can hold is
    /// cut off.
    pub fn app(&mut self, ssrc: u32, subtype: u8, name: [u8; 4], data: &[u8]) -> &mut Self {
        let data = &data[..data.len().min(MOST_DATA)];
        self.packet(APP, subtype & 0x1f, |out| {
            out.extend_from_slice(&ssrc.to_be_bytes());
            out.extend_from_slice(&name);
            out.extend_from_slice(data);
        })
    }

    /// Writes the common header around `body`, fills up to a word and sets the length: words
    /// of 32 bits less one (RFC 3550 section 6.4.1).
    fn packet(&mut self, kind: u8, count: u8, body: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.out.len();
        self.out.extend_from_slice(&[VERSION << 6 | count, kind, 0, 0]);
        body(self.out);
        let words = (self.out.len() - start).div_ceil(4);
        self.out.resize(start + 4 * words, 0);
        self.out[start + 2..start + 4].copy_from_slice(&((words - 1) as u16).to_be_bytes());
        self
    }
}

fn write_block(block: &Block, out: &mut Vec<u8>) {
    let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff;
    let words = [
        block.ssrc,
        u32::from(block.fraction_lost) << 24 | lost,
        block.highest,
        block.jitter,
        block.last_sr,
        block.delay_since_last_sr,
    ];
    for word in words {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Packet, parse};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_receiver_report_is_written_as_in_section_6_4_2() {
        let block = Block {
            ssrc: 5,
            fraction_lost: 1,
            cumulative_lost: -0x80_0001,
            highest: 2,
            jitter: 3,
            last_sr: 4,
            delay_since_last_sr: 6,
        };
        let mut out = vec![0xee]; // what is there already stays there
        Writer::new(&mut out).receiver_report(7, &[block]).bye(7);
        #[rustfmt::skip]
        let expected = [
            0xee,
            0x81, 201, 0, 7,  0, 0, 0, 7,  0, 0, 0, 5,  1, 0x80, 0, 0,
            0, 0, 0, 2,  0, 0, 0, 3,  0, 0, 0, 4,  0, 0, 0, 6,
            0x81, 203, 0, 1,  0, 0, 0, 7,
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn a_description_ends_with_a_zero_and_fills_its_word() {
        for (cname, words) in [("", 2), ("a", 2), ("ab", 3), ("abcde", 3), ("abcdef", 4)] {
            let mut out = Vec::new();
            Writer::new(&mut out).source_description(1, cname);
            assert_eq!((out.len(), usize::from(out[3])), (4 * words + 4, words), "{cname:?}");
            assert_eq!(out.last(), Some(&0));
        }
        let mut out = Vec::new();
        Writer::new(&mut out).source_description(1, &"é".repeat(200));
        let expected = Packet::SourceDescription { ssrc: 1, cname: &"é".repeat(127) };
        assert!(parse(&out).unwrap().eq([expected]));
    }

    #[test]
    fn more_blocks_than_fit_one_report_follow_in_others() {
        let blocks: Vec<_> = (0..70).map(|ssrc| Block { ssrc, ..Block::default() }).collect();
        let mut out = Vec::new();
        Writer::new(&mut out).sender_report(1, 2, 3, 4, 5, &blocks);
        let mut read = Vec::new();
        let mut counts = Vec::new();
        for packet in parse(&out).unwrap() {
            let (Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. }) = packet else {
                panic!("{packet:?}");
            };
            counts.push(blocks.count());
            read.extend(blocks);
        }
        assert_eq!(counts, [31, 31, 8]);
        assert_eq!(read, blocks);
    }

    prop_compose! {
        fn block()(
            ssrc: u32, fraction_lost: u8, cumulative_lost in -0x80_0000..0x80_0000, highest: u32,
            jitter: u32, last_sr: u32, delay_since_last_sr: u32,
        ) -> Block {
            Block { ssrc, fraction_lost, cumulative_lost, highest, jitter, last_sr, delay_since_last_sr }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            ssrc: u32, ntp: u64, rtp: u32, packets: u32, octets: u32,
            written in prop::collection::vec(block(), 0..=31),
            name in ".{0,40}", subtype in 0u8..32, app: [u8; 4], mut data in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut out = Vec::new();
            Writer::new(&mut out)
                .sender_report(ssrc, ntp, rtp, packets, octets, &written)
                .receiver_report(ssrc, &written)
                .source_description(ssrc, &name)
                .app(ssrc, subtype, app, &data)
                .bye(ssrc);
            data.resize(data.len().next_multiple_of(4), 0);
            let read: Vec<_> = parse(&out).unwrap().collect();
            let [
                Packet::SenderReport { ssrc: s, ntp: n, rtp: r, packets: p, octets: o, blocks: first },
                Packet::ReceiverReport { ssrc: t, blocks: second },
                description, application, bye,
            ] = read[..] else { panic!("{read:?}") };
            prop_assert_eq!((s, n, r, p, o), (ssrc, ntp, rtp, packets, octets));
            prop_assert_eq!(first.collect::<Vec<_>>(), written.clone());
            prop_assert_eq!((t, second.collect::<Vec<_>>()), (ssrc, written));
            prop_assert_eq!(description, Packet::SourceDescription { ssrc, cname: &name });
            prop_assert_eq!(application, Packet::App { ssrc, subtype, name: app, data: &data });
            prop_assert_eq!(bye, Packet::Bye { ssrc });
        }
    }
}
