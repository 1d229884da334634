//! `/yard/v1/router/routes`: the tables of the routers, with reasons.

use super::extract::{Caller, limit, queried};
use super::{Answer, Api, ok};
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use proto::api::RouterTables;
use serde::Deserialize;

/// Routes of each router if nobody says how many, and at most.
const DEFAULT: usize = 1000;
const MOST: usize = 10_000;

pub fn routes() -> Router<Api> {
    Router::new().route("/yard/v1/router/routes", get(list))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    host: Option<String>,
    limit: Option<usize>,
}

async fn list(
    State(api): State<Api>,
    Caller(actor): Caller,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Answer {
    let asked = queried(asked)?;
    let most = limit(asked.limit, DEFAULT, MOST)?;
    let resources = api.ops.router_tables(&actor, asked.host, most).await?;
    Ok(ok(RouterTables { resources }))
}
