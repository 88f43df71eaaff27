//! The messages between boxes and the rendezvous: JSON in WebSocket text frames on the path `/config`.
//!
//! [`request`] is what clients send, [`notice`] what the server sends, [`from_server`] how a box reads
//! that. The server's state machine is `rendezvous::room`, the box's is its session. Source: the protocol
//! of matriz 0.2.7 as it is on the wire; ours are only the refusal and the object `{"matriz": …}`, which an
//! original server relays and an original client ignores.

pub mod from_server;
pub mod notice;
pub mod request;

pub use from_server::FromServer;
pub use notice::Notice;
pub use request::{Register, Request};

use serde::Serialize;
use serde_json::Value;
use std::net::IpAddr;

/// The longest frame that a client may send, in bytes.
pub const FRAME_LIMIT: usize = 64 * 1024;

/// The longest frame that a box takes from a server, in bytes: a relayed frame grows by the list of
/// clients, and its numbers may grow when they are written again (`1e15` becomes `1000000000000000.0`).
pub const FROM_SERVER_LIMIT: usize = 8 * FRAME_LIMIT;

/// The port of a box's RTSP server where none is said: the default that matriz documents.
pub const RTSP_PORT: u16 = 8554;

/// The path of the WebSocket on the server.
pub const PATH: &str = "/config";

/// The name with which a web page registers. It needs no key.
pub const WEB_CLIENT: &str = "webclient";

/// One client in the list that every message carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The remote address of the client's connection, as the server sees it.
    pub ip: IpAddr,
    /// Whether the server could open a TCP connection to `ip:port`.
    pub stream: bool,
    /// The client's name.
    pub name: String,
    /// The TCP port of the client's RTSP server.
    pub port: u16,
}

/// Why a frame was not understood. Each is a sentence for the person who wrote the other side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than the limit.
    #[error("the frame has {bytes} bytes, and at most {limit} are read: send less")]
    TooLong {
        /// The frame's length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not JSON; serde_json's own words say what and where.
    #[error("the frame is not JSON ({0}): send a JSON object, or a JSON string that holds one")]
    NotJson(String),
    /// JSON, but no object.
    #[error("the frame holds {0} where a JSON object is expected, such as {{\"refresh\": true}}")]
    NotObject(&'static str),
    /// `{}`, which says nothing.
    #[error("the frame is an empty JSON object: send one with something in it")]
    Empty,
    /// A key that a registration needs.
    #[error(
        "the registration has no \"{0}\": send {{\"register\": \"\", \"name\": …, \"key\": …, \"port\": 8554}}"
    )]
    Missing(&'static str),
    /// A key of a registration whose value must be a text.
    #[error("\"{0}\" of the registration must be a text in quotes")]
    NotText(&'static str),
    /// A port that is none.
    #[error("\"port\" of the registration is {0}, but must be a number from 1 to 65535")]
    Port(String),
}

/// Why a frame cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// An original server unescapes each frame once too often, so a backslash never arrives as it was.
    #[error("{what} has the character {character:?}, which an original rendezvous misreads: leave it out")]
    Escape {
        /// Which text, for instance `the name "a\"b"`.
        what: String,
        /// The first character that JSON would escape.
        character: char,
    },
    /// A name or key without a character.
    #[error("{0} is empty: write one")]
    Empty(&'static str),
    /// Longer than [`FRAME_LIMIT`].
    #[error("the frame would have {0} bytes, and a rendezvous reads at most {FRAME_LIMIT}: send less")]
    TooLong(usize),
}

/// The first character of `text` that JSON cannot hold without a backslash, if there is one: a
/// quotation mark, a backslash or a control character (RFC 8259 section 7).
pub fn needs_escape(text: &str) -> Option<char> {
    text.chars().find(|&c| c == '"' || c == '\\' || c < '\u{20}')
}

/// Parses one frame of at most `limit` bytes.
fn parse(text: &str, limit: usize) -> Result<Value, DecodeError> {
    if text.len() > limit {
        return Err(DecodeError::TooLong { bytes: text.len(), limit });
    }
    serde_json::from_str(text).map_err(|error| DecodeError::NotJson(error.to_string()))
}

/// What kind of value this is, for people.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A port from a JSON number or, as the original server accepts too, from digits in a text.
fn read_port(value: &Value) -> Option<u16> {
    let port = match value {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    port.filter(|&port| port != 0)
}
