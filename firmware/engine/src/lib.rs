//! The sound: from the card to packets, and from packets to the card.
//!
//! The files in the order in which a sample travels: `send` (strip, frames, `codec`) → `packet` → the
//! network → `receive` (`store`, `drift`, `playout`, `slew`, `codec`, `resample`, `strip`) → the `mix` → the
//! card, and the `tap`.
//! One [`Engine`] runs in the audio thread and is driven by the card's cycles; its [`Handle`] stays with
//! the rest of the box. What crosses between them is packets, cues and reports, fixed in size and
//! wait-free. `process` allocates nothing, locks nothing, reads no clock.

pub mod codec;
mod drift;
mod engine;
pub mod extrapolate;
mod mix;
pub mod packet;
mod playout;
mod receive;
pub mod resample;
mod send;
mod slew;
mod store;
pub mod strip;
pub mod tap;

pub use engine::{Engine, Handle, Settings};

use proto::units::Time;

/// Longest cycle, in frames: the longest period that JACK is commonly run with.
pub const MAX_CYCLE: usize = 4096;

/// One cycle of the card: what every decision in the audio thread takes as its `now`.
#[derive(Clone, Copy, Debug)]
pub struct Cycle {
    /// Start of the cycle, by the card's own smooth time.
    pub time: Time,
    /// Position of the card at `time`, in frames. A jump from one cycle's end to the next one's start
    /// says that the machine missed cycles.
    pub frame: i64,
    /// Length of the cycle in frames, at most [`MAX_CYCLE`].
    pub frames: usize,
}

/// How the machine has kept up so far, by the clock that the engine does not have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keeping {
    /// Cycles that it has missed or finished too late.
    pub overruns: u64,
    /// Time that the last cycle took, in nanoseconds; 0: not known.
    pub last_cycle: u64,
}
