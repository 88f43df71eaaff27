//! The box's line to the rendezvous: one task that stays connected for ever.
//!
//! What the others offer comes in as [`Event::Message`], what this box offers goes out through a queue;
//! what the frames mean is decided by others. [`endpoint`] knows where to connect
//! and says why it does not work, [`tls`] the certificates, [`backoff`] when to try again. Music does
//! not depend on this task: it may fail for hours and nothing is heard of it.
//!
//! Source: RFC 6455 (WebSocket), and `proto::rendezvous` for what the frames say.

pub mod backoff;
mod endpoint;
mod tls;

pub use endpoint::Endpoint;
pub use tls::TlsFiles;

use backoff::{AFTER_REFUSAL, Backoff, random};
use futures_util::{SinkExt, StreamExt};
use proto::rendezvous::FromServer;
use std::future::Future;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

/// How often the rendezvous is pinged. Also keeps the mapping in home routers open, which forget idle
/// TCP connections after some minutes.
const PING: Duration = Duration::from_secs(10);

/// A connection that says nothing for this long, not even to three pings, is dead.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a frame may wait for the rendezvous to take it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a goodbye may take; nobody depends on it.
const GOODBYE: Duration = Duration::from_millis(500);

/// The longest reason of the rendezvous that is shown, in characters.
const LONGEST_REASON: usize = 200;

/// What happened on the line to the rendezvous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Connected, and the registration is sent. After a refusal this comes only with the first frame
    /// that is none, so that a box with a wrong key does not seem to come and go.
    Connected,
    /// A text frame came.
    Message(String),
    /// The rendezvous does not want this box: a sentence with its reason. The connection is gone, and
    /// is tried again after 15 s.
    Refused(String),
    /// The connection is gone, or could not be made: one sentence that says why and what to do. The same
    /// sentence is told once, not at every try.
    Disconnected(String),
}

/// Keeps the box connected to `endpoint`: sends `hello` (the registration) first, then what comes from
/// `outgoing`, and tells what happens to `events`.
///
/// What is in `outgoing` while there is no connection is dropped: an offer that is late is wrong.
/// Returns, with a goodbye to the rendezvous, when `outgoing` is closed, or when nobody takes `events`.
pub async fn run(
    endpoint: Endpoint,
    hello: String,
    outgoing: mpsc::Receiver<String>,
    events: mpsc::Sender<Event>,
) {
    let line = Line { place: endpoint.to_string(), hello, outgoing, events, doubtful: false };
    line.keep(|| endpoint.connect()).await;
}

/// The two queues of the box, and what is said on every connection.
struct Line {
    /// The rendezvous as it is named in sentences.
    place: String,
    hello: String,
    outgoing: mpsc::Receiver<String>,
    events: mpsc::Sender<Event>,
    /// The last connection ended with a refusal: this one must show first that it is better.
    doubtful: bool,
}

/// Why a connection ended.
enum End {
    /// It broke, or the rendezvous closed it.
    Lost(String),
    /// The rendezvous does not want this box.
    Refused(String),
    /// The box wants no connection any more.
    Over,
}

