//! The certificates of `wss://`: the seed's `ca_crt`, `client_crt` and `client_pem`.
//!
//! Read once at the start by [`super::endpoint`], so that a wrong file refuses to start with its name
//! and not hours later with a code. [`words`] turns what TLS says afterwards into what a person can mend.
//! Source: RFC 8446 (TLS 1.3), RFC 7468 (PEM).

use super::endpoint::{Endpoint, EndpointError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};

/// The PEM files that `wss://` may use.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsFiles {
    /// Who may sign the rendezvous's certificate; the system's authorities if absent.
    pub ca_crt: Option<PathBuf>,
    /// This box's certificate, followed by those between it and the authority.
    pub client_crt: Option<PathBuf>,
    /// The private key of `client_crt`.
    pub client_pem: Option<PathBuf>,
}

/// Reads the files and makes of them what a TLS client needs.
pub(super) fn client(files: &TlsFiles) -> Result<ClientConfig, EndpointError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring can do TLS 1.2 and 1.3")
        .with_root_certificates(authorities(files.ca_crt.as_deref())?);
    let (crt, pem) = match (&files.client_crt, &files.client_pem) {
        (None, None) => return Ok(builder.with_no_client_auth()),
        (Some(crt), Some(pem)) => (crt, pem),
        (Some(_), None) => return Err(alone("client_crt", "client_pem")),
        (None, Some(_)) => return Err(alone("client_pem", "client_crt")),
    };
    let (chain, key) = pair(crt, pem)?;
    builder.with_client_auth_cert(chain, key).map_err(|error| {
        let (crt, pem) = (crt.display(), pem.display());
        let what = match error {
            Error::InconsistentKeys(_) => format!("{pem} is not the key of the certificate in {crt}"),
            Error::InvalidCertificate(_) => format!("the certificate in {crt} is damaged ({error})"),
            other => format!("the key in {pem} cannot be used ({other}); make an ECDSA or RSA key"),
        };
        EndpointError { key: "client_pem", what }
    })
}

/// A certificate, with those above it, and its key.
pub(super) fn pair(
    crt: &Path,
    pem: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), EndpointError> {
    Ok((certificates("client_crt", crt)?, private_key(pem)?))
}

fn alone(key: &'static str, other: &str) -> EndpointError {
    EndpointError { key, what: format!("\"{key}\" needs \"{other}\" beside it; name both files or neither") }
}

/// The authorities in `ca_crt`, else the system's.
fn authorities(ca_crt: Option<&Path>) -> Result<RootCertStore, EndpointError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_crt else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if !roots.is_empty() {
            return Ok(roots);
        }
        let detail = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        let what = format!(
            "this system knows no certificate authority{detail}; install the package ca-certificates or name \
             the authority's file as \"ca_crt\""
        );
        return Err(EndpointError { key: "url", what });
    };
    for certificate in certificates("ca_crt", path)? {
        roots.add(certificate).map_err(|error| EndpointError {
            key: "ca_crt",
            what: format!("a certificate in {} cannot be an authority ({error})", path.display()),
        })?;
    }
    Ok(roots)
}

/// All certificates in the PEM file at `path`, which `key` names.
fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, EndpointError> {
    let bytes = read(key, path)?;
    let wrong = |what: String| EndpointError { key, what: format!("{} {what}", path.display()) };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| wrong(format!("is a damaged PEM file ({error})")))?;
    if !found.is_empty() {
        return Ok(found);
    }
    let holds_key = String::from_utf8_lossy(&bytes).contains("PRIVATE KEY-----");
    let but = if holds_key { "but a private key; are the two files exchanged?" } else { "in PEM form" };
    Err(wrong(format!("holds no certificate {but} (-----BEGIN CERTIFICATE-----)")))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, EndpointError> {
    let key = "client_pem";
    let bytes = read(key, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let text = String::from_utf8_lossy(&bytes);
        let file = path.display();
        let what = if text.contains("ENCRYPTED") {
            format!("{file} is locked with a password; unlock it: openssl pkey -in {file} -out unlocked.pem")
        } else if text.contains("-----BEGIN CERTIFICATE-----") {
            format!("{file} holds a certificate but no private key; are the two files exchanged?")
        } else {
            format!("{file} holds no private key in PEM form ({error})")
        };
        EndpointError { key, what }
    })
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, EndpointError> {
    std::fs::read(path).map_err(|error| {
        let why = match error.kind() {
            ErrorKind::NotFound => "is not there".to_owned(),
            ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
            ErrorKind::IsADirectory => "is a folder, not a file".to_owned(),
            _ => format!("cannot be read ({error})"),
        };
        EndpointError { key, what: format!("{}, the file of \"{key}\", {why}", path.display()) }
    })
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
