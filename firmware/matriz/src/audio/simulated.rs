//! A sound card in the process: its own clock with its own error, music in from a file, a file out.
//!
//! It keeps an absolute schedule like a card's crystal. When the machine is late the cycles are made up
//! one after the other, as from a card with a deep buffer, and each that ends after its deadline is
//! counted; only a standstill of half a second makes it lose frames.

use super::{Driver, wav};
use crate::config::{Config, Input, Simulated};
use crate::{clock, realtime};
use anyhow::Context;
use engine::Cycle;
use proto::units::{SAMPLE_RATE, Time};
use rtrb::Producer;
use std::f64::consts::TAU;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Level of the tone, linear: −12 dB full scale.
const TONE: f32 = 0.25;

/// A standstill of this length loses frames.
const STANDSTILL: Duration = Duration::from_millis(500);

/// The running card; stops when dropped.
pub struct Card {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Completes the recording, after the thread has ended.
    _writer: Option<wav::Writer>,
}

impl Card {
    /// Starts the card that `config` describes.
    ///
    /// # Errors
    /// A file cannot be read or written; says which line of the configuration names it.
    pub fn start(config: &Config, driver: Driver) -> anyhow::Result<Card> {
        let settings = &config.simulated;
        let input = Source::open(&settings.input)
            .map_err(|error| config.wrong("simulated.input", format!("{error:#}")))?;
        let (writer, recording) = match &settings.output {
            Some(path) => {
                let made = wav::Writer::create(path);
                let made = made.map_err(|error| config.wrong("simulated.output", format!("{error:#}")))?;
                (Some(made.0), Some(made.1))
            }
            None => (None, None),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let run = {
            let stop = Arc::clone(&stop);
            let crystal = Crystal::new(settings, clock::now());
            let player = Player { crystal, driver, input, recording, capture: Default::default() };
            move || player.run(&stop)
        };
        let builder = std::thread::Builder::new().name("card".to_owned());
        let thread = builder.spawn(run).context("the system gives no thread for the card")?;
        Ok(Card { stop, thread: Some(thread), _writer: writer })
    }

    /// The sentence that says why the card is gone, if it is.
    pub fn gone(&self) -> Option<String> {
        let over = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        over.then(|| "the simulated card has stopped".to_owned())
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there was printed already.
            let _ = thread.join();
        }
    }
}

/// The card's clock.
struct Crystal {
    epoch: Time,
    /// Nanoseconds per frame.
    frame: f64,
    period: usize,
}

impl Crystal {
    fn new(settings: &Simulated, now: Time) -> Self {
        let rate = f64::from(SAMPLE_RATE) * (1.0 + settings.ppm * 1e-6);
        let epoch = now + Duration::from_micros(u64::from(settings.phase_us));
        Crystal { epoch, frame: 1e9 / rate, period: settings.period as usize }
    }

    /// When the card has counted so many frames.
    fn time(&self, frame: i64) -> Time {
        Time(self.epoch.0 + (frame as f64 * self.frame).round() as i64)
    }

    /// The beginning of the cycle that is under way at `now`.
    fn cycle_at(&self, now: Time) -> i64 {
        let frames = (now.nanos_since(self.epoch) as f64 / self.frame) as i64;
        frames - frames.rem_euclid(self.period as i64)
    }
}

/// What the microphone hears.
enum Source {
    Silence,
    Tone(f64),
    Music([Vec<f32>; 2]),
}

impl Source {
    fn open(input: &Input) -> anyhow::Result<Source> {
        Ok(match input {
            Input::Silence => Source::Silence,
            Input::Tone(hertz) => Source::Tone(*hertz),
            Input::Wav(path) => Source::Music(wav::read(path)?),
        })
    }

    /// The music plays in a loop; a mono file is one microphone, in the first input.
    fn read(&self, frame: i64) -> [f32; 2] {
        match self {
            Source::Silence => [0.0; 2],
            Source::Tone(hertz) => {
                let cycles = (hertz / f64::from(SAMPLE_RATE) * frame as f64).fract();
                [(TAU * cycles).sin() as f32 * TONE, 0.0]
            }
            Source::Music([left, right]) => {
                let at = frame.rem_euclid(left.len() as i64) as usize;
                [left[at], right[at]]
            }
        }
    }
}

/// What the card's thread works with.
struct Player {
    crystal: Crystal,
    driver: Driver,
    input: Source,
    recording: Option<Producer<f32>>,
    capture: [Vec<f32>; 2],
}

impl Player {
    fn run(mut self, stop: &AtomicBool) {
        realtime::promote(realtime::CARD);
        realtime::pin(realtime::Work::Sound);
        let period = self.crystal.period;
        self.capture = [vec![0.0; period], vec![0.0; period]];
        let overruns = self.driver.overruns();
        let mut frame = 0;
        // What a cycle makes is played while the next one is under way: the recording has it there.
        self.record_silence(period);
        while !stop.load(Ordering::Relaxed) {
            let start = self.crystal.time(frame);
            clock::sleep_until(start);
            if clock::now().since(start) > STANDSTILL {
                let next = self.crystal.cycle_at(clock::now());
                overruns.fetch_add(((next - frame) / period as i64) as u64, Ordering::Relaxed);
                self.record_silence((next - frame) as usize);
                frame = next;
                continue;
            }
            self.cycle(Cycle { time: start, frame, frames: period });
            frame += period as i64;
            if clock::now() > self.crystal.time(frame) {
                overruns.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn cycle(&mut self, cycle: Cycle) {
        // What was captured in a cycle is what sounded in the one before.
        for at in 0..cycle.frames {
            let [left, right] = self.input.read(cycle.frame - cycle.frames as i64 + at as i64);
            self.capture[0][at] = left;
            self.capture[1][at] = right;
        }
        self.driver.cycle(cycle, [&self.capture[0], &self.capture[1]]);
        if let Some(recording) = &mut self.recording {
            let [left, right] = self.driver.engine.mix(cycle.frames);
            for value in left.iter().zip(right).flat_map(|(left, right)| [*left, *right]) {
                // Full after 5 s without a disk: the recording has a hole, the music has none.
                let _ = recording.push(value);
            }
        }
    }

    fn record_silence(&mut self, frames: usize) {
        if let Some(recording) = &mut self.recording {
            for _ in 0..2 * frames {
                let _ = recording.push(0.0);
            }
        }
    }
}
