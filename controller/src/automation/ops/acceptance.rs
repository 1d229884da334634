//! How executions are accepted at a high rate: what is made of an action is kept between requests, and those
//! accepted at the same time are committed together.

use super::executions::{Composed, Prepared};
use super::fault::Fault;
use super::together::{Together, all_or_each};
use crate::automation::Automation;
use crate::store::automation::actions::Version;
use crate::store::automation::packs::Standing;
use crate::store::{StoreError, leadership};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Things kept of each kind. One more, and all are forgotten: a bound, not a policy.
const MOST_KEPT: usize = 1000;

/// By reference: what was made of rows, and of which version of them.
type Made<V, T> = BTreeMap<String, (V, Arc<T>)>;

/// What is made of rows (`T`), by reference, and of which version of them (`V`) it was made.
pub struct Kept<V, T>(Arc<Mutex<Made<V, T>>>);

impl<V, T> Clone for Kept<V, T> {
    fn clone(&self) -> Self {
        Kept(self.0.clone())
    }
}

impl<V, T> Default for Kept<V, T> {
    fn default() -> Self {
        Kept(Arc::default())
    }
}

impl<V: PartialEq, T> Kept<V, T> {
    /// What was made of rows of this version.
    pub fn get(&self, reference: &str, version: &V) -> Option<Arc<T>> {
        self.latest(reference, |made_from, _| made_from == version)
    }

    /// What was made last, if it is what somebody looks for.
    pub fn latest(&self, reference: &str, is_it: impl FnOnce(&V, &T) -> bool) -> Option<Arc<T>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(reference)
            .filter(|(made_from, made)| is_it(made_from, made))
            .map(|(_, made)| made.clone())
    }

    pub fn put(&self, reference: &str, made_from: V, made: Arc<T>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(reference.to_string(), (made_from, made));
    }
}

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
