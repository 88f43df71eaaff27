//! Which sound card the box plays on, and the JACK server for it.
//!
//! The unit `jackd` is started by udev when a USB sound card appears (`overlays/`), and becomes the server by
//! this. A Focusrite Scarlett 2i2 goes before other cards, a card with inputs before one without; one line of
//! the log says which it is. How a card lies in `/sys`: Documentation/sound/designs/procfile and `sysfs`.

use super::{BOX, Root, settings};
use crate::config::{Config, Jack};
use anyhow::Context;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The 2i2 of all generations by its USB ids. The first has two. Sources: the kernel's sound/usb/quirks.c (first
/// and second), sound/usb/mixer_scarlett2.c (third and fourth).
const SCARLETT_2I2: [(&str, &str); 5] = [
    ("8006", "Scarlett 2i2 1st Gen"),
    ("8016", "Scarlett 2i2 1st Gen"),
    ("8202", "Scarlett 2i2 2nd Gen"),
    ("8210", "Scarlett 2i2 3rd Gen"),
    ("8219", "Scarlett 2i2 4th Gen"),
];

/// Focusrite's vendor id.
const FOCUSRITE: &str = "1235";

/// The server's priority; its clients get five less, which is `realtime::CARD`.
const PRIORITY: u8 = 75;

/// A USB sound card that can play.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Card {
    /// Its number in ALSA.
    number: u8,
    /// Vendor and product, `1235:8219`.
    id: String,
    /// What it calls itself, or what we know it as.
    name: String,
    /// Whether it is a 2i2.
    known: bool,
    /// Whether it has inputs.
    records: bool,
}

/// Becomes the JACK server, or with `print` only says what it would be.
///
/// # Errors
/// There is no sound card, or jackd cannot be started.
pub fn run(root: &Root, print: bool) -> anyhow::Result<()> {
    let card = best(cards(root)).context("there is no USB sound card: plug one in")?;
    let jack = Config::read(&root.at(BOX).join(settings::NAME)).map(|config| config.jack).unwrap_or_default();
    let arguments = arguments(&card, &jack);
    let inputs = if card.records { "" } else { ", without inputs" };
    tracing::info!("sound card: {} ({}), hw:{}{inputs}", card.name, card.id, card.number);
    if print {
        println!("jackd {}", arguments.join(" "));
        return Ok(());
    }
    Err(Command::new("jackd").args(arguments).exec()).context("jackd cannot be started")
}

/// Whether there is a card to play on.
pub fn is_plugged(root: &Root) -> bool {
    best(cards(root)).is_some()
}

/// On a box, where the JACK server comes and goes with the card: what a person there can do while there is none.
pub fn missing(root: &Root) -> Option<String> {
    let name = best(cards(root)).map(|card| card.name);
    root.at(BOX).exists().then(|| match name {
        None => "no card: plug the sound card in".to_owned(),
        Some(name) => format!("{name} is about to play; if that takes long, unplug it and plug it in again"),
    })
}

/// A 2i2 before others, then one with inputs, then the first.
fn best(mut cards: Vec<Card>) -> Option<Card> {
    cards.sort_by_key(|card| (!card.known, !card.records, card.number));
    cards.into_iter().next()
}

/// `-S` saves a period of delay; the box needs no server whose clients may lag (jackd(1)).
fn arguments(card: &Card, jack: &Jack) -> Vec<String> {
    let device = format!("hw:{}", card.number);
    let numbers = [PRIORITY.to_string(), jack.period.to_string(), jack.periods.to_string()];
    let mut words = vec!["-R", "-P", &numbers[0], "-S"];
    if let Some(server) = &jack.server {
        words.extend(["-n", server]);
    }
    words.extend(["-d", "alsa", "-d", &device, "-r", "48000", "-p", &numbers[1], "-n", &numbers[2]]);
    if !card.records {
        words.push("-P");
    }
    words.into_iter().map(str::to_owned).collect()
}

/// All USB sound cards that can play.
fn cards(root: &Root) -> Vec<Card> {
    let Ok(folder) = std::fs::read_dir(root.at("sys/class/sound")) else { return Vec::new() };
    let numbers = folder.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.strip_prefix("card")?.parse::<u8>().ok()
    });
    numbers.filter_map(|number| card(root, number)).collect()
}

