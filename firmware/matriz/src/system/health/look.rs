//! What the gate looks at: systemd, the box's own status, the SSH server, the data partition.
//!
//! Nothing here can hang: each program and each answer has a limit, and what is too slow is wrong.

use super::judge::{Engine, Look};
use crate::cli::client::Client;
use crate::system::{DATA, Root, boot, card, slots};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// The units that must run; the first is the one that plays.
const UNITS: [&str; 2] = ["matriz.service", "matriz-boot.service"];

/// The folder of the box's socket.
const SOCKETS: &str = "run/matriz";

/// The keys of those who may come in: with them SSH is on.
const KEYS: &str = "run/matriz-system/ssh/authorized_keys";

/// The server, and its settings.
const SSHD: &str = "usr/sbin/sshd";
const SSHD_CONFIG: &str = "usr/lib/matriz/sshd_config";

/// Where a host key is made to try the server with, while SSH is off.
const TRIED_KEY: &str = "run/matriz-system/health";

/// What Debian's sshd wants to be there; its unit would make it.
const SSHD_FOLDER: &str = "run/sshd";

/// Looks, and remembers what needs no second look.
pub struct Eyes<'a> {
    root: &'a Root,
    /// The longest that a program may take.
    patience: Duration,
    runtime: tokio::runtime::Runtime,
    ssh_is_well: bool,
    data_is_well: bool,
}

impl Eyes<'_> {
    /// # Errors
    /// The system has no more file descriptors.
    pub fn new(root: &Root, patience: Duration) -> std::io::Result<Eyes<'_>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Eyes { root, patience, runtime, ssh_is_well: false, data_is_well: false })
    }

    /// One look at everything.
    pub fn look(&mut self) -> Look {
        let (units, restarts) = match self.units() {
            Ok(seen) => seen,
            Err(why) => (Err(why), 0),
        };
        let data = if self.data_is_well { Ok(()) } else { self.data() };
        self.data_is_well = data.is_ok();
        let ssh = if self.ssh_is_well { Ok(()) } else { self.ssh() };
        self.ssh_is_well = ssh.is_ok();
        Look { units, restarts, ssh, data, engine: self.engine() }
    }

    /// What a program prints, if it succeeds in time.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let limited = async { tokio::time::timeout(self.patience, command.output()).await };
        match self.runtime.block_on(limited) {
            Err(_) => Err(format!("{program} has not ended after {} s", self.patience.as_secs())),
            Ok(Err(error)) => Err(format!("{program} cannot be started ({error})")),
            Ok(Ok(done)) if done.status.success() => Ok(done.stdout),
            Ok(Ok(done)) => {
                let told = String::from_utf8_lossy(&done.stderr);
                let why = told.lines().last().unwrap_or("it does not say why");
                Err(format!("{program} fails: {why}"))
            }
        }
    }

    /// The process that plays, if all units run; and how many times it was started again.
    fn units(&self) -> Result<(Result<u32, String>, u32), String> {
        let mut arguments = vec!["show", "--property=Id,ActiveState,MainPID,NRestarts"];
        arguments.extend(UNITS);
        let shown = self.ask("systemctl", &arguments)?;
        let shown = String::from_utf8_lossy(&shown);
        Ok((process(&shown), restarts(&shown)))
    }

    /// Writes a file on the data partition and brings it to the card.
    fn data(&self) -> Result<(), String> {
        if !boot::is_there(self.root, DATA) {
            return Err("there is no data partition".to_owned());
        }
        let folder = self.root.at(slots::FOLDER);
        let file = folder.join("written");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        let written = made.and_then(|()| {
            let mut new = File::create(&file)?;
            new.write_all(b"the data partition can be written\n")?;
            new.sync_all()?;
            std::fs::remove_file(&file)
        });
        written.map_err(|error| format!("the data partition cannot be written ({error})"))
    }

    /// Lets the server read its settings and its key, as it does before it starts.
    fn ssh(&self) -> Result<(), String> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let (sshd, config) = (text(self.root.at(SSHD)), text(self.root.at(SSHD_CONFIG)));
        std::fs::create_dir_all(self.root.at(SSHD_FOLDER))
            .map_err(|error| format!("no /run/sshd ({error})"))?;
        if self.root.at(KEYS).exists() {
            return self.ask(&sshd, &["-t", "-f", &config]).map(drop);
        }
        // SSH is off, so there is no key of the box's own.
        let folder = self.root.at(TRIED_KEY);
        let key = text(folder.join("key"));
        let _ = std::fs::remove_dir_all(&folder); // of a look before
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|error| format!("{} cannot be made ({error})", folder.display()))?;
        self.ask("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key])?;
        let tried = self.ask(&sshd, &["-t", "-f", &config, "-h", &key]);
        let _ = std::fs::remove_dir_all(&folder);
        tried.map(drop)
    }

    /// Asks the box.
    fn engine(&self) -> Result<Engine, String> {
        let socket = socket(&self.root.at(SOCKETS)).ok_or("the box has no socket yet")?;
        let status = Client::find(Some(&socket)).and_then(|mut client| client.status());
        let status = status.map_err(|failure| failure.to_string())?;
        let machine = status.machine;
        let cycles = machine.plays.then_some(status.cycles);
        Ok(Engine { cycles, card: machine.card, is_plugged: card::is_plugged(self.root) })
    }
}

