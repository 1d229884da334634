//! How executions are accepted at a high rate: what is made of an action is kept between requests, and those
//! accepted at the same time are committed together.

use super::executions::{Composed, Prepared, record};
use super::fault::Fault;
use super::together::{Together, all_or_each};
use crate::automation::Automation;
use crate::store::automation::actions::Version;
use crate::store::{StoreError, leadership};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Actions kept ready. One more, and all are forgotten: a bound, not a policy.
const MOST_READY: usize = 1000;

/// An action ready to be run, and the version of the rows it was made from.
struct Kept {
    made_from: Version,
    prepared: Arc<Prepared>,
}

/// Actions that were asked for, by reference.
#[derive(Clone, Default)]
pub struct Ready(Arc<Mutex<BTreeMap<String, Kept>>>);

impl Ready {
    /// The action, if it was made from rows of this version.
    pub fn get(&self, reference: &str, version: &Version) -> Option<Arc<Prepared>> {
        let ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ready
            .get(reference)
            .filter(|kept| kept.made_from == *version)
            .map(|kept| kept.prepared.clone())
    }

    pub fn put(&self, reference: &str, made_from: Version, prepared: Arc<Prepared>) {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.len() >= MOST_READY {
            ready.clear();
        }
        let kept = Kept {
            made_from,
            prepared,
        };
        ready.insert(reference.to_string(), kept);
    }
}

/// What the requests that want something run share.
#[derive(Clone, Default)]
pub struct Acceptance {
    pub ready: Ready,
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
    record(round.connection(), jobs).await?;
    let rows = jobs
        .iter()
        .filter(|job| job.refusal.is_none())
        .map(|job| job.row.clone());
    round.accepted(rows.collect()).await?;
    round.finish().await
}
