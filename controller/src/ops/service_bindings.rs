//! Binding apps to services: with its next start an app gets the credentials, and what is unbound it gets no
//! more. What runs keeps what it was started with.

use super::apps::{app_for, lay_annotations, lay_labels, owner_for};
use super::list::{Columns, LABEL_SELECTOR, ListQuery, Listing};
use super::service_instances::{instance_for, named};
use super::{Ops, Refusal, by, new_guid, now, of_apps_in_sight, on};
use crate::domain::access::{Action, Actor};
use crate::domain::services as rules;
use crate::domain::times::rfc3339_micros;
use crate::services;
use crate::store::apps::App;
use crate::store::service_bindings::{self, ServiceBinding};
use crate::store::service_instances::ServiceInstance;
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::{Json, StoreError, audit_events, platform_events};
use automation::triggers::yard::{ServiceBound, ServiceUnbound};
use proto::services::{USER_PROVIDED, vcap_services};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("names", "name"),
        ("app_guids", "app_guid"),
        ("service_instance_guids", "service_instance_guid"),
    ],
    others: &[
        "app_names",
        "service_instance_names",
        "type",
        "service_plan_guids",
        "service_plan_names",
        "service_offering_guids",
        "service_offering_names",
        LABEL_SELECTOR,
    ],
    orders: &[("name", "name")],
};

const NOUN: &str = "Service credential binding";
const ALREADY_BOUND: &str = "The app is already bound to the service instance";

/// What is to be bound.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewBinding {
    pub app: String,
    pub instance: String,
    pub name: Option<String>,
    pub labels: BTreeMap<String, Option<String>>,
    pub annotations: BTreeMap<String, Option<String>>,
}

async fn binding_for(
    connection: &mut Connection,
    actor: &Actor,
    action: Action,
    guid: &str,
) -> Result<(ServiceBinding, Space), Refusal> {
    let binding = ServiceBinding::find(connection, guid)
        .await?
        .ok_or(Refusal::NotFound(NOUN))?;
    let (_, space) = owner_for(connection, actor, action, &binding.app_guid, NOUN).await?;
    Ok((binding, space))
}

/// What is named in a document is not missing like what stands in the address.
pub(super) fn named_in_document(noun: &str, guid: &str) -> impl FnOnce(Refusal) -> Refusal {
    let text = format!("The {noun} could not be found: '{guid}'");
    |refusal| match refusal {
        Refusal::NotFound(_) => Refusal::Unprocessable(text),
        refusal => refusal,
    }
}

/// Refuses what an app could not be told.
pub(super) async fn check_room(
    ops: &Ops,
    connection: &mut Connection,
    app: &App,
) -> Result<(), Refusal> {
    let bindings = services::of_app(&ops.vault, connection, app).await?;
    rules::check_room(&bindings).map_err(Refusal::Unprocessable)
}

impl Ops {
    pub async fn list_service_bindings(
        &self,
        actor: &Actor,
        query: &ListQuery,
    ) -> Result<Listing<ServiceBinding>, Refusal> {
        const OF_APPS: &str = "SELECT guid FROM apps WHERE name";
        const OF_INSTANCES: &str = "SELECT guid FROM service_instances WHERE name";
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        if let Some(names) = query.list("app_names") {
            filter = filter.any_in("app_guid", OF_APPS, names);
        }
        if let Some(names) = query.list("service_instance_names") {
            filter = filter.any_in("service_instance_guid", OF_INSTANCES, names);
        }
        let of_other_kind = query
            .list("type")
            .is_some_and(|kinds| !kinds.iter().any(|kind| kind == "app"));
        // Only managed services have plans and offerings.
        let of_a_plan = COLUMNS
            .others
            .iter()
            .filter(|name| name.starts_with("service_plan") || name.starts_with("service_off"))
            .any(|parameter| query.list(parameter).is_some());
        if of_other_kind || of_a_plan {
            filter = filter.only("1 = 0");
        }
        filter = of_apps_in_sight(&mut connection, actor, query, filter).await?;
        Ok(ServiceBinding::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?
        .into())
    }

