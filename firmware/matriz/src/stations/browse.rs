//! `matriz stations`: the stations that are there, as a table or as JSON; or one of them in SDP for a player.
//!
//! Before it: [`super::find`], which hears them. mopidy-rtp lists them as `rtp:stations`.

use super::cards;
use super::client::{Event, Subscription};
use super::find::{self, Watch};
use crate::body::Stop;
use anyhow::bail;
use proto::station::line::Reply;
use proto::station::seen::Station;
use proto::station::uri::Uri;
use proto::station::{announcement, line, sdp};
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::time::Duration;
use tokio::sync::mpsc;

/// What `matriz stations` is told on the command line.
#[derive(clap::Args)]
pub struct Options {
    /// Print the list as JSON
    #[arg(long, conflicts_with = "sdp")]
    json: bool,
    /// How long to listen; stations announce themselves once a second
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Let this station (rtp:ADDRESS, or its name) send its sound to a port here, and print what a player needs to
    /// know to hear it; ends it with Ctrl-C
    #[arg(long, value_name = "STATION")]
    sdp: Option<String>,
    /// That UDP port [default: any]
    #[arg(long, value_name = "PORT", requires = "sdp")]
    port: Option<NonZeroU16>,
    /// UDP port that stations are announced at
    #[arg(long, value_name = "PORT", default_value_t = announcement::PORT)]
    broadcast_port: u16,
}

/// Lists, or describes.
///
/// # Errors
/// None is there, or the one that is named is not: one sentence.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match &options.sdp {
            Some(station) => describe(station, options).await,
            None => list(options.json, options.seconds, options.broadcast_port).await,
        }
    })
}

/// Prints the list.
pub async fn list(json: bool, seconds: u64, broadcast_port: u16) -> anyhow::Result<()> {
    let mut watch = Watch::start(broadcast_port)?;
    let stations = watch.until(Duration::from_secs(seconds), |_| false).await;
    let own = cards::own();
    if json {
        let lines: Vec<_> = stations.iter().map(|station| line_of(station, &own)).collect();
        return print(&format!("{}\n", serde_json::Value::from(lines)));
    }
    if stations.is_empty() {
        bail!("no station was heard within {seconds} s; {}", find::WHY_NONE);
    }
    print(&draw(&stations, &own))
}

fn uri(station: &Station) -> Uri {
    Uri::station(station.host.clone(), station.port.unwrap_or(line::PORT))
}

fn line_of(station: &Station, own: &[IpAddr]) -> serde_json::Value {
    let Station { name, host, port } = station;
    json!({
        "name": name, "uri": uri(station).to_string(), "address": host.to_string(), "port": port,
        "here": own.contains(&host.ip),
    })
}

fn draw(stations: &[Station], own: &[IpAddr]) -> String {
    let short = |name: &str| name.chars().take(60).collect::<String>();
    let width = stations.iter().map(|station| short(&station.name).chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!("{:<width$}  address\n", "name");
    for station in stations {
        let here = if own.contains(&station.host.ip) { "  this computer" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<width$}  {}{here}", short(&station.name), uri(station));
    }
    text
}

/// Subscribes for a player, prints the SDP, and keeps the subscription until told to end.
async fn describe(station: &str, options: &Options) -> anyhow::Result<()> {
    let mut stop = Stop::new()?;
    let place = find::find(station, options.broadcast_port, line::PORT).await?;
    let port = match options.port {
        Some(port) => port,
        None => free(place.at)?,
    };
    let (events, mut became) = mpsc::channel(4);
    let subscription = Subscription::keep(place.at, port, events);
    let (mut printed, mut told) = (false, String::new());
    loop {
        let event = tokio::select! {
            () = stop.wait() => break,
            event = became.recv() => event.expect("the subscription is kept as long as it is not ended"),
        };
        match event {
            Event::Subscribed(own) => {
                told.clear();
                if !printed {
                    let name = place.name.clone().unwrap_or_else(|| place.uri.to_string());
                    let to = SocketAddr::new(own, port.get());
                    print(&sdp::describe(&name, std::process::id(), place.at.ip(), to))?;
                    printed = true;
                }
            }
            Event::Refused(reply) => bail!("{}", refusal(&place.uri, reply)),
            Event::Away(why) if !printed => bail!("{why}"),
            Event::Away(why) if told != why => {
                tracing::warn!("{why}; trying again");
                told = why;
            }
            Event::Away(_) => {}
        }
    }
    subscription.end().await;
    Ok(())
}

/// The sentence for a station that does not want to send us its sound; the word is the original's.
pub fn refusal(station: &Uri, reply: Reply) -> String {
    let why = match reply {
        Reply::LimitReached => "it has as many listeners as it takes; try again when one has left",
        Reply::Unrecognized | Reply::Done => "it does not understand what it was asked",
    };
    format!("{station} says {reply}: {why}")
}

/// A UDP port that nobody has now.
fn free(station: SocketAddr) -> anyhow::Result<NonZeroU16> {
    let any: IpAddr = if station.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    let port = UdpSocket::bind((any, 0))?.local_addr()?.port();
    Ok(NonZeroU16::new(port).expect("the kernel gives a port"))
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::station::uri::Host;

    #[test]
    fn the_table_has_the_name_and_what_to_write_for_it() {
        let host = |text: &str, card| Host::new(text.parse().unwrap(), card);
        let stations = [
            Station { name: "Mopidy".to_owned(), host: host("10.0.0.2", None), port: None },
            Station {
                name: "porto on 10.0.0.1:7129".to_owned(),
                host: host("10.0.0.1", None),
                port: Some(7_129),
            },
            Station { name: "é".to_owned(), host: host("fe80::1", Some("eth0")), port: Some(7_128) },
        ];
        let expected = "name                    address\n\
                        Mopidy                  rtp:10.0.0.2\n\
                        porto on 10.0.0.1:7129  rtp:10.0.0.1:7129  this computer\n\
                        é                       rtp:fe80::1%eth0\n";
        assert_eq!(draw(&stations, &["10.0.0.1".parse().unwrap()]), expected);
    }

    #[test]
    fn a_refusal_has_the_originals_word() {
        let uri = "rtp:10.0.0.1".parse().unwrap();
        let said = refusal(&uri, Reply::LimitReached);
        assert!(
            said.starts_with("rtp:10.0.0.1 says ERROR_SUBSCRIBER_LIMIT_REACHED: it has as many"),
            "{said}"
        );
    }
}
