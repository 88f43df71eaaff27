//! The time line of a recording: blocks of sound in, slices in which all tracks lie side by side out.
//!
//! Fed by [`super`] with what `taps` brings, in the order in which it comes; what it gives goes to
//! [`super::files`]. A frame's place in the take follows from the card's position alone, so what is missing is
//! silence and everything else stays where it was. Pure: no file, no clock; `now` is used only where the card
//! was started again and counts anew. Holds at most [`WINDOW`] frames of each track.

use engine::MAX_CYCLE;
use engine::tap::{Block, Source};
use proto::control::SLOTS;
use proto::units::{Time, nanos_to_frames};
use std::collections::VecDeque;

/// Length of an ordinary slice, in frames: half a second.
pub const SLICE: u64 = 24_000;

/// How far one source's blocks may come behind another's, in frames: a cycle, which comes source by source.
const SKEW: u64 = MAX_CYCLE as u64;

/// What waits to be handed out, at most, in frames of each track.
const WINDOW: u64 = 2 * (SLICE + SKEW);

/// Tracks of a take, at most. A name is a track, and names are not ours to choose.
pub const MOST_TRACKS: usize = 64;

/// Whose sound a track has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// This box's own inputs, as they came in.
    Own,
    /// All peers together.
    Mix,
    /// The peer of this name, wherever it sat.
    Peer(String),
}

/// A piece of the take. All tracks begin at the same moment and are equally long.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// Where it begins, in frames since the take began.
    pub from: u64,
    /// Its length in frames; any length, as silence takes no room.
    pub frames: u64,
    /// The tracks so far. They keep their order, and new ones come last.
    pub tracks: Vec<Track>,
}

/// A track's part of a slice.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Whose it is.
    pub who: Who,
    /// Left and right, from the slice's beginning, at most its length; after that there is silence.
    pub sound: Vec<[f32; 2]>,
}

/// A recording's time line.
pub struct Take {
    tracks: Vec<Track>,
    /// Who sits in each slot now, and who sat there last: of who has left, some blocks may still be on their way.
    names: [Option<String>; SLOTS],
    sat: [Option<String>; SLOTS],
    /// What is added to a card position to make a position in the take; nothing before the first block.
    shift: Option<i64>,
    /// Where each source goes on, as a card position.
    next: [Option<i64>; SOURCES],
    /// How many frames of each source never came.
    missing: [u64; SOURCES],
    /// Up to where slices were made, and up to where there is sound, in frames of the take.
    done: u64,
    end: u64,
    /// When the block came that ends there.
    last: Time,
    ready: VecDeque<Slice>,
    crowded: bool,
}

/// Own, mix, and the slots.
const SOURCES: usize = 2 + SLOTS;

impl Take {
    /// Nothing yet; the first block will be its beginning.
    pub fn new() -> Take {
        let tracks = [Who::Own, Who::Mix].map(|who| Track { who, sound: Vec::new() }).into();
        Take {
            tracks,
            names: Default::default(),
            sat: Default::default(),
            shift: None,
            next: [None; SOURCES],
            missing: [0; SOURCES],
            done: 0,
            end: 0,
            last: Time(0),
            ready: VecDeque::new(),
            crowded: false,
        }
    }

    /// Who sits in which slot from now on. A slot that changed hands is no gap in anybody's track.
    pub fn name(&mut self, names: [Option<String>; SLOTS]) {
        for (slot, new) in names.iter().enumerate().filter(|(slot, new)| **new != self.names[*slot]) {
            self.next[2 + slot] = None;
            if new.is_some() {
                self.sat[slot].clone_from(new);
            }
        }
        self.names = names;
    }

    /// A block that came at `now`.
    pub fn push(&mut self, now: Time, block: &Block) {
        let samples = block.sound();
        let Some(source) = number(block.source) else { return };
        if self.next[source].is_some_and(|next| block.frame < next) {
            self.restart(now, block.frame, samples.len());
        }
        let shift = *self.shift.get_or_insert(-block.frame);
        if let Some(next) = self.next[source] {
            self.missing[source] += (block.frame - next).unsigned_abs();
        }
        self.next[source] = Some(block.frame + samples.len() as i64);
        self.place(block.source, block.frame + shift, samples);
        let end = u64::try_from(block.frame + shift + samples.len() as i64).unwrap_or(0);
        if end >= self.end {
            (self.end, self.last) = (end, now);
        }
        while self.done + SLICE + SKEW <= self.end {
            self.cut(self.done + SLICE);
        }
    }

