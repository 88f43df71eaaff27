//! Who may come: the seed's `clients.json`.
//!
//! ```json
//! {
//!   "client_keys": [{"name": "porto", "key": "key1"}, {"name": "lisboa", "key": "key3"}],
//!   "monitor_key": {"name": "monitor", "key": "monitorkey"},
//!   "server_crt": "server.crt", "server_pem": "server.pem", "ca_crt": "ca.crt"
//! }
//! ```
//! The last line is ours: the files of `wss://`. After it: `room`, `tls`. A mistake in the file is one sentence with file, line, column and what to do.

use proto::rendezvous::{WEB_CLIENT, needs_escape};
use serde::Deserialize;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// Everybody who may come, checked: names and keys are unique, not empty, and none is reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The clients, in the order in which lists name them.
    pub clients: Vec<Client>,
    /// The monitor, if there is one.
    pub monitor: Option<Client>,
    /// The files of `wss://`; without them the server speaks `ws://`.
    pub tls: Option<TlsFiles>,
}

/// The PEM files of `wss://`. They are not read here: see [`crate::tls::Tls::read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, followed by those between it and the authority.
    pub server_crt: Named,
    /// The private key of `server_crt`.
    pub server_pem: Named,
    /// Who must have signed a client's certificate; if absent, clients need none.
    pub ca_crt: Option<Named>,
}

/// A file that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The file, relative to the configuration's folder.
    pub path: PathBuf,
    /// Where the configuration names it.
    pub place: Place,
}

/// A name and the secret that goes with it.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// By which the others know it.
    pub name: String,
    /// What it registers with.
    pub key: String,
}

/// Why there is no configuration. Each is a sentence for the person who wrote the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file is not there.
    #[error(
        "{} does not exist: write one like {EXAMPLE}, or say where it is (matriz-rendezvous FILE, or MATRIZ_CONFIG_FILE=FILE)",
        .0.display()
    )]
    Missing(PathBuf),
    /// The file is there but cannot be read.
    #[error("{} cannot be read ({reason}): mend that or name another file", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
    /// Not JSON, or JSON of another shape.
    #[error("{place}: {what}: write it like {EXAMPLE}")]
    Shape {
        /// Where.
        place: Place,
        /// What is wrong.
        what: String,
    },
    /// A key that no configuration has.
    #[error("{place}: the key \"{key}\" is unknown: {advice}")]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// The nearest key that there is, or which there are.
        advice: String,
    },
    /// A name or key that cannot be used.
    #[error("{place}: {what}")]
    Unusable {
        /// Where.
        place: Place,
        /// What is wrong and what to do.
        what: String,
    },
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// What a short configuration looks like, in error sentences.
const EXAMPLE: &str = r#"{"client_keys": [{"name": "porto", "key": "key1"}], "monitor_key": {"name": "monitor", "key": "key2"}}"#;

impl Configuration {
    /// Reads the file.
    ///
    /// # Errors
    /// The file cannot be read, or [`Configuration::parse`] finds a mistake in it.
    pub fn read(file: &Path) -> Result<Configuration, ConfigurationError> {
        let bytes = fs::read(file).map_err(|reason| match reason.kind() {
            io::ErrorKind::NotFound => ConfigurationError::Missing(file.to_owned()),
            _ => ConfigurationError::Unreadable { file: file.to_owned(), reason },
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
            let place = place(file, &before, before.len());
            ConfigurationError::Unusable {
                place,
                what: "this character is not UTF-8: save the file as UTF-8".into(),
            }
        })?;
        Configuration::parse(&text, file)
    }

    /// Reads the text of `file`, which is only named in errors.
    ///
    /// # Errors
    /// No JSON, JSON of another shape, an unknown key, or a name or key that is empty, reserved, used
    /// twice or has a character that an original client could not send; a file of `wss://` without the
    /// one that belongs to it.
    pub fn parse(text: &str, file: &Path) -> Result<Configuration, ConfigurationError> {
        // Some editors begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let written: Written = serde_json::from_str(text).map_err(|error| misshapen(&error, text, file))?;
        check(&written, text, file)?;
        let clients = written.client_keys.iter().map(WrittenClient::client).collect();
        let monitor = written.monitor_key.as_ref().map(WrittenClient::client);
        Ok(Configuration { clients, monitor, tls: tls_files(&written, text, file)? })
    }
}

/// The key is a secret, so it stays out of logs.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with \"client_keys\"")]
struct Written<'a> {
    #[serde(borrow)]
    client_keys: Vec<WrittenClient<'a>>,
    #[serde(borrow)]
    monitor_key: Option<WrittenClient<'a>>,
    #[serde(borrow)]
    server_crt: Option<WrittenText<'a>>,
    #[serde(borrow)]
    server_pem: Option<WrittenText<'a>>,
    #[serde(borrow)]
    ca_crt: Option<WrittenText<'a>>,
}

/// Its own type, since serde borrows no text inside an `Option`.
#[derive(Deserialize)]
#[serde(transparent)]
struct WrittenText<'a>(#[serde(borrow)] Cow<'a, str>);

/// Borrowed from the file's text, so that a mistake can be pointed at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with \"name\" and \"key\"")]
struct WrittenClient<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
}

impl WrittenClient<'_> {
    fn client(&self) -> Client {
        Client { name: self.name.clone().into_owned(), key: self.key.clone().into_owned() }
    }
}

/// Names that the flat map of web pages uses for itself, and the web pages' own.
const RESERVED: [&str; 3] = ["restart", "refresh", WEB_CLIENT];

