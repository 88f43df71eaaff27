//! The system's `ssh`, as a child: to a box's user `update`, with a bundle on its standard input.
//!
//! Keys, known hosts and everything else are the user's own settings of ssh. What it asks, it asks on the terminal.
//! Its own failures have the exit code 255 (ssh(1)); what they mean is told in a sentence.

use super::super::client::Failure;
use super::bar::Bar;
use crate::system::Standing;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// The longest that is kept of what is said on standard error, and of an answer, in bytes.
const LONGEST: u64 = 64 << 10;

/// How often the bar moves.
const BEAT: Duration = Duration::from_millis(200);

/// Bytes that are sent at a time.
const BUFFER: usize = 64 << 10;

/// A box as ssh reaches it.
pub struct Ssh {
    host: String,
}

impl Ssh {
    /// The box of that name: `matriz-1a2b` is `matriz-1a2b.local`, as a box calls itself (RFC 6762).
    ///
    /// # Errors
    /// It is no host's name.
    pub fn to(host: &str) -> Result<Ssh, Failure> {
        let host = host.strip_prefix("update@").unwrap_or(host);
        if host.is_empty() || host.starts_with('-') || host.contains(['@', '/', ' ']) {
            return Err(Failure::Here(format!(
                "{host:?} is no box: say its name, such as matriz-1a2b, or its address"
            )));
        }
        let own = host.to_ascii_lowercase().starts_with("matriz") && !host.contains(['.', ':']);
        Ok(Ssh { host: if own { format!("{host}.local") } else { host.to_owned() } })
    }

    /// Its name.
    pub fn host(&self) -> &str {
        &self.host
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        // A box that is gone must be noticed; a connection that is kept open would not end.
        for option in ["ServerAliveInterval=15", "ConnectTimeout=15", "ControlMaster=no", "ControlPath=none"]
        {
            command.args(["-o", option]);
        }
        command.arg("-T");
        command.arg(format!("update@{}", self.host)).args(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// How its systems stand.
    ///
    /// # Errors
    /// It is not reached, or says something else.
    pub fn standing(&self) -> Result<Standing, Failure> {
        let mut child = spawn(self.command(&["status", "json"]).stdin(Stdio::null()))?;
        let errors = errors(&mut child);
        let mut answer = String::new();
        if let Some(out) = child.stdout.take() {
            let _ = out.take(LONGEST).read_to_string(&mut answer); // what is no text is no JSON either
        }
        self.ended(child, &errors)?;
        serde_json::from_str(answer.trim()).map_err(|_| {
            Failure::Refused(format!(
                "what answers at {} is no box, or much older than this `matriz`",
                self.host
            ))
        })
    }

    /// Says `words`, sends the bundle, and shows what the box says.
    ///
    /// # Errors
    /// It is not reached, or refuses: its sentence.
    pub fn send(&self, words: &[&str], bundle: Option<(File, u64)>, bar: &mut Bar) -> Result<(), Failure> {
        let mut command = self.command(words);
        command.stdin(if bundle.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = spawn(&mut command)?;
        let errors = errors(&mut child);
        let lines = lines(&mut child);
        let length = bundle.as_ref().map_or(0, |(_, length)| *length);
        let sent = Arc::new(AtomicU64::new(0));
        if let (Some((file, _)), Some(input)) = (bundle, child.stdin.take()) {
            let sent = sent.clone();
            std::thread::spawn(move || copy(file, input, &sent));
        }
        let mut receiving = length > 0;
        loop {
            match lines.recv_timeout(BEAT) {
                Ok(line) => {
                    // Of this step we know more than the box.
                    let is_of_sending = line.starts_with("receiving ");
                    receiving &= is_of_sending || line.starts_with("waiting ");
                    if !is_of_sending || length == 0 {
                        bar.say(&line);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let bytes = sent.load(Ordering::Relaxed);
            if receiving && bytes > 0 {
                bar.sent(100 * bytes / length);
            }
        }
        self.ended(child, &errors)
    }

    /// Waits for ssh's end.
    fn ended(&self, mut child: Child, errors: &Receiver<String>) -> Result<(), Failure> {
        let ended = child.wait().map_err(|error| Failure::Here(format!("ssh is lost ({error})")))?;
        let said = errors.recv().unwrap_or_default();
        match ended.code() {
            Some(0) => Ok(()),
            Some(255) | None => Err(Failure::NoBox(trouble(&self.host, &said))),
            Some(_) => Err(Failure::Refused(
                last(&said).unwrap_or("the box refuses and does not say why").to_owned(),
            )),
        }
    }
}

fn spawn(command: &mut Command) -> Result<Child, Failure> {
    command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::Here("there is no ssh on this computer: install it (Debian: openssh-client)".to_owned())
        }
        _ => Failure::Here(format!("ssh cannot be started ({error})")),
    })
}

/// What is said on standard error, once all of it was said.
fn errors(child: &mut Child) -> Receiver<String> {
    let (to, from) = sync_channel(1);
    let output = child.stderr.take();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut output) = output {
            let _ = (&mut output).take(LONGEST).read_to_end(&mut kept);
            let _ = std::io::copy(&mut output, &mut std::io::sink());
        }
        let _ = to.send(String::from_utf8_lossy(&kept).into_owned());
    });
    from
}

