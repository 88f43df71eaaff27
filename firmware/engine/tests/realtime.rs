//! The audio thread allocates nothing, whatever happens: peers come and go, packets are missing, late,
//! twice or garbage, the card loses frames.

#![allow(clippy::unwrap_used)] // a test, though not all of it stands in #[test] functions

use assert_no_alloc::{AllocDisabler, assert_no_alloc, violation_count};
use engine::packet::{Arrival, Packet};
use engine::{Cycle, Engine, Handle, Keeping, Settings};
use proto::control::{Cue, Gains, Pace, Tapped};
use proto::format::Format;
use proto::rtp::Header;
use proto::units::Time;

#[global_allocator]
static GUARD: AllocDisabler = AllocDisabler;

/// Frames in a cycle, and how many cycles each part of the story lasts (0.5 s).
const PERIOD: usize = 120;
const PART: i64 = 200;

/// Two engines, the packets of each handed to the other, with `process` under guard.
struct Pair {
    ends: [(Engine, Handle); 2],
    capture: Vec<f32>,
    cycle: i64,
    sequence: [u16; 2],
    format: Format,
}

impl Pair {
    fn new(settings: Settings) -> Self {
        let capture = (0..PERIOD).map(|n| (n as f32 * 0.13).sin() * 0.2).collect();
        let mut ends = [Engine::new(settings), Engine::new(settings)];
        for (_, handle) in &mut ends {
            handle.cues.push(Cue::Join { slot: 0 }).unwrap();
        }
        Pair { ends, capture, cycle: 0, sequence: [0; 2], format: settings.format }
    }

    /// Runs a part of the story; `line` says how often each packet arrives.
    fn run(&mut self, mut line: impl FnMut(i64) -> usize) {
        for _ in 0..PART {
            let frame = self.cycle * PERIOD as i64;
            let cycle = Cycle { time: Time(frame * 1_000_000 / 48), frame, frames: PERIOD };
            for (engine, _) in &mut self.ends {
                assert_no_alloc(|| engine.process(cycle, [&self.capture, &self.capture], Keeping::default()));
            }
            for from in 0..2 {
                while let Ok(packet) = self.ends[from].1.packets.pop() {
                    self.sequence[from] = self.sequence[from].wrapping_add(1);
                    for _ in 0..line(self.cycle) {
                        let arrival = self.arrival(from, &packet, cycle.time);
                        self.ends[1 - from].1.arrivals.push(arrival).unwrap();
                    }
                }
                while self.ends[from].1.reports.pop().is_ok() {}
                while self.ends[from].1.meters.pop().is_ok() {}
            }
            self.cycle += 1;
        }
    }

    fn arrival(&self, from: usize, packet: &Packet, time: Time) -> Arrival {
        let header =
            Header { sequence: self.sequence[from], timestamp: packet.frame as u32, ..Header::default() };
        Arrival::new(0, &header, (self.format, 0, packet.payload()), time).unwrap()
    }

    fn cue(&mut self, cue: Cue) {
        self.ends[0].1.cues.push(cue).unwrap();
    }
}

#[test]
fn nothing_is_allocated_in_a_cycle() {
    // The guard itself: it does see an allocation.
    assert_no_alloc(|| drop(std::hint::black_box(vec![1_u8; 16])));
    let before = violation_count();
    assert!(before > 0, "the guard sees nothing (it needs debug assertions)");

    for format in Format::all() {
        let mut pair = Pair::new(Settings { format, gain_db: -3.0, ..Settings::default() });
        pair.run(|_| 1);
        let loud = |pair: &Pair| pair.ends[0].0.mix(PERIOD)[0].iter().any(|x| x.abs() > 0.01);
        assert!(loud(&pair), "they hear each other");
        pair.run(|cycle| if cycle % 7 == 0 { 0 } else { 2 }); // losses and duplicates
        pair.run(|_| 0); // everything lost: conceal, fade, be gone
        pair.run(|_| 0);
        pair.run(|_| 0);
        pair.run(|_| 1);
        assert!(loud(&pair), "and hear each other again");
        pair.cycle += 17; // the card loses frames
        pair.run(|_| 1);
        pair.cue(Cue::Pace(Pace { frames: 240, bitrate: 64_000 }));
        pair.run(|_| 1);
        pair.run(|cycle| if cycle % 9 == 0 { 0 } else { 1 });
        assert!(loud(&pair), "and in longer packets");
        pair.cue(Cue::Fader { slot: 0, gains: Gains { left: 0.5, right: 2.0 } });
        pair.cue(Cue::Fader { slot: 200, gains: Gains { left: f32::NAN, right: 2.0 } });
        pair.run(|_| 1); // a ramp, and then not
        pair.cue(Cue::Mute { on: true });
        pair.run(|_| 1);
        pair.cue(Cue::Mute { on: false });
        pair.cue(Cue::Fader { slot: 0, gains: Gains::default() });
        pair.run(|_| 1);
        pair.cue(Cue::Tap(Tapped(u32::MAX)));
        pair.run(|_| 1); // everything is copied, and nobody takes it: the ring is full after a while
        assert!(pair.ends[0].1.blocks.slots() > 2_000, "copies have come");
        pair.cue(Cue::Tap(Tapped::default()));
        pair.cue(Cue::Gain { db: -120.0 });
        pair.cue(Cue::Leave { slot: 0 });
        pair.cue(Cue::Leave { slot: 200 });
        pair.run(|_| 1);
        assert!(!loud(&pair), "it has left");
        pair.cue(Cue::Join { slot: 0 });
        let garbage = Arrival::new(0, &Header::default(), (format, 9, &[0xff; 40]), Time(0)).unwrap();
        pair.ends[0].1.arrivals.push(garbage).unwrap();
        pair.ends[0].1.arrivals.push(Arrival { slot: 250, ..garbage }).unwrap();
        for other in Format::all() {
            pair.ends[0].1.arrivals.push(Arrival { format: other, ..garbage }).unwrap();
        }
        pair.run(|_| 1);
        assert!(loud(&pair), "and come back");
    }
    assert_eq!(violation_count(), before, "a cycle allocated");
}
