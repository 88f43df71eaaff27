//! What a guest's RTSP server answers, and what follows from it.
//!
//! Before it: an answer that [`super::super::inbox`] has cut out. After it: the next request, or the end of this
//! try. Headers are read by hand, as in [`super::super::transport`]: the crate's parser of `Transport` panics at
//! `mode="`. Source: RFC 2326 sections 11 (status codes), 12.37 (`Session`) and 12.39 (`Transport`).

use super::super::transport::{FIRST_USER_PORT, pair};
use super::ask::Ask;
use super::offered::Offered;
use super::{Action, Client, State};
use crate::rtcp;
use crate::units::Time;
use rtsp_types::headers::{CONTENT_BASE, CONTENT_LOCATION, CSEQ, HeaderName, PUBLIC, SESSION, TRANSPORT};
use rtsp_types::{StatusCode, Url};
use std::time::Duration;

type Response = rtsp_types::Response<Vec<u8>>;

/// Most characters of a session's name. Servers take 8 to 32. Our choice.
const LONGEST_ID: usize = 128;

/// A sign of life at least so often: half of the time-out of RFC 2326 section 12.37; and at most so often. In seconds.
const SELDOM: u64 = 30;
const OFTEN: u64 = 1;

/// A session of the guest's server.
#[derive(Debug)]
pub struct Session {
    /// Its name.
    pub id: String,
    /// After this time without a sign of life it ends, in seconds.
    timeout: u64,
}

/// How the sound will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// To our ports; what we send to the guest goes to these of its own.
    Udp {
        /// Port for RTP.
        rtp: Option<u16>,
        /// Port for RTCP.
        rtcp: Option<u16>,
    },
    /// Through the connection, in these channels.
    Tcp {
        /// Channel of RTP.
        rtp: u8,
        /// Channel of RTCP.
        rtcp: u8,
    },
}

impl Client {
    /// An answer has come. One to another request than the last is passed over.
    pub(super) fn judge(&mut self, now: Time, response: &Response) {
        let number = header(response, &CSEQ).and_then(|number| number.trim().parse().ok());
        let State::Asking { what, .. } = self.state else { return self.judge_sign(now, response) };
        if number != Some(self.call.cseq) {
            return;
        }
        let status = response.status();
        let next = match what {
            _ if status == StatusCode::Ok => self.accept(now, what, response),
            Ask::Options => Ok(Some(Ask::Describe)), // it need not say what it can
            Ask::SetupUdp if status == StatusCode::UnsupportedTransport => {
                self.by_tcp = true;
                Ok(Some(Ask::SetupTcp))
            }
            _ => {
                self.by_tcp = self.settings.port.is_none(); // the next try begins with UDP again
                Err(refusal(status, what))
            }
        };
        match next {
            Ok(Some(what)) => self.ask(now, what),
            Ok(None) => self.play(now),
            Err(why) => self.fail(now, &why),
        }
    }

    /// The answer to a sign of life. Only a session that is gone matters.
    fn judge_sign(&mut self, now: Time, response: &Response) {
        if response.status() == StatusCode::SessionNotFound {
            self.fail(now, "has forgotten that we listen");
        }
    }

    /// The guest does what it is asked; what is asked next.
    fn accept(&mut self, now: Time, what: Ask, response: &Response) -> Result<Option<Ask>, String> {
        match what {
            Ask::Options => {
                let methods = header(response, &PUBLIC).unwrap_or_default();
                self.call.parameters = methods.contains("GET_PARAMETER");
                Ok(Some(Ask::Describe))
            }
            Ask::Describe => {
                let base = header(response, &CONTENT_BASE).or(header(response, &CONTENT_LOCATION));
                let base = base.and_then(|base| Url::parse(base).ok()).filter(|base| base.scheme() == "rtsp");
                self.call.offered = Some(Offered::read(response.body(), base.as_ref().unwrap_or(&self.url))?);
                Ok(Some(if self.by_tcp { Ask::SetupTcp } else { Ask::SetupUdp }))
            }
            Ask::SetupUdp | Ask::SetupTcp => {
                self.set_up(now, response)?;
                Ok(Some(Ask::Play))
            }
            Ask::Play | Ask::Alive | Ask::Teardown => Ok(None),
        }
    }

    /// The transport is agreed on: from now on sound may come.
    fn set_up(&mut self, now: Time, response: &Response) -> Result<(), String> {
        let session = header(response, &SESSION).and_then(Session::read);
        self.call.session = Some(session.ok_or("answers SETUP without a session")?);
        let answer = header(response, &TRANSPORT).and_then(Granted::read);
        let (granted, ssrc) = answer.ok_or("answers SETUP without a transport that makes sense")?;
        if matches!(granted, Granted::Tcp { .. }) != self.by_tcp {
            return Err("grants another transport than was asked for".to_owned());
        }
        (self.call.granted, self.call.ssrc) = (Some(granted), ssrc);
        self.account = rtcp::Account::default();
        let payload_type =
            self.call.offered.as_ref().map_or(crate::rtp::OPUS, |offered| offered.payload_type);
        self.actions.push_back(Action::Listen { payload_type, udp: !self.by_tcp });
        if !self.by_tcp {
            self.report(now); // opens the ways through routers
        }
        Ok(())
    }
}

