//! Being a station: the table `station`, with the keys that mopidy-rtp has in its `[rtp]`.
//!
//! Part of [`super`]; read by `stations`.

use proto::station::{announcement, line};
use serde::Deserialize;
use std::net::IpAddr;

/// Settings of the station that this box is, table `[station]`; without the table it is none.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Station {
    /// Whether it is one.
    pub enabled: bool,
    /// Address of the network card on which it announces itself; all cards if absent.
    pub hostname: Option<IpAddr>,
    /// TCP port for subscriptions.
    pub port: u16,
    /// UDP port that announcements go to.
    pub broadcast_port: u16,
    /// Most listeners at a time, 1 to 64.
    pub max_subscribers: usize,
    /// What it calls itself, with `%hostname` and `%port`; if absent, the box's name and both.
    pub station_name: Option<String>,
}

impl Default for Station {
    fn default() -> Self {
        Station {
            enabled: true,
            hostname: None,
            port: line::PORT,
            broadcast_port: announcement::PORT,
            max_subscribers: 8, // as in mopidy-rtp
            station_name: None,
        }
    }
}

impl Station {
    /// The template of its name; `box_name` is the box's.
    pub fn template(&self, box_name: &str) -> String {
        self.station_name.clone().unwrap_or_else(|| format!("{box_name} on %hostname:%port"))
    }
}
