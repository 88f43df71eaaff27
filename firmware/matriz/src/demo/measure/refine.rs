//! Corrects a delay track between its windows: where a jitter buffer jumped or slewed.
//!
//! Before it: a sender's part as [`super::fit`] found it along a track of 1 s windows, and the mix
//! without the other senders. After it: a track with a point every 43 ms. Method: for every short
//! window and every small shift, the energy that subtracting the shifted part would take away; of
//! all paths through these, the one that takes away most, less a price for moving (Viterbi; the
//! truncated linear price in linear time as in Felzenszwalb and Huttenlocher, "Efficient Belief
//! Propagation for Early Vision", 2006). A jump is placed to within about 50 ms, and what is misplaced
//! counts as left over.

use super::track::{Point, delay_at, hann};
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::sync::Arc;

/// Length of a window, in frames: 171 ms.
const WINDOW: usize = 8_192;
/// From one window to the next, in frames: 43 ms.
const HOP: usize = 2_048;
/// Largest correction either way, in frames: 6.7 ms, more than half of a jump of 10 ms.
const MOST: usize = 320;
/// Length of the transforms: at least `WINDOW` + 2·`MOST`; 2¹⁰·9.
const LENGTH: usize = 9_216;
/// Price of a jump, in the part's mean energy per window: half a window must speak for it.
const JUMP: f32 = 0.5;
/// A move of this many frames is as expensive as any jump.
const SMOOTH: f32 = 96.0;

/// The corrected track of a sender. `alone` is the mix without the other senders, `part` what the fit
/// made of this one along `track`; both begin at the track's frame 0 and are equally long. Empty when
/// they are shorter than a window.
pub fn refine(alone: &[f32], part: &[f32], track: &[Point]) -> Vec<Point> {
    let mut gains = Gains::new();
    let starts = (MOST..).step_by(HOP).take_while(|start| start + WINDOW + MOST <= part.len());
    let rows: Vec<Vec<f32>> = starts
        .clone()
        .map(|start| gains.of(&alone[start..start + WINDOW], &part[start - MOST..start + WINDOW + MOST]))
        .collect();
    let energy: f32 = part.chunks(512).map(|some| some.iter().map(|frame| frame * frame).sum::<f32>()).sum();
    // Hann's window sums to half its length.
    let price = JUMP * 0.5 * energy * WINDOW as f32 / part.len().max(1) as f32;
    let shifts = best_path(&rows, price);
    let point = |((start, row), at): ((usize, &Vec<f32>), usize)| {
        let frame = (start + WINDOW / 2) as f64;
        let shift = between(row, at) - MOST as f64;
        // The shifted part was played `shift` frames earlier on the old track.
        Point { frame, delay: shift + delay_at(track, frame - shift) }
    };
    starts.zip(&rows).zip(shifts).map(point).collect()
}

/// One shift per window, as an index: the path with the highest sum of gains less the price of its
/// moves. A move costs in proportion to its length, and at most `price`.
fn best_path(rows: &[Vec<f32>], price: f32) -> Vec<usize> {
    let Some(first) = rows.first() else { return Vec::new() };
    let mut scores = first.clone();
    let mut origins: Vec<Vec<usize>> = Vec::with_capacity(rows.len());
    for row in &rows[1..] {
        origins.push(move_along(&mut scores, price));
        scores.iter_mut().zip(row).for_each(|(score, gain)| *score += gain);
    }
    let mut path = vec![highest(&scores)];
    for origin in origins.iter().rev() {
        path.push(origin[path[path.len() - 1]]);
    }
    path.reverse();
    path
}

/// Replaces each score by the best that can be reached from any other, and says from which.
fn move_along(scores: &mut [f32], price: f32) -> Vec<usize> {
    let step = price / SMOOTH;
    let top = highest(scores);
    let jumped = scores[top] - price;
    let mut origin: Vec<usize> = (0..scores.len()).collect();
    let mut take = |n: usize, from: usize, scores: &mut [f32]| {
        if scores[from] - step > scores[n] {
            scores[n] = scores[from] - step;
            origin[n] = origin[from];
        }
    };
    (1..scores.len()).for_each(|n| take(n, n - 1, scores));
    (1..scores.len()).rev().for_each(|n| take(n - 1, n, scores));
    for (score, origin) in scores.iter_mut().zip(&mut origin) {
        if jumped > *score {
            (*score, *origin) = (jumped, top);
        }
    }
    origin
}

fn highest(scores: &[f32]) -> usize {
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or(0)
}

