//! Players of RTSP: a small one of our own, which says each request by hand, and those of others.
//!
//! Above [`super::process`]. Ours is for what players of others do not do when told: pauses, mistakes. The
//! others record into WAV files, for [`super::sound`].

use super::process::Process;
use super::{PATIENCE, Stage, sound};
use proto::rtp;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a tone is recorded, in seconds.
pub const SECONDS: u32 = 4;

/// A connection to a box, request by request.
pub struct Player {
    stream: BufReader<TcpStream>,
    url: String,
    session: String,
    cseq: u32,
    /// Interleaved data that came before an answer.
    pub data: Vec<(u8, Vec<u8>)>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        let header = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        header.map_or_else(|| panic!("no {name} in {self:?}"), |(_, value)| value)
    }
}

impl Player {
    pub fn connect(port: u16, path: &str) -> Player {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let url = format!("rtsp://127.0.0.1:{port}{path}");
        Player { stream: BufReader::new(stream), url, session: String::new(), cseq: 0, data: Vec::new() }
    }

    /// Sends bytes as they are.
    pub fn say(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// A request, with more header lines, and its answer.
    pub fn ask(&mut self, method: &str, headers: &str) -> Answer {
        self.cseq += 1;
        let Player { url, session, cseq, .. } = self;
        let request = format!("{method} {url} RTSP/1.0\r\nCSeq: {cseq}\r\n{session}{headers}\r\n");
        self.say(request.as_bytes());
        let answer = self.answer();
        assert_eq!(answer.header("CSeq"), self.cseq.to_string());
        if method == "SETUP" && answer.status == 200 {
            let id = answer.header("Session").split(';').next().unwrap();
            self.session = format!("Session: {id}\r\n");
        }
        answer
    }

    /// The next answer; data that comes before it is kept.
    pub fn answer(&mut self) -> Answer {
        while self.stream.fill_buf().unwrap().first() == Some(&b'$') {
            let data = self.frame();
            self.data.push(data);
        }
        let first = self.line();
        let status = first.strip_prefix("RTSP/1.0 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {first:?}"));
        let mut answer = Answer { status, headers: Vec::new(), body: String::new() };
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else { break };
            answer.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        if let Some((_, length)) = answer.headers.iter().find(|(name, _)| name == "Content-Length") {
            let mut body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut body).unwrap();
            answer.body = String::from_utf8(body).unwrap();
        }
        answer
    }

    /// The next interleaved data: its channel, and what is in it; `None` when the box has closed the connection.
    pub fn next_data(&mut self) -> Option<(u8, Vec<u8>)> {
        if !self.data.is_empty() {
            return Some(self.data.remove(0));
        }
        (!self.stream.fill_buf().unwrap().is_empty()).then(|| self.frame())
    }

    /// Whether the box has closed the connection, after whatever else it sent.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).is_ok()
    }

    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).unwrap();
        assert_eq!(head[0], b'$');
        let mut data = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        self.stream.read_exact(&mut data).unwrap();
        (head[1], data)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(line.ends_with("\r\n"), "a line without its end: {line:?}");
        line.trim_end().to_owned()
    }
}

/// Two ports in a row for RTP and RTCP.
pub fn udp_pair() -> (UdpSocket, UdpSocket, u16) {
    let open = |port| UdpSocket::bind(("127.0.0.1", port));
    for _ in 0..100 {
        let rtp = open(0).unwrap();
        let port = rtp.local_addr().unwrap().port();
        if let (true, Ok(rtcp)) = (port.is_multiple_of(2), open(port.saturating_add(1))) {
            for socket in [&rtp, &rtcp] {
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
            }
            return (rtp, rtcp, port);
        }
    }
    panic!("no two free UDP ports in a row");
}

/// The next RTP packet.
pub fn packet(socket: &UdpSocket) -> rtp::Header {
    let mut datagram = [0; 2_048];
    let length = socket.recv(&mut datagram).unwrap();
    let packet = rtp::Packet::parse(&datagram[..length]).unwrap();
    assert!(!packet.payload.is_empty());
    packet.header
}

/// GStreamer with the pipeline of the original's receiver, but for a file in place of JACK. `protocols` is
/// one more property of `rtspsrc`, such as `protocols=tcp`.
pub fn gstreamer(stage: &Stage, url: &str, protocols: Option<&str>, file: &str) -> Recorder {
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", "rtspsrc", &format!("location={url}"), "latency=0", "port-range=8556-8600"]);
    command.args(protocols).args("! rtpopusdepay ! opusdec ! audioconvert ! audioresample !".split(' '));
    command.arg("audio/x-raw,format=S16LE,rate=48000,channels=2").args(["!", "identity"]);
    command.arg(format!("eos-after={}", SECONDS * 50)).args(["!", "wavenc", "!", "filesink"]);
    let path = stage.path(file);
    command.arg(format!("location={}", path.display()));
    Recorder { process: Process::start("gst-launch-1.0", &mut command), path }
}

/// ffmpeg, by `udp` or `tcp`.
pub fn ffmpeg(stage: &Stage, url: &str, transport: &str, file: &str) -> Recorder {
    let mut command = Command::new("ffmpeg");
    command.args([
        "-nostdin",
        "-hide_banner",
        "-loglevel",
        "warning",
        "-rtsp_transport",
        transport,
        "-i",
        url,
    ]);
    command.args(["-t", &SECONDS.to_string(), "-ac", "2", "-ar", "48000", "-c:a", "pcm_s16le"]);
    let path = stage.path(file);
    Recorder { process: Process::start("ffmpeg", command.arg(&path)), path }
}

