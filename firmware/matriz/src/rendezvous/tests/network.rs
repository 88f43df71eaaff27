//! The same line over real sockets on 127.0.0.1: connecting, coming back, and TLS with certificates that
//! are made here.

use super::*;
use crate::config::Config;
use certificates::Pem;
use certificates::band::Band;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{accept_async, accept_hdr_async};

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://127.0.0.1:{}/config", listener.local_addr().unwrap().port());
    (listener, url)
}

fn plain_endpoint(url: &str) -> Endpoint {
    Endpoint::new(url, TlsFiles::default()).unwrap()
}

async fn accept(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let mut server = accept_async(listener.accept().await.unwrap().0).await.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap(), Message::text(HELLO));
    server
}

#[tokio::test]
async fn a_box_comes_back_by_itself_when_the_rendezvous_drops_it() {
    let (listener, url) = listen().await;
    let (outgoing, outgoing_end) = mpsc::channel(8);
    let (events_end, mut events) = mpsc::channel(8);
    let task = tokio::spawn(run(plain_endpoint(&url), HELLO.to_owned(), outgoing_end, events_end));

    let mut server = accept(&listener).await;
    assert_eq!(events.recv().await, Some(Event::Connected));
    server.send(Message::text(WELCOME)).await.unwrap();
    assert_eq!(events.recv().await, Some(Event::Message(WELCOME.to_owned())));
    outgoing.send("offer".to_owned()).await.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap(), Message::text("offer"));

    drop(server);
    assert!(matches!(events.recv().await, Some(Event::Disconnected(_))));
    let mut server = accept(&listener).await;
    assert_eq!(events.recv().await, Some(Event::Connected));

    drop(outgoing);
    assert!(matches!(server.next().await, Some(Ok(Message::Close(_)))));
    drop(server);
    task.await.unwrap();
}

#[tokio::test]
async fn a_frame_of_more_than_a_mebibyte_ends_the_connection() {
    let (listener, url) = listen().await;
    let (_outgoing, outgoing_end) = mpsc::channel(8);
    let (events_end, mut events) = mpsc::channel(8);
    let _task = tokio::spawn(run(plain_endpoint(&url), HELLO.to_owned(), outgoing_end, events_end));
    let mut server = accept(&listener).await;
    assert_eq!(events.recv().await, Some(Event::Connected));
    let largest = "x".repeat(1 << 20);
    server.send(Message::text(largest.as_str())).await.unwrap();
    assert_eq!(events.recv().await, Some(Event::Message(largest.clone())));
    let _ = server.send(Message::text(largest + "x")).await; // the box may hang up before all of it is sent
    let why = disconnected(events.recv().await.unwrap());
    assert!(why.contains("sent a frame of more than 1 MiB"), "{why}");
}

#[tokio::test]
async fn where_nobody_listens_the_sentence_asks_for_the_rendezvous() {
    let (listener, url) = listen().await;
    drop(listener);
    let why = plain_endpoint(&url).connect().await.err().unwrap();
    assert!(why.starts_with("nobody listens at 127.0.0.1:"), "{why}");
    assert!(why.ends_with("start matriz-rendezvous there, or correct \"url\"; trying again"), "{why}");
}

#[tokio::test]
async fn a_wrong_path_and_other_answers_are_told() {
    for (status, expected) in [
        (404, "knows no path /config (404 Not Found); is the path in \"url\" /config?"),
        (400, "answers 400 Bad Request instead of opening a WebSocket; is \"url\" right, or must it begin"),
    ] {
        let (listener, url) = listen().await;
        let endpoint = plain_endpoint(&url);
        let server = async {
            #[expect(clippy::result_large_err, reason = "the library's signature")]
            let refuse = |_: &Request, _: Response| {
                let mut answer = ErrorResponse::new(None);
                *answer.status_mut() = status.try_into().unwrap();
                Err(answer)
            };
            assert!(accept_hdr_async(listener.accept().await.unwrap().0, refuse).await.is_err());
        };
        let (answer, ()) = tokio::join!(endpoint.connect(), server);
        let why = answer.err().unwrap();
        assert!(why.contains(expected), "{why}");
    }
}

