//! The seam to the sound card: whatever drives the engine, cycle by cycle.
//!
//! Two backends run the same engine: [`jack`], a JACK server with a real card, and [`simulated`], a card in
//! the process. Both copy in what was captured, let [`Driver::cycle`] do the work, and copy out the mix.

pub mod jack;
pub mod simulated;
pub mod timeline;
pub mod wav;

use crate::clock;
use crate::net::Bell;
use engine::{Cycle, Engine, Keeping};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a backend holds in its audio thread.
pub struct Driver {
    /// The sound.
    pub engine: Engine,
    bell: Bell,
    overruns: Arc<AtomicU64>,
    /// Time that the last cycle took, in nanoseconds.
    last_cycle: u64,
}

impl Driver {
    /// For a backend to drive; `bell` wakes the thread that sends.
    pub fn new(engine: Engine, bell: Bell) -> Self {
        Driver { engine, bell, overruns: Arc::default(), last_cycle: 0 }
    }

    /// A counter of cycles that the machine missed or finished too late, for whoever notices them.
    pub fn overruns(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.overruns)
    }

    /// One cycle. Allocates nothing, blocks never.
    pub fn cycle(&mut self, cycle: Cycle, capture: [&[f32]; 2]) {
        let begun = clock::now();
        let keeping =
            Keeping { overruns: self.overruns.load(Ordering::Relaxed), last_cycle: self.last_cycle };
        if self.engine.process(cycle, capture, keeping) {
            self.bell.ring();
        }
        self.last_cycle = clock::now().nanos_since(begun).unsigned_abs();
    }
}

/// A card that plays; stops when dropped.
pub enum Card {
    /// A JACK server's.
    Jack(jack::Card),
    /// One in the process.
    Simulated(simulated::Card),
}

impl Card {
    /// A peer took a slot, or left it: ports are named after it.
    pub fn name_slot(&self, slot: u8, name: Option<&str>) {
        match self {
            Card::Jack(card) => card.name_slot(slot, name),
            Card::Simulated(_) => {}
        }
    }

    /// The card in words.
    pub fn words(&self) -> &str {
        match self {
            Card::Jack(card) => card.words(),
            Card::Simulated(_) => "simulated",
        }
    }

    /// Cycles that the sound server says it has lost.
    pub fn xruns(&self) -> u64 {
        match self {
            Card::Jack(card) => card.xruns(),
            Card::Simulated(_) => 0,
        }
    }

    /// The sentence that says why the card is gone, if it is.
    pub fn gone(&self) -> Option<String> {
        match self {
            Card::Jack(card) => card.gone(),
            Card::Simulated(card) => card.gone(),
        }
    }
}
