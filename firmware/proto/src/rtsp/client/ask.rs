//! What is asked of a guest's RTSP server: the requests.
//!
//! Before it: [`super::Client`], which knows what comes next. After it: bytes for the connection, and an answer for
//! `answer`. Source: RFC 2326 sections 10 (methods) and 12 (headers).

use super::{Action, Client, PATIENCE, State};
use crate::units::Time;
use rtsp_types::headers::{ACCEPT, CSEQ, RANGE, SESSION, TRANSPORT, USER_AGENT};
use rtsp_types::{Method, Request, Response, StatusCode, Version};

/// What we call ourselves.
const PRODUCT: &str = concat!("matriz/", env!("CARGO_PKG_VERSION"));

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What it can.
    Options,
    /// What there is.
    Describe,
    /// To send it by UDP.
    SetupUdp,
    /// To send it through the connection.
    SetupTcp,
    /// To begin.
    Play,
    /// Nothing: it shall know that we are there.
    Alive,
    /// To end.
    Teardown,
}

impl Ask {
    /// The method, in words.
    pub fn method(self) -> &'static str {
        match self {
            Ask::Options | Ask::Alive => "OPTIONS",
            Ask::Describe => "DESCRIBE",
            Ask::SetupUdp | Ask::SetupTcp => "SETUP",
            Ask::Play => "PLAY",
            Ask::Teardown => "TEARDOWN",
        }
    }
}

impl Client {
    /// Asks, and waits for the answer.
    pub(super) fn ask(&mut self, now: Time, what: Ask) {
        self.write_request(what);
        self.state = State::Asking { what, until: now + PATIENCE };
    }

    /// Sends a request, whatever becomes of it.
    pub(super) fn write_request(&mut self, what: Ask) {
        self.call.cseq = self.call.cseq.wrapping_add(1);
        let offered = self.call.offered.as_ref();
        let (method, url) = match what {
            Ask::Options => (Method::Options, Some(&self.url)),
            Ask::Describe => (Method::Describe, Some(&self.url)),
            Ask::SetupUdp | Ask::SetupTcp => (Method::Setup, offered.map(|offered| &offered.track)),
            Ask::Play => (Method::Play, offered.map(|offered| &offered.whole)),
            Ask::Alive if self.call.parameters => {
                (Method::GetParameter, offered.map(|offered| &offered.whole))
            }
            Ask::Alive => (Method::Options, offered.map(|offered| &offered.whole)),
            Ask::Teardown => (Method::Teardown, offered.map(|offered| &offered.whole)),
        };
        let mut request = Request::builder(method, Version::V1_0)
            .request_uri(url.unwrap_or(&self.url).clone())
            .header(CSEQ, self.call.cseq.to_string())
            .header(USER_AGENT, PRODUCT);
        if let Some(session) = &self.call.session {
            request = request.header(SESSION, session.id.as_str());
        }
        let request = match (what, self.settings.port) {
            (Ask::Describe, _) => request.header(ACCEPT, "application/sdp"),
            (Ask::SetupUdp, Some(port)) => request
                .header(TRANSPORT, format!("RTP/AVP;unicast;client_port={port}-{}", port.saturating_add(1))),
            (Ask::SetupUdp | Ask::SetupTcp, _) => {
                request.header(TRANSPORT, "RTP/AVP/TCP;unicast;interleaved=0-1")
            }
            (Ask::Play, _) => request.header(RANGE, "npt=now-"),
            _ => request,
        };
        let mut bytes = Vec::new();
        request.empty().write(&mut bytes).expect("a Vec takes whatever is written");
        self.actions.push_back(Action::Write(bytes));
    }

    /// A request of the guest: there is nothing that it could ask of a listener.
    pub(super) fn decline(&mut self, request: &Request<Vec<u8>>) {
        let mut response = Response::builder(Version::V1_0, StatusCode::NotImplemented);
        if let Some(cseq) = request.header(&CSEQ) {
            response = response.header(CSEQ, cseq.as_str());
        }
        let mut bytes = Vec::new();
        response.empty().write(&mut bytes).expect("a Vec takes whatever is written");
        self.actions.push_back(Action::Write(bytes));
    }
}
