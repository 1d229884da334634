//! `service_registry`: who does the work of which of StackStorm's services.

use super::extract::Caller;
use super::{Answer, ok};
use crate::automation::Automation;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::json;

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/service_registry/groups", get(groups))
        .route("/service_registry/groups/{group}/members", get(members))
}

async fn groups(State(automation): State<Automation>, caller: Caller) -> Answer {
    let groups = automation.service_groups(&caller).await?;
    Ok(ok(json!({ "groups": groups })))
}

async fn members(
    State(automation): State<Automation>,
    caller: Caller,
    Path(group): Path<String>,
) -> Answer {
    let members = automation.service_members(&caller, &group).await?;
    Ok(ok(json!({ "members": members })))
}
