//! A process that is heard line by line, and that never outlives its test.
//!
//! Below boxes, rendezvous and JACK servers. Threads read what it says; whoever waits for a sentence is
//! woken by the line that has it, and fails with the last lines when none comes.

use super::PATIENCE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A running process; killed by its id when dropped, also when a test panics.
pub struct Process {
    pub name: String,
    /// Its standard output.
    pub out: Said,
    /// Its standard error: the log.
    pub log: Said,
    /// Its standard input, if somebody types.
    input: Option<ChildStdin>,
    child: Child,
}

impl Process {
    pub fn start(name: &str, command: &mut Command) -> Process {
        Process::run(name, command.stdin(Stdio::null()))
    }

    /// One that is typed to.
    pub fn start_typed(name: &str, command: &mut Command) -> Process {
        Process::run(name, command.stdin(Stdio::piped()))
    }

    fn run(name: &str, command: &mut Command) -> Process {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec only one system call is made, which allocates nothing.
        unsafe {
            // Should the test itself be killed, nothing plays on.
            command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let out = Said::hear(format!("{name}'s standard output"), child.stdout.take().unwrap());
        let log = Said::hear(format!("{name}'s log"), child.stderr.take().unwrap());
        Process { name: name.to_owned(), out, log, input: child.stdin.take(), child }
    }

    /// Types a line, and Enter.
    pub fn type_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("started with `start_typed`");
        writeln!(input, "{line}").unwrap();
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// SIGKILL, as a power cut would.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let status = self.wait();
        assert_eq!(status.signal(), Some(9), "{} had ended before: {}", self.name, self.log);
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        match self.ended_within(PATIENCE) {
            Some(status) => status,
            None => panic!("{} does not end\n{}", self.name, self.log),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Nothing if it has ended: its id may be another's by now.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
        }
    }

    fn ended_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + time;
        loop {
            match self.ended() {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                ended => return ended,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // First politely: a demo ends its own processes then.
        self.signal(Signal::SIGTERM);
        if self.ended_within(Duration::from_secs(2)).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a process has said so far on one of its two outputs.
#[derive(Clone)]
pub struct Said(Arc<Shared>);

struct Shared {
    whose: String,
    said: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    over: bool,
}

impl Said {
    fn hear(whose: String, from: impl Read + Send + 'static) -> Said {
        let said = Said(Arc::new(Shared { whose, said: Mutex::default(), more: Condvar::new() }));
        let hearing = said.clone();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(from).split(b'\n');
            while let Some(Ok(line)) = lines.next() {
                let line = String::from_utf8_lossy(&line).into_owned();
                hearing.0.said.lock().unwrap().lines.push(line);
                hearing.0.more.notify_all();
            }
            hearing.0.said.lock().unwrap().over = true;
            hearing.0.more.notify_all();
        });
        said
    }

    /// Everything so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.said.lock().unwrap().lines.clone()
    }

    /// Everything, once the process has closed this output.
    pub fn to_the_end(&self) -> Vec<String> {
        let (said, timeout) =
            self.0.more.wait_timeout_while(self.0.said.lock().unwrap(), PATIENCE, |said| !said.over).unwrap();
        let lines = said.lines.clone();
        drop(said);
        assert!(!timeout.timed_out(), "{} does not end\n{self}", self.0.whose);
        lines
    }

    /// The sentences that somebody should read, once the process has closed this output: without what a
    /// box says on a machine that gives no realtime priority, and without what goes well.
    pub fn sentences(&self) -> Vec<String> {
        let mut lines = self.to_the_end();
        lines.retain(|line| !line.contains("no realtime priority") && !line.contains(" INFO "));
        lines
    }

    /// Waits until what was said has what is wanted in it; looks again at every new line.
    pub fn wait<T>(&self, what: &str, find: impl FnMut(&[String]) -> Option<T>) -> T {
        match self.wait_or(find) {
            Ok(found) => found,
            Err(why) => panic!("waited for {what}, but {why}"),
        }
    }

    /// As [`Said::wait`]; if it does not come, why, with the last lines.
    pub fn wait_or<T>(&self, mut find: impl FnMut(&[String]) -> Option<T>) -> Result<T, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut said = self.0.said.lock().unwrap();
        loop {
            if let Some(found) = find(&said.lines) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if said.over || left.is_zero() {
                let end = if said.over { "is over" } else { "does not have it in time" };
                drop(said);
                return Err(format!("{} {end}\n{self}", self.0.whose));
            }
            said = self.0.more.wait_timeout(said, left).unwrap().0;
        }
    }

    /// Waits for a line that contains all of these words.
    pub fn wait_for(&self, words: &[&str]) -> String {
        self.wait(&format!("{words:?}"), |lines| {
            lines.iter().find(|line| words.iter().all(|word| line.contains(word))).cloned()
        })
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines = self.lines();
        writeln!(out, "{}, the last of {} lines:", self.0.whose, lines.len())?;
        lines.iter().skip(lines.len().saturating_sub(30)).try_for_each(|line| writeln!(out, "    {line}"))
    }
}
