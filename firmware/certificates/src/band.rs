//! Certificates as a band would make them: one authority, and what it signs. For tests only.
//!
//! Made anew for each test by rcgen, in a folder that vanishes with it, so no file with a date of expiry
//! lies in the repository. Used by the tests of boxes, of the rendezvous and of this library.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::path::PathBuf;

/// An authority and the folder with its certificate and those that it has signed.
pub struct Band {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Band {
    /// An authority of this name. Two of the same name do not know each other.
    pub fn new(name: &str) -> Band {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let band = Band { folder: tempfile::tempdir().unwrap(), issuer };
        std::fs::write(band.file("ca.crt"), band.issuer.pem()).unwrap();
        std::fs::write(band.file("ca.pem"), band.issuer.key().serialize_pem()).unwrap();
        band
    }

    /// A file of the band's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The authority's own certificate.
    pub fn authority(&self) -> PathBuf {
        self.file("ca.crt")
    }

    /// Writes `NAME.crt`, a certificate for `host` (a name or an address), and its key, `NAME.pem`.
    pub fn sign(&self, name: &str, host: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let (crt, pem) = (self.file(&format!("{name}.crt")), self.file(&format!("{name}.pem")));
        std::fs::write(&pem, key.serialize_pem()).unwrap();
        std::fs::write(&crt, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        (crt, pem)
    }
}
