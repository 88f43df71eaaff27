//! A bundle goes from one computer to a box by SSH, and whoever sent it learns what came of it.
//!
//! Real are `matriz update`, ssh and sshd with the box's own settings, the relay, the service, and in one test RAUC with
//! bundles made for it. The box is a folder; RAUC's installing and the restart are stand-ins that change it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::player::{Player, Setup};
use common::process::Process;
use common::{PATIENCE, Stage, free_port};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

fn program(file: &Path, script: &str) {
    write(file, &format!("#!/bin/bash\n{script}\n"));
    fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
}

fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// RAUC as it behaves when all is well; B is the box's folder.
const RAUC: &str = "case $1 in\n\
    info) echo \"RAUC_MF_VERSION='1.1.0'\" ;;\n\
    install) echo ' 50% Copying image'; printf '[b]\\nstate = \"bad\"\\n[trial]\\nslot = \"B\"\\n' \
    >$B/data/matriz-system/update/state.toml ;;\n\
    esac";

/// The restart into a slot that does.
const STAYS: &str = "echo \"$@\" >$B/asked\n\
    echo 'root=/dev/mmcblk0p6 ro' >$B/proc/cmdline\n\
    echo 'VERSION_ID=1.1.0' >$B/usr/lib/os-release\n\
    sed -i 's/=2$/=x/; s/=3$/=2/; s/=x$/=3/' $B/setup/autoboot.txt\n\
    printf '[b]\\nstate = \"good\"\\nversion = \"1.1.0\"\\n' >$B/data/matriz-system/update/state.toml";

/// The restart into a slot that does not: the box is back before anybody asks.
const FALLS_BACK: &str = "printf '[failed]\\nslot = \"B\"\\nversion = \"1.1.0\"\\nreason = \"it did not start\"\\n' \
    >$B/data/matriz-system/update/state.toml";

/// A box in a folder of the stage, slot A running, with RAUC and systemd's restart in `bin`.
fn furnish(stage: &Stage, rauc: &str, restart: &str) {
    let (here, bin) = (stage.path("box"), stage.path("bin"));
    write(&here.join("proc/cmdline"), "root=/dev/mmcblk0p5 ro\n");
    write(&here.join("usr/lib/os-release"), "VERSION_ID=1.0.0\n");
    let autoboot = fs::read_to_string(repository().join("image/setup/autoboot.txt")).unwrap();
    write(&here.join("setup/autoboot.txt"), &autoboot);
    fs::create_dir_all(here.join("data")).unwrap();
    fs::create_dir_all(here.join("run/matriz-system")).unwrap();
    program(&bin.join("rauc"), &format!("B={}\n{rauc}", here.display()));
    program(&bin.join("systemctl"), &format!("B={}\n{restart}", here.display()));
}

/// `bin` goes before everything: nothing here reaches this computer's own systemd.
fn path(stage: &Stage) -> String {
    format!("{}:{}", stage.path("bin").display(), std::env::var("PATH").unwrap())
}

