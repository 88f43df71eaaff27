//! The pages: each draws the [`Status`] on 128 x 64 points.
//!
//! All keep to one grid: a row is 16 lines high, so four fit; letters have 13 of them, and the three below are for a
//! meter or for air. Where there is more than fits, it comes in turn, and a bar at the right edge says which part is
//! shown.

mod line;
mod machine;
mod message;
mod play;
pub(crate) mod power;

use crate::letters::BOLD;
use crate::meter::Meters;
use crate::panel::Turned;
use crate::picture::Picture;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use proto::control::Status;
use proto::units::Time;

/// The pages, in the order in which the page button shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// Who plays, and how loud.
    Play,
    /// How each peer comes here.
    Line,
    /// The box itself.
    Box,
    /// What needs a person.
    Message,
}

/// What a page is drawn from.
pub(crate) struct View<'a> {
    pub(crate) status: &'a Status,
    pub(crate) meters: &'a Meters,
    /// The peer whose volume the buttons turn; none is our own gain.
    pub(crate) selected: Option<&'a str>,
    /// The volume that was turned a moment ago.
    pub(crate) turned: Option<&'a Turned>,
    /// How many times the page's parts have been turned since it was opened.
    pub(crate) turn: usize,
    pub(crate) now: Time,
}

/// Height of a line of text with what is below it.
const ROW: i32 = 16;

/// The whole width, and what is left of it beside the bar that says which part is shown.
const FULL: i32 = 128;
const BESIDE_BAR: i32 = 123;

/// Draws `page`.
pub(crate) fn draw(page: Page, view: &View<'_>, picture: &mut Picture) {
    match page {
        Page::Play => play::draw(view, picture),
        Page::Line => line::draw(view, picture),
        Page::Box => machine::draw(view, picture),
        Page::Message => message::draw(view, picture),
    }
}

impl View<'_> {
    /// Where the selected peer is in the list.
    fn position(&self) -> Option<usize> {
        let selected = self.selected?;
        self.status.peers.iter().position(|peer| peer.name == selected)
    }
}

/// The bar at the right edge: part `shown` of `parts`. Nothing if all is seen at once.
fn draw_bar(picture: &mut Picture, shown: usize, parts: usize) {
    if parts < 2 {
        return;
    }
    for y in (1..64).step_by(3) {
        fill(picture, 126, y, 1, 1);
    }
    let edge = |part: usize| (64 * part / parts) as i32;
    fill(picture, 125, edge(shown), 3, edge(shown + 1) - edge(shown));
}

/// A head: a name in bold, a line under it.
fn draw_head(picture: &mut Picture, name: &str) {
    BOLD.draw(picture, 1, 0, name);
    fill(picture, 0, 14, 122, 1);
}

fn fill(picture: &mut Picture, x: i32, y: i32, width: i32, height: i32) {
    picture.fill(area(x, y, width, height), true);
}

/// An area; one that is less than nothing wide is empty.
fn area(x: i32, y: i32, width: i32, height: i32) -> Rectangle {
    Rectangle::new(Point::new(x, y), Size::new(width.max(0) as u32, height.max(0) as u32))
}
