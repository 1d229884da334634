//! The operator's certificates: a folder of PEM files, each a private key and its chain, read again
//! whenever something in it changes.
//!
//! `default.pem` is for clients that ask for no name, or for one that no certificate has; without it, the first
//! file is. A file that cannot be used keeps what it held before, is named in the log and in `/varz`, and disturbs
//! no other.

use crate::domain::server_names::ServerNames;
use arc_swap::ArcSwap;
use daemon::Shutdown;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// How often is looked for changes.
const LOOK: Duration = Duration::from_secs(1);
const DEFAULT: &str = "default.pem";
/// More is no certificate.
const LARGEST: u64 = 1 << 20;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("it cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("it is larger than any certificate")]
    TooLarge,
    #[error("it is not PEM: {0}")]
    Pem(rustls::pki_types::pem::Error),
    #[error("it holds no certificate")]
    NoCertificate,
    #[error("it holds no private key; the key and the chain belong in one file")]
    NoKey,
    #[error("the key and the certificate do not belong together, or are of no use: {0}")]
    Key(rustls::Error),
    #[error("the certificate names no host: subjectAltName is missing")]
    NoName,
    #[error("the certificate cannot be read")]
    Certificate,
}

/// One file that could be used.
#[derive(Debug, Clone)]
struct Loaded {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

/// What is shown of one file.
#[derive(Debug, Clone, serde::Serialize, PartialEq, Eq)]
pub struct Shown {
    pub names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

pub(super) type Mark = BTreeMap<String, (Option<SystemTime>, u64)>;

/// The certificates in use.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
    names: ArcSwap<ServerNames<Arc<CertifiedKey>>>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    mark: Option<Mark>,
    loaded: BTreeMap<String, Loaded>,
    problems: BTreeMap<String, String>,
}

impl Certificates {
    pub fn new(folder: PathBuf) -> Arc<Certificates> {
        let certificates = Arc::new(Certificates {
            folder,
            names: ArcSwap::default(),
            kept: Mutex::default(),
        });
        certificates.look();
        certificates
    }

    /// Keeps looking until the daemon ends.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        keep_looking(self, Certificates::look, shutdown).await
    }

    /// Reads the folder again if anything in it changed.
    pub fn look(&self) {
        let mark = marks(&self.folder);
        let mut kept = self
            .kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if kept.mark.as_ref() == Some(&mark) {
            return;
        }
        let mut loaded = BTreeMap::new();
        let mut problems = BTreeMap::new();
        for file in mark.keys() {
            match load(&self.folder.join(file)) {
                Ok(certificate) => {
                    loaded.insert(file.clone(), certificate);
                }
                Err(error) => {
                    let before = kept.loaded.get(file).cloned();
                    tracing::warn!(file, %error, kept = before.is_some(), "a certificate cannot be used");
                    problems.insert(file.clone(), error.to_string());
                    if let Some(before) = before {
                        loaded.insert(file.clone(), before);
                    }
                }
            }
        }
        tracing::info!(
            usable = loaded.len(),
            unusable = problems.len(),
            "the certificates were read"
        );
        self.names.store(Arc::new(arranged(&loaded)));
        *kept = Kept {
            mark: Some(mark),
            loaded,
            problems,
        };
    }

    pub fn shown(&self) -> BTreeMap<String, Shown> {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let files = kept.loaded.keys().chain(kept.problems.keys());
        files
            .map(|file| {
                let shown = Shown {
                    names: kept
                        .loaded
                        .get(file)
                        .map(|loaded| loaded.names.clone())
                        .unwrap_or_default(),
                    problem: kept.problems.get(file).cloned(),
                };
                (file.clone(), shown)
            })
            .collect()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.names.load().find(hello.server_name())
    }
}

fn arranged(loaded: &BTreeMap<String, Loaded>) -> ServerNames<Arc<CertifiedKey>> {
    let mut names = ServerNames::default();
    for certificate in loaded.values() {
        for name in &certificate.names {
            names.add(name, &certificate.key);
        }
    }
    if let Some(fallback) = loaded.get(DEFAULT).or_else(|| loaded.values().next()) {
        names.set_fallback(fallback.key.clone());
    }
    names
}

/// Looks every other moment whether a folder changed, until the daemon ends.
pub(super) async fn keep_looking<F: Send + Sync + 'static>(
    folder: Arc<F>,
    look: fn(&F),
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
        let folder = folder.clone();
        // Files may lie on a disk that takes its time.
        tokio::task::spawn_blocking(move || look(&folder)).await?;
    }
}

/// What tells whether a folder changed.
pub(super) fn marks(folder: &Path) -> Mark {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            // Through a link: that is how certificates are often put in place.
            let metadata = std::fs::metadata(entry.path()).ok()?;
            (name.ends_with(".pem") && metadata.is_file())
                .then(|| (name, (metadata.modified().ok(), metadata.len())))
        })
        .collect()
}

fn load(path: &Path) -> Result<Loaded, CertificateError> {
    if std::fs::metadata(path)?.len() > LARGEST {
        return Err(CertificateError::TooLarge);
    }
    let text = std::fs::read(path)?;
    let chain = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(CertificateError::Pem)?;
    let first = chain.first().ok_or(CertificateError::NoCertificate)?;
    let names: Vec<String> = webpki::EndEntityCert::try_from(first)
        .map_err(|_| CertificateError::Certificate)?
        .valid_dns_names()
        .map(str::to_string)
        .collect();
    if names.is_empty() {
        return Err(CertificateError::NoName);
    }
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| CertificateError::NoKey)?;
    let key =
        CertifiedKey::from_der(chain, key, &default_provider()).map_err(CertificateError::Key)?;
    Ok(Loaded {
        names,
        key: Arc::new(key),
    })
}
