//! Boxes are introduced to each other: the original's transcripts, in both encodings, over real sockets.

mod common;

use common::{Client, Rendezvous, closed_port, entry, open_port, registration, within};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};

async fn introduced(send: impl AsyncFn(&mut Client, &Value)) {
    let server = Rendezvous::start().await;
    let (_porto_rtsp, open) = open_port().await;
    let (_lisboa_rtsp, closed) = closed_port();

    let mut porto = server.connect().await;
    send(&mut porto, &registration("porto", "key1", open)).await;
    let porto_entry = entry("porto", true, open);
    let welcome = json!({
        "name": "porto", "ip": "127.0.0.1", "port": open, "stream": true,
        "message": format!("Port {open} at 127.0.0.1 is open"),
        "clients": [porto_entry], "n_clients": 1,
    });
    assert_eq!(porto.next().await, welcome);

    let mut lisboa = server.connect().await;
    send(&mut lisboa, &registration("lisboa", "key3", closed)).await;
    let both = json!([porto_entry, entry("lisboa", false, closed)]);
    let welcome = lisboa.next().await;
    assert_eq!((&welcome["stream"], &welcome["n_clients"]), (&json!(false), &json!(2)));
    assert_eq!(welcome["clients"], both);
    assert!(welcome["message"].to_string().contains("refused"), "the socket's error text: {welcome}");
    let joined = json!({"message": "[lisboa] connected to config server", "clients": both, "name": "lisboa"});
    assert_eq!(porto.next().await, joined);

    send(&mut porto, &json!({"refresh": true})).await;
    assert_eq!(lisboa.next().await, json!({"refresh": true, "clients": both, "name": "porto"}));

    let offer = json!({"matriz": {"media": ["127.0.0.1:8600"], "codecs": ["opus"], "nome": "São João"}});
    send(&mut lisboa, &offer).await;
    let relayed = json!({"matriz": offer["matriz"], "name": "lisboa", "clients": both});
    assert_eq!(porto.next().await, relayed);

    send(&mut lisboa, &json!({"deregister": "deregister"})).await;
    assert_eq!(u16::from(lisboa.closed().await.code), 1000);
    let left = json!({"message": "[lisboa] disconnected from config server", "clients": [porto_entry], "name": "lisboa"});
    assert_eq!(porto.next().await, left);
    server.stop().await;
}

#[tokio::test]
async fn in_plain_json() {
    introduced(async |client, value| client.send(value).await).await;
}

#[tokio::test]
async fn in_a_json_string_that_holds_json() {
    introduced(async |client, value| client.send_twice(value).await).await;
}

#[tokio::test]
async fn the_list_is_in_the_order_of_the_configuration_whoever_comes_first() {
    let server = Rendezvous::start().await;
    let (_rtsp, port) = open_port().await;
    let mut clients = Vec::new();
    for (name, key) in [("marte", "key666"), ("lisboa", "key3"), ("montemor", "key2")] {
        clients.push(server.join(name, key, port).await);
    }
    let mut porto = server.connect().await;
    porto.send(&registration("porto", "key1", port)).await;
    let names = ["porto", "montemor", "lisboa", "marte"].map(|name| entry(name, true, port));
    assert_eq!(porto.next().await["clients"], json!(names));
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_leave() {
    let server = Rendezvous::start().await;
    let (_rtsp, port) = open_port().await;
    let mut porto = server.join("porto", "key1", port).await;
    let lisboa = server.join("lisboa", "key3", port).await;
    porto.next().await;
    drop(lisboa);
    assert_eq!(porto.next().await["message"], "[lisboa] disconnected from config server");
}

#[tokio::test]
async fn a_client_without_a_port_is_tried_at_the_documented_one() {
    let server = Rendezvous::start().await;
    let mut porto = server.connect().await;
    porto.send(&json!({"register": "", "name": "porto", "key": "key1"})).await;
    let welcome = porto.next().await;
    assert_eq!((&welcome["port"], &welcome["clients"][0]["port"]), (&json!(8554), &json!(8554)));
}

/// A listener whose queue is full lets connections hang, as a firewall does.
#[tokio::test]
async fn a_box_whose_port_does_not_answer_is_introduced_all_the_same() {
    let server = Rendezvous::start().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let rtsp = socket.listen(1).unwrap();
    let address = rtsp.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(std::time::Duration::from_millis(50), TcpStream::connect(address)).await
    {
        queue.push(stream.unwrap());
    }

    let (_rtsp, port) = open_port().await;
    let mut porto = server.join("porto", "key1", port).await;
    let mut lisboa = server.connect().await;
    lisboa.send(&registration("lisboa", "key3", address.port())).await;
    let welcome = lisboa.next().await;
    assert_eq!(welcome["stream"], false);
    assert_eq!(welcome["message"], format!("Port {} at 127.0.0.1 has not answered yet", address.port()));
    assert_eq!(porto.next().await["message"], "[lisboa] connected to config server");

    // Now it answers: the kernel's next attempt, about a second after the first, gets through.
    let answering = tokio::spawn(async move {
        loop {
            let _ = rtsp.accept().await;
        }
    });
    let refresh = json!({
        "refresh": true, "message": format!("Port {} at 127.0.0.1 is open", address.port()),
        "clients": [entry("porto", true, port), entry("lisboa", true, address.port())], "name": "lisboa",
    });
    assert_eq!(lisboa.next().await, refresh);
    assert_eq!(porto.next().await, refresh);
    answering.abort();
}

#[tokio::test]
async fn when_the_rendezvous_ends_everybody_is_told_and_it_ends_at_once() {
    let server = Rendezvous::start().await;
    let (_rtsp, port) = open_port().await;
    let mut porto = server.join("porto", "key1", port).await;
    let stranger = server.connect().await;
    let ending = tokio::spawn(server.stop());
    assert_eq!(u16::from(porto.closed().await.code), 1001);
    within(ending).await.unwrap();
    drop(stranger);
}
