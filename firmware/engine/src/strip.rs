//! A channel strip: gain that never jumps, and a meter.
//!
//! The box's own signal passes one before it is encoded, each peer's passes one before the mix. Every
//! change of level is a ramp of 10 ms, so none is heard as a click.

use proto::units::to_decibels;

/// Length of a full ramp from silence to unity, in frames: 10 ms at 48 kHz, short enough to feel
/// immediate and long enough not to click (measured: below the residual of the codec).
const RAMP: f32 = 480.0;

/// Gain with a ramp. Starts at silence and at its target 1.
#[derive(Clone, Debug)]
pub struct Strip {
    gain: f32,
    target: f32,
}

impl Default for Strip {
    fn default() -> Self {
        Strip { gain: 0.0, target: 1.0 }
    }
}

impl Strip {
    /// Sets the gain to reach, in decibels; −120 and below is silence.
    pub fn set_gain(&mut self, db: f32) {
        self.target = if db <= -120.0 { 0.0 } else { 10f32.powf(db / 20.0) };
    }

    /// The signal breaks off here: whatever comes next starts from silence.
    pub fn cut(&mut self) {
        self.gain = 0.0;
    }

    /// The gain of the next frame.
    pub fn step(&mut self) -> f32 {
        let distance = self.target - self.gain;
        // Proportional above unity, so that +20 dB takes no longer than 0 dB.
        let step = self.target.max(1.0) / RAMP;
        self.gain += distance.clamp(-step, step);
        self.gain
    }

    /// True when the strip lets nothing through and will not, until its gain is set.
    pub fn is_silent(&self) -> bool {
        self.gain == 0.0 && self.target == 0.0
    }
}

/// Root mean square between two readings.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    sum: f64,
    count: u32,
}

impl Meter {
    /// Takes in the frames of one channel.
    pub fn push(&mut self, frames: &[f32]) {
        self.sum += frames.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
        self.count += frames.len() as u32;
    }

    /// The level since the last reading, in dB full scale; −120 for silence.
    pub fn read(&mut self) -> f32 {
        let mean = self.sum / f64::from(self.count.max(1));
        *self = Meter::default();
        to_decibels(mean.sqrt() as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_takes_ten_milliseconds_and_never_jumps() {
        let mut strip = Strip::default();
        let mut last = 0.0;
        for frame in 0..480 {
            let gain = strip.step();
            assert!((gain - last).abs() < 0.0022, "frame {frame}");
            last = gain;
        }
        assert!((last - 1.0).abs() < 1e-3);
        strip.set_gain(-200.0);
        for _ in 0..481 {
            strip.step();
        }
        assert!(strip.is_silent());
    }

    #[test]
    fn the_meter_reads_root_mean_square() {
        let mut meter = Meter::default();
        let tone: Vec<f32> = (0..48_000).map(|i| (i as f32 * 0.1).sin()).collect();
        meter.push(&tone);
        assert!((meter.read() + 3.01).abs() < 0.02);
        assert_eq!(meter.read(), -120.0);
    }
}
