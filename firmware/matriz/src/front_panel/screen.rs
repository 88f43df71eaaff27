//! The display: sends what has changed of a picture, and nothing else.
//!
//! Uses the addressing by pages that SSD1306, SSD1309 and SH1106 share (SSD1306 datasheet rev 1.1, section 10.1.3;
//! SH1106 datasheet v2.3, commands 1, 2 and 13): a page of eight lines, a first column, bytes. So one path serves all;
//! an SH1106 has 132 columns of memory and shows those from the third on. The crate `ssd1306` knows the commands.

use crate::config::{Chip, Panel as Settings};
use ::panel::{Brightness, Picture};
use embedded_hal::i2c::I2c;
use ssd1306::command::AddrMode;
use ssd1306::mode::BasicMode;
use ssd1306::prelude::{Brightness as Contrast, DisplayRotation, DisplaySize128x64, I2CInterface};
use ssd1306::{I2CDisplayInterface, Ssd1306};

/// How bright the display is when nobody looks: the least that the chip can do.
const DIM: Contrast = Contrast::DIMMEST;
const FULL: Contrast = Contrast::BRIGHT;

/// A display that has answered.
pub struct Screen<B> {
    display: Ssd1306<I2CInterface<B>, DisplaySize128x64, BasicMode>,
    /// The display's first column in the chip's memory.
    first: u8,
    /// What it shows; nothing is known of it at the start.
    shown: Option<Picture>,
    brightness: Option<Brightness>,
    /// The address and the bus, for a person.
    place: String,
}

impl<B: I2c> Screen<B> {
    /// Tells the display on `bus` what it is.
    ///
    /// # Errors
    /// It does not answer: a sentence.
    pub fn start(bus: B, settings: &Settings) -> Result<Screen<B>, String> {
        let address = settings.address.number();
        let interface = I2CDisplayInterface::new_custom_address(bus, address);
        let rotation = if settings.rotated { DisplayRotation::Rotate180 } else { DisplayRotation::Rotate0 };
        let mut screen = Screen {
            display: Ssd1306::new(interface, DisplaySize128x64, rotation),
            first: match settings.chip {
                Chip::Ssd1306 => 0,
                Chip::Sh1106 => 2,
            },
            shown: None,
            brightness: None,
            place: format!("nothing answers at {address:#04x} on /dev/i2c-{}", settings.bus),
        };
        screen.restart()?;
        Ok(screen)
    }

    /// Tells it everything from the beginning; the next picture is sent whole.
    pub fn restart(&mut self) -> Result<(), String> {
        (self.shown, self.brightness) = (None, None);
        self.display.init_with_addr_mode(AddrMode::Page).map_err(|_| self.place.clone())
    }

    /// Shows `picture`: of each page of the memory that differs, the bytes from the first that does to the last.
    ///
    /// # Errors
    /// The display does not answer any more: a sentence.
    pub fn show(&mut self, picture: &Picture, brightness: Brightness) -> Result<(), String> {
        if self.brightness != Some(brightness) {
            let contrast = match brightness {
                Brightness::Full => FULL,
                Brightness::Dim => DIM,
            };
            self.display.set_brightness(contrast).map_err(|_| self.place.clone())?;
            self.brightness = Some(brightness);
        }
        // Half a picture is on the display if this fails; it is sent whole after the restart.
        let shown = self.shown.take();
        for (n, page) in (0..).zip(picture.pages()) {
            let before = shown.as_ref().map(|shown| &shown.pages()[usize::from(n)]);
            let differs = |column: &usize| before.is_none_or(|before| before[*column] != page[*column]);
            let mut columns = (0..page.len()).filter(differs);
            let Some(first) = columns.next() else { continue };
            let last = columns.next_back().unwrap_or(first);
            self.send(n, first, &page[first..=last]).map_err(|_| self.place.clone())?;
        }
        self.shown = Some(picture.clone());
        Ok(())
    }

    /// The picture that it shows, if that is known.
    #[cfg(test)]
    pub fn shown(&self) -> Option<&Picture> {
        self.shown.as_ref()
    }

    /// Dark, before the program ends. Whoever cannot be reached is dark, or stays as it is.
    pub fn darken(&mut self) {
        let _ = self.display.set_display_on(false);
    }

    fn send(&mut self, page: u8, column: usize, bytes: &[u8]) -> Result<(), display_interface::DisplayError> {
        self.display.set_row(page * 8)?;
        self.display.set_column(self.first + column as u8)?;
        self.display.draw(bytes)
    }
}
