//! Says once a second, in every subnet, that this station is there.
//!
//! Before it: the settings, and the network cards as they are at that moment. After it: whoever listens on that port
//! ([`super::ears`], or mopidy-rtp).

use super::cards::{Circle, circles};
use crate::config::Station;
use proto::station::announcement::{EVERY, encode, fill};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use tokio::time::MissedTickBehavior;

/// Announces the name that `template` makes, for ever.
pub async fn announce(template: String, settings: Station) {
    let Station { hostname, port, broadcast_port, .. } = settings;
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        every.tick().await;
        let circles = circles(hostname);
        if let (Some(hostname), true, false) = (hostname, circles.is_empty(), told) {
            tracing::warn!(
                "no network card with a subnet has the address {hostname}, which \"hostname\" in the table \
                 \"station\" says: the station is not announced until one has"
            );
            told = true;
        }
        for circle in circles {
            let name = fill(&template, &circle.from.ip().to_string(), port);
            // A card that is just coming up refuses; in a second there is the next one.
            if let Err(error) = say(circle, broadcast_port, encode(&name)) {
                tracing::debug!("not announced in the subnet of {}: {error}", circle.from.ip());
            }
        }
    }
}

/// One announcement in one subnet. The socket is of that card, so that the address it comes from is ours there.
fn say(Circle { from, mut everybody }: Circle, port: u16, name: &[u8]) -> io::Result<()> {
    let socket = UdpSocket::bind(from)?;
    socket.set_nonblocking(true)?;
    if matches!(from, SocketAddr::V4(_)) {
        socket.set_broadcast(true)?;
    }
    everybody.set_port(port);
    socket.send_to(name, everybody).map(drop)
}
