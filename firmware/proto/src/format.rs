//! The forms that sound has in RTP payloads, and the payload type of each.
//!
//! Used by `offer` (what a box sends and understands), by [`crate::routes`] (what a datagram holds) and by
//! the engine (how to read it). All payload types are dynamic and the same on every box (RFC 3551
//! section 6), so a packet says by itself what it is. Sources: RFC 7587 (Opus), RFC 3551 section 4.5.11
//! (L16), RFC 3190 (L24).

use serde::{Deserialize, Serialize};
use std::fmt;

/// How samples become bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Opus: little bandwidth, 2.5 ms of look-ahead.
    #[default]
    Opus,
    /// Samples of 16 bits, the first byte first.
    L16,
    /// Samples of 24 bits, the first byte first.
    L24,
}

/// What the channels are to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One channel.
    #[default]
    Mono,
    /// Left and right.
    Stereo,
    /// Two that have nothing to do with each other, such as a voice and a guitar.
    Separate,
}

impl Layout {
    /// How many channels it has.
    pub fn channels(self) -> usize {
        if self == Layout::Mono { 1 } else { 2 }
    }
}

/// The form of one payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// How samples become bytes.
    pub encoding: Encoding,
    /// Its channels.
    pub layout: Layout,
}

/// Every payload type that boxes send, with its format. Opus says itself whether it is mono or stereo (RFC
/// 7587 section 4.1), so both have one type, as in the seed; two separate Opus streams in one packet
/// are a packet for `multiopus` with two streams, none of them coupled.
const TYPES: [(u8, Encoding, Layout); 9] = [
    (96, Encoding::Opus, Layout::Mono),
    (96, Encoding::Opus, Layout::Stereo),
    (98, Encoding::Opus, Layout::Separate),
    (99, Encoding::L16, Layout::Mono),
    (100, Encoding::L16, Layout::Stereo),
    (101, Encoding::L16, Layout::Separate),
    (102, Encoding::L24, Layout::Mono),
    (103, Encoding::L24, Layout::Stereo),
    (104, Encoding::L24, Layout::Separate),
];

impl Format {
    /// Every format there is.
    pub fn all() -> impl Iterator<Item = Format> {
        TYPES.iter().map(|(_, encoding, layout)| Format { encoding: *encoding, layout: *layout })
    }

    /// Its RTP payload type.
    pub fn payload_type(self) -> u8 {
        let same = |entry: &&(u8, Encoding, Layout)| entry.1 == self.encoding && entry.2 == self.layout;
        TYPES.iter().find(same).map_or(crate::rtp::OPUS, |entry| entry.0)
    }

    /// The format of payloads of this RTP payload type; Opus counts as mono until it is looked at. `None`
    /// if boxes do not send such payloads.
    pub fn of(payload_type: u8) -> Option<Format> {
        let (_, encoding, layout) = TYPES.iter().find(|(wire, ..)| *wire == payload_type)?;
        Some(Format { encoding: *encoding, layout: *layout })
    }

    /// Bytes of one sample, `None` for Opus.
    pub fn bytes_per_sample(self) -> Option<usize> {
        match self.encoding {
            Encoding::Opus => None,
            Encoding::L16 => Some(2),
            Encoding::L24 => Some(3),
        }
    }

    /// Name for `a=rtpmap` and in offers.
    pub fn name(self) -> &'static str {
        match (self.encoding, self.layout) {
            (Encoding::Opus, Layout::Separate) => "multiopus",
            (Encoding::Opus, _) => "opus",
            (Encoding::L16, _) => "L16",
            (Encoding::L24, _) => "L24",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoding = match self.encoding {
            Encoding::Opus => "Opus",
            Encoding::L16 => "L16",
            Encoding::L24 => "L24",
        };
        let layout = match self.layout {
            Layout::Mono => "mono",
            Layout::Stereo => "stereo",
            Layout::Separate => "two channels",
        };
        write!(out, "{encoding} {layout}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::red::RED;

    #[test]
    fn a_payload_type_means_one_thing() {
        for format in Format::all() {
            let found = Format::of(format.payload_type()).unwrap();
            assert_eq!((found.encoding, found.name()), (format.encoding, format.name()));
            let says_itself = format.encoding == Encoding::Opus && format.layout == Layout::Stereo;
            assert_eq!(found.layout == format.layout, !says_itself, "{format}");
            assert_ne!(format.payload_type(), RED);
        }
        assert_eq!(Format::of(RED), None);
        assert_eq!(Format::of(0), None);
    }
}
