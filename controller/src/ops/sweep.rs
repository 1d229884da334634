//! Blobs that no row names any more, and rows nobody will ask for, are removed now and then.
//!
//! A blob is written before the row that names it, so a young one is left alone whatever the rows say.

use super::{Ops, Refusal, now};
use crate::store::automation::pack_stagings;
use crate::store::{sweep, tasks};
use std::collections::BTreeSet;
use std::time::Duration;

/// How often.
pub const PERIOD: Duration = Duration::from_secs(600);
/// Younger blobs may be about to get a row.
const YOUNGEST: i64 = 3600;
/// Unused files of past pushes are kept for this long, in seconds.
const RESOURCES: i64 = 7 * 86_400;
/// Executions under way keep the content they began with; agents fetch it while they run.
const PACKS: i64 = 86_400;
/// Reports that agents put down before they tell of them.
const RESULTS: i64 = 86_400;
/// Whoever waited for the staging of a pack is gone after this, in microseconds.
const PACK_STAGINGS: i64 = 86_400_000_000;
/// Jobs are forgotten after this, in microseconds.
const JOBS: i64 = 86_400_000_000;
/// Audit events are forgotten after this, in microseconds.
const EVENTS: i64 = 31 * 86_400_000_000;

/// What the owner of a package reads.
const INTERRUPTED: &str = "the upload was interrupted: push again";

impl Ops {
    /// One round. Returns how many blobs were removed.
    pub async fn sweep(&self) -> Result<usize, Refusal> {
        let now_micros = now();
        let mut tx = self.store.write("forget old rows").await?;
        sweep::forget(&mut tx, now_micros - JOBS, now_micros - EVENTS).await?;
        pack_stagings::forget(&mut tx, now_micros - PACK_STAGINGS).await?;
        let kept = self.settings().duration("controller/tasks/retention");
        let kept = i64::try_from(kept.as_micros()).unwrap_or(i64::MAX);
        tasks::forget(&mut tx, now_micros.saturating_sub(kept)).await?;
        tx.commit().await?;
        let mut removed = 0;
        let unix_now = now_micros / 1_000_000;
        for (prefix, youngest) in [
            ("packages", YOUNGEST),
            ("droplets", YOUNGEST),
            ("uploads", YOUNGEST),
            ("caches", YOUNGEST),
            ("packs", PACKS),
            ("results", RESULTS),
            ("resources", RESOURCES),
        ] {
            let old: Vec<String> = self
                .blobs
                .list(prefix)
                .await?
                .into_iter()
                .filter(|(_, changed)| unix_now - changed > youngest)
                .map(|(key, _)| key)
                .collect();
            if old.is_empty() {
                continue;
            }
            // Read after the list: what got a row meanwhile is seen.
            let named = self.named(prefix).await?;
            for key in old {
                if !is_named(&key, &named) && self.blobs.delete(&key).await? {
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Packages that were being processed when a controller died: nobody will finish them. `started`: when
    /// this process did (Unix microseconds); younger ones may be its own. Of several controllers another one
    /// may still be at work on an older one: it makes the package ready all the same, at its end.
    pub async fn fail_interrupted_uploads(&self, started: i64) -> Result<u64, Refusal> {
        let mut tx = self.store.write("fail interrupted uploads").await?;
        let failed = sweep::fail_processing(&mut tx, started, INTERRUPTED, now()).await?;
        tx.commit().await?;
        if failed > 0 {
            tracing::warn!(
                failed,
                "uploads that an earlier process did not finish were failed"
            );
        }
        Ok(failed)
    }

    async fn named(&self, prefix: &str) -> Result<BTreeSet<String>, Refusal> {
        let mut connection = self.store.read().await?;
        Ok(match prefix {
            "packages" => sweep::package_checksums(&mut connection).await?,
            "droplets" => sweep::droplet_checksums(&mut connection).await?,
            "uploads" => sweep::running_builds(&mut connection).await?,
            "caches" => sweep::apps(&mut connection).await?,
            "packs" => sweep::pack_archives(&mut connection).await?,
            "results" => sweep::results(&mut connection).await?,
            _ => BTreeSet::new(),
        })
    }
}

/// `droplets/<sha256>`, `uploads/<build>/…`, `caches/<app>-<stack>.tgz`, `results/<sha256>`,
/// `results/<execution>-<attempt>`
fn is_named(key: &str, named: &BTreeSet<String>) -> bool {
    let mut parts = key.split('/');
    let (prefix, name) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    match prefix {
        "caches" => name.get(..36).is_some_and(|app| named.contains(app)),
        "results" => named.contains(name.split('-').next().unwrap_or_default()),
        _ => named.contains(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_known_by_the_row_that_names_it() {
        let app = "6a1d2b1e-0c6c-4a8e-9c66-0a5d6a3b7e11".to_string();
        let named = BTreeSet::from(["abc".to_string(), app.clone()]);
        assert!(is_named("droplets/abc", &named));
        assert!(is_named("uploads/abc/droplet.tgz", &named));
        assert!(is_named(&format!("caches/{app}-host.tgz"), &named));
        assert!(!is_named("droplets/abd", &named));
        assert!(!is_named("caches/x-host.tgz", &named));
        assert!(is_named("results/abc", &named));
        assert!(is_named("results/abc-2", &named));
        assert!(!is_named("results/abd-2", &named));
    }
}
