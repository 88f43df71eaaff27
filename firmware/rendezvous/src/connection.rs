//! One connection: its handshake, its frames in, its queue out, its pings, its probe, its end.
//!
//! Each connection is a task of its own and shares nothing but two queues with the server: frames and
//! the end go up as [`Event`], orders come down as [`Outgoing`]. So the worst that a client can do, by
//! silence, slowness or nonsense, it does to its own task. Before it: `server`. After it: `room`.

use crate::allowance::Allowance;
use crate::handshake::{self, Socket};
use crate::room::{ConnectionId, Outgoing, POLICY, Probed};
use crate::server::{Clock, Settings};
use crate::tls::Tls;
use futures_util::future::OptionFuture;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use proto::rendezvous::{FRAME_LIMIT, Notice};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tracing::debug;

/// Close code "message too big" (RFC 6455 section 7.4.1).
const TOO_BIG: u16 = 1009;

/// The longest reason that a close frame can carry, in bytes: 125 less the code (RFC 6455 section 5.5).
const REASON_LIMIT: usize = 123;

/// What a connection tells the server.
#[derive(Debug)]
pub enum Event {
    /// The handshake is done.
    Connected(ConnectionId, IpAddr),
    /// A frame came.
    Frame(ConnectionId, String),
    /// The probe has ended.
    Probed(ConnectionId, Probed),
    /// The client is being refused: it is no longer here, though its last sentence is still on its way.
    Refused(ConnectionId),
    /// The connection has ended. The last event.
    Gone(ConnectionId),
}

/// The task of one connection.
#[derive(Debug)]
pub struct Connection {
    /// Its number.
    pub id: ConnectionId,
    /// The client's address as the room shall know it.
    pub ip: IpAddr,
    /// To the server.
    pub events: Sender<Event>,
    /// From the server; its end means "drop the connection".
    pub orders: Receiver<Outgoing>,
    /// Before the WebSocket, if there is any.
    pub tls: Option<Tls>,
    /// Time-outs.
    pub settings: Settings,
    /// The server's clock.
    pub clock: Clock,
}

/// Why a connection ends.
enum End {
    /// The client went, or does not answer: nothing more to say.
    Gone,
    /// The room closes it, and has said all that there is to say.
    Close { code: u16, reason: String },
    /// This file closes it: say the sentence first.
    Refuse { code: u16, sentence: String },
}

impl Connection {
    /// Serves the client until it goes or is closed.
    pub async fn run(mut self, stream: TcpStream) {
        let _ = stream.set_nodelay(true); // small messages at once; without it they are only later
        let shaken = handshake::accept(stream, self.tls.as_ref(), self.ip);
        match timeout(self.settings.handshake, shaken).await {
            Ok(Ok(Some(socket))) => self.serve(socket).await,
            Ok(Ok(None)) => debug!(ip = %self.ip, "no WebSocket was asked for"),
            Ok(Err(error)) => debug!(ip = %self.ip, "the handshake failed: {error}"),
            Err(_) => debug!(ip = %self.ip, "no handshake in time"),
        }
        let _ = self.events.send(Event::Gone(self.id)).await; // fails only when the server ends
    }

    async fn serve(&mut self, socket: Socket) {
        let (mut sink, mut stream) = socket.split();
        if self.events.send(Event::Connected(self.id, self.ip)).await.is_err() {
            return;
        }
        let reading = read(self.id, &mut stream, &self.events, self.settings.silence, self.clock);
        let writing = write(self.id, &mut sink, &mut self.orders, &self.events, self.settings);
        let end = tokio::select! {
            end = reading => end,
            end = writing => end,
        };
        let (code, reason, sentence) = match end {
            End::Gone => return,
            End::Close { code, reason } => (code, reason, None),
            End::Refuse { code, sentence } => {
                let _ = self.events.send(Event::Refused(self.id)).await; // fails only when the server ends
                let notice = Notice::Refusal { sentence: &sentence }.encode();
                (code, sentence, Some(Message::text(notice)))
            }
        };
        debug!(ip = %self.ip, code, "closed: {reason}");
        let frame = CloseFrame { code: code.into(), reason: shortened(&reason).into() };
        let words = sentence.into_iter().chain([Message::Close(Some(frame))]);
        let _ = timeout(self.settings.farewell, farewell(sink, stream, words)).await;
    }
}

/// Hands every frame to the server, in order and not faster than allowed.
async fn read(
    id: ConnectionId,
    stream: &mut SplitStream<Socket>,
    events: &Sender<Event>,
    silence: Duration,
    clock: Clock,
) -> End {
    let mut allowance = Allowance::new(clock.now());
    loop {
        let frame = match timeout(silence, stream.next()).await {
            Err(_) => {
                let sentence = format!("Nothing came for {} s, not even a pong.", silence.as_secs_f32());
                return End::Refuse { code: POLICY, sentence };
            }
            Ok(None) => return End::Gone,
            Ok(Some(Err(Error::Capacity(CapacityError::MessageTooLong { size, .. })))) => {
                let sentence =
                    format!("The frame has {size} bytes, and at most {FRAME_LIMIT} are read: send less.");
                return End::Refuse { code: TOO_BIG, sentence };
            }
            Ok(Some(Err(error))) => {
                debug!("the connection failed: {error}");
                return End::Gone;
            }
            Ok(Some(Ok(message))) => message,
        };
        let wait = allowance.take(frame.len(), clock.now());
        let text = match frame {
            Message::Text(text) => Some(text.as_str().to_owned()),
            Message::Binary(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            // tungstenite answers pings and closes by itself.
            _ => None,
        };
        if let Some(text) = text
            && events.send(Event::Frame(id, text)).await.is_err()
        {
            return End::Gone;
        }
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

/// Carries out the server's orders, and pings.
async fn write(
    id: ConnectionId,
    sink: &mut SplitSink<Socket, Message>,
    orders: &mut Receiver<Outgoing>,
    events: &Sender<Event>,
    settings: Settings,
) -> End {
    let mut pings = interval(settings.ping);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.tick().await; // the first is at once
    let mut probing = OptionFuture::default();
    loop {
        let message = tokio::select! {
            order = orders.recv() => match order {
                None => return End::Gone,
                Some(Outgoing::Close { code, reason }) => return End::Close { code, reason },
                Some(Outgoing::Probe { ip, port }) => {
                    probing = Some(Box::pin(probe(ip, port, settings.probe))).into();
                    continue;
                }
                Some(Outgoing::Send(text)) => Message::text(&*text),
            },
            Some(probed) = &mut probing => {
                probing = None.into();
                if events.send(Event::Probed(id, probed)).await.is_err() {
                    return End::Gone;
                }
                continue;
            }
            _ = pings.tick() => Message::Ping(Default::default()),
        };
        // A client that does not read: its silence says when to give up, or its full queue.
        match timeout(settings.silence, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return End::Gone,
        }
    }
}

/// Whether a TCP connection can be opened to the client's RTSP server, within `patience`.
async fn probe(ip: IpAddr, port: u16, patience: Duration) -> Probed {
    match timeout(patience, TcpStream::connect(SocketAddr::new(ip, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("timed out".to_owned()),
    }
}

/// The last words, and then reading until the client closes too.
async fn farewell(
    mut sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
    words: impl Iterator<Item = Message>,
) {
    for word in words {
        if sink.send(word).await.is_err() {
            return;
        }
    }
    let Ok(socket) = sink.reunite(stream) else { return };
    handshake::hang_up(&mut socket.into_inner()).await;
}

/// As much of the reason as a close frame can carry.
fn shortened(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_LIMIT)]
}
