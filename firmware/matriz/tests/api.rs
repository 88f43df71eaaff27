//! The API of a box that plays, spoken by hand: over its Unix socket and by WebSocket. Whoever is stuck, greedy or
//! nonsensical is dropped, and nobody else notices.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::player::{Player, Setup, is_heard};
use common::{PATIENCE, Rendezvous, Stage, free_port};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

const TOKEN: &str = "a-token-of-this-test";

fn box_with_api(stage: &Stage, name: &str, port: u16) -> (Player, u16) {
    let mut setup = Setup::simulated(stage, name, port, 0.0, 500);
    let web = free_port();
    setup.config["api"] = json!({"socket": format!("{name}.api"), "port": web, "token": TOKEN});
    let mut player = Player::start(stage, &setup);
    player.wait("it plays", |status| status.cycles > 0);
    (player, web)
}

struct Socket(BufReader<UnixStream>);

impl Socket {
    fn open(stage: &Stage, name: &str) -> Socket {
        let stream = UnixStream::connect(stage.path(&format!("{name}.api"))).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Socket(BufReader::new(stream))
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    fn ask(&mut self, text: &str) -> Value {
        self.say(text);
        self.hear()
    }
}

fn request(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

#[test]
fn requests_batches_and_subscriptions_are_answered() {
    let stage = Stage::new();
    let (_porto, _) = box_with_api(&stage, "porto", free_port());
    let mut socket = Socket::open(&stage, "porto");
    assert_eq!(socket.ask(&request("status", &json!({})))["result"]["name"], "porto");
    assert_eq!(socket.ask(&request("mute", &json!({"on": true})))["result"], true);
    assert_eq!(socket.ask(&request("gain", &json!({"db": 99})))["error"]["code"], -32_000);
    let batch = format!("[{}, {}]", request("join", &json!({})), request("nonsense", &json!({})));
    let answers = socket.ask(&batch);
    assert_eq!((&answers[0]["result"], &answers[1]["error"]["code"]), (&json!(true), &json!(-32_601)));

    assert_eq!(socket.ask(&request("subscribe", &json!({"to": "changes"})))["result"], true);
    let first = socket.hear();
    assert_eq!((&first["method"], &first["params"]["name"]), (&json!("changes"), &json!("porto")), "at once");
    let mut muted = first["params"]["muted"].clone();
    while muted != true {
        muted = socket.hear()["params"]["muted"].clone(); // the engine's report has it within 0.1 s
    }
    Socket::open(&stage, "porto").ask(&request("mute", &json!({"on": false})));
    while socket.hear()["params"]["muted"] != false {}
    socket.ask(&request("unsubscribe", &json!({"to": "changes"})));
    socket.say(&request("subscribe", &json!({"to": "meters", "per_second": 30})));
    let meters = std::iter::repeat_with(|| socket.hear()).find(|heard| heard["method"] == "meters").unwrap();
    assert!(meters["params"]["peak_db"].as_f64().unwrap() > -20.0, "{meters}");
}

#[test]
fn who_is_stuck_greedy_or_nonsensical_is_dropped_and_nobody_notices() {
    let stage = Stage::new();
    let rendezvous = Rendezvous::start(&stage, 0);
    let (mut porto, web) = box_with_api(&stage, "porto", rendezvous.port);
    let (_lisboa, _) = box_with_api(&stage, "lisboa", rendezvous.port);
    let before = porto.wait_to_hear(&["lisboa"]);

    // Reads nothing: what is written to it fills the socket, and then it is dropped.
    let mut stuck = Socket::open(&stage, "porto");
    stuck.say(&request("subscribe", &json!({"to": "status", "per_second": 30})));
    // Asks without end.
    let greedy = Socket::open(&stage, "porto").0.into_inner();
    greedy.set_nonblocking(true).unwrap();
    let mut greedy_ended = false;
    let flood = format!("{}\n", request("status", &json!({}))).repeat(50);
    // A line without an end, what is no JSON, what is no text, and a TCP connection that says nothing.
    let mut endless = Socket::open(&stage, "porto");
    let _ = endless.0.get_mut().write_all(&[b' '; 70_000]);
    assert_eq!(endless.hear()["error"]["code"], -32_600);
    assert_eq!(endless.0.read(&mut [0; 1]).unwrap_or(0), 0, "and then it is closed");
    assert_eq!(Socket::open(&stage, "porto").ask("{]")["error"]["code"], -32_700);
    let mut bytes = Socket::open(&stage, "porto");
    bytes.0.get_mut().write_all(b"\xff\xfe\n").unwrap();
    assert_eq!(bytes.hear()["error"]["code"], -32_600);
    let _silent = TcpStream::connect(("127.0.0.1", web)).unwrap();

    let mut well_behaved = Socket::open(&stage, "porto");
    for _ in 0..40 {
        let _ = (&greedy).write(flood.as_bytes()).inspect_err(|error| {
            greedy_ended |= error.kind() != std::io::ErrorKind::WouldBlock;
        });
        let status = well_behaved.ask(&request("status", &json!({})));
        assert_eq!(status["result"]["name"], "porto");
        let now = porto.last();
        let later = now.uptime_ms + 100;
        porto.wait("time passes", |status| status.uptime_ms >= later);
    }
    let after = porto.last();
    assert!(is_heard(&after, "lisboa"), "{after:?}");
    let seconds = (after.uptime_ms - before.uptime_ms) / 1_000;
    let late = after.overruns - before.overruns;
    assert!(late <= 10 + seconds * 20, "{late} of {} cycles were late", after.cycles - before.cycles);
    // By now the box has let go of the one that does not read: it finds the end behind what it was sent.
    let mut rest = Vec::new();
    stuck.0.read_to_end(&mut rest).unwrap();
    assert!(!rest.is_empty());
}

fn web(port: u16, path: &str, header: Option<&str>) -> Result<WebSocket<TcpStream>, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("ws://127.0.0.1:{port}{path}").into_client_request().unwrap();
    if let Some(header) = header {
        request.headers_mut().insert("authorization", header.parse().unwrap());
    }
    client(request, stream).map(|(socket, _)| socket).map_err(|error| error.to_string())
}

#[test]
fn a_web_socket_needs_the_token() {
    let stage = Stage::new();
    let (_porto, port) = box_with_api(&stage, "porto", free_port());
    for (path, header) in [
        ("/api", None),
        ("/api?token=wrong", None),
        ("/api?token=", None),
        ("/api", Some("Bearer a-token-of-this-tes")),
        ("/api", Some(TOKEN)),
    ] {
        let refused = web(port, path, header).unwrap_err();
        assert!(refused.contains("401"), "{path} {header:?}: {refused}");
    }
    assert!(web(port, "/", None).unwrap_err().contains("404"));
    let bearer = format!("Bearer {TOKEN}");
    let in_address = format!("/api?token={TOKEN}");
    for (path, header) in [("/api", Some(bearer.as_str())), (in_address.as_str(), None)] {
        let mut socket = web(port, path, header).unwrap();
        socket.send(Message::text(request("status", &json!({})))).unwrap();
        let answer: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
        assert_eq!(answer["result"]["name"], "porto");
        socket.send(Message::text(request("subscribe", &json!({"to": "meters"})))).unwrap();
        let next = |socket: &mut WebSocket<TcpStream>| -> Value {
            serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap()
        };
        assert_eq!(next(&mut socket)["result"], true);
        assert_eq!(next(&mut socket)["method"], "meters");
    }
    // A message that is too long ends the connection.
    let mut socket = web(port, &in_address, None).unwrap();
    let _ = socket.send(Message::text(" ".repeat(70_000)));
    assert!(std::iter::repeat_with(|| socket.read()).take(3).any(|read| read.is_err()));
}

#[test]
fn a_port_without_a_token_is_a_mistake_in_the_settings() {
    let stage = Stage::new();
    let mut setup = Setup::simulated(&stage, "porto", free_port(), 0.0, 500);
    setup.config["api"] = json!({"port": 8700});
    let mut porto = Player::start(&stage, &setup);
    assert_ne!(porto.process.wait().code(), Some(0));
    porto.process.log.wait_for(&["porto.json, line", "\"port\" needs a \"token\""]);
}
