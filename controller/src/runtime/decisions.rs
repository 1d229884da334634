//! Writes down what was decided about instances, so that `yard why` can tell it.
//!
//! What is decided in a round is noted in memory and written in one transaction after the round's
//! commands have left: no start waits for its record. What could not be written is written with a
//! later round; a leader that dies in between leaves a start whose reason nobody knows.

use super::{Shared, clock};
use crate::domain::dispatch::Launch;
use crate::store::StoreError;
use crate::store::decisions::{self, Decision};
use crate::store::desired::DesiredRow;
use proto::ids::{DeaId, InstanceId, ProcessGuid, Version};
use std::collections::BTreeMap;

/// Most that waits to be written: the oldest is dropped.
const MOST: usize = 20_000;

/// The index of a process that a decision is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index<'a> {
    pub app: &'a str,
    pub process: &'a ProcessGuid,
    pub kind: &'a str,
    pub version: &'a Version,
    pub index: u32,
}

impl<'a> Index<'a> {
    pub(super) fn of(row: &'a DesiredRow, index: u32) -> Index<'a> {
        Index {
            app: &row.app,
            process: &row.process,
            kind: &row.kind,
            version: &row.version,
            index,
        }
    }

    fn decision(self, kind: &str, because: &str) -> Decision {
        Decision {
            guid: uuid::Uuid::new_v4().to_string(),
            app_guid: self.app.to_string(),
            process_guid: self.process.to_string(),
            process_type: self.kind.to_string(),
            version: self.version.to_string(),
            instance_index: i64::from(self.index),
            instance: None,
            dea: None,
            kind: kind.to_string(),
            because: because.to_string(),
            placement: None,
            created_at: clock::unix_micros(),
        }
    }
}

fn note(shared: &Shared, decision: Decision) {
    let noted = &mut shared.state().decisions;
    if noted.len() >= MOST {
        noted.pop_front();
        metrics::counter!("controller_decisions_dropped_total").increment(1);
    }
    noted.push_back(decision);
}

/// An instance was started on an agent; `placement`: why there.
pub(super) fn started(
    shared: &Shared,
    index: Index<'_>,
    instance: &InstanceId,
    dea: &DeaId,
    because: &str,
    placement: &str,
) {
    let started = Decision {
        instance: Some(instance.to_string()),
        dea: Some(dea.to_string()),
        placement: Some(placement.to_string()),
        ..index.decision(decisions::STARTED, because)
    };
    note(shared, started);
}

/// An index waits; `refusal`: for what. One record a wait, however often its reason changes.
pub(super) fn not_placed(
    shared: &Shared,
    epoch: i64,
    index: Index<'_>,
    because: &str,
    refusal: &str,
) {
    let since = shared
        .state()
        .picture
        .waiting
        .get(index.process)
        .and_then(|waiting| waiting.get(&index.index))
        .map(|wait| wait.since.as_micros())
        .unwrap_or_default();
    let waits = Decision {
        guid: format!("wait-{epoch}-{}-{}-{since}", index.process, index.index),
        placement: Some(refusal.to_string()),
        ..index.decision(decisions::NOT_PLACED, because)
    };
    note(shared, waits);
}

/// Instances of `row` were told to stop.
pub(super) fn stopped(shared: &Shared, row: &DesiredRow, instances: &[InstanceId], because: &str) {
    let seen: Vec<(u32, Version, Option<DeaId>, &InstanceId)> = {
        let state = shared.state();
        instances
            .iter()
            .filter_map(|id| {
                let one = state.picture.observed.instance(id)?;
                Some((one.index, one.version.clone(), one.dea.clone(), id))
            })
            .collect()
    };
    for (index, version, dea, id) in seen {
        let index = Index {
            version: &version,
            ..Index::of(row, index)
        };
        let stopped = Decision {
            instance: Some(id.to_string()),
            dea: dea.map(|dea| dea.to_string()),
            ..index.decision(decisions::STOPPED, because)
        };
        note(shared, stopped);
    }
}

/// A start that will not be seen any more.
pub(super) fn never_arrived(shared: &Shared, row: &DesiredRow, launch: &Launch, because: &str) {
    let index = Index {
        version: &launch.version,
        ..Index::of(row, launch.index)
    };
    let lost = Decision {
        dea: Some(launch.dea.to_string()),
        ..index.decision(decisions::NEVER_ARRIVED, because)
    };
    note(shared, lost);
}

/// Writes what was noted.
pub(super) async fn record(shared: &Shared, epoch: i64) -> Result<(), StoreError> {
    let noted = std::mem::take(&mut shared.state().decisions);
    if noted.is_empty() {
        return Ok(());
    }
    // A statement may write a row once; of a wait the newest reason counts.
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rows: Vec<Decision> = Vec::with_capacity(noted.len());
    for decision in &noted {
        match places.get(decision.guid.as_str()) {
            Some(place) => rows[*place] = decision.clone(),
            None => {
                places.insert(&decision.guid, rows.len());
                rows.push(decision.clone());
            }
        }
    }
    let written = async {
        let mut tx = shared.write_as_leader("record decisions", epoch).await?;
        decisions::record(&mut tx, &rows).await?;
        tx.commit().await
    };
    let written = written.await;
    if written.is_err() {
        let kept = &mut shared.state().decisions;
        for decision in noted.into_iter().rev().take(MOST - kept.len().min(MOST)) {
            kept.push_front(decision);
        }
    }
    written
}
