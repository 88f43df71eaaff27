//! How packets travel to a listener: the header `Transport`, read and written.
//!
//! Before it: a SETUP. After it: [`super::Connection`]. It is read by hand: the parser of `rtsp-types` 0.1
//! slices a lone quotation mark (`mode="`) from its second byte to its first, and panics.
//! Source: RFC 2326 section 12.39.

use rtsp_types::StatusCode;

/// Ports below this one are not sent to: a listener's own are above, and behind the others sit services
/// (RFC 6335 section 6).
pub(super) const FIRST_USER_PORT: u16 = 1_024;

/// Where a listener's packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In datagrams to these ports of the address that the connection comes from.
    Udp {
        /// Port of the listener for RTP.
        rtp: u16,
        /// Port of the listener for RTCP.
        rtcp: u16,
    },
    /// Through the connection itself, in these channels (RFC 2326 section 10.12).
    Tcp {
        /// Channel of RTP.
        rtp: u8,
        /// Channel of RTCP.
        rtcp: u8,
    },
}

impl Transport {
    /// The first transport of the header that we offer, in the listener's order of preference. UDP is
    /// offered only where the box has ports for it. An address that it names is not looked at: packets go
    /// to nobody but who asks for them.
    ///
    /// # Errors
    /// 461 if we offer none of them, 400 if what we would offer is malformed.
    pub fn choose(header: &str, udp: bool) -> Result<Transport, StatusCode> {
        let mut refusal = StatusCode::UnsupportedTransport;
        for transport in header.split(',') {
            match Transport::read(transport) {
                Ok(Some(Transport::Udp { .. })) if !udp => {}
                Ok(Some(transport)) => return Ok(transport),
                Ok(None) => {}
                Err(Malformed) => refusal = StatusCode::BadRequest,
            }
        }
        Err(refusal)
    }

    /// One of the header's transports; `None` if it is not ours.
    fn read(text: &str) -> Result<Option<Transport>, Malformed> {
        let mut words = text.split(';').map(str::trim);
        let protocol = words.next().unwrap_or_default().to_ascii_uppercase();
        let (mut unicast, mut ports, mut channels) = (true, None, Some((0, 1)));
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("multicast", _) => unicast = false,
                ("client_port", value) => ports = Some(pair(value)?),
                ("interleaved", value) => {
                    let (rtp, rtcp) = pair(value)?;
                    channels = u8::try_from(rtp).ok().zip(u8::try_from(rtcp).ok());
                }
                // A listener that wants to send is none.
                ("mode", value) if !value.trim_matches('"').eq_ignore_ascii_case("play") => return Ok(None),
                _ => {}
            }
        }
        match protocol.as_str() {
            "RTP/AVP" | "RTP/AVP/UDP" if unicast => {
                let (rtp, rtcp) = ports.ok_or(Malformed)?;
                let ours = rtp >= FIRST_USER_PORT && rtcp >= FIRST_USER_PORT;
                Ok(ours.then_some(Transport::Udp { rtp, rtcp }))
            }
            "RTP/AVP/TCP" if unicast => {
                let (rtp, rtcp) = channels.ok_or(Malformed)?;
                Ok(Some(Transport::Tcp { rtp, rtcp }))
            }
            _ => Ok(None),
        }
    }

    /// The header of our answer; `port` is ours for RTP, and the next one for RTCP.
    pub fn answer(&self, port: Option<u16>, ssrc: u32) -> String {
        let way = match (self, port) {
            (Transport::Udp { rtp, rtcp }, Some(port)) => {
                let next = port.saturating_add(1);
                format!("RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={port}-{next}")
            }
            (Transport::Udp { rtp, rtcp }, None) => format!("RTP/AVP;unicast;client_port={rtp}-{rtcp}"),
            (Transport::Tcp { rtp, rtcp }, _) => format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}"),
        };
        format!("{way};ssrc={ssrc:08X};mode=\"PLAY\"")
    }
}

/// A transport that is ours, with a value that cannot be.
pub(super) struct Malformed;

