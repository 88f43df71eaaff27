//! The processes of the demo: the rendezvous, the boxes, and for JACK the servers and the tape machines.
//!
//! Each is started with files that a person could have written, and writes its log beside them. They end
//! when told to, and in any case when the demo does.

use super::measure::Timeline;
use crate::audio::wav;
use crate::places;
use anyhow::{Context, bail};
use proto::control::Status;
use proto::units::{SAMPLE_RATE, Time};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

/// Frames in a cycle of every card: one Opus packet.
const PERIOD: u32 = 120;

/// The first box's ports, and those of the rendezvous: the defaults. The others count up from there.
const RENDEZVOUS_PORT: u16 = 5000;
const RTSP_PORT: u16 = 8554;
const MEDIA_PORT: u16 = 8600;

/// How long a process may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// One musician.
pub struct Player {
    pub name: &'static str,
    /// Clock error of its card.
    pub ppm: f64,
    /// What it plays.
    pub music: PathBuf,
}

impl Player {
    pub fn new(name: &'static str, ppm: f64, music: &Path) -> Self {
        Player { name, ppm, music: music.join(format!("{name}.wav")) }
    }
}

/// Everybody on stage.
pub struct Cast {
    boxes: Vec<Performer>,
    /// Rendezvous, JACK servers, tape machines: name and process.
    crew: Vec<(String, Child)>,
    /// For JACK: what the tape machines say at the end.
    tapes: Vec<(usize, Lines<BufReader<ChildStdout>>)>,
    timelines: Vec<Option<Timeline>>,
    out: PathBuf,
    logs: PathBuf,
}

struct Performer {
    name: &'static str,
    ppm: f64,
    child: Child,
    seen: Arc<Mutex<Seen>>,
}

/// What a box has told about itself.
#[derive(Clone, Default)]
struct Seen {
    last: Status,
    /// Concealed packets' worth by peer, one second after it was first heard.
    first_second: Vec<(String, u64)>,
}

impl Cast {
    /// Starts everybody, the boxes last and one right after the other.
    pub async fn start(players: &[Player], out: &Path, jack: bool) -> anyhow::Result<Cast> {
        let logs = out.join("demo");
        fs::create_dir_all(&logs).with_context(|| format!("the folder {} cannot be made", logs.display()))?;
        let mut cast = Cast {
            boxes: Vec::new(),
            crew: Vec::new(),
            tapes: Vec::new(),
            timelines: vec![None; players.len()],
            out: out.to_owned(),
            logs,
        };
        match cast.enter(players, jack).await {
            Ok(()) => Ok(cast),
            Err(error) => {
                cast.end().await; // nobody stays behind on an empty stage
                Err(error)
            }
        }
    }

    /// The socket of the first box: where it has it by itself.
    pub fn socket(&self) -> PathBuf {
        let folder = places::socket_folders(&places::environment).into_iter().next().unwrap_or_default();
        let name = self.boxes.first().map_or("", |player| player.name);
        folder.join(format!("{name}.sock"))
    }

    async fn enter(&mut self, players: &[Player], jack: bool) -> anyhow::Result<()> {
        self.start_rendezvous(players).await?;
        for (index, player) in players.iter().enumerate().filter(|_| jack) {
            self.start_jack(player).await?;
            self.start_tape(index, player).await?;
        }
        for (index, player) in players.iter().enumerate() {
            self.start_box(index, player, jack)?;
        }
        Ok(())
    }

    /// What every box shows now.
    pub fn statuses(&self) -> Vec<Status> {
        self.boxes.iter().map(|performer| performer.seen().last).collect()
    }

    /// Concealed packets' worth of `from` at `to`, one second after it was first heard.
    pub fn first_second(&self, to: usize, from: &str) -> Option<u64> {
        let seen = self.boxes[to].seen();
        seen.first_second.iter().find(|(name, _)| name == from).map(|(_, concealed)| *concealed)
    }

    /// When the frames of a box's recording happened.
    pub fn timeline(&self, index: usize) -> Option<Timeline> {
        let performer = &self.boxes[index];
        let Status { card_time, card_frame, cycles, .. } = performer.seen().last;
        let of_box = || {
            let rate = f64::from(SAMPLE_RATE) * (1.0 + performer.ppm * 1e-6);
            let since = (card_frame as f64 / rate * 1e9).round() as i64;
            (cycles > 0).then_some(Timeline { epoch: Time(card_time.0 - since), ppm: performer.ppm })
        };
        self.timelines[index].or_else(of_box)
    }

    /// Where a box's recording is.
    pub fn recording(&self, name: &str) -> PathBuf {
        self.out.join(format!("{name}.wav"))
    }

