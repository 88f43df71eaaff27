//! What a programme is, for players: the answer to DESCRIBE, in SDP.
//!
//! Before it: a request for a programme that exists. After it: the player's SETUP of the one track.
//! Sources: RFC 8866 (SDP), RFC 2326 appendix C (its use in RTSP), RFC 7587 section 7 (Opus).

use crate::rtp::{OPUS, OPUS_RTPMAP};
use sdp_types::{Media, MediaType, Origin, Session, Time, TransportProto};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The track of a programme below its address. There is one.
pub const TRACK: &str = "audio";

/// The description of `program` of the box `name`, as reached at the address `local`. `number` marks it,
/// and is the same as long as the box runs (RFC 8866 section 5.2).
pub fn describe(name: &str, number: u32, local: IpAddr, program: &str) -> Vec<u8> {
    // SETUP says which port (RFC 2326 appendix C.1.2), and packets go where the request comes from.
    let mut media = Media::new(MediaType::Audio, 0, TransportProto::RtpAvp, OPUS);
    media.add_attribute_with_value("rtpmap", format!("{OPUS} {OPUS_RTPMAP}"));
    media.add_attribute_with_value("fmtp", format!("{OPUS} sprop-stereo=1;stereo=1"));
    media.add_attribute_with_value("ptime", 20);
    media.add_attribute_with_value("control", TRACK);
    let anywhere = match local {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let mut session = Session::new(Origin::with_ip_addr(number, 1, local), format!("{name}: {program}"));
    session.set_connection(anywhere);
    session.add_time(Time::new(0, 0)); // for ever
    session.add_attribute_with_value("control", "*");
    session.add_attribute_with_value("range", "npt=now-");
    session.add_media(media);
    let mut text = Vec::new();
    session.write(&mut text).expect("a Vec takes whatever is written");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_player_can_tell_what_it_is() {
        let text = describe("porto", 7, Ipv4Addr::new(192, 0, 2, 1).into(), "peers/lisboa");
        let expected = "v=0\r\n\
                        o=- 7 1 IN IP4 192.0.2.1\r\n\
                        s=porto: peers/lisboa\r\n\
                        c=IN IP4 0.0.0.0\r\n\
                        t=0 0\r\n\
                        a=control:*\r\n\
                        a=range:npt=now-\r\n\
                        m=audio 0 RTP/AVP 96\r\n\
                        a=rtpmap:96 OPUS/48000/2\r\n\
                        a=fmtp:96 sprop-stereo=1;stereo=1\r\n\
                        a=ptime:20\r\n\
                        a=control:audio\r\n";
        assert_eq!(String::from_utf8(text.clone()).unwrap(), expected);
        assert_eq!(Session::parse(&text).unwrap().medias.len(), 1);
        let text = String::from_utf8(describe("porto", 7, Ipv6Addr::LOCALHOST.into(), "mix")).unwrap();
        assert!(text.contains("IN IP6 ::1\r\n") && text.contains("c=IN IP6 ::\r\n"), "{text}");
    }
}
