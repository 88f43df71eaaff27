//! What is typed while a station is listened to: `pause`, `play`, `exit`.
//!
//! As for the monitor, a thread of its own waits for standard input, and ends with the process.

use crate::rendezvous::plain;
use std::io::{self, BufRead, IsTerminal, Read};
use tokio::sync::mpsc;

/// The longest line that is read in one piece, in bytes.
const LONGEST_LINE: u64 = 1_000;

/// A line of standard input.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Listen to nothing for a while.
    Pause,
    /// Listen again.
    Play,
    /// End.
    Exit,
    /// Anything else, as it may be shown.
    Unknown(String),
}

/// What a line means; nothing if nothing is in it.
fn read_line(line: &str) -> Option<Typed> {
    match line.trim() {
        "" => None,
        "pause" => Some(Typed::Pause),
        "play" => Some(Typed::Play),
        "exit" => Some(Typed::Exit),
        other => Some(Typed::Unknown(plain(other))),
    }
}

/// What is typed from now on. The end of standard input (Ctrl-D) is an exit at a terminal; a program that has no
/// standard input for it may listen all the same.
pub fn read() -> mpsc::Receiver<Typed> {
    let (lines, typed) = mpsc::channel(1);
    std::thread::spawn(move || {
        let terminal = io::stdin().is_terminal();
        if terminal {
            eprintln!("Type pause, play or exit.");
        }
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = (&mut input).take(LONGEST_LINE).read_until(b'\n', &mut line);
            let said = match read {
                Ok(1..) => read_line(&String::from_utf8_lossy(&line)),
                Ok(0) | Err(_) if terminal => Some(Typed::Exit),
                Ok(0) | Err(_) => return,
            };
            let over = said == Some(Typed::Exit);
            if said.is_some_and(|said| lines.blocking_send(said).is_err()) || over {
                return;
            }
        }
    });
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_words_are_understood() {
        assert_eq!(read_line(" pause \n"), Some(Typed::Pause));
        assert_eq!(read_line("play\r\n"), Some(Typed::Play));
        assert_eq!(read_line("exit"), Some(Typed::Exit));
        assert_eq!(read_line("\n"), None);
        assert_eq!(read_line("stop\x1b\n"), Some(Typed::Unknown("stop".to_owned())));
    }
}
