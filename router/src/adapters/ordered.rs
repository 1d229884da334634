//! The certificates that the cluster ordered: documents in the cluster store, kept as files of the router's own.
//!
//! A router that starts while the store is away serves with what it has on disk, and one that reads the store
//! makes its folder what the store holds. The keys come sealed with a secret that only controllers and routers have;
//! what does not open, or is about another domain, is left alone and told in the log.

use super::certificates::Certificates;
use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use daemon::seals::Seals;
use daemon::{Cluster, Shutdown};
use proto::certificates::{PREFIX, StoredCertificate};
use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often the store is read, should no watch say that it changed.
const AGAIN: Duration = Duration::from_secs(60);
/// How long it is waited after a reading that failed.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps a folder as the cluster store has it.
pub struct Ordered {
    pub cluster: Cluster,
    pub seals: Seals,
    pub folder: PathBuf,
    pub certificates: Arc<Certificates>,
}

/// Why a document gives no certificate.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("its domain cannot be the name of a file")]
    Domain,
    #[error("it cannot be read")]
    Form(#[source] serde_json::Error),
    #[error("its key does not open with the secret of this router")]
    Sealed,
}

impl Ordered {
    /// Follows the store until the daemon ends.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut hints = self.cluster.watch(PREFIX).await?;
        loop {
            let wait = match self.read().await {
                Ok(()) => AGAIN,
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::debug!(error, "the certificates that were ordered were not read");
                    RETRY
                }
            };
            tokio::select! {
                hint = hints.recv() => hint.context("the watch of certificates ended")?,
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    async fn read(self: &Arc<Self>) -> anyhow::Result<()> {
        let stored = self.cluster.list(PREFIX).await?;
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let documents = stored
                .iter()
                .map(|(key, stored)| (key.as_str(), stored.value.as_str()));
            keep(&this.folder, &this.seals, documents)?;
            this.certificates.look();
            Ok(())
        })
        .await
        .context("the writer of certificates ended early")?
    }
}

/// Makes the folder hold these documents and no others.
fn keep<'a>(
    folder: &Path,
    seals: &Seals,
    documents: impl Iterator<Item = (&'a str, &'a str)>,
) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("making {}", folder.display()))?;
    let mut kept = BTreeSet::new();
    for (key, value) in documents {
        let domain = key.strip_prefix(PREFIX).unwrap_or(key);
        // Whatever becomes of the document: what it gave before stays in use.
        kept.insert(format!("{domain}.pem"));
        match opened(seals, domain, value) {
            Ok(text) => {
                let path = folder.join(format!("{domain}.pem"));
                if std::fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
                    replace(&path, &text).with_context(|| format!("writing {}", path.display()))?;
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    domain,
                    error,
                    "a certificate that was ordered cannot be used"
                );
            }
        }
    }
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
        let is_kept = entry
            .file_name()
            .to_str()
            .is_some_and(|name| kept.contains(name));
        if !is_kept {
            std::fs::remove_file(entry.path())
                .with_context(|| format!("removing {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// The text of the file: key and chain.
fn opened(seals: &Seals, domain: &str, value: &str) -> Result<String, Unusable> {
    if !proto::config::is_host_name(domain) {
        return Err(Unusable::Domain);
    }
    let stored: StoredCertificate = serde_json::from_str(value).map_err(Unusable::Form)?;
    let key = || {
        let nonce = STANDARD.decode(&stored.nonce).ok()?.try_into().ok()?;
        let sealed = STANDARD.decode(&stored.sealed_key).ok()?;
        String::from_utf8(seals.open(&sealed, domain.as_bytes(), nonce)?).ok()
    };
    let key = key().ok_or(Unusable::Sealed)?;
    Ok(format!("{key}\n{}", stored.chain))
}

/// Puts a file in place whole, for nobody else to read.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let fresh = path.with_extension("pem.new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn document(seals: &Seals, domain: &str, about: &str) -> (String, String) {
        let nonce = [3; daemon::seals::NONCE_LEN];
        let sealed = seals.seal(b"KEY", about.as_bytes(), nonce).unwrap();
        let stored = StoredCertificate {
            chain: format!("CHAIN of {domain}\n"),
            sealed_key: STANDARD.encode(sealed),
            nonce: STANDARD.encode(nonce),
        };
        let value = serde_json::to_string(&stored).unwrap();
        (format!("{PREFIX}{domain}"), value)
    }

    fn files(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_folder_becomes_what_the_store_holds() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("ordered");
        let seals = Seals::read("secret").unwrap();
        let keep_all = |documents: &[(String, String)]| {
            let documents = documents
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()));
            keep(&folder, &seals, documents).unwrap();
        };
        let a = document(&seals, "a.example.com", "a.example.com");
        let b = document(&seals, "b.example.com", "b.example.com");
        keep_all(&[a.clone(), b]);
        assert_eq!(files(&folder), ["a.example.com.pem", "b.example.com.pem"]);
        let path = folder.join("a.example.com.pem");
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "KEY\nCHAIN of a.example.com\n"
        );
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // What does not open changes nothing, what is gone is removed.
        let strange = document(&seals, "a.example.com", "c.example.com");
        keep_all(&[strange]);
        assert_eq!(files(&folder), ["a.example.com.pem"]);
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("KEY"));
        keep_all(&[]);
        assert!(files(&folder).is_empty());
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let seals = Seals::read("secret").unwrap();
        for domain in ["../a.example.com", "a/b.example.com", "", "a"] {
            let (_, value) = document(&seals, domain, domain);
            let refused = opened(&seals, domain, &value);
            assert!(matches!(refused, Err(Unusable::Domain)), "{domain}");
        }
    }
}
