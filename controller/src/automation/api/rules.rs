//! `rules`, `ruletypes`, and our own `rules/test` and `rules/replay`, which execute nothing.

use super::extract::{Body, Caller};
use super::listing::{Asked, page};
use super::resources::{COMMON, Columns, filter, projection};
use super::{Answer, created, no_content, ok, shows_secrets};
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::automation::ops::rule_tests::{MOST_REPLAYED, Replay, Sample, Span, Trial};
use crate::automation::ops::rules::rule_types;
use crate::domain::times;
use crate::store::automation::rules::Rule;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

const COLUMNS: Columns = Columns {
    texts: &[
        ("pack", "pack"),
        ("name", "name"),
        ("ref", "reference"),
        ("action", "action_ref"),
        ("trigger", "trigger_ref"),
    ],
    ..COMMON
};

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/rules", get(list).post(create))
        .route("/rules/test", post(test))
        .route("/rules/replay", post(replay))
        .route("/rules/views", get(list_views))
        .route("/rules/views/{ref_or_id}", get(show_view))
        .route("/rules/{ref_or_id}", get(show).put(update).delete(remove))
        .route("/ruletypes", get(list_types))
        .route("/ruletypes/{id}", get(show_type))
}

async fn listed(automation: &Automation, caller: &Caller, asked: &Asked, views: bool) -> Answer {
    let show = shows_secrets(caller, asked)?;
    let window = asked.window(caller.is_admin())?;
    let projection = projection(asked, &["id", "ref"], |_| true)?;
    let filter = filter(asked, &COLUMNS)?;
    let (rows, total) = automation
        .list_resources::<Rule>(caller, filter, window.limit, window.offset)
        .await?;
    let documents = automation.present_rules(&rows, show, views).await?;
    let documents = documents
        .iter()
        .map(|document| projection.apply(document))
        .collect();
    Ok(page(documents, total, window))
}

async fn shown(
    automation: &Automation,
    caller: &Caller,
    ref_or_id: &str,
    asked: &Asked,
    views: bool,
) -> Answer {
    let show = shows_secrets(caller, asked)?;
    let projection = projection(asked, &["id", "ref"], |_| true)?;
    let row = automation.resource::<Rule>(caller, ref_or_id).await?;
    let document = one(automation, row, show, views).await?;
    Ok(ok(projection.apply(&document)))
}

async fn one(
    automation: &Automation,
    row: Rule,
    show_secrets: bool,
    views: bool,
) -> Result<Value, Fault> {
    let mut documents = automation
        .present_rules(&[row], show_secrets, views)
        .await?;
    Ok(documents.pop().unwrap_or_default())
}

async fn list(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    listed(&automation, &caller, &asked, false).await
}

async fn list_views(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    listed(&automation, &caller, &asked, true).await
}

async fn show(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
    asked: Asked,
) -> Answer {
    shown(&automation, &caller, &ref_or_id, &asked, false).await
}

async fn show_view(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
    asked: Asked,
) -> Answer {
    shown(&automation, &caller, &ref_or_id, &asked, true).await
}

async fn create(
    State(automation): State<Automation>,
    caller: Caller,
    Body(document): Body<Value>,
) -> Answer {
    let row = automation.create_rule(&caller, document).await?;
    Ok(created(one(&automation, row, false, false).await?))
}

async fn update(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
    Body(document): Body<Value>,
) -> Answer {
    let row = automation
        .update_rule(&caller, &ref_or_id, document)
        .await?;
    Ok(ok(one(&automation, row, false, false).await?))
}

async fn remove(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
) -> Answer {
    automation.delete_rule(&caller, &ref_or_id).await?;
    Ok(no_content())
}

async fn list_types(_: Caller) -> Answer {
    Ok(ok(rule_types()))
}

async fn show_type(_: Caller, Path(id): Path<String>) -> Answer {
    rule_types()
        .into_iter()
        .find(|kind| kind["id"] == id.as_str() || kind["ref"] == id.as_str())
        .map(ok)
        .ok_or_else(|| Fault::NotFound(format!("Unable to identify resource with id \"{id}\".")))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    /// A reference or id, or a rule's document.
    rule: Value,
    trigger_instance: Option<String>,
    payload: Option<Value>,
}

async fn test(
    State(automation): State<Automation>,
    caller: Caller,
    Body(test): Body<Test>,
) -> Answer {
    let sample = match (test.trigger_instance, test.payload) {
        (Some(id), None) => Sample::Instance(id),
        (None, Some(payload)) => Sample::Payload(payload),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Fault::Invalid(
                "Give either \"trigger_instance\" (an id) or \"payload\".".into(),
            ));
        }
    };
    let trial = automation.try_rule(&caller, &test.rule, &sample).await?;
    Ok(ok(present_trial(trial)))
}

fn present_trial(trial: Trial) -> Value {
    let (parameters, failure) = match trial.parameters {
        Some(Ok(parameters)) => (Value::Object(parameters), Value::Null),
        Some(Err(text)) => (Value::Null, json!(text)),
        None => (Value::Null, Value::Null),
    };
    json!({
        "rule": trial.rule,
        "action": trial.action,
        "matched": trial.verdict.matched && trial.other_trigger.is_none(),
        "note": trial.other_trigger.or(trial.verdict.note),
        "reasons": trial.verdict.reasons,
        "failures": trial.verdict.failures,
        "parameters": parameters,
        "parameters_failure": failure,
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Again {
    rule: Value,
    /// RFC 3339; `to` is not included.
    from: String,
    to: Option<String>,
    limit: Option<i64>,
}

async fn replay(
    State(automation): State<Automation>,
    caller: Caller,
    Body(again): Body<Again>,
) -> Answer {
    let time = |name: &str, text: &str| {
        times::parse(text).ok_or_else(|| {
            Fault::Invalid(format!(
                "\"{name}\" is no time: write it like 2026-12-31T23:59:59Z."
            ))
        })
    };
    let span = Span {
        from: time("from", &again.from)?,
        to: match &again.to {
            Some(text) => time("to", text)?,
            None => i64::MAX,
        },
        limit: again.limit.unwrap_or(MOST_REPLAYED),
    };
    if span.limit < 1 || span.limit > MOST_REPLAYED {
        return Err(Fault::Invalid(format!(
            "\"limit\" must be from 1 to {MOST_REPLAYED}."
        )));
    }
    let replay = automation.replay_rule(&caller, &again.rule, span).await?;
    Ok(ok(present_replay(replay)))
}

fn present_replay(replay: Replay) -> Value {
    json!({
        "instances": replay.looked_at,
        "matched": replay.matched,
        "not_matched": replay.looked_at - replay.matched - replay.failed,
        "failed": replay.failed,
        "parameters_failed": replay.unmapped,
        "more": replay.more,
        "first_matches": replay.first_matches,
        "first_failures": replay.first_failures,
    })
}
