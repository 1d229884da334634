//! `policies` and `policytypes`.

use super::extract::Caller;
use super::listing::{Asked, page};
use super::resources::{self, COMMON, Columns};
use super::{Answer, ok};
use crate::automation::Automation;
use crate::automation::ops::{Fault, Permission};
use crate::store::automation::policies::Policy;
use automation::policies::types;
use axum::Router;
use axum::extract::Path;
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
    resources::written::<Policy>("/policies", &COLUMNS)
        .route("/policytypes", get(list_types))
        .route("/policytypes/{ref_or_id}", get(show_type))
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
