//! An update is carried out whole or refused with one sentence, whoever sends what; RAUC, systemd and the box that plays
//! are stand-ins.

use super::bundle::tests::made_up;
use super::*;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proto::control::{PeerStatus, Status};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;

/// A box in a folder: slot A runs and is committed.
struct World {
    folder: tempfile::TempDir,
}

/// RAUC as it behaves when all is well: it says so, and asks the boot-loader backend to stage the other slot.
const GOOD: &str = "case $1 in\n\
    info) echo \"RAUC_MF_VERSION='1.1.0'\" ;;\n\
    install) [ -s \"$2\" ] && touch @installed && echo ' 50% Copying image' && echo '100% done' &&\n\
        printf '[b]\\nstate = \"bad\"\\n[trial]\\nslot = \"B\"\\n' >@data/matriz-system/update/state.toml ;;\n\
    esac\n";

impl World {
    fn new(rauc: &str) -> World {
        let world = World { folder: tempfile::tempdir().unwrap() };
        world.write("proc/cmdline", "root=/dev/mmcblk0p5 ro\n");
        world.write("usr/lib/os-release", "NAME=Matriz\nVERSION_ID=1.0.0\n");
        world.write("setup/autoboot.txt", include_str!("../../../../../image/setup/autoboot.txt"));
        fs::create_dir_all(world.path("data")).unwrap();
        fs::create_dir_all(world.path("run/matriz-system")).unwrap();
        let here = format!("{}/", world.folder.path().display());
        world.program("rauc", &rauc.replace('@', &here));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn program(&self, name: &str, script: &str) {
        self.write(name, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Whether it was about to restart.
    fn restarts(&self) -> bool {
        self.path("restarts").exists()
    }

    fn slots(&self) -> Slots {
        slots::read(&Root(self.folder.path().to_owned())).unwrap()
    }

    /// Connects, as systemd does for the relay.
    fn connect(&self) -> Visit {
        self.connect_to(|root| Ok(fs::write(root.at("restarts"), "")?))
    }

    fn connect_to(&self, restart: fn(&Root) -> anyhow::Result<()>) -> Visit {
        let (here, there) = UnixStream::pair().unwrap();
        let root = Root(self.folder.path().to_owned());
        let tools =
            Tools { rauc: Rauc { program: self.path("rauc") }, socket: Some(self.path("box.sock")), restart };
        let serving = std::thread::spawn(move || serve(&root, &tools, &there).unwrap());
        Visit { line: BufReader::new(here), serving }
    }

    /// Says and sends this, and hears all of the answer.
    fn send(&self, words: &str, bytes: &[u8]) -> Vec<String> {
        let mut visit = self.connect();
        visit.say(words, bytes);
        visit.all()
    }

    /// Nothing of a bundle is left, and nothing was installed or asked for.
    fn untouched(&self) {
        let left = fs::read_dir(self.path("data/matriz-system/update"));
        let left: Vec<_> = left.into_iter().flatten().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "state.toml"), "{left:?}");
        assert!(!self.path("installed").exists() && !self.restarts());
        assert!(!self.path(talk::PROGRESS).exists());
    }
}

struct Visit {
    line: BufReader<UnixStream>,
    serving: JoinHandle<()>,
}

impl Visit {
    fn say(&mut self, words: &str, bytes: &[u8]) {
        // Who was refused early does not take all of it.
        let line = self.line.get_mut();
        let _ = line.write_all(format!("{words}\n").as_bytes()).and_then(|()| line.write_all(bytes));
        let _ = line.shutdown(Shutdown::Write);
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        let _ = self.line.read_line(&mut line);
        line.trim_end().to_owned()
    }

    fn all(mut self) -> Vec<String> {
        let lines = std::iter::from_fn(|| Some(self.hear()).filter(|line| !line.is_empty())).collect();
        drop(self.line);
        self.serving.join().unwrap();
        lines
    }
}

/// A box that plays answers so at its socket, once for each status.
fn playing(socket: &Path, all: Vec<Status>) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for status in all {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            stream.read_line(&mut String::new()).unwrap();
            let answer = serde_json::json!({"jsonrpc": "2.0", "id": 1, "result": status});
            writeln!(stream.get_mut(), "{answer}").unwrap();
        }
    })
}

