//! Finds a station that somebody has named: by `rtp:ADDRESS`, or by what it calls itself.
//!
//! Before it: the command line. After it: the address of the station's TCP port. What is heard meanwhile, by
//! announcements and by DNS-SD, is `proto::station::seen`.

use super::cards;
use super::discovery::{Found, Search};
use super::ears::Ears;
use crate::clock;
use anyhow::{anyhow, bail};
use proto::station::line;
use proto::station::seen::{Seen, Station};
use proto::station::uri::Uri;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a station's port is looked for by DNS-SD; one of mopidy-rtp is not there. Long enough for a question that is
/// answered only when it is asked again, a second later.
const PORT_WITHIN: Duration = Duration::from_millis(3_000);

/// How long a station is looked for by its name: four announcements.
const NAME_WITHIN: Duration = Duration::from_millis(4_500);

/// A station that can be subscribed to.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its address as it is shown.
    pub uri: Uri,
    /// Its TCP port.
    pub at: SocketAddr,
    /// What it calls itself, if that is known.
    pub name: Option<String>,
}

/// Hears what stations say of themselves.
pub struct Watch {
    seen: Seen,
    ears: Option<Ears>,
    search: Option<Search>,
}

impl Watch {
    /// Begins to listen on both ways; on one, with a warning, where the other is not to be had.
    ///
    /// # Errors
    /// None of them is.
    pub fn start(broadcast_port: u16) -> anyhow::Result<Watch> {
        let search = Search::start()
            .inspect_err(|error| tracing::warn!("stations are not found by DNS-SD: {error}"))
            .ok();
        let ears = match Ears::open(broadcast_port) {
            Err(error) if search.is_none() => return Err(error),
            ears => ears.inspect_err(|error| tracing::warn!("{error:#}")).ok(),
        };
        Ok(Watch { seen: Seen::default(), ears, search })
    }

    /// Listens until `enough` says so of what is there, or the time is over.
    pub async fn until(&mut self, time: Duration, enough: impl Fn(&Seen) -> bool) -> Vec<Station> {
        let end = tokio::time::sleep(time);
        tokio::pin!(end);
        while !enough(&self.seen) {
            tokio::select! {
                () = &mut end => break,
                (host, name) = heard(&self.ears) => self.seen.handle_announcement(clock::now(), host, name),
                found = found(&mut self.search) => match found {
                    Found::Here(id, service) => self.seen.handle_service(&id, service),
                    Found::Gone(id) => self.seen.handle_service_gone(&id),
                },
            }
        }
        self.seen.list(clock::now())
    }
}

/// Looks for the station that `text` names. `usual` is the TCP port if no other is found.
///
/// # Errors
/// It names none, or none that is there; says what to do.
pub async fn find(text: &str, broadcast_port: u16, usual: u16) -> anyhow::Result<Place> {
    if !text.starts_with("rtp:") {
        return by_name(text, broadcast_port).await;
    }
    let Uri::Station { host, port } = text.parse()? else {
        bail!("rtp:stations is the list of all: name one of them, such as rtp:192.168.0.118");
    };
    let known = match port {
        Some(port) => Some(port),
        None => {
            let mut watch = Watch::start(broadcast_port)?;
            watch.until(PORT_WITHIN, |seen| seen.port(&host).is_some()).await;
            watch.seen.port(&host)
        }
    };
    let port = known.unwrap_or(usual);
    let at = cards::address(&host, port).map_err(|why| anyhow!("{text}: {why}"))?;
    Ok(Place { uri: Uri::station(host, port), at, name: None })
}

async fn by_name(name: &str, broadcast_port: u16) -> anyhow::Result<Place> {
    let mut watch = Watch::start(broadcast_port)?;
    let named =
        |seen: &Seen| seen.list(clock::now()).into_iter().filter(|station| station.name == name).collect();
    let there = watch
        .until(NAME_WITHIN, |seen| {
            let named: Vec<Station> = named(seen);
            named.iter().any(|station| station.port.is_some())
        })
        .await;
    let named: Vec<Station> = named(&watch.seen);
    let Some(station) = named.iter().find(|station| station.port.is_some()).or(named.first()) else {
        let names: Vec<&str> = there.iter().map(|station| station.name.as_str()).collect();
        bail!("{}", nobody(name, &names));
    };
    let port = station.port.unwrap_or(line::PORT);
    let at = cards::address(&station.host, port).map_err(|why| anyhow!("{name}: {why}"))?;
    Ok(Place { uri: Uri::station(station.host.clone(), port), at, name: Some(station.name.clone()) })
}

fn nobody(name: &str, there: &[&str]) -> String {
    match there {
        [] => format!("no station is called \"{name}\", and none is heard at all; {WHY_NONE}"),
        there => format!("no station is called \"{name}\"; there are \"{}\"", there.join("\", \"")),
    }
}

/// Why none may be heard.
pub const WHY_NONE: &str = "announcements do not pass a router: is it in the same network, and does no firewall keep \
                            UDP 46986 and 5353 back? A station that is known can be named: rtp:ADDRESS";

async fn heard(ears: &Option<Ears>) -> (proto::station::uri::Host, String) {
    match ears {
        Some(ears) => ears.hear().await,
        None => std::future::pending().await,
    }
}

async fn found(search: &mut Option<Search>) -> Found {
    match search {
        Some(search) => search.next().await,
        None => std::future::pending().await,
    }
}
