//! *Line*: how each peer comes here, one at a time: delay, buffer, loss, way, and what to think of it.

use super::{View, draw_bar, draw_head};
use crate::letters::{BOLD, LARGE, SMALL, TEXT, shorten, wrap};
use crate::picture::Picture;
use crate::verdict::{self, short};

/// Where the three numbers begin.
const COLUMNS: [i32; 3] = [0, 43, 90];

/// The right edge of what stands beside the bar.
const EDGE: i32 = 122;

pub(super) fn draw(view: &View<'_>, picture: &mut Picture) {
    let peers = &view.status.peers;
    if peers.is_empty() {
        draw_head(picture, "Line");
        TEXT.draw(picture, 1, 18, "Nobody else");
        TEXT.draw(picture, 1, 34, "is here yet.");
        return;
    }
    let here = view.position().unwrap_or(view.turn % peers.len());
    let peer = &peers[here];
    let way = verdict::way(peer);
    let letters = (EDGE - SMALL.measure(way) - 4) / BOLD.width;
    draw_head(picture, &shorten(&peer.name, letters as usize));
    SMALL.draw_right(picture, EDGE, 3, way);
    let delay = peer.delay_ms.map_or_else(|| "-".to_owned(), short);
    let numbers = [
        (delay, "ms", "delay"),
        (short(peer.depth_ms), "ms", "buffer"),
        (short(peer.lost_percent), "%", "loss"),
    ];
    for (x, (number, unit, label)) in COLUMNS.into_iter().zip(numbers) {
        let number = if peer.connected { number } else { "-".to_owned() };
        LARGE.draw(picture, x, 16, &number);
        if number != "-" {
            SMALL.draw(picture, x + LARGE.measure(&number) + 1, 22, unit);
        }
        SMALL.draw(picture, x + 1, 33, label);
    }
    let sentence = wrap(&verdict::verdict(view.status, peer), verdict::LETTERS);
    for (y, line) in [44, 54].into_iter().zip(sentence) {
        SMALL.draw(picture, 1, y, &line);
    }
    draw_bar(picture, here, peers.len());
}
