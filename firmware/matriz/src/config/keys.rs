//! The list of all keys and what each may be: the one place that judges a configuration's values.
//!
//! Comes after [`super::text`], before the values become a [`super::Config`]. Serde alone would refuse
//! the same files, but in its own words and without the key; here each mistake is a sentence for a
//! musician. A new key is one line here and one field there.

use super::text::{Fault, Format, Text, path};
use super::{Input, MINIMAL};
use crate::broadcast::mount::Mount;
use proto::rendezvous::WEB_CLIENT;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tokio_tungstenite::tungstenite::http::Uri;

/// Most characters of a box's name: it is a JACK client's name and one line on the front panel.
const LONGEST_NAME: usize = 32;

/// Most characters of a text that listeners of a broadcast see.
const LONGEST_LINE: usize = 200;

/// What a mount and the mounts of all sites look like.
const MOUNT: &str = "http://source:password@icecast.example:8000/mix.opus";
const MOUNTS: &str = "http://source:password@icecast.example:8000/{name}.opus";

/// Names that the protocol uses itself: a web page's, and two keys of what it is told.
const RESERVED: [&str; 3] = [WEB_CLIENT, "restart", "refresh"];

/// What a key may be.
enum Kind {
    /// The name of a box.
    Name,
    /// The box's secret; its value is never shown.
    Secret,
    /// What a program must know; its value is never shown.
    Token,
    /// Where the rendezvous is.
    Url,
    /// A mount on an Icecast server; its password is never shown.
    Mount,
    /// The mounts of all sites, with `{name}` in the path.
    Mounts,
    /// Any text: a file, a network card.
    Text,
    /// A text that listeners see: one line.
    Line,
    /// An IPv4 or IPv6 address.
    Address,
    /// An address with the length of its network's prefix.
    Subnet,
    /// What the simulated card hears.
    Input,
    /// True or false.
    Flag,
    /// A whole number, least and most.
    Whole(i64, i64),
    /// A number, least and most.
    Number(f64, f64),
    /// One of two numbers.
    Either(f64, f64),
    /// One of a few words.
    Word(&'static [&'static str]),
    /// A table with keys of its own.
    Table(&'static [Key]),
    /// A table with keys of its own, the first of which it cannot do without.
    TableWith(&'static [Key]),
}

/// A key's name and what it may be.
type Key = (&'static str, Kind);

/// The keys without which there is no box.
const REQUIRED: [&str; 3] = ["name", "key", "url"];

const KEYS: &[Key] = &[
    // the original's
    ("key", Kind::Secret),
    ("name", Kind::Name),
    ("url", Kind::Url),
    ("interface", Kind::Text),
    ("port", Kind::Whole(1, 65_535)),
    ("client_pem", Kind::Text),
    ("client_crt", Kind::Text),
    ("ca_crt", Kind::Text),
    ("record", Kind::Flag),
    ("receive", Kind::Flag),
    ("receive_from_ip", Kind::Address),
    ("receive_from_port", Kind::Whole(1, 65_535)),
    // ours
    ("record_folder", Kind::Text),
    ("media_port", Kind::Whole(0, 65_535)),
    ("sound", Kind::Word(&["jack", "simulated"])),
    ("channels", Kind::Whole(1, 2)),
    ("separate", Kind::Flag),
    ("codec", Kind::Word(&["opus", "l16", "l24"])),
    ("bitrate", Kind::Whole(16, 256)),
    ("packet_ms", Kind::Either(2.5, 5.0)),
    ("uplink", Kind::Whole(64, 10_000_000)),
    ("prediction", Kind::Flag),
    ("depth", Kind::Word(&["tight", "balanced", "safe"])),
    ("gain_db", Kind::Number(-60.0, 20.0)),
    ("state_folder", Kind::Text),
    ("power_off", Kind::Flag),
    ("api", Kind::Table(API)),
    ("jack", Kind::Table(JACK)),
    ("simulated", Kind::Table(SIMULATED)),
    ("panel", Kind::Table(PANEL)),
    ("broadcast", Kind::TableWith(BROADCAST)),
    ("network", Kind::TableWith(NETWORK)),
    ("station", Kind::Table(STATION)),
];

const API: &[Key] = &[("socket", Kind::Text), ("port", Kind::Whole(1, 65_535)), ("token", Kind::Token)];

const JACK: &[Key] = &[
    ("server", Kind::Text),
    ("client_name", Kind::Text),
    ("connect", Kind::Flag),
    ("period", Kind::Whole(16, 1_024)),
    ("periods", Kind::Whole(2, 4)),
];

const NETWORK: &[Key] = &[("address", Kind::Subnet), ("gateway", Kind::Address), ("dns", Kind::Address)];

const SIMULATED: &[Key] = &[
    ("ppm", Kind::Number(-300.0, 300.0)),
    ("period", Kind::Whole(16, 2_048)),
    ("input", Kind::Input),
    ("output", Kind::Text),
    ("phase_us", Kind::Whole(0, 4_294_967_295)),
];

/// A pin that a button or a lamp may be on; those before it are the I2C bus and the plug's memory.
const PIN: Kind = Kind::Whole(4, 27);

const PANEL: &[Key] = &[
    ("enabled", Kind::Flag),
    ("chip", Kind::Word(&["ssd1306", "sh1106"])),
    ("address", Kind::Word(&["0x3c", "0x3d"])),
    ("bus", Kind::Whole(0, 255)),
    ("rotated", Kind::Flag),
    ("mute", PIN),
    ("volume_down", PIN),
    ("volume_up", PIN),
    ("page", PIN),
    ("health", PIN),
    ("session", PIN),
    ("signal", PIN),
    ("trouble", PIN),
];

const BROADCAST: &[Key] = &[
    ("url", Kind::Mount),
    ("sites", Kind::Mounts),
    ("name", Kind::Line),
    ("description", Kind::Line),
    ("public", Kind::Flag),
];

const STATION: &[Key] = &[
    ("enabled", Kind::Flag),
    ("hostname", Kind::Address),
    ("port", Kind::Whole(1, 65_535)),
    ("broadcast_port", Kind::Whole(1, 65_535)),
    ("max_subscribers", Kind::Whole(1, 64)),
    ("station_name", Kind::Line),
];

/// Judges every key of `text` and takes away those that say nothing (`null`, or an empty text where the
/// key may be left out).
///
/// # Errors
/// The first mistake in the file; a required key that is missing comes last, since a misspelt one may
/// be the reason.
pub(super) fn check(text: &mut Text, format: Format) -> Result<(), Fault> {
    let mut judge = Judge { lines: &text.lines, format, faults: Vec::new() };
    judge.table(KEYS, "", &mut text.root);
    judge.required(&text.root);
    match judge.faults.into_iter().min_by_key(|fault| fault.line.unwrap_or(usize::MAX)) {
        Some(fault) => Err(fault),
        None => Ok(()),
    }
}

struct Judge<'a> {
    lines: &'a BTreeMap<String, usize>,
    format: Format,
    faults: Vec<Fault>,
}

impl Judge<'_> {
    fn fault(&mut self, path: &str, what: String) {
        self.faults.push(Fault { line: self.lines.get(path).copied(), column: None, what });
    }

    fn table(&mut self, keys: &[Key], parent: &str, table: &mut Map<String, Value>) {
        let optional = |key: &str| !(parent.is_empty() && REQUIRED.contains(&key));
        table.retain(|key, value| !(value.is_null() || value == "" && optional(key)));
        for (name, value) in table {
            let here = path(parent, name);
            match (keys.iter().find(|(key, _)| key == name), value) {
                (None, _) => self.fault(&here, self.unknown(keys, parent, name)),
                (Some((_, Kind::Table(keys))), Value::Object(table)) => self.table(keys, &here, table),
                (Some((_, Kind::TableWith(keys))), Value::Object(table)) => {
                    self.table(keys, &here, table);
                    self.first(keys, &here, table);
                }
                (Some((_, kind)), value) => {
                    if let Err(what) = kind.judge(value) {
                        self.fault(&here, format!("\"{name}\" must be {what}"));
                    }
                }
            }
        }
    }

    fn required(&mut self, root: &Map<String, Value>) {
        let Some(key) = REQUIRED.into_iter().find(|key| !root.contains_key(*key)) else { return };
        let example: BTreeMap<String, String> = serde_json::from_str(MINIMAL).unwrap_or_default();
        let value = example.get(key).map_or("", String::as_str);
        let line = match self.format {
            Format::Json => format!("\"{key}\": \"{value}\","),
            Format::Toml => format!("{key} = \"{value}\""),
        };
        self.fault(key, format!("the key \"{key}\" is missing; add a line such as {line}"));
    }

    /// The first of `keys` must be in its table.
    fn first(&mut self, keys: &[Key], here: &str, table: &Map<String, Value>) {
        if let Some((key, _)) = keys.first().filter(|(key, _)| !table.contains_key(*key)) {
            let missing = format!("the key \"{key}\" is missing in {}", self.table_name(here));
            self.fault(here, format!("{missing}; docs/configuration.md says what it may be"));
        }
    }

    /// The sentence for a key that is not in `keys`, with the one that was probably meant.
    fn unknown(&self, keys: &[Key], parent: &str, name: &str) -> String {
        let place =
            if parent.is_empty() { String::new() } else { format!(" in {}", self.table_name(parent)) };
        let no = format!("there is no key \"{name}\"{place}");
        if let Some(home) = home_of(name).filter(|home| *home != parent) {
            return match (home, self.format) {
                ("", Format::Toml) => format!("{no}; \"{name}\" belongs above the first [table]"),
                ("", Format::Json) => format!("{no}; \"{name}\" belongs outside of it"),
                (home, _) => format!("{no}; \"{name}\" belongs in {}", self.table_name(home)),
            };
        }
        let names = keys.iter().map(|(key, _)| *key);
        match names.clone().map(|key| (distance(key, name), key)).min() {
            Some((far, key)) if far <= 2.max(name.len() / 3) => format!("{no}; did you mean \"{key}\"?"),
            _ => format!("{no}; there are {}", names.collect::<Vec<_>>().join(", ")),
        }
    }

    fn table_name(&self, name: &str) -> String {
        match self.format {
            Format::Json => format!("\"{name}\""),
            Format::Toml => format!("[{name}]"),
        }
    }
}

