//! A client on a library that this project did not write sees every message of the original's protocol, in
//! both encodings: Python's `websocket-client` (Debian's python3-websocket).
//!
//! `original.py` connects and registers as the original does, and prints what comes; what it must see is
//! written here, message by message, as docs/protocol.md has it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use certificates::band::Band;
use common::{Rendezvous, closed_port, entry, open_port, within};
use rendezvous::configuration::Configuration;
use rendezvous::server::Settings;
use rendezvous::tls::Tls;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How a client writes what it sends.
const ENCODINGS: [&str; 2] = ["plain", "twice"];

/// A running `original.py`; killed by its id when dropped, also when a test panics.
struct Original {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Original {
    /// Connects and registers; `port` 0 says none.
    fn start(server: &Rendezvous, encoding: &str, name: &str, key: &str, port: u16) -> Original {
        Original::run(&format!("ws://{}/config", server.address), encoding, name, key, port, &[])
    }

    fn run(url: &str, encoding: &str, name: &str, key: &str, port: u16, files: &[&Path]) -> Original {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/original.py");
        let mut command = Command::new("/usr/bin/python3"); // Debian's, which has Debian's packages
        command.args([script, url, encoding, name, key, &port.to_string()]).args(files);
        command.env_remove("http_proxy").env_remove("https_proxy").env_remove("all_proxy");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("Debian's python3 is there: install python3-websocket");
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Original { child, input, output: BufReader::new(output).lines() }
    }

    async fn line(&mut self) -> String {
        let line = within(self.output.next_line()).await.unwrap();
        line.expect("it says something: install python3-websocket, if it complains that there is none")
    }

    /// The next message.
    async fn next(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("a message was expected, not {line}"))
    }

    async fn send(&mut self, value: &Value) {
        self.input.write_all(format!("{value}\n").as_bytes()).await.unwrap();
    }

    /// Waits until the server has closed the connection and the program has ended: what it says of that.
    async fn closed(mut self) -> String {
        let line = self.line().await;
        assert!(line.starts_with("closed "), "a close was expected, not {line}");
        assert_eq!(within(self.output.next_line()).await.unwrap(), None, "nothing comes after it");
        within(self.child.wait()).await.unwrap();
        line
    }
}

#[tokio::test]
async fn it_is_welcomed_and_hears_of_joins_leaves_relays_and_refreshes_in_both_encodings() {
    for encoding in ENCODINGS {
        let server = Rendezvous::start().await;
        let ((_porto_rtsp, open), (_lisboa_rtsp, closed)) = (open_port().await, closed_port());
        let mut porto = Original::start(&server, encoding, "porto", "key1", open);
        let welcome = json!({
            "name": "porto", "ip": "127.0.0.1", "port": open, "stream": true,
            "message": format!("Port {open} at 127.0.0.1 is open"),
            "clients": [entry("porto", true, open)], "n_clients": 1,
        });
        assert_eq!(porto.next().await, welcome, "{encoding}");

        let mut lisboa = Original::start(&server, encoding, "lisboa", "key3", closed);
        let both = json!([entry("porto", true, open), entry("lisboa", false, closed)]);
        let welcome = lisboa.next().await;
        let message = welcome["message"].as_str().unwrap();
        assert!(message.contains("refused"), "the socket's error text: {welcome}");
        let expected = json!({
            "name": "lisboa", "ip": "127.0.0.1", "port": closed, "stream": false, "message": message,
            "clients": both, "n_clients": 2,
        });
        assert_eq!(welcome, expected, "{encoding}");
        let joined =
            json!({"message": "[lisboa] connected to config server", "clients": both, "name": "lisboa"});
        assert_eq!(porto.next().await, joined, "{encoding}");

        lisboa.send(&json!({"tempo": 96, "onde": "São João"})).await;
        let relayed = json!({"tempo": 96, "onde": "São João", "clients": both, "name": "lisboa"});
        assert_eq!(porto.next().await, relayed, "{encoding}");
        porto.send(&json!({"refresh": true})).await;
        let refresh = json!({"refresh": true, "clients": both, "name": "porto"});
        assert_eq!(lisboa.next().await, refresh, "{encoding}");

        lisboa.send(&json!({"deregister": "deregister"})).await;
        assert_eq!(lisboa.closed().await, "closed 1000 Deregistered.", "{encoding}");
        let left = json!({
            "message": "[lisboa] disconnected from config server",
            "clients": [entry("porto", true, open)], "name": "lisboa",
        });
        assert_eq!(porto.next().await, left, "{encoding}");
        server.stop().await;
        assert_eq!(porto.closed().await, "closed 1001 The rendezvous ends; connect again later.");
    }
}

