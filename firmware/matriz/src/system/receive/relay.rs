//! The forced command of the user `update`: it passes on what comes in by SSH, and shows the answers.
//!
//! It runs as that user, who may open the service's socket and nothing else. The service ([`super`]) does the work as
//! root; a connection that breaks ends this program, and no installation that has begun.

use super::talk::{Heard, LONGEST, hear};
use super::wish;
use crate::system::Root;
use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// The service's socket (`overlays/rootfs/usr/lib/systemd/system/matriz-update.socket`).
pub const SOCKET: &str = "run/matriz-system/update.sock";

/// Where sshd leaves what was typed after the host's name.
const WORDS: &str = "SSH_ORIGINAL_COMMAND";

/// Bytes that are passed on at a time.
const BUFFER: usize = 64 << 10;

/// Passes on standard input, and shows the answers.
///
/// # Errors
/// The service cannot be reached, or has ended in the middle.
pub fn run(root: &Root) -> anyhow::Result<ExitCode> {
    let words = std::env::var(WORDS).unwrap_or_default();
    let service = UnixStream::connect(root.at(SOCKET)).context("this box takes no updates just now")?;
    pass_on(&words, std::io::stdin(), service, &mut std::io::stdout(), &mut std::io::stderr())
}

/// `input` is read on a thread of its own, which ends with the program: an answer does not wait for it.
fn pass_on(
    words: &str,
    mut input: impl Read + Send + 'static,
    service: UnixStream,
    shown: &mut impl Write,
    refused: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut to = service.try_clone()?;
    let mut line: Vec<u8> = words.bytes().map(|byte| if byte == b'\n' { b' ' } else { byte }).collect();
    line.truncate(wish::LONGEST); // too long to be understood in any case
    line.push(b'\n');
    std::thread::spawn(move || {
        // Who no longer listens has answered.
        let sent = to.write_all(&line).and_then(|()| copy(&mut input, &mut to));
        if sent.is_ok() {
            let _ = to.shutdown(Shutdown::Write);
        }
    });
    let mut answers = BufReader::new(service);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut answers).take(LONGEST as u64 + 1).read_until(b'\n', &mut line) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => bail!(
                "the box has stopped in the middle of it; ask for its status, and look into `journalctl -u \
                 matriz-update@*`"
            ),
            Ok(_) => match hear(String::from_utf8_lossy(&line).trim_end_matches('\n')) {
                Heard::Said(sentence) => {
                    writeln!(shown, "{sentence}").and_then(|()| shown.flush()).context("nobody listens")?;
                }
                Heard::Refused(sentence) => {
                    let _ = writeln!(refused, "{sentence}");
                    return Ok(ExitCode::FAILURE);
                }
                Heard::End => return Ok(ExitCode::SUCCESS),
                Heard::Nonsense => bail!("what answers at {SOCKET} is not the box's service"),
            },
        }
    }
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(bytes) => to.write_all(&buffer[..bytes])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came of it.
    struct Done {
        code: anyhow::Result<ExitCode>,
        shown: String,
        refused: String,
    }

    /// Relays to a service that does this.
    fn relay(
        words: &str,
        input: impl Read + Send + 'static,
        service: impl FnOnce(UnixStream) + Send + 'static,
    ) -> Done {
        let (here, there) = UnixStream::pair().unwrap();
        let serving = std::thread::spawn(move || service(there));
        let (mut shown, mut refused) = (Vec::new(), Vec::new());
        let code = pass_on(words, input, here, &mut shown, &mut refused);
        serving.join().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Done { code, shown: text(shown), refused: text(refused) }
    }

    #[test]
    fn words_and_bytes_arrive_and_answers_are_shown() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        let wanted = bytes.clone();
        let done = relay("now\nrm -rf /", std::io::Cursor::new(bytes), move |mut service| {
            let mut all = Vec::new();
            service.read_to_end(&mut all).unwrap();
            assert!(all.starts_with(b"now rm -rf /\n") && all[13..] == wanted);
            service.write_all(b"+ receiving 10 %\n+ done\n.\n").unwrap();
        });
        assert_eq!((done.shown.as_str(), done.refused.as_str()), ("receiving 10 %\ndone\n", ""));
        assert_eq!(format!("{:?}", done.code.unwrap()), format!("{:?}", ExitCode::SUCCESS));
    }

    /// Input on which nothing ever comes, until its other end is dropped.
    fn silence() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    #[test]
    fn a_refusal_does_not_wait_for_the_rest() {
        let (_quiet, input) = silence();
        let done = relay("", input, |mut service| service.write_all(b"+ a\n! no room\n").unwrap());
        assert_eq!((done.shown.as_str(), done.refused.as_str()), ("a\n", "no room\n"));
        assert_eq!(format!("{:?}", done.code.unwrap()), format!("{:?}", ExitCode::FAILURE));
        // Nor for what was sent and not read.
        let done = relay("", std::io::repeat(7), |mut service| service.write_all(b"! no bundle\n").unwrap());
        assert_eq!(done.refused, "no bundle\n");
    }

    #[test]
    fn a_service_that_ends_or_talks_nonsense_is_told() {
        let (_quiet, input) = silence();
        let said = relay("", input, drop).code.unwrap_err().to_string();
        assert!(said.contains("stopped in the middle"), "{said}");
        let (_quiet, input) = silence();
        let done = relay("", input, |mut service| service.write_all(&[b'x'; 5_000]).unwrap());
        assert!(done.code.unwrap_err().to_string().contains("not the box's service"));
    }
}
