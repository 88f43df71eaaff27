//! One connection to an Icecast server as its source: HTTP until the server says yes, then sound.
//!
//! Comes after [`super::mount`], which says where; what is sent is made by [`super::ogg_opus`]. Everything
//! that the server says or does not say is bounded in size and time, and what fails is one sentence.
//!
//! Source: Icecast 2.4's source protocol: `PUT` with `Expect: 100-continue` (RFC 9110 section 10.1.1) and a
//! body that ends with the connection.

use super::mount::Mount;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

/// How long each step of connecting may take: the way there, and the answer.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the server may take nothing of the sound. Icecast itself gives up a silent source after 10 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// What may wait for the server in the kernel, in bytes: a second or two of sound. The kernel's own choice
/// would be minutes, and all that time nobody would know that the server takes nothing.
const WAITING: u32 = 32 * 1_024;

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 8_192;

/// Header lines of an answer, at most.
const HEADERS: usize = 64;

/// How long the text of a refusal is waited for; the refusal itself is there by then.
const REASON: Duration = Duration::from_secs(1);

/// Longest text of a server that is shown, in characters.
const LONGEST_REASON: usize = 200;

/// What listeners are told about the stream: nothing that has a line end in it.
#[derive(Clone, Debug)]
pub struct About {
    /// Its name in the server's list.
    pub name: String,
    /// A sentence about it.
    pub description: Option<String>,
    /// Whether the server may list it in public directories.
    pub public: bool,
}

/// Why there is no connection, or no more: a sentence.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It may be better in a moment.
    Away(String),
    /// The server does not want this source. Somebody must mend something first.
    Refused(String),
}

/// A connection that takes sound.
pub struct Source {
    server: String,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
}

impl Source {
    /// Connects to the mount and waits until the server wants to hear it. `key` names the configuration's
    /// key that the mount is from.
    ///
    /// # Errors
    /// One sentence that says which step failed and what to look at.
    pub async fn connect(mount: &Mount, about: &About, key: &str) -> Result<Source, Trouble> {
        let mut stream = dial(mount, key).await.map_err(Trouble::Away)?;
        let server = mount.server();
        let request = request(mount, about);
        let asked = async {
            stream.write_all(request.as_bytes()).await?;
            answer(&mut stream).await
        };
        let broke = |error: Error| match error.kind() {
            ErrorKind::InvalidData => {
                Trouble::Away(format!("{server} answers, but not in HTTP; is \"{key}\" right?"))
            }
            _ => Trouble::Away(format!("{server} broke the connection off ({error}); is \"{key}\" right?")),
        };
        let answer = match timeout(CONNECT, asked).await {
            Ok(answer) => answer.map_err(broke)?,
            Err(_) => {
                return Err(Trouble::Away(format!(
                    "{server} takes the connection but says nothing within {} s; is that Icecast, or something \
                     else at this port?",
                    CONNECT.as_secs()
                )));
            }
        };
        if !answer.is_yes() {
            let reason = reason(&mut stream, answer.rest).await;
            return Err(refusal(mount, key, answer.status, &reason));
        }
        let (reader, writer) = stream.into_split();
        Ok(Source { server, reader, writer })
    }

    /// Sends a piece of sound.
    ///
    /// # Errors
    /// The connection is gone, or the server has taken nothing for 10 s: one sentence.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        match timeout(PATIENCE, self.writer.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(&error)),
            Err(_) => {
                Err(format!("{} takes no sound for {} s; trying again", self.server, PATIENCE.as_secs()))
            }
        }
    }

    /// Waits until the server ends the connection, and says so in one sentence. What else it says does not
    /// matter any more. Nothing is lost when this is not waited for to the end.
    pub async fn ended(&mut self) -> String {
        let mut ignored = [0; 512];
        loop {
            match self.reader.read(&mut ignored).await {
                Ok(0) => return format!("{} closed the connection; trying again", self.server),
                Ok(_) => {}
                Err(error) => return self.lost(&error),
            }
        }
    }

    fn lost(&self, error: &Error) -> String {
        format!("the connection to {} broke ({error}); trying again", self.server)
    }
}

