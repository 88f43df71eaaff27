//! WebSockets of the API, for programs and pages in the local network: a text message each way is a request or an
//! answer. Only where the configuration has a port and a token.
//!
//! The token is in the header `Authorization: Bearer TOKEN`, or, since a page cannot set headers, in the address:
//! `ws://BOX:PORT/api?token=TOKEN`. Addresses outside of private networks are not listened to. It is not encrypted:
//! who can read the network can read the token. Sources: RFC 6455, RFC 6750, RFC 1918, RFC 4193.

use super::talk::{Heard, Wire, talk};
use super::{BREATH, LONGEST};
use crate::config::{Config, ConfigError};
use crate::door::Door;
use futures_util::{SinkExt, StreamExt};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

/// Most connections at a time.
const MOST: usize = 16;

/// How long a handshake may take, and how long a wrong token is thought about: nobody guesses quickly.
const HANDSHAKE: Duration = Duration::from_secs(5);
const WRONG: Duration = Duration::from_secs(1);

/// How often somebody is pinged, and after which silence he is gone.
const PING: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);

/// Opens the port, if the configuration has one; with it comes the token.
///
/// # Errors
/// The port is taken: the configuration's line, and what to do.
pub fn bind(config: &Config) -> Result<Option<(TcpListener, Arc<str>)>, ConfigError> {
    let (Some(port), Some(token)) = (config.api.port, &config.api.token) else { return Ok(None) };
    let open = |ip: IpAddr| {
        let listener = std::net::TcpListener::bind(SocketAddr::new(ip, port))?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    let listener = open(Ipv6Addr::UNSPECIFIED.into())
        .or_else(|_: std::io::Error| open(Ipv4Addr::UNSPECIFIED.into()))
        .map_err(|error| {
            let what = format!("TCP port {port} cannot be opened ({error}): set \"port\" to another number");
            config.wrong("api.port", what)
        })?;
    Ok(Some((listener, Arc::from(token.as_str()))))
}

/// Receives programs for as long as the box runs.
pub async fn receive(listener: TcpListener, token: Arc<str>, door: Door) {
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) if talks.len() < MOST && is_near(from.ip()) => {
                    talks.spawn(visit(stream, Arc::clone(&token), door.clone()));
                }
                Ok((_, from)) => tracing::debug!("a program at {} is turned away", from.ip()),
                Err(error) => {
                    tracing::debug!("no program can be received: {error}");
                    tokio::time::sleep(BREATH).await;
                }
            },
            Some(_) = talks.join_next() => {}
        }
    }
}

async fn visit(stream: TcpStream, token: Arc<str>, door: Door) {
    let limits = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
    let handshake = accept_hdr_async_with_config(stream, Doorkeeper { token }, Some(limits));
    match timeout(HANDSHAKE, handshake).await {
        Ok(Ok(socket)) => {
            let now = Instant::now();
            talk(door, Messages { socket, heard: now, ping: now + PING }).await;
        }
        // Whatever was wrong: it keeps a place occupied for a while.
        Ok(Err(_)) => tokio::time::sleep(WRONG).await,
        Err(_) => {}
    }
}

/// Looks at the first request of a connection.
struct Doorkeeper {
    token: Arc<str>,
}

impl Callback for Doorkeeper {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        if request.uri().path() != "/api" {
            return Err(refusal(StatusCode::NOT_FOUND, "the API is at /api"));
        }
        let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let in_header = header.and_then(|value| value.strip_prefix("Bearer "));
        let in_address = request.uri().query().and_then(token_of);
        match in_header.or(in_address).is_some_and(|said| is_same(said, &self.token)) {
            true => Ok(response),
            false => Err(refusal(StatusCode::UNAUTHORIZED, "the token is missing or wrong")),
        }
    }
}

fn refusal(code: StatusCode, why: &str) -> ErrorResponse {
    let mut refusal = ErrorResponse::new(Some(why.to_owned()));
    *refusal.status_mut() = code;
    refusal
}

fn token_of(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("token="))
}

/// Takes as long whichever letter is wrong.
fn is_same(said: &str, token: &str) -> bool {
    let differs = said.bytes().zip(token.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
    said.len() == token.len() && differs == 0
}

/// Whether an address is in a private network, on this link, or this computer.
fn is_near(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}

/// Text messages of a WebSocket.
struct Messages {
    socket: WebSocketStream<TcpStream>,
    heard: Instant,
    ping: Instant,
}

impl Wire for Messages {
    async fn next(&mut self) -> Heard {
        loop {
            let frame = tokio::select! {
                frame = self.socket.next() => frame,
                () = sleep_until(self.ping) => {
                    self.ping = Instant::now() + PING;
                    let ping = Message::Ping(Bytes::new());
                    if self.heard.elapsed() > SILENCE || self.socket.send(ping).await.is_err() {
                        return Heard::Over;
                    }
                    continue;
                }
            };
            self.heard = Instant::now();
            match frame {
                Some(Ok(Message::Text(text))) => return Heard::Text(text.as_str().to_owned()),
                Some(Ok(Message::Binary(_))) => return Heard::Nonsense("a request is a text message"),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Heard::Over,
            }
        }
    }

    async fn send(&mut self, text: &str) -> bool {
        self.socket.send(Message::text(text)).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_neighbours_are_listened_to() {
        for near in
            ["192.168.1.7", "10.0.0.1", "172.31.0.1", "127.0.0.1", "169.254.3.3", "fe80::1", "fd00::1", "::1"]
        {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        assert!(is_near("::ffff:192.168.1.7".parse().unwrap()));
        for far in ["8.8.8.8", "172.32.0.1", "2001:db8::1", "::ffff:8.8.8.8", "100.64.0.1"] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }

    #[test]
    fn a_token_is_the_whole_token() {
        assert!(is_same("abc", "abc"));
        assert!(
            !is_same("", "abc") && !is_same("ab", "abc") && !is_same("abcd", "abc") && !is_same("abd", "abc")
        );
        assert_eq!(token_of("a=1&token=xyz&b=2"), Some("xyz"));
        assert_eq!(token_of("mytoken=xyz"), None);
    }
}
