//! What the routers know of routes and have of certificates: for administrators, because it names the apps and addresses of everybody.

use super::{Ops, Refusal, authorize};
use crate::domain::access::{Action, Actor, Object};
use proto::api::{RouterCertificate, RouterTable};

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

    /// The certificates of their entrances for TLS, those that are wanted too.
    pub async fn router_certificates(
        &self,
        actor: &Actor,
    ) -> Result<Vec<RouterCertificate>, Refusal> {
        authorize(actor, Action::Administer, &Object::Platform, "Router")?;
        Ok((self.live.certificates)().await?)
    }
}
