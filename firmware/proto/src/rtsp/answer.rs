//! What is answered to each request: one function per method.
//!
//! Before it: a request that [`super::inbox`] has cut out. After it: the answer's bytes, and what follows
//! from it for the session. Source: RFC 2326 sections 10 (methods), 11 (status codes), 12 (headers) and
//! appendix A.2 (states of a server).

use super::description::{TRACK, describe};
use super::stream::Stream;
use super::transport::Transport;
use super::{Action, Connection, House, Session, TIMEOUT};
use crate::units::Time;
use percent_encoding::percent_decode_str;
use rtsp_types::headers::{
    ACCEPT, ALLOW, CONTENT_BASE, CONTENT_TYPE, CSEQ, CSeq, HeaderName, PROXY_REQUIRE, PUBLIC, RANGE, REQUIRE,
    RTP_INFO, SERVER, SESSION, TRANSPORT, UNSUPPORTED,
};
use rtsp_types::{Method, Response, StatusCode, Version};

type Request = rtsp_types::Request<Vec<u8>>;

/// The methods that are answered with more than a refusal.
const METHODS: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER";

/// What we call ourselves.
const PRODUCT: &str = concat!("matriz/", env!("CARGO_PKG_VERSION"));

/// An answer, and what is to be done after it.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    body: Vec<u8>,
    then: Option<Action>,
}

impl Reply {
    /// An answer of nothing but its status.
    pub fn new(status: StatusCode) -> Reply {
        Reply { status, headers: Vec::new(), body: Vec::new(), then: None }
    }

    fn with(mut self, name: HeaderName, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    /// Its bytes. `cseq` is that of the request, `session` the one that there is now.
    pub fn write(self, cseq: Option<u32>, session: Option<&str>) -> Vec<u8> {
        let mut response = Response::builder(Version::V1_0, self.status).header(SERVER, PRODUCT);
        if self.status == StatusCode::Ok {
            response = response.reason_phrase("OK"); // as everybody writes it; the crate says `Ok`
        }
        if let Some(cseq) = cseq {
            response = response.header(CSEQ, cseq.to_string());
        }
        if let Some(session) = session {
            response = response.header(SESSION, format!("{session};timeout={}", TIMEOUT.as_secs()));
        }
        let headers = self.headers.into_iter();
        let response = headers.fold(response, |response, (name, value)| response.header(name, value));
        let mut bytes = Vec::new();
        response.build(self.body).write(&mut bytes).expect("a Vec takes whatever is written");
        bytes
    }
}

/// A refusal ends the judgement, as an error does.
type Judgement = Result<Reply, Reply>;

impl Connection {
    /// Answers a request.
    pub(super) fn answer(&mut self, now: Time, request: &Request, house: House<'_>) {
        let cseq = request.typed_header::<CSeq>().ok().flatten().map(u32::from);
        let mut reply = match cseq {
            None => Reply::new(StatusCode::BadRequest),
            Some(_) => self.judge(now, request, house).unwrap_or_else(|refusal| refusal),
        };
        let then = reply.then.take();
        self.reply(reply, cseq);
        self.actions.extend(then);
    }

    fn judge(&mut self, now: Time, request: &Request, house: House<'_>) -> Judgement {
        if request.version() != Version::V1_0 {
            return Err(Reply::new(StatusCode::RTSPVersionNotSupported));
        }
        let demand = request.header(&REQUIRE).or_else(|| request.header(&PROXY_REQUIRE));
        if let Some(options) = demand {
            return Err(Reply::new(StatusCode::OptionNotSupported).with(UNSUPPORTED, options.as_str()));
        }
        let named = self.names_session(request)?;
        match request.method() {
            Method::Options => Ok(Reply::new(StatusCode::Ok).with(PUBLIC, METHODS)),
            Method::Describe => self.describe(request, house),
            Method::Setup => self.set_up(request, house, named),
            Method::Play => self.play(now, request, house, named),
            Method::Pause => self.pause(request, house, named),
            Method::Teardown => self.tear_down(request, house, named),
            // Without a name it asks only whether we are there; parameters we have none.
            Method::GetParameter if request.body().trim_ascii().is_empty() => Ok(Reply::new(StatusCode::Ok)),
            Method::GetParameter => Err(Reply::new(StatusCode::ParameterNotUnderstood)),
            Method::Extension(_) => Err(Reply::new(StatusCode::NotImplemented)),
            _ => Err(Reply::new(StatusCode::MethodNotAllowed).with(ALLOW, METHODS)),
        }
    }

    /// Whether the request names our session; one that is not there is 454 with any method.
    fn names_session(&self, request: &Request) -> Result<bool, Reply> {
        let Some(header) = request.header(&SESSION) else { return Ok(false) };
        let id = header.as_str().split(';').next().unwrap_or_default().trim();
        match &self.session {
            Some(session) if session.id == id => Ok(true),
            _ => Err(Reply::new(StatusCode::SessionNotFound)),
        }
    }

    fn describe(&self, request: &Request, house: House<'_>) -> Judgement {
        let (base, program) = find(request, house.programs)?;
        let understood = |kinds: &str| kinds.contains("application/sdp") || kinds.contains("*/*");
        if request.header(&ACCEPT).is_some_and(|kinds| !understood(kinds.as_str())) {
            return Err(Reply::new(StatusCode::NotAcceptable));
        }
        let mut reply = Reply::new(StatusCode::Ok)
            .with(CONTENT_BASE, format!("{base}/"))
            .with(CONTENT_TYPE, "application/sdp");
        reply.body = describe(&self.identity.name, self.identity.number, self.identity.local, &program);
        Ok(reply)
    }

