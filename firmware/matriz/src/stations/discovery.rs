//! DNS-SD: a station says its subscription port, which an announcement has no room for, and others find it.
//!
//! Beside announcements, which mopidy-rtp understands; this is for our own and for every program that browses
//! services. The service is `_matriz-station._tcp`, its TXT record has the whole name (`name`). Sources: RFC 6762,
//! RFC 6763; the work is done by `mdns-sd` in a thread of its own.

use super::cards;
use crate::config::Station;
use mdns_sd::{
    HostnameResolutionEvent, IfKind, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent,
    ServiceInfo,
};
use proto::station::announcement::{fill, parse, shorten};
use proto::station::seen::Service;
use proto::station::uri::Host;
use std::collections::HashMap;

/// The kind of service.
const SERVICE: &str = "_matriz-station._tcp.local.";

/// Most bytes of a service's name, a DNS label (RFC 6763 section 4.1.1), and of the name in the TXT record (section
/// 6.1, less the key).
const LABEL: usize = 63;
const TEXT: usize = 250;

/// For how long the addresses of a computer are asked for, in milliseconds, and of how many computers.
const ASK_FOR: u64 = 5_000;
const MOST_ASKED: usize = 256;

/// A station that is told of.
pub struct Registration {
    daemon: ServiceDaemon,
    name: String,
}

/// Tells of the station with the name that `template` makes, from now on. `source` makes the computer's name unique.
///
/// # Errors
/// The system gives no thread or no sockets.
pub fn register(template: &str, settings: &Station, source: u32) -> mdns_sd::Result<Registration> {
    let daemon = daemon()?;
    if let Some(ip) = settings.hostname {
        let card = cards::name(ip);
        daemon.disable_interface(IfKind::All)?;
        daemon.enable_interface(card.map_or(IfKind::Addr(ip), IfKind::Name))?;
    }
    let here = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let here = settings.hostname.map(|ip| ip.to_string()).or(here).unwrap_or_default();
    let name = fill(template, &here, settings.port);
    let text = [("name", shorten(&name, TEXT))];
    let host = format!("matriz-{source:08x}.local.");
    let service = ServiceInfo::new(SERVICE, shorten(&name, LABEL), &host, "", settings.port, &text[..])?;
    let name = service.get_fullname().to_owned();
    daemon.register(service.enable_addr_auto())?;
    Ok(Registration { daemon, name })
}

impl Registration {
    /// Tells everybody that it is gone.
    pub async fn withdraw(self) {
        if let Ok(done) = self.daemon.unregister(&self.name) {
            let _ = done.recv_async().await; // gone either way
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _ = self.daemon.shutdown(); // its thread ends with the process at the latest
    }
}

/// A search for stations; ends when dropped.
pub struct Search {
    daemon: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    /// The computers whose addresses were asked for; what comes of it comes by `events`.
    asked: HashMap<String, Receiver<HostnameResolutionEvent>>,
}

/// What a search finds.
pub enum Found {
    /// A station, by its name in DNS-SD.
    Here(String, Service),
    /// It is gone.
    Gone(String),
}

impl Search {
    /// Begins.
    ///
    /// # Errors
    /// The system gives no thread or no sockets.
    pub fn start() -> mdns_sd::Result<Search> {
        let daemon = daemon()?;
        let events = daemon.browse(SERVICE)?;
        Ok(Search { daemon, events, asked: HashMap::new() })
    }

    /// What is found next.
    pub async fn next(&mut self) -> Found {
        loop {
            match self.events.recv_async().await {
                Ok(ServiceEvent::ServiceResolved(service)) => {
                    self.ask(&service.host);
                    return Found::Here(service.fullname.clone(), read(&service));
                }
                Ok(ServiceEvent::ServiceRemoved(_, name)) => return Found::Gone(name),
                Ok(_) => {}
                Err(_) => std::future::pending().await, // its thread is gone: nothing more is found
            }
        }
    }
}

impl Search {
    /// Asks for all addresses of a computer. A station answers the same question once a second (RFC 6762 section 6), by
    /// IPv4 and by IPv6 apart: one of the answers may be missing, and the question is not asked again once there is one.
    fn ask(&mut self, host: &str) {
        if self.asked.len() < MOST_ASKED
            && !self.asked.contains_key(host)
            && let Ok(answers) = self.daemon.resolve_hostname(host, Some(ASK_FOR))
        {
            self.asked.insert(host.to_owned(), answers);
        }
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        let _ = self.daemon.shutdown(); // its thread ends with the process at the latest
    }
}

fn daemon() -> mdns_sd::Result<ServiceDaemon> {
    let daemon = ServiceDaemon::new()?;
    daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
    Ok(daemon)
}

/// What a service says of a station.
fn read(service: &ResolvedService) -> Service {
    let named = service.get_property_val_str("name").and_then(|name| parse(name.as_bytes()));
    let label = service.fullname.strip_suffix(&format!(".{SERVICE}")).unwrap_or(&service.fullname);
    let name = named.or_else(|| parse(label.as_bytes())).unwrap_or_default();
    let hosts = service.addresses.iter().map(|address| match address {
        ScopedIp::V6(v6) => Host::new((*v6.addr()).into(), Some(&v6.scope_id().name)),
        other => Host::new(other.to_ip_addr(), None),
    });
    Service { name, port: service.port, hosts: hosts.collect() }
}
