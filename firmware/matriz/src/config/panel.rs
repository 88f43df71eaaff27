//! Table `panel`: where the parts of the front panel are connected.
//!
//! The defaults are the wiring of docs/hardware.md; a test compares the two. Pins are numbered as the processor does
//! (BCM), not as the plug.

use serde::Deserialize;
use std::path::Path;

/// Settings of the front panel, table `[panel]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Panel {
    /// Whether there is one; if absent, a Raspberry Pi has one and nobody else.
    pub enabled: Option<bool>,
    /// The chip of the display.
    pub chip: Chip,
    /// The display's address on the I2C bus.
    pub address: Address,
    /// Number of that bus: `/dev/i2c-1` is 1.
    pub bus: u8,
    /// The display is mounted upside down.
    pub rotated: bool,
    /// Pin of the button mute.
    pub mute: u8,
    /// Pin of the button volume down.
    pub volume_down: u8,
    /// Pin of the button volume up.
    pub volume_up: u8,
    /// Pin of the button page.
    pub page: u8,
    /// Pin of the lamp health.
    pub health: u8,
    /// Pin of the lamp session.
    pub session: u8,
    /// Pin of the lamp signal.
    pub signal: u8,
    /// Pin of the lamp trouble.
    pub trouble: u8,
}

/// Chips of displays with 128 x 64 points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chip {
    /// Also the SSD1309 of larger displays, which knows the same commands.
    #[default]
    Ssd1306,
    /// Has memory for 132 columns, of which the display shows those from the third on.
    Sh1106,
}

/// The two addresses that such a chip can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Address {
    /// As most displays are made.
    #[default]
    #[serde(rename = "0x3c")]
    Usual,
    /// With the address resistor moved.
    #[serde(rename = "0x3d")]
    Other,
}

impl Address {
    /// As it goes over the bus.
    pub fn number(self) -> u8 {
        match self {
            Address::Usual => 0x3c,
            Address::Other => 0x3d,
        }
    }
}

impl Default for Panel {
    fn default() -> Self {
        Panel {
            enabled: None,
            chip: Chip::default(),
            address: Address::default(),
            bus: 1,
            rotated: false,
            mute: 5,
            volume_down: 6,
            volume_up: 13,
            page: 26,
            health: 22,
            session: 23,
            signal: 24,
            trouble: 25,
        }
    }
}

impl Panel {
    /// Whether this computer has a front panel.
    pub fn is_there(&self) -> bool {
        self.enabled.unwrap_or_else(|| is_pi(Path::new("/proc/device-tree/model")))
    }

    /// The buttons' and the lamps' pins with their keys.
    pub fn pins(&self) -> [(&'static str, u8); 8] {
        [
            ("mute", self.mute),
            ("volume_down", self.volume_down),
            ("volume_up", self.volume_up),
            ("page", self.page),
            ("health", self.health),
            ("session", self.session),
            ("signal", self.signal),
            ("trouble", self.trouble),
        ]
    }

    /// The keys of two parts on one pin, if there are such.
    pub fn clash(&self) -> Option<(&'static str, &'static str, u8)> {
        let pins = self.pins();
        let pairs = (0..pins.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
        pairs
            .map(|(first, second)| (pins[first], pins[second]))
            .find_map(|((one, pin), (other, same))| (pin == same).then_some((one, other, pin)))
    }
}

/// Whether the computer's own description says that it is a Raspberry Pi.
fn is_pi(model: &Path) -> bool {
    std::fs::read(model).is_ok_and(|model| model.starts_with(b"Raspberry Pi"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pi_has_a_panel_unless_it_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        assert!(!is_pi(&model));
        std::fs::write(&model, b"Raspberry Pi 2 Model B Rev 1.1\0").unwrap();
        assert!(is_pi(&model));
        std::fs::write(&model, b"ACME Board\0").unwrap();
        assert!(!is_pi(&model));
        assert!(Panel { enabled: Some(true), ..Panel::default() }.is_there());
        assert!(!Panel { enabled: Some(false), ..Panel::default() }.is_there());
    }

    #[test]
    fn two_parts_on_one_pin_are_found() {
        assert_eq!(Panel::default().clash(), None);
        let panel = Panel { trouble: 13, ..Panel::default() };
        assert_eq!(panel.clash(), Some(("volume_up", "trouble", 13)));
    }

    /// The table and the drawing of docs/hardware.md say what the defaults are.
    #[test]
    fn the_wiring_is_the_one_that_is_described() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let text = std::fs::read_to_string(docs.join("hardware.md")).unwrap();
        let drawing = std::fs::read_to_string(docs.join("pictures/wiring.svg")).unwrap();
        let mut described = Vec::new();
        for (key, pin) in Panel::default().pins() {
            let plug = plug_of(pin);
            let row = format!("`{key}` | GPIO {pin} | {plug} |");
            assert!(text.contains(&row), "docs/hardware.md has no row with {row}");
            let wire = format!("data-key=\"{key}\" data-gpio=\"{pin}\" data-pin=\"{plug}\"");
            assert!(drawing.contains(&wire), "wiring.svg has no wire with {wire}");
            described.push(plug);
        }
        assert_eq!(drawing.matches("data-gpio=").count(), described.len() + 2, "and no other but the bus's");
        for (key, pin) in [("sda", 2), ("scl", 3)] {
            let plug = plug_of(pin);
            assert!(text.contains(&format!("| GPIO {pin} | {plug} |")), "docs/hardware.md: {key}");
            let wire = format!("data-key=\"{key}\" data-gpio=\"{pin}\" data-pin=\"{plug}\"");
            assert!(drawing.contains(&wire), "wiring.svg: {key}");
        }
        assert!(text.contains("`0x3c`") && text.contains("`ssd1306`") && text.contains("`/dev/i2c-1`"));
    }

    /// The pin of the 40-pin plug for a pin of the processor (Raspberry Pi 2 schematics, J8).
    fn plug_of(gpio: u8) -> u8 {
        let all = [
            (2, 3),
            (3, 5),
            (4, 7),
            (5, 29),
            (6, 31),
            (7, 26),
            (8, 24),
            (9, 21),
            (10, 19),
            (11, 23),
            (12, 32),
            (13, 33),
            (14, 8),
            (15, 10),
            (16, 36),
            (17, 11),
            (18, 12),
            (19, 35),
            (20, 38),
            (21, 40),
            (22, 15),
            (23, 16),
            (24, 18),
            (25, 22),
            (26, 37),
            (27, 13),
        ];
        all.into_iter().find(|(pin, _)| *pin == gpio).map(|(_, plug)| plug).expect("a pin of the plug")
    }
}
