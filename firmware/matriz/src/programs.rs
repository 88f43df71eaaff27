//! Programmes: what an audience hears, as Opus packets of 20 ms that any player understands.
//!
//! `stream` is what this box plays, `mix` everybody else, `peers/NAME` one of them alone, `session` all of them and
//! this box. Comes after [`crate::taps`];
//! before the RTSP server and the broadcast. There is one encoder for each programme, however many listen, and it
//! runs in a thread of its own only while somebody does. Delay does not matter here, steadiness does: a
//! programme never stops for somebody who is away, and its frames are counted without a jump.

mod sum;

use crate::taps::{Taps, Wanted};
use audiopus::coder::Encoder;
use audiopus::{Application, Bitrate, Channels, SampleRate};
use engine::MAX_CYCLE;
use engine::strip::Strip;
use engine::tap::{Block, Source};
use proto::format::Layout;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use sum::Sum;
use tokio::sync::{broadcast, mpsc};

/// Frames in a packet: 20 ms.
pub const FRAMES: usize = 960;

/// Bits per second of a programme, both channels together.
const BITRATE: i32 = 128_000;

/// Packets that wait for a listener before he misses some: 2 s.
const WAITING: usize = 100;

/// A gap up to this long, in frames (1 s), is filled with silence; after a longer one, or when the card counts anew,
/// the programme goes on without it.
const LONGEST_GAP: i64 = 48_000;

/// One Opus packet of a programme: 20 ms, two channels, 48 kHz.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Frames of this programme before it: 960 more with each packet.
    pub frame: i64,
    /// The Opus packet (RFC 6716).
    pub payload: Vec<u8>,
}

/// The programmes of a box. A handle; clones are the same.
#[derive(Clone)]
pub struct Programs {
    taps: Taps,
    own: Own,
    running: Arc<Mutex<Running>>,
}

/// The programmes that somebody listens to.
type Running = HashMap<String, broadcast::Sender<Arc<Packet>>>;

impl Programs {
    /// Programmes of what comes out of `taps`.
    pub fn new(taps: Taps) -> Self {
        Programs { taps, own: Own::new(Layout::Stereo, 1.0), running: Arc::default() }
    }

    /// The own input is heard as the others hear it: in this layout, with this gain in decibels. Without this, as the
    /// card captures it.
    pub fn playing(self, layout: Layout, gain_db: f32) -> Self {
        Programs { own: Own::new(layout, linear(gain_db)), ..self }
    }

    /// Gain and mute of the own input have changed: an audience hears what the others hear.
    pub fn follow(&self, gain_db: f32, silent: bool) {
        let gain = if silent { 0.0 } else { linear(gain_db) };
        self.own.gain.store(gain.to_bits(), Ordering::Relaxed);
    }

    /// The programmes that there are: `stream`, `mix`, `session`, and one for each peer who was ever there.
    pub fn names(&self) -> Vec<String> {
        let peers = self.taps.known().into_iter().map(|name| format!("peers/{name}"));
        ["stream", "mix", "session"].map(str::to_owned).into_iter().chain(peers).collect()
    }

    /// The packets of a programme from now on; `None` if there is no such programme, or the system gives no thread for
    /// it. Who lags behind by 2 s misses packets.
    pub fn listen(&self, name: &str) -> Option<broadcast::Receiver<Arc<Packet>>> {
        let wanted = self.wanted(name)?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(packets) = running.get(name) {
            return Some(packets.subscribe());
        }
        let (to, packets) = broadcast::channel(WAITING);
        let programme = Programme {
            name: name.to_owned(),
            to: to.clone(),
            own: self.own.clone(),
            running: Arc::clone(&self.running),
        };
        let both = wanted == Wanted::OwnAndMix;
        let blocks = self.taps.listen(wanted);
        let builder = std::thread::Builder::new().name("programme".to_owned());
        let run = move || match both {
            true => programme.run(blocks, Sum::default()),
            false => programme.run(blocks, Sound::default()),
        };
        builder.spawn(run).ok()?;
        running.insert(name.to_owned(), to);
        Some(packets)
    }

    fn wanted(&self, name: &str) -> Option<Wanted> {
        match name {
            "stream" => Some(Wanted::Only(Source::Own)),
            "mix" => Some(Wanted::Only(Source::Mix)),
            "session" => Some(Wanted::OwnAndMix),
            _ => {
                let peer = name.strip_prefix("peers/")?;
                self.taps.known().iter().any(|known| known == peer).then(|| Wanted::Named(peer.to_owned()))
            }
        }
    }
}

fn encoder() -> Encoder {
    let mut encoder = Encoder::new(SampleRate::Hz48000, Channels::Stereo, Application::Audio)
        .expect("libopus makes an encoder for 48 kHz");
    encoder.set_bitrate(Bitrate::BitsPerSecond(BITRATE)).expect("128 kbit/s is a bit rate of Opus");
    encoder
}

