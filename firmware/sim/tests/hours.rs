//! Eight hours with two cards 200 ppm apart, other routes, bursts of delay and losses: no slip and no click but
//! where a packet was missing, and no memory that grows.
//!
//! Plain samples instead of Opus: everything but the codec is the same, and a day of encoding is saved. About four
//! minutes of real time. Where the processor is slow, `SIM_MINUTES` makes the eight hours shorter.
#![allow(clippy::unwrap_used, reason = "tests")]

use engine::Settings;
use proto::control::PeerStatus;
use proto::format::{Encoding, Format, Layout};
use sim::{Link, Spec, World};
use std::cell::RefCell;
use std::f64::consts::TAU;
use std::rc::Rc;
use std::time::Duration;

/// How long they play, unless `SIM_MINUTES` says so.
const MINUTES: u64 = 8 * 60;
const MINUTE: Duration = Duration::from_secs(60);

/// The tone: five periods in 48 frames, so 5 kHz, where a sample is a tenth of a period.
const TABLE: usize = 48;
const PERIODS: f64 = 5.0;
const LEVEL: f32 = 0.2;

/// Frames in a block: 10 ms.
const BLOCK: usize = 480;

/// What listens: counts blocks in which the tone's phase jumps or something else is heard.
struct Ear {
    sine: [f32; TABLE],
    cosine: [f32; TABLE],
    pending: Vec<f32>,
    /// The last frames, for the notch.
    past: [f32; 2],
    /// Phase of the last block and its step, in periods.
    phase: f64,
    step: f64,
    blocks: u64,
    slips: u64,
    clicks: u64,
}

impl Ear {
    fn new() -> Ear {
        let angle = |at: usize| TAU * PERIODS * at as f64 / TABLE as f64;
        Ear {
            sine: std::array::from_fn(|at| angle(at).sin() as f32),
            cosine: std::array::from_fn(|at| angle(at).cos() as f32),
            pending: Vec::with_capacity(2 * BLOCK),
            past: [0.0; 2],
            phase: 0.0,
            step: 0.0,
            blocks: 0,
            slips: 0,
            clicks: 0,
        }
    }

    fn listen(&mut self, sound: &[f32]) {
        self.pending.extend_from_slice(sound);
        while self.pending.len() >= BLOCK {
            let (mut sine, mut cosine, mut rest) = (0.0_f32, 0.0_f32, 0.0_f32);
            for (at, x) in self.pending[..BLOCK].iter().enumerate() {
                sine += x * self.sine[at % TABLE];
                cosine += x * self.cosine[at % TABLE];
                // Takes out the tone: x[n] − 2 cos ω x[n−1] + x[n−2].
                rest = rest.max((x - 2.0 * self.cosine[1] * self.past[0] + self.past[1]).abs());
                self.past = [*x, self.past[0]];
            }
            self.pending.drain(..BLOCK);
            self.judge(f64::from(cosine).atan2(f64::from(sine)) / TAU, rest);
        }
    }

    /// The phase may turn as the clocks and the slewing turn it, but not by half a sample at once.
    fn judge(&mut self, phase: f64, rest: f32) {
        let shorter = |turn: f64| turn - turn.round();
        let step = shorter(phase - self.phase);
        self.slips += u64::from(shorter(step - self.step).abs() > 0.05);
        self.clicks += u64::from(rest > 0.02 * LEVEL);
        (self.phase, self.step) = (phase, step);
        self.blocks += 1;
    }
}

/// How many minutes they play. With fewer than 30 the weather would be too good.
fn minutes() -> u64 {
    let wished =
        std::env::var("SIM_MINUTES").map(|minutes| minutes.parse().expect("SIM_MINUTES is a number"));
    wished.unwrap_or(MINUTES).max(30)
}

/// Memory of this process in RAM, in KiB.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn line(delay_ms: u64, jitter_us: u64) -> Link {
    let (delay, jitter) = (Duration::from_millis(delay_ms), Duration::from_micros(jitter_us));
    Link { delay, jitter, loss: 0.000_3, burst: 1.5, ..Link::default() }
}

fn peer(world: &World) -> PeerStatus {
    world.status(0).peers.remove(0)
}

#[test]
fn eight_hours_without_a_slip() {
    let minutes = minutes();
    let ear = Rc::new(RefCell::new(Ear::new()));
    let listen = {
        let ear = Rc::clone(&ear);
        Box::new(move |_, sound: &[f32]| ear.borrow_mut().listen(sound))
    };
    let sine = ear.borrow().sine;
    let tone = Box::new(move |frame: i64| LEVEL * sine[frame.rem_euclid(TABLE as i64) as usize]);
    let format = Format { encoding: Encoding::L24, layout: Layout::Mono };
    let settings = Settings { format, ..Settings::default() };
    let mut world = World::new(8, line(10, 500));
    world.add(Spec { ppm: 100.0, settings, ear: listen, ..Spec::new("porto") });
    world.add(Spec { ppm: -100.0, settings, input: tone, ..Spec::new("lisboa") });
    world.start_rendezvous();
    world.switch_on(0);
    world.switch_on(1);
    world.run_for(MINUTE);
    {
        let mut ear = ear.borrow_mut();
        (ear.slips, ear.clicks) = (0, 0);
    }
    let (start, memory) = (peer(&world), resident());
    for minute in 1..minutes {
        if minute % 20 == 0 {
            // Another way through the network.
            world.set_link(1, 0, line([10, 16, 8, 12][minute as usize / 20 % 4], 500));
        }
        if minute % 7 == 0 {
            // A second of crowded lines.
            let usual = world.link(1, 0);
            world.set_link(1, 0, Link { jitter: Duration::from_millis(12), ..usual });
            world.run_for(Duration::from_secs(1));
            world.set_link(1, 0, usual);
            world.run_for(MINUTE - Duration::from_secs(1));
        } else {
            world.run_for(MINUTE);
        }
    }
    let (end, ear) = (peer(&world), ear.borrow());
    let concealed = end.concealed - start.concealed;
    let (late, lost) = (end.late - start.late, end.lost - start.lost);
    println!(
        "{minutes} minutes, {} blocks: {} slips, {} clicks; {late} late, {lost} lost, {concealed} concealed",
        ear.blocks, ear.slips, ear.clicks
    );
    assert!(ear.blocks > minutes * 5_983, "it has played all the time: {} blocks", ear.blocks);
    assert!(
        end.received > 0 && lost > 2 * minutes && late > minutes / 5,
        "the weather was bad enough: {end:?}"
    );
    assert!((f64::from(end.drift_ppm) + 200.0).abs() < 1.0, "{end:?}");
    // A concealed piece may touch two blocks, and each is beside one that begins anew.
    assert!(ear.slips <= 2 * concealed, "{} slips, {concealed} concealed pieces", ear.slips);
    assert!(ear.clicks <= 2 * concealed, "{} clicks, {concealed} concealed pieces", ear.clicks);
    assert!(concealed < end.received / 500, "{concealed} of {} concealed", end.received);
    let grown = resident().saturating_sub(memory);
    assert!(grown < 4_096, "{grown} KiB more than after the first minute");
}
