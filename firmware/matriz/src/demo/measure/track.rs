//! How late one sound is in another, once a window: the delay track.
//!
//! Before it: what a box heard, and what one sender played, both on the listener's frames. After it:
//! [`super::fit`], which subtracts the sender at that delay. Method: generalised cross-correlation
//! with the phase transform (Knapp and Carter 1976), whitened in part because music has gaps in its
//! spectrum; of each window's best peaks the path with the most height and the fewest jumps (Viterbi).

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::f32::consts::TAU;
use std::sync::Arc;

/// Length of a window, in frames: 1 s.
pub const WINDOW: usize = 48_000;
/// From one window to the next, in frames: 0.5 s.
pub const HOP: usize = 24_000;
/// Longest delay looked for, in frames: 500 ms.
pub const MOST: usize = 24_000;

/// Length of the transforms: window and longest delay, rounded up to 2¹³·9, which is fast.
const LENGTH: usize = 73_728;
/// How much of the cross-spectrum's magnitude is taken out: 0 is plain correlation, 1 phase only.
const WHITENING: f32 = 0.7;
/// The band that is compared, in Hz: above it codecs invent noise, below it rooms rumble.
const BAND: [f32; 2] = [100.0, 8_000.0];
/// Peaks kept of each window.
const CANDIDATES: usize = 8;
/// A peak must stand out this many times above the root mean square of all lags. The highest of
/// 24 000 noise values stands out 4.3 times.
const CLEAR: f32 = 6.0;
/// What a jump costs, in typical peak heights; a change of less than [`SMOOTH`] costs its part.
const JUMP: f32 = 1.0;
/// A change of delay from window to window that is as bad as any jump, in frames: 2 ms.
const SMOOTH: f32 = 96.0;
/// A point this far from the median of its neighbours is a stray, in frames: 5 ms.
const STRAY: f64 = 240.0;
/// What changes faster than this, in frames per frame, has jumped: twice the slew of a jitter buffer
/// that shrinks by 0.2 %.
const FASTEST_SLEW: f64 = 0.004;
/// Windows quieter than this (root mean square, full scale 1) are silent: −70 dB.
const SILENCE: f32 = 3e-4;

/// The delay in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The middle of the window, in the listener's frames from the start of what was given.
    pub frame: f64,
    /// The delay, in the listener's frames.
    pub delay: f64,
}

/// A local maximum of the correlation.
#[derive(Clone, Copy, Debug)]
struct Peak {
    /// Delay in frames, between frames by a parabola.
    delay: f32,
    /// Height, in root mean squares of the window's correlation.
    height: f32,
}

/// Follows the delay of `sent` in `heard`. `sent` begins [`MOST`] frames earlier than `heard` and
/// is on the same frames. Windows that are silent or show no clear peak are left out; the track is
/// empty when there is no other.
pub fn follow(heard: &[f32], sent: &[f32]) -> Vec<Point> {
    let mut correlator = Correlator::new();
    let starts = (0..).map(|n| n * HOP).take_while(|start| start + WINDOW <= heard.len());
    let windows: Vec<(usize, Vec<Peak>)> = starts
        .filter_map(|start| {
            let heard = &heard[start..start + WINDOW];
            let sent = sent.get(start..start + WINDOW + MOST)?;
            // What is heard now was sent before now: the part that could be heard must sound.
            let sounds = level(heard) > SILENCE && level(sent) > SILENCE;
            sounds.then(|| (start, correlator.peaks(heard, sent)))
        })
        .filter(|(_, peaks)| !peaks.is_empty())
        .collect();
    let path = best_path(&windows);
    let point = |(start, peak): (usize, Peak)| Point {
        frame: (start + WINDOW / 2) as f64,
        delay: f64::from(peak.delay),
    };
    without_strays(&path.into_iter().filter(|(_, peak)| peak.height >= CLEAR).map(point).collect::<Vec<_>>())
}

/// The delay at any frame: linear between the points of a track, half-way from one to the other where
/// it jumps, constant outside them.
pub fn delay_at(track: &[Point], frame: f64) -> f64 {
    let next = track.partition_point(|point| point.frame <= frame);
    match (next.checked_sub(1).map(|n| track[n]), track.get(next)) {
        (Some(a), Some(b)) => {
            let along = (frame - a.frame) / (b.frame - a.frame);
            let jumps = (b.delay - a.delay).abs() > FASTEST_SLEW * (b.frame - a.frame);
            a.delay + (b.delay - a.delay) * if jumps { along.round() } else { along }
        }
        (Some(only), None) => only.delay,
        (None, only) => only.map_or(0.0, |only| only.delay),
    }
}