fn alone() -> Status {
    Status { name: "porto".to_owned(), in_session: true, ..Status::default() }
}

fn in_company() -> Status {
    let lisboa = PeerStatus { name: "lisboa".to_owned(), connected: true, ..PeerStatus::default() };
    Status { peers: vec![lisboa], ..alone() }
}

#[test]
fn a_good_bundle_is_installed_and_the_box_restarts_into_its_trial() {
    let world = World::new(GOOD);
    world.write("data/matriz-system/update/incoming.raucb", "half of one");
    let said = world.send("", &made_up(3_000_000));
    assert_eq!(said[0], "+ waiting for the bundle; 1.0.0 runs");
    for line in ["+ receiving 50 %", "+ the bundle is 1.1.0, and its signature is good", "+ installing 50 %"]
    {
        assert!(said.iter().any(|told| told == line), "{line} is missing: {said:?}");
    }
    let end = ["+ the box restarts into 1.1.0; if that does not play, it comes back with 1.0.0", "."];
    assert_eq!(said[said.len() - 2..], end);
    assert!(world.restarts());
    assert!(!world.path("data/matriz-system/update/incoming.raucb").exists());
    assert!(!world.path(talk::PROGRESS).exists());
    let slots = world.slots();
    assert_eq!(
        (slots.committed, slots.staged(), slots.version(Slot::B)),
        (Slot::A, Some(Slot::B), Some("1.1.0"))
    );
}

#[test]
fn what_rauc_does_not_take_is_refused_before_anything_is_written() {
    let world = World::new("echo 'signature verification failed: self-signed certificate' >&2\nexit 1\n");
    let said = world.send("", &made_up(20_000));
    let last = said.last().unwrap();
    assert_eq!(last, "! the bundle is signed by somebody whom this box does not trust");
    world.untouched();
}

