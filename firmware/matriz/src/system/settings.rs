//! `matriz.toml` on the set-up partition: taken over into the box's folder if it is right, left alone if not.
//!
//! The copy in the box's folder is what the box plays with, and so the last good one: it stays as it is when
//! the new one is wrong, and a sentence says which line. Files of `wss://` that the settings name come along.
//! Right is what the service can start with ([`judge`]): a box that ends at its settings would stay dark.
//! Where neither is good the box starts with the settings that it came with.

use super::text;
use crate::config::{Config, Panel};
use crate::rendezvous::Endpoint;
use std::path::{Component, Path, PathBuf};

/// The settings as they are shipped on the card.
pub const TEMPLATE: &str = include_str!("../../../../image/setup/matriz.toml");

/// The name of the settings, on the card and in the box's folder.
pub const NAME: &str = "matriz.toml";

/// What an editor makes of it where endings are hidden.
const NAME_TXT: &str = "matriz.toml.txt";

/// Where new settings and their files lie in the box's folder while they are judged.
const TRIED: &str = "tried";

/// The least UDP port that the service may open, which is not root.
const FIRST_PORT: u16 = 1024;

/// The port that is taken on a box, by mDNS (RFC 6762).
const MDNS_PORT: u16 = 5353;

/// What the box will play with, and what a person should know.
pub struct Choice {
    /// The settings in force, as read from the box's folder; `None` if nothing could be written there.
    pub config: Option<Config>,
    /// Sentences, none if all is well.
    pub said: Vec<String>,
}

/// Takes the settings in the folder `card` over into the folder `home`.
pub fn take_over(card: &Path, home: &Path) -> Choice {
    let mut said = Vec::new();
    if let Err(why) = new(card, &mut said).and_then(|new| keep(&new, card, home)) {
        said.push(format!("{why}; {}", fall_back(home)));
    }
    let read = Config::read(&home.join(NAME));
    let config = read.map_err(|error| said.push(format!("there are no settings: {error}"))).ok();
    Choice { config, said }
}

/// Where the settings in the folder `card` say that the buttons are, or where they are if nothing is said.
pub fn panel(card: &Path) -> Panel {
    new(card, &mut Vec::new()).map(|new| new.config.panel).unwrap_or_default()
}

/// Settings that were judged.
struct New {
    text: String,
    config: Config,
}

/// The settings on the card.
fn new(card: &Path, said: &mut Vec<String>) -> Result<New, String> {
    let file = pick(card, said).ok_or(format!("{NAME} is not on the card"))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = text::read(&file).map_err(|why| format!("{name}: {why}"))?;
    // The name in it is what a mistake is told with; the true one may end in .txt, which is no TOML.
    let config = Config::parse(&text, Path::new(NAME)).map_err(|error| error.to_string())?;
    Ok(New { text, config })
}

/// The file to read. Who saved under the longer name left the shipped file beside it.
fn pick(card: &Path, said: &mut Vec<String>) -> Option<PathBuf> {
    match (text::find(card, NAME), text::find(card, NAME_TXT)) {
        (Some(short), Some(long)) if text::read(&short).is_ok_and(|text| text != TEMPLATE) => {
            said.push(format!(
                "there are both {NAME} and {}: the first is read; take one away",
                long.file_name().unwrap_or_default().to_string_lossy()
            ));
            Some(short)
        }
        (short, long) => long.or(short),
    }
}

/// Puts the new settings and the files that they name into the box's folder, if the box can start with them.
fn keep(new: &New, card: &Path, home: &Path) -> Result<(), String> {
    let config = &new.config;
    let named =
        [("client_pem", &config.client_pem), ("client_crt", &config.client_crt), ("ca_crt", &config.ca_crt)];
    let needed = config.url.starts_with("wss://");
    let mut files = Vec::new();
    for (key, file) in named {
        if let Some(file) = file.as_deref().filter(|file| needed && file.is_relative()) {
            let text = beside(file, card).map_err(|why| config.wrong(key, why).to_string())?;
            files.push((file, text));
        }
    }
    files.push((Path::new(NAME), new.text.clone())); // the last, so that it never names what is not there yet
    let is_kept = |(file, text): &(&Path, String)| {
        std::fs::read(home.join(file)).is_ok_and(|kept| kept == text.as_bytes())
    };
    if files.iter().all(is_kept) {
        return judge(home);
    }
    let tried = home.join(TRIED);
    let _ = std::fs::remove_dir_all(&tried); // of a start that was cut short
    let judged = put(&files, &tried).and_then(|()| judge(&tried));
    let _ = std::fs::remove_dir_all(&tried);
    judged.and_then(|()| put(&files, home))
}

/// The text of a file that the settings name.
fn beside(file: &Path, card: &Path) -> Result<String, String> {
    if !file.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("{} must be a file beside {NAME}, without .. in its path", file.display()));
    }
    text::read(&card.join(file))
        .map_err(|why| format!("{}: {why}; it must be on the card beside {NAME}", file.display()))
}

/// Puts files into a folder, which is made if the one that it is in is there.
fn put(files: &[(&Path, String)], folder: &Path) -> Result<(), String> {
    for (file, text) in files {
        let to = folder.join(file);
        let made = if folder.is_dir() { Ok(()) } else { std::fs::create_dir(folder) };
        made.and_then(|()| to.parent().map_or(Ok(()), std::fs::create_dir_all))
            .and_then(|()| text::replace(&to, text.as_bytes(), true))
            .map_err(|error| format!("{} cannot be kept ({error})", file.display()))?;
    }
    Ok(())
}

/// Whether the service can start with the settings in a folder, and with the files that they name there; if not,
/// the sentence has the names as they are written in the settings.
fn judge(folder: &Path) -> Result<(), String> {
    let judged = Config::read(&folder.join(NAME)).and_then(|config| {
        let port = config.media_port;
        if port == MDNS_PORT || (1..FIRST_PORT).contains(&port) {
            let what = format!(
                "\"media_port\" cannot be {port} on a box; write a number from {FIRST_PORT} to 65535 other than \
                 {MDNS_PORT}, or 0 for any"
            );
            return Err(config.wrong("media_port", what));
        }
        Endpoint::of(&config).map(drop)
    });
    judged.map_err(|error| error.to_string().replace(&format!("{}/", folder.display()), ""))
}

/// Sees to it that there are settings in the box's folder; says which.
fn fall_back(home: &Path) -> &'static str {
    if judge(home).is_ok() {
        return "the settings of before are used";
    }
    // Should it fail, the settings cannot be read, and the caller says so.
    let _ = text::replace(&home.join(NAME), TEMPLATE.as_bytes(), true);
    "the box starts with the settings that it came with"
}

#[cfg(test)]
mod tests;
