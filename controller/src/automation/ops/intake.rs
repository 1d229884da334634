//! What happens outside and makes triggers fire (webhooks, sensors) is taken in here: those who come at the
//! same time are written in one transaction.
//!
//! ```text
//!   leader:  instances ─► judged ─► one transaction: instances, enforcements, executions, their start
//!   others:  instances ─► one transaction: pending instances ─► the leader's engine looks
//! ```
//! Problem: an event that waits for the engine costs a commit of its own before anybody looks at it.
//! Approach: the leader judges what comes before it writes it. What cannot be judged at once, or fails, is
//! recorded as pending like everywhere else, and the engine sees to it.

use super::fault::Fault;
use super::kept::Kept;
use super::matching::RuleSet;
use super::together::{Together, all_or_each};
use crate::automation::Automation;
use crate::automation::engine::rules;
use crate::store::automation::trigger_instances::{self, TriggerInstance};
use automation::documents::schema;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the count of what waits is believed.
const COUNT_HOLDS: Duration = Duration::from_millis(200);

/// The schemas of the payloads of trigger types, by the version of their rows.
pub type PayloadSchemas = Kept<(String, i64), schema::Compiled>;

/// What one caller brings: recorded whole or not at all.
type Brought = Vec<TriggerInstance>;

/// The rules as they were last read. Whoever judges looks first whether they still are.
#[derive(Clone, Default)]
pub struct KnownRules(Arc<Mutex<Arc<RuleSet>>>);

impl KnownRules {
    pub fn get(&self) -> Arc<RuleSet> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    pub fn put(&self, rules: Arc<RuleSet>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rules;
    }
}

/// What the requests that make triggers fire share.
#[derive(Clone, Default)]
pub struct Intake {
    pub rules: KnownRules,
    pub payloads: PayloadSchemas,
    group: Together<Brought, Result<Brought, Fault>>,
    /// How many trigger instances waited when they were last counted.
    counted: Arc<Mutex<Option<(Instant, i64)>>>,
}

impl Intake {
    /// Whether so few waited a moment ago that they need not be counted for the next one.
    pub fn has_room(&self, most: i64) -> bool {
        let counted = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.is_some_and(|(at, waiting)| at.elapsed() < COUNT_HOLDS && waiting < most / 2)
    }

    pub fn counted(&self, waiting: i64) {
        let now = Some((Instant::now(), waiting));
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Automation {
    /// Records that triggers fired, in one transaction with those that fire at the same time. When this returns
    /// Ok it is on disk.
    pub async fn take_in(&self, instances: Vec<TriggerInstance>) -> Result<(), Fault> {
        let automation = self.clone();
        let work = move |jobs| take_in_group(automation.clone(), jobs);
        self.intake
            .group
            .submit(&self.ops.tasks, instances, work)
            .await?
            .map(drop)
    }
}

async fn take_in_group(automation: Automation, jobs: Vec<Brought>) -> Vec<Result<Brought, Fault>> {
    all_or_each("take in trigger instances", jobs, |jobs| {
        Box::pin(write(automation.clone(), jobs))
    })
    .await
}

async fn write(automation: Automation, jobs: &[Brought]) -> Result<(), Fault> {
    let instances: Vec<TriggerInstance> = jobs.iter().flatten().cloned().collect();
    // Of a repeated report nobody knows before it is written whether it is one.
    let may_judge = instances.iter().all(|instance| instance.source.is_none());
    if may_judge && automation.epoch.borrow().is_some() {
        match rules::take_in(&automation, &instances).await {
            Ok(()) => return Ok(()),
            Err(fault) => tracing::warn!(
                error = &fault as &dyn std::error::Error,
                "trigger instances could not be judged as they came, and wait for the engine"
            ),
        }
    }
    let mut tx = automation
        .ops
        .store
        .write("take in trigger instances")
        .await?;
    trigger_instances::insert_all_once(&mut tx, &instances).await?;
    tx.commit().await?;
    automation.wake_engine();
    Ok(())
}
