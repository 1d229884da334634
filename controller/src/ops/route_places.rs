//! In which space a route is.

use super::quotas::Account;
use super::routes::{RouteView, may_use, route_for, view};
use super::{Ops, Refusal, by, now, on, space_for};
use crate::domain::access::{Action, Actor};
use crate::domain::quotas::Purpose;
use crate::store::audit_events;
use crate::store::domains::Domain;
use crate::store::routes;
use serde_json::json;

impl Ops {
    /// Gives a route to another space. What it leads to stays behind, so it has to lead nowhere.
    pub async fn move_route(
        &self,
        actor: &Actor,
        guid: &str,
        space: &str,
    ) -> Result<RouteView, Refusal> {
        self.telling(actor, self.try_move_route(actor, guid, space))
            .await
    }

    async fn try_move_route(
        &self,
        actor: &Actor,
        guid: &str,
        space: &str,
    ) -> Result<RouteView, Refusal> {
        let mut tx = self.store.write("move route").await?;
        let (mut route, _) = route_for(&mut tx, actor, Action::Develop, guid).await?;
        let refused =
            |why: &str| format!("Unable to transfer owner of route to space '{space}'. {why}");
        let target = space_for(&mut tx, actor, Action::Develop, space, "Space")
            .await
            .map_err(|refusal| {
                refusal.if_missing(refused(
                    "Ensure the space exists and that you have access to it.",
                ))
            })?;
        if target.guid == route.space_guid {
            return view(&mut tx, route).await;
        }
        let domain = Domain::find(&mut tx, &route.domain_guid).await?;
        if !domain.is_some_and(|domain| may_use(&domain, &target)) {
            return Refusal::unprocessable(refused(
                "The target space does not have access to the route's domain.",
            ));
        }
        let leads = routes::destinations(&mut tx, std::slice::from_ref(&route.guid)).await?;
        if !leads.is_empty() {
            return Refusal::unprocessable(refused(
                "It leads to apps of its space, which cannot share it: unmap it first.",
            ));
        }
        let account = Account::of_space(&mut tx, &target).await?;
        let now = now();
        let from = std::mem::replace(&mut route.space_guid, target.guid.clone());
        route.update(&mut tx, now).await?;
        account.settle(&mut tx, None, Purpose::Change).await?;
        let view = view(&mut tx, route).await?;
        let url = view.url();
        let of = on("route", guid, &url, &target);
        let data = json!({"from_space_guid": from, "to_space_guid": target.guid});
        let kind = "audit.route.transfer-owner";
        audit_events::record(&mut tx, kind, by(actor), of, data, now).await?;
        tx.commit().await?;
        Ok(view)
    }
}
