//! `policies` and `policytypes`.

use super::extract::{Body, Caller};
use super::listing::{Asked, page};
use super::resources::{self, COMMON, Columns};
use super::{Answer, created, no_content, ok};
use crate::automation::Automation;
use crate::automation::ops::resources::present;
use crate::automation::ops::{Fault, Permission};
use crate::store::automation::policies::Policy;
use automation::policies::types;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::Value;

const COLUMNS: Columns = Columns {
    texts: &[
        ("pack", "pack"),
        ("name", "name"),
        ("ref", "reference"),
        ("resource_ref", "resource_ref"),
        ("policy_type", "policy_type"),
    ],
    ..COMMON
};

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/policies", get(list).post(create))
        .route(
            "/policies/{ref_or_id}",
            get(show).put(update).delete(remove),
        )
        .route("/policytypes", get(list_types))
        .route("/policytypes/{ref_or_id}", get(show_type))
}

async fn list(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    resources::list::<Policy>(&automation, &caller, &asked, &COLUMNS).await
}

async fn show(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
    asked: Asked,
) -> Answer {
    resources::show::<Policy>(&automation, &caller, &ref_or_id, &asked).await
}

async fn create(
    State(automation): State<Automation>,
    caller: Caller,
    Body(written): Body<Value>,
) -> Answer {
    let row = automation.create_policy(&caller, &written).await?;
    Ok(created(present(&row)))
}

async fn update(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
    Body(written): Body<Value>,
) -> Answer {
    let row = automation
        .update_policy(&caller, &ref_or_id, &written)
        .await?;
    Ok(ok(present(&row)))
}

async fn remove(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
) -> Answer {
    automation.delete_policy(&caller, &ref_or_id).await?;
    Ok(no_content())
}

async fn list_types(caller: Caller, asked: Asked) -> Answer {
    caller.allow(Permission::View, "policy_type_list")?;
    let projection = resources::projection(&asked, &["id", "ref"], |_| true)?;
    let window = asked.window(caller.is_admin())?;
    let fits = |document: &Value, parameter: &str| {
        asked
            .text(parameter)
            .is_none_or(|wanted| document[parameter] == wanted)
    };
    let found: Vec<Value> = types()
        .into_iter()
        .map(|kind| kind.document())
        .filter(|document| {
            ["resource_type", "name", "id"]
                .into_iter()
                .all(|parameter| fits(document, parameter))
        })
        .collect();
    let total = found.len() as u64;
    let documents = found
        .iter()
        .skip(usize::try_from(window.offset).unwrap_or(usize::MAX))
        .take(usize::try_from(window.limit).unwrap_or(usize::MAX))
        .map(|document| projection.apply(document))
        .collect();
    Ok(page(documents, total, window))
}

async fn show_type(caller: Caller, Path(ref_or_id): Path<String>) -> Answer {
    caller.allow(Permission::View, "policy_type_view")?;
    types()
        .into_iter()
        .map(|kind| kind.document())
        .find(|document| document["ref"] == ref_or_id || document["id"] == ref_or_id)
        .map(ok)
        .ok_or_else(|| {
            Fault::NotFound(format!(
                "PolicyType with a reference or id \"{ref_or_id}\" not found"
            ))
        })
}
