//! What is shown beside the pages: switching off, and a box that says nothing.

use super::{area, fill};
use crate::letters::{BOLD, Face, LARGE, SMALL, TEXT};
use crate::picture::Picture;
use embedded_graphics::prelude::*;
use std::time::Duration;

/// From here on a held page button is said to switch off.
const HINT_AFTER: Duration = Duration::from_millis(700);

/// How long the page button is held altogether.
const HELD_FOR: Duration = Duration::from_secs(3);

/// The seconds until the box switches off.
pub(crate) fn countdown(picture: &mut Picture, left: Duration) {
    BOLD.draw_middle(picture, 0, "Power off in");
    let seconds = left.as_millis().div_ceil(1_000).to_string();
    let mut digits = Picture::default();
    LARGE.draw(&mut digits, 0, 0, &seconds);
    let width = LARGE.measure(&seconds);
    let corner = Point::new((128 - 2 * width) / 2, 15);
    picture.enlarge(&digits, area(0, 0, width, LARGE.height), 2, corner);
    SMALL.draw_middle(picture, 54, "any button stays on");
}

/// The page button is being held: how far it is to the countdown.
pub(crate) fn holding(picture: &mut Picture, held: Duration) {
    if held < HINT_AFTER {
        return;
    }
    picture.fill(area(0, 44, 128, 20), false);
    fill(picture, 0, 46, 128, 1);
    SMALL.draw_middle(picture, 49, "hold to power off");
    let share = held.as_secs_f32() / HELD_FOR.as_secs_f32();
    fill(picture, 0, 61, (128.0 * share.min(1.0)) as i32, 3);
}

/// The box is being shut down.
pub(crate) fn farewell(picture: &mut Picture) {
    lines(picture, &BOLD, &["Shutting down."]);
    SMALL.draw(picture, 1, 34, "Pull the plug when");
    SMALL.draw(picture, 1, 46, "the lamps are dark.");
}

/// There is no status: not yet, or no longer.
pub(crate) fn no_answer(picture: &mut Picture, starting: bool) {
    if starting {
        lines(picture, &BOLD, &["Matriz", "is starting."]);
    } else {
        lines(picture, &BOLD, &["The box does", "not answer."]);
        TEXT.draw(picture, 1, 42, "If it stays so,");
        SMALL.draw(picture, 1, 54, "pull the plug once.");
    }
}

fn lines(picture: &mut Picture, face: &Face, lines: &[&str]) {
    for (n, line) in (0..).zip(lines) {
        face.draw(picture, 1, 6 + n * 16, line);
    }
}
