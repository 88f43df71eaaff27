//! A JACK server with the dummy backend, and what its clients look like from outside.
//!
//! Above [`super::process`]. Nobody sits at a dummy card: [`tape`] plays into a box and records it, with
//! the tape machine that `matriz demo --jack` uses.

use super::Stage;
use super::process::Process;
use std::process::Command;
use std::time::{Duration, Instant};

/// A running JACK server.
pub struct Jackd {
    pub process: Process,
    pub server: String,
}

impl Jackd {
    /// Starts a server and waits until clients can connect.
    pub fn start(server: &str, period: u32) -> Jackd {
        Jackd::start_at(server, period, 48_000)
    }

    /// As [`Jackd::start`], at another rate in Hz.
    pub fn start_at(server: &str, period: u32, rate: u32) -> Jackd {
        let card = ["-d", "dummy", "-r", &rate.to_string(), "-p", &period.to_string()].map(str::to_owned);
        let (mut process, up) = Jackd::attempt(server, &card, &[]);
        if !up && process.ended().is_some() {
            // Where realtime threads are refused.
            process = Jackd::attempt(server, &card, &["-r"]).0;
        }
        assert!(process.ended().is_none(), "{} has ended: {}", process.name, process.log);
        Jackd { process, server: server.to_owned() }
    }

    fn attempt(server: &str, card: &[String], options: &[&str]) -> (Process, bool) {
        let mut command = Command::new("jackd");
        command.args(options).args(["-n", server]).args(card);
        command.env("JACK_NO_AUDIO_RESERVATION", "1");
        let mut process = Process::start(&format!("jackd {server}"), &mut command);
        let deadline = Instant::now() + super::PATIENCE;
        while process.ended().is_none() {
            if ports(server).is_some() {
                return (process, true);
            }
            assert!(Instant::now() < deadline, "no client can connect to {server}: {}", process.log);
            std::thread::sleep(Duration::from_millis(20));
        }
        (process, false)
    }

    /// All ports of all clients, as `client:port`.
    pub fn ports(&self) -> Vec<String> {
        ports(&self.server).unwrap_or_default()
    }

    /// Waits until its ports are as wanted.
    pub fn wait_for_ports(&self, wanted: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + super::PATIENCE;
        while !wanted(&self.ports()) {
            assert!(Instant::now() < deadline, "{} has these ports: {:?}", self.server, self.ports());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The name of a server that nobody else has.
pub fn server_name(name: &str) -> String {
    format!("matriz-test-{}-{name}", std::process::id())
}

/// A tape machine beside the box `of`: plays `play` into it and records what it plays into `record`.
pub fn tape(stage: &Stage, server: &str, of: &str, play: &str, record: &str) -> Process {
    let mut command = stage.matriz(&["tape", "--of", of, "--play", play, "--record", record]);
    Process::start(&format!("{of}'s tape"), command.env("JACK_DEFAULT_SERVER", server))
}

fn ports(server: &str) -> Option<Vec<String>> {
    // Not by its option -s, which writes behind the end of its memory.
    let output = Command::new("jack_lsp").env("JACK_DEFAULT_SERVER", server).output();
    let output = output.expect("jack_lsp is there: install jackd2");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| text.lines().map(|line| line.trim().to_owned()).collect())
}
