//! How a listener subscribes: lines of two words by TCP, each answered by a line of one.
//!
//! Before it: bytes of a connection. After it: [`super::Station`], which judges, or the listener, who reads the
//! answer. The sound then goes by UDP to the address at the other end of the connection.
//! Source: mopidy-rtp 0.1.0 (`session.py`), word for word. It has no version to agree on, so nothing was added.

use std::fmt;
use std::num::NonZeroU16;

/// TCP port of a station, unless its settings or DNS-SD say another.
pub const PORT: u16 = 7_128;

/// What a station says first.
pub const GREETING: &str = "OK RTP 0.0.1";

/// Most bytes of a line. The longest that means something has 17. Our choice.
pub const LONGEST: usize = 200;

/// What a listener may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send the sound to this UDP port.
    Subscribe(NonZeroU16),
    /// Send it there no more.
    Unsubscribe(NonZeroU16),
}

impl Command {
    /// Reads a line without its end: exactly two words with one blank between them, as the original wants it.
    pub fn parse(line: &str) -> Option<Command> {
        let (word, port) = line.split_once(' ')?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit()); // `parse` would take a `+` as well
        let port = port.parse().ok().filter(|_| digits)?;
        match word {
            "SUBSCRIBE" => Some(Command::Subscribe(port)),
            "UNSUBSCRIBE" => Some(Command::Unsubscribe(port)),
            _ => None,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Subscribe(port) => write!(out, "SUBSCRIBE {port}"),
            Command::Unsubscribe(port) => write!(out, "UNSUBSCRIBE {port}"),
        }
    }
}

/// What a station answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// There is no room for one more listener.
    LimitReached,
    /// That was no command.
    Unrecognized,
}

impl Reply {
    /// Reads a line without its end.
    pub fn parse(line: &str) -> Option<Reply> {
        [Reply::Done, Reply::LimitReached, Reply::Unrecognized]
            .into_iter()
            .find(|reply| reply.word() == line.trim_end())
    }

    /// The original's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Reply::Done => "ERROR_OK", // that is what the original calls success
            Reply::LimitReached => "ERROR_SUBSCRIBER_LIMIT_REACHED",
            Reply::Unrecognized => "ERROR_UNRECOGNIZED_COMMAND",
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// A line is longer than any that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {LONGEST} bytes")]
pub struct TooLong;

/// Cuts lines out of bytes as they come.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
}

impl Lines {
    /// Takes in what was read. Between two calls, [`Lines::pop`] until there is nothing: then no more is kept than
    /// one line and what was read last.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next line without its end (`\n` or `\r\n`), `None` if it is not complete. Bytes that are no UTF-8 become
    /// replacement characters, which are in no command.
    ///
    /// # Errors
    /// [`TooLong`]; nothing that comes afterwards can be understood.
    pub fn pop(&mut self) -> Result<Option<String>, TooLong> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n');
        if end.unwrap_or(self.bytes.len()) > LONGEST {
            return Err(TooLong);
        }
        let Some(end) = end else { return Ok(None) };
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        let line = &line[..end];
        Ok(Some(String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn port(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).unwrap()
    }

    #[test]
    fn the_originals_words_are_understood_and_nothing_else() {
        assert_eq!(Command::parse("SUBSCRIBE 5004"), Some(Command::Subscribe(port(5_004))));
        assert_eq!(Command::parse("UNSUBSCRIBE 65535"), Some(Command::Unsubscribe(port(65_535))));
        for line in [
            "",
            "SUBSCRIBE",
            "SUBSCRIBE ",
            "SUBSCRIBE 0",
            "SUBSCRIBE 65536",
            "SUBSCRIBE -1",
            "SUBSCRIBE +1",
            "SUBSCRIBE  5004",
            "SUBSCRIBE 5004 ",
            "SUBSCRIBE 5004 now",
            "subscribe 5004",
            " SUBSCRIBE 5004",
            "SUBSCRIBE x",
            "PLAY 5004",
            "SUBSCRIBE ٣",
        ] {
            assert_eq!(Command::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn answers_are_the_originals_words() {
        assert_eq!(Reply::Done.to_string(), "ERROR_OK");
        assert_eq!(Reply::LimitReached.to_string(), "ERROR_SUBSCRIBER_LIMIT_REACHED");
        assert_eq!(Reply::Unrecognized.to_string(), "ERROR_UNRECOGNIZED_COMMAND");
        assert_eq!(Reply::parse("ERROR_OK\r"), Some(Reply::Done));
        assert_eq!(Reply::parse("OK"), None);
    }

    #[test]
    fn a_line_that_does_not_end_is_too_long() {
        let mut lines = Lines::default();
        lines.push(&[b'A'; LONGEST]);
        assert_eq!(lines.pop(), Ok(None));
        lines.push(b"A");
        assert_eq!(lines.pop(), Err(TooLong));
        let mut lines = Lines::default();
        lines.push(&[&[b'A'; LONGEST + 1][..], b"\n"].concat());
        assert_eq!(lines.pop(), Err(TooLong));
    }

    proptest! {
        #[test]
        fn what_is_said_is_understood(
            numbers in prop::collection::vec((1_u16.., any::<bool>(), any::<bool>()), 0..20), chunk in 1_usize..30,
        ) {
            let (mut wire, mut said) = (String::new(), Vec::new());
            for (number, leave, carriage_return) in numbers {
                let command =
                    if leave { Command::Unsubscribe(port(number)) } else { Command::Subscribe(port(number)) };
                wire.push_str(&format!("{command}{}\n", if carriage_return { "\r" } else { "" }));
                said.push(command);
            }
            let (mut lines, mut heard) = (Lines::default(), Vec::new());
            for bytes in wire.as_bytes().chunks(chunk) {
                lines.push(bytes);
                while let Some(line) = lines.pop().unwrap() {
                    heard.push(Command::parse(&line).unwrap());
                }
            }
            prop_assert_eq!(heard, said);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_are_not_kept(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..10),
        ) {
            let mut lines = Lines::default();
            'all: for chunk in &chunks {
                lines.push(chunk);
                loop {
                    match lines.pop() {
                        Ok(Some(line)) => drop(Command::parse(&line)),
                        Ok(None) => break,
                        Err(TooLong) => break 'all,
                    }
                }
                prop_assert!(lines.bytes.len() <= LONGEST);
            }
        }
    }
}
