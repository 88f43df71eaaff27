//! `matriz monitor`: watches a rendezvous in the terminal, the original's monitor role.
//!
//! Registers with the monitor's key on the same line as a box's ([`crate::rendezvous`]), which comes back
//! by itself when it breaks. At every change it prints who is there; [`roster`] remembers that and draws
//! it, [`typed`] reads what is typed meanwhile. Source: the protocol of matriz 0.2.7, docs/protocol.md.

mod roster;
mod typed;

use crate::body::Stop;
use crate::config::Config;
use crate::rendezvous::{self, Endpoint, Event, TlsFiles};
use anyhow::{anyhow, bail};
use chrono::{DateTime, Local};
use proto::rendezvous::{FromServer, RTSP_PORT, Register, Request};
use roster::Roster;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use typed::Typed;

/// The name that a monitor registers with. A server looks at its key only.
const NAME: &str = "monitor";

/// What to do about a wrong key.
const RIGHT_KEY: &str = "a monitor needs the key of \"monitor_key\" in the rendezvous's clients.json";

/// How long a goodbye to the rendezvous may take.
const GOODBYE: Duration = Duration::from_millis(700);

/// What `matriz monitor` is told on the command line.
#[derive(clap::Args)]
pub struct Options {
    /// The rendezvous, ws://… or wss://…, or a file as a box's with "name", "key" and "url"
    #[arg(value_name = "URL|FILE")]
    rendezvous: String,
    /// The monitor's key in the rendezvous's clients.json; with a file it is in there
    key: Option<String>,
    /// Print a line of JSON at every change
    #[arg(long)]
    json: bool,
    /// Who signed the rendezvous's certificate, for wss:// [default: the system's authorities]
    #[arg(long, value_name = "FILE")]
    ca_crt: Option<PathBuf>,
    /// The monitor's certificate, for wss://
    #[arg(long, value_name = "FILE")]
    client_crt: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE")]
    client_pem: Option<PathBuf>,
}

impl Options {
    /// Where the rendezvous is, and the monitor's key.
    fn settings(&self) -> anyhow::Result<(Endpoint, String)> {
        if self.rendezvous.contains("://") { self.by_command_line() } else { self.by_file() }
    }

    fn by_command_line(&self) -> anyhow::Result<(Endpoint, String)> {
        let Some(key) = &self.key else {
            bail!(
                "the monitor's key is missing: matriz monitor {} KEY, or write \
                 {{\"name\": \"monitor\", \"key\": \"…\", \"url\": \"…\"}} into a file and name that",
                self.rendezvous
            );
        };
        let files = TlsFiles {
            ca_crt: self.ca_crt.clone(),
            client_crt: self.client_crt.clone(),
            client_pem: self.client_pem.clone(),
        };
        let endpoint = Endpoint::new(&self.rendezvous, files).map_err(|error| match error.key {
            "url" => anyhow!("{}", error.what),
            key => anyhow!("--{}: {}", key.replace('_', "-"), error.what),
        })?;
        Ok((endpoint, key.clone()))
    }

    fn by_file(&self) -> anyhow::Result<(Endpoint, String)> {
        let beside = [
            ("KEY", "key", self.key.is_some()),
            ("--ca-crt", "ca_crt", self.ca_crt.is_some()),
            ("--client-crt", "client_crt", self.client_crt.is_some()),
            ("--client-pem", "client_pem", self.client_pem.is_some()),
        ];
        if let Some((option, key, _)) = beside.into_iter().find(|(.., said)| *said) {
            bail!("{option} goes with a URL; in the file {} it is the key \"{key}\"", self.rendezvous);
        }
        let config = Config::read(Path::new(&self.rendezvous))?;
        Ok((Endpoint::of(&config)?, config.key))
    }
}

/// Watches until told to end: by `exit`, SIGINT or SIGTERM.
///
/// # Errors
/// A mistake in what it was told, or the rendezvous refuses it: one sentence.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let (endpoint, key) = options.settings()?;
    let hello = Request::Register(Register::new(NAME, &key, RTSP_PORT)?).encode()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watch(endpoint, hello, options.json))
}

