//! `matriz monitor` shows who is at a rendezvous, comes back when the connection breaks, and says in a
//! sentence why it may not watch.
//!
//! Real processes: a rendezvous, a box with a simulated card, the monitor, and a bare client that hears
//! what a refresh does.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::player::{Player, Setup};
use common::process::Process;
use common::{Rendezvous, Stage, free_port};
use serde_json::{Value, json};
use std::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, client};

/// A running monitor.
struct Monitor {
    process: Process,
    /// Lines that were looked at.
    seen: usize,
}

impl Monitor {
    fn start(stage: &Stage, arguments: &[&str]) -> Monitor {
        let process = Process::start_typed("monitor", &mut stage.matriz(&[&["monitor"], arguments].concat()));
        Monitor { process, seen: 0 }
    }

    /// The next line of JSON that is as wanted.
    fn wait(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut at = self.seen;
        let found = self.process.out.wait_or(|lines| {
            while at < lines.len() {
                at += 1;
                let line = serde_json::from_str(&lines[at - 1]).unwrap_or_default();
                if wanted(&line) {
                    return Some(line);
                }
            }
            None
        });
        self.seen = at;
        found.unwrap_or_else(|why| panic!("the monitor should say {what}; but {why}{}", self.process.log))
    }

    fn wait_for_boxes(&mut self, names: &[&str]) -> Value {
        self.wait(&format!("that {names:?} are there"), |line| {
            let boxes = line["boxes"].as_array();
            line["connected"] == true
                && boxes.is_some_and(|boxes| boxes.iter().map(|b| &b["name"]).eq(names.iter()))
        })
    }
}

fn url(port: u16) -> String {
    format!("ws://127.0.0.1:{port}/config")
}

#[test]
fn it_shows_who_comes_and_goes_and_does_what_is_typed() {
    let stage = Stage::new();
    let rendezvous = Rendezvous::start(&stage, 0);
    let mut monitor = Monitor::start(&stage, &[&url(rendezvous.port), "monitorkey", "--json"]);
    let nobody = monitor.wait_for_boxes(&[]);
    assert_eq!(nobody["message"], "No clients connected");
    let mut porto = Player::start(&stage, &Setup::simulated(&stage, "porto", rendezvous.port, 0.0, 440));
    let joined = monitor.wait_for_boxes(&["porto"]);
    assert_eq!(joined["message"], "[porto] connected with IP 127.0.0.1");
    assert_eq!(
        (&joined["boxes"][0]["ip"], &joined["boxes"][0]["since"]),
        (&json!("127.0.0.1"), &joined["time"])
    );

    let tcp = TcpStream::connect(("127.0.0.1", rendezvous.port)).unwrap();
    tcp.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let (mut lisboa, _) = client(url(rendezvous.port), tcp).unwrap();
    let register = json!({"register": "", "name": "lisboa", "key": "key3", "port": free_port()});
    lisboa.send(Message::text(register.to_string())).unwrap();
    let both = monitor.wait_for_boxes(&["porto", "lisboa"]);
    assert_eq!(both["boxes"][0]["since"], joined["time"]);
    monitor.process.type_line("refresh");
    loop {
        let message = lisboa.read().unwrap().into_text().unwrap();
        let message: Value = serde_json::from_str(&message).unwrap_or_default();
        if message["name"] == "monitor" {
            assert_eq!(
                (&message["refresh"], message["clients"].as_array().unwrap().len()),
                (&json!(true), 2)
            );
            break;
        }
    }
    monitor.process.type_line("refrehs");
    monitor.process.log.wait_for(&["there is no command \"refrehs\": type refresh or exit"]);

    porto.stop();
    let left = monitor.wait_for_boxes(&["lisboa"]);
    assert_eq!(left["message"], "[porto] disconnected");
    monitor.process.type_line("exit");
    assert_eq!(monitor.process.wait().code(), Some(0));
}

