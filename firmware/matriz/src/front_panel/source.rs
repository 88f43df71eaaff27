//! Where a panel away from the box has the status from: the box's socket, or lines of `matriz --json`.
//!
//! The socket speaks JSON-RPC 2.0, a text in each line: `subscribe` brings the status ten times a second, and each
//! wish is a method of its own name. Lines have the status alone, and nobody to wish anything of. A thread reads and
//! keeps the newest; what is read is bounded, and a box that says nothing for a while has gone.

use crate::api::rpc;
use crate::cli::client::Client;
use anyhow::{Context, bail};
use proto::control::{Command, Status};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The longest line that is read, in bytes: a status with 15 peers has some 10 kB.
const LONGEST: u64 = 1 << 20;

/// What has come, for whoever looks.
#[derive(Default)]
struct News {
    status: Option<Status>,
    /// The last thing that was not done, or why nothing more comes.
    sentence: Option<String>,
    over: bool,
}

/// A source of statuses, and of wishes a way to the box.
pub struct Source {
    news: Arc<Mutex<News>>,
    wishes: Option<UnixStream>,
}

impl Source {
    /// Subscribes at the box whose socket this is, or at the one box that there is.
    ///
    /// # Errors
    /// Nobody is there, or more than one: a sentence.
    pub fn of_box(socket: Option<&Path>) -> anyhow::Result<Source> {
        let mut stream = Client::find(socket)?.into_stream();
        let parameters = json!({"to": "status", "per_second": 10});
        let request = json!({"jsonrpc": "2.0", "id": 0, "method": "subscribe", "params": parameters});
        writeln!(stream, "{request}").context("the box does not listen")?;
        let lines = BufReader::new(stream.try_clone()?);
        Ok(Source { wishes: Some(stream), ..Source::reading(lines)? })
    }

    /// Reads lines from a file, or from standard input if it is called `-`.
    ///
    /// # Errors
    /// It cannot be read: a sentence.
    pub fn of_lines(path: &Path) -> anyhow::Result<Source> {
        if path == Path::new("-") {
            return Source::reading(BufReader::new(std::io::stdin()));
        }
        let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Source::reading(BufReader::new(file))
    }

    fn reading(lines: impl BufRead + Send + 'static) -> anyhow::Result<Source> {
        let news = Arc::new(Mutex::new(News::default()));
        let inner = Arc::clone(&news);
        std::thread::Builder::new().name("status".to_owned()).spawn(move || read(lines, &inner))?;
        Ok(Source { news, wishes: None })
    }

    /// The status that has come since this was asked last.
    pub fn status(&self) -> Option<Status> {
        self.look(|news| news.status.take())
    }

    /// What there is to say: a wish that was refused, or why nothing more comes.
    pub fn sentence(&self) -> Option<String> {
        self.look(|news| news.sentence.clone())
    }

    /// Nothing more comes.
    pub fn is_over(&self) -> bool {
        self.look(|news| news.over)
    }

    /// Hands a wish to the box.
    pub fn wish(&mut self, wish: &Command) {
        let sent = match &mut self.wishes {
            Some(socket) => {
                writeln!(socket, "{}", rpc::request_for(wish)).map_err(|error| format!("not sent: {error}"))
            }
            None => Err("these are lines of a file, and nobody to press buttons for".to_owned()),
        };
        self.look(|news| news.sentence = sent.err());
    }

