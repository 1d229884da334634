//! `/yard/v1/history`: who ran which administrative command.

use super::extract::{Asked, Caller};
use super::{Answer, Api};
use crate::domain::admin_commands::command;
use crate::domain::times::rfc3339;
use crate::store::audit_events::AuditEvent;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use proto::api::AdminCommand;

pub fn routes() -> Router<Api> {
    Router::new().route("/yard/v1/history", get(list))
}

fn present(row: AuditEvent) -> AdminCommand {
    let (noun, words) = match command(&row.kind, &row.target_name, &row.data.0) {
        Some((noun, words)) => (noun.name().to_string(), words),
        // Only types that have one are asked for.
        None => (row.target_type.clone(), row.kind.clone()),
    };
    AdminCommand {
        guid: row.guid,
        at: rfc3339(row.created_at),
        user: row.actor_name,
        noun,
        command: words,
        target: row.target_name,
        data: row.data.0,
    }
}

async fn list(State(api): State<Api>, Caller(actor): Caller, asked: Asked) -> Answer {
    let query = asked.query.clone();
    let listing = api.ops.list_admin_commands(&actor, query).await?;
    Ok(asked.page(listing, present))
}
