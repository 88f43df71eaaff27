//! The front panel's parts: display, buttons and lamps, on an ordinary thread.
//!
//! The crate `panel` says what is shown and what a press means; here are the wires. The newest status comes in
//! through a cell that nobody waits for, wishes go out by a queue. What is missing, unplugged or wrongly wired costs
//! a line of the log: it is looked for again every few seconds, and the music knows nothing of it.

mod cells;
mod inset;
mod pins;
mod screen;
mod source;
mod terminal;
#[cfg(test)]
mod tests;

use cells::Cells;
pub use inset::Inset;
pub use pins::Pi;
pub use terminal::{Options, show};

use crate::clock;
use crate::config::Panel as Settings;
use crate::door::Door;
use ::panel::{Button, LAMPS, Panel};
use embedded_hal::i2c::I2c;
use proto::control::{Command, Status};
use proto::units::Time;
use screen::Screen;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// At most fifteen pictures a second: more is not seen, and the bus has other things to do.
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 15);

/// How often a part that is missing is looked for.
const RETRY: Duration = Duration::from_secs(2);

/// How often the display is told everything again: one that was without power for a moment comes back by this.
const REFRESH: Duration = Duration::from_secs(30);

/// A button that was never up until then is wrongly wired.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// Where the parts come from: a Raspberry Pi, or a test.
pub trait Wiring {
    /// The bus on which the display is.
    type Bus: I2c;
    /// What drives buttons and lamps.
    type Chip: Chip;
    /// Opens the bus.
    fn bus(&mut self, settings: &Settings) -> Result<Self::Bus, String>;
    /// Takes the pins, buttons pulled up.
    fn chip(&mut self, settings: &Settings) -> Result<Self::Chip, String>;
    /// Lets time pass while there is no chip to wait for.
    fn pause(&mut self, longest: Duration);
}

/// The pins of the buttons and the lamps.
pub trait Chip {
    /// Waits for a change of a button, at most so long.
    fn wait(&mut self, longest: Duration) -> Result<Option<Edge>, String>;
    /// Whether a button's contact is closed now.
    fn is_down(&self, button: Button) -> bool;
    /// Lights the lamps, in the order of [`LAMPS`], or darkens them.
    fn light(&mut self, lit: [bool; LAMPS.len()]);
}

/// A change that the chip has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// Of which button.
    pub button: Button,
    /// The contact has closed.
    pub down: bool,
    /// How long ago.
    pub ago: Duration,
}

/// The running panel; it goes dark when dropped.
struct FrontPanel {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    status: Mutex<Option<Arc<Status>>>,
    over: AtomicBool,
}

/// Runs the front panel of a box until it ends, if this computer has one: statuses come through the door, and wishes
/// go in by it. To be spawned; goes dark when given up.
pub async fn attend(settings: Settings, mut door: Door) {
    let (wish, mut wishes) = mpsc::channel(16);
    let Some(front_panel) = FrontPanel::start(&settings, wish) else { return };
    let wishing = door.clone();
    let carry = async {
        while let Some(command) = wishes.recv().await {
            if let Err(why) = wishing.wish(command).await {
                tracing::warn!("a press on the front panel is not carried out: {why}");
            }
        }
    };
    let look = async {
        while door.changed().await {
            front_panel.show(door.status());
        }
    };
    tokio::select! {
        () = carry => {}
        () = look => {}
    }
}

impl FrontPanel {
    /// Starts it, if this computer has one. Wishes go to `wishes`; one that finds it full is lost, as a press is on
    /// a box that does not answer.
    fn start(settings: &Settings, wishes: mpsc::Sender<Command>) -> Option<FrontPanel> {
        if !settings.is_there() {
            return None;
        }
        let shared = Arc::new(Shared::default());
        let (settings, inner) = (settings.clone(), Arc::clone(&shared));
        let run = move || run(Works::new(Pi, settings, clock::now()), &inner, &wishes);
        match std::thread::Builder::new().name("panel".to_owned()).spawn(run) {
            Ok(thread) => Some(FrontPanel { shared, thread: Some(thread) }),
            Err(error) => {
                tracing::warn!("no thread for the front panel ({error}); the box plays without it");
                None
            }
        }
    }

    /// The box is like this now.
    fn show(&self, status: Arc<Status>) {
        *self.shared.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }
}

impl Drop for FrontPanel {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // It looks at `over` after each frame. What it died of was printed where it happened.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(mut works: Works<Pi>, shared: &Shared, wishes: &mpsc::Sender<Command>) {
    while !shared.over.load(Ordering::Relaxed) {
        works.wait(&clock::now);
        let status = shared.status.lock().unwrap_or_else(PoisonError::into_inner).take();
        for wish in works.step(clock::now(), status.map(Arc::unwrap_or_clone)) {
            if wishes.try_send(wish).is_err() {
                tracing::debug!("nobody takes the front panel's wishes");
            }
        }
    }
    works.end();
}