/// A server with the certificate of `name`, which asks boxes for one of this band.
fn server(band: &Band, name: &str) -> TlsAcceptor {
    let (authority, crt, pem) = (band.authority(), file(band, name, "crt"), file(band, name, "pem"));
    let roots = Arc::new(Pem { key: "ca_crt", path: &authority }.authorities().unwrap());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, certificates::provider());
    let chain = Pem { key: "server_crt", path: &crt }.certificates().unwrap();
    let key = Pem { key: "server_pem", path: &pem }.private_key().unwrap();
    let config = ServerConfig::builder_with_provider(certificates::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

/// What a box of this band is told, with the certificate of `client` or with none.
fn files(band: &Band, client: Option<&str>) -> TlsFiles {
    TlsFiles {
        ca_crt: Some(band.authority()),
        client_crt: client.map(|name| file(band, name, "crt")),
        client_pem: client.map(|name| file(band, name, "pem")),
    }
}

fn file(band: &Band, name: &str, kind: &str) -> PathBuf {
    band.file(&format!("{name}.{kind}"))
}

/// Connects with `files` to a rendezvous with `acceptor`: what the box is told.
async fn meet(acceptor: TlsAcceptor, files: TlsFiles) -> Result<(), String> {
    let (listener, url) = listen().await;
    let endpoint = Endpoint::new(&url.replace("ws:", "wss:"), files).unwrap();
    let server = async {
        let tcp = listener.accept().await.unwrap().0;
        match acceptor.accept(tcp).into_fallible().await {
            Ok(tls) => {
                let mut server = accept_async(tls).await.unwrap();
                server.send(Message::text(WELCOME)).await.unwrap();
            }
            // Closing at once would reset the connection, and the box might not read why.
            Err((_, mut tcp)) => drop(tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await),
        }
    };
    let client = async {
        let mut socket = endpoint.connect().await?;
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(WELCOME));
        Ok(())
    };
    tokio::join!(client, server).0
}

#[tokio::test]
async fn wss_with_certificates_on_both_sides() {
    let band = Band::new("our band");
    band.sign("server", "127.0.0.1");
    band.sign("porto", "porto");
    meet(server(&band, "server"), files(&band, Some("porto"))).await.unwrap();
}

#[tokio::test]
async fn a_rendezvous_of_another_authority_is_not_believed() {
    let (band, others) = (Band::new("our band"), Band::new("others"));
    others.sign("server", "127.0.0.1");
    let why = meet(server(&others, "server"), files(&band, None)).await.unwrap_err();
    let expected =
        format!("is not signed by the authority in {} (\"ca_crt\")", band.file("ca.crt").display());
    assert!(why.starts_with("the certificate of 127.0.0.1:") && why.ends_with(&expected), "{why}");

    let namesake = Band::new("our band");
    namesake.sign("server", "127.0.0.1");
    let why = meet(server(&namesake, "server"), files(&band, None)).await.unwrap_err();
    assert!(why.contains("not signed by the authority in") || why.contains("has a wrong signature"), "{why}");
}

#[tokio::test]
async fn a_certificate_for_another_name_says_which() {
    let band = Band::new("our band");
    band.sign("server", "rendezvous.example");
    let why = meet(server(&band, "server"), files(&band, None)).await.unwrap_err();
    assert!(why.contains("is for rendezvous.example; use that name in \"url\""), "{why}");
}

#[tokio::test]
async fn an_authority_s_own_certificate_is_no_server_s() {
    let band = Band::new("our band");
    let why = meet(server(&band, "ca"), files(&band, None)).await.unwrap_err();
    assert!(why.contains("is an authority's own; make one for the server"), "{why}");
}

#[tokio::test]
async fn a_box_without_the_certificate_that_is_asked_for_is_told_so() {
    let (band, others) = (Band::new("our band"), Band::new("others"));
    band.sign("server", "127.0.0.1");
    let why = meet(server(&band, "server"), files(&band, None)).await.unwrap_err();
    assert!(
        why.contains("wants this box's certificate (CertificateRequired); name it as \"client_crt\""),
        "{why}"
    );

    others.sign("porto", "porto");
    let files = TlsFiles { ca_crt: Some(band.file("ca.crt")), ..files(&others, Some("porto")) };
    let why = meet(server(&band, "server"), files).await.unwrap_err();
    let expected = format!("does not accept the certificate in {}", others.file("porto.crt").display());
    assert!(why.contains(&expected), "{why}");
}