impl Line {
    /// Dials, talks and waits, for ever. `dial` is the real network or a test's.
    async fn keep<D, F, S>(mut self, mut dial: D)
    where
        D: FnMut() -> F,
        F: Future<Output = Result<WebSocketStream<S>, String>>,
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut backoff = Backoff::default();
        let mut told = None;
        loop {
            let dialled = tokio::select! {
                dialled = dial() => dialled,
                () = self.drop_outgoing() => return,
            };
            let end = match dialled {
                Err(why) => End::Lost(why),
                Ok(mut socket) => {
                    let since = Instant::now();
                    let end = self.talk(&mut socket).await;
                    backoff.lasted(since.elapsed());
                    told = told.filter(|_| self.doubtful);
                    end
                }
            };
            let (event, wait) = match end {
                End::Over => return,
                End::Lost(why) => (Event::Disconnected(why), backoff.next(random())),
                End::Refused(why) => (Event::Refused(why), AFTER_REFUSAL),
            };
            self.doubtful |= matches!(event, Event::Refused(_));
            if told.as_ref() != Some(&event) && self.events.send(event.clone()).await.is_err() {
                return;
            }
            told = Some(event);
            tokio::select! {
                () = sleep(wait) => {}
                () = self.drop_outgoing() => return,
            }
        }
    }

    /// Drops what comes from `outgoing`; returns when it is closed.
    async fn drop_outgoing(&mut self) {
        while self.outgoing.recv().await.is_some() {}
    }

    /// A whole connection, with its goodbye.
    async fn talk<S>(&mut self, socket: &mut WebSocketStream<S>) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let end = self.carry(socket).await;
        // The other side may be gone already: nothing is lost then.
        let _ = timeout(GOODBYE, socket.close(None)).await;
        end
    }

    /// Registers, then carries frames in both directions until the connection ends.
    async fn carry<S>(&mut self, socket: &mut WebSocketStream<S>) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Err(end) = self.send(socket, Message::text(self.hello.as_str())).await {
            return end;
        }
        while self.outgoing.try_recv().is_ok() {} // from before: late
        if !self.doubtful && self.events.send(Event::Connected).await.is_err() {
            return End::Over;
        }
        let mut ping = interval_at(Instant::now() + PING, PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut answered = false;
        loop {
            let step = tokio::select! {
                biased; // what was heard counts before the silence does
                frame = socket.next() => {
                    let first = !std::mem::replace(&mut answered, true);
                    let step = self.handle(frame, first).await;
                    heard = Instant::now(); // now: telling it may have taken long
                    step
                }
                () = sleep_until(heard + SILENCE) => Err(End::Lost(format!(
                    "the rendezvous at {} has said nothing for {} s; trying again", self.place, SILENCE.as_secs()
                ))),
                message = self.outgoing.recv() => match message {
                    Some(text) => self.send(socket, Message::text(text)).await,
                    None => Err(End::Over),
                },
                _ = ping.tick() => self.send(socket, Message::Ping(Bytes::new())).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn send<S>(&self, socket: &mut WebSocketStream<S>, message: Message) -> Result<(), End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match timeout(PATIENCE, socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::Lost(self.lost(&error))),
            Err(_) => Err(End::Lost(format!(
                "the rendezvous at {} takes no message for {} s; trying again",
                self.place,
                PATIENCE.as_secs()
            ))),
        }
    }

    /// Passes one frame on; `first` if it is the first of its connection.
    async fn handle(&mut self, frame: Option<Result<Message, Error>>, first: bool) -> Result<(), End> {
        match frame {
            Some(Ok(Message::Text(text))) => match refusal(&text) {
                Some(reason) => Err(self.refused(&reason)),
                None => self.pass(text.as_str()).await,
            },
            Some(Ok(Message::Close(Some(CloseFrame { code: CloseCode::Policy, reason })))) => {
                Err(self.refused(&reason))
            }
            Some(Ok(Message::Close(frame))) => Err(End::Lost(self.closed(frame.as_ref(), first))),
            None => Err(End::Lost(self.closed(None, first))),
            Some(Err(error)) => Err(End::Lost(self.lost(&error))),
            // The library answers pings; a pong counts as having been heard; binary frames have no
            // meaning in this protocol.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => Ok(()),
        }
    }

    async fn pass(&mut self, text: &str) -> Result<(), End> {
        if std::mem::take(&mut self.doubtful) {
            self.tell(Event::Connected).await?;
        }
        self.tell(Event::Message(text.to_owned())).await
    }

    async fn tell(&self, event: Event) -> Result<(), End> {
        self.events.send(event).await.map_err(|_| End::Over)
    }

    fn refused(&self, reason: &str) -> End {
        let reason = match plain(reason) {
            reason if reason.is_empty() => {
                "no reason is given; are \"name\" and \"key\" in its clients.json?".to_owned()
            }
            reason => reason,
        };
        End::Refused(format!("refused by the rendezvous at {}: {reason}", self.place))
    }

    /// The sentence for a connection that the rendezvous closed properly.
    fn closed(&self, frame: Option<&CloseFrame>, first: bool) -> String {
        match frame.map(|frame| plain(&frame.reason)).filter(|reason| !reason.is_empty()) {
            Some(reason) => format!("the rendezvous at {} closed the connection: {reason}", self.place),
            None if first => format!(
                "the rendezvous at {} closed the connection without a word; are \"name\" and \"key\" in its \
                 clients.json?",
                self.place
            ),
            None => format!("the rendezvous at {} closed the connection; trying again", self.place),
        }
    }

    /// The sentence for a connection that broke.
    fn lost(&self, error: &Error) -> String {
        match error {
            Error::Capacity(detail) => {
                format!("the rendezvous at {} sent a frame of more than 1 MiB ({detail})", self.place)
            }
            Error::Protocol(detail) => {
                format!("the connection to the rendezvous at {} broke ({detail}); trying again", self.place)
            }
            Error::Io(detail) => {
                format!("the connection to the rendezvous at {} broke ({detail}); trying again", self.place)
            }
            other => {
                format!("the connection to the rendezvous at {} ended ({other}); trying again", self.place)
            }
        }
    }
}

/// The reason of a refusal, if the frame is one.
fn refusal(text: &str) -> Option<String> {
    if !text.contains("\"error\"") {
        return None; // nearly always; who gets the message parses the rest
    }
    FromServer::decode(text).ok()?.error
}

/// A text from the network as it may be shown: one line, of moderate length.
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests;
