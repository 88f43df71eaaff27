//! The panel's own state: which page is shown, whose volume the buttons turn, how bright it is.
//!
//! Levels of the pins, or presses of a keyboard, and the box's `Status` go in; a picture, lamps and wishes come out.
//! It decides nothing about the sound: a wish goes to the session, and what is shown is what the next `Status` says.
//! One thing is in its own hand: a press of mute is a wish the moment the button goes down, but to be heard again
//! one must let go of it, so that leaving the session (a long press) never lets through what was silent.

use crate::buttons::{Button, Buttons, Press};
use crate::lamps::{Light, lights};
use crate::meter::Meters;
use crate::pages::{self, Page, View};
use crate::picture::Picture;
use proto::control::{Command, Status};
use proto::units::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// How bright the display shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brightness {
    /// Somebody is there.
    Full,
    /// Nobody has pressed a button for a while; an OLED lives longer so.
    Dim,
}

/// So long after the last press, or the last new message, the display is dimmed.
const DIM_AFTER: Duration = Duration::from_secs(60);

/// So long a page of a list stays before the next one comes by itself.
const TURN_EVERY: Duration = Duration::from_secs(4);

/// So long the panel shows its own wish until the box has confirmed it.
const CONFIRMED_WITHIN: Duration = Duration::from_millis(1_500);

/// So long a volume is shown after it was turned.
const SHOWN_FOR: Duration = Duration::from_secs(2);

/// After so long without a status the box does not answer.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// From the long press to switching off.
const COUNTDOWN: Duration = Duration::from_secs(5);

/// What a volume button changes, in decibels, and how far (as `Command::Volume` says).
const STEP_DB: f32 = 1.0;
const LEAST_DB: f32 = -60.0;
const MOST_DB: f32 = 20.0;

/// A volume that was turned here: whose (none is our own gain), to how many decibels, and when.
#[derive(Clone, Debug)]
pub(crate) struct Turned {
    pub(crate) whose: Option<String>,
    pub(crate) db: f32,
    at: Time,
}

/// The front panel of a box.
#[derive(Debug)]
pub struct Panel {
    status: Option<(Status, Time)>,
    meters: Meters,
    buttons: Buttons,
    page: Page,
    /// Since when this page is shown.
    opened: Time,
    /// Whose volume the buttons turn; none is our own gain.
    selected: Option<String>,
    touched: Time,
    /// The last press has woken a dimmed display.
    woke: bool,
    turned: Option<Turned>,
    /// Our own wish to be muted or heard, until the status says it.
    muted: Option<(bool, Time)>,
    /// The press of mute that is going on has begun a silence.
    silenced: bool,
    /// When the box will be switched off.
    off_at: Option<Time>,
    /// It was.
    off: bool,
    /// The rest of this button's press means nothing: it has called off the countdown.
    spent: Option<Button>,
    wishes: VecDeque<Command>,
}

impl Panel {
    /// A panel that knows nothing of its box yet.
    pub fn new(now: Time) -> Panel {
        Panel {
            status: None,
            meters: Meters::default(),
            buttons: Buttons::new(now),
            page: Page::Play,
            opened: now,
            selected: None,
            touched: now,
            woke: false,
            turned: None,
            muted: None,
            silenced: false,
            off_at: None,
            off: false,
            spent: None,
            wishes: VecDeque::new(),
        }
    }

    /// The box says how it is.
    pub fn handle_status(&mut self, now: Time, status: Status) {
        self.meters.hear(now, &status);
        let heading = |status: &Status| status.messages.first().map(|text| without_numbers(text));
        let (before, after) =
            (self.status.as_ref().and_then(|(status, _)| heading(status)), heading(&status));
        self.status = Some((status, now));
        match after {
            Some(_) if after != before => {
                self.touched = now;
                self.open(now, Page::Message);
            }
            None if self.page == Page::Message => self.open(now, Page::Play),
            _ => {}
        }
    }

    /// A button's contact was seen at `now`, closed if `down`; may be told the same again.
    pub fn handle_level(&mut self, now: Time, button: Button, down: bool) {
        self.buttons.handle_level(now, button, down);
        self.take_presses(now);
    }

