//! The HTTP client for what operators keep outside the cluster: TLS with the authorities that this machine
//! trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR`, else those of the system), and with one of the operator's own.
//!
//! Clients for the cluster itself trust nobody outside, so none of them reads the machine's certificates;
//! this one does so each time, and what changes on the disk counts at once.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Redirects that are followed.
const MOST_REDIRECTS: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the certificates of {path} cannot be read")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("{path} has no certificate that could be trusted")]
    Nothing { path: PathBuf },
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    #[error("the HTTP client cannot be made")]
    Client(#[from] reqwest::Error),
}

/// A client that trusts the authorities of this machine and those in a PEM file. Reads from the disk.
pub fn client(own: Option<&Path>) -> Result<reqwest::Client, TrustError> {
    let mut roots = RootCertStore::empty();
    let of_machine = rustls_native_certs::load_native_certs();
    for error in &of_machine.errors {
        tracing::debug!(%error, "a certificate of this machine was not read");
    }
    roots.add_parsable_certificates(of_machine.certs);
    if let Some(path) = own {
        let unreadable = |source| TrustError::Unreadable {
            path: path.to_path_buf(),
            source,
        };
        let certificates = CertificateDer::pem_file_iter(path)
            .map_err(unreadable)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(TrustError::Nothing {
                path: path.to_path_buf(),
            });
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(reqwest::Client::builder()
        .use_preconfigured_tls(tls)
        .redirect(reqwest::redirect::Policy::custom(follow))
        .build()?)
}

/// Nobody leads from a protected address to an unprotected one.
fn follow(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let was_protected = attempt
        .previous()
        .last()
        .is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > MOST_REDIRECTS {
        attempt.error("too many redirects")
    } else if was_protected && attempt.url().scheme() != "https" {
        attempt.error("it redirects from https to http")
    } else {
        attempt.follow()
    }
}