    fn look<T>(&self, look: impl FnOnce(&mut News) -> T) -> T {
        look(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(mut lines: impl BufRead, news: &Mutex<News>) {
    loop {
        let line = next_line(&mut lines);
        let mut news = news.lock().unwrap_or_else(PoisonError::into_inner);
        match line.and_then(|line| line.as_deref().map(understand).transpose()) {
            Ok(Some(Told::Status(status))) => news.status = Some(*status),
            Ok(Some(Told::Refusal(why))) => news.sentence = Some(why),
            Ok(Some(Told::Nothing)) => {}
            Ok(None) => {
                news.over = true;
                news.sentence = Some("nothing more comes".to_owned());
                return;
            }
            Err(why) => {
                news.over = true;
                news.sentence = Some(format!("{why:#}"));
                return;
            }
        }
    }
}

/// The next line; none at the end.
fn next_line(lines: &mut impl BufRead) -> anyhow::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    lines.take(LONGEST).read_until(b'\n', &mut line).context("the box does not answer")?;
    match line.len() as u64 {
        0 => Ok(None),
        LONGEST => bail!("a line is longer than {LONGEST} bytes; that is no status"),
        _ => Ok(Some(line)),
    }
}

/// What a line says.
enum Told {
    Status(Box<Status>),
    /// A wish was not carried out: why.
    Refusal(String),
    /// A wish was carried out.
    Nothing,
}

fn understand(line: &[u8]) -> anyhow::Result<Told> {
    let no = "this is no line of `matriz --json` and no answer of a box";
    let mut value: Value = serde_json::from_slice(line).context(no)?;
    if let Some(error) = value.get("error") {
        return Ok(Told::Refusal(error["message"].as_str().unwrap_or("the box refuses").to_owned()));
    }
    if value.get("jsonrpc").is_some() {
        let is_status = value.get("method").is_some_and(|method| method == "status");
        let Some(status) = value.get_mut("params").filter(|_| is_status) else { return Ok(Told::Nothing) };
        value = status.take();
    }
    serde_json::from_value(value).map(|status| Told::Status(Box::new(status))).context(no)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_status_is_understood_bare_and_as_a_notification() {
        let status = Status { name: "porto".into(), ..Status::default() };
        let bare = serde_json::to_vec(&status).unwrap();
        let notification = json!({"jsonrpc": "2.0", "method": "status", "params": status});
        for line in [bare, serde_json::to_vec(&notification).unwrap()] {
            let Told::Status(status) = understand(&line).unwrap() else { panic!("no status") };
            assert_eq!(status.name, "porto");
        }
        let refusal = br#"{"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "no"}}"#;
        assert!(matches!(understand(refusal).unwrap(), Told::Refusal(why) if why == "no"));
        let done = br#"{"jsonrpc": "2.0", "id": 1, "result": true}"#;
        assert!(matches!(understand(done).unwrap(), Told::Nothing));
        for line in [&b"nonsense"[..], b"[]", b"{}", b"\xff\xfe"] {
            assert!(understand(line).is_err());
        }
    }

    #[test]
    fn a_line_without_end_is_not_read_to_its_end() {
        let endless = std::io::repeat(b'a').take(1 << 40);
        let error = next_line(&mut BufReader::new(endless)).unwrap_err().to_string();
        assert!(error.contains("longer than"), "{error}");
    }

    #[test]
    fn at_a_socket_it_subscribes_and_wishes_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert!(Source::of_box(Some(&path)).is_err());
        let listener = UnixListener::bind(&path).unwrap();
        let mut source = Source::of_box(Some(&path)).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        there.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let mut lines = BufReader::new(there.try_clone().unwrap()).lines();
        let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
        let asked = next();
        assert_eq!((&asked["method"], &asked["params"]["to"]), (&json!("subscribe"), &json!("status")));
        source.wish(&Command::Volume { peer: "lisboa".into(), db: -3.0 });
        let asked = next();
        assert_eq!(asked["params"], json!({"peer": "lisboa", "db": -3.0}));
        assert_eq!(asked["method"], "volume");
        source.wish(&Command::Mute { peer: None, on: true });
        assert_eq!(next()["params"], json!({"on": true}));
        let status = json!({"jsonrpc": "2.0", "method": "status", "params": Status::default()});
        writeln!(there, "{status}").unwrap();
        drop((there, lines));
        while !source.is_over() {
            std::thread::yield_now();
        }
        assert!(source.status().is_some() && source.status().is_none());
        assert_eq!(source.sentence().as_deref(), Some("nothing more comes"));
    }
}