/// `8556-8557`, or `8556` alone: then the second is the next one.
pub(super) fn pair(text: &str) -> Result<(u16, u16), Malformed> {
    let number = |text: &str| text.parse::<u16>().map_err(|_| Malformed);
    let (first, second) = match text.split_once('-') {
        Some((first, second)) => (number(first)?, number(second)?),
        None => (number(text)?, number(text)?.checked_add(1).ok_or(Malformed)?),
    };
    if first == second { Err(Malformed) } else { Ok((first, second)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn choose(header: &str) -> Result<Transport, u16> {
        Transport::choose(header, true).map_err(u16::from)
    }

    #[test]
    fn what_players_ask_for_is_understood() {
        let udp = Transport::Udp { rtp: 8_556, rtcp: 8_557 };
        assert_eq!(choose("RTP/AVP;unicast;client_port=8556-8557"), Ok(udp), "GStreamer");
        assert_eq!(choose("RTP/AVP/UDP;unicast;client_port=8556-8557"), Ok(udp), "ffmpeg");
        assert_eq!(choose("rtp/avp;client_port=8556"), Ok(udp), "the next port is that of RTCP");
        assert_eq!(
            choose("RTP/AVP;unicast;destination=192.0.2.1;client_port=8556-8557;mode=\"PLAY\""),
            Ok(udp)
        );
        let tcp = Transport::Tcp { rtp: 2, rtcp: 3 };
        assert_eq!(choose("RTP/AVP/TCP;unicast;interleaved=2-3"), Ok(tcp));
        assert_eq!(choose("RTP/AVP/TCP"), Ok(Transport::Tcp { rtp: 0, rtcp: 1 }));
    }

    #[test]
    fn the_first_that_we_offer_is_taken() {
        let header = "RTP/SAVP;unicast;client_port=1-2, RTP/AVP;multicast, RTP/AVP;unicast;client_port=5000-5001,\
                      RTP/AVP/TCP;interleaved=0-1";
        assert_eq!(choose(header), Ok(Transport::Udp { rtp: 5_000, rtcp: 5_001 }));
        assert_eq!(Transport::choose(header, false), Ok(Transport::Tcp { rtp: 0, rtcp: 1 }), "without UDP");
    }

    #[test]
    fn what_we_do_not_offer_is_461_and_what_cannot_be_is_400() {
        for header in [
            "",
            "RTP/AVP;multicast;port=5000-5001",
            "RTP/SAVP;unicast;client_port=5000-5001",
            "RTP/AVP;unicast;client_port=53-54",
            "RTP/AVP/TCP;interleaved=0-1;mode=RECORD",
            "RTP/AVP/TCP;mode=\"",
        ] {
            assert_eq!(choose(header), Err(461), "{header}");
        }
        for header in [
            "RTP/AVP;unicast",
            "RTP/AVP;unicast;client_port",
            "RTP/AVP;unicast;client_port=65535",
            "RTP/AVP;unicast;client_port=5000-65536",
            "RTP/AVP;unicast;client_port=5000-5000",
            "RTP/AVP/TCP;interleaved=255-256",
            "RTP/AVP/TCP;interleaved=a-b",
        ] {
            assert_eq!(choose(header), Err(400), "{header}");
        }
    }

    #[test]
    fn the_answer_names_both_ends() {
        let udp = Transport::Udp { rtp: 8_556, rtcp: 8_557 };
        let expected =
            "RTP/AVP;unicast;client_port=8556-8557;server_port=8698-8699;ssrc=0000BEEF;mode=\"PLAY\"";
        assert_eq!(udp.answer(Some(8_698), 0xbeef), expected);
        let tcp = Transport::Tcp { rtp: 0, rtcp: 1 };
        assert_eq!(tcp.answer(None, 1), "RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=00000001;mode=\"PLAY\"");
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(
            text in ".{0,40}",
            like in "(RTP/AVP(/TCP|/UDP)?(;(unicast|mode=\"?[a-z]?\"?|interleaved=[0-9-]{0,5}|client_port=[0-9-]{0,12}))*,?){0,3}",
        ) {
            let _ = Transport::choose(&text, true);
            if let Ok(transport) = Transport::choose(&like, true) {
                prop_assert_eq!(Transport::choose(&transport.answer(Some(8_698), 1), true), Ok(transport));
            }
        }
    }
}
