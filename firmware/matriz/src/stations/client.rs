//! The listener's side of a subscription: says a line to a station, and keeps what it has asked for.
//!
//! Before it: who wants to listen ([`super::listen`], or a player whose SDP `matriz stations --sdp` has printed). After
//! it: the station's TCP port. Each command has a connection of its own, as in mopidy-rtp, and a few seconds.

use proto::station::line::{Command, GREETING, Lines, Reply};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long a station may take to answer, from the first word to the last.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a subscription is repeated: so soon is a station heard again that was started anew.
const EVERY: Duration = Duration::from_secs(5);

/// How long after a station was not reached it is tried again, and how long at most.
const AGAIN: Duration = Duration::from_millis(500);
const AGAIN_AT_MOST: Duration = Duration::from_secs(5);

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// What became of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The sound comes; this is our address as the station sees it.
    Subscribed(IpAddr),
    /// The station does not want to.
    Refused(Reply),
    /// The station is not reached: a sentence. It is tried again.
    Away(String),
}

/// A subscription that is kept until it is ended.
pub struct Subscription {
    station: SocketAddr,
    port: NonZeroU16,
    task: JoinHandle<()>,
}

impl Subscription {
    /// Subscribes now and again for `port`, and tells every time what came of it.
    pub fn keep(station: SocketAddr, port: NonZeroU16, events: mpsc::Sender<Event>) -> Subscription {
        let task = tokio::spawn(async move {
            let mut again = AGAIN;
            loop {
                let (event, rest) = match say(station, Command::Subscribe(port)).await {
                    Ok((Reply::Done, own)) => {
                        again = AGAIN;
                        (Event::Subscribed(own), EVERY)
                    }
                    Ok((refusal, _)) => (Event::Refused(refusal), EVERY),
                    Err(why) => {
                        let rest = again;
                        again = (again * 2).min(AGAIN_AT_MOST);
                        (Event::Away(why), rest)
                    }
                };
                if events.send(event).await.is_err() {
                    return;
                }
                tokio::time::sleep(rest).await;
            }
        });
        Subscription { station, port, task }
    }

    /// Ends it, and tells the station if it is there.
    pub async fn end(self) {
        self.task.abort();
        // A station that is not reached forgets us by itself.
        let _ = tokio::time::timeout(FAREWELL, say(self.station, Command::Unsubscribe(self.port))).await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Says one command; the answer, and our address as the station sees it.
///
/// # Errors
/// Nobody answers, or somebody who is no station; a sentence.
pub async fn say(station: SocketAddr, command: Command) -> Result<(Reply, IpAddr), String> {
    let slow = || format!("the station at {station} does not answer within {} s", PATIENCE.as_secs());
    tokio::time::timeout(PATIENCE, talk(station, command)).await.map_err(|_| slow())?
}

async fn talk(station: SocketAddr, command: Command) -> Result<(Reply, IpAddr), String> {
    let away = |error: std::io::Error| format!("no station is reached at {station} ({error})");
    let mut stream = TcpStream::connect(station).await.map_err(away)?;
    let own = stream.local_addr().map_err(away)?.ip();
    let mut lines = Lines::default();
    let greeting = next(&mut stream, &mut lines).await.map_err(away)?;
    let strange = |said: &str| {
        let said: String = said.chars().filter(|c| !c.is_control()).take(60).collect();
        format!("what answers at {station} is no station: it says \"{said}\"")
    };
    if !is_greeting(&greeting) {
        return Err(strange(&greeting));
    }
    stream.write_all(format!("{command}\n").as_bytes()).await.map_err(away)?;
    let answer = next(&mut stream, &mut lines).await.map_err(away)?;
    Ok((Reply::parse(&answer).ok_or_else(|| strange(&answer))?, own))
}

/// Any version will do: its words have been the same in all there were.
fn is_greeting(line: &str) -> bool {
    let words = |line: &str| line.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>();
    words(line) == words(GREETING)
}

/// The next line that the station says.
async fn next(stream: &mut TcpStream, lines: &mut Lines) -> std::io::Result<String> {
    use std::io::{Error, ErrorKind};
    loop {
        match lines.pop() {
            Ok(Some(line)) => return Ok(line),
            Ok(None) => {}
            Err(too_long) => return Err(Error::new(ErrorKind::InvalidData, too_long)),
        }
        let mut buffer = [0; 256];
        match stream.read(&mut buffer).await? {
            0 => return Err(Error::new(ErrorKind::UnexpectedEof, "it closed the connection without a word")),
            length => lines.push(&buffer[..length]),
        }
    }
}