    pub async fn service_binding(
        &self,
        actor: &Actor,
        guid: &str,
    ) -> Result<ServiceBinding, Refusal> {
        let mut connection = self.store.read().await?;
        let (binding, _) = binding_for(&mut connection, actor, Action::Read, guid).await?;
        Ok(binding)
    }

    /// The credentials that an app gets; seeing them leaves an event.
    pub async fn service_binding_credentials(
        &self,
        actor: &Actor,
        guid: &str,
    ) -> Result<Map<String, Value>, Refusal> {
        let mut tx = self
            .store
            .write("show the credentials of a binding")
            .await?;
        let (binding, space) = binding_for(&mut tx, actor, Action::ReadSecrets, guid).await?;
        let instance = ServiceInstance::find(&mut tx, &binding.service_instance_guid)
            .await?
            .ok_or(Refusal::NotFound(NOUN))?;
        record(&mut tx, actor, "show", (&binding, &space), now()).await?;
        tx.commit().await?;
        Ok(services::credentials(&self.vault, &instance)?)
    }

    /// `VCAP_SERVICES` of an app whose environment the actor may see.
    pub async fn vcap_services(&self, app: &App) -> Result<Value, Refusal> {
        let mut connection = self.store.read().await?;
        let bindings = services::of_app(&self.vault, &mut connection, app).await?;
        Ok(vcap_services(&bindings))
    }

    pub async fn create_service_binding(
        &self,
        actor: &Actor,
        wanted: &NewBinding,
    ) -> Result<ServiceBinding, Refusal> {
        let mut tx = self.store.write("bind a service").await?;
        let (instance, _) = instance_for(&mut tx, actor, Action::Develop, &wanted.instance)
            .await
            .map_err(named_in_document("service instance", &wanted.instance))?;
        let (app, space) = app_for(&mut tx, actor, Action::Develop, &wanted.app)
            .await
            .map_err(named_in_document("app", &wanted.app))?;
        if app.space_guid != instance.space_guid {
            return Refusal::unprocessable(
                "The service instance and the app are in different spaces",
            );
        }
        let binding = bind_in(self, &mut tx, actor, (&app, &space), &instance, wanted).await?;
        tx.commit().await?;
        self.nudge();
        Ok(binding)
    }

    pub async fn update_service_binding(
        &self,
        actor: &Actor,
        guid: &str,
        labels: &BTreeMap<String, Option<String>>,
        annotations: &BTreeMap<String, Option<String>>,
    ) -> Result<ServiceBinding, Refusal> {
        let mut tx = self.store.write("update a service binding").await?;
        let (mut binding, space) = binding_for(&mut tx, actor, Action::Develop, guid).await?;
        lay_labels(&mut binding.labels, labels)?;
        lay_annotations(&mut binding.annotations, annotations)?;
        let now = now();
        binding.update(&mut tx, now).await?;
        record(&mut tx, actor, "update", (&binding, &space), now).await?;
        tx.commit().await?;
        Ok(binding)
    }

    pub async fn delete_service_binding(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        let mut tx = self.store.write("unbind a service").await?;
        let (binding, space) = binding_for(&mut tx, actor, Action::Develop, guid).await?;
        let instance = ServiceInstance::find(&mut tx, &binding.service_instance_guid)
            .await?
            .ok_or(Refusal::NotFound(NOUN))?;
        let now = now();
        let unbound = delete_binding_in(&mut tx, actor, &binding, &instance, &space, now).await?;
        if let Some(event) = unbound {
            platform_events::tell(&mut tx, event, &instance.guid, now).await?;
        }
        tx.commit().await?;
        self.nudge();
        Ok(())
    }
}

async fn record(
    connection: &mut Connection,
    actor: &Actor,
    verb: &str,
    (binding, space): (&ServiceBinding, &Space),
    now: i64,
) -> Result<(), Refusal> {
    let name = binding.name.as_deref().unwrap_or_default();
    let data = json!({"request": {
        "type": "app",
        "name": binding.name,
        "relationships": {
            "app": {"data": {"guid": binding.app_guid}},
            "service_instance": {"data": {"guid": binding.service_instance_guid}},
        },
    }});
    audit_events::record(
        connection,
        &format!("audit.service_binding.{verb}"),
        by(actor),
        on("service_binding", &binding.guid, name, space),
        data,
        now,
    )
    .await?;
    Ok(())
}

