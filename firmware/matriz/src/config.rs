//! The box's configuration: one file that a musician writes, read once at the start.
//!
//! The keys are those of the original's `client.json` and a few more; a file ending in `.toml` says the
//! same in TOML. [`text`] turns either into values that know their line, [`keys`] judges them, and what
//! is left here is the answer: a [`Config`] that cannot be wrong. A mistake refuses to start and names
//! file, line, key and what would be right.

mod keys;
mod panel;
mod station;
mod tables;
mod text;

pub use panel::{Chip, Panel};

use proto::control::Depth;
use proto::format::{Encoding, Format as Sent, Layout};
use proto::session::Wish;
use serde::Deserialize;
use serde_json::Value;
pub use station::Station;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
pub use tables::{Api, Broadcast, Input, Jack, Network, Simulated, Sound};
use text::{Fault, Format};

pub use keys::judge_name;

/// The files that are looked for when none is named, in this order.
const DEFAULT_FILES: [&str; 2] = ["client.json", "matriz.toml"];

/// The least that a configuration must say, shown to those who have none yet.
const MINIMAL: &str = r#"{"name": "porto", "key": "key1", "url": "ws://localhost:5000/config"}"#;

/// What one box is told by its configuration file. Paths are already relative to the file's folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The secret that the rendezvous knows this box by; not to be logged.
    pub key: String,
    /// What the others call this box: 1 to 32 letters, digits, spaces or `-_.`.
    pub name: String,
    /// The rendezvous, `ws://` or `wss://`.
    pub url: String,
    /// The network card whose address is offered, for example `eth0`; any if absent.
    pub interface: Option<String>,
    /// TCP port of the RTSP server.
    #[serde(default = "default_port")]
    pub port: u16,
    /// PEM file with the private key of `client_crt`, for `wss://`.
    pub client_pem: Option<PathBuf>,
    /// PEM file with this box's certificate, for `wss://`.
    pub client_crt: Option<PathBuf>,
    /// PEM file with the authority that signed the rendezvous's certificate; the system's if absent.
    pub ca_crt: Option<PathBuf>,
    /// Whether to record from the start: own input, every peer and the mix.
    #[serde(default)]
    pub record: bool,
    /// The folder that recordings go into, each into a folder of its own.
    #[serde(default = "default_record_folder")]
    pub record_folder: PathBuf,
    /// Whether to hear one sender besides those at the rendezvous: a guest.
    #[serde(default)]
    pub receive: bool,
    /// The address of that sender.
    pub receive_from_ip: Option<IpAddr>,
    /// The RTSP port of that sender; 8554 if absent.
    pub receive_from_port: Option<u16>,
    /// UDP port of all media; 0 lets the system choose one.
    #[serde(default = "default_media_port")]
    pub media_port: u16,
    /// Which sound backend plays.
    #[serde(default)]
    pub sound: Sound,
    /// How many channels are sent: 1 (both inputs mixed) or 2.
    #[serde(default = "default_channels")]
    pub channels: u8,
    /// With two channels: whether they have nothing to do with each other, such as a voice and a guitar.
    #[serde(default)]
    pub separate: bool,
    /// How samples become bytes.
    #[serde(default)]
    pub codec: Encoding,
    /// Bit rate of Opus in kbit/s, 16 to 256; the box's choice if absent.
    pub bitrate: Option<u16>,
    /// Length of Opus packets in milliseconds, 2.5 or 5; the box's choice, by the session, if absent.
    pub packet_ms: Option<f64>,
    /// What the line to the internet carries upwards, in kbit/s; as much as is needed if absent.
    pub uplink: Option<u32>,
    /// Whether Opus packets may build on each other: a little better sound on lines that lose nothing.
    #[serde(default)]
    pub prediction: bool,
    /// How the buffers trade delay against late packets.
    #[serde(default)]
    pub depth: Depth,
    /// Gain of what is sent, in decibels, −60 to 20.
    #[serde(default)]
    pub gain_db: f32,
    /// The folder for what is kept over restarts; the system's usual one if absent.
    pub state_folder: Option<PathBuf>,
    /// Whether people may switch the computer off through the box.
    #[serde(default)]
    pub power_off: bool,
    /// How programs reach the box.
    #[serde(default)]
    pub api: Api,
    /// Settings of the JACK backend.
    #[serde(default)]
    pub jack: Jack,
    /// Settings of the simulated card.
    #[serde(default)]
    pub simulated: Simulated,
    /// Where the parts of the front panel are connected.
    #[serde(default)]
    pub panel: Panel,
    /// Where an audience can listen; nowhere if absent.
    pub broadcast: Option<Broadcast>,
    /// A fixed address, for the box on the SD card; by DHCP if absent.
    pub network: Option<Network>,
    /// How this box is a station in its network; it is none if absent.
    pub station: Option<Station>,

    /// Whether this box plays nothing and only listens, which the command line says (`matriz broadcast`).
    #[serde(skip)]
    pub only_listens: bool,
    /// The file that all this comes from, as it was named.
    #[serde(skip)]
    pub file: PathBuf,
    /// The line of each key that the file has, by its path (`port`, `jack.server`).
    #[serde(skip)]
    lines: BTreeMap<String, usize>,
}

