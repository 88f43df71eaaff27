//! The rendezvous: a small WebSocket server that introduces boxes to each other.
//!
//! It never touches sound. [`configuration`] says who may come, [`room`] decides who is told what (no IO,
//! so the simulated world drives it too), [`server`] is the body around it: sockets, time-outs, limits;
//! [`tls`] its certificates.

pub mod configuration;
pub mod room;
pub mod server;
pub mod tls;

mod allowance;
mod connection;
mod handshake;