/// The path of every key, `port` or `jack.server`, for those who must not forget one.
#[cfg(test)]
pub(super) fn paths() -> Vec<String> {
    let below = |parent: &str, keys: &'static [Key]| -> Vec<String> {
        keys.iter().map(|(key, _)| path(parent, key)).collect()
    };
    let of = |(name, kind): &(&str, Kind)| match kind {
        Kind::Table(keys) | Kind::TableWith(keys) => below(name, keys),
        _ => vec![(*name).to_owned()],
    };
    KEYS.iter().flat_map(of).collect()
}

/// The table that key `name` belongs to, if there is such a key (empty: the top).
fn home_of(name: &str) -> Option<&'static str> {
    let has = |keys: &[Key]| keys.iter().any(|(key, _)| *key == name);
    let below = |(home, kind): &(&'static str, Kind)| match kind {
        Kind::Table(keys) | Kind::TableWith(keys) => has(keys).then_some(*home),
        _ => None,
    };
    if has(KEYS) { Some("") } else { KEYS.iter().find_map(below) }
}

impl Kind {
    /// Judges `value`; the error is what it must be and what it is instead.
    fn judge(&self, value: &Value) -> Result<(), String> {
        let right = match self {
            Kind::Name => value.as_str().is_some_and(is_name),
            Kind::Secret => value.as_str().is_some_and(is_key),
            Kind::Token => value.as_str().is_some_and(is_token),
            Kind::Url => return judge_url(value),
            Kind::Mount => return judge_mount(value, MOUNT, Mount::new),
            Kind::Mounts => return judge_mount(value, MOUNTS, |url| Mount::of_site(url, "site")),
            Kind::Text => value.is_string(),
            Kind::Line => value.as_str().is_some_and(is_line),
            Kind::Address => value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok()),
            Kind::Subnet => value.as_str().is_some_and(is_subnet),
            Kind::Input => value.as_str().is_some_and(|text| Input::try_from(text.to_owned()).is_ok()),
            Kind::Flag => value.is_boolean(),
            Kind::Whole(least, most) => value.as_i64().is_some_and(|n| (*least..=*most).contains(&n)),
            Kind::Number(least, most) => value.as_f64().is_some_and(|n| (*least..=*most).contains(&n)),
            Kind::Either(one, other) => value.as_f64().is_some_and(|n| n == *one || n == *other),
            Kind::Word(words) => value.as_str().is_some_and(|text| words.contains(&text)),
            Kind::Table(_) | Kind::TableWith(_) => false, // a table with its keys was judged by `Judge::table`
        };
        if right { Ok(()) } else { Err(self.wish(value)) }
    }

    /// What a value of this kind must be, and what `value` is instead.
    fn wish(&self, value: &Value) -> String {
        let wish = match self {
            Kind::Name => format!(
                "1 to {LONGEST_NAME} letters, digits, spaces or -_. (no space at its ends, and not {})",
                RESERVED.join(", ")
            ),
            Kind::Secret => {
                return "a text in quotes, not empty and without quotes, backslashes or line ends in it"
                    .to_owned();
            }
            Kind::Token => {
                return "16 to 200 letters, digits or -_. in quotes, which nobody can guess".to_owned();
            }
            Kind::Url | Kind::Mount | Kind::Mounts | Kind::Text => "a text in quotes".to_owned(),
            Kind::Line => format!("a text in quotes, one line of at most {LONGEST_LINE} characters"),
            Kind::Address => "an address such as \"192.168.1.20\"".to_owned(),
            Kind::Subnet => "an address with its network's prefix such as \"192.168.1.20/24\"".to_owned(),
            Kind::Input => {
                "\"silence\", \"tone:440\" (20 to 20000 hertz) or the path of a WAV file".to_owned()
            }
            Kind::Flag => "true or false, without quotes".to_owned(),
            Kind::Whole(least, most) if value.is_f64() => format!("a whole number from {least} to {most}"),
            Kind::Whole(least, most) => format!("a number from {least} to {most}"),
            Kind::Number(least, most) => format!("a number from {least} to {most}"),
            Kind::Either(one, other) => format!("{one} or {other}"),
            Kind::Word(words) => format!("\"{}\"", words.join("\" or \"")),
            Kind::Table(_) | Kind::TableWith(_) => "a table with keys of its own".to_owned(),
        };
        format!("{wish}, but it is {}", shown(value))
    }
}

