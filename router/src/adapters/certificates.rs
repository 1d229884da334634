//! The certificates of the entrance for TLS: folders of PEM files, each a private key and its chain, read again
//! whenever something in them changes. One folder is the operator's, the other holds what the cluster ordered
//! ([`super::ordered`]).
//!
//! `default.pem` of the operator is for clients that ask for no name, or for one that no certificate has; without it, the first
//! file is. Where several have a name, the operator's comes before one that was ordered, and `default.pem` last: it may sign itself. A file that cannot be used keeps what it held before, is named in the log and in `/varz`, and disturbs
//! no other.

use crate::domain::server_names::ServerNames;
use arc_swap::ArcSwap;
use daemon::Shutdown;
use proto::api::ToldCertificate;
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
    /// Unix seconds.
    not_after: i64,
    key: Arc<CertifiedKey>,
}

/// Who put a file in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Operator,
    Ordered,
}

/// A file, as it is named here: files of the two folders may have the same name.
type Place = (Origin, String);

pub(super) type Mark = BTreeMap<String, (Option<SystemTime>, u64)>;

/// The certificates in use.
#[derive(Debug)]
pub struct Certificates {
    folders: Vec<(Origin, PathBuf)>,
    names: ArcSwap<ServerNames<Arc<CertifiedKey>>>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    mark: Option<Vec<Mark>>,
    loaded: BTreeMap<Place, Loaded>,
    problems: BTreeMap<Place, String>,
}

impl Certificates {
    /// Those that an operator puts in `folder`.
    pub fn new(folder: PathBuf) -> Arc<Certificates> {
        Certificates::of(vec![(Origin::Operator, folder)])
    }

    /// Those, and what was ordered.
    pub fn with_ordered(folder: PathBuf, ordered: PathBuf) -> Arc<Certificates> {
        Certificates::of(vec![(Origin::Operator, folder), (Origin::Ordered, ordered)])
    }

    fn of(folders: Vec<(Origin, PathBuf)>) -> Arc<Certificates> {
        let certificates = Arc::new(Certificates {
            folders,
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

    /// Reads the folders again if anything in them changed.
    pub fn look(&self) {
        let mark: Vec<Mark> = self
            .folders
            .iter()
            .map(|(_, folder)| marks(folder))
            .collect();
        let mut kept = self
            .kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if kept.mark.as_ref() == Some(&mark) {
            return;
        }
        let mut loaded = BTreeMap::new();
        let mut problems = BTreeMap::new();
        for ((origin, folder), mark) in self.folders.iter().zip(&mark) {
            for file in mark.keys() {
                let place = (*origin, file.clone());
                match load(&folder.join(file)) {
                    Ok(certificate) => {
                        loaded.insert(place, certificate);
                    }
                    Err(error) => {
                        let before = kept.loaded.get(&place).cloned();
                        tracing::warn!(file, %error, kept = before.is_some(), "a certificate cannot be used");
                        problems.insert(place.clone(), error.to_string());
                        if let Some(before) = before {
                            loaded.insert(place, before);
                        }
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

    /// What the status server shows, by file.
    pub fn shown(&self) -> BTreeMap<String, ToldCertificate> {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let files = kept.loaded.keys().chain(kept.problems.keys());
        files
            .map(|place| {
                let (origin, file) = place;
                let loaded = kept.loaded.get(place);
                let (source, shown_as) = match origin {
                    Origin::Operator => ("file", file.clone()),
                    Origin::Ordered => ("ordered", format!("ordered/{file}")),
                };
                let shown = ToldCertificate {
                    source: source.to_string(),
                    names: loaded.map(|it| it.names.clone()).unwrap_or_default(),
                    not_after: loaded.map(|loaded| loaded.not_after),
                    problem: kept.problems.get(place).cloned(),
                };
                (shown_as, shown)
            })
            .collect()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.names.load().find(hello.server_name())
    }
}

fn arranged(loaded: &BTreeMap<Place, Loaded>) -> ServerNames<Arc<CertifiedKey>> {
    let mut names = ServerNames::default();
    let default = (Origin::Operator, DEFAULT.to_string());
    let others = loaded.iter().filter(|(place, _)| **place != default);
    for (_, certificate) in others.chain(loaded.get_key_value(&default)) {
        for name in &certificate.names {
            // The first that has it keeps it.
            names.add(name, &certificate.key);
        }
    }
    if let Some(fallback) = loaded.get(&default).or_else(|| loaded.values().next()) {
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
    let (_, parsed) =
        x509_parser::parse_x509_certificate(first).map_err(|_| CertificateError::Certificate)?;
    let not_after = parsed.validity().not_after.timestamp();
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| CertificateError::NoKey)?;
    let key =
        CertifiedKey::from_der(chain, key, &default_provider()).map_err(CertificateError::Key)?;
    Ok(Loaded {
        names,
        not_after,
        key: Arc::new(key),
    })
}
