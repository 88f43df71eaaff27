//! What comes out of a room: orders to the driver, each for one connection.
//!
//! Made by `room`, carried out by `server` and `connection`, or by the simulated world.

use proto::rendezvous::Notice;
use std::net::IpAddr;
use std::sync::Arc;

/// Close code of an orderly end (RFC 6455 section 7.4.1).
pub const NORMAL: u16 = 1000;
/// Close code of a refusal, "policy violation" (RFC 6455 section 7.4.1).
pub const POLICY: u16 = 1008;

/// A connection, numbered by the driver. A number is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What the driver does for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Send this text frame. Shared, since a broadcast sends the same one to many.
    Send(Arc<str>),
    /// Try to open a TCP connection to this address within five seconds and call [`super::Room::probed`].
    Probe {
        /// The client's address.
        ip: IpAddr,
        /// The TCP port of its RTSP server.
        port: u16,
    },
    /// Close the connection. The room has forgotten it already.
    Close {
        /// The WebSocket close code.
        code: u16,
        /// Why, in a sentence.
        reason: String,
    },
}

/// Things to do, in order.
pub type Outgoings = Vec<(ConnectionId, Outgoing)>;

/// To one connection.
pub(super) fn send(id: ConnectionId, notice: Notice, out: &mut Outgoings) {
    send_all([id], notice, out);
}

/// To many: written once, and only if somebody is there.
pub(super) fn send_all(ids: impl IntoIterator<Item = ConnectionId>, notice: Notice, out: &mut Outgoings) {
    let mut ids = ids.into_iter().peekable();
    if ids.peek().is_some() {
        let text: Arc<str> = notice.encode().into();
        out.extend(ids.map(|id| (id, Outgoing::Send(text.clone()))));
    }
}
