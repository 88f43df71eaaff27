//! By `wss://` only those come in whom the authority has signed; who may not, or stalls, costs nobody else
//! anything, and the log says why.
//!
//! Real sockets, certificates made for each test, and `openssl s_client` as a client that this project did
//! not write.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use certificates::Pem;
use certificates::band::Band;
use common::{CLIENTS, Client, Rendezvous, answer, entry, open_port, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rendezvous::configuration::Configuration;
use rendezvous::server::Settings;
use rendezvous::tls::Tls;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// The seed's configuration with the certificates of the band; `authority`: clients must show theirs.
fn configuration(band: &Band, authority: bool) -> Value {
    let (crt, pem) = band.sign("server", "127.0.0.1");
    let mut configuration: Value = serde_json::from_str(CLIENTS).unwrap();
    (configuration["server_crt"], configuration["server_pem"]) = (json!(crt), json!(pem));
    if authority {
        configuration["ca_crt"] = json!(band.authority());
    }
    configuration
}

async fn start(band: &Band, authority: bool, settings: Settings) -> Rendezvous {
    let text = configuration(band, authority).to_string();
    let configuration = Configuration::parse(&text, Path::new("clients.json")).unwrap();
    Rendezvous::start_tls(Tls::read(&configuration.tls.unwrap()).unwrap(), settings).await
}

/// A TLS connection of a client that believes this band, and shows the certificate of `name` if there is one.
async fn shake_hands(
    server: SocketAddr,
    band: &Band,
    shown: Option<(&Band, &str)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let authority = band.authority();
    let builder = ClientConfig::builder_with_provider(certificates::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(Pem { key: "ca_crt", path: &authority }.authorities().unwrap());
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some((whose, name)) => {
            let (crt, pem) = (whose.file(&format!("{name}.crt")), whose.file(&format!("{name}.pem")));
            let chain = Pem { key: "client_crt", path: &crt }.certificates().unwrap();
            let key = Pem { key: "client_pem", path: &pem }.private_key().unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let tcp = TcpStream::connect(server).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    within(TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
}

async fn connect(server: &Rendezvous, band: &Band, shown: Option<(&Band, &str)>) -> Client {
    server.connect_over(shake_hands(server.address, band, shown).await.unwrap()).await
}

/// Why the server broke TLS off. With TLS 1.3 that comes only after the client's handshake.
async fn refusal(server: &Rendezvous, band: &Band, shown: Option<(&Band, &str)>) -> String {
    let mut stream = match shake_hands(server.address, band, shown).await {
        Ok(stream) => stream,
        Err(error) => return error.to_string(),
    };
    let _ = stream.write_all(b"GET /config HTTP/1.1\r\n\r\n").await; // it may be refused by now
    let mut heard = String::new();
    within(stream.read_to_string(&mut heard)).await.expect_err(&heard).to_string()
}

#[tokio::test]
async fn with_an_authority_only_those_with_its_certificate_come_in() {
    let (band, others) = (Band::new("our band"), Band::new("others"));
    for whose in [&band, &others] {
        whose.sign("porto", "porto");
    }
    let server = start(&band, true, Settings::default()).await;
    let (_rtsp, port) = open_port().await;
    let mut porto = connect(&server, &band, Some((&band, "porto"))).await;
    assert_eq!(porto.join("porto", "key1", port).await["clients"], json!([entry("porto", true, port)]));

    let why = refusal(&server, &band, None).await;
    assert!(why.contains("CertificateRequired"), "{why}");
    let why = refusal(&server, &band, Some((&others, "porto"))).await;
    assert!(why.contains("UnknownCA") || why.contains("DecryptError"), "{why}");

    let mut lisboa = connect(&server, &band, Some((&band, "porto"))).await;
    lisboa.join("lisboa", "key3", port).await;
    assert_eq!(porto.next().await["name"], "lisboa", "nothing before this join");
    porto.send(&json!({"deregister": "deregister"})).await;
    assert_eq!(u16::from(porto.closed().await.code), 1000);
    server.stop().await;
    assert_eq!(u16::from(lisboa.next_close().await.code), 1001);
}

#[tokio::test]
async fn without_an_authority_clients_need_no_certificate() {
    let band = Band::new("our band");
    band.sign("porto", "porto");
    let server = start(&band, false, Settings::default()).await;
    let (_rtsp, port) = open_port().await;
    let mut porto = connect(&server, &band, None).await;
    porto.join("porto", "key1", port).await;
    let mut lisboa = connect(&server, &band, Some((&band, "porto"))).await;
    assert_eq!(lisboa.join("lisboa", "key3", port).await["n_clients"], 2, "one that shows one is let in too");
}

#[tokio::test]
async fn a_handshake_that_stalls_ends_in_time_and_holds_nobody_up() {
    let band = Band::new("our band");
    band.sign("porto", "porto");
    let settings = Settings { handshake: Duration::from_secs(1), ..Settings::default() };
    let server = start(&band, true, settings).await;
    let mut stalled = Vec::new();
    // Nothing; half a record; half a plain request. And a whole TLS handshake, with nothing after it.
    for begin in [&b""[..], &[22, 3, 1, 2, 0, 1], &b"GET /config HTTP/1.1\r\nUpgr"[..]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(begin).await.unwrap();
        stalled.push(stream);
    }
    let mut quiet = shake_hands(server.address, &band, Some((&band, "porto"))).await.unwrap();

    let (_rtsp, port) = open_port().await;
    let mut porto = connect(&server, &band, Some((&band, "porto"))).await;
    porto.join("porto", "key1", port).await;
    for stream in &mut stalled {
        let mut rest = Vec::new();
        let _ = within(stream.read_to_end(&mut rest)).await; // its end, or a reset, in time
        assert_eq!(rest, b"");
    }
    let mut rest = Vec::new();
    let _ = within(quiet.read_to_end(&mut rest)).await;
    let mut lisboa = connect(&server, &band, Some((&band, "porto"))).await;
    lisboa.join("lisboa", "key3", port).await;
    assert_eq!(porto.next().await["name"], "lisboa", "nothing before this join");
}

#[tokio::test]
async fn who_speaks_no_tls_or_wants_no_websocket_gets_words() {
    let band = Band::new("our band");
    let server = start(&band, false, Settings::default()).await;
    for request in ["GET /config HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "\u{0}", "HELLO\r\n\r\n"]
    {
        let heard = answer(server.address, request.as_bytes()).await;
        assert!(heard.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{heard}");
        assert!(heard.ends_with("Only TLS is spoken here: let the address begin with wss://.\n"), "{heard}");
    }
    let mut browser = shake_hands(server.address, &band, None).await.unwrap();
    browser.write_all(b"GET /config HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut page = String::new();
    within(browser.read_to_string(&mut page)).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{page}");
    assert!(page.ends_with("This is a Matriz rendezvous: give its wss:// address to a box.\n"), "{page}");
}

/// What `openssl s_client` says when it sends an upgrade to WebSocket with the certificate of `name`, if any:
/// what it heard, and what it complained of. It is ended when the answer is there.
async fn openssl(server: &Rendezvous, band: &Band, version: &str, name: Option<&str>) -> (String, String) {
    let mut command = tokio::process::Command::new("openssl");
    command.args(["s_client", "-quiet", version, "-connect", &server.address.to_string()]);
    command.args(["-verify_return_error", "-verify_ip", "127.0.0.1", "-CAfile"]).arg(band.authority());
    if let Some(name) = name {
        command.arg("-cert").arg(band.file(&format!("{name}.crt")));
        command.arg("-key").arg(band.file(&format!("{name}.pem")));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("openssl is there: install the package openssl");
    let mut input = child.stdin.take().unwrap();
    let upgrade = "GET /config HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let _ = input.write_all(upgrade.as_bytes()).await; // it may be refused by now
    let (mut output, mut heard) = (child.stdout.take().unwrap(), Vec::new());
    while !heard.ends_with(b"\r\n\r\n") && within(output.read_buf(&mut heard)).await.unwrap() > 0 {}
    if heard.is_empty() {
        assert!(!within(child.wait()).await.unwrap().success(), "it is refused, so it fails by itself");
    } else {
        child.kill().await.unwrap();
    }
    let mut complaint = String::new();
    within(child.stderr.take().unwrap().read_to_string(&mut complaint)).await.unwrap();
    (String::from_utf8_lossy(&heard).into_owned(), complaint)
}

#[tokio::test]
async fn openssl_is_refused_without_a_certificate_and_gets_in_with_one() {
    let band = Band::new("our band");
    band.sign("porto", "porto");
    let server = start(&band, true, Settings::default()).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let (heard, complaint) = openssl(&server, &band, version, None).await;
        assert_eq!(heard, "", "{version}");
        assert!(complaint.contains("alert certificate required"), "{version}: {complaint}");

        let (heard, complaint) = openssl(&server, &band, version, Some("porto")).await;
        assert!(heard.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{version}: {heard} {complaint}");
        // The answer to this key is the example of RFC 6455 section 1.3.
        assert!(
            heard.to_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{heard}"
        );
    }
}

/// Runs the program with this configuration.
fn program(folder: &Path, configuration: &Value) -> Command {
    fs::write(folder.join("clients.json"), format!("{configuration:#}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_matriz-rendezvous"));
    command.args(["--listen", "127.0.0.1:0"]).current_dir(folder);
    command.env_remove("MATRIZ_CONFIG_FILE").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

#[tokio::test]
async fn the_program_says_where_it_listens_and_why_somebody_is_refused() {
    let band = Band::new("our band");
    let folder = tempfile::tempdir().unwrap();
    let mut child = tokio::process::Command::from(program(folder.path(), &configuration(&band, true)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut output = tokio::io::BufReader::new(child.stdout.take().unwrap());
    within(tokio::io::AsyncBufReadExt::read_line(&mut output, &mut first)).await.unwrap();
    let address =
        first.trim().strip_prefix("listening on wss://").and_then(|rest| rest.strip_suffix("/config"));
    let address: SocketAddr = address.unwrap_or_else(|| panic!("{first}")).parse().unwrap();

    answer(address, b"GET /config HTTP/1.1\r\n\r\n").await;
    let mut refused = shake_hands(address, &band, None).await.unwrap();
    let _ = within(refused.read(&mut [0])).await;
    drop(refused);
    let unbelieving = shake_hands(address, &Band::new("others"), None).await;
    assert!(unbelieving.is_err());
    let mut log = tokio::io::BufReader::new(child.stderr.take().unwrap());
    for expected in [
        "refused: it does not speak TLS: let its \"url\" begin with wss:// instead of ws:// ip=127.0.0.1",
        "refused: it shows no certificate: a box needs \"client_crt\" and \"client_pem\" ip=127.0.0.1",
        "refused: it does not believe \"server_crt\" (UnknownCA): give it the authority's file as \"ca_crt\"",
    ] {
        let mut line = String::new();
        within(tokio::io::AsyncBufReadExt::read_line(&mut log, &mut line)).await.unwrap();
        assert!(line.contains(expected), "{expected}: {line}");
    }
    let id = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    kill(id, Signal::SIGTERM).unwrap();
    assert!(within(child.wait()).await.unwrap().success());
}

#[test]
fn a_wrong_file_is_exit_code_2_and_a_sentence_with_its_place() {
    let band = Band::new("our band");
    let folder = tempfile::tempdir().unwrap();
    let (lisboa_crt, lisboa_pem) = band.sign("lisboa", "lisboa");
    fs::write(folder.path().join("empty"), "").unwrap();
    let own = configuration(&band, true);
    let server_crt = own["server_crt"].as_str().unwrap().to_owned();
    let cases = [
        (
            "server_crt",
            json!("no.crt"),
            "no.crt, the file of \"server_crt\", is not there; put it there".to_owned(),
        ),
        ("server_crt", json!(lisboa_pem), "lisboa.pem holds no certificate but a private key".to_owned()),
        ("server_pem", json!(lisboa_crt), "lisboa.crt holds a certificate but no private key".to_owned()),
        ("server_pem", json!(lisboa_pem), format!("is not the key of the certificate in {server_crt}")),
        ("server_pem", json!("."), "is a folder, not a file; name the file in it".to_owned()),
        ("ca_crt", json!("empty"), "empty holds no certificate in PEM form".to_owned()),
        (
            "server_pem",
            json!(""),
            "\"server_crt\" needs \"server_pem\" beside it: name both files".to_owned(),
        ),
    ];
    for (key, value, expected) in cases {
        let mut configuration = own.clone();
        configuration[key] = value;
        let output = program(folder.path(), &configuration).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "one sentence: {text}");
        let key = if expected.starts_with("\"server_crt\"") { "server_crt" } else { key };
        let file = fs::File::open(folder.path().join("clients.json")).unwrap();
        let quoted = format!("\"{key}\"");
        let line = BufReader::new(file).lines().position(|line| line.unwrap().contains(&quoted)).unwrap() + 1;
        assert!(
            text.starts_with(&format!("matriz-rendezvous: clients.json:{line}:")),
            "{line} {key}: {text}"
        );
        assert!(text.contains(&expected), "{expected}: {text}");
    }
}
