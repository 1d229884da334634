//! Binding routes to services: the requests of a route go to the service's address first, at once, whatever its
//! apps are doing. A route has one such service at most.

use super::apps::{lay_annotations, lay_labels};
use super::list::{Columns, LABEL_SELECTOR, ListQuery, Listing};
use super::routes::tell_apps_of;
use super::service_bindings::named_in_document;
use super::service_instances::instance_for;
use super::{Ops, Refusal, by, new_guid, now, of_spaces_in_sight, on, space_for};
use crate::domain::access::{Action, Actor};
use crate::store::route_bindings::{self, RouteBinding};
use crate::store::routes::Route;
use crate::store::service_instances::ServiceInstance;
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::{Json, StoreError, audit_events};
use serde_json::json;
use std::collections::BTreeMap;

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("route_guids", "route_guid"),
        ("service_instance_guids", "service_instance_guid"),
        ("space_guids", "space_guid"),
    ],
    others: &[
        "organization_guids",
        "service_instance_names",
        LABEL_SELECTOR,
    ],
    orders: &[],
};

const NOUN: &str = "Service route binding";
const ALREADY_BOUND: &str = "The route and service instance are already bound.";

/// What is to be bound.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewRouteBinding {
    pub route: String,
    pub instance: String,
    pub labels: BTreeMap<String, Option<String>>,
    pub annotations: BTreeMap<String, Option<String>>,
}

async fn binding_for(
    connection: &mut Connection,
    actor: &Actor,
    action: Action,
    guid: &str,
) -> Result<(RouteBinding, Space), Refusal> {
    let binding = RouteBinding::find(connection, guid)
        .await?
        .ok_or(Refusal::NotFound(NOUN))?;
    let space = space_for(connection, actor, action, &binding.space_guid, NOUN).await?;
    Ok((binding, space))
}

async fn record(
    connection: &mut Connection,
    actor: &Actor,
    verb: &str,
    (binding, space): (&RouteBinding, &Space),
    now: i64,
) -> Result<(), Refusal> {
    let data = json!({"request": {
        "relationships": {
            "route": {"data": {"guid": binding.route_guid}},
            "service_instance": {"data": {"guid": binding.service_instance_guid}},
        },
    }});
    audit_events::record(
        connection,
        &format!("audit.service_route_binding.{verb}"),
        by(actor),
        on("service_route_binding", &binding.guid, "", space),
        data,
        now,
    )
    .await?;
    Ok(())
}

/// The address of a service changed, or the service goes: whose requests go there?
pub(super) async fn tell_apps_of_instance(
    connection: &mut Connection,
    instance: &ServiceInstance,
    now: i64,
) -> Result<(), StoreError> {
    let bindings = route_bindings::of_instance(connection, &instance.guid).await?;
    let routes: Vec<String> = bindings
        .into_iter()
        .map(|binding| binding.route_guid)
        .collect();
    match routes.is_empty() {
        true => Ok(()),
        false => tell_apps_of(connection, &routes, now).await,
    }
}

/// Deletes in the caller's transaction what a service is bound to.
pub(super) async fn delete_of_instance(
    connection: &mut Connection,
    actor: &Actor,
    instance: &ServiceInstance,
    space: &Space,
    now: i64,
) -> Result<(), Refusal> {
    for binding in route_bindings::of_instance(connection, &instance.guid).await? {
        delete_in(connection, actor, &binding, space, now).await?;
    }
    Ok(())
}

async fn delete_in(
    connection: &mut Connection,
    actor: &Actor,
    binding: &RouteBinding,
    space: &Space,
    now: i64,
) -> Result<(), Refusal> {
    RouteBinding::delete(connection, &binding.guid).await?;
    tell_apps_of(connection, std::slice::from_ref(&binding.route_guid), now).await?;
    record(connection, actor, "delete", (binding, space), now).await
}