/// The top of the parabola through a local maximum and its neighbours; elsewhere the index itself.
fn between(row: &[f32], at: usize) -> f64 {
    let aside = match at.checked_sub(1).and_then(|before| row.get(before..before + 3)) {
        Some([a, b, c]) if b > a && b >= c => 0.5 * (a - c) / (a - 2.0 * b + c),
        _ => 0.0,
    };
    at as f64 + f64::from(aside)
}

/// Transforms and their memory, made once for all windows.
struct Gains {
    forward: Arc<dyn RealToComplex<f32>>,
    backward: Arc<dyn ComplexToReal<f32>>,
    taper: Vec<f32>,
    taper_spectrum: Vec<Complex<f32>>,
    time: Vec<f32>,
}

impl Gains {
    fn new() -> Self {
        let mut planner = RealFftPlanner::new();
        let forward = planner.plan_fft_forward(LENGTH);
        let mut gains = Gains {
            time: forward.make_input_vec(),
            taper: hann(WINDOW),
            taper_spectrum: Vec::new(),
            forward,
            backward: planner.plan_fft_inverse(LENGTH),
        };
        gains.taper_spectrum = gains.spectrum(hann(WINDOW).into_iter());
        gains
    }

    fn spectrum(&mut self, frames: impl Iterator<Item = f32>) -> Vec<Complex<f32>> {
        self.time.fill(0.0);
        self.time.iter_mut().zip(frames).for_each(|(out, frame)| *out = frame);
        let mut spectrum = self.forward.make_output_vec();
        self.forward.process(&mut self.time, &mut spectrum).expect("the plan made these buffers");
        spectrum
    }

    /// The energy that subtracting the part takes away from a window of `alone`, 2·a·p − p² under the
    /// taper, for each shift from −`MOST` (earlier) to `MOST` (later). `part` is longer by `MOST` at
    /// both ends.
    fn of(&mut self, alone: &[f32], part: &[f32]) -> Vec<f32> {
        let tapered: Vec<f32> = alone.iter().zip(&self.taper).map(|(frame, gain)| frame * gain).collect();
        let alone = self.spectrum(tapered.into_iter());
        let squares = self.spectrum(part.iter().map(|frame| frame * frame));
        let mut sum = self.spectrum(part.iter().copied());
        for (((sum, alone), squares), taper) in
            sum.iter_mut().zip(&alone).zip(&squares).zip(&self.taper_spectrum)
        {
            *sum = (*sum * alone.conj() * 2.0 - squares * taper.conj()) / LENGTH as f32;
        }
        // The ends of a real signal's spectrum are real; rounding has left specks.
        sum[0].im = 0.0;
        sum[LENGTH / 2].im = 0.0;
        self.backward.process(&mut sum, &mut self.time).expect("the plan made these buffers");
        self.time[..=2 * MOST].iter().rev().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise with no repetition in sight, smoothed so that neighbours resemble each other.
    fn noise() -> Vec<f32> {
        let raw = |n: usize| ((n as f64).powi(2) * 0.618_033_988_7).fract() as f32 - 0.5;
        (0..144_000).map(|n| raw(n) + raw(n + 1) + raw(n + 2)).collect()
    }

    #[test]
    fn a_jump_between_two_windows_is_found_where_it_is() {
        let part = noise();
        let alone: Vec<f32> =
            (0..part.len()).map(|n| if n < 70_000 { part[n] } else { part[n - 37] }).collect();
        let track = [Point { frame: 0.0, delay: 500.0 }];
        let refined = refine(&alone, &part, &track);
        assert!(refined.len() > 60, "{} points in three seconds", refined.len());
        for point in &refined {
            let truth = if point.frame < 70_000.0 { 500.0 } else { 537.0 };
            let near = (point.frame - 70_000.0).abs() < 2_400.0;
            assert!(near || (point.delay - truth).abs() < 0.1, "{point:?} instead of {truth}");
        }
    }

    #[test]
    fn where_nothing_sounds_the_track_stays() {
        let mut part = noise();
        part[40_000..].fill(0.0);
        let alone: Vec<f32> =
            part.iter().enumerate().map(|(n, frame)| frame + 1e-3 * (n % 7) as f32).collect();
        let refined = refine(&alone, &part, &[Point { frame: 0.0, delay: 500.0 }]);
        assert!(refined.iter().all(|point| (point.delay - 500.0).abs() < 1.0), "{refined:?}");
        assert!(refine(&alone[..99], &part[..99], &[]).is_empty());
    }
}