fn card(root: &Root, number: u8) -> Option<Card> {
    let here = format!("sys/class/sound/card{number}");
    let has = |pcm: &str| {
        let devices = std::fs::read_dir(root.at(&here)).into_iter().flatten().filter_map(Result::ok);
        devices.map(|entry| entry.file_name()).any(|name| {
            let name = name.to_string_lossy().into_owned();
            name.starts_with(&format!("pcmC{number}D")) && name.ends_with(pcm)
        })
    };
    // The card's device is an interface; the USB device is above it.
    let usb = |file: &str| root.line(&format!("{here}/device/../{file}"));
    let (vendor, product) = (usb("idVendor")?, usb("idProduct")?);
    let known = SCARLETT_2I2.iter().find(|(id, _)| vendor == FOCUSRITE && product == *id);
    let name = known.map(|(_, name)| (*name).to_owned()).or_else(|| usb("product"));
    has("p").then(|| Card {
        number,
        id: format!("{vendor}:{product}"),
        name: name.unwrap_or_else(|| "a card without a name".to_owned()),
        known: known.is_some(),
        records: has("c"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Plugs a card into a root as the kernel shows it.
    fn plug(root: &Root, number: u8, vendor: &str, product: &str, pcms: &[&str]) {
        let device = root.at(&format!("sys/devices/usb/1-1.{number}"));
        let card = device.join(format!("1-1.{number}:1.0/sound/card{number}"));
        fs::create_dir_all(&card).unwrap();
        for (file, text) in [("idVendor", vendor), ("idProduct", product), ("product", "USB Audio")] {
            fs::write(device.join(file), format!("{text}\n")).unwrap();
        }
        for pcm in pcms {
            fs::create_dir(card.join(format!("pcmC{number}D{pcm}"))).unwrap();
        }
        std::os::unix::fs::symlink("../..", card.join("device")).unwrap();
        fs::create_dir_all(root.at("sys/class/sound")).unwrap();
        let target = format!("../../devices/usb/1-1.{number}/1-1.{number}:1.0/sound/card{number}");
        std::os::unix::fs::symlink(target, root.at(&format!("sys/class/sound/card{number}"))).unwrap();
    }

    #[test]
    fn the_2i2_goes_before_others_and_inputs_before_none() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root(folder.path().to_owned());
        assert_eq!(best(cards(&root)), None);
        fs::create_dir_all(root.at("sys/class/sound/card0/pcmC0D0p")).unwrap(); // on the board, no USB
        plug(&root, 4, "1235", "8219", &["0c"]); // cannot play
        assert_eq!(best(cards(&root)), None);
        plug(&root, 1, "46f4", "0002", &["0p"]);
        let card = best(cards(&root)).unwrap();
        assert_eq!((card.number, card.id.as_str(), card.records), (1, "46f4:0002", false));
        plug(&root, 3, "0582", "0123", &["0p", "0c"]);
        assert_eq!(best(cards(&root)).unwrap().number, 3);
        plug(&root, 5, "1235", "8202", &["0p", "0c"]);
        let card = best(cards(&root)).unwrap();
        assert_eq!((card.number, card.name.as_str(), card.known), (5, "Scarlett 2i2 2nd Gen", true));
    }

    #[test]
    fn on_a_box_a_person_is_told_to_plug_the_card_in() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root(folder.path().to_owned());
        assert_eq!(missing(&root), None); // no box: somebody starts JACK by hand
        fs::create_dir_all(root.at(BOX)).unwrap();
        assert_eq!(missing(&root).unwrap(), "no card: plug the sound card in");
        plug(&root, 1, "1235", "8219", &["0p", "0c"]);
        assert!(missing(&root).unwrap().starts_with("Scarlett 2i2 4th Gen is about to play"));
    }

    #[test]
    fn udev_knows_the_same_2i2s() {
        let rules = include_str!("../../../../overlays/rootfs/usr/lib/udev/rules.d/90-matriz.rules");
        let ids = SCARLETT_2I2.map(|(product, _)| product).join("|");
        let known = format!("idVendor}}==\"{FOCUSRITE}\"");
        let named = format!("idProduct}}==\"{ids}\"");
        assert_eq!((rules.matches(&known).count(), rules.matches(&named).count()), (2, 2));
    }

    #[test]
    fn the_server_is_as_the_settings_say() {
        let card = |records| Card { number: 2, id: String::new(), name: String::new(), known: true, records };
        let said = arguments(&card(true), &Jack::default()).join(" ");
        assert_eq!(said, "-R -P 75 -S -d alsa -d hw:2 -r 48000 -p 120 -n 3");
        let jack = Jack { server: Some("box".to_owned()), period: 64, periods: 2, ..Jack::default() };
        let said = arguments(&card(false), &jack).join(" ");
        assert_eq!(said, "-R -P 75 -S -n box -d alsa -d hw:2 -r 48000 -p 64 -n 2 -P");
    }

    #[test]
    fn clients_get_the_priority_of_the_card() {
        assert_eq!(i32::from(PRIORITY) - 5, crate::realtime::CARD); // JackEngineControl.h of jack2
    }
}