/// The panel and its parts, as far as they are there.
struct Works<W: Wiring> {
    panel: Panel,
    wiring: W,
    settings: Settings,
    screen: Part<Screen<W::Bus>>,
    chip: Part<W::Chip>,
    started: Time,
    /// When the next picture is due.
    next: Time,
    /// When the display was told everything.
    refreshed: Time,
    lit: Option<[bool; LAMPS.len()]>,
    looked_for_stuck: bool,
}

/// A part that may be missing.
struct Part<T> {
    found: Option<T>,
    /// When it is looked for again.
    retry: Time,
    /// That it is missing was said.
    told: bool,
}

impl<T> Part<T> {
    fn new(now: Time) -> Part<T> {
        Part { found: None, retry: now, told: false }
    }

    /// Looks for it, if it is missing and time has come.
    fn look(&mut self, now: Time, what: &str, find: impl FnOnce() -> Result<T, String>) {
        if self.found.is_some() || now < self.retry {
            return;
        }
        match find() {
            Ok(part) => {
                if std::mem::take(&mut self.told) {
                    tracing::info!("the front panel has its {what} again");
                }
                self.found = Some(part);
            }
            Err(why) => self.lose(now, what, &why),
        }
    }

    /// It is gone, or was never there.
    fn lose(&mut self, now: Time, what: &str, why: &str) {
        self.found = None;
        self.retry = now + RETRY;
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!("the front panel has no {what}: {why}; the box plays without");
        }
    }
}

/// What the parts are called in the log.
const DISPLAY: &str = "display";
const PINS: &str = "buttons and lamps";

impl<W: Wiring> Works<W> {
    fn new(wiring: W, settings: Settings, now: Time) -> Works<W> {
        Works {
            panel: Panel::new(now),
            wiring,
            settings,
            screen: Part::new(now),
            chip: Part::new(now),
            started: now,
            next: now,
            refreshed: now,
            lit: None,
            looked_for_stuck: false,
        }
    }

    /// Waits for a button or until there is something to do.
    fn wait(&mut self, now: &dyn Fn() -> Time) {
        let deadline = self.panel.deadline().map_or(self.next, |deadline| deadline.min(self.next));
        let longest = deadline.since(now());
        let Some(chip) = &mut self.chip.found else { return self.wiring.pause(longest) };
        match chip.wait(longest) {
            Ok(Some(Edge { button, down, ago })) => self.panel.handle_level(now() - ago, button, down),
            Ok(None) => {
                // An edge that was lost is made good by the level itself.
                for button in Button::ALL {
                    self.panel.handle_level(now(), button, chip.is_down(button));
                }
            }
            Err(why) => self.chip.lose(now(), PINS, &why),
        }
    }

    /// Takes in the newest status, draws when it is time, and hands out what is wished.
    fn step(&mut self, now: Time, status: Option<Status>) -> Vec<Command> {
        if let Some(status) = status {
            self.panel.handle_status(now, status);
        }
        if now >= self.next {
            self.next = now + FRAME;
            self.find(now);
            self.draw(now);
            self.light(now);
        }
        std::iter::from_fn(|| self.panel.poll(now)).collect()
    }

    fn find(&mut self, now: Time) {
        let (wiring, settings) = (&mut self.wiring, &self.settings);
        let before = self.chip.found.is_some();
        self.chip.look(now, PINS, || wiring.chip(settings));
        if let (false, Some(chip)) = (before, &self.chip.found) {
            self.lit = None;
            for button in Button::ALL {
                self.panel.handle_level(now, button, chip.is_down(button));
            }
        }
        let before = self.screen.found.is_some();
        self.screen.look(now, DISPLAY, || Screen::start(wiring.bus(settings)?, settings));
        if !before {
            self.refreshed = now;
        }
        if !self.looked_for_stuck && self.chip.found.is_some() && now.since(self.started) >= STUCK_AFTER {
            self.looked_for_stuck = true;
            for (button, (key, pin)) in Button::ALL.into_iter().zip(self.settings.pins()) {
                if self.panel.is_down(button) {
                    tracing::warn!(
                        "the button \"{key}\" (GPIO {pin}) was never up; is its pin wired to ground?"
                    );
                }
            }
        }
    }

    fn draw(&mut self, now: Time) {
        let Some(screen) = &mut self.screen.found else { return };
        let again = now.since(self.refreshed) >= REFRESH;
        if again {
            self.refreshed = now;
        }
        let drawn = if again { screen.restart() } else { Ok(()) };
        let drawn = drawn.and_then(|()| screen.show(&self.panel.draw(now), self.panel.brightness(now)));
        if let Err(why) = drawn {
            self.screen.lose(now, DISPLAY, &why);
        }
    }

    fn light(&mut self, now: Time) {
        let Some(chip) = &mut self.chip.found else { return };
        let lit = self.panel.lights(now).map(|light| light.lit(now));
        if self.lit != Some(lit) {
            chip.light(lit);
            self.lit = Some(lit);
        }
    }

    /// Everything dark.
    fn end(&mut self) {
        if let Some(chip) = &mut self.chip.found {
            chip.light([false; LAMPS.len()]);
        }
        if let Some(screen) = &mut self.screen.found {
            screen.darken();
        }
    }
}
