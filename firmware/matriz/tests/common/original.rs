//! Those who play as the original did: its emitter, its client, its server.
//!
//! The originals themselves need a Python that is no more. Their media pipelines are here to the letter, in GStreamer, and
//! what they said by WebSocket; the scripts beside say how. Above [`super::process`].

use super::process::Process;
use super::{KEYS, Stage};
use std::path::PathBuf;
use std::process::Command;

/// A live tone as loud as the simulated card's, in both channels: what stands in for JACK.
pub fn tone(hertz: u32) -> String {
    format!("audiotestsrc is-live=true freq={hertz} volume=0.25 ! audio/x-raw,rate=48000,channels=2")
}

/// An emitter at a port that plays what `source` gives, and waits until it listens.
pub fn emitter(port: u16, source: &str, options: &[&str]) -> Process {
    emitter_with(port, source, options, |_| {})
}

/// As [`emitter`], with something about its process changed.
pub fn emitter_with(port: u16, source: &str, options: &[&str], change: impl FnOnce(&mut Command)) -> Process {
    let mut command = script("emitter.py");
    change(command.args([&port.to_string(), source]).args(options));
    let process = Process::start("emitter", &mut command);
    process.out.wait_for(&["ready"]);
    process
}

/// A client: it registers at the rendezvous, plays a tone, and records everybody whom it hears.
pub struct Client {
    pub process: Process,
    name: String,
    folder: PathBuf,
}

impl Client {
    /// Starts it and waits until it is registered; its emitter is at `port`.
    pub fn start(stage: &Stage, rendezvous: u16, name: &str, port: u16, hertz: u32) -> Client {
        let key = KEYS.iter().find(|(known, _)| *known == name).expect("one of the band").1;
        let url = format!("ws://127.0.0.1:{rendezvous}/config");
        let folder = stage.path("");
        let mut command = script("original_client.py");
        command.args([&url, name, key, &port.to_string(), &tone(hertz)]).arg(&folder);
        let process = Process::start(name, &mut command);
        process.out.wait_for(&["registered"]);
        Client { process, name: name.to_owned(), folder }
    }

    /// What it has recorded of somebody; complete when it has ended.
    pub fn recording(&self, of: &str) -> PathBuf {
        self.folder.join(format!("{}-hears-{of}.wav", self.name))
    }
}

/// The original's rendezvous, and its port.
pub fn server() -> (Process, u16) {
    let mut command = script("original_server.py");
    command.args(KEYS.map(|(name, key)| format!("{name}={key}")));
    let process = Process::start("the original's server", &mut command);
    let port = process.out.wait("its port", |lines| lines.first()?.parse().ok());
    (process, port)
}

fn script(name: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3"); // Debian's, which has Debian's packages
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/").to_owned() + name);
    command.env_remove("http_proxy").env_remove("https_proxy").env_remove("all_proxy");
    command
}
