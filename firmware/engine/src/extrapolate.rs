//! Sound in the place of missing raw PCM: there is no decoder that could invent it.
//!
//! Used by `receive` with everything that it plays of a raw stream: what was heard, and the gaps to fill.
//! Linear prediction on two bands. Below 1.6 kHz, where music's tones lie close together, 50 ms of history
//! are thinned out to 4 kHz, so that few coefficients see them apart; what that leaves of the signal is foretold at the
//! full rate from the last 10 ms. The two add up to the history exactly, so a gap begins without a step.
//! Source: I. Kauppinen and K. Roth, "Audio signal extrapolation" (2002), for the idea; bands measured here.

mod lattice;

use lattice::{Lattice, multiply};
use std::f64::consts::PI;

/// The low band keeps every twelfth frame: 4 kHz.
const DECIMATION: usize = 12;

/// Frames of the low-pass filter: two lobes of its sinc to either side.
const TAPS: usize = 4 * DECIMATION;

/// Edge of the low band, as a share of half its rate.
const EDGE: f64 = 0.8;

/// Low-band frames that are learned from, and coefficients.
const LOW: usize = 200;
const LOW_ORDER: usize = 48;

/// The same of the high band, in frames of the full rate.
const HIGH: usize = 40 * DECIMATION;
const HIGH_ORDER: usize = 16;

/// Low-band frames around one of the full rate that tell it, and how many of them lie after it.
const NEAR: usize = 4;

/// Frames of history that one extrapolation is made from (51 ms), and room to move them only now and then.
const HISTORY: usize = (LOW - 1) * DECIMATION + TAPS;
const CAPACITY: usize = 2 * HISTORY;

/// Frames in which the extrapolation gives way to the real sound: 1.25 ms.
const BLEND: usize = 60;

/// Conceals the gaps of one stereo stream.
///
/// Allocates when made, never later. Worst case: the first call of [`Extrapolate::conceal`] after
/// [`Extrapolate::heard`], about 300,000 multiplications.
pub struct Extrapolate {
    /// The last frames, left and right, up to `end`.
    history: [Box<[f32; CAPACITY]>; 2],
    end: usize,
    /// A gap is being filled.
    concealing: bool,
    filter: [f32; TAPS],
    /// What the filter weighs the four near low-band frames with, at each of the places between two of them.
    phases: [[f32; NEAR]; DECIMATION],
    low: Box<Lattice<LOW, LOW_ORDER>>,
    high: Box<Lattice<HIGH, HIGH_ORDER>>,
    /// The low-band frames near the next frame, and its place between them.
    near: [[f32; NEAR]; 2],
    phase: usize,
    /// Largest samples of the history.
    peak: [f32; 2],
}

impl Extrapolate {
    /// One that has heard silence.
    pub fn new() -> Self {
        let filter = std::array::from_fn(|tap| kernel(tap as f64 - 2.0 * DECIMATION as f64));
        let phases = std::array::from_fn(|phase| {
            std::array::from_fn(|near| {
                let distance = phase as f64 + DECIMATION as f64 - (near * DECIMATION) as f64;
                kernel(distance) * DECIMATION as f32
            })
        });
        Extrapolate {
            history: [Box::new([0.0; CAPACITY]), Box::new([0.0; CAPACITY])],
            end: HISTORY,
            concealing: false,
            filter,
            phases,
            low: Box::new(Lattice::new()),
            high: Box::new(Lattice::new()),
            near: [[0.0; NEAR]; 2],
            phase: 0,
            peak: [0.0; 2],
        }
    }

    /// Forgets the past, for a new stream in the same slot.
    pub fn reset(&mut self) {
        self.history.iter_mut().for_each(|history| history.fill(0.0));
        self.end = HISTORY;
        self.concealing = false;
    }

    /// Takes in frames (interleaved stereo, any number) as they came. The first ones after a gap are changed:
    /// what was invented gives way to them, so that there is no step.
    pub fn heard(&mut self, frames: &mut [f32]) {
        if std::mem::take(&mut self.concealing) {
            let blend = BLEND.min(frames.len() / 2);
            for (place, frame) in frames.chunks_exact_mut(2).take(blend).enumerate() {
                let invented = self.step();
                let share = weight(place, blend);
                frame
                    .iter_mut()
                    .zip(invented)
                    .for_each(|(real, invented)| *real += (invented - *real) * share);
            }
        }
        self.remember(frames);
    }

