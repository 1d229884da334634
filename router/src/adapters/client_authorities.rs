//! Whom the router believes about its clients: a folder of authorities' certificates (PEM), read again within a
//! second of a change. What is of no use leaves what was read before.

use super::certificates::{Certificates, Mark, keep_looking, marks};
use super::server::Acceptors;
use super::trust::add_authorities;
use arc_swap::ArcSwapOption;
use daemon::Shutdown;
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How clients are asked who they are.
pub struct Asking {
    pub request: Acceptors,
    pub require: Acceptors,
}

pub struct ClientAuthorities {
    folder: PathBuf,
    certificates: Arc<Certificates>,
    asking: ArcSwapOption<Asking>,
    mark: Mutex<Option<Mark>>,
}

impl ClientAuthorities {
    pub fn new(folder: PathBuf, certificates: Arc<Certificates>) -> Arc<ClientAuthorities> {
        let authorities = Arc::new(ClientAuthorities {
            folder,
            certificates,
            asking: ArcSwapOption::empty(),
            mark: Mutex::default(),
        });
        authorities.look();
        authorities
    }

    /// Keeps looking until the daemon ends.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        keep_looking(self, ClientAuthorities::look, shutdown).await
    }

    /// `None` without a single authority.
    pub fn asking(&self) -> Option<Arc<Asking>> {
        self.asking.load_full()
    }

    /// Reads the folder again if anything in it changed.
    pub fn look(&self) {
        let seen = marks(&self.folder);
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        if mark.as_ref() == Some(&seen) {
            return;
        }
        match read(&self.folder, seen.keys(), &self.certificates) {
            Ok(asking) => self.asking.store(asking.map(Arc::new)),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "whom clients are believed by stays as it was");
            }
        }
        *mark = Some(seen);
    }
}

fn read<'a>(
    folder: &Path,
    files: impl Iterator<Item = &'a String>,
    certificates: &Arc<Certificates>,
) -> anyhow::Result<Option<Asking>> {
    let mut roots = RootCertStore::empty();
    for file in files {
        add_authorities(&mut roots, folder, file)?;
    }
    if roots.is_empty() {
        return Ok(None);
    }
    let roots = Arc::new(roots);
    let verifier = || {
        let provider = Arc::new(default_provider());
        WebPkiClientVerifier::builder_with_provider(roots.clone(), provider)
    };
    let request = verifier().allow_unauthenticated().build()?;
    let require = verifier().build()?;
    Ok(Some(Asking {
        request: Acceptors::new(certificates.clone(), request)?,
        require: Acceptors::new(certificates.clone(), require)?,
    }))
}