/// What is said on standard output, line by line.
fn lines(child: &mut Child) -> Receiver<String> {
    let (to, from) = sync_channel(16);
    let output = child.stdout.take();
    std::thread::spawn(move || {
        let Some(output) = output else { return };
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while (&mut output).take(LONGEST).read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            if to.send(plain(&String::from_utf8_lossy(&line))).is_err() {
                return;
            }
            line.clear();
        }
    });
    from
}

/// A line without what could move a terminal's cursor.
fn plain(line: &str) -> String {
    line.chars().filter(|letter| !letter.is_control()).collect()
}

/// Sends the file; whoever does not want the rest has said why.
fn copy(mut file: File, mut input: ChildStdin, sent: &AtomicU64) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(bytes @ 1..) = file.read(&mut buffer) {
        if input.write_all(&buffer[..bytes]).is_err() {
            return;
        }
        sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The last line that says something.
fn last(said: &str) -> Option<&str> {
    said.lines().rev().map(str::trim).find(|line| !line.is_empty())
}

/// What ssh says when it fails, and what that means.
fn trouble(host: &str, said: &str) -> String {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["Could not resolve hostname"]) {
        format!(
            "nobody here is called {host}: is the box on, and in this network? Its display shows its address"
        )
    } else if has(&["Connection refused"]) {
        format!(
            "{host} lets nobody in: put your public key on its card, as authorized_keys (docs/install.md)"
        )
    } else if has(&["Permission denied"]) {
        format!(
            "{host} does not know your key: put it on its card, as authorized_keys, and switch the box off and on"
        )
    } else if has(&["REMOTE HOST IDENTIFICATION HAS CHANGED", "Host key verification failed"]) {
        format!(
            "{host} is not the box that it was, or you have not said yes to its key: if its card was flashed anew, \
             forget the old one with `ssh-keygen -R {host}`"
        )
    } else if has(&["timed out", "No route to host", "Network is unreachable"]) {
        format!("{host} does not answer: is it on, and in this network?")
    } else {
        format!("ssh to {host} failed: {}", last(said).unwrap_or("it does not say why"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boxs_short_name_is_enough() {
        let host = |name| Ssh::to(name).map(|ssh| ssh.host).map_err(|failure| failure.to_string());
        assert_eq!(host("matriz-1a2b").unwrap(), "matriz-1a2b.local");
        assert_eq!(host("update@Matriz-1A2B").unwrap(), "Matriz-1A2B.local");
        for same in ["matriz-1a2b.local", "192.168.1.20", "fe80::1%eth0", "studio", "localhost"] {
            assert_eq!(host(same).unwrap(), same);
        }
        for wrong in ["", "-oProxyCommand=x", "root@matriz", "a b", "ssh://a"] {
            assert!(host(wrong).unwrap_err().contains("is no box"), "{wrong}");
        }
    }

    #[test]
    fn what_ssh_says_is_told_in_a_sentence() {
        for (said, wanted) in [
            ("ssh: Could not resolve hostname a: Name or service not known\r\n", "nobody here is called a"),
            ("ssh: connect to host a port 22: Connection refused\r\n", "a lets nobody in"),
            ("update@a: Permission denied (publickey).\r\n", "a does not know your key"),
            ("Host key verification failed.\r\n", "ssh-keygen -R a"),
            ("ssh: connect to host a port 22: No route to host\r\n", "a does not answer"),
            ("something\r\n\r\n", "ssh to a failed: something"),
            ("", "it does not say why"),
        ] {
            let told = trouble("a", said);
            assert!(told.contains(wanted) && !told.contains(['\r', '\n']), "{said}: {told}");
        }
        assert_eq!(plain("in\x1b[2Jstalling 10 %\r\n"), "in[2Jstalling 10 %");
    }
}
