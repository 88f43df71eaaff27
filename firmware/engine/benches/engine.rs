//! What the sound costs: one whole cycle with 1, 3 and 7 peers, and its parts, at 120 frames (2.5 ms).
//!
//! `bench/micro` runs these benches and reads their names. `cycle/good`: a packet of each peer comes in every
//! cycle. `cycle/concealing`: no packet is there whose turn it is; four such cycles, so that nothing has begun to fade
//! out, then four good ones that are not timed. The input is music, for silence is cheap.

#![allow(clippy::disallowed_types, reason = "a bench needs a clock")]

use criterion::{Criterion, criterion_group, criterion_main};
use engine::codec::{Decoder, Encoder, FRAME, LONGEST};
use engine::packet::{Arrival, MAX_PAYLOAD};
use engine::resample::{Filter, Resampler};
use engine::{Cycle, Engine, Handle, Keeping, Settings};
use proto::control::{Cue, PeerReport};
use proto::format::{Format, Layout};
use proto::rtp::Header;
use proto::units::Time;
use std::hint::black_box;
use std::time::{Duration, Instant};

#[path = "../tests/music/mod.rs"]
mod music;

/// Packets of each peer's music before it repeats: 1 s.
const PACKETS: usize = 400;

/// Packets that are lost in a row, and packets from one loss to the next.
const LOST: u64 = 4;
const EVERY: u64 = 8;

/// Cycles from one report to the next (100 ms), and until the buffers have their depth: 8 s.
const REPORT: u64 = 40;
const SETTLED: u64 = 80 * REPORT;

criterion_main!(benches);
criterion_group! {
    name = benches;
    // Eleven benches in less than a minute; half of the cycles of some are not timed.
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(400))
        .measurement_time(Duration::from_millis(1_600));
    targets = cycles, encode, decode, resample
}

fn cycles(criterion: &mut Criterion) {
    for peers in [1, 3, 7] {
        let mut band = Band::new(peers);
        criterion.bench_function(&format!("cycle/good/{peers}"), |bencher| {
            bencher.iter_custom(|cycles| (0..cycles).map(|_| band.cycle(true)).sum());
        });
        assert_eq!(band.concealed(), 0, "all packets were there");
    }
    for peers in [1, 3, 7] {
        let mut band = Band::new(peers);
        let depth = band.depth();
        criterion.bench_function(&format!("cycle/concealing/{peers}"), |bencher| {
            bencher.iter_custom(|cycles| {
                let (mut timed, mut time) = (0, Duration::ZERO);
                while timed < cycles {
                    let conceals = (band.cycle - depth) % EVERY < LOST;
                    let took = band.cycle(band.cycle % EVERY >= LOST);
                    if conceals {
                        timed += 1;
                        time += took;
                    }
                }
                time
            });
        });
        band.check_losses(depth);
    }
}

fn encode(criterion: &mut Criterion) {
    for (name, layout, bitrate) in [("mono", Layout::Mono, 96_000), ("stereo", Layout::Stereo, 160_000)] {
        let format = Format { layout, ..Format::default() };
        let frames = input(1, layout);
        let mut pieces = frames.chunks_exact(FRAME * layout.channels()).cycle();
        let mut encoder = Encoder::new(format, bitrate);
        let mut out = [0; MAX_PAYLOAD];
        criterion.bench_function(&format!("encode/{name}"), |bencher| {
            bencher.iter(|| encoder.encode(black_box(pieces.next().unwrap_or(&[])), &mut out));
        });
    }
}

fn decode(criterion: &mut Criterion) {
    let payloads = payloads(1);
    let mut payloads = payloads.iter().cycle();
    let mut next = move || payloads.next().map_or(&[][..], |payload| payload);
    let mut out = vec![0.0; 2 * LONGEST];
    let mut decoder = Decoder::new();
    criterion.bench_function("decode", |bencher| {
        bencher.iter(|| decoder.decode(Format::default(), black_box(next()), 0, &mut out));
    });
    // The first concealed packet is the dearest, for it looks for the period; libopus does that only after two
    // good packets in a row.
    criterion.bench_function("conceal", |bencher| {
        bencher.iter_custom(|times| {
            let mut time = Duration::ZERO;
            for _ in 0..times {
                for _ in 0..2 {
                    decoder.decode(Format::default(), next(), 0, &mut out);
                }
                let start = Instant::now();
                decoder.conceal(black_box(&mut out[..2 * FRAME]));
                time += start.elapsed();
            }
            time
        });
    });
}

fn resample(criterion: &mut Criterion) {
    let frames = input(1, Layout::Stereo);
    let mut frames = frames.chunks_exact(2).cycle();
    let (filter, mut resampler) = (Filter::new(), Resampler::new());
    let step = (1.000_1 * 4_294_967_296.0) as u64; // 100 ppm
    let mut out = [[0.0; FRAME]; 2];
    criterion.bench_function("resample", |bencher| {
        bencher.iter(|| {
            for _ in 0..resampler.missing(FRAME, step) {
                let frame = frames.next().unwrap_or(&[0.0, 0.0]);
                resampler.push(frame[0], frame[1]);
            }
            let [left, right] = &mut out;
            resampler.pull(&filter, step, [left, right], false);
            black_box(&out);
        });
    });
}

