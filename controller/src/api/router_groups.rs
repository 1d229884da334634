//! `/routing/v1/router_groups`: which ports routes may have. In Cloud Foundry this is the routing API, a server of its
//! own; its clients find it by the link `routing`, and its errors have a form of their own.
//!
//! There is a group for each transport. Which ports it has is configuration (`router/tcp/ports`, `router/udp/ports`), so
//! it is changed there and not here.

use super::extract::{Caller, queried};
use super::{Answer, Api, ok};
use crate::domain::route_terms::reservable_ports;
use crate::ops::{Ops, Refusal};
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use proto::api::RouterGroup;
use proto::ports::Transport;
use serde::Deserialize;
use serde_json::json;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/routing/v1/router_groups", get(list))
        .route("/routing/v1/router_groups/{guid}", get(show))
}

fn present(ops: &Ops, transport: Transport) -> RouterGroup {
    RouterGroup {
        guid: transport.group().to_string(),
        name: transport.group().to_string(),
        kind: transport.name().to_string(),
        reservable_ports: reservable_ports(&ops.settings(), transport),
    }
}

fn error(status: StatusCode, name: &str, message: &str) -> Response {
    let error = json!({"name": name, "message": message});
    (status, axum::Json(error)).into_response()
}

fn not_found(group: &str) -> Response {
    let message = format!("Router Group '{group}' not found");
    error(StatusCode::NOT_FOUND, "ResourceNotFoundError", &message)
}

/// Anybody who is logged in may look. Clients renew their token where they read these words.
fn let_in(caller: Result<Caller, Refusal>) -> Result<(), Answer> {
    match caller {
        Ok(_) => Ok(()),
        Err(Refusal::InvalidToken | Refusal::NotAuthenticated) => Err(Ok(error(
            StatusCode::UNAUTHORIZED,
            "UnauthorizedError",
            "Token is expired",
        ))),
        Err(refusal) => Err(Err(refusal)),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: Option<String>,
}

async fn list(
    State(api): State<Api>,
    caller: Result<Caller, Refusal>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Answer {
    if let Err(answer) = let_in(caller) {
        return answer;
    }
    let asked = queried(asked)?;
    let groups: Vec<RouterGroup> = Transport::ALL
        .into_iter()
        .filter(|one| asked.name.as_deref().is_none_or(|name| name == one.group()))
        .map(|transport| present(&api.ops, transport))
        .collect();
    match asked.name {
        Some(name) if groups.is_empty() => Ok(not_found(&name)),
        _ => Ok(ok(groups)),
    }
}

async fn show(
    State(api): State<Api>,
    caller: Result<Caller, Refusal>,
    Path(guid): Path<String>,
) -> Answer {
    if let Err(answer) = let_in(caller) {
        return answer;
    }
    Ok(match Transport::of_group(&guid) {
        Some(transport) => ok(present(&api.ops, transport)),
        None => not_found(&guid),
    })
}
