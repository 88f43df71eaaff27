//! Monitors and web pages watch, several at a time, and nothing of them stays when they go.

mod common;

use common::{Client, Rendezvous, entry, open_port, registration};
use serde_json::{Value, json};

fn map(refresh: bool, porto: bool) -> Value {
    json!({"restart": false, "refresh": refresh, "porto": porto, "montemor": false, "lisboa": false, "marte": false})
}

async fn web_page(server: &Rendezvous) -> Client {
    let mut page = server.connect().await;
    page.send_twice(&json!({"register": "", "name": "webclient", "key": "whatever"})).await;
    page
}

#[tokio::test]
async fn monitors_are_told_of_every_join_and_leave_with_the_right_count() {
    let server = Rendezvous::start().await;
    let (_rtsp, port) = open_port().await;
    let mut monitors = Vec::new();
    for _ in 0..2 {
        let mut monitor = server.connect().await;
        monitor.send(&json!({"register": "", "name": "monitor", "key": "monitorkey"})).await;
        let nobody =
            json!({"message": "No clients connected", "info": "Connected clients: 0", "clients": []});
        assert_eq!(monitor.next().await, nobody);
        monitors.push(monitor);
    }
    let mut porto = server.join("porto", "key1", port).await;
    let joined = json!({
        "message": "[porto] connected with IP 127.0.0.1", "info": "Connected clients: 1",
        "clients": [entry("porto", true, port)],
    });
    for monitor in &mut monitors {
        assert_eq!(monitor.next().await, joined);
    }
    let first = monitors.remove(0);
    drop(first);
    porto.send(&json!({"deregister": "deregister"})).await;
    let left = json!({"message": "[porto] disconnected", "info": "Connected clients: 0", "clients": []});
    assert_eq!(monitors[0].next().await, left);
}

#[tokio::test]
async fn web_pages_are_told_at_once_and_at_every_change() {
    let server = Rendezvous::start().await;
    let (_rtsp, port) = open_port().await;
    let (mut staying, mut leaving) = (web_page(&server).await, web_page(&server).await);
    assert_eq!(staying.next().await, map(false, false));
    assert_eq!(leaving.next().await, map(false, false));
    leaving.send(&json!({"deregister": "deregister"})).await;
    assert_eq!(u16::from(leaving.closed().await.code), 1000);

    let mut porto = server.join("porto", "key1", port).await;
    assert_eq!(staying.next().await, map(false, true));
    porto.send(&json!({"refresh": true})).await;
    assert_eq!(staying.next().await, map(true, true));
    drop(porto);
    assert_eq!(staying.next().await, map(false, false));
}

#[tokio::test]
async fn watching_is_not_joining() {
    let server = Rendezvous::start().await;
    let (_rtsp, port) = open_port().await;
    let mut porto = server.join("porto", "key1", port).await;
    let mut page = web_page(&server).await;
    page.next().await;
    let mut monitor = server.connect().await;
    monitor.send(&json!({"register": "", "name": "monitor", "key": "monitorkey"})).await;
    monitor.next().await;
    drop((page, monitor));
    let mut lisboa = server.connect().await;
    lisboa.send(&registration("lisboa", "key3", port)).await;
    assert_eq!(lisboa.next().await["n_clients"], 2);
    assert_eq!(porto.next().await["name"], "lisboa", "nothing before this join");
}
