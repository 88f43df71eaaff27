//! The tables of the configuration, and the words and values in them that are more than a number or a text.
//!
//! Comes after [`super::keys`], which has judged them; the front panel's and the station's have files of their own.

use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;

/// The sound backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sound {
    /// A JACK server with a real card.
    #[default]
    Jack,
    /// A card in the process, with a clock error of its own.
    Simulated,
}

/// How programs reach the box, table `[api]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Path of the Unix socket; the usual one if absent.
    pub socket: Option<PathBuf>,
    /// TCP port for WebSockets from the local network; none if absent.
    pub port: Option<u16>,
    /// What those must know, if there is a port; not to be logged.
    pub token: Option<String>,
}

/// Settings of the JACK backend, table `[jack]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jack {
    /// Name of the JACK server; the default server if absent.
    pub server: Option<String>,
    /// Name of the client in JACK; the box's name if absent.
    pub client_name: Option<String>,
    /// Whether to connect to the card's ports at the start.
    pub connect: bool,
    /// Frames per cycle of the server that `matriz system jackd` starts, 16 to 1024.
    pub period: u16,
    /// Periods in the card's buffer there, 2 to 4.
    pub periods: u8,
}

impl Default for Jack {
    fn default() -> Self {
        Jack { server: None, client_name: None, connect: true, period: 120, periods: 3 }
    }
}

/// Settings of the simulated card, table `[simulated]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Simulated {
    /// Clock error of the card in parts per million, −300 to 300; positive is fast.
    pub ppm: f64,
    /// Frames per cycle, 16 to 2048.
    pub period: u32,
    /// What comes in.
    pub input: Input,
    /// WAV file to write what is heard to.
    pub output: Option<PathBuf>,
    /// Offset of the card's first cycle in microseconds.
    pub phase_us: u32,
}

impl Default for Simulated {
    fn default() -> Self {
        Simulated { ppm: 0.0, period: 120, input: Input::Silence, output: None, phase_us: 0 }
    }
}

/// Streams for an audience on an Icecast server, table `[broadcast]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broadcast {
    /// The mount of the mix, with user and password; not to be logged.
    pub url: String,
    /// The mounts of all sites, with `{name}` for the site's name; none if absent. Not to be logged.
    pub sites: Option<String>,
    /// What listeners see as the stream's name; the box's name if absent.
    pub name: Option<String>,
    /// What listeners see about it.
    pub description: Option<String>,
    /// Whether the server may list it in public directories.
    #[serde(default)]
    pub public: bool,
}

/// The fixed address of a box on the SD card, table `[network]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Address and length of the network's prefix, such as `192.168.1.20/24`.
    pub address: String,
    /// The router; the box stays in its network if absent.
    pub gateway: Option<IpAddr>,
    /// The name server; none if absent.
    pub dns: Option<IpAddr>,
}

/// What comes into the simulated card: `"silence"`, `"tone:440"`, or the path of a WAV file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub enum Input {
    /// Nothing but zeros.
    Silence,
    /// A sine of this many hertz, 20 to 20000.
    Tone(f64),
    /// A WAV file.
    Wav(PathBuf),
}

impl TryFrom<String> for Input {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix("tone:") {
            _ if text == "silence" => Ok(Input::Silence),
            None => Ok(Input::Wav(PathBuf::from(text))),
            Some(hertz) => match hertz.trim().parse() {
                Ok(hertz) if (20.0..=20_000.0).contains(&hertz) => Ok(Input::Tone(hertz)),
                _ => Err("a tone is from tone:20 to tone:20000 (hertz)".to_owned()),
            },
        }
    }
}
