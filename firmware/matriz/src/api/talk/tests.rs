//! A program's side of a talk, on paper: in virtual time, without a socket.

use super::*;
use crate::door::{Inside, Levels, door};
use proto::control::{Command, Reading};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A wire of paper; `room` texts lie on the way before the writer must wait.
struct Paper {
    from: mpsc::UnboundedReceiver<String>,
    to: mpsc::Sender<String>,
}

impl Wire for Paper {
    async fn next(&mut self) -> Heard {
        self.from.recv().await.map_or(Heard::Over, Heard::Text)
    }

    async fn send(&mut self, text: &str) -> bool {
        self.to.send(text.to_owned()).await.is_ok()
    }
}

struct Program {
    say: mpsc::UnboundedSender<String>,
    heard: mpsc::Receiver<String>,
    inside: Inside,
    talk: JoinHandle<()>,
}

impl Program {
    fn new(room: usize) -> Program {
        let (door, inside) = door();
        let (say, from) = mpsc::unbounded_channel();
        let (to, heard) = mpsc::channel(room);
        let talk = tokio::spawn(talk(door, Paper { from, to }));
        Program { say, heard, inside, talk }
    }

    fn say(&self, text: &str) {
        self.say.send(text.to_owned()).unwrap();
    }

    async fn hear(&mut self) -> Value {
        serde_json::from_str(&self.heard.recv().await.unwrap()).unwrap()
    }

    async fn ask(&mut self, text: &str) -> Value {
        self.say(text);
        self.hear().await
    }
}

fn request(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

fn status(level_db: f32) -> Status {
    let peer =
        PeerStatus { name: "lisboa".to_owned(), level_db, peak_db: level_db + 3.0, ..PeerStatus::default() };
    Status {
        name: "porto".to_owned(),
        level_db,
        uptime_ms: level_db.abs() as u64,
        peers: vec![peer],
        ..Status::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_answered_together_and_notifications_are_not() {
    let mut program = Program::new(8);
    program.inside.show(status(-20.0));
    program.say(
        r#"[{"jsonrpc": "2.0", "id": "a", "method": "status"}, {"jsonrpc": "2.0", "method": "leave"}, 3,
            {"jsonrpc": "2.0", "id": 2, "method": "gain", "params": {"db": 99}}]"#,
    );
    let wish = program.inside.next().await;
    assert_eq!(wish.command, Command::Leave);
    wish.answer.send(Ok(())).unwrap();
    let wish = program.inside.next().await;
    assert_eq!(wish.command, Command::Gain { db: 99.0 });
    wish.answer.send(Err("too much".to_owned())).unwrap();
    let answers = program.hear().await;
    assert_eq!(answers.as_array().unwrap().len(), 3, "{answers}");
    assert_eq!((&answers[0]["id"], &answers[0]["result"]["name"]), (&json!("a"), &json!("porto")));
    assert_eq!(answers[1]["error"]["code"], rpc::NO_REQUEST);
    assert_eq!(answers[2]["error"], json!({"code": REFUSED, "message": "too much"}));
    // A batch of nothing but notifications, even nonsensical ones, has no answer at all.
    program.say(r#"[{"jsonrpc": "2.0", "method": "nonsense"}]"#);
    assert_eq!(program.ask(&request("status", &json!({}))).await["id"], 1);
    assert_eq!(program.ask(r#"[{"jsonrpc": "2.0", "id": 7, "method": "status"}]"#).await[0]["id"], 7);
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_and_moving_meters_are_none() {
    let mut program = Program::new(8);
    program.inside.show(status(-20.0));
    assert_eq!(program.ask(&request("subscribe", &json!({"to": "changes"}))).await["result"], true);
    let first = program.hear().await;
    assert_eq!(
        (&first["method"], &first["params"]["level_db"]),
        (&json!("changes"), &json!(-20.0)),
        "at once"
    );
    for level in [-22.0, -23.0, -24.0] {
        program.inside.show(status(level));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    program.inside.show(Status { muted: true, ..status(-25.0) });
    let second = program.hear().await;
    assert_eq!((&second["params"]["muted"], &second["params"]["level_db"]), (&json!(true), &json!(-25.0)));
    program.ask(&request("unsubscribe", &json!({"to": "changes"}))).await;
    program.inside.show(status(-26.0));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(program.heard.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn meters_come_as_often_as_was_wished() {
    for (per_second, least, most) in [(1, 5, 6), (30, 149, 151)] {
        let mut program = Program::new(1_000);
        program.inside.show(status(-20.0));
        let reading = Reading { level_db: -20.0, peak_db: -17.0 };
        program.inside.show_levels(Levels::new(reading, [("lisboa", reading)].into_iter()));
        let wish = json!({"to": "meters", "per_second": per_second});
        assert_eq!(program.ask(&request("subscribe", &wish)).await["result"], true);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let mut count = 0;
        while let Ok(text) = program.heard.try_recv() {
            let meters: Value = serde_json::from_str(&text).unwrap();
            let lisboa = json!([{"name": "lisboa", "level_db": -20.0, "peak_db": -17.0}]);
            assert_eq!((&meters["method"], &meters["params"]["peers"]), (&json!("meters"), &lisboa));
            count += 1;
        }
        assert!((least..=most).contains(&count), "{count} in five seconds");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_dropped() {
    let program = Program::new(4);
    program.inside.show(status(-20.0));
    program.say(&request("subscribe", &json!({"to": "status", "per_second": 30})));
    let begun = Instant::now();
    program.talk.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(program.say.send("hello?".to_owned()).is_err());
}

#[tokio::test(start_paused = true)]
async fn who_asks_too_much_is_read_slowly() {
    let mut program = Program::new(10_000);
    program.inside.show(status(-20.0));
    for _ in 0..1_200 {
        program.say(&request("status", &json!({})));
    }
    let begun = Instant::now();
    for _ in 0..1_200 {
        program.hear().await;
    }
    let took = begun.elapsed().as_secs_f64();
    assert!((9.0..11.0).contains(&took), "{took} s");
    // A batch counts as what is in it.
    let one = request("status", &json!({}));
    let batch = format!("[{}]", vec![one.as_str(); rpc::MOST].join(","));
    let begun = Instant::now();
    for _ in 0..10 {
        program.ask(&batch).await;
    }
    assert!(begun.elapsed() > Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_answered_and_the_end_of_the_box_is_the_end() {
    let mut program = Program::new(8);
    let answer = program.ask("what?").await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(rpc::NO_JSON)));
    program.inside.show(status(-20.0));
    program.ask(&request("subscribe", &json!({"to": "changes"}))).await;
    drop(program.inside);
    program.talk.await.unwrap();
}
