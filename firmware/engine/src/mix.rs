//! All peers added up, each as loud and as far to a side as somebody wished.
//!
//! Comes after [`crate::receive`], before the card and the tap. The wish is two gains for each slot, left and right
//! (`proto::desk` makes them of volume, pan, mute and solo); they change by ramps. What a peer sounds like
//! alone, at its own ports and at the tap, is not touched. Runs in the audio thread: allocates nothing, blocks
//! never; two multiplications and two additions per frame of a peer that is heard.

use crate::MAX_CYCLE;
use crate::strip::Strip;
use proto::control::{Gains, SLOTS};
use proto::format::Layout;

/// Highest gain of one side, linear: +20 dB, and 3 dB more for who is panned to it.
const MOST: f32 = 14.2;

/// The mix, and how each slot goes into it.
pub struct Mix {
    sides: [Box<[f32; MAX_CYCLE]>; 2],
    faders: [[Strip; 2]; SLOTS],
}

impl Mix {
    /// A mix in which everybody sounds as he came.
    pub fn new() -> Self {
        let side = || Box::new([0.0; MAX_CYCLE]);
        Mix { sides: [side(), side()], faders: std::array::from_fn(|_| untouched()) }
    }

    /// Somebody new takes a slot: he sounds as he comes, until a fader is moved.
    pub fn join(&mut self, slot: u8) {
        if let Some(fader) = self.faders.get_mut(usize::from(slot)) {
            *fader = untouched();
        }
    }

    /// Sets the gains to reach, left and right; what is no gain is left alone.
    pub fn set(&mut self, slot: u8, Gains { left, right }: Gains) {
        let Some(fader) = self.faders.get_mut(usize::from(slot)) else { return };
        for (strip, gain) in fader.iter_mut().zip([left, right]) {
            if gain.is_finite() {
                strip.set(gain.clamp(0.0, MOST));
            }
        }
    }

    /// The gains of a slot, as they are when their ramps are over.
    pub fn gains(&self, slot: usize) -> Gains {
        let [left, right] = &self.faders[slot];
        Gains { left: left.target(), right: right.target() }
    }

    /// Begins a cycle with silence.
    pub fn clear(&mut self, frames: usize) {
        self.sides.iter_mut().for_each(|side| side[..frames].fill(0.0));
    }

    /// Nothing is heard of this slot in this cycle: its gains need no ramp.
    pub fn rest(&mut self, slot: usize) {
        for strip in &mut self.faders[slot] {
            if strip.steady().is_none() {
                *strip = Strip::at(strip.target());
            }
        }
    }

    /// Adds what a slot sounds like in this cycle.
    pub fn add(&mut self, slot: usize, [left, right]: [&[f32]; 2], layout: Layout) {
        let [to_left, to_right] = &mut self.sides;
        let [fader_left, fader_right] = &mut self.faders[slot];
        if layout == Layout::Separate {
            // Nobody's voice is only on the left because it came by the first input.
            let both = || left.iter().zip(right).map(|(left, right)| left + right);
            add(&mut to_left[..left.len()], both(), fader_left);
            add(&mut to_right[..left.len()], both(), fader_right);
        } else {
            add(&mut to_left[..left.len()], left.iter().copied(), fader_left);
            add(&mut to_right[..right.len()], right.iter().copied(), fader_right);
        }
    }

    /// The sum of the last cycle's `frames` frames, left and right.
    pub fn out(&self, frames: usize) -> [&[f32]; 2] {
        [&self.sides[0][..frames], &self.sides[1][..frames]]
    }
}

fn untouched() -> [Strip; 2] {
    [Strip::at(1.0), Strip::at(1.0)]
}

fn add(side: &mut [f32], sound: impl Iterator<Item = f32>, strip: &mut Strip) {
    match strip.steady() {
        Some(0.0) => {}
        Some(gain) => side.iter_mut().zip(sound).for_each(|(mix, x)| *mix += x * gain),
        None => side.iter_mut().zip(sound).for_each(|(mix, x)| *mix += x * strip.step()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays cycles of ones, and of twos on the right, and gives the last frame of the mix.
    fn play(mix: &mut Mix, cycles: usize, layout: Layout) -> [f32; 2] {
        for _ in 0..cycles {
            mix.clear(120);
            mix.add(3, [&[1.0; 120], &[2.0; 120]], layout);
        }
        mix.out(120).map(|side| side[119])
    }

    #[test]
    fn a_fader_moves_in_ten_milliseconds_and_only_its_own_slot() {
        let mut mix = Mix::new();
        assert_eq!(play(&mut mix, 1, Layout::Stereo), [1.0, 2.0], "as it came");
        mix.set(3, Gains { left: 0.0, right: 2.0 });
        let [left, right] = play(&mut mix, 2, Layout::Stereo);
        assert!((left - 0.5).abs() < 0.01 && (right - 3.0).abs() < 0.01, "half way: {left} {right}");
        assert_eq!(play(&mut mix, 3, Layout::Stereo), [0.0, 4.0]);
        mix.add(4, [&[1.0; 120], &[1.0; 120]], Layout::Mono);
        assert_eq!(mix.out(120).map(|side| side[119]), [1.0, 5.0]);
        assert_eq!((mix.gains(3), mix.gains(4)), (Gains { left: 0.0, right: 2.0 }, Gains::default()));
        mix.join(3);
        assert_eq!(play(&mut mix, 1, Layout::Stereo), [1.0, 2.0], "somebody else");
    }

    #[test]
    fn two_who_share_a_line_stand_together() {
        let mut mix = Mix::new();
        mix.set(3, Gains { left: 1.0, right: 0.0 });
        mix.rest(3);
        assert_eq!(play(&mut mix, 1, Layout::Separate), [3.0, 0.0], "and who is silent needs no ramp");
    }

    #[test]
    fn nonsense_moves_nothing() {
        let mut mix = Mix::new();
        mix.set(200, Gains { left: 0.0, right: 0.0 });
        mix.set(3, Gains { left: f32::NAN, right: f32::INFINITY });
        assert_eq!(mix.gains(3), Gains::default());
        mix.set(3, Gains { left: -1.0, right: 1e9 });
        assert_eq!(mix.gains(3), Gains { left: 0.0, right: MOST });
    }
}
