//! `ruleenforcements`: what rules made of trigger instances. Mismatches, where they are recorded, are
//! shown to who asks for `status=mismatched`.

use super::extract::Caller;
use super::listing::Asked;
use super::resources::{Columns, filter, page_of, projected};
use super::triggers::{present_instance, time};
use super::{Answer, timestamp};
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::store::automation::rule_enforcements::RuleEnforcement;
use crate::store::query::Filter;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};

const COLUMNS: Columns = Columns {
    texts: &[
        ("execution", "execution_id"),
        ("rule_ref", "rule_ref"),
        ("rule_id", "rule_id"),
        ("trigger_instance", "trigger_instance"),
        ("status", "status"),
    ],
    flags: &[],
    orders: &[
        ("enforced_at", "enforced_at"),
        ("rule_ref", "rule_ref"),
        ("status", "status"),
    ],
    key: "id",
    default_order: ("enforced_at", true),
};

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/ruleenforcements", get(list))
        .route("/ruleenforcements/views", get(list_views))
        .route("/ruleenforcements/views/{id}", get(show_view))
        .route("/ruleenforcements/{id}", get(show))
}

fn present(row: &RuleEnforcement) -> Value {
    let name = row.rule_ref.split_once('.');
    let (pack, name) = name.unwrap_or(("", &row.rule_ref));
    json!({
        "id": row.id,
        "uid": format!("rule_enforcement:{}", row.id),
        "rule": {"ref": row.rule_ref, "id": row.rule_id, "uid": format!("rule:{pack}:{name}")},
        "trigger_instance_id": row.trigger_instance,
        "execution_id": row.execution_id,
        "status": row.status,
        "failure_reason": row.failure_reason,
        "enforced_at": timestamp(row.enforced_at),
        "reasons": row.reasons.0,
    })
}

fn conditions(asked: &Asked) -> Result<Filter, Fault> {
    let mut conditions = filter(asked, &COLUMNS)?;
    if asked.text("status").is_none() {
        conditions = conditions.only("status <> 'mismatched'");
    }
    if let Some(at) = time(asked, "enforced_at_gt")? {
        conditions = conditions.compare("enforced_at", ">", at);
    }
    if let Some(at) = time(asked, "enforced_at_lt")? {
        conditions = conditions.compare("enforced_at", "<", at);
    }
    Ok(conditions)
}

/// With the trigger instance and the execution in it.
async fn view(automation: &Automation, row: &RuleEnforcement) -> Result<Value, Fault> {
    let mut document = present(row);
    let (instance, execution) = automation.around_enforcement(row).await?;
    document["trigger_instance"] = instance
        .as_ref()
        .map_or_else(|| json!({}), present_instance);
    document["execution"] = match execution {
        Some(row) => automation.present_execution(&row, None, false)?,
        None => json!({}),
    };
    Ok(document)
}

async fn listed(automation: &Automation, caller: &Caller, asked: &Asked, views: bool) -> Answer {
    let window = asked.window(caller.is_admin())?;
    let (rows, total) = automation
        .list_enforcements(caller, conditions(asked)?, window.limit, window.offset)
        .await?;
    let mut documents = Vec::with_capacity(rows.len());
    for row in &rows {
        documents.push(if views {
            view(automation, row).await?
        } else {
            present(row)
        });
    }
    page_of(asked, window, (documents, total), Value::clone)
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
    Path(id): Path<String>,
    asked: Asked,
) -> Answer {
    let row = automation.enforcement(&caller, &id).await?;
    projected(&asked, &present(&row))
}

async fn show_view(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
    asked: Asked,
) -> Answer {
    let row = automation.enforcement(&caller, &id).await?;
    projected(&asked, &view(&automation, &row).await?)
}
