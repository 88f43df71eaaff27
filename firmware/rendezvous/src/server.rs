//! The server: accepts connections, owns the room, and carries messages between the two.
//!
//! One loop owns the [`Room`]; every connection is a task that sends it events and gets orders through a
//! bounded queue. Nothing in the loop waits for a client: whose queue is full is dropped. Before it:
//! `main`, or a test. After it: `connection`, [`room`](crate::room).

use crate::configuration::Configuration;
use crate::connection::{Connection, Event};
use crate::room::{ConnectionId, Limits, Outgoing, Outgoings, Room};
use crate::tls::Tls;
use proto::units::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, warn};

/// Close code "going away" (RFC 6455 section 7.4.1).
const GOING_AWAY: u16 = 1001;

/// Events that may wait for the loop; a connection whose event does not fit waits with it.
const INBOX: usize = 64;

/// Time-outs and limits of the server.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Those of the room.
    pub limits: Limits,
    /// How long the handshakes may take, of TLS and of the WebSocket together.
    pub handshake: Duration,
    /// How long the reachability probe tries.
    pub probe: Duration,
    /// Time between pings.
    pub ping: Duration,
    /// A connection from which nothing comes for so long, not even a pong, is dead.
    pub silence: Duration,
    /// How long a closed connection may take to read its last sentence.
    pub farewell: Duration,
    /// Messages that may wait for a client. One that lags further behind does not read, and is dropped.
    pub queue: usize,
    /// Connections that may be here without having registered. When one more comes, the oldest ends:
    /// an honest client registers within a round trip and is never the oldest for long.
    pub strangers: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            limits: Limits::default(),
            handshake: Duration::from_secs(10),
            probe: Duration::from_secs(5),
            ping: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            farewell: Duration::from_secs(1),
            queue: 256,
            strangers: 256,
        }
    }
}

/// The room's clock: nanoseconds since the server started.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Now.
    pub fn now(self) -> Time {
        Time(0) + self.0.elapsed()
    }

    fn instant(self, time: Time) -> Instant {
        self.0 + time.since(Time(0))
    }
}

/// Serves until `shutdown` is ready, then says goodbye to everybody and returns. With `tls` it is
/// `wss://`, else `ws://`.
pub async fn run(
    listener: TcpListener,
    tls: Option<Tls>,
    configuration: Configuration,
    shutdown: impl Future<Output = ()>,
) {
    run_with(listener, tls, configuration, Settings::default(), shutdown).await;
}

/// [`run`] with other time-outs and limits.
pub async fn run_with(
    listener: TcpListener,
    tls: Option<Tls>,
    configuration: Configuration,
    settings: Settings,
    shutdown: impl Future<Output = ()>,
) {
    let (mut server, mut inbox) = Server::new(configuration, tls, settings);
    let mut shutdown = pin!(shutdown);
    loop {
        let deadline = server.room.deadline();
        tokio::select! {
            () = &mut shutdown => break,
            (stream, address) = accept(&listener) => server.accept(stream, address),
            event = inbox.recv() => server.handle(event.expect("the server itself holds a sender")),
            () = until(deadline.map(|time| server.clock.instant(time))) => server.poll(),
            Some(_) = server.tasks.join_next() => {}
        }
    }
    drop(listener);
    server.end(inbox).await;
}

/// The next connection. Errors are the system's (no more files, a client gone at once) and pass.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                warn!("a connection could not be accepted: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

struct Server {
    room: Room,
    tls: Option<Tls>,
    settings: Settings,
    clock: Clock,
    seats: BTreeMap<ConnectionId, Seat>,
    /// Those seats whose connections have not registered, or are being closed.
    strangers: BTreeSet<ConnectionId>,
    tasks: JoinSet<()>,
    events: Sender<Event>,
    next: u64,
}

/// The server's end of a connection.
struct Seat {
    orders: Sender<Outgoing>,
    task: AbortHandle,
}

