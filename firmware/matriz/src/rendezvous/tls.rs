//! The certificates of `wss://`: the seed's `ca_crt`, `client_crt` and `client_pem`.
//!
//! Read once at the start by [`super::endpoint`], so that a wrong file refuses to start with its name
//! and not hours later with a code; the files themselves are read by `certificates`. [`words`] turns what
//! TLS says afterwards into what a person can mend. Source: RFC 8446 (TLS 1.3).

use super::endpoint::{Endpoint, EndpointError};
use certificates::{FileError, Pem};
use std::io;
use std::path::{Path, PathBuf};
use tokio_rustls::rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};

/// The PEM files that `wss://` may use.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Who may sign the rendezvous's certificate; the system's authorities if absent.
    pub ca_crt: Option<PathBuf>,
    /// This box's certificate, followed by those between it and the authority.
    pub client_crt: Option<PathBuf>,
    /// The private key of `client_crt`.
    pub client_pem: Option<PathBuf>,
}

/// Reads the files and makes of them what a TLS client needs.
pub(super) fn client(files: &TlsFiles) -> Result<ClientConfig, EndpointError> {
    let builder = ClientConfig::builder_with_provider(certificates::provider())
        .with_safe_default_protocol_versions()
        .expect("ring can do TLS 1.2 and 1.3")
        .with_root_certificates(authorities(files.ca_crt.as_deref())?);
    let (crt, pem) = match (&files.client_crt, &files.client_pem) {
        (None, None) => return Ok(builder.with_no_client_auth()),
        (Some(crt), Some(pem)) => (crt, pem),
        (Some(_), None) => return Err(alone("client_crt", "client_pem")),
        (None, Some(_)) => return Err(alone("client_pem", "client_crt")),
    };
    let (crt, pem) = (Pem { key: "client_crt", path: crt }, Pem { key: "client_pem", path: pem });
    let (chain, key) = (crt.certificates()?, pem.private_key()?);
    Ok(builder.with_client_auth_cert(chain, key).map_err(|error| pem.misfit(crt, &error))?)
}

fn alone(key: &'static str, other: &str) -> EndpointError {
    EndpointError { key, what: format!("\"{key}\" needs \"{other}\" beside it; name both files or neither") }
}

/// The authorities in `ca_crt`, else the system's. If it has none nobody is believed, as each connection will tell:
/// that is no reason to end, for on a box there would be nothing to read on the display.
fn authorities(ca_crt: Option<&Path>) -> Result<RootCertStore, EndpointError> {
    if let Some(path) = ca_crt {
        return Ok(Pem { key: "ca_crt", path }.authorities()?);
    }
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let detail = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        tracing::warn!(
            "this system knows no certificate authority{detail}; install the package ca-certificates or name the \
             authority's file as \"ca_crt\""
        );
    }
    Ok(roots)
}

impl From<FileError> for EndpointError {
    fn from(FileError { key, what }: FileError) -> EndpointError {
        EndpointError { key, what }
    }
}

/// What went wrong while TLS was set up with `endpoint`, and what to do.
pub(super) fn words(error: &io::Error, endpoint: &Endpoint, files: &TlsFiles) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(error)) => certificate_words(error, endpoint, files),
        Some(Error::AlertReceived(alert)) => alert_words(*alert, endpoint, files),
        Some(Error::InvalidMessage(_)) => {
            format!("{endpoint} does not speak TLS; must \"url\" begin with ws:// instead of wss://?")
        }
        Some(other) => format!("{endpoint} and this box cannot agree on TLS ({other})"),
        None => format!(
            "{endpoint} broke the TLS connection off ({error}); is it a wss:// server, and does it ask for \
             another \"client_crt\"?"
        ),
    }
}

/// Why the rendezvous's certificate is not believed.
fn certificate_words(error: &CertificateError, endpoint: &Endpoint, files: &TlsFiles) -> String {
    let certificate = format!("the certificate of {endpoint}");
    match (error, &files.ca_crt) {
        (CertificateError::UnknownIssuer, Some(ca)) => {
            format!("{certificate} is not signed by the authority in {} (\"ca_crt\")", ca.display())
        }
        (CertificateError::UnknownIssuer, None) => format!(
            "{certificate} is not signed by an authority that this system knows; name the authority's file as \
             \"ca_crt\""
        ),
        (CertificateError::BadSignature, _) => {
            format!("{certificate} has a wrong signature; is \"ca_crt\" an older authority of the same name?")
        }
        (CertificateError::NotValidForNameContext { presented, .. }, _) if !presented.is_empty() => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            format!("{certificate} is for {}; use that name in \"url\"", names.join(", "))
        }
        (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }, _) => {
            format!("{certificate} is for another name; make it for the one in \"url\" (subjectAltName)")
        }
        (CertificateError::Expired | CertificateError::ExpiredContext { .. }, _) => {
            format!("{certificate} has expired, or this box's clock is wrong; renew it or check the clock")
        }
        (CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }, _) => {
            format!("{certificate} is not valid yet by this box's clock; is the clock right?")
        }
        (CertificateError::Other(other), _) if format!("{other:?}").contains("CaUsedAsEndEntity") => format!(
            "{certificate} is an authority's own; make one for the server that this authority signs, or make \
             it with basicConstraints=CA:FALSE"
        ),
        (other, _) => format!("{certificate} cannot be trusted ({other})"),
    }
}

/// The name in `DnsName("a.b")` or the address in `IpAddress(1.2.3.4)`, as rustls lists them.
fn bare(presented: &str) -> &str {
    presented.split_once('(').map_or(presented, |(_, name)| name.trim_matches(['(', ')', '"']))
}

/// Why the rendezvous broke TLS off, as far as its one-byte alert tells (RFC 8446 section 6.2).
fn alert_words(alert: AlertDescription, endpoint: &Endpoint, files: &TlsFiles) -> String {
    match (alert, &files.client_crt) {
        (AlertDescription::CertificateRequired, _) | (AlertDescription::HandshakeFailure, None) => format!(
            "{endpoint} wants this box's certificate ({alert:?}); name it as \"client_crt\" and its key as \
             \"client_pem\""
        ),
        (AlertDescription::UnrecognisedName, _) => {
            format!("{endpoint} does not know itself by this name ({alert:?}); check \"url\"")
        }
        (AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure, _) => {
            format!("{endpoint} and this box cannot agree on TLS ({alert:?}); it must offer TLS 1.2 or 1.3")
        }
        (_, Some(crt)) => {
            format!(
                "{endpoint} does not accept the certificate in {} (\"client_crt\"; {alert:?})",
                crt.display()
            )
        }
        (_, None) => format!("{endpoint} broke TLS off ({alert:?})"),
    }
}