    /// Whether everybody is still there.
    ///
    /// # Errors
    /// Somebody has ended by itself; says who, and the last thing it said.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let boxes = self.boxes.iter_mut().map(|performer| (performer.name, &mut performer.child));
        let crew = self.crew.iter_mut().map(|(name, child)| (name.as_str(), child));
        for (name, child) in boxes.chain(crew) {
            if let Some(status) = child.try_wait()? {
                let log = self.logs.join(format!("{name}.log"));
                let text = fs::read_to_string(&log).unwrap_or_default();
                let last = text.lines().last().unwrap_or("it said nothing").to_owned();
                bail!("{name} has ended ({status}): {last}");
            }
        }
        Ok(())
    }

    /// Ends everybody: first those who play, so that they can say goodbye.
    pub async fn end(&mut self) {
        for performer in &mut self.boxes {
            terminate(&performer.child);
        }
        // One client after the other: jackd gets confused by two that go at the same moment, too.
        for performer in &mut self.boxes {
            finish(&mut performer.child).await;
        }
        for (_, child) in self.crew.iter().filter(|(name, _)| name.ends_with("-tape")) {
            terminate(child);
        }
        for (index, lines) in &mut self.tapes {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
            if let Ok(Ok(Some(line))) = line
                && let Some((epoch, ppm)) = line.split_once(' ')
                && let (Ok(epoch), Ok(ppm)) = (epoch.parse(), ppm.parse())
            {
                self.timelines[*index] = Some(Timeline { epoch: Time(epoch), ppm });
            }
        }
        while let Some((_, mut child)) = self.crew.pop() {
            terminate(&child);
            finish(&mut child).await;
        }
    }

    async fn start_rendezvous(&mut self, players: &[Player]) -> anyhow::Result<()> {
        let keys: Vec<_> =
            players.iter().map(|player| json!({"name": player.name, "key": key(player)})).collect();
        let monitor = json!({"name": "monitor", "key": "monitorkey"});
        let file = self.logs.join("clients.json");
        write_json(&file, &json!({"client_keys": keys, "monitor_key": monitor}))?;
        let program = beside_us("matriz-rendezvous")?;
        let listen = format!("127.0.0.1:{RENDEZVOUS_PORT}");
        self.crew("rendezvous", Command::new(program).arg(&file).args(["--listen", &listen]))?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, RENDEZVOUS_PORT);
        for _ in 0..PATIENCE.as_millis() / 20 {
            self.check()?;
            if TcpStream::connect(address).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!(
            "the rendezvous does not answer at {address}: see {}",
            self.logs.join("rendezvous.log").display()
        )
    }

    async fn start_jack(&mut self, player: &Player) -> anyhow::Result<()> {
        let name = format!("{}-jack", player.name);
        let server = server(player);
        let mut command = Command::new("jackd");
        // Clients get a priority 5 below the server's; the default of 10 lies below our network threads.
        command.args(["-P", "75", "-n", &server, "-d", "dummy", "-r", "48000", "-p", &PERIOD.to_string()]);
        command.env("JACK_NO_AUDIO_RESERVATION", "1");
        self.crew(&name, &mut command).context("jackd cannot be started: install it (Debian: jackd2)")?;
        for _ in 0..PATIENCE.as_millis() / 20 {
            self.check()?;
            let up = Command::new("jack_wait").args(["-s", &server, "-c"]).output().await;
            match up {
                Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running") => {
                    if !String::from_utf8_lossy(&output.stdout).contains("not running") {
                        return Ok(());
                    }
                }
                Ok(_) => {}
                Err(error) => bail!("jack_wait cannot be started ({error}): install jackd2"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!(
            "the JACK server {server} does not start: see {}",
            self.logs.join(format!("{name}.log")).display()
        )
    }

    fn start_box(&mut self, index: usize, player: &Player, jack: bool) -> anyhow::Result<()> {
        let nth = index as u16;
        let absolute = |path: &Path| {
            std::path::absolute(path).with_context(|| format!("{} has no place", path.display()))
        };
        let state = self.logs.join("state");
        match fs::remove_file(state.join(format!("{}.json", player.name))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} cannot be emptied", state.display()));
            }
            _ => {}
        }
        let mut config = json!({
            "name": player.name,
            "key": key(player),
            "url": format!("ws://127.0.0.1:{RENDEZVOUS_PORT}/config"),
            "port": RTSP_PORT + nth,
            "media_port": MEDIA_PORT + 2 * nth,
            "interface": "lo",
            // A demo begins as the last one began, whatever was set in that.
            "state_folder": absolute(&state)?,
        });
        if jack {
            config["sound"] = json!("jack");
            config["jack"] = json!({"server": server(player), "connect": false});
        } else {
            config["sound"] = json!("simulated");
            config["simulated"] = json!({
                "ppm": player.ppm,
                "period": PERIOD,
                "input": absolute(&player.music)?,
                "output": absolute(&self.recording(player.name))?,
            });
        }
        let file = self.logs.join(format!("{}.json", player.name));
        write_json(&file, &config)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(&file).arg("--json").stdout(Stdio::piped());
        let mut child = self.spawn(player.name, &mut command)?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stdout = child.stdout.take().expect("the output is piped");
        tokio::spawn(watch(stdout, Arc::clone(&seen)));
        self.boxes.push(Performer { name: player.name, ppm: player.ppm, child, seen });
        Ok(())
    }

    /// Starts a tape machine and waits until it takes part: jackd gets confused by two clients that come
    /// at the same moment.
    async fn start_tape(&mut self, index: usize, player: &Player) -> anyhow::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        let recording = self.recording(player.name);
        command
            .args(["tape", "--of", player.name, "--play"])
            .arg(&player.music)
            .arg("--record")
            .arg(recording);
        command.env("JACK_DEFAULT_SERVER", server(player)).stdout(Stdio::piped());
        let name = format!("{}-tape", player.name);
        let mut child = self.spawn(&name, &mut command)?;
        let stdout = child.stdout.take().expect("the output is piped");
        self.crew.push((name, child));
        let mut lines = BufReader::new(stdout).lines();
        // Whatever it says, or nothing in time: `check` knows whether it is still there.
        let _ = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        self.tapes.push((index, lines));
        self.check()
    }

    fn crew(&mut self, name: &str, command: &mut Command) -> anyhow::Result<()> {
        command.stdout(Stdio::null());
        let child = self.spawn(name, command)?;
        self.crew.push((name.to_owned(), child));
        Ok(())
    }

    fn spawn(&self, name: &str, command: &mut Command) -> anyhow::Result<Child> {
        let log = self.logs.join(format!("{name}.log"));
        let log = fs::File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
        command.stdin(Stdio::null()).stderr(log).kill_on_drop(true);
        // Ctrl-C in the terminal is for the demo, which then ends everybody in order.
        command.process_group(0);
        // SAFETY: between fork and exec only one system call is made, which allocates nothing.
        unsafe {
            // Should the demo be killed, the others do not play on for ever.
            command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?));
        }
        command.spawn().with_context(|| format!("{name} cannot be started"))
    }
}

