//! Trigger instances are born here: one row each, in the transaction of whatever made them happen.

use super::fault::Fault;
use crate::automation::ids::new_id;
use crate::store::Json;
use crate::store::automation::trigger_instances::{self, TriggerInstance};
use crate::store::sql::Connection;
use serde_json::Value;

/// Something that a trigger stands for.
#[derive(Debug, Clone)]
pub struct Happened<'a> {
    pub trigger: &'a str,
    /// The trigger's type: the trigger itself if it has no parameters.
    pub trigger_type: &'a str,
    pub payload: Value,
    pub trace_tag: Option<String>,
    pub trace_id: Option<String>,
    /// Repeated reports of one thing have the same source, and make one instance.
    pub source: Option<String>,
    /// Unix microseconds; None: now.
    pub occurred_at: Option<i64>,
}

impl<'a> Happened<'a> {
    /// Of a trigger without parameters, now.
    pub fn new(trigger: &'a str, payload: Value) -> Happened<'a> {
        Happened {
            trigger,
            trigger_type: trigger,
            payload,
            trace_tag: None,
            trace_id: None,
            source: None,
            occurred_at: None,
        }
    }
}

/// The row that records it, for the rules to look at.
pub fn instance_of(happened: Happened<'_>, now: i64) -> TriggerInstance {
    TriggerInstance {
        id: new_id(),
        trigger_ref: happened.trigger.to_string(),
        trigger_type: happened.trigger_type.to_string(),
        payload: Json(happened.payload),
        status: trigger_instances::PENDING.to_string(),
        trace_tag: happened.trace_tag,
        trace_id: happened.trace_id,
        source: happened.source,
        occurred_at: happened.occurred_at.unwrap_or(now),
        created_at: now,
        updated_at: now,
        row_version: 1,
    }
}

/// Records it. None: it was recorded before.
pub async fn fire(
    connection: &mut Connection,
    happened: &Happened<'_>,
    now: i64,
) -> Result<Option<TriggerInstance>, Fault> {
    let row = instance_of(happened.clone(), now);
    let fresh = trigger_instances::insert_once(connection, &row).await?;
    Ok(fresh.then_some(row))
}
