//! `/v3/audit_events`

use super::extract::{Asked, Caller};
use super::{Answer, Api, ok};
use crate::domain::times::rfc3339;
use crate::store::audit_events::AuditEvent;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use proto::api::{AuditParty, GuidRef, Link};
use std::collections::BTreeMap;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/audit_events", get(list))
        .route("/v3/audit_events/{guid}", get(show))
}

pub(super) fn present(api: &Api, row: AuditEvent) -> proto::api::AuditEvent {
    let at = rfc3339(row.created_at);
    proto::api::AuditEvent {
        links: BTreeMap::from([(
            "self".to_string(),
            Link::to(format!(
                "{}/v3/audit_events/{}",
                api.ops.public_url, row.guid
            )),
        )]),
        guid: row.guid,
        kind: row.kind,
        created_at: at.clone(),
        updated_at: at,
        actor: AuditParty {
            guid: row.actor_guid,
            kind: row.actor_type,
            name: row.actor_name,
        },
        target: AuditParty {
            guid: row.target_guid,
            kind: row.target_type,
            name: row.target_name,
        },
        data: row.data.0,
        space: row.space_guid.map(|guid| GuidRef { guid }),
        organization: row.organization_guid.map(|guid| GuidRef { guid }),
    }
}

async fn list(State(api): State<Api>, Caller(actor): Caller, asked: Asked) -> Answer {
    let listing = api.ops.list_audit_events(&actor, &asked.query).await?;
    Ok(asked.page(listing, |row| present(&api, row)))
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.audit_event(&actor, &guid).await?)))
}