/// A second of music, interleaved.
fn input(seed: u64, layout: Layout) -> Vec<f32> {
    let stereo = music::music(seed, PACKETS * FRAME);
    if layout == Layout::Mono {
        stereo.chunks_exact(2).map(|frame| frame[0] + frame[1]).collect()
    } else {
        stereo
    }
}

/// The packets of a second of mono music.
fn payloads(seed: u64) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(Format::default(), 96_000);
    let packet = |frames: &[f32]| {
        let mut out = [0; MAX_PAYLOAD];
        let used = encoder.encode(frames, &mut out);
        out[..used].to_vec()
    };
    input(seed, Layout::Mono).chunks_exact(FRAME).map(packet).collect()
}

/// An engine with peers that play to it.
struct Band {
    engine: Engine,
    handle: Handle,
    capture: Vec<f32>,
    peers: Vec<Vec<Vec<u8>>>,
    cycle: u64,
    report: Vec<PeerReport>,
}

impl Band {
    fn new(peers: usize) -> Self {
        let (engine, mut handle) = Engine::new(Settings::default());
        for slot in 0..peers {
            handle.cues.push(Cue::Join { slot: slot as u8 }).expect("the ring has room");
        }
        let peers = (0..peers).map(|peer| payloads(peer as u64 + 2)).collect();
        let capture = input(1, Layout::Mono).iter().map(|x| x / 2.0).collect();
        let mut band = Band { engine, handle, capture, peers, cycle: 0, report: Vec::new() };
        for _ in 0..SETTLED {
            band.cycle(true);
        }
        assert!(
            band.report.iter().all(|peer| peer.playing && peer.level_db > -50.0),
            "all are heard: {:?}",
            band.report
        );
        band
    }

    /// One cycle, and the time that the engine takes for it; with `comes`, each peer's packet of this cycle
    /// has just come.
    fn cycle(&mut self, comes: bool) -> Duration {
        let frame = self.cycle * FRAME as u64;
        let time = Time((frame * 62_500 / 3) as i64);
        let cycle = Cycle { time, frame: frame as i64, frames: FRAME };
        let place = self.cycle as usize % PACKETS;
        let header = Header { sequence: self.cycle as u16, timestamp: frame as u32, ..Header::default() };
        for (slot, payloads) in self.peers.iter().enumerate().filter(|_| comes) {
            let arrival = Arrival::new(slot as u8, &header, (Format::default(), 0, &payloads[place]), time);
            let arrival = arrival.expect("a packet of 30 bytes fits");
            self.handle.arrivals.push(arrival).expect("the ring has room");
        }
        let capture = &self.capture[place * FRAME..][..FRAME];
        let start = Instant::now();
        self.engine.process(cycle, black_box([capture, capture]), Keeping::default());
        let took = start.elapsed();
        black_box(self.engine.mix(FRAME));
        while self.handle.packets.pop().is_ok() {}
        while let Ok(report) = self.handle.reports.pop() {
            self.report = report.peers[..self.peers.len()].to_vec();
        }
        self.cycle += 1;
        took
    }

    /// Packets concealed so far, by the last report.
    fn concealed(&self) -> u64 {
        self.report.iter().map(|peer| peer.concealed).sum()
    }

    /// Checks that every lost packet is concealed, once, and that the buffers are as deep as they were.
    fn check_losses(&mut self, depth: u64) {
        let periods = |band: &mut Band| {
            for _ in 0..2 * REPORT {
                band.cycle(band.cycle % EVERY >= LOST);
            }
        };
        periods(self);
        let before = self.concealed();
        periods(self);
        let expected = 2 * REPORT * LOST / EVERY * self.peers.len() as u64;
        assert_eq!(self.concealed() - before, expected, "a lost packet is concealed once");
        assert_eq!(self.depth(), depth, "the depth stays");
    }

    /// Cycles from the one in which a packet comes, or would, to the one in which its turn is. Only reports
    /// tell, and they come at multiples of 40 cycles: packets are lost ever longer before one, until it shows.
    fn depth(&mut self) -> u64 {
        for depth in 1..REPORT {
            for _ in 0..REPORT {
                self.cycle(true);
            }
            let before = self.concealed();
            while !(self.cycle + depth).is_multiple_of(REPORT) {
                self.cycle(true);
            }
            for cycle in 0..=depth {
                self.cycle(cycle >= LOST);
            }
            if self.concealed() > before {
                assert_eq!(
                    self.concealed(),
                    before + self.peers.len() as u64,
                    "all peers have the same depth"
                );
                return depth;
            }
        }
        panic!("a lost packet is concealed within 100 ms");
    }
}