    /// A press that comes from elsewhere than the pins: a key of a terminal.
    pub fn handle_press(&mut self, now: Time, press: Press) {
        if let Press::Begins(button) = press {
            self.woke = self.brightness(now) == Brightness::Dim;
            self.spent = self.off_at.take().map(|_| button);
        }
        if self.brightness(now) == Brightness::Dim {
            self.selected = None; // whoever comes back has forgotten whom he had chosen
        }
        self.touched = now;
        let of_spent = |spent: Button| match press {
            Press::Begins(_) | Press::Both => true,
            Press::Short(button) | Press::Double(button) | Press::Long(button) | Press::Again(button) => {
                button == spent
            }
        };
        if !self.off && !self.spent.is_some_and(of_spent) {
            self.carry(now, press);
        }
    }

    /// The next wish, if there is one by `now`.
    pub fn poll(&mut self, now: Time) -> Option<Command> {
        self.take_presses(now);
        if self.off_at.is_some_and(|at| now >= at) {
            self.off_at = None;
            // A button that is still down is one that is stuck.
            self.off = !self.buttons.is_down(Button::Page);
            self.wishes.extend(self.off.then_some(Command::PowerOff));
        }
        self.wishes.pop_front()
    }

    /// When [`Panel::poll`] may have a wish without anything else happening.
    pub fn deadline(&self) -> Option<Time> {
        self.buttons.deadline().into_iter().chain(self.off_at).min()
    }

    /// Whether the button is down, or has been since the start: then nothing is expected of it.
    pub fn is_down(&self, button: Button) -> bool {
        self.buttons.is_down(button)
    }

    /// How bright the display shall be.
    pub fn brightness(&self, now: Time) -> Brightness {
        if now.since(self.touched) < DIM_AFTER { Brightness::Full } else { Brightness::Dim }
    }

    /// What each of [`crate::LAMPS`] does.
    pub fn lights(&self, now: Time) -> [Light; 4] {
        match self.answering(now) {
            Some(status) => lights(status),
            None => [Light::Slow, Light::Off, Light::Off, Light::Off],
        }
    }

    /// What the display shows.
    pub fn draw(&self, now: Time) -> Picture {
        let mut picture = Picture::default();
        let starting = self.status.is_none();
        match (self.off_at, self.answering(now)) {
            _ if self.off => pages::power::farewell(&mut picture),
            (Some(at), _) => pages::power::countdown(&mut picture, Time(at.0).since(now)),
            (None, None) => pages::power::no_answer(&mut picture, starting),
            (None, Some(status)) => {
                let view = View {
                    status,
                    meters: &self.meters,
                    selected: self.selected(now),
                    turned: self.turned.as_ref().filter(|turned| now.since(turned.at) < SHOWN_FOR),
                    turn: (now.since(self.opened).as_millis() / TURN_EVERY.as_millis()) as usize,
                    now,
                };
                pages::draw(self.page, &view, &mut picture);
                if let Some(held) = self.buttons.holding(now) {
                    pages::power::holding(&mut picture, held);
                }
            }
        }
        picture
    }

    fn take_presses(&mut self, now: Time) {
        while let Some(press) = self.buttons.poll(now) {
            self.handle_press(now, press);
        }
    }

    fn answering(&self, now: Time) -> Option<&Status> {
        self.status.as_ref().filter(|(_, at)| now.since(*at) < SILENT_AFTER).map(|(status, _)| status)
    }

    /// The peer whose volume the buttons turn, if he is still there and somebody looks.
    fn selected(&self, now: Time) -> Option<&str> {
        let selected = self.selected.as_deref().filter(|_| self.brightness(now) == Brightness::Full)?;
        let (status, _) = self.status.as_ref()?;
        status.peers.iter().any(|peer| peer.name == selected).then_some(selected)
    }

    fn open(&mut self, now: Time, page: Page) {
        self.page = page;
        self.opened = now;
    }

