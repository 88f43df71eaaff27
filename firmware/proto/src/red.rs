//! Redundancy: a packet that carries an earlier one as well, so that the loss of either is not heard.
//!
//! Between the sender's [`crate::routes::Stream`], which chooses how far back the copy lies, and the
//! receiver, which takes both apart. Source: RFC 2198.

use std::fmt;

/// RTP payload type of packets with a copy, offered as `red` (dynamic, RFC 3551 section 6).
pub const RED: u8 = 97;

/// Largest distance in frames that a block header can say: 14 bits.
const MAX_OFFSET: u32 = (1 << 14) - 1;

/// Largest copy in bytes that a block header can say: 10 bits.
const MAX_COPY: usize = (1 << 10) - 1;

/// Most copies that are looked at; more than any sender needs.
const MAX_COPIES: usize = 4;

/// Bytes of the header of a copy, and of the last header, which is for the packet itself.
const COPY_HEADER: usize = 4;
const LAST_HEADER: usize = 1;

/// An earlier packet inside a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy<'a> {
    /// How many frames before the packet it begins.
    pub offset: u32,
    /// Its payload.
    pub payload: &'a [u8],
}

/// A packet taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redundant<'a> {
    copies: [Option<Copy<'a>>; MAX_COPIES],
    /// RTP payload type of the packet and of its copies.
    pub payload_type: u8,
    /// The packet itself.
    pub primary: &'a [u8],
}

/// Why a payload is no redundant one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("its redundancy headers do not fit it")
    }
}

impl std::error::Error for Malformed {}

impl<'a> Redundant<'a> {
    /// Takes a payload of type [`RED`] apart. Copies of another type than the packet's are left out.
    ///
    /// # Errors
    /// The headers promise more bytes than there are.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut headers = payload;
        let mut lengths = [(0, 0, 0); MAX_COPIES];
        let mut count = 0;
        let payload_type = loop {
            let first = *headers.first().ok_or(Malformed)?;
            if first & 0x80 == 0 {
                headers = &headers[LAST_HEADER..];
                break first;
            }
            let (header, rest) = headers.split_first_chunk::<COPY_HEADER>().ok_or(Malformed)?;
            let word = u32::from_be_bytes(*header);
            let length = lengths.get_mut(count).ok_or(Malformed)?;
            *length = ((word >> 24 & 0x7f) as u8, word >> 10 & MAX_OFFSET, (word as usize) & MAX_COPY);
            count += 1;
            headers = rest;
        };
        let mut copies = [None; MAX_COPIES];
        for (copy, (kind, offset, length)) in copies.iter_mut().zip(&lengths[..count]) {
            let (payload, rest) = headers.split_at_checked(*length).ok_or(Malformed)?;
            headers = rest;
            let usable = *kind == payload_type && !payload.is_empty() && *offset > 0;
            *copy = usable.then_some(Copy { offset: *offset, payload });
        }
        Ok(Redundant { copies, payload_type, primary: headers })
    }

    /// The earlier packets, as they stand in the payload.
    pub fn copies(&self) -> impl Iterator<Item = Copy<'a>> + '_ {
        self.copies.iter().flatten().copied()
    }
}

/// Appends to `out` the payload of `primary` with one copy. False, and nothing appended, if the copy is
/// too far back or too long to be said.
pub fn write(copy: Copy<'_>, primary: &[u8], payload_type: u8, out: &mut Vec<u8>) -> bool {
    if copy.offset > MAX_OFFSET || copy.payload.len() > MAX_COPY {
        return false;
    }
    let word = 1 << 31 | u32::from(payload_type) << 24 | copy.offset << 10 | copy.payload.len() as u32;
    out.extend_from_slice(&word.to_be_bytes());
    out.push(payload_type);
    out.extend_from_slice(copy.payload);
    out.extend_from_slice(primary);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_those_of_the_rfc() {
        let mut out = Vec::new();
        let copy = Copy { offset: 240, payload: &[1, 2, 3] };
        assert!(write(copy, &[9, 8], 96, &mut out));
        // F=1, type 96, offset 240, length 3; then F=0, type 96 (RFC 2198 section 3).
        assert_eq!(out, [0x80 | 96, 0x03, 0xc0, 0x03, 96, 1, 2, 3, 9, 8]);
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut out = Vec::new();
        assert!(!write(Copy { offset: 1 << 14, payload: &[1] }, &[1], 96, &mut out));
        assert!(!write(Copy { offset: 120, payload: &[0; 1024] }, &[1], 96, &mut out));
        assert!(out.is_empty());
    }

    #[test]
    fn promises_that_are_not_kept_are_malformed() {
        for bytes in [&[][..], &[0x80 | 96, 0, 0], &[0x80 | 96, 3, 0xc0, 9, 96, 1]] {
            assert_eq!(Redundant::parse(bytes), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(Redundant::parse(&[0xff; 64]), Err(Malformed), "copies without end");
    }

    proptest! {
        #[test]
        fn both_come_out_as_they_went_in(
            offset in 1..=MAX_OFFSET,
            copy in prop::collection::vec(any::<u8>(), 1..200),
            primary in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut out = Vec::new();
            let written = write(Copy { offset, payload: &copy }, &primary, 96, &mut out);
            prop_assert!(written);
            let parsed = Redundant::parse(&out).unwrap();
            prop_assert_eq!(parsed.payload_type, 96);
            prop_assert_eq!(parsed.primary, &primary[..]);
            prop_assert_eq!(parsed.copies().collect::<Vec<_>>(), [Copy { offset, payload: &copy }]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Redundant::parse(&bytes);
        }
    }
}