fn check(written: &Written, text: &str, file: &Path) -> Result<(), ConfigurationError> {
    if written.client_keys.is_empty() {
        let place = place(file, text, text.find("client_keys").unwrap_or(0));
        return Err(ConfigurationError::Shape {
            place,
            what: "\"client_keys\" is empty, so nobody could come".into(),
        });
    }
    let everybody: Vec<_> = written.client_keys.iter().chain(&written.monitor_key).collect();
    for (index, client) in everybody.iter().enumerate() {
        if let Some((part, what)) = unusable(client, &everybody[..index]) {
            let place = place(file, text, offset_in(text, part));
            return Err(ConfigurationError::Unusable { place, what });
        }
    }
    Ok(())
}

/// The files of `wss://`, if they are named; an empty name counts as none, as in a box's configuration.
fn tls_files(written: &Written, text: &str, file: &Path) -> Result<Option<TlsFiles>, ConfigurationError> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let named = |said: &Option<WrittenText>| {
        let said = said.as_ref().map(|said| &*said.0).filter(|said| !said.is_empty())?;
        Some(Named { path: folder.join(said), place: place(file, text, offset_in(text, said)) })
    };
    let (alone, what) = match (named(&written.server_crt), named(&written.server_pem), named(&written.ca_crt))
    {
        (None, None, None) => return Ok(None),
        (Some(server_crt), Some(server_pem), ca_crt) => {
            return Ok(Some(TlsFiles { server_crt, server_pem, ca_crt }));
        }
        (Some(crt), None, _) => {
            (crt, "\"server_crt\" needs \"server_pem\" beside it: name both files or neither")
        }
        (None, Some(pem), _) => {
            (pem, "\"server_pem\" needs \"server_crt\" beside it: name both files or neither")
        }
        (None, None, Some(ca)) => (
            ca,
            "\"ca_crt\" says whose certificates come in by wss://, which needs \"server_crt\" and \"server_pem\": \
             name them too, or leave it out",
        ),
    };
    Err(ConfigurationError::Unusable { place: alone.place, what: what.to_owned() })
}

/// What is wrong with a client that comes after these others: which text, and a sentence. Keys are
/// secrets, so the sentence does not show them.
fn unusable<'a>(client: &'a WrittenClient, before: &[&WrittenClient]) -> Option<(&'a str, String)> {
    let (name, key): (&str, &str) = (&client.name, &client.key);
    for (kind, part) in [("name", name), ("key", key)] {
        if part.is_empty() {
            return Some((part, format!("a {kind} is empty: write one")));
        }
        if let Some(character) = needs_escape(part) {
            let what = format!(
                "a {kind} has the character {character:?}, which the protocol cannot carry: leave it out"
            );
            return Some((part, what));
        }
    }
    if RESERVED.contains(&name) {
        return Some((name, format!("the name \"{name}\" is used by the protocol itself: choose another")));
    }
    if before.iter().any(|other| other.name == name) {
        return Some((name, format!("the name \"{name}\" is there twice: give each its own")));
    }
    let other = before.iter().find(|other| other.key == key)?;
    Some((key, format!("\"{name}\" has the same key as \"{}\": give each its own", other.name)))
}

/// Turns serde_json's error into ours. That a key is unknown shows only in its words, which the tests hold.
fn misshapen(error: &serde_json::Error, text: &str, file: &Path) -> ConfigurationError {
    let message = error.to_string();
    let what = message.split(" at line ").next().unwrap_or(&message).replace('`', "\"");
    let unknown = what.strip_prefix("unknown field \"").and_then(|rest| rest.split('"').next());
    let line = error.line().max(1);
    if let Some(key) = unknown {
        let column = column_of_key(text, line, error.column(), key);
        let place = Place { file: file.to_owned(), line, column };
        return ConfigurationError::UnknownKey { place, key: key.to_owned(), advice: advice(key, &what) };
    }
    let what = match error.classify() {
        serde_json::error::Category::Data => what,
        _ => format!("this is not JSON ({what})"),
    };
    let column = characters(text, line, error.column()).max(1);
    ConfigurationError::Shape { place: Place { file: file.to_owned(), line, column }, what }
}

/// Where `key` begins; serde_json says where it ends.
fn column_of_key(text: &str, line: usize, end: usize, key: &str) -> usize {
    (characters(text, line, end) + 1).saturating_sub(key.chars().count() + 2).max(1)
}

/// How many characters the first `bytes` of a line are; serde_json counts columns in bytes.
fn characters(text: &str, line: usize, bytes: usize) -> usize {
    let line = text.lines().nth(line - 1).unwrap_or("");
    line.get(..bytes).map_or(bytes, |before| before.chars().count())
}

/// "did you mean", or else which keys there are. `what` is serde's sentence, which tells the object.
fn advice(key: &str, what: &str) -> String {
    let known: &[&str] = if what.contains("client_keys") {
        &["client_keys", "monitor_key", "server_crt", "server_pem", "ca_crt"]
    } else {
        &["name", "key"]
    };
    let nearest = known.iter().min_by_key(|known| distance(key, known)).expect("the list is not empty");
    if distance(key, nearest) <= nearest.len().div_ceil(2) {
        format!("did you mean \"{nearest}\"?")
    } else {
        format!("there are \"{}\" here", known.join("\", \""))
    }
}

/// How many letters to insert, delete or replace to make `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for j in 0..b.len() {
            let replaced = diagonal + usize::from(letter != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Where in `text` the `part` begins: it was borrowed from there or, if it had escapes, is looked for.
fn offset_in(text: &str, part: &str) -> usize {
    let offset = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    if offset <= text.len() {
        return offset;
    }
    serde_json::to_string(part).ok().and_then(|json| text.find(&json)).map_or(0, |at| at + 1)
}

fn place(file: &Path, text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests;
