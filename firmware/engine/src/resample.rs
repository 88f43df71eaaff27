//! From the peer's clock to ours: decoded frames go in at the peer's rate, come out at the card's.
//!
//! Comes after the decoder and before the strip, always on, so that no clock difference ever needs a
//! skip. A polyphase filter of 32 taps, of which only 5 lie ahead of what is read (0.1 ms of delay instead of
//! the 0.33 ms of a symmetrical one), 256 phases with linear interpolation between them: the read position may
//! move by any fraction and the ratio may change at every cycle. Sources: J. O. Smith, "Digital Audio
//! Resampling" (bandlimited interpolation); T. I. Laakso et al., "Splitting the unit delay" (1996), section on
//! least squares, for a filter whose middle is not where it reads. Why: docs/decisions/0013.

use std::f64::consts::PI;

/// Taps of the filter, in frames.
pub const TAPS: usize = 32;

/// Frames that must lie ahead of the read position. Each costs 0.02 ms of delay and gains up to 5 dB.
pub const AHEAD: usize = 5;

/// Frames that lie behind it.
const BEHIND: i64 = (TAPS - 1 - AHEAD) as i64;

/// Room for decoded frames: the longest cycle (4096) with one longest Opus packet (5760) and the taps.
const CAPACITY: usize = 16_384;

/// Sub-positions that the filter is tabulated at.
const PHASES: usize = 256;

/// Upper edge of what is passed unchanged, in radians per frame: 19 kHz.
const EDGE: f64 = 2.0 * PI * 19_000.0 / 48_000.0;

/// What a deviation above the edge counts, against one below: enough that nothing there becomes louder than by
/// 6 dB; the rest goes into what is heard.
const ABOVE: f64 = 5e-7;

/// The filter at every phase, shared by all peers.
pub struct Filter {
    /// `PHASES + 1` rows, so that interpolation needs no wrap.
    rows: Box<[[f32; TAPS]]>,
}

impl Filter {
    /// Computes the table: for each phase the least squares fit to a pure delay.
    pub fn new() -> Self {
        let fit = Fit::new();
        let rows = (0..=PHASES).map(|phase| fit.row(phase as f64 / PHASES as f64)).collect();
        Filter { rows }
    }

    /// The taps for a fraction in units of 2⁻³² frames.
    fn taps(&self, fraction: u32) -> [f32; TAPS] {
        let index = (fraction >> 24) as usize;
        let between = (fraction & 0x00ff_ffff) as f32 / 16_777_216.0;
        let (low, high) = (&self.rows[index], &self.rows[index + 1]);
        std::array::from_fn(|tap| low[tap] + (high[tap] - low[tap]) * between)
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::new()
    }
}

/// The least squares problem that all phases share: how the taps' tones overlap below the edge, as the Cholesky
/// factor of that matrix.
struct Fit {
    factor: [[f64; TAPS]; TAPS],
}

impl Fit {
    fn new() -> Self {
        let mut factor = [[0.0; TAPS]; TAPS];
        for row in 0..TAPS {
            for column in 0..=row {
                let same = if row == column { ABOVE } else { 0.0 };
                let overlap = (1.0 - ABOVE) * below_edge(row as f64 - column as f64) + same;
                let (left, above) = (factor[row], factor[column]);
                let rest = overlap - dot(&left[..column], &above[..column]);
                factor[row][column] = if row == column { rest.sqrt() } else { rest / above[column] };
            }
        }
        Fit { factor }
    }

    /// The taps that read `fraction` of a frame after tap [`BEHIND`].
    fn row(&self, fraction: f64) -> [f32; TAPS] {
        let place = BEHIND as f64 + fraction;
        let mut taps: [f64; TAPS] = std::array::from_fn(|tap| below_edge(tap as f64 - place));
        for row in 0..TAPS {
            taps[row] = (taps[row] - dot(&self.factor[row][..row], &taps[..row])) / self.factor[row][row];
        }
        for row in (0..TAPS).rev() {
            let known: f64 = (row + 1..TAPS).map(|below| self.factor[below][row] * taps[below]).sum();
            taps[row] = (taps[row] - known) / self.factor[row][row];
        }
        // Every phase passes a constant unchanged, else the ratio would sound as a faint tremolo.
        let sum: f64 = taps.iter().sum();
        taps.map(|tap| (tap / sum) as f32)
    }
}