async fn watch(endpoint: Endpoint, hello: String, json: bool) -> anyhow::Result<()> {
    let mut monitor =
        Monitor { roster: Roster::new(endpoint.to_string(), Local::now()), json, accepted: false };
    let mut stop = Stop::new()?;
    let (to_rendezvous, outgoing) = mpsc::channel(8);
    let (events, mut from_rendezvous) = mpsc::channel(64);
    let line = tokio::spawn(rendezvous::run(endpoint, hello, outgoing, events));
    let mut typed = typed::read();
    let end = loop {
        let said = tokio::select! {
            () = stop.wait() => break Ok(()),
            event = from_rendezvous.recv() => {
                let event = event.expect("the line ends only when `to_rendezvous` is closed");
                match monitor.handle(event, Local::now()) {
                    Ok(said) => said,
                    Err(refusal) => break Err(refusal),
                }
            }
            Some(typed) = typed.recv() => match typed {
                Typed::Exit => break Ok(()),
                Typed::Again => monitor.again(),
                Typed::Refresh => {
                    monitor.refresh(&to_rendezvous);
                    None
                }
                Typed::Unknown(word) => {
                    tracing::warn!("there is no command \"{word}\": type refresh or exit, or only Enter for the table");
                    None
                }
            },
        };
        if said.is_some_and(|text| !print(&text)) {
            break Ok(()); // whoever read our standard output is gone
        }
    };
    drop(to_rendezvous);
    // It has sent the goodbye, or cannot: nobody depends on it.
    let _ = tokio::time::timeout(GOODBYE, line).await;
    end
}

/// Whether it could be printed.
fn print(text: &str) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// What the monitor knows, and how it shows it.
struct Monitor {
    roster: Roster,
    json: bool,
    /// The rendezvous has told this connection who is there.
    accepted: bool,
}

impl Monitor {
    /// Something happened on the line: what to print.
    ///
    /// A refusal ends the monitor only where it is one of the key: after the list has come, it is the end
    /// of a connection, and the line makes another.
    fn handle(&mut self, event: Event, now: DateTime<Local>) -> anyhow::Result<Option<String>> {
        match event {
            Event::Connected => Ok(None), // and the registration is sent, but not yet accepted
            Event::Message(text) => self.read(&text, now),
            Event::Refused(why) if !self.accepted && why.contains("\"key\"") => bail!("{why} ({RIGHT_KEY})"),
            Event::Refused(why) if !self.accepted => bail!("{why}"),
            Event::Refused(why) | Event::Disconnected(why) => {
                tracing::warn!("{why}");
                self.accepted = false;
                self.roster.away(&why, now);
                Ok(self.json.then(|| self.roster.line()))
            }
        }
    }

    fn read(&mut self, text: &str, now: DateTime<Local>) -> anyhow::Result<Option<String>> {
        let message = match FromServer::decode(text) {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!("ignored: {error}");
                return Ok(None);
            }
        };
        if let FromServer { ip: Some(_), name: Some(name), .. } = message {
            let name = rendezvous::plain(&name);
            bail!("the key is that of the box {name}: {RIGHT_KEY}");
        }
        let Some(clients) = message.clients else { return Ok(None) };
        self.accepted = true;
        self.roster.update(clients, message.message.as_deref().unwrap_or(""), now);
        Ok(Some(if self.json { self.roster.line() } else { self.roster.draw() }))
    }

    /// The table once more, for somebody at a terminal.
    fn again(&self) -> Option<String> {
        (!self.json && io::stdout().is_terminal()).then(|| self.roster.draw())
    }

    fn refresh(&self, to_rendezvous: &mpsc::Sender<String>) {
        let place = self.roster.place();
        let request = Request::Refresh.encode().expect("it has nothing in it that could not be sent");
        if !self.accepted {
            tracing::warn!("there is no connection to {place}: type refresh again when there is one");
        } else if to_rendezvous.try_send(request).is_ok() {
            tracing::info!("{place} is asked to send the list to all boxes once more");
        } else {
            tracing::warn!("{place} takes no message at the moment: type refresh again later");
        }
    }
}

#[cfg(test)]
mod tests;
