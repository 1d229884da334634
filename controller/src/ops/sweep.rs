//! Blobs that no row names any more, and rows nobody will ask for, are removed now and then
//! ([`crate::domain::sweep`] decides which).

use super::{Ops, Refusal, now};
use crate::domain::sweep::Kind;
use crate::store::automation::pack_stagings;
use crate::store::{packages, sweep, tasks};
use std::collections::BTreeSet;
use std::time::Duration;

/// Whoever waited for the staging of a pack is gone after this, in microseconds.
const PACK_STAGINGS: i64 = 86_400_000_000;
/// Jobs are forgotten after this, in microseconds.
const JOBS: i64 = 86_400_000_000;
/// Audit events are forgotten after this, in microseconds.
const EVENTS: i64 = 31 * 86_400_000_000;

/// How often a controller says that it still works on an upload.
pub const AT_WORK: Duration = Duration::from_secs(2);
/// How often uploads are looked for that nobody works on any more.
pub const LOOK: Duration = Duration::from_secs(3);
/// An upload of which nobody said so for this long is not finished by anybody, in microseconds.
const SILENT: i64 = 10_000_000;
/// What the owner of a package reads.
const INTERRUPTED: &str = "the upload was interrupted: push again";

impl Ops {
    /// How often blobs and rows are looked for.
    pub fn sweep_period(&self) -> Duration {
        self.settings().duration("controller/blobs/sweep_period")
    }

    /// One round. Returns how many blobs were removed.
    pub async fn sweep(&self) -> Result<usize, Refusal> {
        let now_micros = now();
        let mut tx = self.store.write("forget old rows").await?;
        sweep::forget(&mut tx, now_micros - JOBS, now_micros - EVENTS).await?;
        pack_stagings::forget(&mut tx, now_micros - PACK_STAGINGS).await?;
        let settings = self.settings();
        let kept = settings.duration("controller/tasks/retention");
        let kept = i64::try_from(kept.as_micros()).unwrap_or(i64::MAX);
        tasks::forget(&mut tx, now_micros.saturating_sub(kept)).await?;
        tx.commit().await?;
        let unnamed = settings.duration("controller/blobs/unnamed_retention");
        let mut removed = self.blobs.remove_broken_off(unnamed).await?;
        for kind in Kind::ALL {
            let listed = self.blobs.list(kind.prefix()).await?;
            let old = kind.old(listed, now_micros / 1_000_000, unnamed);
            if old.is_empty() {
                continue;
            }
            // Read after the list: what got a row meanwhile is seen.
            let named = self.named(kind).await?;
            for key in old {
                if !kind.is_named(&key, &named) && self.blobs.delete(&key).await? {
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Says that the bits of a package are still being processed here.
    pub(super) async fn at_work(&self, package: &str) {
        let said = async {
            let mut tx = self.store.write("work on an upload").await?;
            packages::at_work(&mut tx, package, now()).await?;
            tx.commit().await
        };
        if let Err(error) = said.await {
            tracing::debug!(
                package,
                error = &error as &dyn std::error::Error,
                "it was not said that an upload is worked on"
            );
        }
    }

    /// Packages whose controller died while it processed them: nobody will finish them. Each of several
    /// controllers looks; one at work says so all the time, and makes a package ready all the same that was
    /// failed too early.
    pub async fn fail_interrupted_uploads(&self) -> Result<u64, Refusal> {
        let mut tx = self.store.write("fail interrupted uploads").await?;
        let now = now();
        let failed = packages::fail_processing(&mut tx, now - SILENT, INTERRUPTED, now).await?;
        tx.commit().await?;
        if failed > 0 {
            tracing::warn!(
                failed,
                "uploads that their controller did not finish were failed"
            );
        }
        Ok(failed)
    }

    async fn named(&self, kind: Kind) -> Result<BTreeSet<String>, Refusal> {
        let mut connection = self.store.read().await?;
        Ok(match kind {
            Kind::Packages => sweep::package_checksums(&mut connection).await?,
            Kind::Buildpacks => sweep::buildpack_checksums(&mut connection).await?,
            Kind::Droplets => sweep::droplet_checksums(&mut connection).await?,
            Kind::Uploads => sweep::running_builds(&mut connection).await?,
            Kind::Caches => sweep::apps(&mut connection).await?,
            Kind::Packs => sweep::pack_archives(&mut connection).await?,
            Kind::Results => sweep::results(&mut connection).await?,
            Kind::Resources => BTreeSet::new(),
        })
    }
}
