//! The RTP stream of one listener: headers for packets, and sender reports.
//!
//! Before it: the packets of a programme, the same for all listeners. After it: datagrams, or interleaved
//! data. Each listener is an RTP session of its own, with a source, sequence numbers and timestamps that
//! begin anywhere. What the encoder gave and did not reach this stream is a gap in both, as if lost on the
//! way; a pause is a gap in the timestamps only. Sources: RFC 3550 sections 5.1 and 6.4.1, RFC 7587.

use crate::rtcp;
use crate::rtp::{Header, OPUS};
use crate::units::{Time, frames_to_nanos, nanos_to_frames};

/// Frames of a packet: 20 ms, Opus' usual length, as the original sends it.
pub const PACKET: i64 = 960;

/// A packet that comes later than foreseen moves the time line by this part of how late it is: then the
/// line follows a slow card within seconds, and one late packet does not move it. Our choice.
const CREEP: i64 = 64;

/// One listener's stream.
#[derive(Clone, Debug)]
pub struct Stream {
    ssrc: u32,
    /// Sequence number of the next packet.
    sequence: u16,
    /// Timestamp at position 0.
    offset: u32,
    /// Where the next packet begins, in frames since the beginning; goes on while the listener pauses.
    position: i64,
    /// Which frame of the programme is expected next; unknown after the start and after a pause.
    expected: Option<i64>,
    /// When position 0 was, in nanoseconds of the box's clock, judged by the packets that came earliest.
    origin: Option<i64>,
    packets: u32,
    octets: u32,
}

impl Stream {
    /// A stream that begins at this sequence number and timestamp.
    pub fn new(ssrc: u32, sequence: u16, offset: u32) -> Stream {
        let (position, packets, octets) = (0, 0, 0);
        Stream { ssrc, sequence, offset, position, expected: None, origin: None, packets, octets }
    }

    /// Its source.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Sequence number and timestamp of the next packet (`RTP-Info`, RFC 2326 section 12.33).
    pub fn next(&self) -> (u16, u32) {
        (self.sequence, self.timestamp(self.position))
    }

    /// From now on packets come (again). After a pause the timestamps are where they would be without.
    pub fn play(&mut self, now: Time) {
        self.expected = None;
        if let Some(origin) = self.origin {
            self.position = self.position.max(nanos_to_frames(now.0 - origin) as i64);
        }
    }

    /// The datagram of a packet that begins at this frame of its programme.
    pub fn packet(&mut self, now: Time, frame: i64, payload: &[u8]) -> Vec<u8> {
        let gap = self.expected.map_or(0, |expected| (frame - expected).max(0));
        self.sequence = self.sequence.wrapping_add((gap / PACKET) as u16); // wraps on the wire
        self.position += gap;
        self.follow(now);
        let header = Header {
            marker: self.expected.is_none(),
            payload_type: OPUS,
            sequence: self.sequence,
            timestamp: self.timestamp(self.position),
            ssrc: self.ssrc,
        };
        let mut head = [0; Header::LEN];
        header.write(&mut head);
        self.sequence = self.sequence.wrapping_add(1);
        self.position += PACKET;
        self.expected = Some(frame + PACKET);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        [&head, payload].concat()
    }

    /// A sender report, with the box's name: `now` on the box's clock is `ntp` on that of the wall, and
    /// which timestamp that is. `None` before the first packet.
    pub fn report(&self, now: Time, ntp: u64, name: &str) -> Option<Vec<u8>> {
        let position = nanos_to_frames(now.0 - self.origin?) as i64;
        let mut datagram = Vec::new();
        rtcp::Writer::new(&mut datagram)
            .sender_report(self.ssrc, ntp, self.timestamp(position), self.packets, self.octets, &[])
            .source_description(self.ssrc, name);
        Some(datagram)
    }

    /// The goodbye of this stream: a compound with an empty report before it (RFC 3550 section 6.1).
    pub fn goodbye(&self, name: &str) -> Vec<u8> {
        let mut datagram = Vec::new();
        rtcp::Writer::new(&mut datagram)
            .receiver_report(self.ssrc, &[])
            .source_description(self.ssrc, name)
            .bye(self.ssrc);
        datagram
    }

