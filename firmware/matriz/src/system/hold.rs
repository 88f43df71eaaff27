//! Both volume buttons held while the box is switched on: the wish for a factory reset, without a computer.
//!
//! After it comes `data`, which carries it out. They must be down at the first look, or the start goes on at once;
//! then for three seconds, after which all lamps are lit; then they must be let go of. That is asked for because a
//! recording is worth more than a reset: a wire that touches ground, or another device on these pins, never lets
//! go. For the same reason the other two buttons must be up: QEMU's pins read as if all were down. A contact bounces
//! (see `panel`'s `buttons`), so what lasts less than 50 ms is not believed.

use crate::config::Panel;
use crate::front_panel::Chip;
use ::panel::{Button, LAMPS};
use proto::units::Time;
use std::time::Duration;

/// How long they must be held.
const LONG: Duration = Duration::from_secs(3);

/// Who has not let go by then is no finger.
const STUCK: Duration = Duration::from_secs(30);

/// What lasts less is a contact that bounces.
const BOUNCE: Duration = Duration::from_millis(50);

/// Between two looks.
const STEP: Duration = Duration::from_millis(10);

/// What the buttons have said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing, or not for long enough.
    None,
    /// A factory reset.
    Reset,
    /// They were not let go of.
    Stuck,
}

/// What four buttons do at one moment, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Both,
    LetGo,
    Another,
}

/// A press of both volume buttons that began before the first look.
struct Hold {
    began: Time,
    /// What is believed, what was seen last, and since when.
    believed: Look,
    seen: (Look, Time),
}

/// What the buttons of this box say, if its `settings` have any; `take` takes the pins. Takes no time unless both volume
/// buttons are down at the first look, and then half a minute at most. Pins that cannot be taken or read say nothing.
pub fn wish<C: Chip>(
    settings: &Panel,
    take: impl FnOnce(&Panel) -> Result<C, String>,
    now: &dyn Fn() -> Time,
) -> Wish {
    if !settings.is_there() {
        return Wish::None;
    }
    let asked = take(settings).and_then(|mut chip| ask(&mut chip, now));
    asked.unwrap_or_else(|why| {
        tracing::info!(
            "the front panel's buttons could not be asked whether a factory reset is wished: {why}"
        );
        Wish::None
    })
}

fn ask(chip: &mut impl Chip, now: &dyn Fn() -> Time) -> Result<Wish, String> {
    let Some(mut hold) = Hold::begin(now(), levels(chip)) else { return Ok(Wish::None) };
    tracing::info!("both volume buttons are down");
    let mut lit = false;
    loop {
        chip.wait(STEP)?;
        let at = now();
        if let Some(wish) = hold.handle(at, levels(chip)) {
            chip.light([false; LAMPS.len()]);
            return Ok(wish);
        }
        if !lit && hold.is_long(at) {
            lit = true;
            chip.light([true; LAMPS.len()]);
        }
    }
}

fn levels(chip: &impl Chip) -> [bool; Button::ALL.len()] {
    Button::ALL.map(|button| chip.is_down(button))
}

impl Hold {
    /// Begins, if exactly both volume buttons are down.
    fn begin(now: Time, down: [bool; Button::ALL.len()]) -> Option<Hold> {
        let look = look(down);
        (look == Look::Both).then_some(Hold { began: now, believed: look, seen: (look, now) })
    }

    /// They have been down for long enough.
    fn is_long(&self, now: Time) -> bool {
        now.since(self.began) >= LONG
    }

    /// Takes in a look; says what was wished once that is clear.
    fn handle(&mut self, now: Time, down: [bool; Button::ALL.len()]) -> Option<Wish> {
        let look = look(down);
        if look != self.seen.0 {
            self.seen = (look, now);
        }
        let (seen, since) = self.seen;
        if now.since(since) >= BOUNCE {
            self.believed = seen;
        }
        match self.believed {
            Look::Both if now.since(self.began) >= STUCK => Some(Wish::Stuck),
            Look::Both => None,
            Look::LetGo if since.since(self.began) >= LONG => Some(Wish::Reset),
            Look::LetGo | Look::Another => Some(Wish::None),
        }
    }
}

fn look([mute, softer, louder, page]: [bool; Button::ALL.len()]) -> Look {
    match (softer && louder, mute || page) {
        (_, true) => Look::Another,
        (true, false) => Look::Both,
        (false, false) => Look::LetGo,
    }
}

#[cfg(test)]
mod tests;
