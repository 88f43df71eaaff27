//! WAV files for the simulated card: music in, and what is heard out.
//!
//! Used by [`super::simulated`] and the demo. Files are read whole before the music begins; they are
//! written by a thread of their own, which the audio thread feeds through a ring.

use anyhow::{Context, anyhow, bail};
use proto::units::SAMPLE_RATE;
use rtrb::{Consumer, Producer, RingBuffer};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Room between the audio thread and the file, in values: 5 s of stereo.
const RING: usize = 5 * 2 * SAMPLE_RATE as usize;

/// How often the file is written to, and how often its header is brought up to date.
const WRITE_EVERY: Duration = Duration::from_millis(50);
const FLUSH_EVERY: u32 = 20;

/// Reads a WAV file of 48 kHz into two channels; of a mono file the second one is silent.
///
/// # Errors
/// There is no such file, it is no WAV file, or it has another rate or more channels; says what to do.
pub fn read(path: &Path) -> anyhow::Result<[Vec<f32>; 2]> {
    let channels = read_from(path, 0)?;
    if channels[0].is_empty() {
        bail!("{} is empty: name a WAV file with music in it", path.display());
    }
    Ok(channels)
}

/// As [`read`], from frame `from` to the end, which may be nothing.
///
/// # Errors
/// As [`read`].
pub fn read_from(path: &Path, from: u32) -> anyhow::Result<[Vec<f32>; 2]> {
    let mut reader = hound::WavReader::open(path)
        .map_err(|error| anyhow!("{} cannot be read ({error}): name a WAV file", path.display()))?;
    let spec = reader.spec();
    if spec.sample_rate != SAMPLE_RATE || !(1..=2).contains(&spec.channels) {
        bail!(
            "{} has {} Hz and {} channels, but 48000 Hz and one or two are needed: convert it with \
             `sox {0} -r 48000 -c 2 new.wav`",
            path.display(),
            spec.sample_rate,
            spec.channels
        );
    }
    let scale = 1.0 / (1_i64 << (spec.bits_per_sample - 1)) as f32;
    reader.seek(from.min(reader.duration())).with_context(|| format!("{} cannot be read", path.display()))?;
    let values: Result<Vec<f32>, _> = match spec.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().collect(),
        hound::SampleFormat::Int => {
            reader.samples::<i32>().map(|value| value.map(|value| value as f32 * scale)).collect()
        }
    };
    let values = values.with_context(|| format!("{} ends in the middle", path.display()))?;
    if spec.channels == 1 {
        let silence = vec![0.0; values.len()];
        return Ok([values, silence]);
    }
    let channel = |of: usize| values.iter().skip(of).step_by(2).copied().collect();
    Ok([channel(0), channel(1)])
}

/// A stereo WAV file of 16 bits that is being written; complete when dropped.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Makes the file; what is pushed into the ring (left, right, left, ...) ends up in it.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> anyhow::Result<(Writer, Producer<f32>)> {
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: SAMPLE_RATE,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let file = hound::WavWriter::create(path, spec).map_err(|error| {
            anyhow!("{} cannot be written ({error}): name a file in a folder of yours", path.display())
        })?;
        let (producer, consumer) = RingBuffer::new(RING);
        let stop = Arc::new(AtomicBool::new(false));
        let name = path.display().to_string();
        let run = {
            let stop = Arc::clone(&stop);
            move || {
                if let Err(error) = write(file, consumer, &stop) {
                    tracing::warn!("{name} is incomplete: {error}");
                }
            }
        };
        let builder = std::thread::Builder::new().name("recorder".to_owned());
        let thread = builder.spawn(run).context("the system gives no thread for the recorder")?;
        Ok((Writer { stop, thread: Some(thread) }, producer))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic there was printed already.
            let _ = thread.join();
        }
    }
}

type File = hound::WavWriter<std::io::BufWriter<std::fs::File>>;

fn write(mut file: File, mut values: Consumer<f32>, stop: &AtomicBool) -> Result<(), hound::Error> {
    for round in 1_u32.. {
        let last = stop.load(Ordering::Acquire);
        while let Ok(value) = values.pop() {
            file.write_sample((value * 32_767.0).round().clamp(-32_768.0, 32_767.0) as i16)?;
        }
        if last {
            break;
        }
        if round.is_multiple_of(FLUSH_EVERY) {
            file.flush()?; // so that the file is whole up to here even if the box is killed
        }
        std::thread::sleep(WRITE_EVERY);
    }
    file.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let (writer, mut ring) = Writer::create(&path).unwrap();
        for value in [0.5, -0.5, 2.0, -2.0] {
            ring.push(value).unwrap();
        }
        drop(writer);
        let [left, right] = read(&path).unwrap();
        assert!((left[0] - 0.5).abs() < 1e-4 && (right[0] + 0.5).abs() < 1e-4);
        assert!(left[1] > 0.99 && right[1] < -0.99, "clipped, not wrapped");
    }

    #[test]
    fn another_rate_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cd.wav");
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 44_100,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        hound::WavWriter::create(&path, spec).unwrap().finalize().unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("44100") && error.contains("sox"), "{error}");
        assert!(read(&folder.path().join("none.wav")).unwrap_err().to_string().contains("none.wav"));
    }
}
