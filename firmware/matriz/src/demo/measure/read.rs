//! Reading a card's frames between frames: a looped signal at any fractional position.
//!
//! Before it: what a card played, and where another card's frame falls in it. After it: the same
//! sound on the other card's frames. A windowed sinc of 48 taps: flat up to 20 kHz, images below
//! −80 dB (Kaiser's design formula, Oppenheim and Schafer, Discrete-Time Signal Processing, section 7.5).

use std::f64::consts::PI;

/// Taps of the interpolation filter, in frames.
const TAPS: usize = 48;
/// Positions between two frames for which the filter is tabled; between them it is linear, with an
/// error of (π/512)²/8, or −106 dB.
const PHASES: usize = 512;
/// Shape of the Kaiser window: 80 dB of stop band.
const BETA: f64 = 8.0;

/// The interpolation filter, tabled once.
#[derive(Debug)]
pub struct Sinc {
    phases: Vec<[f32; TAPS]>,
}

impl Sinc {
    /// Computes the table of about 100 kB.
    pub fn new() -> Self {
        let tap = |phase: usize, n: usize| {
            let x = n as f64 - (TAPS / 2 - 1) as f64 - phase as f64 / PHASES as f64;
            let sinc = if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
            let edge = 2.0 * x / TAPS as f64;
            let window = bessel_i0(BETA * (1.0 - edge * edge).max(0.0).sqrt()) / bessel_i0(BETA);
            (sinc * window) as f32
        };
        Sinc { phases: (0..=PHASES).map(|p| std::array::from_fn(|n| tap(p, n))).collect() }
    }

    /// The value at `position` frames of a loop that begins at frame 0 and is silent before it.
    pub fn read(&self, looped: &[f32], position: f64) -> f32 {
        let whole = position.floor();
        let first = whole as i64 - (TAPS / 2 - 1) as i64;
        if looped.is_empty() || first + (TAPS as i64) <= 0 {
            return 0.0;
        }
        let start = first.rem_euclid(looped.len() as i64) as usize;
        match looped.get(start..start + TAPS) {
            Some(frames) if first >= 0 => self.apply(frames, position - whole),
            _ => {
                let frame = |n: i64| if n < 0 { 0.0 } else { looped[n as usize % looped.len()] };
                let frames: [f32; TAPS] = std::array::from_fn(|n| frame(first + n as i64));
                self.apply(&frames, position - whole)
            }
        }
    }

    /// The filter at `fraction` (0 to 1) of a frame, applied to the [`TAPS`] frames around it.
    fn apply(&self, frames: &[f32], fraction: f64) -> f32 {
        let phase = fraction * PHASES as f64;
        let index = (phase as usize).min(PHASES - 1);
        let between = (phase - index as f64) as f32;
        let (low, high) = (&self.phases[index], &self.phases[index + 1]);
        let mut sums = [0.0_f32; 8]; // eight at a time, as vector units have it
        for ((frames, low), high) in frames.chunks_exact(8).zip(low.chunks_exact(8)).zip(high.chunks_exact(8))
        {
            for n in 0..8 {
                sums[n] += frames[n] * (low[n] + between * (high[n] - low[n]));
            }
        }
        sums.iter().sum()
    }
}

/// Modified Bessel function of the first kind and order zero, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..50 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_is_read_between_its_frames() {
        let sinc = Sinc::new();
        for hertz in [50.0, 1_000.0, 10_000.0, 20_000.0] {
            let omega = 2.0 * PI * hertz / 48_000.0;
            let sine: Vec<f32> = (0..48_000).map(|n| (omega * f64::from(n)).sin() as f32).collect();
            for n in 0..2_000 {
                let position = 100.0 + f64::from(n) * 1.000_3 + 0.123;
                let error = f64::from(sinc.read(&sine, position)) - (omega * position).sin();
                assert!(error.abs() < 3e-4, "{hertz} Hz at {position}: off by {error}");
            }
        }
    }

    #[test]
    fn a_loop_has_no_seam_and_nothing_before_it() {
        let sinc = Sinc::new();
        let omega = 2.0 * PI / 100.0;
        let turn: Vec<f32> = (0..100).map(|n| (omega * f64::from(n)).sin() as f32).collect();
        for n in 0..500 {
            let position = 50.0 + f64::from(n) * 0.77;
            let error = f64::from(sinc.read(&turn, position)) - (omega * position).sin();
            assert!(error.abs() < 1e-3, "at {position}: off by {error}");
        }
        assert_eq!(sinc.read(&turn, -30.0), 0.0);
        assert_eq!(sinc.read(&[], 3.0), 0.0);
        assert_eq!(sinc.read(&[0.0, 0.0, 0.5], 5.0), 0.5, "a loop shorter than the filter");
    }
}