/// One programme, in its thread.
struct Programme {
    name: String,
    to: broadcast::Sender<Arc<Packet>>,
    own: Own,
    running: Arc<Mutex<Running>>,
}

impl Programme {
    fn run(self, mut blocks: mpsc::Receiver<Block>, mut sound: impl Pieces) {
        let encoder = encoder();
        let mut strip = Strip::at(self.own.gain());
        let mut frame = 0;
        let mut bytes = [0; 1_500];
        while let Some(block) = blocks.blocking_recv() {
            sound.push(&if block.source == Source::Own { self.own.heard(block, &mut strip) } else { block });
            while let Some(piece) = sound.pop() {
                // It cannot fail with these lengths; if it does, a packet is missing, as on any network.
                let length = encoder.encode_float(&piece, &mut bytes).unwrap_or(0);
                let packet = Packet { frame, payload: bytes[..length].to_vec() };
                frame += FRAMES as i64;
                if self.to.send(Arc::new(packet)).is_err() && self.has_ended() {
                    return;
                }
            }
        }
    }

    /// Whether nobody listens; then the programme is over, and the next listener begins it anew.
    fn has_ended(&self) -> bool {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let over = self.to.receiver_count() == 0;
        if over {
            running.remove(&self.name);
        }
        over
    }
}

/// How the own input, which the tap has as it was captured, is sent to the others. Clones are the same.
#[derive(Clone)]
struct Own {
    layout: Layout,
    /// Linear, the bits of an `f32`; 0 while it is muted.
    gain: Arc<AtomicU32>,
}

impl Own {
    fn new(layout: Layout, gain: f32) -> Self {
        Own { layout, gain: Arc::new(AtomicU32::new(gain.to_bits())) }
    }

    fn gain(&self) -> f32 {
        f32::from_bits(self.gain.load(Ordering::Relaxed))
    }

    /// The block as the others hear it: one signal, or two that have nothing to do with each other, in the middle.
    fn heard(&self, mut block: Block, strip: &mut Strip) -> Block {
        strip.set(self.gain());
        for frame in &mut block.samples[..usize::from(block.frames)] {
            let gain = strip.step();
            let [left, right] = frame.map(|sample| sample * gain);
            *frame = match self.layout {
                Layout::Stereo => [left, right],
                Layout::Mono | Layout::Separate => [left + right; 2],
            };
        }
        block
    }
}

fn linear(db: f32) -> f32 {
    10_f32.powf(db / 20.0)
}

/// Blocks in, pieces of 20 ms out (interleaved, two channels), with silence for what is missing.
trait Pieces {
    /// Takes a block.
    fn push(&mut self, block: &Block);
    /// The next piece, if it is complete.
    fn pop(&mut self) -> Option<Vec<f32>>;
}

/// The pieces of one source.
#[derive(Default)]
struct Sound {
    /// Interleaved, two channels.
    samples: Vec<f32>,
    /// Card position of the next block, if none is missing.
    next: Option<i64>,
}

impl Pieces for Sound {
    fn push(&mut self, block: &Block) {
        let gap = self.next.map_or(0, |next| block.frame - next);
        if (1..=LONGEST_GAP).contains(&gap) {
            self.samples.resize(self.samples.len() + 2 * gap as usize, 0.0);
        }
        // A block that overlaps the last one: the peer came back in the same cycle as silence stood for him.
        let over = if (-(MAX_CYCLE as i64)..0).contains(&gap) {
            (-gap).min(block.frames.into()) as usize
        } else {
            0
        };
        self.samples.extend(block.sound()[over..].iter().flatten());
        self.next = Some(match self.next {
            Some(next) if over > 0 => next.max(block.frame + i64::from(block.frames)),
            _ => block.frame + i64::from(block.frames),
        });
    }

