//! Computers in a network of their own, with broadcast between them.
//!
//! Each is a network namespace with one card, `eth0`; a bridge in the stage's own namespace joins them, so that the test
//! itself is in their network as well. Namespaces have no names and are held by the test alone: nothing is left behind,
//! however it ends.

use super::Stage;
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A network.
pub struct Lan {
    bridge: String,
    computers: usize,
}

/// A computer in it.
pub struct Computer(File);

impl Lan {
    /// A network in which the test has the address `own` (with its prefix), if it gets one. `None`, and why on standard
    /// error, where the system does not allow it.
    pub fn new(stage: &Stage, name: &str, own: &[&str]) -> Option<Lan> {
        if !stage.private {
            eprintln!("not tried: a network of its own is made only by root");
            return None;
        }
        let lan = Lan { bridge: name.to_owned(), computers: 0 };
        // Without snooping what goes to a group goes to everybody at once, as in a switch that knows no better.
        ip(&format!("link add {name} type bridge forward_delay 0 mcast_snooping 0"));
        own.iter().for_each(|address| add_address(address, name, ip));
        ip(&format!("link set {name} up"));
        Some(lan)
    }

    /// One more computer, with these addresses.
    pub fn computer(&mut self, addresses: &[&str]) -> Computer {
        self.computers += 1;
        let namespace = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let computer = Computer(namespace.join().unwrap());
        let (bridge, end) = (&self.bridge, format!("{}-{}", self.bridge, self.computers));
        let place = format!("/proc/{}/fd/{}", std::process::id(), computer.0.as_raw_fd());
        ip(&format!("link add {end} type veth peer name eth0 netns {place}"));
        ip(&format!("link set {end} master {bridge} up"));
        addresses.iter().for_each(|address| add_address(address, "eth0", |words| computer.ip(words)));
        computer.ip("link set lo up");
        computer.ip("link set eth0 up");
        computer
    }
}

impl Computer {
    /// Lets a program run there.
    pub fn put(&self, command: &mut Command) {
        let namespace = self.0.try_clone().unwrap();
        // SAFETY: between fork and exec only one system call is made, which allocates nothing.
        unsafe {
            command.pre_exec(move || Ok(setns(&namespace, CloneFlags::CLONE_NEWNET)?));
        }
    }

    /// As `ip` does there.
    pub fn ip(&self, words: &str) -> String {
        let mut command = Command::new("ip");
        self.put(&mut command);
        run(command.args(words.split(' ')))
    }

    /// Its address that every card has by IPv6, once it is its own.
    pub fn link_local(&self) -> String {
        let deadline = std::time::Instant::now() + super::PATIENCE;
        loop {
            let said = self.ip("-6 -o addr show dev eth0 scope link");
            let address = said.split_whitespace().find_map(|word| word.strip_suffix("/64"));
            if let Some(address) = address.filter(|_| !said.contains("tentative")) {
                return address.to_owned();
            }
            assert!(std::time::Instant::now() < deadline, "no address of the link: {said}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Of IPv6 without waiting whether somebody else has it.
fn add_address(address: &str, card: &str, ip: impl Fn(&str) -> String) {
    let at_once = if address.contains(':') { " nodad" } else { "" };
    ip(&format!("addr add {address} dev {card}{at_once}"));
}

fn ip(words: &str) -> String {
    run(Command::new("ip").args(words.split(' ')))
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("ip is there: .ci/packages.txt names it");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