#[tokio::test]
async fn tls_to_a_server_without_tls_is_told() {
    let band = Band::new("our band");
    let (listener, url) = listen().await;
    let endpoint = Endpoint::new(&url.replace("ws:", "wss:"), files(&band, None)).unwrap();
    let answers = async {
        let mut tcp = listener.accept().await.unwrap().0;
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await.unwrap();
    };
    let why = tokio::join!(endpoint.connect(), answers).0.err().unwrap();
    assert!(why.contains("does not speak TLS; must \"url\" begin with ws:// instead of wss://?"), "{why}");

    let hangs_up = async { drop(accept_async(listener.accept().await.unwrap().0).await) };
    let why = tokio::join!(endpoint.connect(), hangs_up).0.err().unwrap();
    assert!(why.contains("broke the TLS connection off"), "{why}");
}

#[test]
fn files_that_do_not_fit_are_told_at_the_start() {
    let band = Band::new("our band");
    band.sign("porto", "porto");
    band.sign("lisboa", "lisboa");
    std::fs::write(band.file("empty"), "").unwrap();
    std::fs::write(band.file("locked"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").unwrap();
    let told = |ca: &str, crt: Option<&str>, pem: Option<&str>| {
        let files = TlsFiles {
            ca_crt: Some(band.file(ca)),
            client_crt: crt.map(|name| band.file(name)),
            client_pem: pem.map(|name| band.file(name)),
        };
        let error = Endpoint::new("wss://localhost/config", files).err().unwrap();
        (error.key, error.what.replace(&format!("{}/", band.authority().parent().unwrap().display()), ""))
    };
    let (crt, pem) = (Some("porto.crt"), Some("porto.pem"));
    let cases = [
        (told("no.crt", None, None), "ca_crt", "no.crt, the file of \"ca_crt\", is not there"),
        (told("empty", None, None), "ca_crt", "empty holds no certificate in PEM form"),
        (told("ca.crt", pem, crt), "client_crt", "porto.pem holds no certificate but a private key"),
        (told("ca.crt", crt, crt), "client_pem", "porto.crt holds a certificate but no private key"),
        (told("ca.crt", crt, Some("empty")), "client_pem", "empty holds no private key in PEM form"),
        (told("ca.crt", crt, Some("locked")), "client_pem", "locked is locked with a password"),
        (told("ca.crt", crt, Some("")), "client_pem", "is a folder, not a file"),
        (
            told("ca.crt", crt, Some("lisboa.pem")),
            "client_pem",
            "lisboa.pem is not the key of the certificate in porto.crt",
        ),
        (told("ca.crt", crt, None), "client_crt", "\"client_crt\" needs \"client_pem\" beside it"),
        (told("ca.crt", None, pem), "client_pem", "\"client_pem\" needs \"client_crt\" beside it"),
    ];
    for ((key, what), expected_key, expected) in cases {
        assert!(key == expected_key && what.contains(expected), "{key}: {what}");
    }
}

#[test]
fn a_file_that_is_missing_is_told_with_the_configuration_s_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.json");
    let text =
        "{\"name\": \"porto\", \"key\": \"k\",\n\"url\": \"wss://localhost\",\n\"ca_crt\": \"fake.crt\"}";
    std::fs::write(&file, text).unwrap();
    let told = Endpoint::of(&Config::read(&file).unwrap()).err().unwrap().to_string();
    let expected = format!(
        "{}, line 3: {}, the file of \"ca_crt\", is not there; put it there, or correct \"ca_crt\"",
        file.display(),
        folder.path().join("fake.crt").display()
    );
    assert_eq!(told, expected);
    std::fs::write(&file, text.replace("wss:", "ws:")).unwrap();
    let endpoint = Endpoint::of(&Config::read(&file).unwrap()).unwrap();
    assert_eq!(endpoint.to_string(), "localhost:80", "with ws:// the file is not looked at");
    assert_eq!(plain_endpoint("ws://[::1]:5000/config").to_string(), "[::1]:5000");
}
