//! What the box tells the service manager that started it: that it is ready, and that the music goes on.
//!
//! systemd ends a service that it has not heard of for `WatchdogSec=` and starts it again. The box is heard of
//! only while the card's cycles advance, or while it has declared that there is no card: a card that was
//! unplugged must not restart anything, an engine that stands still must. Without systemd nothing happens.
//! Protocol: sd_notify(3), one datagram of lines `KEY=value` to the socket in `NOTIFY_SOCKET`.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Tells that music is played; `cycles` is the card's count, which says whether that is true.
pub fn playing(cycles: u64) {
    tell(State::Playing(cycles));
}

/// Tells that there is no card, and that the box waits for one.
pub fn no_card() {
    tell(State::NoCard);
}

/// There is one service manager for the process.
fn tell(state: State) {
    static LINE: OnceLock<Option<Mutex<Line>>> = OnceLock::new();
    let line = LINE.get_or_init(|| Line::to(&std::env::var("NOTIFY_SOCKET").ok()?).map(Mutex::new));
    if let Some(line) = line {
        line.lock().unwrap_or_else(PoisonError::into_inner).tell(state);
    }
}

/// What the box does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Playing(u64),
    NoCard,
}

/// The line to the service manager.
struct Line {
    socket: UnixDatagram,
    manager: SocketAddr,
    last: Option<State>,
}

impl Line {
    /// A line to the socket of that name: a path, or an abstract name after an @.
    fn to(name: &str) -> Option<Line> {
        let manager = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(name),
        };
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        Some(Line { socket: socket.ok()?, manager: manager.ok()?, last: None })
    }

    fn tell(&mut self, state: State) {
        if let (None | Some(State::NoCard), State::Playing(cycles)) = (self.last, state) {
            tracing::info!("the card runs: {cycles} cycles"); // a start is measured by the journal's time of this
        }
        if let Some(text) = words(self.last, state) {
            // A manager that is not listening is no reason to stop the music.
            let _ = self.socket.send_to_addr(text.as_bytes(), &self.manager);
        }
        self.last = Some(state);
    }
}

/// What is told when `now` follows `last`; nothing if the card stands still.
fn words(last: Option<State>, now: State) -> Option<String> {
    let status = match (last, now) {
        (Some(State::Playing(last)), State::Playing(now)) if last == now => return None,
        (Some(State::Playing(_)), State::Playing(_)) | (Some(State::NoCard), State::NoCard) => "",
        (_, State::Playing(_)) => "STATUS=playing\n",
        (_, State::NoCard) => "STATUS=no card\n",
    };
    let ready = if last.is_none() { "READY=1\n" } else { "" };
    Some(format!("{ready}{status}WATCHDOG=1\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_stands_still_is_not_told_and_a_missing_one_is() {
        use State::{NoCard, Playing};
        let steps = [
            (NoCard, Some("READY=1\nSTATUS=no card\nWATCHDOG=1\n")),
            (NoCard, Some("WATCHDOG=1\n")),
            (Playing(7), Some("STATUS=playing\nWATCHDOG=1\n")),
            (Playing(8), Some("WATCHDOG=1\n")),
            (Playing(8), None),
            (Playing(8), None),
            (NoCard, Some("STATUS=no card\nWATCHDOG=1\n")),
            (Playing(3), Some("STATUS=playing\nWATCHDOG=1\n")),
        ];
        let mut last = None;
        for (state, told) in steps {
            assert_eq!(words(last, state).as_deref(), told, "{state:?} after {last:?}");
            last = Some(state);
        }
    }

    #[test]
    fn it_is_told_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify").display().to_string();
        let name = format!("matriz-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        for (name, manager) in [
            (path.clone(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}"), UnixDatagram::bind_addr(&address).unwrap()),
        ] {
            Line::to(&name).unwrap().tell(State::Playing(1));
            let mut heard = [0; 64];
            let length = manager.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1\nSTATUS=playing\nWATCHDOG=1\n");
        }
        Line::to("/nowhere/at/all").unwrap().tell(State::NoCard);
    }
}