/// The socket in a folder.
fn socket(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let files = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    files.filter(|file| file.extension().is_some_and(|end| end == "sock")).min()
}

/// How many times the box was started again, of what `systemctl show` prints. Only services have a number.
fn restarts(shown: &str) -> u32 {
    let numbers = shown.lines().filter_map(|line| line.strip_prefix("NRestarts=")?.parse().ok());
    numbers.max().unwrap_or(0)
}

/// The process that plays, of the same: a block for each unit.
fn process(shown: &str) -> Result<u32, String> {
    let blocks: Vec<&str> = shown.split("\n\n").collect();
    let mut process = 0;
    for unit in UNITS {
        let has_id = |block: &&&str| block.lines().any(|line| line.strip_prefix("Id=") == Some(unit));
        let block = blocks.iter().find(has_id).ok_or(format!("systemd does not know {unit}"))?;
        let value = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        let state = value("ActiveState=");
        if state != "active" {
            return Err(format!("{unit} is {state}"));
        }
        if unit == UNITS[0] {
            process = value("MainPID=").parse().unwrap_or(0);
        }
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_says_which_units_run() {
        let shown = |one: &str, two: &str| {
            format!(
                "Id=matriz.service\nActiveState={one}\nNRestarts=3\nMainPID=412\n\nMainPID=0\nNRestarts=0\nId=matriz-boot.service\nActiveState={two}\n"
            )
        };
        assert_eq!(process(&shown("active", "active")), Ok(412));
        assert_eq!(process(&shown("activating", "active")), Err("matriz.service is activating".to_owned()));
        assert_eq!(process(&shown("active", "failed")), Err("matriz-boot.service is failed".to_owned()));
        assert_eq!((restarts(&shown("active", "active")), restarts("")), (3, 0));
        assert_eq!(process(""), Err("systemd does not know matriz.service".to_owned()));
    }

    #[test]
    fn a_program_that_hangs_or_fails_is_told() {
        let root = Root(PathBuf::from("/"));
        let eyes = Eyes::new(&root, Duration::from_millis(300)).unwrap();
        assert_eq!(eyes.ask("sh", &["-c", "echo good"]), Ok(b"good\n".to_vec()));
        assert_eq!(eyes.ask("sh", &["-c", "echo bad >&2; exit 3"]), Err("sh fails: bad".to_owned()));
        assert_eq!(eyes.ask("sh", &["-c", "exec sleep 60"]), Err("sh has not ended after 0 s".to_owned()));
    }

    #[test]
    fn what_cannot_be_started_is_told() {
        let root = Root(PathBuf::from("/"));
        let eyes = Eyes::new(&root, Duration::from_secs(10)).unwrap();
        assert!(eyes.ask("/nowhere/program", &[]).unwrap_err().contains("cannot be started"));
    }

    #[test]
    fn the_data_partition_is_written_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root(folder.path().to_owned());
        let eyes = Eyes::new(&root, Duration::from_secs(10)).unwrap();
        assert_eq!(eyes.data(), Err("there is no data partition".to_owned()));
        std::fs::create_dir(root.at(DATA)).unwrap();
        assert_eq!(eyes.data(), Ok(()));
        assert_eq!(std::fs::read_dir(root.at(slots::FOLDER)).unwrap().count(), 0);
        std::fs::remove_dir_all(root.at(DATA)).unwrap();
        std::fs::create_dir(root.at(DATA)).unwrap();
        std::fs::write(root.at("data/matriz-system"), "no folder").unwrap();
        assert!(eyes.data().unwrap_err().starts_with("the data partition cannot be written ("));
    }

    /// What sshd wants from root; where it was not there, it is gone again afterwards.
    struct Separation(bool);

    impl Separation {
        fn new() -> Separation {
            Separation(std::fs::create_dir(Path::new("/").join(SSHD_FOLDER)).is_ok())
        }
    }

    impl Drop for Separation {
        fn drop(&mut self) {
            if self.0 {
                let _ = std::fs::remove_dir(Path::new("/").join(SSHD_FOLDER));
            }
        }
    }

    #[test]
    fn the_server_is_tried_with_a_key_of_its_own_while_ssh_is_off() {
        let _separation = Separation::new();
        let folder = tempfile::tempdir().unwrap();
        let root = Root(folder.path().to_owned());
        let eyes = Eyes::new(&root, Duration::from_secs(10)).unwrap();
        let config = root.at(SSHD_CONFIG);
        std::fs::create_dir_all(config.parent().unwrap()).unwrap();
        std::fs::create_dir_all(root.at("usr/sbin")).unwrap();
        std::os::unix::fs::symlink("/usr/sbin/sshd", root.at(SSHD)).unwrap();
        std::fs::write(&config, "HostKey /nowhere/key\nPasswordAuthentication no\n").unwrap();
        assert_eq!(eyes.ssh(), Ok(()));
        assert!(!root.at(TRIED_KEY).exists());
        std::fs::write(&config, "PasswordAuthentikation no\n").unwrap();
        assert!(eyes.ssh().unwrap_err().contains("/usr/sbin/sshd fails: "));
        std::fs::write(&config, "HostKey /nowhere/key\n").unwrap();
        std::fs::create_dir_all(root.at("run/matriz-system/ssh")).unwrap();
        std::fs::write(root.at(KEYS), "").unwrap();
        assert!(eyes.ssh().unwrap_err().contains("no hostkeys available"), "SSH is on and has no key");
    }
}
