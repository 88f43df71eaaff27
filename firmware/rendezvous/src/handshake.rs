//! From a fresh TCP connection to a WebSocket, or to a short HTTP answer for people.
//!
//! tungstenite parses the request and writes the answer of the upgrade; the head is read here, because a
//! browser or a health check that is no WebSocket shall get words, not a dropped connection. With `wss://`
//! TLS comes first ([`crate::tls`]). Source: RFC 6455 section 4.2, RFC 9110. Before it: `server`, which
//! accepts. After it: `connection`.

use crate::tls::{self, Tls};
use proto::rendezvous::{FRAME_LIMIT, PATH};
use std::io;
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response, write_response};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::warn;

/// The longest request head that is read, in bytes; browsers send well under 2 KiB.
const HEAD_LIMIT: usize = 8 * 1024;

/// What a WebSocket runs over: TCP, or TLS over TCP.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A client's WebSocket.
pub type Socket = WebSocketStream<Box<dyn Stream>>;

/// Makes the connection from `ip` a WebSocket, through TLS if there is any. `None` if the client wanted
/// something else and has its answer. Takes as long as the client takes: the caller sets the limit.
///
/// # Errors
/// The connection failed or ended before the request was whole.
pub async fn accept(mut stream: TcpStream, tls: Option<&Tls>, ip: IpAddr) -> io::Result<Option<Socket>> {
    let Some(tls) = tls else { return upgrade(Box::new(stream), "ws").await };
    if !tls::is_spoken(&stream).await? {
        warn!(%ip, "refused: it does not speak TLS: let its \"url\" begin with wss:// instead of ws://");
        read_head(&mut stream, &mut Vec::new()).await?;
        let words = answer("400 Bad Request", "Only TLS is spoken here: let the address begin with wss://.");
        stream.write_all(words.as_bytes()).await?;
        hang_up(&mut stream).await;
        return Ok(None);
    }
    match tls.accept(stream).await {
        Ok(stream) => upgrade(Box::new(stream), "wss").await,
        Err((why, mut stream)) => {
            warn!(%ip, "refused: {why}");
            hang_up(&mut stream).await;
            Ok(None)
        }
    }
}

/// Reads the request and answers it. `scheme` is how addresses of this server begin.
async fn upgrade(mut stream: Box<dyn Stream>, scheme: &str) -> io::Result<Option<Socket>> {
    let mut head = Vec::with_capacity(1024);
    let answer = match read_head(&mut stream, &mut head).await? {
        None => answer("400 Bad Request", "This is not an HTTP request."),
        Some((_, request)) if request.uri().path() != PATH => {
            answer("404 Not Found", &format!("There is only {PATH} here, for WebSockets."))
        }
        Some((length, request)) => match create_response(&request) {
            Ok(response) => {
                let mut upgrade = Vec::new();
                write_response(&mut upgrade, &response).map_err(io::Error::other)?;
                stream.write_all(&upgrade).await?;
                return Ok(Some(websocket(stream, head.split_off(length)).await));
            }
            Err(_) => answer(
                "426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13",
                &format!("This is a Matriz rendezvous: give its {scheme}:// address to a box."),
            ),
        },
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(None)
}

/// Says that nothing more comes, and reads until the client has closed too: closing a socket with unread
/// bytes resets it, and the client would lose the last words.
pub async fn hang_up<S: Stream>(stream: &mut S) {
    if stream.shutdown().await.is_ok() {
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
    }
}

/// Reads until the head is whole; its length and content, or `None` if it is no HTTP or too long.
async fn read_head<S: Stream>(stream: &mut S, head: &mut Vec<u8>) -> io::Result<Option<(usize, Request)>> {
    while head.len() < HEAD_LIMIT {
        if stream.read_buf(head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match Request::try_parse(head) {
            Ok(None) => {}
            Ok(whole) => return Ok(whole),
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// `rest` is what came after the head.
async fn websocket(stream: Box<dyn Stream>, rest: Vec<u8>) -> Socket {
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_message_size(Some(FRAME_LIMIT))
        .max_frame_size(Some(FRAME_LIMIT));
    WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(config)).await
}

fn answer(status: &str, sentence: &str) -> String {
    let length = sentence.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{sentence}\n"
    )
}
