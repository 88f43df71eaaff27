//! From a fresh TCP connection to a WebSocket, or to a short HTTP answer for people.
//!
//! tungstenite parses the request and writes the answer of the upgrade; the head is read here, because a
//! browser or a health check that is no WebSocket shall get words, not a dropped connection. Source: RFC
//! 6455 section 4.2, RFC 9110. Before it: `server`, which accepts. After it: `connection`.

use proto::rendezvous::{FRAME_LIMIT, PATH};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response, write_response};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// The longest request head that is read, in bytes; browsers send well under 2 KiB.
const HEAD_LIMIT: usize = 8 * 1024;

/// Makes the connection a WebSocket. `None` if the client wanted something else and has its answer.
///
/// # Errors
/// The connection failed or ended before the request was whole.
pub async fn accept(mut stream: TcpStream) -> io::Result<Option<WebSocketStream<TcpStream>>> {
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
                "This is a Matriz rendezvous: give its ws:// address to a box.",
            ),
        },
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(None)
}

/// Reads until the head is whole; its length and content, or `None` if it is no HTTP or too long.
async fn read_head(stream: &mut TcpStream, head: &mut Vec<u8>) -> io::Result<Option<(usize, Request)>> {
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
async fn websocket(stream: TcpStream, rest: Vec<u8>) -> WebSocketStream<TcpStream> {
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