    /// The next slice that is complete.
    pub fn poll(&mut self) -> Option<Slice> {
        self.ready.pop_front()
    }

    /// The end: what still waits becomes a slice, up to the last frame of all.
    pub fn finish(&mut self) {
        if self.end > self.done {
            self.cut(self.end);
        }
    }

    /// Frames that never came of the source that lacks most: blocks were dropped because nobody took them in
    /// time, or the card lost frames. Silence is in their place.
    pub fn missing(&self) -> u64 {
        self.missing.iter().copied().max().unwrap_or(0)
    }

    /// Whether somebody has no track because there are [`MOST_TRACKS`].
    pub fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// The card counts anew: the clock says how long it stood still.
    fn restart(&mut self, now: Time, frame: i64, frames: usize) {
        // The last block came when its last frame was over, and so did this one.
        let still = nanos_to_frames(now.nanos_since(self.last)) - frames as f64;
        self.shift = Some(self.end as i64 + still.max(0.0) as i64 - frame);
        self.next = [None; SOURCES];
    }

    /// Puts samples at a position of the take. What is handed out already stays as it is.
    fn place(&mut self, source: Source, at: i64, samples: &[[f32; 2]]) {
        let skip = (self.done as i64 - at).clamp(0, samples.len() as i64);
        let (samples, at) = (&samples[skip as usize..], (at + skip).unsigned_abs());
        if samples.is_empty() {
            return;
        }
        if at + samples.len() as u64 > self.done + WINDOW {
            self.cut(at);
        }
        let Some(track) = self.track(source, samples) else { return };
        let sound = &mut self.tracks[track].sound;
        let from = (at - self.done) as usize;
        if sound.len() < from + samples.len() {
            sound.resize(from + samples.len(), [0.0; 2]);
        }
        // Added, as in the mix, should two slots ever have one name.
        for (there, new) in sound[from..].iter_mut().zip(samples) {
            there[0] += new[0];
            there[1] += new[1];
        }
    }

    /// The track of a source. A peer gets one when there is something to hear.
    fn track(&mut self, source: Source, samples: &[[f32; 2]]) -> Option<usize> {
        let slot = match source {
            Source::Own => return Some(0),
            Source::Mix => return Some(1),
            Source::Peer(slot) => usize::from(slot),
        };
        let name = self.sat[slot].as_ref()?;
        let known = self.tracks.iter().position(|track| matches!(&track.who, Who::Peer(who) if who == name));
        if known.is_some() || samples.iter().all(|frame| *frame == [0.0; 2]) {
            return known;
        }
        if self.tracks.len() == MOST_TRACKS {
            self.crowded = true;
            return None;
        }
        self.tracks.push(Track { who: Who::Peer(name.clone()), sound: Vec::new() });
        Some(self.tracks.len() - 1)
    }

    /// Makes a slice of everything up to position `to`.
    fn cut(&mut self, to: u64) {
        let frames = to - self.done;
        let part = |track: &mut Track| {
            let length = track.sound.len().min(usize::try_from(frames).unwrap_or(usize::MAX));
            let rest = track.sound.split_off(length);
            Track { who: track.who.clone(), sound: std::mem::replace(&mut track.sound, rest) }
        };
        let tracks = self.tracks.iter_mut().map(part).collect();
        self.ready.push_back(Slice { from: self.done, frames, tracks });
        self.done = to;
        self.end = self.end.max(to);
    }
}

/// The place of a source in lists of all of them; none of a slot that cannot be.
fn number(source: Source) -> Option<usize> {
    match source {
        Source::Own => Some(0),
        Source::Mix => Some(1),
        Source::Peer(slot) => (usize::from(slot) < SLOTS).then_some(2 + usize::from(slot)),
    }
}

#[cfg(test)]
mod tests;
