//! What the routers know of routes: for administrators, because it names the apps and addresses of everybody.

use super::{Ops, Refusal, authorize};
use crate::domain::access::{Action, Actor, Object};
use proto::api::RouterTable;

impl Ops {
    /// The tables of all routers, at most so many routes of each.
    pub async fn router_tables(
        &self,
        actor: &Actor,
        host: Option<String>,
        most: usize,
    ) -> Result<Vec<RouterTable>, Refusal> {
        authorize(actor, Action::Administer, &Object::Platform, "Router")?;
        Ok((self.live.routers)(host, most).await)
    }
}
