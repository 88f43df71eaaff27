//! What is typed while the monitor runs: `refresh`, `exit`, or nothing but Enter.
//!
//! A thread of its own waits for standard input, since nobody can wait for a terminal in any other way;
//! it ends with the process. After it: the loop of [`super`].

use crate::rendezvous::plain;
use std::io::{self, BufRead, IsTerminal, Read};
use tokio::sync::mpsc;

/// The longest line that is read in one piece, in bytes.
const LONGEST_LINE: u64 = 1_000;

/// A line of standard input.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Send the list to all boxes once more.
    Refresh,
    /// End.
    Exit,
    /// Only Enter: show the table again.
    Again,
    /// Anything else, as it may be shown.
    Unknown(String),
}

impl From<&str> for Typed {
    fn from(line: &str) -> Typed {
        match line.trim() {
            "refresh" => Typed::Refresh,
            "exit" => Typed::Exit,
            "" => Typed::Again,
            other => Typed::Unknown(plain(other)),
        }
    }
}

/// What is typed from now on. The end of standard input (Ctrl-D) is an exit at a terminal; a program that
/// has no standard input for the monitor may watch all the same.
pub fn read() -> mpsc::Receiver<Typed> {
    let (lines, typed) = mpsc::channel(1);
    std::thread::spawn(move || {
        let terminal = io::stdin().is_terminal();
        if terminal {
            eprintln!("Type refresh or exit, or only Enter for the table.");
        }
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = (&mut input).take(LONGEST_LINE).read_until(b'\n', &mut line);
            let said = match read {
                Ok(1..) => Typed::from(&*String::from_utf8_lossy(&line)),
                Ok(0) | Err(_) if terminal => Typed::Exit,
                Ok(0) | Err(_) => return,
            };
            let over = said == Typed::Exit;
            if lines.blocking_send(said).is_err() || over {
                return;
            }
        }
    });
    typed
}