/// Resolves the name and connects to the first address that answers. The time is shared out among them, so
/// that an IPv6 address that leads nowhere leaves some for IPv4.
async fn dial(mount: &Mount, key: &str) -> Result<TcpStream, String> {
    let server = mount.server();
    let unknown = |detail: String| {
        format!("the name {} does not resolve ({detail}); check \"{key}\" and this box's network", mount.host)
    };
    let silent = || {
        format!(
            "{server} does not answer within {} s; is the address in \"{key}\" right, and is TCP port {} open \
             there?",
            CONNECT.as_secs(),
            mount.port
        )
    };
    let addresses: Vec<_> = match timeout(CONNECT, lookup_host((mount.host.as_str(), mount.port))).await {
        Ok(found) => found.map_err(|error| unknown(error.to_string()))?.collect(),
        Err(_) => return Err(unknown(format!("nothing within {} s", CONNECT.as_secs()))),
    };
    let share = CONNECT / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut why = unknown("it has no address".to_owned());
    for address in addresses {
        why = match timeout(share, open(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => format!(
                "nobody listens at {server} (connection refused): start Icecast there, or correct \"{key}\"; \
                 trying again"
            ),
            Ok(Err(error)) => {
                format!("{server} cannot be reached ({error}); check \"{key}\" and this box's network")
            }
            Err(_) => silent(),
        };
    }
    Err(why)
}

async fn open(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_send_buffer_size(WAITING)?;
    socket.connect(address).await
}

fn request(mount: &Mount, about: &About) -> String {
    let description = about.description.as_ref().map(|text| format!("ice-description: {text}\r\n"));
    format!(
        "PUT {} HTTP/1.1\r\n\
         Host: {}\r\n\
         Authorization: {}\r\n\
         User-Agent: matriz/{}\r\n\
         Content-Type: audio/ogg\r\n\
         Expect: 100-continue\r\n\
         ice-name: {}\r\n\
         {}ice-public: {}\r\n\
         ice-audio-info: ice-samplerate=48000;ice-channels=2\r\n\
         \r\n",
        mount.path,
        mount.server(),
        mount.authorization(),
        env!("CARGO_PKG_VERSION"),
        about.name,
        description.unwrap_or_default(),
        u8::from(about.public),
    )
}

/// The head of an answer, and what came with it.
struct Answer {
    status: u16,
    rest: Vec<u8>,
}

impl Answer {
    /// Whether the body may follow now: 100 Continue, or at once a success.
    fn is_yes(&self) -> bool {
        matches!(self.status, 100 | 200..=299)
    }
}

/// Reads until the head of the answer is complete.
async fn answer(stream: &mut TcpStream) -> Result<Answer, Error> {
    let mut heard = Vec::new();
    loop {
        if let Some(answer) = parse(&heard)? {
            return Ok(answer);
        }
        if hear(stream, &mut heard).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The answer in `heard`; `None` while its head is not complete.
///
/// # Errors
/// It is no HTTP, or its head is longer than any server's.
fn parse(heard: &[u8]) -> Result<Option<Answer>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(heard) {
        Ok(httparse::Status::Complete(length)) => {
            let status = response.code.unwrap_or(0);
            Ok(Some(Answer { status, rest: heard[length..].to_vec() }))
        }
        Ok(httparse::Status::Partial) if heard.len() < LONGEST_ANSWER => Ok(None),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

/// Reads once, up to the longest answer; 0 at the end.
async fn hear(stream: &mut TcpStream, heard: &mut Vec<u8>) -> Result<usize, Error> {
    let mut piece = [0; 1_024];
    let room = piece.len().min(LONGEST_ANSWER.saturating_sub(heard.len()));
    let count = stream.read(&mut piece[..room]).await?;
    heard.extend(&piece[..count]);
    Ok(count)
}

/// What the server says beside its status: the text of its page, one line of moderate length.
async fn reason(stream: &mut TcpStream, mut heard: Vec<u8>) -> String {
    let read = async { while let Ok(1..) = hear(stream, &mut heard).await {} };
    // What is there by then must do.
    let _ = timeout(REASON, read).await;
    plain(&String::from_utf8_lossy(&heard))
}

/// The text of a page without its tags.
fn plain(page: &str) -> String {
    let mut inside = false;
    let text = page.chars().filter(|c| match c {
        '<' => {
            inside = true;
            false
        }
        '>' => !std::mem::replace(&mut inside, false),
        c => !inside && !c.is_control(),
    });
    text.take(LONGEST_REASON).collect::<String>().trim().to_owned()
}

/// The sentence for a server that does not want the source.
fn refusal(mount: &Mount, key: &str, status: u16, reason: &str) -> Trouble {
    let (server, path) = (mount.server(), &mount.path);
    let said = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    match status {
        401 => Trouble::Refused(format!(
            "{server} does not accept user and password for {path}; check them in \"{key}\" (Icecast's \
             <source-password>)"
        )),
        403 if reason.to_lowercase().contains("in use") => Trouble::Away(format!(
            "somebody else sends to {path} at {server} already; end that, or write another mount in \"{key}\"; \
             trying again"
        )),
        _ => Trouble::Refused(format!(
            "{server} does not want a source at {path} ({status}{said}); check \"{key}\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount() -> Mount {
        Mount::new("http://source:hackme@127.0.0.1:8000/mix.opus").unwrap()
    }

    #[test]
    fn the_request_is_what_icecast_expects() {
        let about = About { name: "Porto".into(), description: Some("live".into()), public: true };
        let request = request(&mount(), &about);
        let lines: Vec<&str> = request.split("\r\n").collect();
        assert_eq!(lines[0], "PUT /mix.opus HTTP/1.1");
        for header in [
            "Host: 127.0.0.1:8000",
            "Authorization: Basic c291cmNlOmhhY2ttZQ==",
            "Content-Type: audio/ogg",
            "Expect: 100-continue",
            "ice-name: Porto",
            "ice-description: live",
            "ice-public: 1",
        ] {
            assert!(lines.contains(&header), "{header} is missing in {lines:?}");
        }
        assert!(request.ends_with("\r\n\r\n"), "the head is complete");
        assert_eq!(request.matches("\r\n\r\n").count(), 1, "and nothing comes after it");
    }

    #[test]
    fn an_answer_is_read_when_its_head_is_complete_and_not_before() {
        let whole = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<b>Mountpoint in use</b>\r\n";
        let head = whole.len() - 28;
        for length in 0..head {
            assert!(parse(&whole[..length]).unwrap().is_none(), "{length} bytes");
        }
        let answer = parse(whole).unwrap().unwrap();
        assert_eq!((answer.status, answer.is_yes()), (403, false));
        assert_eq!(plain(&String::from_utf8_lossy(&answer.rest)), "Mountpoint in use");
        for (text, yes) in
            [("100 Continue", true), ("200 OK", true), ("401 Unauthorized", false), ("302 Found", false)]
        {
            let answer = parse(format!("HTTP/1.0 {text}\r\n\r\n").as_bytes()).unwrap().unwrap();
            assert_eq!(answer.is_yes(), yes, "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_given_up() {
        for bytes in [b"SSH-2.0-OpenSSH_9.2\r\n".as_slice(), b"\0\0\0\0", b"HTTP/1.1 abc\r\n\r\n"] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
        let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'y'; LONGEST_ANSWER]].concat();
        assert!(parse(&endless).is_err(), "a head without an end");
        let many = ["HTTP/1.1 200 OK\r\n", &"x: y\r\n".repeat(HEADERS + 1)].concat();
        assert!(parse(many.as_bytes()).is_err(), "too many lines");
    }

    #[test]
    fn a_refusal_says_what_to_look_at_and_never_the_password() {
        let said = |status, reason: &str| match refusal(&mount(), "broadcast.url", status, reason) {
            Trouble::Away(why) => ("away", why),
            Trouble::Refused(why) => ("refused", why),
        };
        let (kind, why) = said(401, "");
        assert_eq!(kind, "refused");
        assert!(
            why.contains("does not accept user and password for /mix.opus")
                && why.contains("\"broadcast.url\"")
        );
        let (kind, why) = said(403, "Mountpoint in use");
        assert_eq!(kind, "away", "whoever has it may leave");
        assert!(why.starts_with("somebody else sends to /mix.opus at 127.0.0.1:8000 already"), "{why}");
        let (kind, why) = said(403, "too many sources connected");
        assert_eq!(kind, "refused");
        assert!(why.contains("(403: too many sources connected)"), "{why}");
        assert!(said(404, "").1.contains("(404)"));
        for status in [401, 403, 404, 500] {
            assert!(!said(status, "").1.contains("hackme"));
        }
    }

    #[test]
    fn a_page_is_shown_as_one_line() {
        assert_eq!(plain("<html>\n<b>no \r\n</b>\u{1b}[31m way</html>"), "no [31m way");
        assert_eq!(plain(&"x".repeat(1_000)).len(), LONGEST_REASON);
        assert_eq!(plain("a > b"), "a > b");
    }
}