/// Why the guest refuses, in words that follow its name.
fn refusal(status: StatusCode, what: Ask) -> String {
    match u16::from(status) {
        401 => "asks for a password".to_owned(),
        404 => "has nothing at /stream".to_owned(),
        453 | 503 => "has no room for one more listener".to_owned(),
        461 => "offers neither UDP nor TCP".to_owned(),
        status => format!("refuses {} (status {status})", what.method()),
    }
}

fn header<'a>(response: &'a Response, name: &HeaderName) -> Option<&'a str> {
    response.header(name).map(|value| value.as_str())
}

impl Session {
    /// `780FDAE2;timeout=60`; a name that a header could not carry is none.
    fn read(header: &str) -> Option<Session> {
        let mut words = header.split(';').map(str::trim);
        let id = words.next().filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)?;
        let timeout = words.find_map(|word| word.strip_prefix("timeout=")?.trim().parse().ok());
        let fits = id.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Session { id: id.to_owned(), timeout: timeout.unwrap_or(2 * SELDOM) })
    }

    /// From one sign of life to the next.
    pub fn sign_every(&self) -> Duration {
        Duration::from_secs((self.timeout / 2).clamp(OFTEN, SELDOM))
    }
}

impl Granted {
    /// The transport of an answer, and the source that it names. `None` if it is none of ours, or malformed.
    fn read(header: &str) -> Option<(Granted, Option<u32>)> {
        let mut words = header.split(',').next()?.split(';').map(str::trim);
        let protocol = words.next()?.to_ascii_uppercase();
        let (mut ports, mut channels, mut ssrc) = ((None, None), None, None);
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("multicast", _) => return None,
                ("server_port", value) => {
                    let ours = |port: u16| Some(port).filter(|port| *port >= FIRST_USER_PORT);
                    let (rtp, rtcp) = pair(value).ok()?;
                    ports = (ours(rtp), ours(rtcp));
                }
                ("interleaved", value) => {
                    let (rtp, rtcp) = pair(value).ok()?;
                    channels = Some((u8::try_from(rtp).ok()?, u8::try_from(rtcp).ok()?));
                }
                ("ssrc", value) => ssrc = u32::from_str_radix(value.trim(), 16).ok(),
                _ => {}
            }
        }
        let granted = match protocol.as_str() {
            "RTP/AVP" | "RTP/AVP/UDP" => Granted::Udp { rtp: ports.0, rtcp: ports.1 },
            "RTP/AVP/TCP" => {
                let (rtp, rtcp) = channels.unwrap_or((0, 1));
                Granted::Tcp { rtp, rtcp }
            }
            _ => return None,
        };
        Some((granted, ssrc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn transports_of_gstreamer_and_of_boxes_are_read() {
        let udp = Granted::Udp { rtp: Some(8_698), rtcp: Some(8_699) };
        let gstreamer =
            "RTP/AVP;unicast;client_port=8696-8697;server_port=8698-8699;ssrc=0E5E3C5A;mode=\"PLAY\"";
        assert_eq!(Granted::read(gstreamer), Some((udp, Some(0x0e5e_3c5a))));
        let tcp = Granted::Tcp { rtp: 2, rtcp: 3 };
        assert_eq!(Granted::read("RTP/AVP/TCP;unicast;interleaved=2-3;mode=\""), Some((tcp, None)));
        let nowhere = Granted::Udp { rtp: None, rtcp: None };
        assert_eq!(Granted::read("RTP/AVP;unicast;server_port=22-23;ssrc=xyz"), Some((nowhere, None)));
        for header in ["", "RTP/SAVP;unicast", "RTP/AVP;multicast", "RTP/AVP/TCP;interleaved=255-256"] {
            assert_eq!(Granted::read(header), None, "{header}");
        }
    }

    #[test]
    fn a_session_has_a_name_and_a_time() {
        let read = |header| Session::read(header).map(|session| (session.id.clone(), session.sign_every()));
        let every = |id: &str, seconds| Some((id.to_owned(), Duration::from_secs(seconds)));
        assert_eq!(read("Xf-3;timeout=20"), every("Xf-3", 10));
        assert_eq!(read(" 12 ; timeout=0"), every("12", 1));
        assert_eq!(read("12;timeout=99999999999999999999"), every("12", 30));
        assert_eq!(read("12"), every("12", 30));
        assert_eq!((read(""), read("a b"), read(&"x".repeat(129))), (None, None, None));
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(
            text in ".{0,40}",
            like in "RTP/AVP(/TCP|/UDP)?(;(mode=\"?[a-z]?\"?|interleaved=[0-9-]{0,5}|server_port=[0-9-]{0,12}|ssrc=[0-9a-f]{0,9}))*",
        ) {
            let _ = (Granted::read(&text), Granted::read(&like), Session::read(&text));
        }
    }
}