#[test]
fn what_is_no_bundle_or_half_of_one_is_refused() {
    let world = World::new(GOOD);
    let bundle = made_up(20_000);
    for (bytes, wanted) in [
        (&b""[..], "! nothing came: "),
        (b"#!/bin/sh\nrm -rf /\n", "! this is no bundle: it begins in another way"),
        (&bundle[..bundle.len() - 1], "! the bundle is cut off: "),
        (&bundle[..5_000], "! the bundle is cut off: 0.0 MB of about 0.0 MB came; send it again"),
        (&[7; 3_000_000], "! this is no bundle"),
    ] {
        let said = world.send("", bytes);
        assert!(said.len() >= 2 && said.last().unwrap().starts_with(wanted), "{said:?}");
        world.untouched();
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let world = World::new(GOOD);
    for words in ["sh -i", "now now; sh", &"x".repeat(300), "\u{1F3B5}"] {
        let said = world.send(words, &made_up(20_000));
        assert!(said.len() == 1 && said[0].starts_with("! this is not understood"), "{said:?}");
        world.untouched();
    }
    let visit = world.connect();
    visit.line.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(visit.all(), ["! this is not understood: it is too long"]);
}

#[test]
fn one_is_received_at_a_time() {
    let world = World::new(GOOD);
    let bundle = made_up(20_000);
    let mut first = world.connect();
    first.line.get_mut().write_all(&[b"\n", &bundle[..1_000]].concat()).unwrap();
    assert_eq!(first.hear(), "+ waiting for the bundle; 1.0.0 runs");
    let second = world.send("now", &bundle);
    assert_eq!(second, ["! another update is being received: wait until it is done"]);
    first.line.get_mut().write_all(&bundle[1_000..]).unwrap();
    first.line.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(first.all().last().unwrap(), ".");
    assert!(world.path("installed").exists());
}

#[test]
fn music_is_not_ended_unless_it_may_be() {
    let world = World::new(GOOD);
    let plays = playing(&world.path("box.sock"), vec![in_company()]);
    let said = world.send("", &made_up(20_000));
    assert_eq!(said, ["! porto plays with lisboa: say --now if it may stop (with ssh alone: now)"]);
    plays.join().unwrap();
    world.untouched();
    // Nobody is asked.
    assert_eq!(world.send("now", &made_up(20_000)).last().unwrap(), ".");
}

#[test]
fn music_that_has_begun_meanwhile_goes_on() {
    let world = World::new(GOOD);
    let plays = playing(&world.path("box.sock"), vec![alone(), in_company()]);
    let said = world.send("", &made_up(20_000));
    plays.join().unwrap();
    let wanted =
        "! 1.1.0 is installed, but porto plays with lisboa: it is tried when the box is next switched on";
    assert_eq!(said.last().unwrap(), wanted);
    assert!(!world.restarts() && world.path("installed").exists());
    let said = world.send("status", b"");
    assert_eq!(said, ["+ runs 1.0.0 (slot A)", "+ 1.1.0 is tried when the box is next switched on", "."]);
}

#[test]
fn a_box_on_trial_takes_no_update() {
    let world = World::new(GOOD);
    world.write("proc/cmdline", "root=/dev/mmcblk0p6 ro\n");
    for words in ["now", "revert now"] {
        let said = world.send(words, &made_up(20_000));
        assert!(said.len() == 1 && said[0].contains(" runs on trial: "), "{said:?}");
        world.untouched();
    }
}

#[test]
fn a_box_goes_back_to_a_system_that_was_good() {
    let world = World::new(GOOD);
    let said = world.send("revert", b"");
    assert_eq!(said, ["! there is nothing to go back to: what is in slot B has never played here"]);
    world.untouched();
    world.write("data/matriz-system/update/state.toml", "[b]\nstate = \"good\"\nversion = \"0.9.0\"\n");
    let said = world.send("revert", b"");
    let wanted = "+ the box restarts into 0.9.0; if that does not play, it comes back with 1.0.0";
    assert_eq!(said, [wanted, "."]);
    assert!(world.restarts());
    assert_eq!((world.slots().committed, world.slots().staged()), (Slot::A, Some(Slot::B)));
}

#[test]
fn how_things_stand_is_told_for_people_and_programs() {
    let world = World::new(GOOD);
    assert_eq!(world.send("status", b""), ["+ runs 1.0.0 (slot A)", "."]);
    let failed = "[failed]\nslot = \"B\"\nversion = \"1.1.0\"\nreason = \"it did not start\"\n";
    world.write("data/matriz-system/update/state.toml", failed);
    let said = world.send("status json", b"");
    let standing: Standing = serde_json::from_str(said[0].strip_prefix("+ ").unwrap()).unwrap();
    assert_eq!((standing.version.as_str(), standing.slot.as_deref()), ("1.0.0", Some("A")));
    assert!(standing.failed.unwrap().starts_with("1.1.0 failed: it did not start, running "));
    world.untouched();
}

#[test]
fn a_restart_that_is_refused_is_left_for_whoever_looks() {
    let world = World::new(GOOD);
    let mut visit = world.connect_to(|_| bail!("systemd does not restart the box"));
    visit.say("", &made_up(20_000));
    assert_eq!(visit.all().last().unwrap(), ".");
    let said = messages::read(&Root(world.folder.path().to_owned()));
    assert_eq!(said, ["systemd does not restart the box: switch it off and on"]);
}

#[test]
fn who_leaves_when_all_was_sent_has_an_installed_update() {
    let world = World::new(GOOD);
    let mut visit = world.connect();
    visit.say("", &made_up(20_000));
    // An answer has come, which is never read.
    let mut came = [PollFd::new(visit.line.get_ref().as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut came, PollTimeout::from(5_000_u16)), Ok(1));
    drop(visit.line);
    visit.serving.join().unwrap();
    assert!(world.path("installed").exists() && world.restarts());
    let folder = fs::metadata(world.path("data/matriz-system/update")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700, "root's alone");
}