/// Why there is no configuration; each displays as one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No file was named and none of the usual ones is there.
    #[error(
        "no configuration: neither {} nor {} is in {folder}; write a client.json such as {MINIMAL}, or \
         name a file: matriz FILE", DEFAULT_FILES[0], DEFAULT_FILES[1]
    )]
    NotFound {
        /// The folder that was searched, in words.
        folder: String,
    },
    /// The file is there or was named, but cannot be read.
    #[error("{} cannot be read: {why}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The reason, in words.
        why: String,
    },
    /// The file says something that cannot be.
    #[error("{place}: {what}")]
    Wrong {
        /// File, line and column as far as known.
        place: String,
        /// What is wrong and what would be right.
        what: String,
    },
}

impl Config {
    /// Reads the file that was named on the command line, else `client.json`, else `matriz.toml` in the
    /// working directory.
    ///
    /// # Errors
    /// As [`Config::read`], and [`ConfigError::NotFound`] if there is nothing to read.
    pub fn find(argument: Option<&Path>) -> Result<Config, ConfigError> {
        match argument {
            Some(file) => Config::read(file),
            None => Config::find_in(Path::new("")),
        }
    }

    /// Reads the first of the usual files in `folder`.
    fn find_in(folder: &Path) -> Result<Config, ConfigError> {
        let files = DEFAULT_FILES.map(|name| folder.join(name));
        match files.iter().find(|file| file.exists()) {
            Some(file) => Config::read(file),
            None if folder.as_os_str().is_empty() => {
                Err(ConfigError::NotFound { folder: "this folder".to_owned() })
            }
            None => Err(ConfigError::NotFound { folder: folder.display().to_string() }),
        }
    }

