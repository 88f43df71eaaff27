//! *Message*: what needs a person, in the largest letters in which it fits; what fits in none comes in turn.

use super::{FULL, View, area, draw_bar};
use crate::letters::{BOLD, Face, SMALL, TEXT, wrap};
use crate::picture::Picture;

/// The faces, the larger first, with the first line and the distance of the lines.
static SETTINGS: [(&Face, i32, i32); 2] = [(&TEXT, 17, 16), (&SMALL, 16, 12)];

/// The letters end here, before the bar.
const EDGE: i32 = 123;

/// A part of a message that is shown at once.
struct Part {
    /// Of which message, counted from one.
    message: usize,
    face: &'static Face,
    first: i32,
    distance: i32,
    lines: Vec<String>,
}

pub(super) fn draw(view: &View<'_>, picture: &mut Picture) {
    let messages = &view.status.messages;
    let parts: Vec<Part> = (1..).zip(messages).flat_map(|(n, text)| set(n, text)).collect();
    let shown = view.turn % parts.len().max(1);
    let Some(part) = parts.get(shown) else { return };
    BOLD.draw(picture, 2, 0, "Message");
    if messages.len() > 1 {
        BOLD.draw_right(picture, 121, 0, &format!("{} of {}", part.message, messages.len()));
    }
    picture.invert(area(0, 0, if parts.len() > 1 { 123 } else { FULL }, BOLD.height));
    for (y, line) in (part.first..).step_by(part.distance as usize).zip(&part.lines) {
        part.face.draw(picture, 1, y, line);
    }
    draw_bar(picture, shown, parts.len());
}

/// A message in the face that suits it.
fn set(message: usize, text: &str) -> Vec<Part> {
    let text = text.trim();
    let fits = |(face, first, distance): (&'static Face, i32, i32)| {
        let lines = wrap(text, (EDGE / face.width) as usize);
        let room = ((64 - face.height - first) / distance + 1) as usize;
        (lines.len() <= room, lines, room)
    };
    let large = fits(SETTINGS[0]);
    let ((face, first, distance), (_, lines, room)) =
        if large.0 { (SETTINGS[0], large) } else { (SETTINGS[1], fits(SETTINGS[1])) };
    lines.chunks(room).map(|lines| Part { message, face, first, distance, lines: lines.to_vec() }).collect()
}
