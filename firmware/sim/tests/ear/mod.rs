//! An ear that knows which tones it should hear, 10 ms at a time.
//!
//! Used by the promises beside it: a box plays a tone, another one's mix is taken apart into the tones
//! that should be in it and the rest. A skipped sample shows in a tone's phase, a click in the rest.
#![allow(dead_code)] // each promise uses its own part

use sim::{Ear, Input};
use std::cell::RefCell;
use std::f64::consts::TAU;
use std::rc::Rc;

/// Frames in a block: 10 ms.
pub const BLOCK: usize = 480;

/// Level of every tone, linear.
pub const LEVEL: f64 = 0.2;

/// A tone, as input of a box.
pub fn tone(hertz: f64) -> Input {
    Box::new(move |frame| ((TAU * hertz / 48_000.0 * frame as f64).sin() * LEVEL) as f32)
}

/// One tone in one block.
#[derive(Clone, Copy, Debug)]
pub struct Tone {
    /// Phase against the card's own idea of the tone, in cycles.
    pub phase: f64,
    /// Level, linear.
    pub level: f64,
}

/// What one block sounded like.
#[derive(Clone, Debug)]
pub struct Block {
    /// Position of the card at its beginning.
    pub frame: i64,
    /// The tones asked for, in that order.
    pub tones: Vec<Tone>,
    /// Highest value, linear, of what a notch at each tone leaves: noise of the codec, and clicks. A
    /// sample that jumps by d leaves at least d here.
    pub rest: f64,
}

/// Listens.
#[derive(Clone)]
pub struct ToneEar {
    state: Rc<RefCell<State>>,
}

struct State {
    hertz: Vec<f64>,
    pending: Vec<f32>,
    start: i64,
    /// Notches, one behind the other.
    notches: Vec<Notch>,
    blocks: Vec<Block>,
}

impl ToneEar {
    /// An ear for these tones, in Hz.
    pub fn new(hertz: &[f64]) -> Self {
        let notches = hertz.iter().map(|hertz| Notch::new(*hertz)).collect();
        let state =
            State { hertz: hertz.to_vec(), pending: Vec::new(), start: 0, notches, blocks: Vec::new() };
        ToneEar { state: Rc::new(RefCell::new(state)) }
    }

    /// To be given to a box.
    pub fn ear(&self) -> Ear {
        let state = Rc::clone(&self.state);
        Box::new(move |frame, heard| state.borrow_mut().listen(frame, heard))
    }

    /// What was heard so far.
    pub fn blocks(&self) -> Vec<Block> {
        self.state.borrow().blocks.clone()
    }

    /// What was heard between two seconds of the box's life.
    pub fn between(&self, from: f64, to: f64) -> Vec<Block> {
        let range = (from * 48_000.0) as i64..(to * 48_000.0) as i64;
        self.blocks().into_iter().filter(|block| range.contains(&block.frame)).collect()
    }
}

impl State {
    fn listen(&mut self, frame: i64, heard: &[f32]) {
        if self.pending.is_empty() {
            self.start = frame;
        }
        self.pending.extend_from_slice(heard);
        while self.pending.len() >= BLOCK {
            let samples: Vec<f32> = self.pending.drain(..BLOCK).collect();
            let block = self.analyse(&samples);
            self.blocks.push(block);
            self.start += BLOCK as i64;
        }
    }

    fn analyse(&mut self, samples: &[f32]) -> Block {
        let start = self.start;
        let angle = |hertz: f64, at: usize| TAU * hertz / 48_000.0 * (start + at as i64) as f64;
        let tones = self.hertz.iter().map(|hertz| fit(samples, |at| angle(*hertz, at))).collect();
        let notches = &mut self.notches;
        let rest =
            samples.iter().map(|x| notches.iter_mut().fold(f64::from(*x), |x, notch| notch.step(x)).abs());
        Block { frame: start, tones, rest: rest.fold(0.0, f64::max) }
    }
}

/// Takes out one tone: x[n] − 2 cos ω x[n−1] + x[n−2] is zero for it, and nearly so 0.2 % beside it.
struct Notch {
    twice_cosine: f64,
    past: [f64; 2],
}

impl Notch {
    fn new(hertz: f64) -> Self {
        Notch { twice_cosine: 2.0 * (TAU * hertz / 48_000.0).cos(), past: [0.0; 2] }
    }

    fn step(&mut self, x: f64) -> f64 {
        let rest = x - self.twice_cosine * self.past[0] + self.past[1];
        self.past = [x, self.past[0]];
        rest
    }
}

/// Level and phase of one tone, by a Hann-windowed correlation: tones 1 kHz away do not disturb it.
fn fit(samples: &[f32], angle: impl Fn(usize) -> f64) -> Tone {
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (at, x) in samples.iter().enumerate() {
        let window = 0.5 - 0.5 * (TAU * (at as f64 + 0.5) / BLOCK as f64).cos();
        sine += f64::from(*x) * angle(at).sin() * window;
        cosine += f64::from(*x) * angle(at).cos() * window;
    }
    // The window's mean is a half, and that of a squared sine too.
    let scale = 4.0 / BLOCK as f64;
    Tone { phase: cosine.atan2(sine) / TAU, level: scale * sine.hypot(cosine) }
}

/// From one phase to the next, the shorter way round, in cycles.
pub fn turn(from: f64, to: f64) -> f64 {
    let turn = to - from;
    turn - turn.round()
}
