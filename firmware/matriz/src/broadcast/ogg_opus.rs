//! Opus packets become an Ogg Opus stream without an end: headers, pages, granule positions, titles.
//!
//! Comes after the program's encoder and before [`super::source`], which carries the bytes to the server.
//! Pure: no socket, no clock. When the title changes, one logical stream ends and the next one begins (a
//! chain, as the standard has it), since the comment header stands at the beginning only.
//!
//! Source: RFC 7845 (Ogg Opus), RFC 3533 (Ogg).

use ogg::writing::{PacketWriteEndInfo, PacketWriter};
use std::collections::VecDeque;

/// Frames in a packet of a program, at 48 kHz: 20 ms.
const PACKET: u64 = 960;

/// Packets in a page: 200 ms, so that a page costs 1 % of the line and the audience waits no longer for it
/// than it does for its player anyway. RFC 7845 section 6 asks for at most 1 s.
const PAGE: usize = 10;

/// Packets at the beginning of a logical stream that players decode and do not play: the encoder has been
/// running before, and a decoder needs 80 ms to agree with it (RFC 7845 section 4.2). After a new title they
/// are the last ones of the stream before, once more, so that nothing is missing in between.
const ROLL: usize = 4;

/// Longest title, in bytes of UTF-8: the whole comment header fits well into a page.
const LONGEST_TITLE: usize = 1_000;

/// What made this stream, in the comment header.
const VENDOR: &str = concat!("matriz ", env!("CARGO_PKG_VERSION"));

/// An Ogg Opus stream that is being written; stereo, 48 kHz.
///
/// One packet is held back, so that the last one of a logical stream can be marked as such.
pub struct OggOpus {
    pages: PacketWriter<'static, Vec<u8>>,
    serial: u32,
    /// Frames up to the end of the packet that is held.
    granule: u64,
    held: Option<Vec<u8>>,
    /// The last packets, for the next logical stream.
    recent: VecDeque<Vec<u8>>,
    /// Packets in the page that is not complete yet.
    paged: usize,
    /// The title of the logical stream that the next packet begins.
    next: Option<String>,
}

impl OggOpus {
    /// A stream whose first packets go under this title. `serial` is any number; each logical stream has
    /// the next one.
    pub fn new(serial: u32, title: String) -> OggOpus {
        let pages = PacketWriter::new(Vec::new());
        let recent = VecDeque::with_capacity(ROLL);
        OggOpus { pages, serial, granule: 0, held: None, recent, paged: 0, next: Some(title) }
    }

    /// The next packets go under another title.
    pub fn retitle(&mut self, title: String) {
        self.next = Some(title);
    }

    /// Adds a packet of 20 ms.
    pub fn push(&mut self, packet: &[u8]) {
        // A stream that ended within its own roll would have nothing to play.
        let may = self.granule == 0 || self.recent.len() == ROLL;
        if let Some(title) = self.next.take_if(|_| may) {
            self.begin(&title);
        }
        self.hold(packet.to_vec());
        if self.recent.len() == ROLL {
            self.recent.pop_front();
        }
        self.recent.push_back(packet.to_vec());
    }

    fn hold(&mut self, packet: Vec<u8>) {
        if let Some(held) = self.held.replace(packet) {
            self.paged = (self.paged + 1) % PAGE;
            let full = self.paged == 0;
            let end = if full { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
            self.write(held, end, self.granule);
        }
        self.granule += PACKET;
    }

    /// Ends the stream, for what is held back is its last packet.
    pub fn end(&mut self) {
        if let Some(held) = self.held.take() {
            self.write(held, PacketWriteEndInfo::EndStream, self.granule);
        }
    }

    /// Ends one logical stream and begins the next. Each of its headers has a page of its own (RFC 7845
    /// section 3). Time goes on: what is played first lies where the last stream ended.
    fn begin(&mut self, title: &str) {
        self.end();
        self.paged = 0;
        // A writer remembers each logical stream for ever, so it goes with it.
        self.pages = PacketWriter::new(self.take());
        self.serial = self.serial.wrapping_add(1);
        self.write(head(), PacketWriteEndInfo::EndPage, 0);
        self.write(tags(title), PacketWriteEndInfo::EndPage, 0);
        let again: Vec<Vec<u8>> = self.recent.iter().cloned().collect();
        self.granule -= PACKET * again.len() as u64;
        again.into_iter().for_each(|packet| self.hold(packet));
    }

    /// Takes the pages that are complete; often there is none.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.pages.inner_mut())
    }

    fn write(&mut self, packet: Vec<u8>, end: PacketWriteEndInfo, granule: u64) {
        self.pages.write_packet(packet, self.serial, end, granule).expect("a vector takes every byte");
    }
}

/// The identification header (RFC 7845 section 5.1).
fn head() -> Vec<u8> {
    let mut head = b"OpusHead".to_vec();
    head.push(1); // version
    head.push(2); // channels
    head.extend((ROLL as u16 * PACKET as u16).to_le_bytes());
    head.extend(48_000_u32.to_le_bytes()); // rate before encoding
    head.extend(0_i16.to_le_bytes()); // gain
    head.push(0); // channel mapping family: mono or stereo
    head
}

/// The comment header (RFC 7845 section 5.2).
fn tags(title: &str) -> Vec<u8> {
    let mut tags = b"OpusTags".to_vec();
    let comments = [format!("TITLE={}", &title[..title.floor_char_boundary(LONGEST_TITLE)])];
    text(&mut tags, VENDOR);
    tags.extend((comments.len() as u32).to_le_bytes());
    comments.iter().for_each(|comment| text(&mut tags, comment));
    tags
}

