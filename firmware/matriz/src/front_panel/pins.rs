//! The parts of a Raspberry Pi, by `rppal`: pins with interrupts, lamps, and the I2C bus.
//!
//! Buttons connect their pin to ground and are pulled up inside of the processor, so that nothing but wire is needed;
//! lamps are lit by a high level. The kernel stamps each edge, so a press that falls into the writing of a picture is
//! seen with its true length.

use super::{Chip, Edge, Wiring};
use crate::config::Panel as Settings;
use ::panel::{Button, LAMPS};
use nix::time::{ClockId, clock_gettime};
use rppal::gpio::{Gpio, InputPin, OutputPin, Trigger};
use rppal::i2c::I2c;
use std::time::Duration;

/// How long a display may hold up the bus, in the kernel's unit of 10 ms. Long, but less than a service has for its end:
/// the interrupt of a transfer that was given up and comes after all brings Linux 6.12 down (`bcm2835_i2c_isr` uses the
/// message that is gone; seen in the emulator). A display that is unplugged does not answer, which is told at once.
const BUS_PATIENCE: u32 = 300;

/// The plug of a Raspberry Pi.
pub struct Pi;

/// Its pins.
pub struct Pins {
    gpio: Gpio,
    buttons: [InputPin; Button::ALL.len()],
    lamps: [OutputPin; LAMPS.len()],
}

impl Wiring for Pi {
    type Bus = I2c;
    type Chip = Pins;

    fn bus(&mut self, settings: &Settings) -> Result<I2c, String> {
        let place = || format!("/dev/i2c-{}", settings.bus);
        let bus = I2c::with_bus(settings.bus)
            .map_err(|error| format!("{} cannot be opened ({error}), is I2C switched on", place()))?;
        bus.set_timeout(BUS_PATIENCE).map_err(|error| format!("{}: {error}", place()))?;
        Ok(bus)
    }

    fn chip(&mut self, settings: &Settings) -> Result<Pins, String> {
        let sentence = |error: rppal::gpio::Error| error.to_string();
        let gpio = Gpio::new().map_err(sentence)?;
        let [mute, down, up, page, lamps @ ..] = settings.pins().map(|(_, pin)| pin);
        let button = |pin: u8| {
            let mut pin = gpio.get(pin)?.into_input_pullup();
            pin.set_interrupt(Trigger::Both, None)?;
            Ok(pin)
        };
        let lamp = |pin: u8| Ok(gpio.get(pin)?.into_output_low());
        let buttons = [button(mute), button(down), button(up), button(page)];
        let lamps = lamps.map(lamp);
        Ok(Pins {
            buttons: all(buttons).map_err(sentence)?,
            lamps: all(lamps).map_err(sentence)?,
            gpio: gpio.clone(),
        })
    }

    fn pause(&mut self, longest: Duration) {
        std::thread::sleep(longest);
    }
}

/// All of them, or the first error.
fn all<T, const N: usize>(parts: [Result<T, rppal::gpio::Error>; N]) -> Result<[T; N], rppal::gpio::Error> {
    let parts = parts.into_iter().collect::<Result<Vec<T>, _>>()?;
    Ok(parts.try_into().ok().expect("as many as there were"))
}

impl Chip for Pins {
    fn wait(&mut self, longest: Duration) -> Result<Option<Edge>, String> {
        let pins = self.buttons.each_ref();
        let changed =
            self.gpio.poll_interrupts(&pins, false, Some(longest)).map_err(|error| error.to_string())?;
        let Some((pin, event)) = changed else { return Ok(None) };
        let button = Button::ALL.into_iter().zip(&self.buttons).find(|(_, own)| own.pin() == pin.pin());
        let Some((button, _)) = button else { return Ok(None) };
        Ok(Some(Edge { button, down: event.trigger == Trigger::FallingEdge, ago: ago(event.timestamp) }))
    }

    fn is_down(&self, button: Button) -> bool {
        self.buttons[button as usize].is_low()
    }

    fn light(&mut self, lit: [bool; LAMPS.len()]) {
        for (lamp, lit) in self.lamps.iter_mut().zip(lit) {
            lamp.write(if lit { rppal::gpio::Level::High } else { rppal::gpio::Level::Low });
        }
    }
}

/// How long ago the kernel saw something. Kernels before 5.7 stamp with another clock: then it was just now.
fn ago(stamp: Duration) -> Duration {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    now.checked_sub(stamp).filter(|ago| *ago < Duration::from_secs(1)).unwrap_or(Duration::ZERO)
}
