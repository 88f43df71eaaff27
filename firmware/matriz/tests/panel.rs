//! `matriz panel`: in a terminal of 80 by 24 every point is where the display has it, keys turn pages and the
//! terminal is given back; with `--png` the page is a picture. At a real box a key is heard by the others.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::player::{Player, Setup, peer};
use common::{Rendezvous, Stage};
use panel::{HEIGHT, Panel, Picture, Press, WIDTH};
use proto::control::{Machine, PeerStatus, Status};
use proto::units::Time;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A box whose meters stand still, so that its picture does not depend on when one looks.
fn status() -> Status {
    let peer = |name: &str| PeerStatus {
        name: name.into(),
        connected: true,
        way: "203.0.113.9:8600".into(),
        delay_ms: Some(12.3),
        depth_ms: 3.8,
        level_db: -24.0,
        peak_db: -24.0,
        ..Default::default()
    };
    let machine = Machine { plays: true, version: "0.1.0".into(), ..Default::default() };
    Status {
        name: "Évora".into(),
        in_session: true,
        level_db: -60.0,
        peak_db: -60.0,
        peers: vec![peer("Porto"), peer("Łódź")],
        machine,
        ..Default::default()
    }
}

fn written(folder: &Path, status: &Status) -> PathBuf {
    let file = folder.join("status.json");
    std::fs::write(&file, serde_json::to_string(status).expect("a status becomes JSON") + "\n")
        .expect("a folder that can be written");
    file
}

/// What the panel shows after these presses.
fn expected(presses: &[Press]) -> Picture {
    let mut panel = Panel::new(Time(0));
    panel.handle_status(Time(0), status());
    presses.iter().for_each(|press| panel.handle_press(Time(0), *press));
    panel.draw(Time(0))
}

/// A tmux server of its own, ended when dropped.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    fn start(folder: &Path, program: &str) -> Terminal {
        let terminal = Terminal { socket: folder.join("tmux") };
        let size = ["new-session", "-d", "-x", "80", "-y", "24", program];
        let started = terminal.tmux(&size);
        assert!(started.status.success(), "tmux: {}", String::from_utf8_lossy(&started.stderr));
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.args(["-u", "-f", "/dev/null", "-S"]).arg(&self.socket).args(arguments);
        command.env_remove("TMUX").env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        command.output().expect("tmux is installed: .ci/install test")
    }

    fn key(&self, key: &str) {
        assert!(self.tmux(&["send-keys", key]).status.success());
    }

    /// The 24 lines of the screen.
    fn screen(&self) -> Vec<String> {
        let shown = self.tmux(&["capture-pane", "-p"]);
        String::from_utf8_lossy(&shown.stdout).lines().map(str::to_owned).collect()
    }

    /// Looks until it is so; the terminal needs a moment to draw.
    fn wait_for(&self, what: &str, right: impl Fn(&[String]) -> bool) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if right(&screen) {
                return screen;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "never {what}:\n{}", screen.join("\n"));
            std::thread::yield_now();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// Whether the first 16 lines are exactly this picture in Braille.
fn is(screen: &[String], picture: &Picture) -> bool {
    const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
    let cell = |x: usize, y: usize| screen.get(y).and_then(|line| line.chars().nth(x)).unwrap_or(' ') as u32;
    let whole = screen.iter().take(HEIGHT / 4).all(|line| line.chars().count() <= WIDTH / 2);
    let mut points = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
    whole
        && points.all(|(x, y)| {
            let bits = cell(x / 2, y / 4).saturating_sub(0x2800);
            (bits & DOTS[x % 2][y % 4] != 0) == picture.lit(x, y)
        })
}

#[test]
fn the_panel_in_a_terminal_of_80_by_24_is_the_displays_point_by_point() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), &status());
    let matriz = env!("CARGO_BIN_EXE_matriz");
    let program = format!("'{matriz}' panel --status '{}'; echo \"ended with $?\"; read end", file.display());
    let terminal = Terminal::start(folder.path(), &program);
    let screen = terminal.wait_for("the page Play", |screen| is(screen, &expected(&[])));
    let below: Vec<&str> = screen[16..].iter().map(|line| line.trim_end()).collect();
    assert_eq!(below[0], "● health   ● session   ○ signal   ○ trouble", "{screen:#?}");
    assert!(below[1].starts_with("m mute") && below[1].ends_with("q quit"));
    assert!(below[3..].iter().all(|line| line.is_empty()), "nothing else: {below:?}");
    let page = Press::Short(panel::Button::Page);
    terminal.key("p");
    terminal.wait_for("the page Line", |screen| is(screen, &expected(&[page])));
    terminal.key("n");
    terminal.wait_for("the chosen peer's", |screen| is(screen, &expected(&[page, Press::Both])));
    terminal.key("m");
    terminal.wait_for("that nobody is there to be told", |screen| screen[18].contains("lines of a file"));
    terminal.key("q");
    let screen = terminal.wait_for("the end", |screen| screen.iter().any(|line| line.contains("ended with")));
    assert!(screen.iter().any(|line| line.trim() == "ended with 0"), "{screen:#?}");
    assert!(
        !screen.concat().chars().any(|letter| ('\u{2801}'..='\u{28ff}').contains(&letter)),
        "it is cleared"
    );
}

