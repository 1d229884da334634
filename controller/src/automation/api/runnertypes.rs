//! `runnertypes`: what runs actions.

use super::extract::{Body, Caller};
use super::listing::{Asked, page};
use super::resources::projection;
use super::{Answer, ok};
use crate::automation::Automation;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde::Deserialize;
use serde_json::Value;

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/runnertypes", get(list))
        .route("/runnertypes/{name}", get(show).put(change))
}

async fn list(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    let window = asked.window(caller.is_admin())?;
    let projection = projection(&asked, &["id", "name"], |_| true)?;
    let mut documents: Vec<Value> = automation
        .list_runner_types(&caller)
        .await?
        .into_iter()
        .filter(|document| {
            asked
                .text("name")
                .is_none_or(|name| document["name"] == name)
        })
        .filter(|document| {
            asked
                .list("id")
                .is_none_or(|ids| ids.iter().any(|id| document["id"] == id.as_str()))
        })
        .collect();
    if asked.text("sort") == Some("-name") {
        documents.reverse();
    }
    let total = documents.len() as u64;
    let shown = documents
        .iter()
        .skip(usize::try_from(window.offset).unwrap_or(usize::MAX))
        .take(usize::try_from(window.limit).unwrap_or(usize::MAX))
        .map(|document| projection.apply(document))
        .collect();
    Ok(page(shown, total, window))
}

async fn show(
    State(automation): State<Automation>,
    caller: Caller,
    Path(name): Path<String>,
    asked: Asked,
) -> Answer {
    let projection = projection(&asked, &["id", "name"], |_| true)?;
    let document = automation.runner_type(&caller, &name).await?;
    Ok(ok(projection.apply(&document)))
}

/// The whole document comes back; only this of it can be changed.
#[derive(Debug, Deserialize)]
struct Changed {
    enabled: bool,
}

async fn change(
    State(automation): State<Automation>,
    caller: Caller,
    Path(name): Path<String>,
    Body(changed): Body<Changed>,
) -> Answer {
    let document = automation
        .enable_runner_type(&caller, &name, changed.enabled)
        .await?;
    Ok(ok(document))
}
