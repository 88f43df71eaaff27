//! A stage for real daemons: boxes, the rendezvous and JACK servers as processes on loopback.
//!
//! Used by the promises in the files beside. [`Stage`] gives a test a folder and, where the system allows
//! it, a network and shared memory of its own, so that nothing that runs on the machine is in the way and
//! nothing is left behind. [`process`] starts, hears and ends processes, [`player`] is a box, [`jackd`] a
//! JACK server, [`rtsp`] has players of others, [`original`] plays as the original did, [`lan`] is a network of
//! several computers, [`sound`] is what was played and what was heard.
#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests; each file uses its own part")]

pub mod icecast;
pub mod jackd;
pub mod lan;
pub mod original;
pub mod player;
pub mod process;
pub mod recorded;
pub mod rtsp;
pub mod sound;

use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use process::Process;
use proto::units::Time;
use serde_json::{Value, json};
use std::ffi::CString;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// How long a test waits for what must come: long enough for a busy machine, and for every back-off that
/// a test provokes.
pub const PATIENCE: Duration = Duration::from_secs(25);

/// The musicians and their keys.
pub const KEYS: [(&str, &str); 3] = [("porto", "key1"), ("montemor", "key2"), ("lisboa", "key3")];

/// Where a test plays. One test of a file at a time: what is measured is sound, in real time.
pub struct Stage {
    folder: tempfile::TempDir,
    /// Whether network and shared memory are the test's own.
    pub private: bool,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    pub fn new() -> Stage {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        rendezvous_program(); // builds it, if need be, while there still is a network
        let private = withdraw().is_ok();
        Stage { folder: tempfile::tempdir().unwrap(), private, _turn: turn }
    }

    /// A file or folder on the stage.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that a person could have written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `matriz` with these arguments, in the stage's folder.
    pub fn matriz(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_matriz"));
        command.args(arguments).current_dir(&self.folder).env_remove("RUST_LOG");
        command.env_remove("JACK_DEFAULT_SERVER");
        // Neither the sockets nor the state of whoever runs the tests.
        command.env_remove("RUNTIME_DIRECTORY").env_remove("STATE_DIRECTORY");
        command.env("XDG_RUNTIME_DIR", self.path("run")).env("XDG_STATE_HOME", self.path("state"));
        command
    }

    /// `matriz-rendezvous`, listening at a port of loopback (0: the kernel's choice).
    pub fn rendezvous_at(&self, port: u16) -> Command {
        self.rendezvous_with(port, &json!({}))
    }

    /// As [`Stage::rendezvous_at`], with these keys besides in its `clients.json`.
    pub fn rendezvous_with(&self, port: u16, besides: &Value) -> Command {
        let keys: Vec<Value> = KEYS.iter().map(|(name, key)| json!({"name": name, "key": key})).collect();
        let monitor = json!({"name": "monitor", "key": "monitorkey"});
        let mut clients = json!({"client_keys": keys, "monitor_key": monitor});
        for (key, value) in besides.as_object().unwrap() {
            clients[key] = value.clone();
        }
        let file = self.write("clients.json", &clients.to_string());
        let mut command = Command::new(rendezvous_program());
        command.arg(file).args(["--listen", &format!("127.0.0.1:{port}")]).env_remove("RUST_LOG");
        command
    }
}

/// A disk in memory that is soon full; gone when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// A disk of so many bytes at a place on the stage; none where the stage is not private.
    pub fn new(stage: &Stage, name: &str, bytes: u32) -> Option<SmallDisk> {
        let path = stage.path(name);
        std::fs::create_dir(&path).unwrap();
        let at = CString::new(path.to_str().unwrap()).unwrap();
        let size = CString::new(format!("size={bytes}")).unwrap();
        // SAFETY: a system call that reads its arguments only, which outlive it.
        let made = stage.private
            && unsafe {
                libc::mount(c"tmpfs".as_ptr(), at.as_ptr(), c"tmpfs".as_ptr(), 0, size.as_ptr().cast())
            } == 0;
        made.then_some(SmallDisk(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let at = CString::new(self.0.to_str().unwrap()).unwrap();
        // SAFETY: a system call that reads its argument only, which outlives it.
        unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) };
    }
}

/// A running rendezvous.
pub struct Rendezvous {
    pub process: Process,
    pub port: u16,
}

impl Rendezvous {
    /// Starts it and waits until it listens.
    pub fn start(stage: &Stage, port: u16) -> Rendezvous {
        Rendezvous::start_with(stage, port, &json!({}))
    }

    /// As [`Rendezvous::start`], with these keys besides in its `clients.json`.
    pub fn start_with(stage: &Stage, port: u16, besides: &Value) -> Rendezvous {
        let process = Process::start("rendezvous", &mut stage.rendezvous_with(port, besides));
        let scheme = if besides.get("server_crt").is_some() { "wss" } else { "ws" };
        let begin = format!("listening on {scheme}://127.0.0.1:");
        let port = process.out.wait("the rendezvous's address", |lines| {
            let address = lines.first()?.strip_prefix(&begin)?;
            address.strip_suffix("/config")?.parse().ok()
        });
        Rendezvous { process, port }
    }
}

/// Now, on the clock that the boxes count by.
pub fn now() -> Time {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC_RAW).unwrap();
    Time(time.num_nanoseconds())
}

/// A TCP port at which nobody listens now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `matriz-rendezvous`, which lies beside `matriz`; built if nobody has done so yet.
fn rendezvous_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let matriz = Path::new(env!("CARGO_BIN_EXE_matriz"));
        let program = matriz.with_file_name("matriz-rendezvous");
        if !program.exists() {
            let folder = matriz.parent().unwrap();
            let profile = match folder.file_name().unwrap().to_str().unwrap() {
                "debug" => "dev", // the one profile whose folder has another name
                other => other,
            };
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(["build", "--locked", "-p", "rendezvous", "--bin", "matriz-rendezvous"]);
            cargo.args(["--profile", profile, "--target-dir"]).arg(folder.parent().unwrap());
            assert!(cargo.status().unwrap().success(), "{cargo:?} failed");
        }
        program
    })
}

/// Gives this thread, and every process that it starts, a network with nothing but loopback, a `/dev/shm`
/// and semaphores of their own; they vanish with the last of them. Needs root.
///
/// # Errors
/// The system does not allow it; then the test plays among everything else on the machine.
fn withdraw() -> Result<()> {
    let done = |result: libc::c_int| if result < 0 { Err(Error::last_os_error()) } else { Ok(()) };
    let (root, shm, tmpfs) = (c"/", c"/dev/shm", c"tmpfs");
    let none: *const libc::c_void = std::ptr::null();
    // SAFETY: system calls that read their arguments only, which outlive them; they change what this
    // thread and its children see, and nothing of this process's memory.
    unsafe {
        done(libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWIPC))?;
        let private = libc::MS_REC | libc::MS_PRIVATE;
        done(libc::mount(std::ptr::null(), root.as_ptr(), std::ptr::null(), private, none))?;
        done(libc::mount(tmpfs.as_ptr(), shm.as_ptr(), tmpfs.as_ptr(), 0, none))?;
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        done(socket)?;
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(CString::new("lo").unwrap().as_bytes()) {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let up = done(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request));
        libc::close(socket);
        up
    }
}
