//! From the peer's clock to ours: decoded frames go in at the peer's rate, come out at the card's.
//!
//! Comes after the decoder and before the strip, always on, so that no clock difference ever needs a
//! skip. A polyphase windowed sinc of 32 taps (0.33 ms of delay), 256 phases with linear interpolation
//! between them: the read position may move by any fraction and the ratio may change at every cycle.
//! Source: J. O. Smith, "Digital Audio Resampling" (bandlimited interpolation).

use std::f64::consts::PI;

/// Taps of the filter, in frames.
pub const TAPS: usize = 32;

/// Frames that must lie ahead of the read position: half the taps.
pub const AHEAD: usize = TAPS / 2;

/// Room for decoded frames: the longest cycle (4096) with one longest Opus packet (5760) and the taps.
const CAPACITY: usize = 16_384;

/// Sub-positions that the filter is tabulated at.
const PHASES: usize = 256;

/// Shape of the Kaiser window: side lobes about 80 dB down, passband flat to 19 kHz (measured, see tests).
const KAISER_BETA: f64 = 8.0;

/// The filter at every phase, shared by all peers.
pub struct Filter {
    /// `PHASES + 1` rows, so that interpolation needs no wrap.
    rows: Box<[[f32; TAPS]]>,
}

impl Filter {
    /// Computes the table.
    pub fn new() -> Self {
        let rows = (0..=PHASES).map(|phase| row(phase as f64 / PHASES as f64)).collect();
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

/// One row: the windowed sinc whose centre lies `fraction` of a frame after tap `AHEAD - 1`.
fn row(fraction: f64) -> [f32; TAPS] {
    let mut taps: [f64; TAPS] = std::array::from_fn(|tap| {
        let x = tap as f64 - (AHEAD as f64 - 1.0) - fraction;
        let sinc = if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
        sinc * kaiser(x / AHEAD as f64)
    });
    // Every phase passes a constant unchanged, else the ratio would sound as a faint tremolo.
    let sum: f64 = taps.iter().sum();
    taps.iter_mut().for_each(|tap| *tap /= sum);
    taps.map(|tap| tap as f32)
}

fn kaiser(x: f64) -> f64 {
    if x.abs() >= 1.0 { 0.0 } else { bessel_i0(KAISER_BETA * (1.0 - x * x).sqrt()) / bessel_i0(KAISER_BETA) }
}

fn bessel_i0(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..40 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
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
        Resampler {
            channels: [channel(), channel()],
            written: AHEAD as i64,
            position: AHEAD as i64,
            fraction: 0,
        }
    }

    /// Forgets everything: silence lies behind, and reading begins `skip` frames into what is pushed.
    pub fn reset(&mut self, skip: i64) {
        self.channels.iter_mut().for_each(|channel| channel.fill(0.0));
        self.written = AHEAD as i64;
        self.position = AHEAD as i64 + skip;
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
            let first = (self.position - (AHEAD as i64 - 1)) as usize;
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
            Some(frames) => frames.iter().zip(taps).map(|(x, tap)| x * tap).sum(),
            None => (0..TAPS).map(|tap| ring[(at + tap) & (CAPACITY - 1)] * taps[tap]).sum(),
        }
    }
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
            assert!(error_db(440.0, ppm) < -85.0, "440 Hz at {ppm} ppm: {:.1} dB", error_db(440.0, ppm));
            assert!(error_db(5_000.0, ppm) < -75.0, "5 kHz at {ppm} ppm: {:.1} dB", error_db(5_000.0, ppm));
            assert!(
                error_db(15_000.0, ppm) < -60.0,
                "15 kHz at {ppm} ppm: {:.1} dB",
                error_db(15_000.0, ppm)
            );
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