    fn set_up(&mut self, request: &Request, house: House<'_>, named: bool) -> Judgement {
        let (_, program) = find(request, house.programs)?;
        match &self.session {
            // One at a time: who wants two programmes connects twice.
            Some(_) if !named => return Err(self.not_now()),
            Some(session) if session.program != program => {
                return Err(Reply::new(StatusCode::AggregateOperationNotAllowed));
            }
            Some(session) if session.playing => return Err(self.not_now()),
            Some(_) => {}
            None if !house.room => return Err(Reply::new(StatusCode::NotEnoughBandwidth)),
            None => {}
        }
        let header = request.header(&TRANSPORT).ok_or(Reply::new(StatusCode::BadRequest))?;
        let transport =
            Transport::choose(header.as_str(), self.identity.port.is_some()).map_err(Reply::new)?;
        let session = match self.session.take() {
            Some(session) => Session { transport, ..session },
            None => self.new_session(program, transport),
        };
        let answer = transport.answer(self.identity.port, session.stream.ssrc());
        self.session = Some(session);
        Ok(Reply::new(StatusCode::Ok).with(TRANSPORT, answer))
    }

    fn new_session(&mut self, program: String, transport: Transport) -> Session {
        let mut random = self.identity.seed.wrapping_add(self.sessions.wrapping_mul(STRIDE));
        self.sessions += 1;
        let mut random = || {
            random = random.wrapping_add(GOLDEN);
            mix(random)
        };
        let stream = Stream::new(random() as u32, random() as u16, random() as u32);
        let id = format!("{:016X}", random());
        Session { id, program, transport, stream, playing: false, report_at: None }
    }

    fn play(&mut self, now: Time, request: &Request, house: House<'_>, named: bool) -> Judgement {
        let track = format!("{}/{TRACK}", self.controlled(request, house, named)?);
        // There is only now; `npt=0-` is what players ask for who do not think of that.
        if request.header(&RANGE).is_some_and(|range| !range.as_str().starts_with("npt")) {
            return Err(Reply::new(StatusCode::InvalidRange));
        }
        let session = self.session.as_mut().ok_or(Reply::new(StatusCode::SessionNotFound))?;
        let mut reply = Reply::new(StatusCode::Ok).with(RANGE, "npt=now-");
        if !session.playing {
            session.playing = true;
            session.stream.play(now);
            reply.then = Some(Action::Listen(session.program.clone()));
        }
        let (sequence, timestamp) = session.stream.next();
        Ok(reply.with(RTP_INFO, format!("url={track};seq={sequence};rtptime={timestamp}")))
    }

    fn pause(&mut self, request: &Request, house: House<'_>, named: bool) -> Judgement {
        self.controlled(request, house, named)?;
        match &mut self.session {
            Some(session) if session.playing => session.playing = false,
            _ => return Err(self.not_now()),
        }
        Ok(Reply { then: Some(Action::Rest), ..Reply::new(StatusCode::Ok) })
    }

    fn tear_down(&mut self, request: &Request, house: House<'_>, named: bool) -> Judgement {
        self.controlled(request, house, named)?;
        self.forget_session();
        Ok(Reply::new(StatusCode::Ok))
    }

    /// The address of our session's programme, if the request controls it: it must name the session, and its
    /// programme or the track of it.
    fn controlled(&self, request: &Request, house: House<'_>, named: bool) -> Result<String, Reply> {
        let session = self.session.as_ref().filter(|_| named);
        let session = session.ok_or(Reply::new(StatusCode::SessionNotFound))?;
        // The programme may be gone, and its listener still wants to leave.
        find(request, std::slice::from_ref(&session.program)).map(|(base, _)| base).map_err(|refusal| {
            match find(request, house.programs) {
                Ok(_) => Reply::new(StatusCode::AggregateOperationNotAllowed),
                Err(_) => refusal,
            }
        })
    }

    /// The refusal of what cannot be done in this state, with what can.
    fn not_now(&self) -> Reply {
        let allowed = match &self.session {
            None => "OPTIONS, DESCRIBE, SETUP, GET_PARAMETER",
            Some(session) if session.playing => "OPTIONS, DESCRIBE, PLAY, PAUSE, TEARDOWN, GET_PARAMETER",
            Some(_) => "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER",
        };
        Reply::new(StatusCode::MethodNotValidInThisState).with(ALLOW, allowed)
    }
}

/// The programme that a request is about, with its address as the player writes it: without a slash at the
/// end, and without the track.
fn find(request: &Request, programs: &[String]) -> Result<(String, String), Reply> {
    let url = request.request_uri().filter(|url| url.scheme() == "rtsp"); // none: `*`
    let mut url = url.ok_or(Reply::new(StatusCode::BadRequest))?.clone();
    url.set_query(None);
    url.set_fragment(None);
    let unknown = || Reply::new(StatusCode::NotFound);
    let path = percent_decode_str(url.path().trim_matches('/')).decode_utf8().map_err(|_| unknown())?;
    let named = |name: &str| programs.iter().find(|program| program.as_str() == name).cloned();
    let base = url.as_str().trim_end_matches('/');
    if let Some(program) = named(&path) {
        return Ok((base.to_owned(), program));
    }
    let program = path.strip_suffix(TRACK).and_then(|path| path.strip_suffix('/')).and_then(named);
    let base = base.strip_suffix(TRACK).and_then(|base| base.strip_suffix('/'));
    base.map(str::to_owned).zip(program).ok_or_else(unknown)
}

/// SplitMix64, from Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014): the
/// step, and how a state becomes a number.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// From the numbers of one session to those of the next; more than a session takes.
const STRIDE: u64 = GOLDEN.wrapping_mul(16);

fn mix(state: u64) -> u64 {
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}
