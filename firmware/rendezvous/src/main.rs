//! `matriz-rendezvous`: the command line around the server.
//!
//! Exit codes: 0 ended by SIGINT or SIGTERM, 1 the address cannot be listened on, 2 a mistake in the
//! command line or the configuration. After it: [`rendezvous::server`].

use anyhow::{Result, anyhow};
use clap::Parser;
use rendezvous::configuration::{Configuration, ConfigurationError};
use rendezvous::server;
use rendezvous::tls::Tls;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Introduces Matriz boxes to each other. Sound does not pass through here.
#[derive(Parser)]
#[command(name = "matriz-rendezvous", version)]
struct Arguments {
    /// Names and keys; else $MATRIZ_CONFIG_FILE, else clients.json
    #[arg(value_name = "clients.json")]
    file: Option<PathBuf>,

    /// Where boxes reach it
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:5000", value_parser = address)]
    listen: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log();
    let file = arguments.file.or_else(|| std::env::var_os("MATRIZ_CONFIG_FILE").map(PathBuf::from));
    let (configuration, tls) = match read(&file.unwrap_or_else(|| "clients.json".into())) {
        Ok(read) => read,
        Err(error) => return complain(&error, 2),
    };
    match serve(&arguments.listen, tls, configuration) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{error:#}"), 1),
    }
}

/// The configuration, and the certificates that it names.
fn read(file: &Path) -> Result<(Configuration, Option<Tls>), ConfigurationError> {
    let configuration = Configuration::read(file)?;
    let tls = configuration.tls.as_ref().map(Tls::read).transpose()?;
    Ok((configuration, tls))
}

#[tokio::main(flavor = "current_thread")]
async fn serve(listen: &str, tls: Option<Tls>, configuration: Configuration) -> Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| anyhow!("cannot listen on {listen}: {}", advice(&error)))?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // On standard output and not in the log, so that a program that starts us with port 0 can read it.
    let address = listener.local_addr()?;
    let scheme = if tls.is_some() { "wss" } else { "ws" };
    let _ = writeln!(io::stdout(), "listening on {scheme}://{address}{}", proto::rendezvous::PATH);
    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    server::run(listener, tls, configuration, shutdown).await;
    Ok(())
}

/// Checks the form only; whether the address can be had shows when it is bound.
fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err("write an address, a colon and a port, such as 0.0.0.0:5000".to_owned()),
    }
}

fn advice(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "stop what uses it, or choose another with --listen ADDRESS:PORT",
        io::ErrorKind::PermissionDenied => "choose a port above 1023 with --listen ADDRESS:PORT",
        _ => "choose an address of this computer with --listen ADDRESS:PORT",
    };
    format!("{advice} ({error})")
}

fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

fn complain(error: &impl std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("matriz-rendezvous: {error}");
    ExitCode::from(code)
}