#[test]
fn a_panel_that_is_told_to_end_gives_the_terminal_back() {
    let folder = tempfile::tempdir().unwrap();
    let (file, id) = (written(folder.path(), &status()), folder.path().join("id"));
    let (matriz, file, at) = (env!("CARGO_BIN_EXE_matriz"), file.display(), id.display());
    let program = format!(
        "sh -c 'echo $$ > {at}; exec {matriz} panel --status {file}'; echo \"ended with $?\"; stty; read end"
    );
    let terminal = Terminal::start(folder.path(), &program);
    terminal.wait_for("the page Play", |screen| is(screen, &expected(&[])));
    let id = std::fs::read_to_string(id).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGTERM).unwrap();
    let screen = terminal.wait_for("the end", |screen| screen.iter().any(|line| line.contains("baud")));
    assert!(screen.iter().any(|line| line.trim() == "ended with 0"), "{screen:#?}");
    let all = screen.concat();
    assert!(!all.contains("-icanon") && !all.contains("-echo"), "the keys are as before: {screen:#?}");
}

#[test]
fn a_key_is_what_a_button_is() {
    let stage = Stage::new();
    let rendezvous = Rendezvous::start(&stage, 0);
    let start =
        |name, hertz| Player::start(&stage, &Setup::simulated(&stage, name, rendezvous.port, 0.0, hertz));
    let (mut porto, mut lisboa) = (start("porto", 500), start("lisboa", 3_100));
    porto.wait_to_hear(&["lisboa"]);
    lisboa.wait_to_hear(&["porto"]);
    let socket = stage.path("run/matriz/porto.sock");
    let program = format!("'{}' panel --socket '{}'", env!("CARGO_BIN_EXE_matriz"), socket.display());
    let terminal = Terminal::start(&stage.path(""), &program);
    let lamps =
        |start: &'static str| move |screen: &[String]| screen.get(16).is_some_and(|l| l.starts_with(start));
    terminal.wait_for("that porto hears and is heard", lamps("● health   ● session   ● signal"));
    terminal.key("m");
    lisboa.wait("that porto has muted itself", |status| {
        peer(status, "porto").is_some_and(|peer| peer.muted_itself)
    });
    terminal.wait_for("that it is muted", lamps("● health   ● session   ○ signal"));
    terminal.wait_for("that the lamp blinks", lamps("● health   ● session   ● signal"));
    terminal.key("n");
    terminal.key("-");
    porto.wait("that lisboa is softer", |status| {
        peer(status, "lisboa").is_some_and(|peer| peer.volume_db == -1.0)
    });
    terminal.key("M");
    porto.wait("that it has left", |status| !status.in_session);
    terminal.wait_for("that it has left", lamps("● health   ○ session"));
    let picture = stage.path("page.png");
    let done = matriz(&["--socket", path(&socket), "--png", path(&picture)]);
    assert!(done.status.success() && picture.exists(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_terminal_that_is_too_small_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), &status());
    let program = format!("'{}' panel --status '{}'", env!("CARGO_BIN_EXE_matriz"), file.display());
    let terminal = Terminal::start(folder.path(), &program);
    terminal.wait_for("the page Play", |screen| is(screen, &expected(&[])));
    assert!(terminal.tmux(&["resize-window", "-x", "60", "-y", "12"]).status.success());
    let small =
        |screen: &[String]| screen.first().is_some_and(|line| line.contains("wants a terminal of 64"));
    terminal.wait_for("a sentence", small);
    assert!(terminal.tmux(&["resize-window", "-x", "80", "-y", "24"]).status.success());
    terminal.wait_for("the page Play again", |screen| is(screen, &expected(&[])));
}

#[test]
fn a_page_is_written_as_a_picture_four_times_as_large() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), &status());
    let page = Press::Short(panel::Button::Page);
    for (name, presses) in [("play", vec![]), ("line", vec![page]), ("box", vec![page, page])] {
        let to = folder.path().join("page.png");
        let done = matriz(&["--status", path(&file), "--png", path(&to), "--page", name]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let reader = std::io::BufReader::new(std::fs::File::open(&to).unwrap());
        let mut reader = png::Decoder::new(reader).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        assert_eq!((info.width as usize, info.height as usize), (4 * WIDTH, 4 * HEIGHT));
        let picture = expected(&presses);
        for (x, y) in (0..4 * HEIGHT).flat_map(|y| (0..4 * WIDTH).map(move |x| (x, y))) {
            assert_eq!(bytes[(y * 4 * WIDTH + x) * 3] > 128, picture.lit(x / 4, y / 4), "{name}: {x} {y}");
        }
    }
}

#[test]
fn what_is_wrong_is_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), &status());
    let nonsense = folder.path().join("nonsense.json");
    std::fs::write(&nonsense, "no status\n").unwrap();
    let to = folder.path().join("page.png");
    for (arguments, words) in [
        (vec!["--status", path(&file), "--png", path(&to), "--page", "message"], "the box has no message"),
        (vec!["--status", path(&nonsense), "--png", path(&to)], "no line of `matriz --json`"),
        (vec!["--status", "nowhere.json", "--png", path(&to)], "nowhere.json cannot be read"),
        (vec!["--status", path(&file), "--png", "/nowhere/page.png"], "/nowhere/page.png cannot be written"),
        (vec!["--socket", "/nowhere/socket"], "there is no socket /nowhere/socket"),
        (vec!["--status", path(&file)], "--png FILE writes a picture"),
    ] {
        let done = matriz(&arguments);
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && told.contains(words), "{arguments:?}: {told}");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

fn matriz(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_matriz"));
    command.arg("panel").args(arguments).output().expect("it starts")
}
