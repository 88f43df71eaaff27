//! Stations in the LAN, after mopidy-rtp: being one, finding others, and listening to one of them.
//!
//! The decisions are `proto::station`; here are the sockets. A box that is a station announces itself
//! ([`announcer`], [`discovery`]), takes subscriptions ([`mod@line`]) and sends what [`crate::programs`] make, one encoder
//! however many listen ([`sender`]). [`browse`] is `matriz stations`, [`listen`] is `matriz listen`. The music does not
//! depend on any of it: without its port a box says so and plays.

mod announcer;
pub mod browse;
mod cards;
mod client;
mod discovery;
mod ears;
mod find;
mod line;
pub mod listen;
mod sender;

use crate::config::{Config, ConfigError};
use crate::doorstep;
use crate::programs::Programs;
use discovery::Registration;
use proto::station::Identity;
use proto::station::ring::Ring;
use sender::Sender;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

/// How long goodbyes to the listeners may take.
const GOODBYE: Duration = Duration::from_millis(300);

/// Whom we hear, shared by the thread that hears and the one that sends.
#[derive(Clone)]
pub struct SharedRing(Arc<Mutex<Ring>>);

impl SharedRing {
    /// Of a station with a random source.
    pub fn random() -> SharedRing {
        SharedRing(Arc::new(Mutex::new(Ring::new(random() as u32))))
    }

    /// The list.
    pub fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The station that this box is.
pub struct Station {
    stop: watch::Sender<bool>,
    sender: JoinHandle<()>,
    others: [AbortHandle; 2],
    registration: Option<Registration>,
    listeners: Arc<AtomicUsize>,
}

impl Station {
    /// Starts it, if the configuration says so. `None`, with a warning, when its port is taken.
    pub fn start(config: &Config, programs: &Programs, ring: SharedRing) -> Option<Station> {
        let settings = config.station.as_ref().filter(|station| station.enabled)?;
        let listener = open(config, settings.port)
            .inspect_err(|error| tracing::warn!("{error}; this box is no station"))
            .ok()?;
        let identity = Identity {
            name: config.name.clone(),
            source: ring.lock().own(),
            seed: random(),
            max_subscribers: settings.max_subscribers,
        };
        let template = settings.template(&config.name);
        let registration = discovery::register(&template, settings, identity.source)
            .inspect_err(|error| tracing::warn!("other programs do not find this station by DNS-SD: {error}"))
            .ok();
        let (stop, stopped) = watch::channel(false);
        let (wish_to, wishes) = mpsc::channel(16);
        let listeners = Arc::default();
        let sender = Sender::new(identity, programs.clone(), ring, Arc::clone(&listeners));
        let announcements = announcer::announce(template, settings.clone());
        let others = [
            tokio::spawn(line::receive(listener, wish_to)).abort_handle(),
            tokio::spawn(announcements).abort_handle(),
        ];
        let sender = tokio::spawn(sender.run(wishes, stopped));
        Some(Station { stop, sender, others, registration, listeners })
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.listeners.load(Ordering::Relaxed)
    }

    /// Says goodbye to all listeners and ends.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        let withdrawn = async {
            if let Some(registration) = self.registration.take() {
                registration.withdraw().await;
            }
        };
        // What has not said goodbye by then is cut off by `drop`.
        let _ = tokio::time::timeout(GOODBYE, async { tokio::join!(withdrawn, &mut self.sender) }).await;
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.sender.abort();
        self.others.iter().for_each(AbortHandle::abort);
    }
}

/// Opens the port, or says what to change.
fn open(config: &Config, port: u16) -> Result<TcpListener, ConfigError> {
    let (listener, _) = doorstep::open(port).map_err(|error| {
        let what = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "TCP port {port} is taken by another program, perhaps a second station: end that one, or set \
                 \"port\" in the table \"station\" to another number"
            ),
            _ => format!("TCP port {port} cannot be opened ({error}): set \"port\" in the table \"station\""),
        };
        let key = if config.has("station.port") { "station.port" } else { "station" };
        config.wrong(key, what)
    })?;
    Ok(listener)
}

/// Any number: the standard library seeds its hash tables with such.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// An address as it is compared: IPv4 is IPv4, also where it came through a socket of IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}