/// Drops points that agree with neither side of their neighbourhood: a delay that really changes
/// stays changed for a while.
fn without_strays(track: &[Point]) -> Vec<Point> {
    let near = |n: usize| &track[n.saturating_sub(2)..(n + 3).min(track.len())];
    let kept = |n: &usize| (median(near(*n).iter().map(|p| p.delay)) - track[*n].delay).abs() <= STRAY;
    (0..track.len()).filter(kept).map(|n| track[n]).collect()
}

/// The median; the mean of the middle two of an even number. 0 of nothing.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => 0.5 * (sorted[middle - 1] + sorted[middle]),
    }
}

/// One peak per window, so that the heights less the cost of jumps are the most they can be.
fn best_path(windows: &[(usize, Vec<Peak>)]) -> Vec<(usize, Peak)> {
    let mut heights: Vec<f32> = windows.iter().map(|(_, peaks)| peaks[0].height).collect();
    heights.sort_by(f32::total_cmp);
    let Some(typical) = heights.get(heights.len() / 2) else { return Vec::new() };
    let jump = |a: &Peak, b: &Peak| typical * JUMP * ((a.delay - b.delay).abs() / SMOOTH).min(1.0);

    // For each peak of each window: the best score of a path that ends there, and where it came from.
    let mut scores: Vec<Vec<(f32, usize)>> = Vec::with_capacity(windows.len());
    for (n, (_, peaks)) in windows.iter().enumerate() {
        let best = |peak: &Peak| {
            let before = n.checked_sub(1).map_or(&[][..], |m| &windows[m].1);
            let from = |(m, other): (usize, &Peak)| (scores[n - 1][m].0 - jump(other, peak), m);
            let come = before.iter().enumerate().map(from).max_by(|a, b| a.0.total_cmp(&b.0));
            let (score, origin) = come.unwrap_or((0.0, 0));
            (score + peak.height, origin)
        };
        let row = peaks.iter().map(best).collect();
        scores.push(row);
    }
    let last = scores.last().into_iter().flatten().enumerate().max_by(|a, b| a.1.0.total_cmp(&b.1.0));
    let mut at = last.map_or(0, |(n, _)| n);
    let mut path = Vec::with_capacity(windows.len());
    for ((start, peaks), row) in windows.iter().zip(&scores).rev() {
        path.push((*start, peaks[at]));
        at = row[at].1;
    }
    path.reverse();
    path
}

/// Transforms and their memory, made once for all windows.
struct Correlator {
    forward: Arc<dyn RealToComplex<f32>>,
    backward: Arc<dyn ComplexToReal<f32>>,
    taper: Vec<f32>,
    time: Vec<f32>,
    heard: Vec<Complex<f32>>,
    sent: Vec<Complex<f32>>,
}

impl Correlator {
    fn new() -> Self {
        let mut planner = RealFftPlanner::new();
        let forward = planner.plan_fft_forward(LENGTH);
        let backward = planner.plan_fft_inverse(LENGTH);
        Correlator {
            taper: hann(WINDOW),
            time: forward.make_input_vec(),
            heard: forward.make_output_vec(),
            sent: forward.make_output_vec(),
            forward,
            backward,
        }
    }

    /// The best peaks of one window, the highest first. `sent` is longer by [`MOST`] frames.
    fn peaks(&mut self, heard: &[f32], sent: &[f32]) -> Vec<Peak> {
        self.time.fill(0.0);
        for ((out, frame), gain) in self.time.iter_mut().zip(heard).zip(&self.taper) {
            *out = frame * gain;
        }
        self.forward.process(&mut self.time, &mut self.heard).expect("the plan made these buffers");
        self.time.fill(0.0);
        self.time[..sent.len()].copy_from_slice(sent);
        self.forward.process(&mut self.time, &mut self.sent).expect("the plan made these buffers");
        self.whiten();
        self.backward.process(&mut self.sent, &mut self.time).expect("the plan made these buffers");
        // Value n is for a start n frames into `sent`, which is a delay of MOST − n.
        self.time.truncate(MOST + 1);
        self.time.reverse();
        let peaks = highest(&self.time);
        self.time.resize(LENGTH, 0.0);
        peaks
    }

