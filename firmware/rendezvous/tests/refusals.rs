//! Who may not come is told why, and nobody else hears of it.

mod common;

use common::{Rendezvous, entry, open_port, registration};
use serde_json::json;

#[tokio::test]
async fn wrong_keys_names_and_first_messages_are_refused_without_a_broadcast() {
    let server = Rendezvous::start().await;
    let (_rtsp, port) = open_port().await;
    let mut porto = server.join("porto", "key1", port).await;
    let mut monitor = server.connect().await;
    monitor.send(&json!({"register": "", "name": "monitor", "key": "monitorkey"})).await;
    monitor.next().await;

    let frames = [
        (registration("lisboa", "key9", port).to_string(), "does not know this key"),
        (registration("lisboa", "key2", port).to_string(), "does not belong to the name"),
        (json!({"register": "", "name": "lisboa"}).to_string(), "has no \"key\""),
        (json!({"register": "", "name": "lisboa", "key": "key3", "port": 0}).to_string(), "from 1 to 65535"),
        (json!({"refresh": true}).to_string(), "first message must register"),
        (json!({}).to_string(), "empty JSON object"),
        ("[1, 2]".to_owned(), "an array"),
        ("{\"register\": \"\", ".to_owned(), "not JSON"),
        ("\u{0}\u{fffd}".to_owned(), "not JSON"),
    ];
    for (frame, expected) in frames {
        let mut refused = server.connect().await;
        refused.send_text(&frame).await;
        let sentence = refused.refused(1008).await;
        assert!(sentence.contains(expected), "{frame}: {sentence}");
    }

    let _lisboa = server.join("lisboa", "key3", port).await;
    let list = json!([entry("porto", true, port), entry("lisboa", true, port)]);
    let heard = porto.next().await;
    assert_eq!((&heard["name"], &heard["clients"]), (&json!("lisboa"), &list), "nothing before this join");
    assert_eq!(monitor.next().await["info"], "Connected clients: 2", "nothing before this join");
}

#[tokio::test]
async fn nonsense_from_a_registered_client_is_ignored() {
    let server = Rendezvous::start().await;
    let (_rtsp, port) = open_port().await;
    let mut porto = server.join("porto", "key1", port).await;
    let mut lisboa = server.join("lisboa", "key3", port).await;
    porto.next().await;
    for frame in ["", "{", "{}", "null", "\"\"", "\"{\\\"a\\\"\""] {
        lisboa.send_text(frame).await;
    }
    lisboa.send(&registration("lisboa", "key3", port)).await;
    lisboa.send(&json!({"still": "here"})).await;
    assert_eq!(porto.next().await["still"], "here", "nothing before this");
}

#[tokio::test]
async fn a_second_connection_with_a_key_replaces_the_first_cleanly() {
    let server = Rendezvous::start().await;
    let ((_old_rtsp, old_port), (_new_rtsp, new_port)) = (open_port().await, open_port().await);
    let mut lisboa = server.join("lisboa", "key3", old_port).await;
    let mut old = server.join("porto", "key1", old_port).await;
    lisboa.next().await;

    let mut new = server.connect().await;
    new.send(&registration("porto", "key1", new_port)).await;
    assert!(old.refused(1008).await.starts_with("Another connection has registered with this key"));
    let list = json!([entry("porto", true, new_port), entry("lisboa", true, old_port)]);
    let welcome = new.next().await;
    assert_eq!((&welcome["clients"], &welcome["n_clients"]), (&list, &json!(2)));
    let joined = json!({"message": "[porto] connected to config server", "clients": list, "name": "porto"});
    assert_eq!(lisboa.next().await, joined, "no leave");

    drop(old);
    new.send(&json!({"hello": 1})).await;
    assert_eq!(lisboa.next().await["hello"], 1, "the old connection's end is not heard");
}
