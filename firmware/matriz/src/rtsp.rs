//! The RTSP server of a box: players listen to what it sends, to the mix, and to each peer.
//!
//! Before it: [`crate::programs`], one encoder per programme however many listen. After it: the players'
//! sockets. The decisions are `proto::rtsp`; here are the port, the limits, and a task per connection
//! ([`visit`]). UDP goes through one pair of sockets for all ([`pair`]). The music does not depend on any
//! of it: without its port the box says so and plays.

pub mod pair;
mod visit;

use crate::config::{Config, ConfigError};
use crate::doorstep::{self, Visitors};
use crate::programs::Programs;
use pair::Pair;
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinHandle};
use visit::Visit;

/// Most connections at a time, and of one address: an audience behind one router, but not all there is.
/// Each costs some kilobytes. Our choice.
const MOST_VISITS: usize = 64;
const MOST_OF_ONE_ADDRESS: usize = 24;

/// Most listeners at a time: 32 times stereo is 5 Mbit/s. Our choice.
const MOST_LISTENERS: usize = 32;

/// How long goodbyes to the listeners may take.
const GOODBYE: Duration = Duration::from_millis(300);

/// How long to wait when the system has no connection to give, as without file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// What all connections share.
pub struct Shared {
    /// Name of the box.
    pub name: String,
    /// Number of its descriptions.
    pub number: u32,
    /// What can be listened to.
    pub programs: Programs,
    /// The sockets for listeners by UDP; `None` where no port is free.
    pub pair: Option<Arc<Pair>>,
    /// A permit for each listener.
    pub places: Arc<Semaphore>,
}

/// The running server.
pub struct Server {
    stop: watch::Sender<bool>,
    visits: JoinHandle<()>,
    reports: Option<AbortHandle>,
}

impl Server {
    /// Starts it at the configuration's `port`, on all addresses. `None`, with a warning, when that port
    /// is taken.
    pub fn start(config: &Config, programs: Programs) -> Option<Server> {
        let (listener, wildcard) = doorstep::open(config.port)
            .map_err(|error| taken(config, &error))
            .inspect_err(|error| tracing::warn!("{error}; nobody can listen to this box by RTSP"))
            .ok()?;
        let pair = Pair::bind(wildcard).map(Arc::new);
        if pair.is_none() {
            tracing::warn!(
                "no two UDP ports from {} to {} are free: RTSP listeners get their sound by TCP",
                pair::PORTS.start(),
                pair::PORTS.end() + 1
            );
        }
        let reports = pair.clone().map(|pair| tokio::spawn(pair.hear()).abort_handle());
        let places = Arc::new(Semaphore::new(MOST_LISTENERS));
        let shared = Shared { name: config.name.clone(), number: random() as u32, programs, pair, places };
        let (stop, stopped) = watch::channel(false);
        let visits = tokio::spawn(receive(listener, Arc::new(shared), stopped));
        Some(Server { stop, visits, reports })
    }

    /// Says goodbye to all listeners and ends.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        // What has not said goodbye by then is cut off by `drop`.
        let _ = tokio::time::timeout(GOODBYE, &mut self.visits).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.visits.abort();
        if let Some(reports) = &self.reports {
            reports.abort();
        }
    }
}

fn taken(config: &Config, error: &std::io::Error) -> ConfigError {
    let port = config.port;
    let what = match error.kind() {
        ErrorKind::AddrInUse => format!(
            "TCP port {port} is taken by another program, perhaps a second matriz: end that one, or set \
             \"port\" to another number"
        ),
        _ => format!("TCP port {port} cannot be opened ({error}): set \"port\" to another number"),
    };
    config.wrong("port", what)
}

/// Receives players until told to stop, and then waits for those who are there.
async fn receive(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut visitors = Visitors::new(MOST_VISITS, MOST_OF_ONE_ADDRESS);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) if !visitors.has_room(from.ip()) => turn_away(stream),
                Ok((stream, from)) => {
                    if let Some(visit) = Visit::new(&stream, from, Arc::clone(&shared)) {
                        visitors.receive(from.ip(), visit.run(stream, stopped.clone()));
                    }
                }
                Err(error) => {
                    tracing::debug!("no RTSP connection can be accepted: {error}");
                    tokio::time::sleep(BREATH).await;
                }
            },
            () = visitors.one_goes() => {}
            () = told(&mut stopped) => break,
        }
    }
    drop(listener);
    visitors.all_go().await;
}

/// Waits until told to stop.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // A server that is gone has told everybody.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Says that there is no room, if the player can take it at once.
fn turn_away(stream: TcpStream) {
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(b"RTSP/1.0 503 Service Unavailable\r\nRetry-After: 60\r\n\r\n");
    }
}

/// Any number: the standard library seeds its hash tables with such.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}