impl Server {
    fn new(configuration: Configuration, tls: Option<Tls>, settings: Settings) -> (Server, Receiver<Event>) {
        let (events, inbox) = channel(INBOX);
        let server = Server {
            room: Room::new(configuration, settings.limits),
            tls,
            settings,
            clock: Clock(Instant::now()),
            seats: BTreeMap::new(),
            strangers: BTreeSet::new(),
            tasks: JoinSet::new(),
            events,
            next: 0,
        };
        (server, inbox)
    }

    fn accept(&mut self, stream: TcpStream, address: SocketAddr) {
        while self.strangers.len() >= self.settings.strangers
            && let Some(oldest) = self.strangers.pop_first()
        {
            debug!("too many connections have not registered, so the oldest ends");
            self.drop_now(oldest);
        }
        let id = ConnectionId(self.next);
        self.next += 1;
        let (orders, receiver) = channel(self.settings.queue);
        let connection = Connection {
            id,
            ip: address.ip().to_canonical(),
            events: self.events.clone(),
            orders: receiver,
            tls: self.tls.clone(),
            settings: self.settings,
            clock: self.clock,
        };
        let task = self.tasks.spawn(connection.run(stream));
        self.seats.insert(id, Seat { orders, task });
        self.strangers.insert(id);
    }

    fn handle(&mut self, event: Event) {
        let now = self.clock.now();
        let out = match event {
            // Dropped connections may have left events behind.
            Event::Connected(id, ip) if self.seats.contains_key(&id) => {
                self.room.connect(id, ip, now);
                Vec::new()
            }
            Event::Connected(..) => Vec::new(),
            Event::Frame(id, text) => {
                let out = self.room.handle(id, &text, now);
                if self.room.is_registered(id) {
                    self.strangers.remove(&id);
                }
                out
            }
            Event::Probed(id, probed) => self.room.probed(id, probed),
            Event::Refused(id) => {
                self.strangers.insert(id);
                self.room.disconnect(id)
            }
            Event::Gone(id) => {
                self.seats.remove(&id);
                self.strangers.remove(&id);
                self.room.disconnect(id)
            }
        };
        self.carry_out(out);
    }

    fn poll(&mut self) {
        let out = self.room.poll(self.clock.now());
        self.carry_out(out);
    }

    /// Puts each order into the connection's queue. Who has no room left in it is dropped, which may give
    /// more to tell.
    fn carry_out(&mut self, out: Outgoings) {
        let mut orders = VecDeque::from(out);
        while let Some((id, order)) = orders.pop_front() {
            let Some(seat) = self.seats.get(&id) else { continue };
            if matches!(order, Outgoing::Close { .. }) {
                self.strangers.insert(id);
            }
            if seat.orders.try_send(order).is_err() {
                debug!("a client does not read what it is sent, so it is dropped");
                orders.extend(self.drop_now(id));
            }
        }
    }

    fn drop_now(&mut self, id: ConnectionId) -> Outgoings {
        if let Some(seat) = self.seats.remove(&id) {
            seat.task.abort();
        }
        self.strangers.remove(&id);
        self.room.disconnect(id)
    }

    /// Tells everybody that the server ends, and gives them a moment to hear it.
    async fn end(mut self, mut inbox: Receiver<Event>) {
        for (id, seat) in &self.seats {
            let reason = "The rendezvous ends; connect again later.".to_owned();
            let told = seat.orders.try_send(Outgoing::Close { code: GOING_AWAY, reason }).is_ok();
            if !told || self.strangers.contains(id) {
                seat.task.abort();
            }
        }
        let all = async {
            loop {
                tokio::select! {
                    ended = self.tasks.join_next() => if ended.is_none() { break },
                    _ = inbox.recv() => {} // so that no task waits for somebody to take its last event
                }
            }
        };
        let _ = timeout(self.settings.farewell, all).await;
    }
}
