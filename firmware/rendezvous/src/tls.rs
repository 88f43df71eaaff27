//! `wss://`: TLS before the WebSocket, with certificates on both sides where the configuration says so.
//!
//! The files are read once at the start ([`Tls::read`]), so that a wrong one refuses to start with its
//! name. With `ca_crt` a client must show a certificate that this authority signed, or it does not get
//! through the handshake; `words` says in the log why one did not. Before it: `configuration`. After it:
//! `handshake`. Source: RFC 8446 (TLS 1.3), RFC 5246 (TLS 1.2).

use crate::configuration::{ConfigurationError, Named, TlsFiles};
use certificates::{FileError, Pem};
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, ServerConfig};
use tokio_rustls::server::TlsStream;

/// The first byte of every TLS connection: the record that it begins with is of the type "handshake"
/// (RFC 8446 section 5.1). No HTTP request begins so.
const HANDSHAKE: u8 = 22;

/// The server's side of TLS; its certificates are read and fit.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Reads the files of the configuration.
    ///
    /// # Errors
    /// A file is missing or does not hold what it should: a sentence with the configuration's file and
    /// line, and what to do.
    pub fn read(files: &TlsFiles) -> Result<Tls, ConfigurationError> {
        let TlsFiles { server_crt, server_pem, ca_crt } = files;
        let crt = Pem { key: "server_crt", path: &server_crt.path };
        let pem = Pem { key: "server_pem", path: &server_pem.path };
        let chain = crt.certificates().map_err(at(server_crt))?;
        let key = pem.private_key().map_err(at(server_pem))?;
        let builder = ServerConfig::builder_with_provider(certificates::provider())
            .with_safe_default_protocol_versions()
            .expect("ring can do TLS 1.2 and 1.3");
        let builder = match ca_crt {
            None => builder.with_no_client_auth(),
            Some(named) => {
                let authority = Pem { key: "ca_crt", path: &named.path };
                let roots = Arc::new(authority.authorities().map_err(at(named))?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, certificates::provider());
                builder
                    .with_client_cert_verifier(verifier.build().expect("there is an authority in the file"))
            }
        };
        let config = builder.with_single_cert(chain, key).map_err(|error| {
            let misfit = pem.misfit(crt, &error);
            at(if misfit.key == crt.key { server_crt } else { server_pem })(misfit)
        })?;
        Ok(Tls(TlsAcceptor::from(Arc::new(config))))
    }

    /// Shakes hands. Takes as long as the client takes: the caller sets the limit.
    ///
    /// # Errors
    /// Why not, in words, and the connection, through which TLS has told the client as much as it tells.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, (String, TcpStream)> {
        let accepted = self.0.accept(stream).into_fallible().await;
        accepted.map_err(|(error, stream)| (words(&error), stream))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive() // it holds the private key
    }
}

/// Whether the client begins as TLS does. Nothing is taken from the connection.
///
/// # Errors
/// The connection failed or ended before it said anything.
pub(crate) async fn is_spoken(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first == [HANDSHAKE]),
    }
}

/// Says where the file is named.
fn at(named: &Named) -> impl Fn(FileError) -> ConfigurationError {
    move |error| ConfigurationError::Unusable { place: named.place.clone(), what: error.what }
}

/// Why a client did not get through the handshake, and what to do about it.
fn words(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::NoCertificatesPresented) => {
            "it shows no certificate: a box needs \"client_crt\" and \"client_pem\"".to_owned()
        }
        Some(Error::InvalidCertificate(error)) => certificate_words(error),
        Some(Error::AlertReceived(alert)) => alert_words(*alert),
        Some(Error::InvalidMessage(error)) => {
            format!("what it sends is not TLS ({error:?}): is it a box, and does it mean this port?")
        }
        Some(other) => format!("it cannot agree with us on TLS ({other}): it must offer TLS 1.2 or 1.3"),
        None => format!("it broke the TLS handshake off ({error}): does it trust \"server_crt\"?"),
    }
}

/// Why a client's certificate is not accepted.
fn certificate_words(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is not signed by the authority in \"ca_crt\": sign one for it".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired, or this computer's clock is wrong: renew it or check the clock"
                .to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet by this computer's clock: is the clock right?".to_owned()
        }
        other => format!("its certificate cannot be trusted ({other}): sign another for it"),
    }
}

/// Why a client broke TLS off, as far as its one-byte alert tells (RFC 8446 section 6.2).
fn alert_words(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired
        | AlertDescription::UnsupportedCertificate => format!(
            "it does not believe \"server_crt\" ({alert:?}): give it the authority's file as \"ca_crt\", and check \
             for which name and until when the certificate is"
        ),
        other => format!("it broke the TLS handshake off ({other:?})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls::{InvalidMessage, PeerIncompatible};

    #[test]
    fn each_refusal_says_what_to_do() {
        let of = |error: Error| words(&io::Error::new(io::ErrorKind::InvalidData, error));
        let invalid = |error: CertificateError| of(Error::InvalidCertificate(error));
        let cases = [
            (of(Error::NoCertificatesPresented), "a box needs \"client_crt\" and \"client_pem\""),
            (invalid(CertificateError::UnknownIssuer), "\"ca_crt\": sign one for it"),
            (invalid(CertificateError::Expired), "renew it or check the clock"),
            (invalid(CertificateError::NotValidYet), "is the clock right?"),
            (invalid(CertificateError::BadEncoding), "sign another for it"),
            (
                of(Error::AlertReceived(AlertDescription::UnknownCA)),
                "give it the authority's file as \"ca_crt\"",
            ),
            (of(Error::AlertReceived(AlertDescription::UserCanceled)), "(UserCanceled)"),
            (of(Error::InvalidMessage(InvalidMessage::InvalidContentType)), "is it a box"),
            (of(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered)), "it must offer TLS 1.2 or 1.3"),
            (words(&io::ErrorKind::UnexpectedEof.into()), "does it trust \"server_crt\"?"),
        ];
        for (sentence, expected) in cases {
            assert!(sentence.contains(expected), "{expected}: {sentence}");
        }
    }
}
