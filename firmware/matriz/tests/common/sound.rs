//! What is played into the boxes, and what can be said about what they heard.
//!
//! Pure but for the files. Who was heard when is read from tones: each box plays one of its own, and its
//! level in another's recording is measured every 10 ms.

use proto::units::Time;
use std::f64::consts::TAU;
use std::path::Path;
use std::time::Duration;

/// Frames in a second.
const RATE: u32 = 48_000;

/// Length of a window in which a tone's level is measured, in frames (20 ms), and from one to the next.
const WINDOW: usize = 960;
const STEP: usize = 480;

/// What a box heard: the left channel of its mix.
pub struct Recording {
    frames: Vec<f32>,
    /// A moment at which the card was at a position.
    time: Time,
    position: i64,
    rate: f64,
}

impl Recording {
    pub fn read(path: &Path, time: Time, position: i64, ppm: f64) -> Recording {
        let [frames, _] = read(path);
        Recording { frames, time, position, rate: f64::from(RATE) * (1.0 + ppm * 1e-6) }
    }

    /// Its length.
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(self.frames.len() as f64 / self.rate)
    }

    /// The levels of a tone from one moment to another, in dB, one each 10 ms.
    pub fn tone(&self, hertz: u32, from: Time, to: Time) -> Vec<f64> {
        let at = |moment: Time| {
            let frames = moment.nanos_since(self.time) as f64 * 1e-9 * self.rate;
            (self.position + frames as i64).clamp(0, self.frames.len() as i64) as usize
        };
        tone(&self.frames[at(from)..at(to)], hertz)
    }
}

/// Both channels of a WAV file; of a mono file the second is empty.
pub fn read(path: &Path) -> [Vec<f32>; 2] {
    let mut reader = hound::WavReader::open(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let channels = usize::from(reader.spec().channels);
    let values: Vec<f32> =
        reader.samples::<i16>().map(|value| f32::from(value.unwrap()) / 32_768.0).collect();
    let channel = |of: usize| values.iter().skip(of).step_by(channels).copied().collect();
    [channel(0), if channels == 2 { channel(1) } else { Vec::new() }]
}

/// The levels of a tone in dB, one each 10 ms: one line of a Fourier transform through a Hann window of
/// 20 ms, which shuts out tones that are 100 Hz off or more. A sine of full scale is 0 dB.
pub fn tone(frames: &[f32], hertz: u32) -> Vec<f64> {
    frames.windows(WINDOW).step_by(STEP).map(|window| level(window, hertz)).collect()
}

fn level(window: &[f32], hertz: u32) -> f64 {
    let (mut real, mut imaginary, mut weight) = (0.0, 0.0, 0.0);
    for (n, frame) in window.iter().enumerate() {
        let hann = 0.5 - 0.5 * (TAU * (n as f64 + 0.5) / window.len() as f64).cos();
        let phase = TAU * f64::from(hertz) * n as f64 / f64::from(RATE);
        real += f64::from(*frame) * hann * phase.cos();
        imaginary += f64::from(*frame) * hann * phase.sin();
        weight += hann;
    }
    let amplitude = 2.0 * (real * real + imaginary * imaginary).sqrt() / weight;
    20.0 * amplitude.max(1e-6).log10()
}

/// The value in the middle.
pub fn median(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "nothing was recorded there");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Writes a mono WAV file of 16 bits.
pub fn write(path: &Path, rate: u32, frames: impl Iterator<Item = f64>) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = hound::WavWriter::create(path, spec).unwrap();
    frames.for_each(|frame| file.write_sample((frame * 32_767.0).round() as i16).unwrap());
    file.finalize().unwrap();
}

/// Writes a second of a tone as loud as the simulated card's; whole cycles, so that it can be looped.
pub fn write_tone(path: &Path, hertz: u32) {
    let frames = (0..RATE).map(|n| 0.25 * (TAU * f64::from(hertz * n % RATE) / f64::from(RATE)).sin());
    write(path, RATE, frames);
}
