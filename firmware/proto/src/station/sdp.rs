//! A station's sound in words that standard players read: SDP for a stream that comes by itself.
//!
//! Before it: a subscription for a UDP port. After it: a file that GStreamer, ffmpeg, mpv or VLC opens.
//! Sources: RFC 8866 (SDP), RFC 7587 section 7 (Opus), RFC 5761 section 5.1.1 (reports at the same port).

use crate::rtp::{OPUS, OPUS_RTPMAP};
use crate::station::uri::is_link_local;
use sdp_types::{Media, MediaType, Origin, Session, Time, TransportProto};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Describes the sound that the station `name` sends from its address `from` to the player at `to`.
pub fn describe(name: &str, number: u32, from: IpAddr, to: SocketAddr) -> String {
    let mut media = Media::new(MediaType::Audio, to.port(), TransportProto::RtpAvp, OPUS);
    media.add_attribute_with_value("rtpmap", format!("{OPUS} {OPUS_RTPMAP}"));
    media.add_attribute_with_value("fmtp", format!("{OPUS} sprop-stereo=1;stereo=1"));
    media.add_attribute_with_value("ptime", 20);
    media.add_attribute_from_str("rtcp-mux");
    let at = match to.ip() {
        // An address that means nothing without a network card, which SDP cannot name.
        IpAddr::V6(ip) if is_link_local(ip) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ip => ip,
    };
    let mut session = Session::new(Origin::with_ip_addr(number, 1, from), name);
    session.set_connection(at);
    session.add_time(Time::new(0, 0)); // for ever
    session.add_media(media);
    let mut text = Vec::new();
    session.write(&mut text).expect("a Vec takes whatever is written");
    String::from_utf8(text).expect("it was made of strings")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_player_can_tell_where_and_what_it_is() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let to = SocketAddr::new(ip("10.0.0.2"), 5_004);
        let expected = "v=0\r\n\
                        o=- 7 1 IN IP4 10.0.0.1\r\n\
                        s=porto on 10.0.0.1:7128\r\n\
                        c=IN IP4 10.0.0.2\r\n\
                        t=0 0\r\n\
                        m=audio 5004 RTP/AVP 96\r\n\
                        a=rtpmap:96 OPUS/48000/2\r\n\
                        a=fmtp:96 sprop-stereo=1;stereo=1\r\n\
                        a=ptime:20\r\n\
                        a=rtcp-mux\r\n";
        let text = describe("porto on 10.0.0.1:7128", 7, ip("10.0.0.1"), to);
        assert_eq!(text, expected);
        assert_eq!(Session::parse(text.as_bytes()).unwrap().medias.len(), 1);
        let text = describe("porto", 7, ip("fe80::1"), SocketAddr::new(ip("fe80::2"), 5_004));
        assert!(text.contains("o=- 7 1 IN IP6 fe80::1\r\n") && text.contains("c=IN IP6 ::\r\n"), "{text}");
    }
}
