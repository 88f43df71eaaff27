//! How patient and how big the room is.
//!
//! The defaults are for real life; tests shorten them. Used by `room`, which counts and compares.

use std::time::Duration;

/// How patient and how big the room is.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a connection may take to register.
    pub registration: Duration,
    /// How long a welcome waits for the probe.
    pub introduction: Duration,
    /// How many web pages are served at a time; they need no key.
    pub web_clients: usize,
    /// How many monitors are served at a time.
    pub monitors: usize,
    /// The least time between two refreshes that web pages ask for.
    pub web_refresh: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            registration: Duration::from_secs(10),
            // Musicians see each other well under a second after the start, and a port that is going to
            // answer answers within a round trip, which is below 250 ms where playing together makes sense.
            introduction: Duration::from_millis(250),
            web_clients: 256,
            monitors: 16,
            web_refresh: Duration::from_secs(1),
        }
    }
}
