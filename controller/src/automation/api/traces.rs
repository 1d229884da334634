//! `traces`: a trace with what belongs to it.

use super::extract::Caller;
use super::listing::Asked;
use super::resources::{Columns, filter, page_of, projected};
use super::{Answer, timestamp};
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::store::automation::traces::{Component, EXECUTION, INSTANCE, RULE, Trace};
use crate::store::query::Filter;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};

const COLUMNS: Columns = Columns {
    texts: &[("trace_tag", "trace_tag")],
    flags: &[],
    orders: &[
        ("start_timestamp", "started_at"),
        ("trace_tag", "trace_tag"),
    ],
    key: "id",
    default_order: ("started_at", true),
};

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/traces", get(list))
        .route("/traces/{id}", get(show))
}

fn present((row, components): &(Trace, Vec<Component>)) -> Value {
    let of = |kind: &str| -> Vec<Value> {
        components
            .iter()
            .filter(|component| component.kind == kind)
            .map(|component| {
                // A rule is one component for each instance it matched: `rule:instance`.
                let id = component.object_id.split(':').next().unwrap_or_default();
                json!({
                    "object_id": id,
                    "ref": component.object_ref,
                    "updated_at": timestamp(component.updated_at),
                    "caused_by": component.caused_by.as_ref().map_or_else(
                        || json!({}),
                        |(kind, id)| json!({"type": kind, "id": id}),
                    ),
                })
            })
            .collect()
    };
    json!({
        "id": row.id,
        "uid": format!("trace:{}", row.id),
        "trace_tag": row.trace_tag,
        "start_timestamp": timestamp(row.started_at),
        "action_executions": of(EXECUTION),
        "rules": of(RULE),
        "trigger_instances": of(INSTANCE),
    })
}

fn conditions(asked: &Asked) -> Result<Filter, Fault> {
    let mut conditions = filter(asked, &COLUMNS)?;
    for (parameter, select) in [
        (
            "execution",
            "SELECT trace_id FROM trace_components WHERE kind = 'action_execution' AND object_id",
        ),
        (
            "trigger_instance",
            "SELECT trace_id FROM trace_components WHERE kind = 'trigger_instance' AND object_id",
        ),
        (
            "rule",
            "SELECT trace_id FROM trace_components WHERE kind = 'rule' AND substr(object_id, 1, 24)",
        ),
    ] {
        if let Some(id) = asked.text(parameter) {
            conditions = conditions.any_in("id", select, &[id]);
        }
    }
    Ok(conditions)
}

async fn list(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    let window = asked.window(caller.is_admin())?;
    let found = automation
        .list_traces(&caller, conditions(&asked)?, window.limit, window.offset)
        .await?;
    page_of(&asked, window, found, present)
}

async fn show(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
    asked: Asked,
) -> Answer {
    let found = automation.trace(&caller, &id).await?;
    projected(&asked, &present(&found))
}
