//! `triggertypes`, `triggers`, `timers`, `triggerinstances`.

use super::extract::{Body, Caller};
use super::listing::{Asked, page};
use super::resources::{COMMON, Columns, filter, list, page_of, projected, show};
use super::{Answer, accepted, created, no_content, ok, timestamp};
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::automation::ops::resources::present;
use crate::automation::ops::triggers::TypeWrite;
use crate::domain::times;
use crate::store::automation::trigger_instances::TriggerInstance;
use crate::store::automation::trigger_types::TriggerType;
use crate::store::automation::triggers::Trigger;
use automation::triggers::timer_parameters;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Map, Value, json};

const TYPES: Columns = Columns {
    flags: &[],
    ..COMMON
};

const TRIGGERS: Columns = Columns {
    texts: &[
        ("pack", "pack"),
        ("name", "name"),
        ("ref", "reference"),
        ("type", "type_ref"),
    ],
    flags: &[],
    ..COMMON
};

const INSTANCES: Columns = Columns {
    texts: &[("trigger_type", "trigger_type"), ("status", "status")],
    flags: &[],
    orders: &[
        ("occurrence_time", "occurred_at"),
        ("timestamp", "occurred_at"),
        ("trigger", "trigger_ref"),
        ("status", "status"),
    ],
    key: "id",
    default_order: ("occurred_at", true),
};

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/triggertypes", get(list_types).post(create_type))
        .route(
            "/triggertypes/{ref_or_id}",
            get(show_type).put(update_type).delete(remove_type),
        )
        .route("/triggers", get(list_triggers).post(create_trigger))
        .route(
            "/triggers/{ref_or_id}",
            get(show_trigger).put(update_trigger).delete(remove_trigger),
        )
        .route("/timers", get(list_timers))
        .route("/timers/{ref_or_id}", get(show_timer))
        .route("/triggerinstances", get(list_instances))
        .route("/triggerinstances/{id}", get(show_instance))
        .route("/triggerinstances/{id}/re_emit", post(emit_again))
}

#[derive(Debug, Deserialize)]
struct WrittenType {
    pack: String,
    name: String,
    description: Option<String>,
    parameters_schema: Option<Value>,
    payload_schema: Option<Value>,
    tags: Option<Value>,
}

impl From<WrittenType> for TypeWrite {
    fn from(written: WrittenType) -> TypeWrite {
        TypeWrite {
            pack: written.pack,
            name: written.name,
            description: written.description.unwrap_or_default(),
            parameters_schema: written.parameters_schema.unwrap_or_else(|| json!({})),
            payload_schema: written.payload_schema.unwrap_or_else(|| json!({})),
            tags: written.tags.unwrap_or_else(|| json!([])),
        }
    }
}

async fn list_types(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    list::<TriggerType>(&automation, &caller, &asked, &TYPES).await
}

async fn show_type(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
    asked: Asked,
) -> Answer {
    show::<TriggerType>(&automation, &caller, &ref_or_id, &asked).await
}

async fn create_type(
    State(automation): State<Automation>,
    caller: Caller,
    Body(written): Body<WrittenType>,
) -> Answer {
    let row = automation
        .create_trigger_type(&caller, &written.into())
        .await?;
    Ok(created(present(&row)))
}

async fn update_type(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
    Body(written): Body<WrittenType>,
) -> Answer {
    let row = automation
        .update_trigger_type(&caller, &ref_or_id, &written.into())
        .await?;
    Ok(ok(present(&row)))
}

async fn remove_type(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
) -> Answer {
    automation.delete_trigger_type(&caller, &ref_or_id).await?;
    Ok(no_content())
}

async fn list_triggers(
    State(automation): State<Automation>,
    caller: Caller,
    asked: Asked,
) -> Answer {
    list::<Trigger>(&automation, &caller, &asked, &TRIGGERS).await
}

async fn show_trigger(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
    asked: Asked,
) -> Answer {
    show::<Trigger>(&automation, &caller, &ref_or_id, &asked).await
}

#[derive(Debug, Deserialize)]
struct WrittenTrigger {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    description: Option<String>,
    #[serde(default)]
    parameters: Map<String, Value>,
}

