//! Where the rendezvous is and how to get there: name, TCP, TLS, WebSocket handshake.
//!
//! Comes before the conversation in [`super`]. Each step that fails is told as one sentence that names
//! the likely reason, because this is where most boxes get stuck on their first evening. The certificates
//! are read once, at the start, by [`super::tls`].

use super::tls::{self, TlsFiles};
use crate::config::{Config, ConfigError};
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::http::{StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// How long all steps of connecting may take together.
const CONNECT: Duration = Duration::from_secs(5);

/// The largest frame that is accepted, in bytes. A list of a hundred boxes with their offers is 50 kB.
const LARGEST_FRAME: usize = 1 << 20;

/// What the WebSocket runs over: TCP, or TLS over TCP.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A rendezvous that can be connected to; its certificates are read and fit.
#[derive(Clone)]
pub struct Endpoint {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<Tls>,
}

/// What `wss://` needs.
#[derive(Clone)]
struct Tls {
    connector: TlsConnector,
    server: ServerName<'static>,
    files: TlsFiles,
}

/// Why there can be no such endpoint: one sentence, and the configuration's key that it is about.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct EndpointError {
    /// The key in the configuration.
    pub key: &'static str,
    /// What is wrong, where, and what to do.
    pub what: String,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Endpoint {
    /// The rendezvous of `config`.
    ///
    /// # Errors
    /// If a file of `wss://` is missing or does not hold what it should, told with the line of its key.
    /// With `ws://` the files are not looked at: the original's example names some that do not exist.
    pub fn of(config: &Config) -> Result<Endpoint, ConfigError> {
        let files = TlsFiles {
            ca_crt: config.ca_crt.clone(),
            client_crt: config.client_crt.clone(),
            client_pem: config.client_pem.clone(),
        };
        Endpoint::new(&config.url, files).map_err(|error| config.wrong(error.key, error.what))
    }

    /// As [`Endpoint::of`], for `url` and the files of `wss://`.
    ///
    /// # Errors
    /// As [`Endpoint::of`], or `url` is no address of a rendezvous.
    pub fn new(url: &str, files: TlsFiles) -> Result<Endpoint, EndpointError> {
        let wrong = |what: String| EndpointError { key: "url", what };
        let uri: Uri = url.parse().map_err(|error| wrong(format!("\"{url}\" is no address ({error})")))?;
        let host = uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']').to_owned();
        let (secure, usual_port) = match uri.scheme_str() {
            Some("ws") => (false, 80),
            Some("wss") => (true, 443),
            _ => return Err(wrong(format!("\"{url}\" must begin with ws:// or wss://"))),
        };
        if host.is_empty() {
            return Err(wrong(format!(
                "\"{url}\" names no host; write one, as in ws://localhost:5000/config"
            )));
        }
        let port = uri.port_u16().unwrap_or(usual_port);
        let tls = if secure {
            let server = ServerName::try_from(host.clone())
                .map_err(|_| wrong(format!("\"{host}\" is no name that a certificate can be for")))?;
            let connector = TlsConnector::from(Arc::new(tls::client(&files)?));
            Some(Tls { connector, server, files })
        } else {
            None
        };
        Ok(Endpoint { uri, host, port, tls })
    }

    /// Connects, within 5 s.
    ///
    /// # Errors
    /// One sentence that says which step failed and what to look at.
    pub(super) async fn connect(&self) -> Result<WebSocketStream<Box<dyn Stream>>, String> {
        let deadline = Instant::now() + CONNECT;
        let tcp = match timeout_at(deadline, self.dial()).await {
            Ok(dialled) => dialled?,
            Err(_) => return Err(self.no_answer()),
        };
        self.shake_hands(tcp, deadline).await
    }

    /// Resolves the name and connects to the first address that answers. The time is shared out among
    /// them, so that an IPv6 address that leads nowhere leaves some for IPv4.
    async fn dial(&self) -> Result<TcpStream, String> {
        let unknown = |detail: String| {
            format!(
                "the name {} does not resolve ({detail}); check \"url\" and this box's network",
                self.host
            )
        };
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let addresses: Vec<_> = found.map_err(|error| unknown(error.to_string()))?.collect();
        let share = CONNECT / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut why = unknown("it has no address".to_owned());
        for address in addresses {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => {
                    // Offers are small and urgent. Should the option fail, they are merely late.
                    let _ = tcp.set_nodelay(true);
                    return Ok(tcp);
                }
                Ok(Err(error)) => why = self.unreachable(&error),
                Err(_) => why = self.no_answer(),
            }
        }
        Err(why)
    }

    /// TLS if the address asks for it, then WebSocket.
    pub(super) async fn shake_hands<S>(
        &self,
        stream: S,
        deadline: Instant,
    ) -> Result<WebSocketStream<Box<dyn Stream>>, String>
    where
        S: Stream + 'static,
    {
        let steps = async {
            let stream: Box<dyn Stream> = match &self.tls {
                None => Box::new(stream),
                Some(tls) => {
                    let connected = tls.connector.connect(tls.server.clone(), stream).await;
                    Box::new(connected.map_err(|error| tls::words(&error, self, &tls.files))?)
                }
            };
            let limits = WebSocketConfig::default()
                .max_message_size(Some(LARGEST_FRAME))
                .max_frame_size(Some(LARGEST_FRAME));
            tokio_tungstenite::client_async_with_config(&self.uri, stream, Some(limits))
                .await
                .map(|(socket, _)| socket)
                .map_err(|error| self.no_websocket(&error))
        };
        match timeout_at(deadline, steps).await {
            Ok(result) => result,
            Err(_) => Err(format!(
                "{self} takes the connection but says nothing within {} s; is that matriz-rendezvous, or \
                 something else at this port?",
                CONNECT.as_secs()
            )),
        }
    }

    fn no_answer(&self) -> String {
        format!(
            "{self} does not answer within {} s; is the address in \"url\" right, and is TCP port {} open there?",
            CONNECT.as_secs(),
            self.port
        )
    }

    fn unreachable(&self, error: &std::io::Error) -> String {
        match error.kind() {
            ErrorKind::ConnectionRefused => {
                format!(
                    "nobody listens at {self} (connection refused): start matriz-rendezvous there, or correct \
                     \"url\"; trying again"
                )
            }
            _ => format!("{self} cannot be reached ({error}); check \"url\" and this box's network"),
        }
    }

    /// What went wrong in the WebSocket handshake, and with TLS 1.3 also the server's verdict on this
    /// box's certificate, which comes only now.
    fn no_websocket(&self, error: &Error) -> String {
        match error {
            Error::Http(response) if response.status() == StatusCode::NOT_FOUND => format!(
                "{self} knows no path {} (404 Not Found); is the path in \"url\" /config?",
                self.uri.path()
            ),
            Error::Http(response) => format!(
                "{self} answers {} instead of opening a WebSocket; is \"url\" right{}?",
                response.status(),
                if self.tls.is_none() { ", or must it begin with wss://" } else { "" }
            ),
            Error::Io(error) => match &self.tls {
                Some(tls) => tls::words(error, self, &tls.files),
                None => format!("{self} broke the connection off ({error}); is \"url\" right?"),
            },
            other => format!("{self} answers, but not as a WebSocket ({other}); is \"url\" right?"),
        }
    }
}
