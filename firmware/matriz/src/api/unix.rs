//! The Unix socket of the API: a request is a line, and so is an answer.
//!
//! Who may open the socket may do everything: it belongs to the box's user and group (0660), and that is the whole
//! protection. [`super::talk`] answers.

use super::talk::{Heard, Wire, talk};
use super::{BREATH, LONGEST};
use crate::config::Config;
use crate::door::Door;
use crate::places;
use anyhow::{Context, bail};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// Most connections at a time.
const MOST: usize = 32;

/// Opens the socket.
///
/// # Errors
/// There is no place for it, or another box has it: a sentence.
pub fn bind(config: &Config) -> anyhow::Result<(UnixListener, PathBuf)> {
    let path = match &config.api.socket {
        Some(path) => path.clone(),
        None => {
            let folders = places::socket_folders(&places::environment);
            let folder =
                folders.first().context("there is no folder for a socket: set \"socket\" in \"api\"")?;
            places::make_socket_folder(folder).with_context(|| {
                format!("the folder {} cannot have a socket: set \"socket\" in \"api\"", folder.display())
            })?;
            folder.join(format!("{}.sock", config.name))
        }
    };
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        bail!("another box answers at {}: end it, or set \"socket\" in \"api\"", path.display());
    }
    let listener = open(&path).with_context(|| format!("no socket can be opened at {}", path.display()))?;
    Ok((listener, path))
}

/// Opens it under another name first: nobody finds it before it has its permissions, and what a box that was killed
/// has left is replaced.
fn open(path: &Path) -> std::io::Result<UnixListener> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let _ = std::fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o660))?;
    std::fs::rename(&new, path)?;
    Ok(listener)
}

/// Receives programs for as long as the box runs.
pub async fn receive(listener: UnixListener, door: Door) {
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if talks.len() < MOST => {
                    talks.spawn(talk(door.clone(), Lines { stream, bytes: Vec::new(), looked: 0 }));
                }
                Ok(_) => tracing::debug!("a program more than {MOST} is turned away"),
                Err(error) => {
                    tracing::debug!("no program can be received: {error}");
                    tokio::time::sleep(BREATH).await;
                }
            },
            Some(_) = talks.join_next() => {}
        }
    }
}

/// Lines of a stream.
struct Lines {
    stream: UnixStream,
    /// What was read and is no line yet.
    bytes: Vec<u8>,
    /// How much of it has no end of a line.
    looked: usize,
}

impl Wire for Lines {
    async fn next(&mut self) -> Heard {
        loop {
            if let Some(at) = self.bytes[self.looked..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=self.looked + at).collect();
                self.looked = 0;
                match String::from_utf8(line) {
                    Ok(line) if line.trim().is_empty() => continue,
                    Ok(line) => return Heard::Text(line),
                    Err(_) => return Heard::Nonsense("a line is not UTF-8"),
                }
            }
            self.looked = self.bytes.len();
            if self.looked > LONGEST {
                return Heard::Nonsense("a line has 65536 bytes at most");
            }
            match self.stream.read_buf(&mut self.bytes).await {
                Ok(0) | Err(_) => return Heard::Over,
                Ok(_) => {}
            }
        }
    }

    async fn send(&mut self, text: &str) -> bool {
        let line = [text.as_bytes(), b"\n"].concat();
        self.stream.write_all(&line).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(lines: &mut Lines) -> String {
        match lines.next().await {
            Heard::Text(text) => text.trim().to_owned(),
            Heard::Nonsense(why) => format!("nonsense: {why}"),
            Heard::Over => "over".to_owned(),
        }
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut() {
        let (mut far, stream) = UnixStream::pair().unwrap();
        let mut lines = Lines { stream, bytes: Vec::new(), looked: 0 };
        let writer = tokio::spawn(async move {
            for byte in "{\"a\": 1}\r\n\n  \nsecond\nthird\nrest".as_bytes() {
                far.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        for wanted in ["{\"a\": 1}", "second", "third", "over"] {
            assert_eq!(heard(&mut lines).await, wanted);
        }
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_line_that_does_not_end_is_not_waited_for() {
        let (mut far, stream) = UnixStream::pair().unwrap();
        let mut lines = Lines { stream, bytes: Vec::new(), looked: 0 };
        let writer = tokio::spawn(async move {
            // Ends when the other end is gone.
            while far.write_all(&[b' '; 4_096]).await.is_ok() {}
        });
        assert_eq!(heard(&mut lines).await, "nonsense: a line has 65536 bytes at most");
        assert!(lines.bytes.capacity() < 4 * LONGEST);
        drop(lines);
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_socket_is_for_user_and_group_and_replaces_one_that_is_dead() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("porto.sock");
        for _ in 0..2 {
            let _listener = open(&path).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
