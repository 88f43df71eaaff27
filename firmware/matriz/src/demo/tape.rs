//! The tape machine of the demo on JACK: plays a file into a box and records what the box plays.
//!
//! A JACK client of its own, since with a dummy card nobody sits at the ports. Counts in the server's
//! frames, so that a frame of the file and one of the recording with the same number are the same moment;
//! at the end it prints when frame 0 was, in nanoseconds of the monotonic clock.

use crate::audio::wav;
use anyhow::Context;
use clap::Args;
use jack::{AudioIn, AudioOut, Client, ClientOptions, Control, Port, ProcessHandler, ProcessScope};
use rtrb::Producer;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

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
    let epoch = Arc::new(AtomicI64::new(0));
    let tape = Tape {
        play: [output("play_1")?, output("play_2")?],
        record: [input("record_1")?, input("record_2")?],
        music,
        recording,
        first: None,
        next: 0,
        cycles: 0,
        epoch: Arc::clone(&epoch),
    };
    let client = client.activate_async((), tape).context("JACK does not let the tape machine take part")?;
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
    drop(client);
    drop(writer);
    println!("{}", epoch.load(Ordering::Relaxed));
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
    /// The server's frame that is frame 0 here, and the frame that is recorded next.
    first: Option<u32>,
    next: i64,
    /// Cycles so far; the mean of what each says about when frame 0 was is the best that can be known.
    cycles: i64,
    epoch: Arc<AtomicI64>,
}

impl ProcessHandler for Tape {
    fn process(&mut self, _: &Client, scope: &ProcessScope) -> Control {
        let Ok(times) = scope.cycle_times() else { return Control::Continue };
        let first = *self.first.get_or_insert(times.current_frames);
        let frame = i64::from(times.current_frames.wrapping_sub(first));
        let epoch = times.current_usecs as i64 * 1_000 - frame * 1_000_000_000 / 48_000;
        self.cycles += 1;
        let mean = self.epoch.load(Ordering::Relaxed);
        self.epoch.store(mean + (epoch - mean) / self.cycles, Ordering::Relaxed);
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
