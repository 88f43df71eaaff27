//! Cuts what a client or a server sends into messages: requests or answers, and interleaved data in between.
//!
//! Before it: bytes as TCP delivers them, split anywhere. After it: [`super::Connection`] and
//! [`super::client`]. A head is parsed only when all of it is there; nothing longer than the limits below is ever
//! kept.
//! Sources: RFC 2326 sections 4 (messages), 10.12 (interleaved data) and 15.1 (syntax).

use rtsp_types::{Message, ParseError, StatusCode};

/// Most bytes of a request's head: its first line and headers. Players send less than 1000. Our choice.
const MOST_HEAD: usize = 8_192;

/// Most bytes of a body. Requests of a listener have none, or some names; descriptions have some hundred. Our choice.
const MOST_BODY: usize = 4_096;

/// Most bytes of interleaved data: a listener sends nothing but reports, a guest packets of Opus. Our choice.
const MOST_DATA: usize = 4_096;

/// What came and is not cut yet.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
}

/// Bytes that are no message. Where the next one begins is unknown, so the connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What to answer.
    pub status: StatusCode,
    /// The number of the request, where it can be read.
    pub cseq: Option<u32>,
}

impl Inbox {
    /// Takes in what came. Call [`Inbox::pop`] until nothing is left before the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether nothing waits for its rest.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next message that is complete.
    pub fn pop(&mut self) -> Option<Result<Message<Vec<u8>>, Fault>> {
        // Empty lines before a request are to be ignored (RFC 2326 section 4.1).
        let empty = self.bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.bytes.drain(..empty);
        let complete = match self.bytes.first()? {
            b'$' => self.data()?,
            b'A'..=b'Z' => self.head()?,
            _ => Err(Fault { status: StatusCode::BadRequest, cseq: None }),
        };
        match complete {
            Ok(()) => self.message(),
            Err(fault) => Some(Err(fault)),
        }
    }

    /// Whether interleaved data is all there: `$`, channel, length of two bytes, data.
    fn data(&self) -> Option<Result<(), Fault>> {
        let [_, _, high, low, data @ ..] = &self.bytes[..] else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length > MOST_DATA {
            return Some(Err(too_large(None)));
        }
        (data.len() >= length).then_some(Ok(()))
    }

    /// Whether the head of a request is all there.
    fn head(&self) -> Option<Result<(), Fault>> {
        let known = &self.bytes[..self.bytes.len().min(MOST_HEAD)];
        match known.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            Some(_) => Some(Ok(())),
            None if self.bytes.len() >= MOST_HEAD => Some(Err(too_large(cseq(known)))),
            None => None,
        }
    }

    /// Parses a message whose head is there.
    fn message(&mut self) -> Option<Result<Message<Vec<u8>>, Fault>> {
        match Message::parse(&self.bytes) {
            Ok((message, length)) => {
                self.bytes.drain(..length);
                Some(Ok(message))
            }
            Err(ParseError::Incomplete(missing)) => {
                let long = missing.is_some_and(|missing| missing.get() > MOST_BODY)
                    || self.bytes.len() > MOST_HEAD + MOST_BODY;
                long.then(|| Err(too_large(cseq(&self.bytes))))
            }
            Err(ParseError::Error) => {
                let cseq = cseq(&self.bytes);
                Some(Err(if is_of_another_version(&self.bytes) {
                    Fault { status: StatusCode::RTSPVersionNotSupported, cseq }
                } else if is_too_long(&self.bytes) {
                    too_large(cseq)
                } else {
                    Fault { status: StatusCode::BadRequest, cseq }
                }))
            }
        }
    }
}

fn too_large(cseq: Option<u32>) -> Fault {
    Fault { status: StatusCode::RequestMessageBodyTooLarge, cseq }
}

/// The lines of a head that need not be well formed.
fn lines(head: &[u8]) -> impl Iterator<Item = &str> {
    head.split(|byte| *byte == b'\n').map_while(|line| str::from_utf8(line).ok()).map(str::trim_end)
}

/// Whether the first line ends with a version that is not 1.0.
fn is_of_another_version(head: &[u8]) -> bool {
    let last = lines(head).next().and_then(|line| line.rsplit(' ').next());
    last.and_then(|word| word.strip_prefix("RTSP/")).is_some_and(|version| version != "1.0")
}

