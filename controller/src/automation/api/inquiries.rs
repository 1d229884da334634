//! `inquiries`: the questions that wait for a person's answer.

use super::extract::{Body, Caller};
use super::listing::{Asked, page};
use super::{Answer, ok, resources};
use crate::automation::Automation;
use crate::automation::ops::Fault;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

const ATTRIBUTES: &[&str] = &["id", "parent", "route", "ttl", "users", "roles", "schema"];

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/inquiries", get(list))
        .route("/inquiries/{id}", get(show).put(respond))
}

async fn list(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    let projection = resources::projection(&asked, &["id"], |name| ATTRIBUTES.contains(&name))?;
    let window = asked.window(caller.is_admin())?;
    let (rows, total) = automation
        .list_inquiries(&caller, window.limit, window.offset)
        .await?;
    let mut documents = Vec::with_capacity(rows.len());
    for row in &rows {
        documents.push(projection.apply(&automation.present_inquiry(row)?));
    }
    Ok(page(documents, total, window))
}

async fn show(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let row = automation.inquiry(&caller, &id).await?;
    Ok(ok(automation.present_inquiry(&row)?))
}

#[derive(Debug, Deserialize)]
struct Response {
    id: Option<String>,
    response: Option<Value>,
}

async fn respond(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<Response>,
) -> Answer {
    if body.id.is_some_and(|other| other != id) {
        return Err(Fault::Invalid(format!(
            "The id in the body must be that of the address, \"{id}\"."
        )));
    }
    let response = body.response.ok_or_else(|| {
        Fault::Invalid("The body must have the answer: {\"response\": {...}}".into())
    })?;
    automation.respond(&caller, &id, &response).await?;
    Ok(ok(json!({"id": id, "response": response})))
}