async fn create_trigger(
    State(automation): State<Automation>,
    caller: Caller,
    Body(written): Body<WrittenTrigger>,
) -> Answer {
    let row = automation
        .create_trigger(
            &caller,
            &written.kind,
            written.name.as_deref(),
            &written.description.unwrap_or_default(),
            &written.parameters,
        )
        .await?;
    Ok(created(present(&row)))
}

async fn update_trigger(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
    Body(written): Body<WrittenTrigger>,
) -> Answer {
    let row = automation
        .update_trigger(
            &caller,
            &ref_or_id,
            &written.kind,
            written.description.as_deref(),
            &written.parameters,
        )
        .await?;
    Ok(ok(present(&row)))
}

async fn remove_trigger(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
) -> Answer {
    automation.delete_trigger(&caller, &ref_or_id).await?;
    Ok(no_content())
}

const TIMERS: [&str; 3] = [
    "core.st2.IntervalTimer",
    "core.st2.DateTimer",
    "core.st2.CronTimer",
];

fn present_timer(row: &Trigger) -> Value {
    let mut document = present(row);
    document["next_fire_at"] = row
        .next_fire_at
        .map_or(Value::Null, |at| json!(timestamp(at)));
    document
}

async fn list_timers(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    let window = asked.window(caller.is_admin())?;
    let kinds: Vec<&str> = match asked.text("timer_type") {
        None => TIMERS.to_vec(),
        Some(kind) if TIMERS.contains(&kind) => vec![kind],
        Some(kind) => {
            return Err(Fault::Invalid(format!(
                "\"{kind}\" is no type of timer: use one of {}",
                TIMERS.join(", ")
            )));
        }
    };
    let filter = filter(&asked, &TRIGGERS)?.any("type_ref", &kinds);
    let (rows, total) = automation
        .list_resources::<Trigger>(&caller, filter, window.limit, window.offset)
        .await?;
    let documents = rows.iter().map(present_timer).collect();
    Ok(page(documents, total, window))
}

async fn show_timer(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
) -> Answer {
    let row = automation.resource::<Trigger>(&caller, &ref_or_id).await?;
    if timer_parameters(&row.type_ref).is_none() {
        return Err(Fault::NotFound(format!(
            "Timer with reference or id \"{ref_or_id}\" not found"
        )));
    }
    Ok(ok(present_timer(&row)))
}

pub fn present_instance(row: &TriggerInstance) -> Value {
    json!({
        "id": row.id,
        "trigger": row.trigger_ref,
        "trigger_type": row.trigger_type,
        "payload": row.payload.0,
        "occurrence_time": timestamp(row.occurred_at),
        "status": row.status,
    })
}

/// A time of a query, in Unix microseconds.
pub fn time(asked: &Asked, name: &str) -> Result<Option<i64>, Fault> {
    asked
        .text(name)
        .map(|text| {
            // A client's `+` in front of an offset arrives as a space.
            times::parse(&text.replace(' ', "+")).ok_or_else(|| {
                Fault::Invalid(format!(
                    "Query parameter \"{name}\": \"{text}\" is no time like 2026-12-31T23:59:59Z"
                ))
            })
        })
        .transpose()
}

async fn list_instances(
    State(automation): State<Automation>,
    caller: Caller,
    asked: Asked,
) -> Answer {
    let window = asked.window(caller.is_admin())?;
    let mut filter = filter(&asked, &INSTANCES)?;
    if let Some(trigger) = asked.text("trigger") {
        // Triggers with parameters have names nobody remembers: their type finds them as well.
        let wanted = [trigger.to_string()];
        filter = filter.any_of_two("trigger_ref", &wanted, "trigger_type", &wanted);
    }
    if let Some(at) = time(&asked, "timestamp_gt")? {
        filter = filter.compare("occurred_at", ">", at);
    }
    if let Some(at) = time(&asked, "timestamp_lt")? {
        filter = filter.compare("occurred_at", "<", at);
    }
    let found = automation
        .list_trigger_instances(&caller, filter, window.limit, window.offset)
        .await?;
    page_of(&asked, window, found, present_instance)
}

async fn show_instance(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
    asked: Asked,
) -> Answer {
    let row = automation.trigger_instance(&caller, &id).await?;
    projected(&asked, &present_instance(&row))
}

async fn emit_again(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let row = automation.emit_again(&caller, &id).await?;
    Ok(accepted(json!({
        "message": format!("Trigger instance {id} successfully re-sent."),
        "payload": row.payload.0,
        "id": row.id,
    })))
}
