//! The tape machine of the demo on JACK: plays a file into a box and records what the box plays.
//!
//! A JACK client of its own, since with a dummy card nobody sits at the ports. Counts as the box's JACK
//! backend does, so that a frame of the file and one of the recording with the same number are the same moment;
//! it prints `ready` when it is, and at the end its timeline: when frame 0 was, in nanoseconds of
//! the monotonic clock, and how many parts per million it ran fast.

use crate::audio::jack::woke;
use crate::audio::timeline::Timeline;
use crate::audio::wav;
use anyhow::Context;
use clap::Args;
use jack::{AudioIn, AudioOut, Client, ClientOptions, Control, Port, ProcessHandler, ProcessScope};
use proto::units::frames_to_nanos;
use rtrb::Producer;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What the tape machine is told.
#[derive(Args)]
pub struct Options {
    /// Name of the box in JACK
    #[arg(long)]
    of: String,
    /// WAV file to play into it
    #[arg(long)]
    play: PathBuf,
    /// WAV file to record into
    #[arg(long)]
    record: PathBuf,
}

/// Plays and records until SIGTERM.
///
/// # Errors
/// No server, no box, or a file that cannot be read or written.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let music = wav::read(&options.play)?;
    let (writer, recording) = wav::Writer::create(&options.record)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut stop = runtime.block_on(async { crate::body::Stop::new() })?;
    let (client, _) =
        Client::new("tape", ClientOptions::NO_START_SERVER).context("there is no JACK server")?;
    let output = |name| client.register_port(name, AudioOut::default());
    let input = |name| client.register_port(name, AudioIn::default());
    let line = Arc::new(Mutex::new(Line::default()));
    let tape = Tape {
        play: [output("play_1")?, output("play_2")?],
        record: [input("record_1")?, input("record_2")?],
        music,
        recording,
        timeline: Timeline::default(),
        next: 0,
        line: Arc::clone(&line),
    };
    let client = client.activate_async((), tape).context("JACK does not let the tape machine take part")?;
    println!("ready");
    runtime.block_on(async {
        // The box may still be starting.
        loop {
            let patched = connect(client.as_client(), &options.of);
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(std::time::Duration::from_millis(20)), if !patched => {}
            }
        }
    });
    {
        let line = line.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{} {}", line.epoch(), line.ppm());
    }
    // The recording is whole before the client goes: jackd may let it wait for long.
    drop(writer);
    drop(client);
    Ok(())
}

/// True if all four cables are plugged.
fn connect(client: &Client, of: &str) -> bool {
    let cable = |from: String, to: String| match client.connect_ports_by_name(&from, &to) {
        Ok(()) | Err(jack::Error::PortAlreadyConnected(..)) => true,
        Err(_) => false,
    };
    (1..=2).all(|channel| {
        cable(format!("tape:play_{channel}"), format!("{of}:in_{channel}"))
            && cable(format!("{of}:mix_{channel}"), format!("tape:record_{channel}"))
    })
}

struct Tape {
    play: [Port<AudioOut>; 2],
    record: [Port<AudioIn>; 2],
    music: [Vec<f32>; 2],
    recording: Producer<f32>,
    timeline: Timeline,
    /// The frame that is recorded next.
    next: i64,
    /// Read once, at the end; a cycle that finds it locked leaves it out.
    line: Arc<Mutex<Line>>,
}

impl ProcessHandler for Tape {
    fn process(&mut self, client: &Client, scope: &ProcessScope) -> Control {
        let cycle = self.timeline.cycle(woke(client, scope), scope.n_frames() as usize);
        let frame = cycle.frame;
        if let Ok(mut line) = self.line.try_lock() {
            line.add(frame, cycle.time.0);
        }
        let length = self.music[0].len() as i64;
        for (port, music) in self.play.iter_mut().zip(&self.music) {
            for (at, out) in port.as_mut_slice(scope).iter_mut().enumerate() {
                *out = music[((frame + at as i64) % length) as usize];
            }
        }
        // Frames that the server lost are silence in the recording, so that the rest keeps its place.
        let lost = std::iter::repeat_n((&0.0, &0.0), (frame - self.next).max(0) as usize);
        let [left, right] = &self.record;
        for (left, right) in lost.chain(left.as_slice(scope).iter().zip(right.as_slice(scope))) {
            // Full after 5 s without a disk: the recording has a hole.
            let _ = (self.recording.push(*left), self.recording.push(*right));
        }
        self.next = frame + i64::from(scope.n_frames());
        Control::Continue
    }
}

/// The straight line through the instants of all cycles (least squares): a dummy card runs a little slow,
/// since it waits anew from each time that it was late.
#[derive(Default)]
struct Line {
    count: f64,
    /// The first cycle's instant, in nanoseconds.
    first: i64,
    /// Sums over the cycles: frame, frame squared, lateness against the nominal rate in nanoseconds, and
    /// frame times lateness.
    frames: f64,
    squares: f64,
    late: f64,
    products: f64,
}

impl Line {
    fn add(&mut self, frame: i64, nanos: i64) {
        if self.count == 0.0 {
            self.first = nanos;
        }
        let late = (nanos - self.first - frames_to_nanos(frame as f64)) as f64;
        let frame = frame as f64;
        self.count += 1.0;
        self.frames += frame;
        self.squares += frame * frame;
        self.late += late;
        self.products += frame * late;
    }

    /// Nanoseconds that a frame is longer than nominal.
    fn slope(&self) -> f64 {
        let spread = self.count * self.squares - self.frames * self.frames;
        if spread > 0.0 { (self.count * self.products - self.frames * self.late) / spread } else { 0.0 }
    }

    /// The instant of frame 0, in nanoseconds.
    fn epoch(&self) -> i64 {
        let late = (self.late - self.slope() * self.frames) / self.count.max(1.0);
        self.first + late as i64
    }

    fn ppm(&self) -> f64 {
        -self.slope() * 48_000.0 / 1e9 * 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_finds_epoch_and_rate() {
        let mut line = Line::default();
        for cycle in 0..4_000 {
            let frame = cycle * 120;
            // 50 ppm slow, and every other cycle 40 µs late.
            let nanos = frames_to_nanos(frame as f64 * 1.000_05) + (cycle % 2) * 40_000;
            line.add(frame, 7_000_000 + nanos);
        }
        assert!((line.ppm() + 50.0).abs() < 0.1, "{}", line.ppm());
        assert!((line.epoch() - 7_020_000).abs() < 1_000, "{}", line.epoch());
    }
}
