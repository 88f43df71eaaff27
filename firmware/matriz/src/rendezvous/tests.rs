//! The line to the rendezvous in virtual time: each dial is answered by the test, over pipes in memory.

use super::tls::TlsFiles;
use super::*;
use tokio::io::DuplexStream;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::protocol::Role;

mod network;

type Pipe = WebSocketStream<DuplexStream>;

const HELLO: &str = r#"{"register":"","name":"porto","key":"key1","port":8554}"#;
const WELCOME: &str = r#"{"name":"porto","ip":"127.0.0.1","clients":[]}"#;

/// A box's line, and the test in the place of everything around it.
struct Stage {
    outgoing: mpsc::Sender<String>,
    events: mpsc::Receiver<Event>,
    dials: mpsc::UnboundedReceiver<oneshot::Sender<Result<Pipe, String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Stage {
    fn new() -> Stage {
        let (outgoing, outgoing_end) = mpsc::channel(8);
        let (events_end, events) = mpsc::channel(8);
        let (dialled, dials) = mpsc::unbounded_channel();
        let line = Line {
            place: "test:5000".to_owned(),
            hello: HELLO.to_owned(),
            outgoing: outgoing_end,
            events: events_end,
            doubtful: false,
        };
        let task = tokio::spawn(line.keep(move || {
            let (answer, answered) = oneshot::channel();
            dialled.send(answer).expect("the test lives longer");
            async { answered.await.unwrap_or_else(|_| Err("the test answers no more".to_owned())) }
        }));
        Stage { outgoing, events, dials, task }
    }

    /// Lets the next dial fail.
    async fn fail(&mut self, why: &str) {
        self.dials.recv().await.unwrap().send(Err(why.to_owned())).unwrap();
    }

    /// Lets the next dial succeed; the server's end after the registration.
    async fn accept(&mut self, buffer: usize) -> Pipe {
        let mut server = self.accept_unheard(buffer).await;
        assert_eq!(server.next().await.unwrap().unwrap(), Message::text(HELLO));
        server
    }

    async fn accept_unheard(&mut self, buffer: usize) -> Pipe {
        let dial = self.dials.recv().await.unwrap();
        let (near, far) = tokio::io::duplex(buffer);
        let client = Pipe::from_raw_socket(near, Role::Client, None).await;
        assert!(dial.send(Ok(client)).is_ok());
        Pipe::from_raw_socket(far, Role::Server, None).await
    }

    async fn event(&mut self) -> Event {
        self.events.recv().await.unwrap()
    }
}

fn disconnected(event: Event) -> String {
    match event {
        Event::Disconnected(why) => why,
        other => panic!("{other:?} is no disconnection"),
    }
}

fn refused(event: Event) -> String {
    match event {
        Event::Refused(why) => why,
        other => panic!("{other:?} is no refusal"),
    }
}

async fn refuse(server: &mut Pipe, reason: &'static str) {
    server.close(Some(CloseFrame { code: CloseCode::Policy, reason: reason.into() })).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn frames_go_both_ways_after_the_registration() {
    let mut stage = Stage::new();
    let mut server = stage.accept(4096).await;
    assert_eq!(stage.event().await, Event::Connected);
    server.send(Message::text(WELCOME)).await.unwrap();
    assert_eq!(stage.event().await, Event::Message(WELCOME.to_owned()));
    stage.outgoing.send("offer".to_owned()).await.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap(), Message::text("offer"));
}

#[tokio::test(start_paused = true)]
async fn a_quiet_but_living_connection_stays() {
    let mut stage = Stage::new();
    let mut server = stage.accept(4096).await;
    assert_eq!(stage.event().await, Event::Connected);
    let start = Instant::now();
    for ping in 1..=60 {
        // Reading answers the ping.
        assert_eq!(server.next().await.unwrap().unwrap(), Message::Ping(Bytes::new()));
        assert_eq!(start.elapsed().as_secs(), 10 * ping);
    }
    assert!(stage.events.try_recv().is_err(), "ten minutes without an event");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_silent_for_half_a_minute_is_given_up() {
    let mut stage = Stage::new();
    let server = stage.accept(4096).await; // and never read again, so pings have no answer
    assert_eq!(stage.event().await, Event::Connected);
    let start = Instant::now();
    let why = disconnected(stage.event().await);
    assert_eq!(why, "the rendezvous at test:5000 has said nothing for 30 s; trying again");
    assert_eq!(start.elapsed().as_secs(), 30);
    drop(server);
    stage.accept(4096).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_takes_nothing_is_given_up() {
    let mut stage = Stage::new();
    let _server = stage.accept_unheard(16).await; // the registration does not fit in the pipe
    let start = Instant::now();
    let why = disconnected(stage.event().await);
    assert_eq!(why, "the rendezvous at test:5000 takes no message for 5 s; trying again");
    assert!(start.elapsed() < PATIENCE + 2 * GOODBYE, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn tries_become_rarer_and_the_same_reason_is_told_once() {
    let mut stage = Stage::new();
    let mut start = Instant::now();
    stage.fail("nobody listens").await;
    for expected in [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0] {
        let dial = stage.dials.recv().await.unwrap();
        let waited = start.elapsed().as_secs_f64();
        assert!((0.799 * expected..=1.2 * expected + 0.002).contains(&waited), "{waited} for {expected}");
        start = Instant::now();
        dial.send(Err("nobody listens".to_owned())).unwrap();
    }
    assert_eq!(stage.event().await, Event::Disconnected("nobody listens".to_owned()));
    assert!(stage.events.try_recv().is_err());
    stage.fail("no route").await;
    assert_eq!(stage.event().await, Event::Disconnected("no route".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn after_a_good_connection_the_next_try_is_quick_again() {
    let mut stage = Stage::new();
    for _ in 0..6 {
        stage.fail("nobody listens").await;
    }
    let mut server = stage.accept(4096).await;
    for _ in 0..3 {
        server.next().await.unwrap().unwrap(); // three pings: 30 s
    }
    drop(server);
    let start = Instant::now();
    stage.accept(4096).await;
    assert!(start.elapsed() <= Duration::from_millis(301), "{:?}", start.elapsed());
    assert_eq!(stage.event().await, Event::Disconnected("nobody listens".to_owned()));
    assert_eq!(stage.event().await, Event::Connected);
    let why = disconnected(stage.event().await);
    assert!(why.starts_with("the connection to the rendezvous at test:5000 broke ("), "{why}");
    assert_eq!(stage.event().await, Event::Connected);
}

#[tokio::test(start_paused = true)]
async fn what_was_offered_without_a_connection_is_never_sent() {
    let mut stage = Stage::new();
    let dial = stage.dials.recv().await.unwrap();
    for _ in 0..20 {
        stage.outgoing.send("while dialling".to_owned()).await.unwrap(); // more than the queue holds
    }
    dial.send(Err("nobody listens".to_owned())).unwrap();
    assert!(matches!(stage.event().await, Event::Disconnected(_)));
    for _ in 0..20 {
        stage.outgoing.send("while waiting".to_owned()).await.unwrap();
    }
    let mut server = stage.accept(4096).await;
    assert_eq!(stage.event().await, Event::Connected);
    stage.outgoing.send("fresh".to_owned()).await.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap(), Message::text("fresh"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_tried_again_after_a_quarter_of_a_minute_and_told_once() {
    let mut stage = Stage::new();
    let mut server = stage.accept(4096).await;
    assert_eq!(stage.event().await, Event::Connected);
    server.send(Message::text(r#"{"error":"The key is unknown."}"#)).await.unwrap();
    let why = refused(stage.event().await);
    assert_eq!(why, "refused by the rendezvous at test:5000: The key is unknown.");
    let start = Instant::now();
    let mut server = stage.accept(4096).await;
    assert_eq!(start.elapsed().as_secs(), 15);
    refuse(&mut server, "The key is unknown.").await;
    let mut server = stage.accept(4096).await;
    assert!(stage.events.try_recv().is_err(), "neither a doubtful connection nor the same refusal is told");
    server.send(Message::text(WELCOME)).await.unwrap();
    assert_eq!(stage.event().await, Event::Connected, "now that it is accepted");
    assert_eq!(stage.event().await, Event::Message(WELCOME.to_owned()));
    refuse(&mut server, "").await;
    assert!(refused(stage.event().await).contains("are \"name\" and \"key\" in its clients.json?"));
}

#[tokio::test(start_paused = true)]
async fn another_box_cannot_refuse_in_the_rendezvous_s_name() {
    let mut stage = Stage::new();
    let mut server = stage.accept(4096).await;
    assert_eq!(stage.event().await, Event::Connected);
    let relayed = r#"{"error":"go away","name":"lisboa","clients":[]}"#;
    server.send(Message::text(relayed)).await.unwrap();
    assert_eq!(stage.event().await, Event::Message(relayed.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_close_is_told_with_its_reason_on_one_line() {
    let mut stage = Stage::new();
    let mut server = stage.accept(4096).await;
    assert_eq!(stage.event().await, Event::Connected);
    let reason = "going\u{1b}[31m home\n";
    server.close(Some(CloseFrame { code: CloseCode::Away, reason: reason.into() })).await.unwrap();
    let why = disconnected(stage.event().await);
    assert_eq!(why, "the rendezvous at test:5000 closed the connection: going[31m home");
    let mut server = stage.accept(4096).await;
    assert_eq!(stage.event().await, Event::Connected);
    server.close(None).await.unwrap();
    assert!(disconnected(stage.event().await).contains("without a word; are \"name\" and \"key\""));
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_a_goodbye_when_its_queue_is_closed() {
    let mut stage = Stage::new();
    let mut server = stage.accept(4096).await;
    assert_eq!(stage.event().await, Event::Connected);
    stage.outgoing.send("the last word".to_owned()).await.unwrap();
    drop(stage.outgoing);
    assert_eq!(server.next().await.unwrap().unwrap(), Message::text("the last word"));
    assert!(matches!(server.next().await.unwrap().unwrap(), Message::Close(_)));
    stage.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_without_a_connection_too() {
    let mut stage = Stage::new();
    stage.fail("nobody listens").await;
    drop(stage.outgoing);
    stage.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_in_the_handshake_is_left() {
    let endpoint = Endpoint::new("ws://localhost:5000/config", TlsFiles::default()).unwrap();
    let (near, _far) = tokio::io::duplex(4096);
    let deadline = Instant::now() + Duration::from_secs(5);
    let why = endpoint.shake_hands(near, deadline).await.err().unwrap();
    assert!(why.starts_with("localhost:5000 takes the connection but says nothing within 5 s; "), "{why}");
}
