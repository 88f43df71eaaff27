//! Whom a station hears, in the header of each of its packets: RTP's list of contributing sources.
//!
//! Between [`super::ring`], which keeps the list, and the wire. A station names the station that it listens to, and
//! those that it hears through that one; also to a listener who gets only its own sound, for the list must not
//! depend on what follows from it. A player skips it. Source: RFC 3550 section 5.1.

use crate::rtp::{Header, Malformed};

/// As many fit: the count has four bits.
pub const MOST: usize = 15;

/// Puts sources into a packet that has none; those that do not fit are left out.
pub fn insert(datagram: &mut Vec<u8>, sources: &[u32]) {
    let sources = &sources[..sources.len().min(MOST)];
    if datagram.len() < Header::LEN {
        return;
    }
    datagram[0] = datagram[0] & 0xf0 | sources.len() as u8;
    let words = sources.iter().flat_map(|source| source.to_be_bytes());
    datagram.splice(Header::LEN..Header::LEN, words);
}

/// The contributing sources of a packet.
///
/// # Errors
/// The packet is shorter than its count says.
pub fn read(datagram: &[u8]) -> Result<impl Iterator<Item = u32> + '_, Malformed> {
    let count = usize::from(datagram.first().ok_or(Malformed::Truncated)? & 0x0f);
    let words = datagram.get(Header::LEN..Header::LEN + 4 * count).ok_or(Malformed::Truncated)?;
    Ok(words.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::{OPUS, Packet};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_in_is_read_and_the_sound_is_untouched(
            sources in prop::collection::vec(any::<u32>(), 0..20), payload in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let header = Header { marker: true, payload_type: OPUS, sequence: 7, timestamp: 960, ssrc: 5 };
            let mut head = [0; Header::LEN];
            header.write(&mut head);
            let mut datagram = [&head[..], &payload].concat();
            insert(&mut datagram, &sources);
            prop_assert!(read(&datagram).unwrap().eq(sources.iter().copied().take(MOST)));
            prop_assert_eq!(Packet::parse(&datagram), Ok(Packet { header, payload: &payload }));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(sources) = read(&bytes) {
                prop_assert!(Header::LEN + 4 * sources.count() <= bytes.len());
            }
            let mut short = bytes;
            insert(&mut short, &[1, 2, 3]);
        }
    }
}