/// An original server cannot read escapes, so a name has nothing that JSON would escape.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
    (1..=LONGEST_NAME).contains(&text.chars().count())
        && text.chars().all(allowed)
        && text.trim() == text
        && !RESERVED.contains(&text)
}

/// Judges a name that somebody gives the box while it plays.
///
/// # Errors
/// What it must be, and what it is instead.
pub fn judge_name(name: &str) -> Result<(), String> {
    Kind::Name.judge(&Value::from(name)).map_err(|what| format!("the name must be {what}"))
}

/// What goes into an HTTP header and an address as it is.
fn is_token(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (16..=200).contains(&text.len()) && text.chars().all(allowed)
}

/// As for names: nothing that JSON would escape.
fn is_key(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| matches!(c, '"' | '\\') || c.is_control())
}

fn judge_url(value: &Value) -> Result<(), String> {
    let but = format!("but it is {}", shown(value));
    let example = "such as \"ws://localhost:5000/config\"";
    let Some(uri) = value.as_str().and_then(|text| text.parse::<Uri>().ok()) else {
        return Err(format!("an address {example}, {but}"));
    };
    match (uri.scheme_str(), uri.host()) {
        (Some("ws" | "wss"), Some(host)) if !host.is_empty() => Ok(()),
        (Some("ws" | "wss"), _) => Err(format!("an address with a host {example}, {but}")),
        _ => Err(format!("an address that begins with ws:// or wss:// {example}, {but}")),
    }
}

