//! A real Icecast server on the stage, and listeners that are real players.
//!
//! Above [`super::process`]. The server runs from a configuration and a folder of its own, and not as root,
//! which it refuses. [`Listener`] is ffmpeg: it opens a mount, plays it into a WAV file and says how far it is.

use super::process::Process;
use super::{Stage, free_port, sound};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// The user that the server runs as where the test is root: `nobody`.
const NOBODY: u32 = 65_534;

/// The password of all sources.
pub const PASSWORD: &str = "tremolo arm";

/// A running server.
pub struct Icecast {
    pub process: Process,
    pub port: u16,
}

impl Icecast {
    /// Starts a server, with `mounts` (XML) beside the usual, and waits until it answers.
    pub fn start(stage: &Stage, mounts: &str) -> Icecast {
        Icecast::start_at(stage, free_port(), mounts)
    }

    /// As [`Icecast::start`], at this port of loopback.
    pub fn start_at(stage: &Stage, port: u16, mounts: &str) -> Icecast {
        let folder = stage.path("icecast");
        std::fs::create_dir_all(&folder).unwrap();
        let open = |path: &PathBuf| std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        open(&stage.path(""));
        open(&folder);
        let file = stage.write("icecast/icecast.xml", &configuration(port, mounts));
        let mut command = Command::new("icecast2");
        command.arg("-c").arg(file).current_dir(&folder);
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let process = Process::start("icecast2", &mut command);
        let deadline = Instant::now() + super::PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "icecast2 does not listen: {}", process.log);
            std::thread::sleep(Duration::from_millis(20));
        }
        Icecast { process, port }
    }

    /// The address of a mount, for sources.
    pub fn source(&self, mount: &str) -> String {
        let password = PASSWORD.replace(' ', "%20");
        format!("http://source:{password}@127.0.0.1:{}/{mount}", self.port)
    }

    /// The address of a mount, for listeners.
    pub fn mount(&self, mount: &str) -> String {
        format!("http://127.0.0.1:{}/{mount}", self.port)
    }

    /// Another source: ffmpeg, which sends silence to a mount.
    pub fn pause(&self, stage: &Stage, mount: &str) -> Process {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-hide_banner", "-re", "-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo"]);
        command.args(["-c:a", "libopus", "-f", "ogg", "-page_duration", "200000"]);
        command.args(["-content_type", "audio/ogg"]);
        command.arg(self.source(mount).replace("http://", "icecast://")).current_dir(stage.path(""));
        let process = Process::start("pause", &mut command);
        let deadline = Instant::now() + super::PATIENCE;
        while !self.status().contains(&format!("/{mount}")) {
            assert!(Instant::now() < deadline, "nobody sends to {mount}: {}", process.log);
            std::thread::sleep(Duration::from_millis(50));
        }
        process
    }

    /// What it says of itself (`/status-json.xsl`).
    pub fn status(&self) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"GET /status-json.xsl HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }
}

fn configuration(port: u16, mounts: &str) -> String {
    format!(
        "<icecast>
        <limits><clients>20</clients><sources>8</sources><source-timeout>10</source-timeout></limits>
        <authentication><source-password>{PASSWORD}</source-password></authentication>
        <hostname>localhost</hostname>
        <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
        {mounts}
        <paths>
            <logdir>.</logdir>
            <webroot>/usr/share/icecast2/web</webroot>
            <adminroot>/usr/share/icecast2/admin</adminroot>
        </paths>
        <logging><accesslog>-</accesslog><errorlog>-</errorlog><loglevel>3</loglevel></logging>
        </icecast>"
    )
}

/// ffmpeg, listening to a mount.
pub struct Listener {
    pub process: Process,
    file: PathBuf,
}

impl Listener {
    /// Opens the address; `options` come before it.
    pub fn start(stage: &Stage, name: &str, options: &[&str], address: &str) -> Listener {
        let file = stage.path(&format!("{name}.wav"));
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-hide_banner", "-nostats", "-progress", "pipe:1"]).args(options);
        command.args(["-i", address, "-ac", "1", "-ar", "48000", "-c:a", "pcm_s16le", "-y"]).arg(&file);
        Listener { process: Process::start(name, &mut command), file }
    }

    /// How much it has played.
    pub fn played(&self) -> Duration {
        played(&self.process.out.lines())
    }

    /// Waits until it has played this much in all.
    pub fn wait(&self, time: Duration) {
        let played = self.process.out.wait_or(|lines| (played(lines) >= time).then_some(()));
        played.unwrap_or_else(|why| panic!("{time:?} should be heard, but {why}{}", self.process.log));
    }

    /// Ends it; what it has played.
    pub fn stop(mut self) -> Vec<f32> {
        self.process.signal(nix::sys::signal::Signal::SIGINT);
        self.process.wait();
        let [frames, _] = sound::read(&self.file);
        frames
    }
}

/// How long the file is by ffmpeg's last report. Not what it calls its time, for that jumps when the server moves it
/// from one stream to another.
fn played(lines: &[String]) -> Duration {
    let last: Option<f64> =
        lines.iter().rev().find_map(|line| line.strip_prefix("total_size=")?.parse().ok());
    Duration::from_secs_f64(last.unwrap_or(0.0) / 96_000.0) // mono, 16 bits
}