#[test]
fn the_table_has_a_line_for_each_box_and_needs_no_standard_input() {
    let stage = Stage::new();
    let rendezvous = Rendezvous::start(&stage, 0);
    let settings = json!({"name": "monitor", "key": "monitorkey", "url": url(rendezvous.port)});
    stage.write("monitor.json", &settings.to_string());
    let mut monitor = Process::start("monitor", &mut stage.matriz(&["monitor", "monitor.json"]));
    let place = format!("127.0.0.1:{}", rendezvous.port);
    monitor.out.wait_for(&[&format!("0 boxes at {place}: No clients connected")]);
    monitor.out.wait_for(&["  nobody is there"]);
    let setup = Setup::simulated(&stage, "porto", rendezvous.port, 0.0, 440);
    let _porto = Player::start(&stage, &setup);
    monitor.out.wait_for(&[&format!("1 box at {place}: [porto] connected with IP 127.0.0.1")]);
    let head = monitor.out.wait_for(&["  box    since     from       stream"]);
    let stream = format!("  127.0.0.1  reachable, port {}", setup.config["port"]);
    let row = monitor.out.wait_for(&["  porto  ", &stream]);
    assert_eq!(head.find("from"), row.find("127.0.0.1"), "{head}\n{row}");
    assert_eq!(monitor.terminate().code(), Some(0));
}

#[test]
fn a_lost_connection_is_told_and_made_again() {
    let stage = Stage::new();
    let mut rendezvous = Rendezvous::start(&stage, 0);
    let port = rendezvous.port;
    let mut monitor = Monitor::start(&stage, &[&url(port), "monitorkey", "--json"]);
    monitor.wait_for_boxes(&[]);
    rendezvous.process.kill();
    let lost = monitor.wait("that the connection is lost", |line| line["connected"] == false);
    assert!(lost["message"].as_str().unwrap().contains(&format!("127.0.0.1:{port}")), "{lost}");
    monitor.process.log.wait_for(&["WARN", &format!("127.0.0.1:{port}")]);
    let _again = Rendezvous::start(&stage, port);
    monitor.wait_for_boxes(&[]);
    monitor.process.type_line("exit");
    assert_eq!(monitor.process.wait().code(), Some(0));
}

#[test]
fn a_wrong_key_or_address_ends_it_with_one_sentence() {
    let stage = Stage::new();
    let rendezvous = Rendezvous::start(&stage, 0);
    let mut porto = Player::start(&stage, &Setup::simulated(&stage, "porto", rendezvous.port, 0.0, 440));
    porto.wait("it is connected", |status| status.rendezvous == "connected");
    stage.write("monitor.json", "{\"name\": \"monitor\",\n \"kee\": \"monitorkey\"}");
    let url = url(rendezvous.port);
    let wss = url.replace("ws:", "wss:");
    let unknown =
        "The rendezvous does not know this key: check \"key\", or ask who runs it. (a monitor needs the key";
    let cases: [(&[&str], &str); 9] = [
        (&[&url, "nonsense"], unknown),
        (
            &[&url, "key1"],
            "The key does not belong to the name: check \"name\" and \"key\". (a monitor needs the key",
        ),
        (&[&url, "mon\"key"], "the key has the character '\"'"),
        (&[&url], "the monitor's key is missing: matriz monitor ws://127.0.0.1:"),
        (&["http://127.0.0.1/config", "monitorkey"], "must begin with ws:// or wss://"),
        (
            &[&wss, "monitorkey", "--ca-crt", "no.crt"],
            "--ca-crt: no.crt, the file of \"ca_crt\", is not there",
        ),
        (&["monitor.json"], "monitor.json, line 2: there is no key \"kee\"; did you mean \"key\"?"),
        (
            &["monitor.json", "monitorkey"],
            "KEY goes with a URL; in the file monitor.json it is the key \"key\"",
        ),
        (&["none.json"], "none.json cannot be read"),
    ];
    for (arguments, expected) in cases {
        let mut monitor = Process::start("monitor", &mut stage.matriz(&[&["monitor"], arguments].concat()));
        assert_eq!(monitor.wait().code(), Some(1), "{arguments:?}");
        assert_eq!(monitor.out.to_the_end(), [""; 0], "{arguments:?}");
        let said = monitor.log.sentences();
        assert_eq!(said.len(), 1, "one sentence: {said:#?}");
        assert!(said[0].starts_with("matriz: ") && said[0].contains(expected), "{arguments:?}: {}", said[0]);
    }
    assert!(porto.is_there() && porto.last().rendezvous == "connected", "a box's key pushes no box out");
    porto.stop();
}
