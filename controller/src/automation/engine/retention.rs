//! Retention: history does not grow for ever. The leader deletes what is older than the cluster's settings
//! say, in small transactions, so that nobody waits long behind one. Blobs of results that no row names any
//! more go with the other old blobs (`ops/sweep.rs`).

use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::ops::now;
use crate::runtime::LEADERSHIP;
use crate::store::automation::retention::{self, Kind};
use crate::store::automation::tokens;
use crate::store::leadership;
use daemon::Shutdown;
use std::time::Duration;

/// How often.
const PERIOD: Duration = Duration::from_secs(600);
/// Rows deleted in one transaction.
const BATCH: i64 = 200;
/// Between two of them: others write as well.
const PAUSE: Duration = Duration::from_millis(50);

/// What is forgotten, and the setting that says when.
const KINDS: [(Kind, &str); 5] = [
    (Kind::Executions, "automation/retention/executions"),
    (Kind::Outputs, "automation/retention/outputs"),
    (
        Kind::TriggerInstances,
        "automation/retention/trigger_instances",
    ),
    (Kind::Enforcements, "automation/retention/enforcements"),
    (Kind::Traces, "automation/retention/traces"),
];

/// Sweeps now and then, while this controller leads.
pub async fn run(automation: Automation, shutdown: Shutdown) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = shutdown.draining() => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
        if automation.epoch.borrow().is_none() {
            continue;
        }
        let swept = tokio::select! {
            () = shutdown.draining() => return Ok(()),
            swept = sweep(&automation) => swept,
        };
        match swept {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "old rows of automation were deleted"),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "old rows of automation could not be deleted; the next round tries again"
            ),
        }
    }
}

/// Deletes all that is old. How many rows it were.
pub async fn sweep(automation: &Automation) -> Result<u64, Fault> {
    let mut deleted = 0;
    for (kind, setting) in KINDS {
        let age = automation.ops.settings().duration(setting);
        let before = now().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        loop {
            let Some(epoch) = *automation.epoch.borrow() else {
                return Ok(deleted);
            };
            let mut tx = automation.ops.store.write("forget old automation").await?;
            leadership::fence(&mut tx, LEADERSHIP, epoch).await?;
            let some = retention::forget(&mut tx, kind, before, BATCH).await?;
            tx.commit().await?;
            deleted += some;
            if some < BATCH.unsigned_abs() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    let mut tx = automation.ops.store.write("forget expired tokens").await?;
    tokens::delete_expired(&mut tx, now()).await?;
    tx.commit().await?;
    Ok(deleted)
}