/// Binds in the caller's transaction. App and service are in this space.
pub(super) async fn bind_in(
    ops: &Ops,
    connection: &mut Connection,
    actor: &Actor,
    (app, space): (&App, &Space),
    instance: &ServiceInstance,
    wanted: &NewBinding,
) -> Result<ServiceBinding, Refusal> {
    if let Some(name) = &wanted.name {
        rules::check_binding_name(name).map_err(Refusal::Unprocessable)?;
    }
    let others = service_bindings::of_app(connection, &app.guid).await?;
    if others
        .iter()
        .any(|other| other.service_instance_guid == instance.guid)
    {
        return Refusal::unprocessable(ALREADY_BOUND);
    }
    if wanted.name.is_some() && others.iter().any(|other| other.name == wanted.name) {
        return Refusal::unprocessable(format!(
            "The binding name is invalid. App binding names must be unique. The app already has a binding with name '{}'.",
            wanted.name.as_deref().unwrap_or_default()
        ));
    }
    let now = now();
    let mut binding = ServiceBinding {
        guid: new_guid(),
        name: wanted.name.clone(),
        app_guid: app.guid.clone(),
        service_instance_guid: instance.guid.clone(),
        labels: Json::default(),
        annotations: Json::default(),
        created_at: now,
        updated_at: now,
        row_version: 1,
    };
    lay_labels(&mut binding.labels, &wanted.labels)?;
    lay_annotations(&mut binding.annotations, &wanted.annotations)?;
    binding
        .insert(connection)
        .await
        .map_err(|error| match error {
            // Two bound it at once (PostgreSQL): the other was first.
            StoreError::Taken { .. } => Refusal::Unprocessable(ALREADY_BOUND.into()),
            error => error.into(),
        })?;
    check_room(ops, connection, app).await?;
    record(connection, actor, "create", (&binding, space), now).await?;
    if let Some(place) = platform_events::place(connection, app).await? {
        let event = ServiceBound {
            at: rfc3339_micros(now),
            place,
            service: named(instance),
            kind: USER_PROVIDED.to_string(),
            binding: binding.guid.clone(),
            binding_name: binding.name.clone(),
            user: actor.name.clone(),
        };
        platform_events::tell(connection, event, &instance.guid, now).await?;
    }
    Ok(binding)
}

/// Deletes a binding in the caller's transaction. What rules are to be told of it belongs late into that.
pub(super) async fn delete_binding_in(
    connection: &mut Connection,
    actor: &Actor,
    binding: &ServiceBinding,
    instance: &ServiceInstance,
    space: &Space,
    now: i64,
) -> Result<Option<ServiceUnbound>, Refusal> {
    let place = match App::find(connection, &binding.app_guid).await? {
        Some(app) => platform_events::place(connection, &app).await?,
        None => None,
    };
    ServiceBinding::delete(connection, &binding.guid).await?;
    record(connection, actor, "delete", (binding, space), now).await?;
    Ok(place.map(|place| ServiceUnbound {
        at: rfc3339_micros(now),
        place,
        service: named(instance),
        kind: USER_PROVIDED.to_string(),
        binding: binding.guid.clone(),
        binding_name: binding.name.clone(),
        user: actor.name.clone(),
    }))
}

/// Before the rows of an app are deleted. Gives back what rules are to be told, with the guid of the service.
pub(super) async fn unbind_all_in(
    connection: &mut Connection,
    actor: &Actor,
    app: &App,
    space: &Space,
    now: i64,
) -> Result<Vec<(ServiceUnbound, String)>, Refusal> {
    let mut told = Vec::new();
    for (binding, instance) in service_bindings::with_instances(connection, &app.guid).await? {
        let unbound = delete_binding_in(connection, actor, &binding, &instance, space, now).await?;
        told.extend(unbound.map(|event| (event, instance.guid)));
    }
    Ok(told)
}
