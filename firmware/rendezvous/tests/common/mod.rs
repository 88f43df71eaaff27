//! A real rendezvous on loopback and clients that speak to it, for the promises in the files beside.
#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests; each file uses its own part")]

use futures_util::{SinkExt, StreamExt};
use rendezvous::configuration::Configuration;
use rendezvous::server::{Settings, run_with};
use rendezvous::tls::Tls;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long a test waits for what must come; long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The seed's example.
pub const CLIENTS: &str = r#"{
  "client_keys": [
    {"name": "porto", "key": "key1"},
    {"name": "montemor", "key": "key2"},
    {"name": "lisboa", "key": "key3"},
    {"name": "marte", "key": "key666"}
  ],
  "monitor_key": {"name": "monitor", "key": "monitorkey"}
}"#;

/// What a client's WebSocket runs over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A running server.
pub struct Rendezvous {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Rendezvous {
    pub async fn start() -> Rendezvous {
        Rendezvous::start_with(Settings::default()).await
    }

    pub async fn start_with(settings: Settings) -> Rendezvous {
        Rendezvous::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), None, settings)
    }

    /// One that speaks `wss://`.
    pub async fn start_tls(tls: Tls, settings: Settings) -> Rendezvous {
        Rendezvous::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), Some(tls), settings)
    }

    /// Its sockets, which inherit it from the listener, hold only a few KiB that have not been read.
    pub async fn start_thin(settings: Settings) -> Rendezvous {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Rendezvous::serve(socket.listen(16).unwrap(), None, settings)
    }

    fn serve(listener: TcpListener, tls: Option<Tls>, settings: Settings) -> Rendezvous {
        let address = listener.local_addr().unwrap();
        let configuration = Configuration::parse(CLIENTS, Path::new("clients.json")).unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(run_with(listener, tls, configuration, settings, shutdown));
        Rendezvous { address, stop, task }
    }

    /// Stops it and waits until it has ended.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        within(self.task).await.expect("the server ends without a panic");
    }

    pub async fn connect(&self) -> Client {
        self.connect_over(TcpStream::connect(self.address).await.unwrap()).await
    }

    /// A client over a connection that is there already.
    pub async fn connect_over(&self, stream: impl Stream + 'static) -> Client {
        let (url, stream) = (format!("ws://{}/config", self.address), Box::new(stream) as Box<dyn Stream>);
        Client { socket: within(client_async(url, stream)).await.unwrap().0 }
    }

    /// A client that has registered and read its welcome.
    pub async fn join(&self, name: &str, key: &str, port: u16) -> Client {
        let mut client = self.connect().await;
        client.join(name, key, port).await;
        client
    }
}

/// One WebSocket.
pub struct Client {
    pub socket: WebSocketStream<Box<dyn Stream>>,
}

impl Client {
    /// Registers and reads its welcome.
    pub async fn join(&mut self, name: &str, key: &str, port: u16) -> Value {
        self.send(&registration(name, key, port)).await;
        self.next().await
    }

    pub async fn send(&mut self, value: &Value) {
        self.send_text(&value.to_string()).await;
    }

    /// As a browser does that stringifies twice.
    pub async fn send_twice(&mut self, value: &Value) {
        self.send_text(&json!(value.to_string()).to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        within(self.socket.send(Message::text(text))).await.unwrap();
    }

    /// The next JSON message.
    pub async fn next(&mut self) -> Value {
        match self.next_message().await {
            Message::Text(text) => serde_json::from_str(&text).expect("the server sends JSON"),
            other => panic!("a text was expected, not {other:?}"),
        }
    }

    /// The close frame, whatever comes before it.
    pub async fn next_close(&mut self) -> CloseFrame {
        loop {
            if let Message::Close(Some(frame)) = self.next_message().await {
                return frame;
            }
        }
    }

    /// The close frame, which must be next.
    pub async fn closed(&mut self) -> CloseFrame {
        match self.next_message().await {
            Message::Close(Some(frame)) => frame,
            other => panic!("a close was expected, not {other:?}"),
        }
    }

    /// A refusal and its close frame, which must be next; its sentence.
    pub async fn refused(&mut self, code: u16) -> String {
        let refusal = self.next().await;
        let sentence = refusal["error"].as_str().expect("a sentence").to_owned();
        assert_eq!(refusal, json!({"error": sentence, "message": sentence}));
        let frame = self.closed().await;
        assert_eq!(u16::from(frame.code), code, "{sentence}");
        assert!(sentence.starts_with(frame.reason.as_str()), "{sentence} / {}", frame.reason);
        sentence
    }

    async fn next_message(&mut self) -> Message {
        loop {
            match within(self.socket.next()).await.expect("the connection is open").unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }
}

/// What the server says to these bytes until it closes the connection.
pub async fn answer(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// What the future gives, or a failed test when it takes too long.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("nothing came in 20 s")
}

pub fn registration(name: &str, key: &str, port: u16) -> Value {
    json!({"register": "", "name": name, "key": key, "port": port})
}

/// How a client on this machine stands in a list.
pub fn entry(name: &str, stream: bool, port: u16) -> Value {
    json!({"ip": "127.0.0.1", "stream": stream, "name": name, "port": port})
}

/// A port at which connections are accepted by the kernel, as long as the listener lives.
pub async fn open_port() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port at which connections are refused: bound, so nobody else gets it, but nobody listens.
pub fn closed_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}
