//! The computer that the box is, as its status shows it: version, system, address, temperature, sound card.
//!
//! Read from the kernel's files below a root (`/`, or a test's folder), and seldom: nothing here is urgent.
//! [`crate::people`] asks; the doctor (`cli/doctor.rs`) looks at more of the same files.

use crate::system;
use proto::control::Machine;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often its files are read.
const EVERY: Duration = Duration::from_secs(5);

/// The longest of the kernel's files that is read.
const LONGEST: u64 = 1 << 16;

/// Kinds of a processor's sensor as the kernel names them, the best first; else any will do.
const PROCESSOR: [&str; 4] = ["cpu", "soc", "x86_pkg", "coretemp"];

/// Keeps what there is to say of the computer.
pub struct Computer {
    root: PathBuf,
    machine: Machine,
    read: Option<Instant>,
}

impl Computer {
    /// A computer whose files are below `root`, and that offers these addresses to others.
    pub fn new(root: &Path, media: &[SocketAddr]) -> Self {
        let address = media.iter().map(SocketAddr::ip).find(|ip| !ip.is_loopback());
        let machine = Machine {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: address.map(|ip| ip.to_string()),
            ..Machine::default()
        };
        Computer { root: root.to_owned(), machine, read: None }
    }

    /// What is to be said of it now.
    pub fn machine(&mut self) -> Machine {
        if self.read.is_none_or(|read| read.elapsed() >= EVERY) {
            self.read = Some(Instant::now());
            self.machine.celsius = celsius(&self.root);
            self.machine.system =
                text(&self.root, system::FACTS).and_then(|text| serde_json::from_str(&text).ok());
            self.machine.update = system::update_progress(&self.root);
        }
        self.machine.clone()
    }
}

/// The kernel's text at a path below `root`, without the blanks at its ends; `None` if it is not there.
pub fn text(root: &Path, path: &str) -> Option<String> {
    use std::io::Read;
    let file = std::fs::File::open(root.join(path)).ok()?;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Names in a folder below `root`, sorted.
pub fn names(root: &Path, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The processor's temperature in degrees Celsius.
fn celsius(root: &Path) -> Option<f32> {
    let folder = "sys/class/thermal";
    let zones: Vec<String> =
        names(root, folder).into_iter().filter(|name| name.starts_with("thermal_zone")).collect();
    let rank = |zone: &&String| {
        let kind = text(root, &format!("{folder}/{zone}/type")).unwrap_or_default().to_lowercase();
        PROCESSOR.iter().position(|known| kind.starts_with(known)).unwrap_or(PROCESSOR.len())
    };
    let zone = zones.iter().min_by_key(rank)?;
    let thousandths: f32 = text(root, &format!("{folder}/{zone}/temp"))?.parse().ok()?;
    Some(thousandths / 1_000.0)
}

/// A sound card as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoundCard {
    /// Its number, as in `hw:1`.
    pub number: u32,
    /// Its driver, such as `USB-Audio`.
    pub driver: String,
    /// Its name, such as `Scarlett 2i2 USB`.
    pub name: String,
}

/// The sound cards of the computer (`/proc/asound/cards`).
pub fn sound_cards(root: &Path) -> Vec<SoundCard> {
    let list = text(root, "proc/asound/cards").unwrap_or_default();
    let card = |line: &str| {
        // ` 1 [USB            ]: USB-Audio - Scarlett 2i2 USB`
        let (number, rest) = line.split_once('[')?;
        let (driver, name) = rest.split_once("]:")?.1.split_once(" - ")?;
        let number = number.trim().parse().ok()?;
        Some(SoundCard { number, driver: driver.trim().to_owned(), name: name.trim().to_owned() })
    };
    list.lines().filter_map(card).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn the_processors_temperature_is_shown_where_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let media = ["127.0.0.1:8600", "192.168.1.20:8600"].map(|text| text.parse().unwrap());
        let machine = Computer::new(root, &media).machine();
        assert_eq!((machine.celsius, machine.address.as_deref()), (None, Some("192.168.1.20")));
        for (zone, kind, temp) in [(0, "acpitz", "20000\n"), (1, "cpu-thermal", "48312\n"), (2, "gpu", "x")] {
            file(root, &format!("sys/class/thermal/thermal_zone{zone}/type"), kind);
            file(root, &format!("sys/class/thermal/thermal_zone{zone}/temp"), temp);
        }
        assert_eq!(Computer::new(root, &[]).machine().celsius, Some(48.312));
    }

    #[test]
    fn the_system_is_shown_on_a_box_and_its_trial_as_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let mut computer = Computer::new(folder.path(), &[]);
        assert_eq!(computer.machine().system, None);
        let facts = r#"{"slot":"B","version":"1.1.0","pending":"on trial, else back to 1.0.0"}"#;
        file(folder.path(), system::FACTS, facts);
        computer.read = None; // the five seconds are over
        let system = computer.machine().system.unwrap();
        assert_eq!((system.slot.as_str(), system.version.as_str(), system.failed), ("B", "1.1.0", None));
        assert_eq!(system.pending.as_deref(), Some("on trial, else back to 1.0.0"));
        file(folder.path(), system::FACTS, "{\"slot\":");
        computer.read = None;
        assert_eq!(computer.machine().system, None);
    }

    #[test]
    fn an_update_that_is_under_way_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Computer::new(folder.path(), &[]).machine().update, None);
        file(folder.path(), "run/matriz-system/update", "installing 40 %\n");
        assert_eq!(Computer::new(folder.path(), &[]).machine().update.as_deref(), Some("installing 40 %"));
    }

    #[test]
    fn sound_cards_are_read_as_the_kernel_lists_them() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(sound_cards(folder.path()), []);
        let list = " 0 [Headphones     ]: bcm2835_headpho - bcm2835 Headphones\n                      bcm2835 \
                    Headphones\n 1 [USB            ]: USB-Audio - Scarlett 2i2 USB\n                      Focusrite \
                    Scarlett 2i2 USB at usb-3f980000.usb-1.2, high speed\n";
        file(folder.path(), "proc/asound/cards", list);
        let cards = sound_cards(folder.path());
        let scarlett =
            SoundCard { number: 1, driver: "USB-Audio".to_owned(), name: "Scarlett 2i2 USB".to_owned() };
        assert_eq!((cards.len(), &cards[1]), (2, &scarlett));
        file(folder.path(), "proc/asound/cards", "--- no soundcards ---\n");
        assert_eq!(sound_cards(folder.path()), []);
    }
}
