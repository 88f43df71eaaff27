//! Two sources as one: the own input and the mix, added up by the card's count.
//!
//! Part of [`super`]: what an audience hears is everybody, while a musician does not hear himself in the mix.

use super::{FRAMES, LONGEST_GAP, Pieces};
use engine::tap::Block;

/// What must have come after a piece before it is complete, in frames: of each cycle all of one source comes before
/// the other, and JACK's longest period is this long.
const CYCLE: usize = 8_192;

/// The pieces of everything that comes, added up.
#[derive(Default)]
pub(super) struct Sum {
    /// Interleaved, two channels.
    samples: Vec<f32>,
    /// Card position of the first of them.
    start: Option<i64>,
}

impl Pieces for Sum {
    fn push(&mut self, block: &Block) {
        let length = (self.samples.len() / 2) as i64;
        let mut at = block.frame - *self.start.get_or_insert(block.frame);
        if !(-LONGEST_GAP..=length + LONGEST_GAP).contains(&at) {
            // The card counts anew, or was away: the sound goes on without it.
            self.start = Some(block.frame - length);
            at = length;
        }
        let Ok(at) = usize::try_from(at) else { return }; // its piece is gone already
        let end = at + usize::from(block.frames);
        if self.samples.len() < 2 * end {
            self.samples.resize(2 * end, 0.0);
        }
        let there = &mut self.samples[2 * at..2 * end];
        there.iter_mut().zip(block.sound().iter().flatten()).for_each(|(sum, sample)| *sum += sample);
    }

    fn pop(&mut self) -> Option<Vec<f32>> {
        if self.samples.len() < 2 * (FRAMES + CYCLE) {
            return None;
        }
        self.start = self.start.map(|start| start + FRAMES as i64);
        Some(self.samples.drain(..2 * FRAMES).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::tap::{BLOCK, Source};

    fn block(source: Source, frame: i64, value: f32) -> Block {
        Block { source, frame, frames: BLOCK as u16, samples: [[value, -value]; BLOCK] }
    }

    /// Everything that comes out of a sum, the left side.
    fn left(sum: &mut Sum) -> Vec<f32> {
        let pieces = std::iter::from_fn(|| sum.pop()).flatten();
        pieces.collect::<Vec<f32>>().chunks(2).map(|frame| frame[0]).collect()
    }

    #[test]
    fn both_are_heard_where_the_card_had_them() {
        let mut sum = Sum::default();
        // A cycle is four blocks; the mix begins a block later, and misses one.
        for cycle in 0..40 {
            let first = 4 * cycle;
            (first..first + 4).for_each(|n| sum.push(&block(Source::Own, 1_000 + n * 128, 0.25)));
            let mixed = (first..first + 4).filter(|n| ![0, 9].contains(n));
            mixed.for_each(|n| sum.push(&block(Source::Mix, 1_000 + n * 128, 0.5)));
        }
        let left = left(&mut sum);
        assert!(left.len() >= 9_600, "{} frames", left.len());
        for (at, value) in left.iter().enumerate() {
            let wanted = if [0, 9].contains(&(at / 128)) { 0.25 } else { 0.75 };
            assert_eq!(*value, wanted, "frame {at}");
        }
    }

    #[test]
    fn a_card_that_counts_anew_or_was_away_is_no_jump_and_no_noise() {
        let mut sum = Sum::default();
        let mut pushed = 0;
        for from in [0, 5_000_000, -7, 48_000 * 3_600] {
            for n in 0..100 {
                sum.push(&block(Source::Own, from + n * 128, 0.25));
                sum.push(&block(Source::Mix, from + n * 128, 0.5));
                pushed += 128;
            }
        }
        let left = left(&mut sum);
        assert_eq!(left.len(), (pushed - CYCLE) / FRAMES * FRAMES);
        assert!(left.iter().all(|value| *value == 0.75));
        sum.push(&block(Source::Own, 48_000 * 3_600, 1.0)); // too late
        assert!(sum.samples.iter().step_by(2).all(|value| *value == 0.75));
    }
}