/// What systemd does with `matriz-update.socket` and `matriz-update@.service`.
struct Service {
    socket: PathBuf,
    over: Arc<AtomicBool>,
    /// Connections that have come to their end.
    ended: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    fn start(stage: &Stage) -> Service {
        let socket = stage.path("box/run/matriz-system/update.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (over, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (root, path) = (stage.path("box"), path(stage));
        let run = stage.path("run");
        let (stop, count) = (over.clone(), ended.clone());
        let thread = std::thread::spawn(move || {
            for line in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let line = line.unwrap();
                let mut install = Command::new(env!("CARGO_BIN_EXE_matriz"));
                install.args(["system", "--root"]).arg(&root).arg("install");
                install.env("PATH", &path).env("XDG_RUNTIME_DIR", &run).stderr(Stdio::null());
                install.stdin(OwnedFd::from(line.try_clone().unwrap())).stdout(OwnedFd::from(line));
                install.status().unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Service { socket, over, ended, thread: Some(thread) }
    }

    fn wait_for_ends(&self, wanted: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.ended.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "the service does not come to an end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = UnixStream::connect(&self.socket);
        let _ = self.thread.take().unwrap().join();
    }
}

/// A bundle as far as it is looked at before RAUC: its content is noise.
fn made_up(length: u64) -> Vec<u8> {
    let mut bytes = vec![7; usize::try_from(length).unwrap()];
    bytes[..4].copy_from_slice(b"hsqs");
    bytes[40..48].copy_from_slice(&length.to_le_bytes());
    bytes.extend([0x30; 1_500]);
    bytes.extend(1_500_u64.to_be_bytes());
    bytes
}

/// sshd as on a box, on loopback: its own settings, but for places and the user. Gone when dropped.
struct Sshd {
    port: u16,
    user: String,
    _server: Process,
    _separated: Separated,
}

/// The folder that Debian's sshd wants, and that its service makes.
struct Separated(Option<&'static Path>);

impl Separated {
    fn new() -> Separated {
        let folder = Path::new("/run/sshd");
        Separated(fs::create_dir(folder).is_ok().then_some(folder))
    }
}

impl Drop for Separated {
    fn drop(&mut self) {
        if let Some(folder) = self.0 {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl Sshd {
    fn start(stage: &Stage) -> Sshd {
        let separated = Separated::new();
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
        for key in ["host", "client", "stranger"] {
            must(
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(stage.path(key)),
            );
        }
        fs::copy(stage.path("client.pub"), stage.path("authorized_keys")).unwrap();
        let place = |name: &str| stage.path(name).display().to_string();
        let matriz = env!("CARGO_BIN_EXE_matriz");
        let mut settings =
            fs::read_to_string(repository().join("overlays/rootfs/usr/lib/matriz/sshd_config")).unwrap();
        for (there, here) in [
            ("/run/matriz-system/ssh/ssh_host_ed25519_key", place("host")),
            ("/run/matriz-system/ssh/authorized_keys", place("authorized_keys")),
            ("AllowUsers root update", format!("AllowUsers {user}")),
            ("Match User update", format!("Match User {user}")),
            ("/usr/bin/matriz system", format!("{matriz} system --root {}", place("box"))),
        ] {
            assert_eq!(settings.matches(there).count(), 1, "{there}");
            settings = settings.replace(there, &here);
        }
        let port = free_port();
        let config = stage.write("sshd_config", &settings);
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.args(["-D", "-e", "-f"]).arg(config).args([
            "-o",
            "ListenAddress=127.0.0.1",
            "-o",
            "PidFile=none",
        ]);
        // The keys lie in a folder below /tmp.
        sshd.args(["-o", "StrictModes=no", "-p", &port.to_string()]);
        let server = Process::start("sshd", &mut sshd);
        server.log.wait_for(&["Server listening on 127.0.0.1"]);
        Sshd { port, user, _server: server, _separated: separated }
    }

    /// The user's own settings of ssh, and an `ssh` that has them and knows the box's user by another name.
    fn give_ssh(&self, stage: &Stage, key: &str) {
        let place = |name: &str| stage.path(name).display().to_string();
        let settings = format!(
            "Port {}\nIdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\nStrictHostKeyChecking accept-new\n\
             LogLevel ERROR\n",
            self.port,
            place(key),
            place("known_hosts")
        );
        let config = stage.write("ssh_config", &settings);
        let words = format!("exec /usr/bin/ssh -F {} \"${{@/#update@/{}@}}\"", config.display(), self.user);
        program(&stage.path("bin/ssh"), &words);
    }
}

/// What came of `matriz update`.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn update(stage: &Stage, words: &[&str]) -> Said {
    let mut command = stage.matriz(&[&["update"], words].concat());
    said(&command.env("PATH", path(stage)).stdin(Stdio::null()).output().unwrap())
}

fn said(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

#[test]
fn an_update_comes_by_ssh_and_its_end_is_told() {
    let stage = Stage::new();
    furnish(&stage, RAUC, STAYS);
    let (_service, sshd) = (Service::start(&stage), Sshd::start(&stage));
    sshd.give_ssh(&stage, "client");
    fs::write(stage.path("a.raucb"), made_up(3 << 20)).unwrap();
    let told = update(&stage, &["127.0.0.1", "--status"]);
    assert_eq!((told.code, told.out.as_str()), (0, "runs 1.0.0 (slot A)\n"), "{told:?}");

    let told = update(&stage, &["127.0.0.1", "a.raucb"]);
    assert_eq!((told.code, told.out.as_str()), (0, "127.0.0.1 plays with 1.1.0\n"), "{told:?}");
    let lines: Vec<&str> = told.err.lines().collect();
    for line in [
        "waiting for the bundle; 1.0.0 runs",
        "the bundle is 1.1.0, and its signature is good",
        "installing 50 %",
        "the box restarts into 1.1.0; if that does not play, it comes back with 1.0.0",
    ] {
        assert!(lines.contains(&line), "{line} is missing: {told:?}");
    }
    let asked = fs::read_to_string(stage.path("box/asked")).unwrap();
    assert_eq!(asked, "--no-block reboot --reboot-argument=0 tryboot\n");

    // Back again: what was in slot A is good.
    let state = "[a]\nstate = \"good\"\nversion = \"1.0.0\"\n[b]\nstate = \"good\"\nversion = \"1.1.0\"\n";
    write(&stage.path("box/data/matriz-system/update/state.toml"), state);
    let told = update(&stage, &["--revert", "--wait", "0", "127.0.0.1"]);
    assert!(
        told.err.contains("the box restarts into 1.0.0; if that does not play, it comes back with 1.1.0"),
        "{told:?}"
    );
}

#[test]
fn a_box_that_has_fallen_back_says_why() {
    let stage = Stage::new();
    furnish(&stage, RAUC, FALLS_BACK);
    let (_service, sshd) = (Service::start(&stage), Sshd::start(&stage));
    sshd.give_ssh(&stage, "client");
    fs::write(stage.path("a.raucb"), made_up(49_152)).unwrap();
    let told = update(&stage, &["127.0.0.1", "a.raucb", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((told.code, &answer["ok"]), (1, &serde_json::Value::Bool(false)), "{told:?}");
    let why = answer["error"].as_str().unwrap();
    assert!(why.starts_with("1.1.0 failed: it did not start, running "), "{told:?}");
}

#[test]
fn a_refusal_is_one_sentence_and_an_exit_code() {
    let stage = Stage::new();
    furnish(&stage, "echo 'signature verification failed: self-signed certificate' >&2; exit 1", STAYS);
    let (_service, sshd) = (Service::start(&stage), Sshd::start(&stage));
    sshd.give_ssh(&stage, "client");
    fs::write(stage.path("a.raucb"), made_up(9 << 20)).unwrap();
    let told = update(&stage, &["127.0.0.1", "a.raucb"]);
    let wanted = "matriz: the bundle is signed by somebody whom this box does not trust";
    assert_eq!((told.code, told.err.lines().last().unwrap()), (1, wanted), "{told:?}");
    // Who is refused before all was sent is told at once.
    let told = update(&stage, &["127.0.0.1", "--revert"]);
    assert!(told.code == 1 && told.err.contains("there is nothing to go back to"), "{told:?}");
    stage.write("b.raucb", "PK");
    let told = update(&stage, &["127.0.0.1", "b.raucb"]);
    assert!(told.code == 1 && told.err.contains("b.raucb is no bundle"), "{told:?}");

    // The user may do nothing else.
    let ssh = |words: &[&str]| {
        let mut ssh = Command::new(stage.path("bin/ssh"));
        said(&ssh.arg("update@127.0.0.1").args(words).stdin(Stdio::null()).output().unwrap())
    };
    let told = ssh(&["id; cat /etc/passwd"]);
    assert!(told.code == 1 && told.out.is_empty(), "{told:?}");
    assert!(told.err.starts_with("this is not understood; "), "{told:?}");
    let told = ssh(&["-s", "sftp"]);
    assert!(told.code != 0 && told.out.is_empty(), "{told:?}");
}

#[test]
fn a_box_that_is_not_reached_is_told_with_its_reason() {
    let stage = Stage::new();
    furnish(&stage, RAUC, STAYS);
    let sshd = Sshd::start(&stage);
    let asked = |wanted: &str| {
        let told = update(&stage, &["127.0.0.1", "--status"]);
        let one = told.err.lines().count() == 1 && told.out.is_empty();
        assert!(told.code == 3 && one && told.err.contains(wanted), "{wanted}: {told:?}");
    };
    sshd.give_ssh(&stage, "stranger");
    asked("127.0.0.1 does not know your key: put it on its card");
    stage.write("known_hosts", &format!("[127.0.0.1]:{} {}", sshd.port, read(&stage, "stranger.pub")));
    sshd.give_ssh(&stage, "client");
    asked("127.0.0.1 is not the box that it was");
    let told = update(&stage, &["matriz-none.invalid", "--status"]);
    assert!(told.code == 3 && told.err.contains("nobody here is called matriz-none.invalid"), "{told:?}");
    fs::remove_file(stage.path("known_hosts")).unwrap();
    // sshd runs, and no service behind it.
    let told = update(&stage, &["127.0.0.1", "--status"]);
    assert!(told.code == 1 && told.err.contains("this box takes no updates just now"), "{told:?}");
    drop(sshd);
    asked("127.0.0.1 lets nobody in");

    let mut command = stage.matriz(&["update", "127.0.0.1", "--status"]);
    let told = said(&command.env("PATH", stage.path("nowhere")).output().unwrap());
    assert!(told.code == 1 && told.err.contains("there is no ssh on this computer: install it"), "{told:?}");
}

fn read(stage: &Stage, name: &str) -> String {
    fs::read_to_string(stage.path(name)).unwrap()
}

/// Says and sends this to the service; its lines.
fn send(stage: &Stage, words: &str, bytes: &[u8]) -> Vec<String> {
    let mut line = UnixStream::connect(stage.path("box/run/matriz-system/update.sock")).unwrap();
    let _ = line.write_all(format!("{words}\n").as_bytes()).and_then(|()| line.write_all(bytes));
    let _ = line.shutdown(Shutdown::Write);
    // Reset, if not all was read: what was said before has arrived.
    BufReader::new(line).lines().map_while(Result::ok).collect()
}

/// Nothing of a bundle is left, and nothing was staged or asked for.
fn untouched(stage: &Stage) {
    let left = fs::read_dir(stage.path("box/data/matriz-system/update"));
    let left: Vec<_> = left.into_iter().flatten().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty() && !stage.path("box/asked").exists(), "{left:?}");
}

#[test]
fn a_line_that_breaks_leaves_nothing() {
    let stage = Stage::new();
    furnish(&stage, RAUC, STAYS);
    let (service, sshd) = (Service::start(&stage), Sshd::start(&stage));
    sshd.give_ssh(&stage, "client");
    let mut ssh = Command::new(stage.path("bin/ssh"));
    ssh.arg("update@127.0.0.1").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut ssh = ssh.spawn().unwrap();
    ssh.stdin.as_mut().unwrap().write_all(&made_up(3 << 20)[..1 << 20]).unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(ssh.stdout.take().unwrap());
    while !said.contains("receiving") {
        assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
    }
    ssh.kill().unwrap();
    ssh.wait().unwrap();
    service.wait_for_ends(1);
    untouched(&stage);
    // And the next one is received.
    assert_eq!(send(&stage, "", &made_up(49_152)).last().unwrap(), ".");
}

#[test]
fn a_box_that_records_is_not_updated_unless_it_may_stop() {
    let stage = Stage::new();
    furnish(&stage, RAUC, STAYS);
    let _service = Service::start(&stage);
    let mut setup = Setup::simulated(&stage, "porto", free_port(), 0.0, 500);
    setup.config["record_folder"] = serde_json::json!("takes");
    let mut porto = Player::start(&stage, &setup);
    porto.wait("it plays", |status| status.cycles > 0);
    assert!(stage.matriz(&["record", "start"]).output().unwrap().status.success());
    let said = send(&stage, "", &made_up(49_152));
    assert_eq!(said, ["! porto is recording: say --now if it may stop (with ssh alone: now)"]);
    untouched(&stage);
    assert_eq!(send(&stage, "now", &made_up(49_152)).last().unwrap(), ".");
}

/// RAUC's own verdicts, on bundles that it made; only the writing of partitions is a stand-in.
#[test]
fn what_rauc_refuses_is_told_in_a_sentence() {
    let stage = Stage::new();
    let real = "[ $1 = info ] && exec /usr/bin/rauc --conf=$B/system.conf \"$@\"\n";
    furnish(&stage, &format!("{real}{RAUC}"), STAYS);
    let _service = Service::start(&stage);
    for name in ["ours", "stranger"] {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        openssl
            .args(["-days", "7", "-subj", &format!("/CN={name}"), "-keyout"])
            .arg(stage.path(&format!("{name}.key")));
        must(openssl.arg("-out").arg(stage.path(&format!("{name}.pem"))));
    }
    let conf = "[system]\ncompatible=matriz-rpi2\nbootloader=noop\nbundle-formats=verity\n[keyring]\npath=";
    stage.write("box/system.conf", &format!("{conf}{}\n", stage.path("ours.pem").display()));
    fs::create_dir(stage.path("content")).unwrap();
    let mut random = fastrand::Rng::with_seed(7); // RAUC wants more than a block, and packs what it can
    let noise: Vec<u8> = (0..200_000).map(|_| random.u8(..)).collect();
    fs::write(stage.path("content/rootfs.img"), noise).unwrap();
    let manifest = "[update]\ncompatible=matriz-rpi2\nversion=1.1.0\n[bundle]\nformat=verity\n\
                    [image.rootfs]\nfilename=rootfs.img\n";
    stage.write("content/manifest.raucm", manifest);
    let bundle = |name: &str| {
        let out = stage.path(&format!("{name}.raucb"));
        let [cert, key] = ["pem", "key"].map(|end| stage.path(&format!("{name}.{end}")));
        let mut rauc = Command::new("/usr/bin/rauc");
        rauc.arg("bundle").arg("--cert").arg(cert).arg("--key").arg(key).arg(stage.path("content")).arg(&out);
        must(&mut rauc);
        fs::read(out).unwrap()
    };
    let (ours, strangers) = (bundle("ours"), bundle("stranger"));
    let last = |bytes: &[u8]| send(&stage, "", bytes).pop().unwrap();

    assert_eq!(last(&strangers), "! the bundle is signed by somebody whom this box does not trust");
    let mut changed = ours.clone();
    let at = ours.windows(12).rposition(|bytes| bytes == b"verity-hash=").unwrap() + 12;
    changed[at] ^= 1;
    let tampered =
        "! the bundle was tampered with, or damaged on its way: its signature is not that of its content";
    assert_eq!(last(&changed), tampered);
    let mut changed = ours.clone();
    changed[ours.len() - 40] ^= 1;
    assert_eq!(last(&changed), tampered);
    for length in [ours.len() - 1, ours.len() / 2] {
        assert!(last(&ours[..length]).starts_with("! the bundle is cut off: "));
    }
    untouched(&stage);
    stage.write(
        "box/system.conf",
        "[system]\ncompatible=matriz-rpi2\nbootloader=noop\n[keyring]\npath=/nowhere\n",
    );
    assert!(last(&ours).starts_with("! this box takes no updates: its system has no certificates"));
    untouched(&stage);
    stage.write("box/system.conf", &format!("{conf}{}\n", stage.path("ours.pem").display()));
    let said = send(&stage, "", &ours);
    assert!(said.contains(&"+ the bundle is 1.1.0, and its signature is good".to_owned()), "{said:?}");
    assert_eq!(said.last().unwrap(), ".");
}