/// mpv, by `udp` or `tcp`.
pub fn mpv(stage: &Stage, url: &str, transport: &str, file: &str) -> Recorder {
    let mut command = Command::new("mpv");
    command.args(["--no-config", "--no-video", "--really-quiet", &format!("--rtsp-transport={transport}")]);
    command.args([&format!("--length={SECONDS}"), "--audio-format=s16", "--ao=pcm"]);
    let path = stage.path(file);
    command.arg(format!("--ao-pcm-file={}", path.display())).arg(url);
    Recorder { process: Process::start("mpv", &mut command), path }
}

/// GStreamer, playing what an SDP file says; `place` puts it where it is to run.
pub fn gstreamer_sdp(stage: &Stage, sdp: &Path, file: &str, place: impl FnOnce(&mut Command)) -> Recorder {
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", "filesrc", &format!("location={}", sdp.display()), "!", "sdpdemux"]);
    command.args("! rtpopusdepay ! opusdec ! audioconvert ! audioresample !".split(' '));
    command.arg("audio/x-raw,format=S16LE,rate=48000,channels=2").args(["!", "identity"]);
    command.arg(format!("eos-after={}", SECONDS * 50)).args(["!", "wavenc", "!", "filesink"]);
    let path = stage.path(file);
    command.arg(format!("location={}", path.display()));
    place(&mut command);
    Recorder { process: Process::start("gst-launch-1.0", &mut command), path }
}

/// ffmpeg, playing what an SDP file says; `place` puts it where it is to run.
pub fn ffmpeg_sdp(stage: &Stage, sdp: &Path, file: &str, place: impl FnOnce(&mut Command)) -> Recorder {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "warning", "-protocol_whitelist", "file,udp,rtp"]);
    command.arg("-i").arg(sdp).args(["-t", &SECONDS.to_string(), "-ac", "2", "-ar", "48000"]);
    let path = stage.path(file);
    place(command.args(["-c:a", "pcm_s16le"]).arg(&path));
    Recorder { process: Process::start("ffmpeg", &mut command), path }
}

/// A player that records.
pub struct Recorder {
    pub process: Process,
    path: PathBuf,
}

impl Recorder {
    /// Waits until it has half a second of sound.
    pub fn wait_for_sound(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::metadata(&self.path).is_ok_and(|file| file.len() > 100_000) {
            assert!(Instant::now() < deadline, "{} records nothing: {}", self.process.name, self.process.log);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end, and asserts that it has recorded a tone of −12 dB without a break: left, and right
    /// where it is not silent, as the simulated card's tone comes in on the left.
    pub fn assert_tone(mut self, hertz: u32) {
        let status = self.process.wait();
        let name = &self.process.name;
        // When all is recorded, gst-launch-1.0 sends TEARDOWN, closes the connection, and once in some 25 times then
        // tries to send PAUSE through it (1.22; the FIN before it is its own). That says nothing of the box.
        let untidy =
            || self.process.log.to_the_end().iter().any(|line| line.contains("gst_rtspsrc_pause ()"));
        let ended = status.success() || (name == "gst-launch-1.0" && untidy());
        assert!(ended, "{name} ends with {status}: {}{}", self.process.log, self.process.out);
        let [left, right] = sound::read(&self.path);
        let is_silent = right.iter().all(|frame| frame.abs() < 1e-3);
        for channel in if is_silent { vec![left] } else { vec![left, right] } {
            let seconds = channel.len() as f64 / 48_000.0;
            assert!(seconds > f64::from(SECONDS) - 0.5, "{name} has only {seconds:.1} s in {:?}", self.path);
            // Without its beginning, where the decoder starts.
            let frames = &channel[24_000..];
            let levels = sound::tone(frames, hertz);
            let level = sound::median(&levels);
            assert!(
                (-13.0..-11.0).contains(&level),
                "{name}: {hertz} Hz of -12 dB are heard at {level:.1} dB"
            );
            let broken = levels.iter().filter(|value| (*value - level).abs() > 1.0).count();
            assert!(broken <= levels.len() / 50, "{name}: {broken} of {} windows are broken", levels.len());
            let beside = sound::median(&sound::tone(frames, hertz + 300));
            assert!(beside < -50.0, "{name}: 300 Hz beside it there are {beside:.1} dB");
        }
    }
}

/// tshark, which captures what matches `filter` on loopback into a file.
pub struct Capture {
    process: Process,
    path: PathBuf,
    port: u16,
}

impl Capture {
    /// Begins, and returns once it captures. RTSP is at `port`.
    pub fn start(stage: &Stage, port: u16) -> Capture {
        let path = stage.path("capture.pcapng");
        let mut command = Command::new("tshark");
        command.args(["-i", "lo", "-f", &format!("tcp port {port} or udp"), "-w"]).arg(&path);
        let process = Process::start("tshark", &mut command);
        let capture = Capture { process, path, port };
        // It says so before the first packet is caught: knock until a knock is in the file.
        let deadline = Instant::now() + PATIENCE;
        let knock = UdpSocket::bind("127.0.0.1:0").unwrap();
        let catches = || std::fs::metadata(&capture.path).is_ok_and(|file| file.len() > 1_000);
        while !catches() {
            assert!(Instant::now() < deadline, "tshark does not capture: {}", capture.process.log);
            knock.send_to(&[0; 64], "127.0.0.1:9").unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        capture
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.process.signal(nix::sys::signal::Signal::SIGINT);
        self.process.wait();
    }

    /// What tshark says about the packets that match.
    pub fn read(&self, arguments: &[&str]) -> Vec<String> {
        let mut command = Command::new("tshark");
        command.arg("-r").arg(&self.path).args(["-d", &format!("tcp.port=={},rtsp", self.port)]);
        let output = command.args(arguments).output().expect("tshark is there: .ci/packages.txt names it");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}
