//! The PEM files of `wss://`: certificates, private keys, authorities.
//!
//! Read once at the start, by a box for the rendezvous that it connects to and by the rendezvous for
//! the boxes that it lets in, so that a wrong file refuses to start with its name and not hours later
//! with a code. Each mistake is a [`FileError`]: the configuration's key and a sentence. Before it: the
//! configurations. After it: `matriz::rendezvous::tls`, `rendezvous::tls`. Source: RFC 7468 (PEM).

#[cfg(any(test, feature = "band"))]
pub mod band;

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error, RootCertStore};

/// The longest file that is read, in bytes. The system's whole list of authorities is a quarter of it.
const LARGEST_FILE: u64 = 1 << 20;

/// A PEM file, and the key of the configuration that names it.
#[derive(Clone, Copy, Debug)]
pub struct Pem<'a> {
    /// The key, for instance `ca_crt`.
    pub key: &'static str,
    /// The file.
    pub path: &'a Path,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct FileError {
    /// The key in the configuration.
    pub key: &'static str,
    /// What is wrong, with which file, and what to do: a sentence.
    pub what: String,
}

/// The cryptography of all our TLS.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl Pem<'_> {
    /// All certificates in the file: its owner's first, then those between it and the authority.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or holds none.
    pub fn certificates(self) -> Result<Vec<CertificateDer<'static>>, FileError> {
        let bytes = self.read()?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let found =
            found.map_err(|error| self.wrong(format!("is a damaged PEM file ({error}); copy it anew")))?;
        if !found.is_empty() {
            return Ok(found);
        }
        let holds_key = String::from_utf8_lossy(&bytes).contains("PRIVATE KEY-----");
        let but = if holds_key { "but a private key; are the two files exchanged?" } else { "in PEM form" };
        Err(self.wrong(format!("holds no certificate {but} (-----BEGIN CERTIFICATE-----)")))
    }

    /// The private key in the file.
    ///
    /// # Errors
    /// The file cannot be read, or holds none that can be used without a password.
    pub fn private_key(self) -> Result<PrivateKeyDer<'static>, FileError> {
        let bytes = self.read()?;
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
            let (text, file) = (String::from_utf8_lossy(&bytes), self.path.display());
            self.wrong(if text.contains("ENCRYPTED") {
                format!("is locked with a password; unlock it: openssl pkey -in {file} -out unlocked.pem")
            } else if text.contains("-----BEGIN CERTIFICATE-----") {
                "holds a certificate but no private key; are the two files exchanged?".to_owned()
            } else {
                format!("holds no private key in PEM form ({error})")
            })
        })
    }

    /// The authorities in the file.
    ///
    /// # Errors
    /// As [`Pem::certificates`], or one of them cannot be an authority.
    pub fn authorities(self) -> Result<RootCertStore, FileError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| {
                self.wrong(format!("has a certificate that cannot be an authority ({error}); name another"))
            })?;
        }
        Ok(roots)
    }

    /// What is wrong when TLS does not take this private key with the certificate in `crt`.
    pub fn misfit(self, crt: Pem, error: &Error) -> FileError {
        match error {
            Error::InconsistentKeys(_) => {
                self.wrong(format!("is not the key of the certificate in {}", crt.path.display()))
            }
            Error::InvalidCertificate(_) => {
                crt.wrong(format!("has a damaged certificate ({error}); copy it anew"))
            }
            other => self.wrong(format!("has a key that cannot be used ({other}); make an ECDSA or RSA key")),
        }
    }

    fn read(self) -> Result<Vec<u8>, FileError> {
        let mut bytes = Vec::new();
        let read = File::open(self.path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes));
        match read {
            Err(error) => Err(self.unreadable(&error)),
            Ok(length) if length as u64 > LARGEST_FILE => {
                Err(self.wrong("has more than 1 MiB; name the file with the PEM text alone".to_owned()))
            }
            Ok(_) => Ok(bytes),
        }
    }

    fn unreadable(self, error: &io::Error) -> FileError {
        let Pem { key, path } = self;
        let why = match error.kind() {
            ErrorKind::NotFound => format!("is not there; put it there, or correct \"{key}\""),
            ErrorKind::PermissionDenied => {
                "may not be read by this user; allow it with chown or chmod".to_owned()
            }
            ErrorKind::IsADirectory => "is a folder, not a file; name the file in it".to_owned(),
            _ => format!("cannot be read ({error}); mend that, or name another file"),
        };
        FileError { key, what: format!("{}, the file of \"{key}\", {why}", path.display()) }
    }

    fn wrong(self, what: String) -> FileError {
        FileError { key: self.key, what: format!("{} {what}", self.path.display()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::band::Band;

    fn pem(path: &Path) -> Pem<'_> {
        Pem { key: "ca_crt", path }
    }

    #[test]
    fn a_chain_a_key_and_an_authority_are_read() {
        let band = Band::new("our band");
        let (crt, key) = band.sign("porto", "porto");
        let chain =
            std::fs::read_to_string(&crt).unwrap() + &std::fs::read_to_string(band.authority()).unwrap();
        std::fs::write(&crt, chain).unwrap();
        assert_eq!(pem(&crt).certificates().unwrap().len(), 2);
        assert!(pem(&key).private_key().is_ok());
        assert_eq!(pem(&band.authority()).authorities().unwrap().len(), 1);
    }

    #[test]
    fn a_file_that_is_none_is_told_with_its_name_and_what_to_do() {
        let band = Band::new("our band");
        let (crt, key) = band.sign("porto", "porto");
        let write = |name: &str, text: &[u8]| {
            std::fs::write(band.file(name), text).unwrap();
            band.file(name)
        };
        let damaged = write("damaged", b"-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n");
        let no_authority = write("none", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let locked = write("locked", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
        let endless = Path::new("/dev/zero");
        let missing = band.file("missing");
        let cases = [
            (pem(&missing).certificates().unwrap_err(), "is not there; put it there, or correct \"ca_crt\""),
            (pem(band.file("").as_path()).certificates().unwrap_err(), "is a folder, not a file"),
            (pem(endless).certificates().unwrap_err(), "has more than 1 MiB"),
            (pem(&damaged).certificates().unwrap_err(), "is a damaged PEM file"),
            (pem(&key).certificates().unwrap_err(), "are the two files exchanged?"),
            (pem(&no_authority).authorities().unwrap_err(), "cannot be an authority"),
            (pem(&crt).private_key().unwrap_err(), "a certificate but no private key"),
            (pem(&locked).private_key().unwrap_err(), "unlock it: openssl pkey -in "),
            (pem(endless).private_key().unwrap_err(), "has more than 1 MiB"),
        ];
        for (error, expected) in cases {
            assert!(error.key == "ca_crt" && error.to_string().contains(expected), "{expected}: {error}");
        }
        assert!(pem(&key).certificates().unwrap_err().what.starts_with(&key.display().to_string()));
    }
}
