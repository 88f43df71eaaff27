//! *Play*: who plays, how loud, and what is the matter with whom; our own signal on top.
//!
//! Three peers fit below it. Of more, three at a time are shown: those around the selected one, or by turns.

use super::{BESIDE_BAR, FULL, ROW, View, area, draw_bar, fill};
use crate::letters::{BOLD, SMALL, TEXT, shorten, wrap};
use crate::meter::{FLOOR, Meter};
use crate::picture::Picture;
use crate::verdict;
use proto::control::{PeerStatus, Status};

/// Peers that are shown at once.
const SHOWN: usize = 3;

/// What stands at the end of a row.
struct Mark {
    text: String,
    /// On a lit ground: somebody should know.
    urgent: bool,
}

impl Mark {
    fn plain(text: impl Into<String>) -> Option<Mark> {
        Some(Mark { text: text.into(), urgent: false })
    }

    fn urgent(text: &str) -> Option<Mark> {
        Some(Mark { text: text.to_owned(), urgent: true })
    }
}

/// One row: a name, a mark, a meter.
struct Row<'a> {
    y: i32,
    width: i32,
    name: &'a str,
    mark: Option<Mark>,
    selected: bool,
    meter: Option<&'a Meter>,
}

pub(super) fn draw(view: &View<'_>, picture: &mut Picture) {
    let status = view.status;
    let parts = status.peers.len().div_ceil(SHOWN);
    let width = if parts > 1 && status.in_session { BESIDE_BAR } else { FULL };
    let own = Row {
        y: 0,
        width,
        name: "You",
        mark: own_mark(view),
        selected: view.selected.is_none() && view.turned.is_some(),
        meter: view.meters.own(),
    };
    draw_row(picture, view, &own);
    if status.recording.is_some() {
        draw_recording(picture);
    }
    match status {
        Status { in_session: false, .. } => say(picture, "Out of the session. Hold mute to come back."),
        Status { peers, .. } if peers.is_empty() => say(picture, "Nobody else is here yet."),
        _ => {
            let part = view.position().map_or(view.turn % parts, |position| position / SHOWN);
            let peers = status.peers.iter().skip(part * SHOWN).take(SHOWN);
            for (n, peer) in (1..).zip(peers) {
                draw_row(picture, view, &peer_row(view, peer, n * ROW, width));
            }
            draw_bar(picture, part, parts);
        }
    }
}

fn peer_row<'a>(view: &View<'a>, peer: &'a PeerStatus, y: i32, width: i32) -> Row<'a> {
    let selected = view.selected == Some(&peer.name);
    Row {
        y,
        width,
        name: &peer.name,
        mark: peer_mark(view, peer),
        selected,
        meter: view.meters.peer(&peer.name),
    }
}

/// The own row says its gain only when that is being turned.
fn own_mark(view: &View<'_>) -> Option<Mark> {
    match view.status {
        _ if let Some(turned) = view.turned.filter(|turned| turned.whose.is_none()) => {
            Mark::plain(decibels(turned.db))
        }
        Status { muted: true, .. } => Mark::urgent("muted"),
        Status { clips: true, .. } => Mark::urgent("too loud"),
        _ => None,
    }
}

fn peer_mark(view: &View<'_>, peer: &PeerStatus) -> Option<Mark> {
    let turned = view.turned.filter(|turned| turned.whose.as_deref() == Some(&peer.name));
    match peer {
        _ if let Some(turned) = turned => Mark::plain(decibels(turned.db)),
        PeerStatus { connected: false, .. } => Mark::plain("away"),
        PeerStatus { muted: true, .. } => Mark::plain("muted"),
        PeerStatus { muted_itself: true, .. } => Mark::plain("mic off"),
        _ if let Some(ailment) = verdict::ailment(peer) => Mark::urgent(ailment),
        _ if view.selected == Some(&peer.name) => Mark::plain(decibels(peer.volume_db)),
        PeerStatus { solo: true, .. } => Mark::plain("solo"),
        _ => None,
    }
}

fn draw_row(picture: &mut Picture, view: &View<'_>, row: &Row<'_>) {
    let Row { y, width, .. } = *row;
    let mark = row.mark.as_ref().map_or(0, |mark| SMALL.measure(&mark.text) + 6);
    let letters = (width - 1 - mark) / BOLD.width;
    let name = shorten(row.name, letters as usize);
    BOLD.draw(picture, 1, y, &name);
    if row.selected {
        picture.invert(area(0, y + 1, BOLD.measure(&name) + 1, BOLD.height - 1));
    }
    if let Some(mark) = &row.mark {
        let left = width - SMALL.measure(&mark.text);
        SMALL.draw(picture, left, y + 3, &mark.text);
        if mark.urgent {
            picture.invert(area(left - 2, y + 2, width - left + 2, 11));
        }
    }
    if let Some(meter) = row.meter {
        draw_meter(picture, y + BOLD.height + 1, width, meter.bar(view.now), meter.peak(view.now));
    }
}

/// A bar from -60 to 0 dB with its peak, on a dotted ground.
fn draw_meter(picture: &mut Picture, y: i32, width: i32, bar: f32, peak: f32) {
    let points = |db: f32| ((db - FLOOR) / -FLOOR * width as f32).round() as i32;
    let (bar, peak) = (points(bar), points(peak));
    let far = |x: &i32| *x > bar + 1 && (x - peak).abs() > 3;
    (0..width).step_by(4).filter(far).for_each(|x| fill(picture, x, y + 1, 1, 1));
    fill(picture, 0, y, bar, 2);
    if peak > 0 {
        fill(picture, (peak - 2).max(0), y - 1, 2, 3);
    }
}

/// A dot behind our own name: a recording runs.
fn draw_recording(picture: &mut Picture) {
    for (n, (inset, width)) in
        [(2, 3), (1, 5), (0, 7), (0, 7), (0, 7), (1, 5), (2, 3)].into_iter().enumerate()
    {
        fill(picture, 28 + inset, 4 + n as i32, width, 1);
    }
}

fn say(picture: &mut Picture, sentence: &str) {
    for (n, line) in (1..4).zip(wrap(sentence, (FULL / TEXT.width) as usize)) {
        TEXT.draw(picture, 1, n * ROW + 2, &line);
    }
}

/// A volume for a person: `+3 dB`, `0 dB`, `-12 dB`.
fn decibels(db: f32) -> String {
    let db = if db.is_finite() { db.round() as i32 } else { 0 };
    format!("{}{db} dB", if db > 0 { "+" } else { "" })
}