#[tokio::test]
async fn its_monitor_and_its_web_page_are_told_at_once_and_at_every_change() {
    for encoding in ENCODINGS {
        let server = Rendezvous::start().await;
        let (_rtsp, open) = open_port().await;
        // The original's monitor sends its key as its name.
        let mut monitor = Original::start(&server, encoding, "monitorkey", "monitorkey", 0);
        let nobody =
            json!({"message": "No clients connected", "info": "Connected clients: 0", "clients": []});
        assert_eq!(monitor.next().await, nobody, "{encoding}");
        let mut page = Original::start(&server, encoding, "webclient", "whatever", 0);
        let map = |refresh: bool, porto: bool| {
            json!({
                "restart": false, "refresh": refresh,
                "porto": porto, "montemor": false, "lisboa": false, "marte": false,
            })
        };
        assert_eq!(page.next().await, map(false, false), "{encoding}");

        let mut porto = Original::start(&server, encoding, "porto", "key1", open);
        porto.next().await;
        let joined = json!({
            "message": "[porto] connected with IP 127.0.0.1", "info": "Connected clients: 1",
            "clients": [entry("porto", true, open)],
        });
        assert_eq!(monitor.next().await, joined, "{encoding}");
        assert_eq!(page.next().await, map(false, true), "{encoding}");

        let refresh =
            |who: &str| json!({"refresh": true, "clients": [entry("porto", true, open)], "name": who});
        monitor.send(&json!({"refresh": true})).await;
        assert_eq!(porto.next().await, refresh("monitor"), "{encoding}");
        assert_eq!(page.next().await, map(true, true), "{encoding}");
        page.send(&json!({"refresh": true})).await;
        assert_eq!(porto.next().await, refresh("webclient"), "{encoding}");
        assert_eq!(page.next().await, map(true, true), "{encoding}");

        porto.send(&json!({"deregister": "deregister"})).await;
        porto.closed().await;
        let left = json!({"message": "[porto] disconnected", "info": "Connected clients: 0", "clients": []});
        assert_eq!(monitor.next().await, left, "{encoding}");
        assert_eq!(page.next().await, map(false, false), "{encoding}");
    }
}

#[tokio::test]
async fn what_it_does_wrong_is_told_in_a_message_and_in_the_close_in_both_encodings() {
    for encoding in ENCODINGS {
        let server = Rendezvous::start().await;
        let unknown = "The rendezvous does not know this key: check \"key\", or ask who runs it.";
        let mixed_up = "The key does not belong to the name: check \"name\" and \"key\".";
        for (name, key, sentence) in [("porto", "key9", unknown), ("porto", "key3", mixed_up)] {
            let mut refused = Original::start(&server, encoding, name, key, 8554);
            assert_eq!(refused.next().await, json!({"error": sentence, "message": sentence}), "{encoding}");
            assert_eq!(refused.closed().await, format!("closed 1008 {sentence}"), "{encoding}");
        }
        let (_rtsp, open) = open_port().await;
        let mut first = Original::start(&server, encoding, "porto", "key1", open);
        first.next().await;
        let mut second = Original::start(&server, encoding, "porto", "key1", open);
        second.next().await;
        let sentence =
            "Another connection has registered with this key, so this one ends: give each box its own.";
        assert_eq!(first.next().await, json!({"error": sentence, "message": sentence}), "{encoding}");
        first.closed().await;
    }
}

#[tokio::test]
async fn it_comes_in_by_wss_with_its_certificate_and_not_without() {
    let band = Band::new("our band");
    let (server_crt, server_pem) = band.sign("server", "127.0.0.1");
    let (crt, pem) = band.sign("porto", "porto");
    let text = json!({
        "client_keys": [{"name": "porto", "key": "key1"}],
        "server_crt": server_crt, "server_pem": server_pem, "ca_crt": band.authority(),
    });
    let configuration = Configuration::parse(&text.to_string(), Path::new("clients.json")).unwrap();
    let tls = Tls::read(&configuration.tls.unwrap()).unwrap();
    let server = Rendezvous::start_tls(tls, Settings::default()).await;
    let (_rtsp, open) = open_port().await;
    let url = format!("wss://{}/config", server.address);
    for encoding in ENCODINGS {
        let files = [band.authority(), crt.clone(), pem.clone()];
        let files: Vec<&Path> = files.iter().map(AsRef::as_ref).collect();
        let mut porto = Original::run(&url, encoding, "porto", "key1", open, &files);
        assert_eq!(porto.next().await["clients"], json!([entry("porto", true, open)]), "{encoding}");
        porto.send(&json!({"deregister": "deregister"})).await;
        porto.closed().await;
    }
    let mut without = Original::run(&url, "plain", "porto", "key1", open, &[&band.authority()]);
    let error = without.line().await;
    assert!(error.starts_with("error: ") && error.contains("CERTIFICATE_REQUIRED"), "{error}");
    assert_eq!(without.closed().await, "closed None None", "it never was connected");
}
