//! The command line's end of the API: finds the box, asks, and waits for the answer.
//!
//! A blocking socket, for a program that does one thing. Every wait and every answer has a limit.

use crate::api::rpc;
use crate::places;
use proto::control::{Command, Status};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How long the box may take: longer than it gives itself.
const PATIENCE: Duration = Duration::from_secs(12);

/// The longest answer, in bytes: a status with 15 peers has 15 kB.
const LONGEST: u64 = 1 << 20;

/// Why it did not work; each is a sentence that says what to try next.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No box answers.
    #[error("{0}")]
    NoBox(String),
    /// The box does not do it.
    #[error("{0}")]
    Refused(String),
    /// Something on this side.
    #[error("{0}")]
    Here(String),
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> ExitCode {
        match self {
            Failure::NoBox(_) => ExitCode::from(3),
            Failure::Refused(_) | Failure::Here(_) => ExitCode::from(1),
        }
    }
}

/// A connection to a box.
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Client {
    /// Connects to the box at `socket`, or to the one box that there is.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(socket: Option<&Path>) -> Result<Client, Failure> {
        if let Some(path) = socket {
            return Client::connect(path);
        }
        let folders = places::socket_folders(&places::environment);
        let mut boxes: Vec<(PathBuf, std::io::Result<UnixStream>)> = Vec::new();
        for path in folders.iter().flat_map(|folder| sockets(folder)) {
            let stream = UnixStream::connect(&path);
            // One that nobody listens at was left by a box that was killed.
            let dead = stream.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
            if !dead && boxes.iter().all(|(there, _)| *there != path) {
                boxes.push((path, stream));
            }
        }
        match boxes.len() {
            0 => Err(Failure::NoBox(
                "no box plays on this computer: start one with `matriz FILE`, or name its socket with --socket"
                    .to_owned(),
            )),
            1 => {
                let (path, stream) = boxes.remove(0);
                Client::new(path, stream)
            }
            _ => {
                let paths: Vec<String> = boxes.iter().map(|(path, _)| path.display().to_string()).collect();
                Err(Failure::NoBox(format!(
                    "more than one box plays here: say which with --socket: {}",
                    paths.join(", ")
                )))
            }
        }
    }

    fn connect(path: &Path) -> Result<Client, Failure> {
        Client::new(path.to_owned(), UnixStream::connect(path))
    }

    fn new(path: PathBuf, stream: std::io::Result<UnixStream>) -> Result<Client, Failure> {
        let ready = stream.and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        let stream = ready.map_err(|error| Failure::NoBox(no_connection(&path, &error)))?;
        Ok(Client { stream: BufReader::new(stream), path })
    }

    /// The connection alone, for who speaks and listens at the same time. Nothing was said on it yet.
    pub fn into_stream(self) -> UnixStream {
        self.stream.into_inner()
    }

    /// What the box shows of itself.
    ///
    /// # Errors
    /// It does not answer, or in another version's words.
    pub fn status(&mut self) -> Result<Status, Failure> {
        let status = self.ask(&json!({"jsonrpc": "2.0", "id": 1, "method": "status"}))?;
        let other = |error| {
            let path = self.path.display();
            Failure::Here(format!("the box at {path} is of another version ({error}): use its own `matriz`"))
        };
        serde_json::from_value(status).map_err(other)
    }

    /// Wishes something.
    ///
    /// # Errors
    /// The box refuses; its sentence.
    pub fn command(&mut self, command: &Command) -> Result<(), Failure> {
        self.ask(&rpc::request_for(command)).map(drop)
    }

    fn ask(&mut self, request: &Value) -> Result<Value, Failure> {
        let mut answer = self.exchange(request)?;
        if let Some(result) = answer.get_mut("result") {
            return Ok(result.take());
        }
        let why = answer.pointer("/error/message").and_then(Value::as_str);
        Err(Failure::Refused(why.unwrap_or("the box refuses and does not say why").to_owned()))
    }

    fn exchange(&mut self, request: &Value) -> Result<Value, Failure> {
        let line = format!("{request}\n");
        let sent = self.stream.get_mut().write_all(line.as_bytes());
        sent.map_err(|error| Failure::NoBox(silent(&self.path, &error)))?;
        let mut answer = String::new();
        let read = (&mut self.stream).take(LONGEST).read_line(&mut answer);
        match read {
            Ok(0) => Err(Failure::NoBox(format!(
                "the box at {} has closed the connection: is it about to end, or are too many programs connected?",
                self.path.display()
            ))),
            Ok(_) => serde_json::from_str(&answer).map_err(|error| {
                Failure::Here(format!("what answers at {} is no box ({error})", self.path.display()))
            }),
            Err(error) => Err(Failure::NoBox(silent(&self.path, &error))),
        }
    }
}

/// The sockets in a folder, sorted.
fn sockets(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_socket = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "sock")
            && path.metadata().is_ok_and(|found| found.file_type().is_socket())
    };
    let mut sockets: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_socket).collect();
    sockets.sort();
    sockets
}

fn no_connection(path: &Path, error: &std::io::Error) -> String {
    let place = path.display();
    match error.kind() {
        ErrorKind::NotFound => format!("there is no socket {place}: is the box on? `matriz FILE` starts one"),
        ErrorKind::ConnectionRefused => {
            format!("no box answers at {place}: it has ended; start it again with `matriz FILE`")
        }
        ErrorKind::PermissionDenied => {
            format!("the box at {place} is not yours: become a member of its group, or use sudo")
        }
        _ => format!("the box at {place} cannot be reached ({error})"),
    }
}

fn silent(path: &Path, error: &std::io::Error) -> String {
    let place = path.display();
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("the box at {place} has not answered for {} s: look at its log", PATIENCE.as_secs())
        }
        _ => format!("the connection to the box at {place} broke ({error}): is it still on?"),
    }
}
