//! The tap: copies of what sounds, for whoever records it or makes a programme of it.
//!
//! After everything else in a cycle: what was captured, the mix, and each peer, as the card had them. This is the one
//! place where samples leave the audio thread, one way and by a wait-free ring; nobody who plays hears anything of it
//! (docs/decisions/0014). Costs nothing until a cue opens it; what finds the ring full is dropped and
//! counted, and the gap shows in the frames' numbers.

use crate::Cycle;
use proto::control::{SLOTS, Tapped};
use rtrb::Producer;

/// Most frames in a block.
pub const BLOCK: usize = 128;

/// Room in the ring: 0.3 s of all sources in cycles of 120 frames.
pub(crate) const BLOCKS: usize = 2_048;

/// Whose sound a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What this box captures, before its gain.
    Own,
    /// Everybody else together, as this box hears them.
    Mix,
    /// The peer in a slot, silence while nothing is heard of him.
    Peer(u8),
}

impl Source {
    /// The mask that opens the tap for this source alone.
    pub fn mask(self) -> Tapped {
        match self {
            Source::Own => Tapped(1),
            Source::Mix => Tapped(2),
            Source::Peer(slot) => Tapped(4 << slot),
        }
    }
}

/// A piece of one source's sound.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Whose.
    pub source: Source,
    /// Position of the card at its first frame.
    pub frame: i64,
    /// Frames that it holds, 1 to [`BLOCK`].
    pub frames: u16,
    /// The frames, left and right.
    pub samples: [[f32; 2]; BLOCK],
}

impl Block {
    /// The frames that it holds.
    pub fn sound(&self) -> &[[f32; 2]] {
        &self.samples[..usize::from(self.frames)]
    }
}

/// The end of the tap in the audio thread.
pub(crate) struct Tap {
    open: Tapped,
    blocks: Producer<Block>,
    /// Blocks that found the ring full.
    pub dropped: u64,
}

impl Tap {
    pub fn new(blocks: Producer<Block>) -> Self {
        Tap { open: Tapped::default(), blocks, dropped: 0 }
    }

    /// Which sources are wanted from now on.
    pub fn set(&mut self, open: Tapped) {
        self.open = open;
    }

    /// The slots whose peers are wanted.
    pub fn slots(&self) -> impl Iterator<Item = u8> + use<> {
        let open = self.open.0 >> 2;
        (0..SLOTS as u8).filter(move |slot| open >> slot & 1 == 1)
    }

    /// Copies one cycle of one source, if it is wanted; `None` is silence.
    pub fn copy(&mut self, source: Source, cycle: &Cycle, sound: Option<[&[f32]; 2]>) {
        if self.open.0 & source.mask().0 == 0 {
            return;
        }
        for from in (0..cycle.frames).step_by(BLOCK) {
            let frames = BLOCK.min(cycle.frames - from);
            let mut samples = [[0.0; 2]; BLOCK];
            if let Some([left, right]) = sound {
                let sides = left[from..from + frames].iter().zip(&right[from..from + frames]);
                samples.iter_mut().zip(sides).for_each(|(frame, (left, right))| *frame = [*left, *right]);
            }
            let block = Block { source, frame: cycle.frame + from as i64, frames: frames as u16, samples };
            self.dropped += u64::from(self.blocks.push(block).is_err());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::units::Time;
    use rtrb::RingBuffer;

    #[test]
    fn only_what_is_wanted_is_copied_in_blocks_that_follow_each_other() {
        let (blocks, mut out) = RingBuffer::new(4);
        let mut tap = Tap::new(blocks);
        let sound: Vec<f32> = (0..300).map(|n| n as f32).collect();
        let cycle = Cycle { time: Time(0), frame: 1_000, frames: 300 };
        tap.copy(Source::Mix, &cycle, Some([&sound, &sound]));
        assert!(out.pop().is_err(), "closed");
        tap.set(Tapped(Source::Mix.mask().0 | Source::Peer(3).mask().0));
        assert_eq!(tap.slots().collect::<Vec<_>>(), [3]);
        tap.copy(Source::Own, &cycle, Some([&sound, &sound]));
        tap.copy(Source::Mix, &cycle, Some([&sound, &sound]));
        let mut heard = Vec::new();
        for from in [1_000, 1_128, 1_256] {
            let block = out.pop().unwrap();
            assert_eq!((block.source, block.frame), (Source::Mix, from));
            heard.extend(block.sound().iter().map(|frame| frame[1]));
        }
        assert_eq!(heard, sound);
        tap.copy(Source::Peer(3), &cycle, None);
        tap.copy(Source::Peer(3), &cycle, None);
        assert_eq!(tap.dropped, 2, "the ring holds four");
        assert_eq!(out.pop().unwrap().sound(), [[0.0; 2]; 128]);
    }
}