    /// The cross-spectrum into `sent`, within the band and with most of its magnitude taken out.
    fn whiten(&mut self) {
        let bin = |hertz: f32| (hertz * LENGTH as f32 / 48_000.0) as usize;
        let band = bin(BAND[0])..bin(BAND[1]);
        for (n, (sent, heard)) in self.sent.iter_mut().zip(&self.heard).enumerate() {
            let cross = *sent * heard.conj();
            let magnitude = cross.norm();
            *sent = if band.contains(&n) && magnitude > f32::MIN_POSITIVE {
                cross * magnitude.powf(-WHITENING)
            } else {
                Complex::default()
            };
        }
    }
}

/// The highest local maxima, heights in root mean squares of all values.
fn highest(values: &[f32]) -> Vec<Peak> {
    let scale = level(values);
    if scale == 0.0 {
        return Vec::new();
    }
    let mut peaks: Vec<Peak> = values
        .windows(3)
        .enumerate()
        .filter(|(_, three)| three[1] > 2.0 * scale && three[1] > three[0] && three[1] >= three[2])
        .map(|(n, three)| {
            let bend = three[0] - 2.0 * three[1] + three[2];
            let aside = 0.5 * (three[0] - three[2]) / bend;
            Peak { delay: (n + 1) as f32 + aside, height: three[1] / scale }
        })
        .collect();
    peaks.sort_by(|a, b| b.height.total_cmp(&a.height));
    peaks.truncate(CANDIDATES);
    peaks
}

/// Hann's window.
pub fn hann(length: usize) -> Vec<f32> {
    (0..length).map(|n| 0.5 - 0.5 * (TAU * (n as f32 + 0.5) / length as f32).cos()).collect()
}

/// Root mean square.
fn level(frames: &[f32]) -> f32 {
    let energy: f64 = frames.iter().map(|frame| f64::from(*frame).powi(2)).sum();
    (energy / frames.len().max(1) as f64).sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(delays: &[f64]) -> Vec<Point> {
        delays.iter().enumerate().map(|(n, delay)| Point { frame: (n * HOP) as f64, delay: *delay }).collect()
    }

    #[test]
    fn a_track_is_linear_where_it_slews_and_steps_where_it_jumps() {
        let track = track(&[100.0, 148.0, 388.0]);
        let half = HOP as f64 / 2.0;
        assert_eq!(delay_at(&track, -5.0), 100.0);
        assert_eq!(delay_at(&track, half), 124.0);
        assert_eq!(delay_at(&track, 3.0 * half - 1.0), 148.0);
        assert_eq!(delay_at(&track, 3.0 * half + 1.0), 388.0);
        assert_eq!(delay_at(&track, 99.0 * half), 388.0);
        assert_eq!(delay_at(&[], 1.0), 0.0);
    }

    #[test]
    fn a_stray_is_dropped_and_a_jump_that_lasts_is_not() {
        let kept =
            |delays: &[f64]| without_strays(&track(delays)).iter().map(|p| p.delay).collect::<Vec<_>>();
        assert_eq!(kept(&[500.0, 500.0, 9_000.0, 501.0, 502.0]), [500.0, 500.0, 501.0, 502.0]);
        let jump = [500.0, 500.0, 500.0, 900.0, 900.0, 900.0];
        assert_eq!(kept(&jump), jump);
    }

    #[test]
    fn a_path_prefers_few_jumps_to_the_highest_peaks() {
        let peaks = |all: &[(f32, f32)]| {
            let peak = |(delay, height): &(f32, f32)| Peak { delay: *delay, height: *height };
            all.iter().map(peak).collect::<Vec<_>>()
        };
        let windows = [
            (0, peaks(&[(500.0, 20.0), (7_000.0, 19.0)])),
            (1, peaks(&[(7_000.0, 20.0), (501.0, 18.0)])), // a rhythm that repeats looks like this
            (2, peaks(&[(502.0, 20.0)])),
        ];
        let path: Vec<f32> = best_path(&windows).iter().map(|(_, peak)| peak.delay).collect();
        assert_eq!(path, [500.0, 501.0, 502.0]);
        assert!(best_path(&[]).is_empty());
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median([].into_iter()), 0.0);
    }
}