/// What two tones below the edge have in common, `distance` frames apart, in the mean: an ideal low-pass.
fn below_edge(distance: f64) -> f64 {
    let x = EDGE * distance;
    if x == 0.0 { EDGE / PI } else { x.sin() / (PI * distance) }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Decoded frames of one peer, two channels, and the position that is read next.
pub struct Resampler {
    channels: [Box<[f32]>; 2],
    /// Frames written since the start; the ring holds the last `CAPACITY` of them.
    written: i64,
    /// Whole part of the read position, in the same count.
    position: i64,
    /// Fraction of the read position, in 2⁻³² frames.
    fraction: u32,
}

impl Resampler {
    /// An empty one.
    pub fn new() -> Self {
        let channel = || vec![0.0; CAPACITY].into_boxed_slice();
        Resampler { channels: [channel(), channel()], written: BEHIND, position: BEHIND, fraction: 0 }
    }

    /// Forgets everything: silence lies behind, and reading begins `skip` frames into what is pushed.
    pub fn reset(&mut self, skip: i64) {
        self.channels.iter_mut().for_each(|channel| channel.fill(0.0));
        self.written = BEHIND;
        self.position = BEHIND + skip;
        self.fraction = 0;
    }

    /// Frames written so far; the next one pushed has this number.
    pub fn written(&self) -> i64 {
        self.written
    }

    /// The read position, in 2⁻³² frames of the same count as [`Resampler::written`].
    pub fn position(&self) -> i128 {
        (i128::from(self.position) << 32) + i128::from(self.fraction)
    }

    /// Frames that must still be pushed before `frames` can be pulled at `step` (2⁻³² frames each).
    pub fn missing(&self, frames: usize, step: u64) -> i64 {
        let steps = frames.saturating_sub(1) as u64 * step + u64::from(self.fraction);
        let last = self.position + (steps >> 32) as i64 + AHEAD as i64;
        (last + 1 - self.written).max(0)
    }

    /// Appends one frame.
    pub fn push(&mut self, left: f32, right: f32) {
        let at = self.written as usize & (CAPACITY - 1);
        self.channels[0][at] = left;
        self.channels[1][at] = right;
        self.written += 1;
    }

    /// Fills `out` with frames read `step` apart (2⁻³² frames; `1 << 32` is the nominal rate) and moves on.
    /// What has not been pushed reads as whatever lay there, so ask [`Resampler::missing`] first. With `mono`
    /// both channels hold the same, and the work is done once.
    pub fn pull(&mut self, filter: &Filter, step: u64, out: [&mut [f32]; 2], mono: bool) {
        let [left, right] = out;
        for (left, right) in left.iter_mut().zip(right.iter_mut()) {
            let taps = filter.taps(self.fraction);
            let first = (self.position - BEHIND) as usize;
            *left = self.convolve(0, first, &taps);
            *right = if mono { *left } else { self.convolve(1, first, &taps) };
            let next = u64::from(self.fraction) + step;
            self.position += (next >> 32) as i64;
            self.fraction = next as u32;
        }
    }

    fn convolve(&self, channel: usize, first: usize, taps: &[f32; TAPS]) -> f32 {
        let ring = &self.channels[channel];
        let at = first & (CAPACITY - 1);
        match ring.get(at..at + TAPS) {
            Some(frames) => dot_in_lanes(frames, taps),
            None => (0..TAPS).map(|tap| ring[(at + tap) & (CAPACITY - 1)] * taps[tap]).sum(),
        }
    }
}

/// The sum of products, added up in eight lanes: what the processor can do at once, as no order of adding is asked for.
fn dot_in_lanes(frames: &[f32], taps: &[f32; TAPS]) -> f32 {
    let mut lanes = [0.0; 8];
    for (frames, taps) in frames.as_chunks::<8>().0.iter().zip(taps.as_chunks::<8>().0) {
        for (lane, (x, tap)) in lanes.iter_mut().zip(frames.iter().zip(taps)) {
            *lane += x * tap;
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

impl Default for Resampler {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Error of a tone resampled by `ppm`, in dB below the tone.
    fn error_db(hertz: f64, ppm: f64) -> f64 {
        let filter = Filter::new();
        let mut resampler = Resampler::new();
        let step = ((1.0 + ppm * 1e-6) * 4_294_967_296.0) as u64;
        let ratio = step as f64 / 4_294_967_296.0;
        let tone = |frame: f64| (2.0 * PI * hertz / 48_000.0 * frame).sin();
        let (mut pushed, mut error, mut power) = (0, 0.0, 0.0);
        for cycle in 0..400 {
            while resampler.missing(120, step) > 0 {
                let x = tone(f64::from(pushed)) as f32;
                resampler.push(x, x);
                pushed += 1;
            }
            let (mut left, mut right) = ([0.0; 120], [0.0; 120]);
            resampler.pull(&filter, step, [&mut left, &mut right], false);
            for (i, x) in left.iter().enumerate().filter(|_| cycle > 2) {
                let exact = tone((cycle * 120 + i) as f64 * ratio);
                error += (f64::from(*x) - exact).powi(2);
                power += exact * exact;
            }
        }
        10.0 * (error / power).log10()
    }

    #[test]
    fn tones_pass_unharmed_at_any_clock_difference() {
        for ppm in [-300.0, -100.0, 3.0, 100.0, 300.0] {
            for (hertz, most) in [(440.0, -68.0), (5_000.0, -68.0), (15_000.0, -65.0), (18_000.0, -60.0)] {
                let error = error_db(hertz, ppm);
                assert!(error < most, "{hertz} Hz at {ppm} ppm: {error:.1} dB");
            }
        }
    }

    #[test]
    fn what_lies_above_the_edge_becomes_little_louder() {
        for row in &Filter::new().rows {
            let loudest = (0..96).map(|step| {
                let omega = PI * f64::from(step) / 96.0;
                let part = |of: fn(f64) -> f64| -> f64 {
                    row.iter().enumerate().map(|(tap, x)| f64::from(*x) * of(omega * tap as f64)).sum()
                };
                part(f64::cos).hypot(part(f64::sin))
            });
            let loudest = loudest.fold(0.0, f64::max);
            assert!(loudest < 2.0, "{loudest}");
        }
    }

    #[test]
    fn the_ring_wraps_without_a_seam() {
        let filter = Filter::new();
        let mut resampler = Resampler::new();
        let mut worst = 0.0_f32;
        let mut out = [vec![0.0; 1024], vec![0.0; 1024]];
        for _ in 0..60 {
            while resampler.missing(1024, 1 << 32) > 0 {
                resampler.push(0.5, -0.5);
            }
            let [left, right] = &mut out;
            resampler.pull(&filter, 1 << 32, [left, right], false);
            if resampler.position > 2048 {
                worst = left.iter().fold(worst, |worst, x| worst.max((x - 0.5).abs()));
                worst = right.iter().fold(worst, |worst, x| worst.max((x + 0.5).abs()));
            }
        }
        assert!(worst < 1e-6, "{worst}");
    }
}
