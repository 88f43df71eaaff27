//! Every byte that boxes and the rendezvous exchange, and the box's decisions.
//!
//! Sans-IO: bytes and `now` go in, bytes and actions come out. Nothing here reads a clock, a socket
//! or a file, so the simulated world and the real box run the same code.

pub mod control;
pub mod desk;
pub mod format;
pub mod offer;
pub mod red;
pub mod rendezvous;
pub mod routes;
pub mod rtcp;
pub mod rtp;
pub mod rtsp;
pub mod session;
pub mod station;
pub mod units;
