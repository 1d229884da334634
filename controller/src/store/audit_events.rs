//! Audit events: who did what, written in the transaction that did it.

use super::query::Filter;
use super::{Json, StoreError, row};
use crate::store::sql::Connection;

row! {
    pub struct AuditEvent in "audit_events", key guid {
        guid: String,
        kind => "type": String,
        actor_guid: String,
        /// `user`, `system`, `process`
        actor_type: String,
        actor_name: String,
        target_guid: String,
        /// `app`, `route`, `space`…
        target_type: String,
        target_name: String,
        data: Json<serde_json::Value>,
        space_guid: Option<String>,
        organization_guid: Option<String>,
        created_at: i64,
    }
}

/// Who did it.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    pub guid: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
}

impl By<'static> {
    /// The platform itself.
    pub const SYSTEM: By<'static> = By {
        guid: "system",
        kind: "system",
        name: "system",
    };
}

/// To what it was done.
#[derive(Debug, Clone, Copy)]
pub struct On<'a> {
    pub guid: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
    pub space: Option<&'a str>,
    pub organization: Option<&'a str>,
}

impl<'a> On<'a> {
    pub fn node(machine: &'a str) -> On<'a> {
        On {
            kind: "node",
            ..On::agent(machine)
        }
    }

    /// Something of a component; `guid` names it.
    pub fn component(id: &'a str, guid: &'a str) -> On<'a> {
        On {
            guid,
            kind: "component",
            ..On::agent(id)
        }
    }

    pub fn certificate(domain: &'a str) -> On<'a> {
        On {
            kind: "certificate",
            ..On::agent(domain)
        }
    }

    pub fn agent(id: &'a str) -> On<'a> {
        On {
            guid: id,
            kind: "agent",
            name: id,
            space: None,
            organization: None,
        }
    }
}

/// Records `kind` (`audit.app.start`, `app.crash`…) in the caller's transaction.
pub async fn record(
    connection: &mut Connection,
    kind: &str,
    by: By<'_>,
    on: On<'_>,
    data: serde_json::Value,
    now: i64,
) -> Result<(), StoreError> {
    AuditEvent {
        guid: uuid::Uuid::new_v4().to_string(),
        kind: kind.to_string(),
        actor_guid: by.guid.to_string(),
        actor_type: by.kind.to_string(),
        actor_name: by.name.to_string(),
        target_guid: on.guid.to_string(),
        target_type: on.kind.to_string(),
        target_name: on.name.to_string(),
        data: Json(data),
        space_guid: on.space.map(str::to_string),
        organization_guid: on.organization.map(str::to_string),
        created_at: now,
    }
    .insert(connection)
    .await
}

impl AuditEvent {
    /// The newest of a kind that was done to that.
    pub async fn last_of(
        connection: &mut Connection,
        kind: &str,
        target: &str,
    ) -> Result<Option<AuditEvent>, StoreError> {
        let filter = Filter::new()
            .equals("type", kind)
            .equals("target_guid", target)
            .order_by("created_at", "guid", true)
            .window(1, 0);
        let found = AuditEvent::fetch(connection, filter, "find the last event").await?;
        Ok(found.into_iter().next())
    }
}