impl Ops {
    pub async fn list_route_bindings(
        &self,
        actor: &Actor,
        query: &ListQuery,
    ) -> Result<Listing<RouteBinding>, Refusal> {
        const OF_INSTANCES: &str = "SELECT guid FROM service_instances WHERE name";
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        if let Some(names) = query.list("service_instance_names") {
            filter = filter.any_in("service_instance_guid", OF_INSTANCES, names);
        }
        filter = of_spaces_in_sight(&mut connection, actor, query, filter).await?;
        Ok(RouteBinding::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?
        .into())
    }

    pub async fn route_binding(&self, actor: &Actor, guid: &str) -> Result<RouteBinding, Refusal> {
        let mut connection = self.store.read().await?;
        let (binding, _) = binding_for(&mut connection, actor, Action::Read, guid).await?;
        Ok(binding)
    }

    pub async fn create_route_binding(
        &self,
        actor: &Actor,
        wanted: &NewRouteBinding,
    ) -> Result<RouteBinding, Refusal> {
        let mut tx = self.store.write("bind a route").await?;
        let (instance, space) = instance_for(&mut tx, actor, Action::Develop, &wanted.instance)
            .await
            .map_err(named_in_document("service instance", &wanted.instance))?;
        let route = Route::find(&mut tx, &wanted.route)
            .await?
            .ok_or(Refusal::NotFound("Route"))
            .map_err(named_in_document("route", &wanted.route))?;
        if route.space_guid != instance.space_guid {
            return Refusal::unprocessable(
                "The service instance and the route are in different spaces.",
            );
        }
        if route.own_port().is_some() {
            return Refusal::unprocessable(format!(
                "Route services cannot be bound to {} routes: they see requests",
                route.protocol
            ));
        }
        if instance.route_service_url.is_none() {
            return Refusal::unprocessable("This service instance does not support route binding.");
        }
        match route_bindings::of_route(&mut tx, &route.guid).await? {
            Some(bound) if bound.service_instance_guid == instance.guid => {
                return Refusal::unprocessable(ALREADY_BOUND);
            }
            Some(_) => {
                return Refusal::unprocessable(
                    "A route may only be bound to a single service instance",
                );
            }
            None => {}
        }
        let now = now();
        let mut binding = RouteBinding {
            guid: new_guid(),
            route_guid: route.guid.clone(),
            service_instance_guid: instance.guid.clone(),
            space_guid: space.guid.clone(),
            labels: Json::default(),
            annotations: Json::default(),
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        lay_labels(&mut binding.labels, &wanted.labels)?;
        lay_annotations(&mut binding.annotations, &wanted.annotations)?;
        binding.insert(&mut tx).await.map_err(|error| match error {
            // Two bound it at once (PostgreSQL): the other was first.
            StoreError::Taken { .. } => Refusal::Unprocessable(ALREADY_BOUND.into()),
            error => error.into(),
        })?;
        tell_apps_of(&mut tx, std::slice::from_ref(&route.guid), now).await?;
        record(&mut tx, actor, "create", (&binding, &space), now).await?;
        tx.commit().await?;
        self.nudge();
        Ok(binding)
    }

    pub async fn update_route_binding(
        &self,
        actor: &Actor,
        guid: &str,
        labels: &BTreeMap<String, Option<String>>,
        annotations: &BTreeMap<String, Option<String>>,
    ) -> Result<RouteBinding, Refusal> {
        let mut tx = self.store.write("update a route binding").await?;
        let (mut binding, space) = binding_for(&mut tx, actor, Action::Develop, guid).await?;
        lay_labels(&mut binding.labels, labels)?;
        lay_annotations(&mut binding.annotations, annotations)?;
        let now = now();
        binding.update(&mut tx, now).await?;
        record(&mut tx, actor, "update", (&binding, &space), now).await?;
        tx.commit().await?;
        Ok(binding)
    }

    pub async fn delete_route_binding(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        let mut tx = self.store.write("unbind a route").await?;
        let (binding, space) = binding_for(&mut tx, actor, Action::Develop, guid).await?;
        delete_in(&mut tx, actor, &binding, &space, now()).await?;
        tx.commit().await?;
        self.nudge();
        Ok(())
    }
}
