//! The API: what a button can do and what a lamp can show, for programs. JSON-RPC 2.0, described in docs/api.md.
//!
//! Over a Unix socket, whose permissions are the protection ([`unix`]), and over WebSockets from the local network
//! where the configuration has a port and a token ([`web`]). [`rpc`] reads what is said, [`talk`] answers it through
//! the [`Door`]. Each connection is a task of its own that is never waited for; the music depends on none of it.

pub mod rpc;
mod talk;
mod unix;
mod web;

use crate::config::Config;
use crate::door::Door;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The longest line or message that is read, in bytes: the longest command is a tenth of a kilobyte, and a batch has
/// 64 of them at most.
pub const LONGEST: usize = 64 * 1_024;

/// How long to wait when the system has no connection to give, as without file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// The running API; ends when dropped.
pub struct Server {
    listeners: Vec<JoinHandle<()>>,
    socket: Option<PathBuf>,
}

impl Server {
    /// Begins to listen where the configuration says. What cannot be opened is said, and the box plays without.
    pub fn start(config: &Config, door: &Door) -> Server {
        let mut server = Server { listeners: Vec::new(), socket: None };
        match unix::bind(config) {
            Ok((listener, path)) => {
                tracing::debug!("the API is at {}", path.display());
                server.socket = Some(path);
                server.listeners.push(tokio::spawn(unix::receive(listener, door.clone())));
            }
            Err(error) => tracing::warn!("{error}; `matriz status` and the like cannot reach this box"),
        }
        match web::bind(config) {
            Ok(Some((listener, token))) => {
                server.listeners.push(tokio::spawn(web::receive(listener, token, door.clone())));
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("{error}; no program in the network can reach this box"),
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listeners.iter().for_each(JoinHandle::abort);
        if let Some(socket) = &self.socket {
            // The next box clears it away if this fails.
            let _ = std::fs::remove_file(socket);
        }
    }
}
