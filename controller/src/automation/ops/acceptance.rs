//! How executions are accepted at a high rate: what is made of an action is kept between requests, and those
//! accepted at the same time are committed together.

use super::executions::{Composed, Prepared, record};
use super::fault::Fault;
use super::together::Together;
use crate::automation::Automation;
use crate::store::automation::actions::Version;
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Actions kept ready. One more, and all are forgotten: a bound, not a policy.
const MOST_READY: usize = 1000;

/// Actions that were asked for, ready to be run, with the versions of the rows they were made from.
#[derive(Clone, Default)]
pub struct Ready(Arc<Mutex<BTreeMap<String, (Version, Arc<Prepared>)>>>);

impl Ready {
    /// The action, if it was made from rows of this version.
    pub fn get(&self, reference: &str, version: &Version) -> Option<Arc<Prepared>> {
        let ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ready
            .get(reference)
            .filter(|(made_from, _)| made_from == version)
            .map(|(_, prepared)| prepared.clone())
    }

    pub fn put(&self, reference: &str, version: Version, prepared: Arc<Prepared>) {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.len() >= MOST_READY {
            ready.clear();
        }
        ready.insert(reference.to_string(), (version, prepared));
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
    /// is on disk.
    pub async fn record_together(&self, composed: Composed) -> Result<Composed, Fault> {
        let store = self.ops.store.clone();
        let work = move |jobs| record_group(store.clone(), jobs);
        self.acceptance
            .group
            .submit(&self.ops.tasks, composed, work)
            .await
            .unwrap_or_else(|unanswered| Err(Fault::Unavailable(unanswered.to_string())))
    }
}

async fn write(store: &Store, jobs: &[Composed]) -> Result<(), StoreError> {
    let mut tx = store.write("accept executions").await?;
    record(&mut tx, jobs).await?;
    tx.commit().await
}

/// All of a group, or each by itself if the whole is refused. Answers in the order of the jobs.
pub async fn record_group(store: Store, jobs: Vec<Composed>) -> Vec<Result<Composed, Fault>> {
    match write(&store, &jobs).await {
        Ok(()) => jobs.into_iter().map(Ok).collect(),
        Err(error @ StoreError::Unavailable { .. }) => {
            // Each by itself would wait as long again.
            let text = error.to_string();
            let error = std::iter::once(Fault::Store(error));
            let others = std::iter::repeat_with(|| Fault::Unavailable(text.clone()));
            error.chain(others).take(jobs.len()).map(Err).collect()
        }
        Err(error) if jobs.len() == 1 => vec![Err(error.into())],
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                executions = jobs.len(),
                "executions were refused together and are recorded one by one"
            );
            let mut answers = Vec::with_capacity(jobs.len());
            for job in jobs {
                let done = write(&store, std::slice::from_ref(&job)).await;
                answers.push(done.map(|()| job).map_err(Fault::from));
            }
            answers
        }
    }
}