/// Whether the body is said to be longer than this computer can count, which the parser takes for a mistake.
fn is_too_long(head: &[u8]) -> bool {
    let length = header(head, "content-length").filter(|length| !length.is_empty());
    length.is_some_and(|length| {
        length.bytes().all(|byte| byte.is_ascii_digit()) && length.parse::<usize>().is_err()
    })
}

/// The number of a request that cannot be parsed.
fn cseq(head: &[u8]) -> Option<u32> {
    header(head, "cseq")?.parse().ok()
}

/// What a header of that name says.
fn header<'a>(head: &'a [u8], wanted: &str) -> Option<&'a str> {
    let mut headers = lines(head).take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'));
    headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtsp_types::Method;

    type Messages = Vec<Result<Message<Vec<u8>>, Fault>>;

    /// The messages in these bytes, and whether nothing is left.
    fn all(bytes: &[u8]) -> (Messages, bool) {
        let mut inbox = Inbox::default();
        inbox.push(bytes);
        let mut messages = Vec::new();
        while let Some(message) = inbox.pop() {
            let over = message.is_err();
            messages.push(message);
            if over {
                break;
            }
        }
        (messages, inbox.is_empty())
    }

    fn fault(bytes: &[u8]) -> Option<(u16, Option<u32>)> {
        match all(bytes).0.pop()? {
            Ok(_) => None,
            Err(Fault { status, cseq }) => Some((status.into(), cseq)),
        }
    }

    #[test]
    fn requests_and_data_are_told_apart() {
        let mut bytes = b"\r\nOPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n$\x01\x00\x03abc".to_vec();
        bytes.extend_from_slice(b"GET_PARAMETER * RTSP/1.0\r\nCSeq: 2\r\nContent-Length: 4\r\n\r\nnameOPT");
        let (messages, empty) = all(&bytes);
        let [Ok(Message::Request(first)), Ok(Message::Data(data)), Ok(Message::Request(second))] =
            &messages[..]
        else {
            panic!("{messages:?}")
        };
        assert_eq!(first.method(), &Method::Options);
        assert_eq!((data.channel_id(), data.as_slice()), (1, &b"abc"[..]));
        assert_eq!((second.method(), &second.body()[..]), (&Method::GetParameter, &b"name"[..]));
        assert!(!empty, "the beginning of the next one waits");
    }

    #[test]
    fn what_is_no_request_is_a_fault_at_once() {
        assert_eq!(fault(b"\x16\x03\x01\x02\x00"), Some((400, None)), "somebody speaks TLS");
        assert_eq!(fault(b"GET / HTTP/1.1\r\nHost: porto\r\n\r\n"), Some((400, None)));
        assert_eq!(fault(b"OPTIONS *\r\nCSeq: 7\r\n\r\n"), Some((400, Some(7))));
        assert_eq!(fault(b"OPTIONS * RTSP/1.0\r\nCSeq 7\r\n\r\n"), Some((400, None)));
        assert_eq!(fault(b"OPTIONS * RTSP/3.0\r\ncseq: 8\r\n\r\n"), Some((505, Some(8))));
        assert_eq!(fault(b"PLAY a b RTSP/1.0\r\n\xff\r\n\r\n"), Some((400, None)));
        assert_eq!(
            fault(b"PLAY rtsp:// RTSP/1.0\r\nCSeq: 9\r\nContent-Length: x\r\n\r\n"),
            Some((400, Some(9)))
        );
    }

    #[test]
    fn what_is_too_long_is_a_fault_before_it_is_kept() {
        let mut head = b"OPTIONS * RTSP/1.0\r\nCSeq: 3\r\nX: ".to_vec();
        head.resize(MOST_HEAD - 1, b'x');
        assert_eq!(fault(&head), None);
        head.push(b'x');
        assert_eq!(fault(&head), Some((413, Some(3))));
        let body = |length: &str| {
            fault(format!("OPTIONS * RTSP/1.0\r\nCSeq: 4\r\nContent-Length: {length}\r\n\r\n").as_bytes())
        };
        assert_eq!(body("4096"), None);
        assert_eq!(body("4097"), Some((413, Some(4))));
        assert_eq!(body("18446744073709551615"), Some((413, Some(4))));
        assert_eq!(body("18446744073709551616"), Some((413, Some(4))));
        assert_eq!(body("-1"), Some((400, Some(4))));
        assert_eq!(fault(b"$\x00\x10\x00"), None);
        assert_eq!(fault(b"$\x00\x10\x01"), Some((413, None)));
    }
}