impl Performer {
    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads the status that a box prints, until it ends.
async fn watch(stdout: ChildStdout, seen: Arc<Mutex<Seen>>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(status) = serde_json::from_str::<Status>(&line) else { continue };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for peer in &status.peers {
            let old_enough = peer.connected_after_ms.is_some_and(|after| status.uptime_ms >= after + 1_000);
            if old_enough && !seen.first_second.iter().any(|(name, _)| *name == peer.name) {
                seen.first_second.push((peer.name.clone(), peer.concealed));
            }
        }
        seen.last = status;
    }
}

fn key(player: &Player) -> String {
    format!("key of {}", player.name)
}

/// The name of a player's JACK server: always the same, since JACK has room for eight names and keeps that
/// of a server that was killed until one of the same name comes.
fn server(player: &Player) -> String {
    format!("matriz-demo-{}", player.name)
}

/// A program in the folder of this one.
fn beside_us(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    if !program.exists() {
        bail!("{} is missing: `make build` makes it", program.display());
    }
    Ok(program)
}

fn write_json(file: &Path, value: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = fs::File::create(file).with_context(|| format!("{} cannot be written", file.display()))?;
    writeln!(out, "{value:#}").with_context(|| format!("{} cannot be written", file.display()))
}

fn terminate(child: &Child) {
    if let Some(id) = child.id() {
        let id = nix::unistd::Pid::from_raw(id as i32);
        // It may have ended this very moment.
        let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
    }
}

async fn finish(child: &mut Child) {
    if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// The last minute of a recording at most: its mix in mono, and when its first frame happened.
pub fn last_minute(path: &Path, timeline: Timeline) -> anyhow::Result<(Vec<f32>, Timeline)> {
    let frames = hound::WavReader::open(path)
        .with_context(|| format!("{} was not recorded", path.display()))?
        .duration();
    let from = frames.saturating_sub(60 * SAMPLE_RATE);
    let [left, _] = wav::read_from(path, from)?;
    let rate = f64::from(SAMPLE_RATE) * (1.0 + timeline.ppm * 1e-6);
    let epoch = Time(timeline.epoch.0 + (f64::from(from) / rate * 1e9).round() as i64);
    Ok((left, Timeline { epoch, ..timeline }))
}