    /// Reads `path`: TOML if its name ends in `.toml`, else JSON.
    ///
    /// # Errors
    /// If it cannot be read, is no such text, has an unknown key, lacks a required one, or has a value
    /// that cannot be. The first mistake in the file is told, with its line.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
        let text = String::from_utf8(text).map_err(|_| ConfigError::Unreadable {
            file: path.to_owned(),
            why: "it is not UTF-8 text; save it as plain text in UTF-8".to_owned(),
        })?;
        Config::parse(&text, path)
    }

    /// Makes a configuration of `text`, the contents of `path`.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
        let toml = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("toml"));
        let format = if toml { Format::Toml } else { Format::Json };
        let wrong = |fault: Fault| fault.in_file(path);
        let mut text = text::parse(text, format).map_err(wrong)?;
        keys::check(&mut text, format).map_err(wrong)?;
        // `keys` has judged every value; should it and this struct ever disagree, serde's words must do.
        let mut config: Config = serde_json::from_value(Value::Object(text.root))
            .map_err(|error| wrong(Fault { line: None, column: None, what: error.to_string() }))?;
        config.file = path.to_owned();
        config.lines = text.lines;
        config.resolve();
        if let Some((one, other, pin)) = config.panel.clash() {
            let what =
                format!("\"{one}\" and \"{other}\" are both on GPIO {pin}; each needs a pin of its own");
            return Err(config.wrong(&format!("panel.{other}"), what));
        }
        if config.api.port.is_some() && config.api.token.is_none() {
            let what =
                "\"port\" needs a \"token\" beside it: 16 letters or more that only your programs know";
            return Err(config.wrong("api.port", what));
        }
        Ok(config)
    }

    /// Makes paths relative to the configuration file's folder.
    fn resolve(&mut self) {
        let folder = self.file.parent().unwrap_or(Path::new("")).to_owned();
        let input = match &mut self.simulated.input {
            Input::Wav(path) => Some(path),
            Input::Silence | Input::Tone(_) => None,
        };
        let files = [
            &mut self.client_pem,
            &mut self.client_crt,
            &mut self.ca_crt,
            &mut self.state_folder,
            &mut self.api.socket,
            &mut self.simulated.output,
        ];
        for path in files.into_iter().flatten().chain(input).chain([&mut self.record_folder]) {
            *path = folder.join(&path);
        }
    }

    /// What this box sends.
    pub fn format(&self) -> Sent {
        let layout = match (self.separate, self.channels) {
            (true, _) => Layout::Separate,
            (false, 1) => Layout::Mono,
            (false, _) => Layout::Stereo,
        };
        Sent { encoding: self.codec, layout }
    }

    /// How much of the line that may take.
    pub fn wish(&self) -> Wish {
        let format = self.format();
        // Transparent for most instruments (Opus in 2.5 ms frames).
        let usual = match format.layout {
            Layout::Mono => 96,
            Layout::Stereo => 160,
            Layout::Separate => 192,
        };
        let opus = format.encoding == Encoding::Opus;
        let kbits = if opus { self.bitrate.unwrap_or(usual) } else { 0 };
        Wish {
            bitrate: i32::from(kbits) * 1_000,
            frames: self.packet_ms.map(|milliseconds| (milliseconds * 48.0) as u16),
            uplink: self.uplink.map(|kbits| kbits.saturating_mul(1_000)),
        }
    }

    /// The name that the box goes by in JACK.
    pub fn jack_name(&self) -> &str {
        self.jack.client_name.as_deref().unwrap_or(&self.name)
    }

    /// Makes it a box that only listens, without a sound card, for an audience.
    ///
    /// # Errors
    /// If it does not say where the audience is.
    pub fn only_listen(mut self) -> Result<Config, ConfigError> {
        if self.broadcast.is_none() {
            let table = "{\"url\": \"http://source:password@icecast.example:8000/mix.opus\"}";
            return Err(self.wrong("broadcast", format!("the key \"broadcast\" is missing, such as {table}")));
        }
        self.only_listens = true;
        self.sound = Sound::Simulated;
        self.simulated = Simulated::default();
        Ok(self)
    }

    /// The settings of somebody who only listens to a station: to JACK, or into a WAV file.
    pub fn of_listener(wav: Option<&Path>) -> Config {
        let mut config = Config::parse(MINIMAL, Path::new("--wav")).expect("it has all keys that are needed");
        config.name = "matriz".to_owned();
        if let Some(wav) = wav {
            config.sound = Sound::Simulated;
            config.simulated.output = Some(wav.to_owned());
        }
        config
    }

    /// A mistake that shows only later, such as a taken port or a file that `key` names and that is not
    /// there: says the configuration's file and the key's line before `what`.
    pub fn wrong(&self, key: &str, what: impl Into<String>) -> ConfigError {
        let line = self.lines.get(key).copied();
        Fault { line, column: None, what: what.into() }.in_file(&self.file)
    }

    /// Whether the file says anything about a key, by its path.
    pub fn has(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// The files of `wss://` that the file names beside a `ws://` address, where they are not looked at: a
    /// sentence that says so. The original's example has them there.
    pub fn without_tls(&self) -> Option<String> {
        let files =
            [("client_pem", &self.client_pem), ("client_crt", &self.client_crt), ("ca_crt", &self.ca_crt)];
        let named: Vec<&str> =
            files.into_iter().filter_map(|(key, file)| file.as_ref().map(|_| key)).collect();
        let first = named.first().filter(|_| self.url.starts_with("ws://"))?;
        let (keys, have) = (named.join("\", \""), if named.len() == 1 { "has" } else { "have" });
        let what = format!("\"{keys}\" {have} no effect, as \"url\" begins with ws:// and not with wss://");
        Some(self.wrong(first, what).to_string())
    }

    /// The sender that is heard without a rendezvous, if there is one.
    pub fn guest(&self) -> Option<SocketAddr> {
        let port = self.receive_from_port.unwrap_or(default_port());
        self.receive_from_ip.filter(|_| self.receive).map(|ip| SocketAddr::new(ip, port))
    }

    /// What is said about such a sender and has no effect, as the other half is missing: a sentence that says so.
    pub fn half_a_guest(&self) -> Option<String> {
        let ip = self.receive_from_ip.map(|_| "receive_from_ip");
        let named = ip.or(self.receive_from_port.map(|_| "receive_from_port"));
        let (key, but) = match (self.receive, ip, named) {
            (true, None, _) => ("receive", "\"receive_from_ip\" does not say from whom"),
            (false, _, Some(key)) => (key, "\"receive\" is not true"),
            _ => return None,
        };
        Some(self.wrong(key, format!("\"{key}\" has no effect, as {but}")).to_string())
    }
}

/// Says in words why `path` cannot be read.
fn unreadable(path: &Path, error: &std::io::Error) -> ConfigError {
    use std::io::ErrorKind;
    let why = match error.kind() {
        ErrorKind::NotFound => format!("there is no such file; the least it must say is {MINIMAL}"),
        ErrorKind::IsADirectory => "it is a folder; name the file in it".to_owned(),
        ErrorKind::PermissionDenied => "it belongs to somebody else; allow reading it".to_owned(),
        _ => error.to_string(),
    };
    ConfigError::Unreadable { file: path.to_owned(), why }
}

fn default_port() -> u16 {
    8554 // as in the original's client.json
}

fn default_media_port() -> u16 {
    8600 // the first of the UDP ports that the original asks musicians to open
}

fn default_record_folder() -> PathBuf {
    PathBuf::from("recordings")
}

fn default_channels() -> u8 {
    1
}

#[cfg(test)]
mod tests;