    fn pop(&mut self) -> Option<Vec<f32>> {
        (self.samples.len() >= 2 * FRAMES).then(|| self.samples.drain(..2 * FRAMES).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::taps::Pump;
    use rtrb::{Producer, RingBuffer};

    fn block(source: Source, frame: i64, of: impl Fn(i64) -> f32) -> Block {
        let samples = std::array::from_fn(|n| [of(frame + n as i64); 2]);
        Block { source, frame, frames: 128, samples }
    }

    #[test]
    fn gaps_become_silence_and_a_card_that_counts_anew_no_jump() {
        let mut sound = Sound::default();
        let mut push = |frame| sound.push(&block(Source::Mix, frame, |_| 1.0));
        push(10_000);
        push(10_000 + 128 + 700);
        push(10_000 + 128 + 700 + 64); // half of it came before
        push(5);
        assert_eq!(sound.samples.len(), 2 * (128 + 700 + 128 + 64 + 128));
        let piece = sound.pop().unwrap();
        let loud = |n: usize| piece[2 * n] == 1.0;
        assert!(loud(127) && !loud(128) && !loud(827) && loud(828) && loud(959));
        assert!(sound.pop().is_none());
    }

    #[test]
    fn the_own_input_is_heard_as_the_others_hear_it() {
        let heard = |layout, gain_db| {
            let programs = Programs::new(Taps::default()).playing(layout, gain_db);
            let block = Block { source: Source::Own, frame: 0, frames: 128, samples: [[0.5, 0.0]; 128] };
            programs.own.heard(block, &mut Strip::at(programs.own.gain())).samples[127]
        };
        assert_eq!(heard(Layout::Stereo, 0.0), [0.5, 0.0]);
        assert_eq!(heard(Layout::Mono, 0.0), [0.5, 0.5], "one microphone is not only on the left");
        assert_eq!(heard(Layout::Separate, 0.0), [0.5, 0.5], "nor is one of two musicians");
        assert_eq!(heard(Layout::Stereo, 20.0), [5.0, 0.0]);
    }

    #[test]
    fn who_mutes_himself_is_silent_for_the_audience_too_without_a_click() {
        let programs = Programs::new(Taps::default()).playing(Layout::Stereo, 0.0);
        let mut strip = Strip::at(programs.own.gain());
        let mut play = |blocks: usize| -> Vec<f32> {
            let block = Block { source: Source::Own, frame: 0, frames: 128, samples: [[0.5; 2]; 128] };
            let blocks = (0..blocks).map(|_| programs.own.heard(block, &mut strip).samples);
            blocks.flatten().map(|frame| frame[0]).collect()
        };
        assert!(play(1).iter().all(|x| *x == 0.5));
        programs.follow(0.0, true);
        let ramp = play(4);
        assert!(ramp.windows(2).all(|pair| (0.0..0.0011).contains(&(pair[0] - pair[1]))), "{ramp:?}");
        assert!(play(1).iter().all(|x| *x == 0.0));
        programs.follow(6.0, false);
        assert!((play(5)[639] - 0.998).abs() < 1e-3);
    }

    /// Plays a tone into `to` for so many blocks.
    fn play(to: &mut Producer<Block>, source: Source, blocks: std::ops::Range<i64>) {
        let tone = |frame: i64| (frame as f32 * 0.05).sin() * 0.4;
        for n in blocks {
            while to.is_full() {
                std::thread::yield_now();
            }
            to.push(block(source, n * 128, tone)).unwrap();
        }
    }

    #[test]
    fn a_programme_is_opus_that_sounds_like_what_was_played() {
        let taps = Taps::default();
        let (mut to, ring) = RingBuffer::new(64);
        let _pump = Pump::start(taps.clone(), ring).unwrap();
        let programs = Programs::new(taps.clone());
        assert!(programs.listen("peers/lisboa").is_none() && programs.listen("nonsense").is_none());
        let (mut one, mut two) = (programs.listen("mix").unwrap(), programs.listen("mix").unwrap());
        play(&mut to, Source::Mix, 0..150);
        let mut decoder = audiopus::coder::Decoder::new(SampleRate::Hz48000, Channels::Stereo).unwrap();
        let mut heard = Vec::new();
        for n in 0..20 {
            let packet = one.blocking_recv().unwrap();
            assert_eq!((packet.frame, two.blocking_recv().unwrap().frame), (n * 960, n * 960));
            let mut out = vec![0.0_f32; 2 * FRAMES];
            let payload = packet.payload.as_slice().try_into().unwrap();
            let signals = out.as_mut_slice().try_into().unwrap();
            assert_eq!(decoder.decode_float(Some(payload), signals, false).unwrap(), FRAMES);
            heard.extend(out.chunks(2).map(|frame| frame[0]));
        }
        let delay = encoder().lookahead().unwrap() as usize;
        let error: f32 =
            (4_800..14_400).map(|n| (heard[n + delay] - (n as f32 * 0.05).sin() * 0.4).powi(2)).sum();
        let power: f32 = (4_800..14_400).map(|n| ((n as f32 * 0.05).sin() * 0.4).powi(2)).sum();
        assert!(error < 0.01 * power, "{} dB", 10.0 * (error / power).log10());
    }

    #[test]
    fn the_encoder_stops_when_nobody_listens_and_begins_anew() {
        let taps = Taps::default();
        let (mut to, ring) = RingBuffer::new(64);
        let _pump = Pump::start(taps.clone(), ring).unwrap();
        let programs = Programs::new(taps.clone());
        for round in 0..2 {
            let mut packets = programs.listen("stream").unwrap();
            play(&mut to, Source::Own, round * 100..round * 100 + 20);
            assert_eq!(packets.blocking_recv().unwrap().frame, 0, "round {round}");
            drop(packets);
            let mut at = round * 100 + 20;
            while !programs.running.lock().unwrap().is_empty() {
                play(&mut to, Source::Own, at..at + 8);
                at += 8;
            }
        }
    }
}