    /// Fills `out` (interleaved stereo, any number of frames) with how the sound may have gone on.
    pub fn conceal(&mut self, out: &mut [f32]) {
        if !std::mem::replace(&mut self.concealing, true) {
            self.learn();
        }
        out.chunks_exact_mut(2).for_each(|frame| frame.copy_from_slice(&self.step()));
        self.remember(out);
    }

    fn remember(&mut self, frames: &[f32]) {
        let frames = &frames[frames.len().saturating_sub(2 * HISTORY)..];
        let count = frames.len() / 2;
        if self.end + count > CAPACITY {
            let kept = self.end - HISTORY..self.end;
            self.history.iter_mut().for_each(|history| history.copy_within(kept.clone(), 0));
            self.end = HISTORY;
        }
        let places = self.end..self.end + count;
        let [left, right] = &mut self.history;
        let places = left[places.clone()].iter_mut().zip(&mut right[places]);
        for (frame, (left, right)) in frames.chunks_exact(2).zip(places) {
            (*left, *right) = (frame[0], frame[1]);
        }
        self.end += count;
    }

    /// Learns both bands from the history and stands ready for the first frame after it.
    fn learn(&mut self) {
        let mut low = [[0.0; LOW]; 2];
        let mut high = [[0.0; HIGH]; 2];
        for ((low, peak), history) in low.iter_mut().zip(&mut self.peak).zip(&self.history) {
            let history = &history[self.end - HISTORY..self.end];
            *peak = history.iter().fold(0.0, |peak, x| peak.max(x.abs()));
            for (low, frames) in low.iter_mut().zip(history.windows(TAPS).step_by(DECIMATION)) {
                *low = multiply::<16>(frames, &self.filter);
            }
        }
        self.low.learn([&low[0], &low[1]]);
        // The last frames of the history already need low-band frames of after it.
        let beyond = [self.low.step(), self.low.step(), self.low.step()];
        for (channel, high) in high.iter_mut().enumerate() {
            let history = &self.history[channel][self.end - HIGH..self.end];
            let low_at =
                |at: usize| low[channel].get(at).copied().unwrap_or_else(|| beyond[at - LOW][channel]);
            for (segment, (high, frames)) in
                high.chunks_exact_mut(DECIMATION).zip(history.chunks_exact(DECIMATION)).enumerate()
            {
                let near = std::array::from_fn(|near| low_at(LOW - HIGH / DECIMATION + segment + near));
                for (phase, (high, frame)) in high.iter_mut().zip(frames).enumerate() {
                    *high = frame - multiply::<NEAR>(&near, &self.phases[phase]);
                }
                self.near[channel] = near;
            }
        }
        self.high.learn([&high[0], &high[1]]);
        self.phase = 0;
    }

    /// The next invented frame; never louder than the history.
    fn step(&mut self) -> [f32; 2] {
        if self.phase == 0 {
            for (near, next) in self.near.iter_mut().zip(self.low.step()) {
                near.rotate_left(1);
                near[NEAR - 1] = next;
            }
        }
        let phase = &self.phases[self.phase];
        self.phase = (self.phase + 1) % DECIMATION;
        let mut frame = self.high.step();
        for ((x, near), peak) in frame.iter_mut().zip(&self.near).zip(self.peak) {
            *x = (*x + multiply::<NEAR>(near, phase)).clamp(-peak, peak);
        }
        frame
    }
}

impl Default for Extrapolate {
    fn default() -> Self {
        Self::new()
    }
}

/// The low-pass filter `distance` frames from its middle: a windowed sinc. All taps add up to about 1.
fn kernel(distance: f64) -> f32 {
    let x = distance * EDGE / DECIMATION as f64 * PI;
    let sinc = if x == 0.0 { 1.0 } else { x.sin() / x };
    let window = 0.5 + 0.5 * (PI * distance / (TAPS / 2) as f64).cos();
    if distance.abs() >= (TAPS / 2) as f64 { 0.0 } else { (sinc * window * EDGE / DECIMATION as f64) as f32 }
}

/// How much of the invented sound is left at `place` of `length` frames: half a cosine.
fn weight(place: usize, length: usize) -> f32 {
    let x = (place + 1) as f32 / (length + 1) as f32;
    0.5 + 0.5 * (x * std::f32::consts::PI).cos()
}
