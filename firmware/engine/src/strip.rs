//! A channel strip: gain that never jumps, and a meter.
//!
//! The box's own signal passes one before it is encoded; each peer's passes one where its sound begins and ends,
//! and two where it is placed in the mix (`mix`). Every change of level is a ramp of 10 ms, so none
//! is heard as a click.

use proto::control::Reading;
use proto::units::to_decibels;

/// Length of a ramp, in frames: 10 ms at 48 kHz, short enough to feel immediate and long enough not to click
/// (measured: below the residual of the codec).
const RAMP: f32 = 480.0;

/// From this level on a sample is taken for clipped, linear: −0.009 dB full scale. A card of 16 bits reads 0.99997
/// at most, one of 24 bits 0.9999999; music that is not clipped hardly ever lies in between.
pub const CLIP: f32 = 0.999;

/// Gain with a ramp. Starts at silence and at its target 1.
#[derive(Clone, Debug)]
pub struct Strip {
    gain: f32,
    target: f32,
    /// What a frame adds or takes away until the target is reached.
    step: f32,
}

impl Default for Strip {
    fn default() -> Self {
        Strip { gain: 0.0, target: 1.0, step: 1.0 / RAMP }
    }
}

impl Strip {
    /// A strip that is at this gain already, linear.
    pub fn at(gain: f32) -> Self {
        Strip { gain, target: gain, step: 0.0 }
    }

    /// Sets the gain to reach, in decibels; −120 and below is silence.
    pub fn set_gain(&mut self, db: f32) {
        self.set(if db <= -120.0 { 0.0 } else { 10f32.powf(db / 20.0) });
    }

    /// Sets the gain to reach, linear. From wherever it is, that takes 10 ms.
    pub fn set(&mut self, gain: f32) {
        if gain != self.target {
            self.target = gain;
            self.step = (gain - self.gain).abs() / RAMP;
        }
    }

    /// The gain to reach, linear.
    pub fn target(&self) -> f32 {
        self.target
    }

    /// The signal breaks off here: whatever comes next starts from silence.
    pub fn cut(&mut self) {
        self.gain = 0.0;
        self.step = self.target / RAMP;
    }

    /// The gain of the next frame.
    pub fn step(&mut self) -> f32 {
        let distance = self.target - self.gain;
        self.gain += distance.clamp(-self.step, self.step);
        self.gain
    }

    /// The gain of all frames until it is set anew; `None` during a ramp.
    pub fn steady(&self) -> Option<f32> {
        (self.gain == self.target).then_some(self.gain)
    }

    /// True when the strip lets nothing through and will not, until its gain is set.
    pub fn is_silent(&self) -> bool {
        self.gain == 0.0 && self.target == 0.0
    }
}

/// Root mean square and highest sample: between two glances, and between two readings, which have all the glances
/// between them.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    /// Since the last glance or reading.
    now: Sums,
    /// From the last reading to that.
    before: Sums,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    sum: f64,
    count: u32,
    peak: f32,
}

impl Sums {
    fn add(&mut self, more: Sums) {
        self.sum += more.sum;
        self.count += more.count;
        self.peak = self.peak.max(more.peak);
    }

    fn reading(self) -> Reading {
        let mean = self.sum / f64::from(self.count.max(1));
        Reading { level_db: to_decibels(mean.sqrt() as f32), peak_db: to_decibels(self.peak) }
    }
}

impl Meter {
    /// Takes in the frames of one channel.
    pub fn push(&mut self, frames: &[f32]) {
        let sum = power(frames);
        self.now.add(Sums { sum, count: frames.len() as u32, peak: highest(frames) });
    }

    /// The level since the last glance or reading.
    pub fn glance(&mut self) -> Reading {
        let now = std::mem::take(&mut self.now);
        self.before.add(now);
        now.reading()
    }

    /// The level since the last reading.
    pub fn read(&mut self) -> Reading {
        self.glance();
        std::mem::take(&mut self.before).reading()
    }
}

/// The sum of the squares of these samples, in lanes as in [`highest`].
fn power(samples: &[f32]) -> f64 {
    let mut lanes = [0.0; 8];
    let (eights, rest) = samples.as_chunks::<8>();
    for eight in eights {
        lanes.iter_mut().zip(eight).for_each(|(lane, x)| *lane += f64::from(*x) * f64::from(*x));
    }
    let rest = rest.iter().map(|x| f64::from(*x) * f64::from(*x));
    lanes.iter().copied().chain(rest).sum()
}

/// The highest of these samples, whatever its sign. Eight side by side, which a compiler makes one instruction of.
pub fn highest(samples: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (eights, rest) = samples.as_chunks::<8>();
    for eight in eights {
        lanes.iter_mut().zip(eight).for_each(|(lane, x)| *lane = lane.max(x.abs()));
    }
    lanes.iter().copied().chain(rest.iter().map(|x| x.abs())).fold(0.0, f32::max)
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
    fn from_anywhere_to_anywhere_is_ten_milliseconds() {
        for (from, to) in [(20.0, -120.0), (-120.0, 20.0), (20.0, 0.0), (-20.0, -40.0), (0.0, 3.0)] {
            let linear = |db: f32| if db <= -120.0 { 0.0 } else { 10_f32.powf(db / 20.0) };
            let mut strip = Strip::at(linear(from));
            strip.set_gain(to);
            let way = linear(to) - linear(from);
            for frame in 1..=479 {
                let gone = (strip.step() - linear(from)) / way;
                assert!((gone - frame as f32 / 480.0).abs() < 1e-3, "{from} to {to}: {gone} at {frame}");
            }
            strip.step();
            strip.step();
            assert_eq!(strip.steady(), Some(linear(to)), "{from} to {to}");
        }
    }

    #[test]
    fn the_meter_reads_root_mean_square_and_the_highest_sample() {
        let mut meter = Meter::default();
        let mut tone: Vec<f32> = (0..48_000).map(|i| (i as f32 * 0.1).sin()).collect();
        tone[47_999] = -2.0;
        meter.push(&tone);
        let Reading { level_db, peak_db } = meter.read();
        assert!((level_db + 3.01).abs() < 0.02 && (peak_db - 6.02).abs() < 0.01, "{level_db} {peak_db}");
        assert_eq!(meter.read(), Reading { level_db: -120.0, peak_db: -120.0 });
    }

    #[test]
    fn a_glance_takes_nothing_from_the_reading() {
        let mut meter = Meter::default();
        meter.push(&[0.5; 100]);
        let near = |db: f32, wanted: f32| (db - wanted).abs() < 0.01;
        let loud = meter.glance();
        assert!(near(loud.level_db, -6.02) && near(loud.peak_db, -6.02), "{loud:?}");
        meter.push(&[0.0; 100]);
        assert_eq!(meter.glance(), Reading::default());
        let both = meter.read();
        assert!(near(both.level_db, -9.03) && near(both.peak_db, -6.02), "{both:?}");
        assert_eq!(meter.read(), Reading::default());
    }
}
