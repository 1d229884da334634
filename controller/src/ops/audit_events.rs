//! Audit events, as they are listed.

use super::list::{Columns, ListQuery, Listing};
use super::{Ops, Refusal, visible_spaces};
use crate::domain::access::{Actor, Sight, sight};
use crate::store::audit_events::AuditEvent;
use std::collections::BTreeSet;

const COLUMNS: Columns = Columns {
    filters: &[
        ("types", "type"),
        ("target_guids", "target_guid"),
        ("space_guids", "space_guid"),
        ("organization_guids", "organization_guid"),
    ],
    others: &[
        "created_ats[gt]",
        "created_ats[lt]",
        "created_ats[gte]",
        "created_ats[lte]",
    ],
    orders: &[("updated_at", "created_at")],
};

impl Ops {
    pub async fn list_audit_events(
        &self,
        actor: &Actor,
        query: &ListQuery,
    ) -> Result<Listing<AuditEvent>, Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        let bounds = [
            ("created_ats[gt]", ">"),
            ("created_ats[lt]", "<"),
            ("created_ats[gte]", ">="),
            ("created_ats[lte]", "<="),
        ];
        filter = query.created(filter, &bounds)?;
        if let Some(spaces) = visible_spaces(&mut connection, actor).await? {
            let managed = match sight(actor) {
                Sight::Only { managed, .. } => managed.into_iter().collect::<Vec<_>>(),
                Sight::Everything => Vec::new(),
            };
            filter = filter.any_of_two("space_guid", &spaces, "organization_guid", &managed);
        }
        Ok(AuditEvent::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?
        .into())
    }

    pub async fn audit_event(&self, actor: &Actor, guid: &str) -> Result<AuditEvent, Refusal> {
        let mut connection = self.store.read().await?;
        let event = AuditEvent::find(&mut connection, guid)
            .await?
            .ok_or(Refusal::NotFound("Event"))?;
        // As in the list: what is in a space that the actor sees, or in an organization it manages.
        let is_visible = match sight(actor) {
            Sight::Everything => true,
            Sight::Only {
                spaces, managed, ..
            } => {
                let within = |guid: &Option<String>, seen: &BTreeSet<String>| {
                    guid.as_ref().is_some_and(|guid| seen.contains(guid))
                };
                within(&event.space_guid, &spaces) || within(&event.organization_guid, &managed)
            }
        };
        if is_visible {
            Ok(event)
        } else {
            Err(Refusal::NotFound("Event"))
        }
    }
}