    fn timestamp(&self, position: i64) -> u32 {
        self.offset.wrapping_add(position as u32) // wraps on the wire
    }

    /// Corrects the time line by a packet that comes now.
    fn follow(&mut self, now: Time) {
        let seen = now.0 - frames_to_nanos(self.position as f64);
        self.origin = Some(match self.origin {
            Some(origin) if seen > origin => origin + (seen - origin) / CREEP,
            _ => seen,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp;
    use std::time::Duration;

    const MS_20: Duration = Duration::from_millis(20);

    fn header(datagram: &[u8]) -> Header {
        rtp::Packet::parse(datagram).unwrap().header
    }

    fn report(stream: &Stream, now: Time) -> (u32, u32, u32) {
        let datagram = stream.report(now, 77 << 32, "porto").unwrap();
        let packets: Vec<_> = rtcp::parse(&datagram).unwrap().collect();
        let [
            rtcp::Packet::SenderReport { ssrc: 5, ntp, rtp, packets, octets, .. },
            rtcp::Packet::SourceDescription { ssrc: 5, cname: "porto" },
        ] = packets[..]
        else {
            panic!("{packets:?}")
        };
        assert_eq!(ntp, 77 << 32);
        (rtp, packets, octets)
    }

    #[test]
    fn packets_follow_each_other_and_what_is_missing_is_a_gap() {
        let mut stream = Stream::new(5, 65_535, u32::MAX);
        assert_eq!(stream.next(), (65_535, u32::MAX));
        let first = stream.packet(Time(0), 9_600, b"opus");
        assert_eq!(&first[12..], b"opus");
        let Header { marker, payload_type, sequence, timestamp, ssrc } = header(&first);
        assert_eq!((marker, payload_type, sequence, timestamp, ssrc), (true, 96, 65_535, u32::MAX, 5));
        let second = header(&stream.packet(Time(0) + MS_20, 10_560, b""));
        assert_eq!((second.marker, second.sequence, second.timestamp), (false, 0, 959));
        let fifth = header(&stream.packet(Time(0) + 4 * MS_20, 13_440, b""));
        assert_eq!((fifth.sequence, fifth.timestamp), (3, 3_839), "two are missing");
    }

    #[test]
    fn a_pause_is_no_loss_and_time_goes_on() {
        let mut stream = Stream::new(5, 10, 1_000);
        stream.play(Time(0));
        stream.packet(Time(0), 0, b"x");
        let later = Time(0) + Duration::from_secs(2);
        stream.play(later);
        assert_eq!(stream.next(), (11, 1_000 + 96_000));
        let again = header(&stream.packet(later, 960, b"x"));
        assert_eq!((again.marker, again.sequence, again.timestamp), (true, 11, 97_000));
    }

    #[test]
    fn a_report_says_which_timestamp_is_now() {
        let mut stream = Stream::new(5, 0, 1_000);
        assert_eq!(stream.report(Time(0), 0, "porto"), None);
        for n in 0..10 {
            // One in three is late by 6 ms; the time line is that of the others.
            let late = Duration::from_millis(if n % 3 == 2 { 6 } else { 0 });
            stream.packet(Time(0) + n * MS_20 + late, 960 * i64::from(n), b"12");
        }
        let (rtp, packets, octets) = report(&stream, Time(0) + Duration::from_secs(1));
        assert!((rtp.cast_signed() - 49_000).abs() <= 10, "{rtp}");
        assert_eq!((packets, octets), (10, 20));
    }

    #[test]
    fn the_time_line_follows_a_slow_card() {
        let mut stream = Stream::new(5, 0, 0);
        let mut now = Time(0);
        for n in 0..3_000 {
            stream.packet(now, 960 * n, b"");
            now = now + MS_20 + Duration::from_micros(2); // 100 ppm
        }
        let (rtp, ..) = report(&stream, now);
        assert!((rtp.cast_signed() - 3_000 * 960).abs() < 10, "{rtp}");
    }
}
