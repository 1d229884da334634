//! Authorities and the papers they give out.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use std::path::Path;

/// Somebody who says who others are.
pub struct Authority {
    pub issuer: Issuer<'static, KeyPair>,
    pub certificate: rcgen::Certificate,
}

pub struct Papers {
    pub chain: String,
    pub key: String,
}

impl Papers {
    pub fn text(&self) -> String {
        format!("{}{}", self.key, self.chain)
    }
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    pub fn papers(&self, name: &str) -> Papers {
        let mut params = CertificateParams::new(vec![name.to_string()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Papers {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    pub fn is_trusted_in(&self, folder: &Path) {
        std::fs::write(folder.join("authority.pem"), self.certificate.pem()).unwrap();
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }
}