/// A text with its length before it.
fn text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u32).to_le_bytes());
    to.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use ogg::{Packet, PacketReader};
    use std::io::Cursor;

    /// Every packet of a stream; the reader checks sequence and checksums of the pages.
    fn read(bytes: Vec<u8>) -> Vec<Packet> {
        let mut reader = PacketReader::new(Cursor::new(bytes));
        std::iter::from_fn(|| reader.read_packet().unwrap()).collect()
    }

    /// The packets that say a number.
    fn push(stream: &mut OggOpus, numbers: std::ops::Range<u8>) {
        numbers.for_each(|number| stream.push(&[number; 300]));
    }

    fn is_head(packet: &Packet) -> bool {
        packet.data.starts_with(b"OpusHead")
    }

    #[test]
    fn it_begins_with_two_headers_each_in_a_page_of_its_own() {
        let mut stream = OggOpus::new(7, "porto and lisboa".to_owned());
        push(&mut stream, 0..3);
        stream.end();
        let packets = read(stream.take());
        // RFC 7845 section 5.1, byte by byte: version, channels, pre-skip, rate, gain, mapping.
        let head = [1, 2, 0x00, 0x0f, 0x80, 0xbb, 0, 0, 0, 0, 0];
        assert_eq!(packets[0].data, [b"OpusHead".as_slice(), &head].concat());
        let vendor = VENDOR.as_bytes();
        let title = b"TITLE=porto and lisboa";
        let lengths = [[vendor.len() as u8, 0, 0, 0], [1, 0, 0, 0], [title.len() as u8, 0, 0, 0]];
        let tags = [b"OpusTags".as_slice(), &lengths[0], vendor, &lengths[1], &lengths[2], title];
        assert_eq!(packets[1].data, tags.concat());
        for header in &packets[..2] {
            assert!(header.first_in_page() && header.last_in_page());
            assert_eq!(header.absgp_page(), 0, "RFC 7845 section 4");
        }
        assert!(packets[0].first_in_stream() && packets[2].first_in_page());
        assert_eq!(packets.len(), 5);
    }

    #[test]
    fn a_page_says_how_many_frames_there_are_up_to_its_end() {
        let mut stream = OggOpus::new(7, "porto".to_owned());
        push(&mut stream, 0..25);
        let mut bytes = stream.take();
        push(&mut stream, 25..26);
        assert!(stream.take().is_empty(), "no page is complete yet");
        stream.end();
        bytes.extend(stream.take());
        let packets = read(bytes);
        let numbers: Vec<u8> = packets[2..].iter().map(|packet| packet.data[0]).collect();
        assert_eq!(numbers, (0..26).collect::<Vec<u8>>(), "every packet, once, in order");
        let pages: Vec<u64> =
            packets[2..].iter().filter(|packet| packet.last_in_page()).map(Packet::absgp_page).collect();
        assert_eq!(pages, [9_600, 19_200, 24_960]);
        let ends: Vec<usize> = (0..packets.len()).filter(|at| packets[*at].last_in_stream()).collect();
        assert_eq!(ends, [27], "the last packet, and no other");
    }

    #[test]
    fn a_new_title_is_a_new_logical_stream_that_goes_on_where_the_last_one_ended() {
        let mut stream = OggOpus::new(u32::MAX, "porto".to_owned());
        push(&mut stream, 0..12);
        stream.retitle("nobody sees this".to_owned());
        stream.retitle("porto and lisboa".to_owned());
        push(&mut stream, 12..20);
        stream.end();
        let packets = read(stream.take());
        let heads: Vec<usize> = (0..packets.len()).filter(|at| is_head(&packets[*at])).collect();
        assert_eq!(heads, [0, 14]);
        assert!(packets[13].last_in_stream() && packets[14].first_in_stream());
        assert_eq!([packets[13].stream_serial(), packets[14].stream_serial()], [0, 1]);
        assert!(packets[15].data.ends_with(b"TITLE=porto and lisboa"));
        // Played is what comes after the four that say again what was before.
        let numbers: Vec<u8> = packets[16..].iter().map(|packet| packet.data[0]).collect();
        assert_eq!(numbers, (8..20).collect::<Vec<u8>>());
        let last = packets.len() - 1;
        assert_eq!([packets[13].absgp_page(), packets[last].absgp_page()], [12 * 960, 20 * 960]);
    }

    #[test]
    fn titles_that_change_faster_than_a_decoder_settles_are_no_trouble() {
        let mut stream = OggOpus::new(0, "0".to_owned());
        for title in 1..50 {
            push(&mut stream, 0..1);
            stream.retitle(title.to_string());
        }
        push(&mut stream, 0..1);
        stream.end();
        let packets = read(stream.take());
        assert_eq!(
            packets.iter().filter(|packet| is_head(packet)).count(),
            47,
            "none before the first 80 ms"
        );
        assert!(packets.iter().all(|packet| !packet.last_in_stream() || packet.absgp_page() >= 3_840));
        assert_eq!(packets.last().unwrap().absgp_page(), 50 * 960);
    }

    #[test]
    fn a_title_that_is_too_long_is_cut_between_two_letters() {
        let title = "\u{e9}".repeat(600);
        let mut stream = OggOpus::new(0, format!("x{title}"));
        push(&mut stream, 0..1);
        stream.end();
        let tags = read(stream.take()).swap_remove(1).data;
        let text = std::str::from_utf8(&tags[8 + 4 + VENDOR.len() + 8..]).unwrap();
        assert_eq!(text, format!("TITLE=x{}", "\u{e9}".repeat(499)));
    }

    #[test]
    fn nothing_comes_out_before_there_is_sound() {
        let mut stream = OggOpus::new(0, "porto".to_owned());
        stream.retitle("lisboa".to_owned());
        stream.end();
        assert!(stream.take().is_empty());
    }
}
