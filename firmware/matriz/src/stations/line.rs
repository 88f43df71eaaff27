//! The TCP port of a station: takes connections, and hands each command to [`super::sender`].
//!
//! Before it: whoever connects. A connection is bounded in time, in lines and in number, and the lines in length; who
//! says nonsense is told so in the original's words and costs nobody else anything.

use super::canonical;
use crate::doorstep::Visitors;
use proto::station::line::{Command, GREETING, Lines, Reply};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// Most connections at a time, and of one address. Each lasts a moment. Our choice.
const MOST_VISITS: usize = 64;
const MOST_OF_ONE_ADDRESS: usize = 16;

/// How long a connection may stay, however much it says, and how many lines that may be. Our choice.
const LONGEST_VISIT: Duration = Duration::from_secs(30);
const MOST_LINES: usize = 100;

/// How long to wait when the system has no connection to give, as without file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// A command, where it comes from, and where the answer goes.
pub struct Wish {
    /// The listener's address, and the port of its connection.
    pub from: SocketAddr,
    /// What it said.
    pub command: Command,
    /// What is to be said to it.
    pub reply: oneshot::Sender<Reply>,
}

/// Receives listeners for ever.
pub async fn receive(listener: TcpListener, wishes: mpsc::Sender<Wish>) {
    let mut visitors = Visitors::new(MOST_VISITS, MOST_OF_ONE_ADDRESS);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let from = canonical(from);
                    // One too many is closed without a word: there is none for that.
                    if visitors.has_room(from.ip()) {
                        visitors.receive(from.ip(), visit(stream, from, wishes.clone()));
                    }
                }
                Err(error) => {
                    tracing::debug!("no listener's connection can be accepted: {error}");
                    tokio::time::sleep(BREATH).await;
                }
            },
            () = visitors.one_goes() => {}
        }
    }
}

async fn visit(mut stream: TcpStream, from: SocketAddr, wishes: mpsc::Sender<Wish>) {
    // Whatever ends it ends it: there is nothing to be told to somebody who is gone.
    let _ = tokio::time::timeout(LONGEST_VISIT, talk(&mut stream, from, &wishes)).await;
}

async fn talk(stream: &mut TcpStream, from: SocketAddr, wishes: &mpsc::Sender<Wish>) -> io::Result<()> {
    say(stream, GREETING).await?;
    let (mut lines, mut buffer) = (Lines::default(), [0; 512]);
    let mut said = 0;
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        lines.push(&buffer[..length]);
        loop {
            let line = match lines.pop() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(_) => return say(stream, Reply::Unrecognized.word()).await,
            };
            said += 1;
            if said > MOST_LINES {
                return Ok(());
            }
            let Some(reply) = answer(&line, from, wishes).await else { return Ok(()) };
            say(stream, reply.word()).await?;
        }
    }
}

/// What is answered to a line; `None` when the station has ended.
async fn answer(line: &str, from: SocketAddr, wishes: &mpsc::Sender<Wish>) -> Option<Reply> {
    let Some(command) = Command::parse(line) else { return Some(Reply::Unrecognized) };
    let (reply, answer) = oneshot::channel();
    wishes.send(Wish { from, command, reply }).await.ok()?;
    answer.await.ok()
}

/// In one piece: mopidy-rtp takes what it reads at once for the whole line.
async fn say(stream: &mut TcpStream, word: &str) -> io::Result<()> {
    stream.write_all(format!("{word}\n").as_bytes()).await
}
