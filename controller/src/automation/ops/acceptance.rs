//! How executions are accepted at a high rate: what is made of an action is [kept](Kept) between requests, and
//! those accepted at the same time are committed together.

use super::executions::{Composed, Prepared};
use super::fault::Fault;
use super::kept::Kept;
use super::together::{Together, all_or_each};
use crate::automation::Automation;
use crate::store::automation::actions::Version;
use crate::store::automation::packs::Standing;
use crate::store::{StoreError, leadership};
use serde_json::Value;

/// What the requests that want something run share.
#[derive(Clone, Default)]
pub struct Acceptance {
    /// Actions ready to be run.
    pub ready: Kept<Version, Prepared>,
    /// Configurations of packs as their code sees them, of those that are the same for every user.
    pub configs: Kept<Standing, Value>,
    group: Together<Composed, Result<Composed, Fault>>,
}

impl Automation {
    /// Records an execution, in one transaction with those recorded at the same time. When this returns Ok it
    /// is on disk, and has begun if it may and this controller leads.
    pub async fn record_together(&self, composed: Composed) -> Result<Composed, Fault> {
        let automation = self.clone();
        let work = move |jobs| record_group(automation.clone(), jobs);
        self.acceptance
            .group
            .submit(&self.ops.tasks, composed, work)
            .await?
    }
}

/// All of a group, or each by itself if the whole is refused. Answers in the order of the jobs.
pub async fn record_group(
    automation: Automation,
    jobs: Vec<Composed>,
) -> Vec<Result<Composed, Fault>> {
    all_or_each("accept executions", jobs, |jobs| {
        Box::pin(write(automation.clone(), jobs))
    })
    .await
}

async fn write(automation: Automation, jobs: &[Composed]) -> Result<(), Fault> {
    let epoch = *automation.epoch.borrow();
    match write_as(&automation, jobs, epoch).await {
        // It does not lead any more, without knowing it: somebody else sees to what is recorded.
        Err(Fault::Store(StoreError::Stale {
            noun: leadership::NOUN,
            ..
        })) if epoch.is_some() => write_as(&automation, jobs, None).await,
        done => done,
    }
}

async fn write_as(
    automation: &Automation,
    jobs: &[Composed],
    epoch: Option<i64>,
) -> Result<(), Fault> {
    let mut round = automation.round_of("accept executions", epoch).await?;
    round.record(jobs);
    let rows = jobs
        .iter()
        .filter(|job| job.refusal.is_none())
        .map(|job| job.row.clone());
    round.accepted(rows.collect()).await?;
    round.finish().await
}
