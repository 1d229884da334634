//! Traces (contract §1.4): from the trigger instance over rules to the last execution.
//!
//! An execution always has a trace, its own or the one its context names. A trigger instance gets
//! one when a rule matches it, or when its sender gave a tag: what nobody cares about leaves no trace.

use super::callers::Permission;
use super::fault::Fault;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::automation::ids::{is_id, new_id};
use crate::store::StoreError;
use crate::store::automation::executions::Execution;
use crate::store::automation::rules::Rule;
use crate::store::automation::traces::{self, Component, EXECUTION, INSTANCE, RULE, Trace};
use crate::store::automation::trigger_instances::TriggerInstance;
use crate::store::query::Filter;
use crate::store::sql::Connection;
use serde_json::{Map, Value, json};

/// What a context calls its trace.
const CONTEXT: &str = "trace_context";

fn begun(tag: &str, now: i64) -> Trace {
    Trace {
        id: new_id(),
        trace_tag: tag.to_string(),
        started_at: now,
    }
}

/// A trace, and whether it has no row yet.
#[derive(Debug, Clone)]
pub struct Joined {
    pub trace: Trace,
    pub is_new: bool,
}

/// The trace an execution's context names, a new one if it names none; the context names it afterwards.
/// Nothing is written.
pub async fn join(
    connection: &mut Connection,
    context: &mut Map<String, Value>,
    execution: &str,
    now: i64,
) -> Result<Joined, Fault> {
    let known = match named(context) {
        Some(id) => Some(
            Trace::find(connection, id)
                .await?
                .ok_or_else(|| Fault::Invalid(format!("Trace with id \"{id}\" not found.")))?,
        ),
        None => None,
    };
    let is_new = known.is_none();
    let trace = known.unwrap_or_else(|| {
        let own = format!("execution-{execution}");
        begun(text_of(context, "trace_tag").unwrap_or(&own), now)
    });
    name(context, &trace);
    Ok(Joined { trace, is_new })
}

/// The id of the trace that the context of an execution names.
pub fn named(context: &Map<String, Value>) -> Option<&str> {
    text_of(context, "id_")
}

fn text_of<'c>(context: &'c Map<String, Value>, name: &str) -> Option<&'c str> {
    context
        .get(CONTEXT)
        .and_then(|trace| trace.get(name))
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// Names the trace in the context of an execution.
pub fn name(context: &mut Map<String, Value>, trace: &Trace) {
    context.insert(
        CONTEXT.into(),
        json!({"id_": trace.id, "trace_tag": trace.trace_tag}),
    );
}

/// What is to be written of traces.
#[derive(Debug, Default)]
pub struct Notes {
    begun: Vec<Trace>,
    /// Each with the trace it belongs to.
    components: Vec<(String, Component)>,
}

impl Notes {
    /// A trace that was begun and is not written yet.
    pub fn begun(&self, id: &str) -> Option<Joined> {
        let trace = self.begun.iter().find(|trace| trace.id == id)?;
        Some(Joined {
            trace: trace.clone(),
            is_new: true,
        })
    }

    /// Notes what belongs to a trace, and the trace if it has no row yet.
    pub fn add(&mut self, joined: &Joined, component: Component) {
        let id = &joined.trace.id;
        if joined.is_new && !self.begun.iter().any(|trace| trace.id == *id) {
            self.begun.push(joined.trace.clone());
        }
        self.components.push((id.clone(), component));
    }

    /// Writes what was noted, in a few statements.
    pub async fn write(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        let begun = std::mem::take(&mut self.begun);
        Trace::insert_all(connection, &begun, "").await?;
        let components = std::mem::take(&mut self.components);
        let all: Vec<(&str, &Component)> = components
            .iter()
            .map(|(trace, component)| (trace.as_str(), component))
            .collect();
        traces::add_all(connection, &all).await
    }
}

/// An execution as part of its trace.
pub fn component_of(row: &Execution, rule: Option<&str>) -> Component {
    let caused_by = match (&row.parent, rule, &row.trigger_instance) {
        (Some(parent), _, _) => Some((EXECUTION.to_string(), parent.clone())),
        (None, Some(rule), Some(instance)) => {
            Some((RULE.to_string(), format!("{rule}:{instance}")))
        }
        _ => None,
    };
    Component {
        kind: EXECUTION.to_string(),
        object_id: row.id.clone(),
        object_ref: row.action_ref.clone(),
        caused_by,
        updated_at: row.created_at,
    }
}

/// The trace of a trigger instance, a new one if it has none. Nothing is written.
pub async fn of_instance(
    connection: &mut Connection,
    row: &mut TriggerInstance,
    now: i64,
) -> Result<Joined, Fault> {
    let known = match &row.trace_id {
        Some(id) => Trace::find(connection, id).await?,
        None => None,
    };
    let is_new = known.is_none();
    let trace = known.unwrap_or_else(|| {
        let own = format!("trigger_instance-{}", row.id);
        begun(row.trace_tag.as_deref().unwrap_or(&own), now)
    });
    row.trace_id = Some(trace.id.clone());
    Ok(Joined { trace, is_new })
}

/// A trigger instance as part of its trace.
pub fn component_of_instance(row: &TriggerInstance, now: i64) -> Component {
    // The end of an execution is what that execution caused.
    let caused_by = row
        .source
        .as_deref()
        .and_then(|source| source.strip_prefix("completed:"))
        .map(|execution| (EXECUTION.to_string(), execution.to_string()));
    Component {
        kind: INSTANCE.to_string(),
        object_id: row.id.clone(),
        object_ref: row.trigger_ref.clone(),
        caused_by,
        updated_at: now,
    }
}

/// A rule that matched a trigger instance, as part of its trace.
pub fn component_of_rule(rule: &Rule, instance: &str, now: i64) -> Component {
    Component {
        kind: RULE.to_string(),
        // One rule may match many instances of one trace.
        object_id: format!("{}:{instance}", rule.id),
        object_ref: rule.reference.clone(),
        caused_by: Some((INSTANCE.to_string(), instance.to_string())),
        updated_at: now,
    }
}

impl Automation {
    pub async fn list_traces(
        &self,
        caller: &Caller,
        filter: Filter,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<(Trace, Vec<Component>)>, u64), Fault> {
        caller.allow(Permission::View, "trace_list")?;
        let mut connection = self.ops.store.read().await?;
        let (rows, total) = Trace::page(&mut connection, filter, limit, offset).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let components = traces::components(&mut connection, &row.id).await?;
            found.push((row, components));
        }
        Ok((found, total))
    }

    pub async fn trace(&self, caller: &Caller, id: &str) -> Result<(Trace, Vec<Component>), Fault> {
        caller.allow(Permission::View, "trace_view")?;
        let missing = || Fault::NotFound(format!("Unable to identify resource with id \"{id}\"."));
        if !is_id(id) {
            return Err(missing());
        }
        let mut connection = self.ops.store.read().await?;
        let row = Trace::find(&mut connection, id)
            .await?
            .ok_or_else(missing)?;
        let components = traces::components(&mut connection, &row.id).await?;
        Ok((row, components))
    }
}
