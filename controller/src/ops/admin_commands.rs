//! Who ran which administrative command: the audit events of administration, for administrators.

use super::list::{Columns, ListQuery, Listing};
use super::{Ops, Refusal, authorize};
use crate::domain::access::{Action, Actor, Object};
use crate::domain::admin_commands::{Noun, types};
use crate::store::audit_events::AuditEvent;

const COLUMNS: Columns = Columns {
    filters: &[("users", "actor_name")],
    others: &["commands", "since", "until"],
    orders: &[],
};

impl Ops {
    /// The newest first, unless another order is asked for.
    pub async fn list_admin_commands(
        &self,
        actor: &Actor,
        mut query: ListQuery,
    ) -> Result<Listing<AuditEvent>, Refusal> {
        authorize(actor, Action::Administer, &Object::Platform, "History")?;
        query.order_by.get_or_insert_with(|| "-created_at".into());
        let mut filter = query.filter(&COLUMNS)?;
        let nouns = match query.list("commands") {
            None => Noun::ALL.to_vec(),
            Some(names) => names
                .iter()
                .map(|name| noun(name))
                .collect::<Result<_, _>>()?,
        };
        filter = filter.any("type", &types(&nouns));
        filter = query.created(filter, &[("since", ">="), ("until", "<=")])?;
        let mut connection = self.store.read().await?;
        let (limit, offset) = (query.window.limit(), query.window.offset());
        Ok(AuditEvent::page(&mut connection, filter, limit, offset)
            .await?
            .into())
    }
}

fn noun(name: &str) -> Result<Noun, Refusal> {
    Noun::parse(name).ok_or_else(|| {
        let known: Vec<&str> = Noun::ALL.into_iter().map(Noun::name).collect();
        Refusal::BadQuery(format!("'commands' knows no {name}: {}", known.join(", ")))
    })
}