/// `192.168.1.20/24`: an address that a computer may have, and a prefix that fits it.
fn is_subnet(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    match (address.parse::<IpAddr>(), prefix.parse::<u8>()) {
        (Ok(address), Ok(prefix)) => {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            (1..=longest).contains(&prefix) && !address.is_unspecified() && !address.is_multicast()
        }
        _ => false,
    }
}

/// A text that may be a line of an HTTP header.
fn is_line(text: &str) -> bool {
    text.chars().count() <= LONGEST_LINE && !text.chars().any(char::is_control)
}

/// What is wrong with a mount is told without the value, for a password is in it.
fn judge_mount(
    value: &Value,
    example: &str,
    mount: impl Fn(&str) -> Result<Mount, &'static str>,
) -> Result<(), String> {
    let but = match value.as_str().map(mount) {
        Some(Ok(_)) => return Ok(()),
        Some(Err(lack)) => lack,
        None => "is no text in quotes",
    };
    Err(format!("an address such as \"{example}\", but it {but}"))
}

/// A value as it is shown in an error, shortened.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
        Value::String(text) if text.chars().count() > 60 => {
            format!("\"{}…\"", text.chars().take(60).collect::<String>())
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// How many letters must be added, taken away or changed to make `b` of `a` (Levenshtein 1965).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