    fn carry(&mut self, now: Time, press: Press) {
        match press {
            Press::Begins(Button::Mute) => {
                self.silenced = !self.is_muted(now);
                if self.silenced {
                    self.mute(now, true);
                }
            }
            Press::Short(Button::Mute) | Press::Double(Button::Mute) => {
                if !self.silenced {
                    self.mute(now, false);
                }
                self.silenced = false;
            }
            Press::Long(Button::Mute) => self.leave_or_join(now),
            Press::Short(Button::Page) if !self.woke => self.open(now, self.next_page()),
            Press::Double(Button::Page) => self.open(now, Page::Play),
            Press::Long(Button::Page) => self.off_at = Some(now + COUNTDOWN),
            Press::Short(Button::Down) | Press::Double(Button::Down) | Press::Again(Button::Down) => {
                self.turn_volume(now, -STEP_DB, MOST_DB);
            }
            Press::Short(Button::Up) | Press::Double(Button::Up) => self.turn_volume(now, STEP_DB, MOST_DB),
            // Held, it stops where the sound is as it came: louder than that wants a press for each step.
            Press::Again(Button::Up) => self.turn_volume(now, STEP_DB, 0.0),
            Press::Both => self.select_next(now),
            Press::Begins(_) | Press::Short(Button::Page) | Press::Long(Button::Down | Button::Up) => {}
            Press::Again(Button::Mute | Button::Page) => {}
        }
    }

    fn is_muted(&self, now: Time) -> bool {
        let wished = self.muted.filter(|(_, at)| now.since(*at) < CONFIRMED_WITHIN).map(|(on, _)| on);
        wished.unwrap_or_else(|| self.status.as_ref().is_some_and(|(status, _)| status.muted))
    }

    fn mute(&mut self, now: Time, on: bool) {
        self.muted = Some((on, now));
        self.wishes.push_back(Command::Mute { peer: None, on });
        self.open(now, Page::Play);
    }

    fn leave_or_join(&mut self, now: Time) {
        let inside = self.status.as_ref().is_none_or(|(status, _)| status.in_session);
        self.wishes.push_back(if inside { Command::Leave } else { Command::Join });
        if std::mem::take(&mut self.silenced) {
            self.mute(now, false); // the press was for leaving, not for silence
        }
        self.open(now, Page::Play);
    }

    fn turn_volume(&mut self, now: Time, step: f32, most: f32) {
        let whose = self.selected(now).map(str::to_owned);
        let db = self.volume(now, whose.as_deref());
        if step > 0.0 && db >= most {
            return;
        }
        let db = (db + step).round().clamp(LEAST_DB, MOST_DB);
        self.wishes.push_back(match &whose {
            Some(peer) => Command::Volume { peer: peer.clone(), db },
            None => Command::Gain { db },
        });
        self.turned = Some(Turned { whose, db, at: now });
        if self.page != Page::Play {
            self.open(now, Page::Play); // where it is seen
        }
    }

    /// How loud somebody is here, or our own gain, as far as we know.
    fn volume(&self, now: Time, whose: Option<&str>) -> f32 {
        let recent = self.turned.as_ref().filter(|turned| now.since(turned.at) < CONFIRMED_WITHIN);
        if let Some(turned) = recent.filter(|turned| turned.whose.as_deref() == whose) {
            return turned.db;
        }
        let Some((status, _)) = &self.status else { return 0.0 };
        let peer = whose.and_then(|name| status.peers.iter().find(|peer| peer.name == name));
        let db = peer.map_or(status.gain_db, |peer| peer.volume_db);
        if db.is_finite() { db } else { 0.0 }
    }

    fn select_next(&mut self, now: Time) {
        let peers = self.status.as_ref().map_or(&[][..], |(status, _)| &status.peers[..]);
        let here = self.selected(now).and_then(|name| peers.iter().position(|peer| peer.name == name));
        let next = here.map_or(0, |here| here + 1);
        self.selected = peers.get(next).map(|peer| peer.name.clone());
        let page = if self.page == Page::Line { Page::Line } else { Page::Play };
        self.open(now, page);
    }

    fn next_page(&self) -> Page {
        let message = self.status.as_ref().is_some_and(|(status, _)| !status.messages.is_empty());
        match self.page {
            Page::Play => Page::Line,
            Page::Line => Page::Box,
            Page::Box if message => Page::Message,
            Page::Box | Page::Message => Page::Play,
        }
    }
}

/// The text without its digits: a message that only counts (`40 %`, `41 %`) is still the same one.
fn without_numbers(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests;
