//! Oversized, silent, dead, flooding and never-reading connections cost nobody else anything.

mod common;

use common::{Client, Rendezvous, answer, entry, open_port, registration, within};
use futures_util::{SinkExt, StreamExt};
use proto::rendezvous::FRAME_LIMIT;
use rendezvous::room::Limits;
use rendezvous::server::Settings;
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_frame_above_the_limit_ends_its_sender_and_one_at_the_limit_is_relayed() {
    let server = Rendezvous::start().await;
    let (_rtsp, port) = open_port().await;
    let mut porto = server.join("porto", "key1", port).await;
    let mut lisboa = server.join("lisboa", "key3", port).await;
    porto.next().await;

    let longest = json!({"long": "x".repeat(FRAME_LIMIT - 11)}).to_string();
    assert_eq!(longest.len(), FRAME_LIMIT);
    lisboa.send_text(&longest).await;
    assert_eq!(porto.next().await["long"].as_str().unwrap().len(), FRAME_LIMIT - 11);

    lisboa.send_text(&format!("{longest} ")).await;
    assert!(lisboa.refused(1009).await.contains("at most 65536 are read"));
    assert_eq!(porto.next().await["message"], "[lisboa] disconnected from config server");
    let mut stranger = server.connect().await;
    stranger.send_text(&format!("{longest} ")).await;
    stranger.refused(1009).await;
    server.join("lisboa", "key3", port).await;
    assert_eq!(porto.next().await["message"], "[lisboa] connected to config server");
}

#[tokio::test]
async fn who_says_nothing_is_refused_in_time() {
    let limits = Limits { registration: SHORT, ..Limits::default() };
    let server = Rendezvous::start_with(Settings { handshake: SHORT, limits, ..Settings::default() }).await;
    let (_rtsp, port) = open_port().await;
    let mut porto = server.join("porto", "key1", port).await;

    assert_eq!(answer(server.address, b"").await, "", "no handshake at all");
    assert_eq!(answer(server.address, b"GET /config HTTP/1.1\r\nUpgr").await, "", "half a handshake");
    let mut silent = server.connect().await;
    assert_eq!(silent.refused(1008).await, "No registration came within 0.1 s.");

    server.join("lisboa", "key3", port).await;
    assert_eq!(porto.next().await["name"], "lisboa", "nothing before this join");
}

#[tokio::test]
async fn a_dead_connection_is_found_and_counts_as_left() {
    let settings = Settings { ping: SHORT, silence: Duration::from_secs(1), ..Settings::default() };
    let server = Rendezvous::start_with(settings).await;
    let (_rtsp, port) = open_port().await;
    let mut porto = server.join("porto", "key1", port).await;
    // Nobody polls this one from here on, so it does not answer pings; porto does while it waits.
    let mut dead = server.join("lisboa", "key3", port).await;
    assert_eq!(porto.next().await["message"], "[lisboa] connected to config server");
    assert_eq!(porto.next().await["message"], "[lisboa] disconnected from config server");
    assert!(dead.refused(1008).await.starts_with("Nothing came for 1 s"));
}

#[tokio::test]
async fn a_client_that_never_reads_is_dropped_and_delays_nobody() {
    let settings = Settings { queue: 16, ..Settings::default() };
    let server = Rendezvous::start_thin(settings).await;
    let (_rtsp, port) = open_port().await;
    let mut porto = server.join("porto", "key1", port).await;
    let mut montemor = server.join("montemor", "key2", port).await;
    porto.next().await;

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(server.address).await.unwrap();
    let url = format!("ws://{}/config", server.address);
    let (mut lisboa, _) = client_async(url, stream).await.unwrap();
    let register = registration("lisboa", "key3", port).to_string();
    lisboa.send(Message::text(register)).await.unwrap();
    for other in [&mut porto, &mut montemor] {
        assert_eq!(other.next().await["message"], "[lisboa] connected to config server");
    }

    // Frames until the server gives lisboa up. Montemor reads, so each one reaches it at once.
    let list = json!([entry("porto", true, port), entry("montemor", true, port)]);
    for number in 0.. {
        assert!(number < 400, "the queue and the kernel's buffers have been full for long");
        porto.send(&json!({"number": number, "padding": "x".repeat(2000)})).await;
        let heard = montemor.next().await;
        if heard["message"] == "[lisboa] disconnected from config server" {
            assert_eq!(heard["clients"], list);
            assert!(number > 10, "lisboa had its chance");
            break;
        }
        assert_eq!(heard["number"], number);
    }
    assert_eq!(porto.next().await["message"], "[lisboa] disconnected from config server");
}

#[tokio::test]
async fn a_flood_is_read_more_slowly_and_nothing_of_it_is_lost() {
    let server = Rendezvous::start().await;
    let (_rtsp, port) = open_port().await;
    let mut porto = server.join("porto", "key1", port).await;
    let lisboa = server.join("lisboa", "key3", port).await;
    porto.next().await;
    let start = Instant::now();
    let (mut sink, _stream) = lisboa.socket.split();
    let flood = tokio::spawn(async move {
        for number in 0..160 {
            sink.send(Message::text(json!({ "number": number }).to_string())).await.unwrap();
        }
        sink
    });
    for number in 0..160 {
        assert_eq!(porto.next().await["number"], number);
    }
    // 128 at once and then 64 in a second.
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    drop(flood.await);
}

#[tokio::test]
async fn a_crowd_of_strangers_keeps_nobody_out() {
    let hour = Duration::from_secs(3600);
    let server =
        Rendezvous::start_with(Settings { strangers: 4, handshake: hour, ..Settings::default() }).await;
    let (_rtsp, port) = open_port().await;
    let mut porto = server.join("porto", "key1", port).await;
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(TcpStream::connect(server.address).await.unwrap());
    }
    let _lisboa: Client = server.join("lisboa", "key3", port).await;
    assert_eq!(porto.next().await["name"], "lisboa");
    let mut rest = [0; 1];
    assert!(matches!(within(crowd[0].read(&mut rest)).await, Ok(0) | Err(_)), "the oldest had to go");
}

#[tokio::test]
async fn who_wants_no_websocket_gets_words() {
    let server = Rendezvous::start().await;
    let get = async |request: String| answer(server.address, request.as_bytes()).await;
    let home = get("GET / HTTP/1.1\r\nHost: a\r\n\r\n".into()).await;
    assert!(home.starts_with("HTTP/1.1 404 Not Found\r\n"), "{home}");
    assert!(home.ends_with("\r\n\r\nThere is only /config here, for WebSockets.\n"), "{home}");
    let page = get("GET /config HTTP/1.1\r\nHost: a\r\n\r\n".into()).await;
    assert!(page.starts_with("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n"), "{page}");
    let garbage = get("\u{16}\u{3}\u{1}\u{2}\u{0}\r\n\r\n".into()).await;
    assert!(garbage.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{garbage}");
    let endless = get(format!("GET /config HTTP/1.1\r\nX: {}", "x".repeat(8192))).await;
    assert!(endless.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{endless}");
}

#[tokio::test]
async fn a_wrong_path_is_no_websocket() {
    let server = Rendezvous::start().await;
    let error = tokio_tungstenite::connect_async(format!("ws://{}/other", server.address)).await.unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
}
