//! Whole boxes in virtual time: the engines and sessions that run on real boxes, with drifting cards,
//! seeded links and the real rendezvous' room between them.
//!
//! Nothing here waits: [`World`] jumps from deadline to deadline, so ten minutes pass in seconds, and the
//! same seed always gives the same samples. The files in `tests/` are the project's promises.
//! The idea is quinn's and str0m's: test the protocol as one value, in time that is given to it.

mod hall;
mod link;
mod station;
mod world;

pub use link::{Link, Rate, Trouble};
pub use station::{Ear, Input, Spec, Tap};
pub use world::World;
