//! Services that users provide themselves: made, changed, deleted.
//!
//! There are no brokers: a service is what a user says of it, a name with credentials. Nothing is done when
//! one is made; apps that are bound to it ([`super::service_bindings`]) get the credentials when they start.

use super::apps::{lay_annotations, lay_labels};
use super::list::{Columns, LABEL_SELECTOR, ListQuery, Listing};
use super::quotas::Account;
use super::route_bindings::{delete_of_instance, tell_apps_of_instance};
use super::service_bindings::{check_room, delete_binding_in};
use super::{Ops, Refusal, by, new_guid, now, of_spaces_in_sight, on, space_for, space_to_fill};
use crate::domain::access::{Action, Actor};
use crate::domain::quotas::Purpose;
use crate::domain::route_terms::check_route_service_url;
use crate::domain::times::rfc3339_micros;
use crate::domain::{names, services as rules};
use crate::services::{self, Unreadable};
use crate::store::apps::App;
use crate::store::route_bindings;
use crate::store::service_bindings;
use crate::store::service_instances::{self, ServiceInstance};
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::{Json, StoreError, audit_events, platform_events};
use automation::triggers::yard::{Named, ServiceCreated, ServiceDeleted, ServiceUpdated};
use proto::services::USER_PROVIDED;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("names", "name"),
        ("space_guids", "space_guid"),
    ],
    others: &[
        "organization_guids",
        "type",
        "service_plan_guids",
        "service_plan_names",
        LABEL_SELECTOR,
    ],
    orders: &[("name", "name")],
};

/// What audit events show instead of credentials.
const HIDDEN: &str = "[PRIVATE DATA HIDDEN]";

/// What a service is made of, or changed to. None: as it is, or none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceSettings {
    pub name: Option<String>,
    pub credentials: Option<Map<String, Value>>,
    pub tags: Option<Vec<String>>,
    /// Some(None): none any more.
    pub route_service_url: Option<Option<String>>,
    /// None as a value takes the key away.
    pub labels: BTreeMap<String, Option<String>>,
    pub annotations: BTreeMap<String, Option<String>>,
}

impl ServiceSettings {
    fn check(&self) -> Result<(), Refusal> {
        if let Some(name) = &self.name {
            names::check_name(name)?;
        }
        let mut checked = Ok(());
        if let Some(credentials) = &self.credentials {
            checked = checked.and(rules::check_credentials(credentials));
        }
        if let Some(tags) = &self.tags {
            checked = checked.and(rules::check_tags(tags));
        }
        if let Some(Some(url)) = &self.route_service_url {
            checked = checked.and(check_route_service_url(url));
        }
        checked.map_err(Refusal::Unprocessable)
    }

    /// As it stands in an audit event.
    fn shown(&self) -> Value {
        let mut shown = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                shown.insert(name.to_string(), value);
            }
        };
        set("name", self.name.as_ref().map(|name| json!(name)));
        set(
            "credentials",
            self.credentials.as_ref().map(|_| json!(HIDDEN)),
        );
        set("tags", self.tags.as_ref().map(|tags| json!(tags)));
        let url = self.route_service_url.as_ref().map(|url| json!(url));
        set("route_service_url", url);
        Value::Object(shown)
    }
}

impl From<Unreadable> for Refusal {
    fn from(error: Unreadable) -> Refusal {
        match error {
            Unreadable::Store(error) => error.into(),
            sealed @ Unreadable::Sealed { .. } => Refusal::Internal {
                operation: "reading what is bound",
                source: Box::new(sealed),
            },
        }
    }
}

fn taken(name: &str) -> Refusal {
    Refusal::Unprocessable(format!("The service instance name is taken: {name}."))
}

/// A service as rules are told of it.
pub(super) fn named(instance: &ServiceInstance) -> Named {
    Named {
        guid: instance.guid.clone(),
        name: instance.name.clone(),
    }
}

fn named_space(space: &Space) -> Named {
    Named {
        guid: space.guid.clone(),
        name: space.name.clone(),
    }
}

/// A service with its space, and the right to do `action`.
pub(super) async fn instance_for(
    connection: &mut Connection,
    actor: &Actor,
    action: Action,
    guid: &str,
) -> Result<(ServiceInstance, Space), Refusal> {
    const NOUN: &str = "Service instance";
    let instance = ServiceInstance::find(connection, guid)
        .await?
        .ok_or(Refusal::NotFound(NOUN))?;
    let space = space_for(connection, actor, action, &instance.space_guid, NOUN).await?;
    Ok((instance, space))
}

async fn record(
    connection: &mut Connection,
    actor: &Actor,
    verb: &str,
    (instance, space): (&ServiceInstance, &Space),
    data: Value,
    now: i64,
) -> Result<(), Refusal> {
    const KIND: &str = "user_provided_service_instance";
    audit_events::record(
        connection,
        &format!("audit.{KIND}.{verb}"),
        by(actor),
        on(KIND, &instance.guid, &instance.name, space),
        data,
        now,
    )
    .await?;
    Ok(())
}

impl Ops {
    pub async fn list_service_instances(
        &self,
        actor: &Actor,
        query: &ListQuery,
    ) -> Result<Listing<ServiceInstance>, Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        let of_other_kind = query
            .list("type")
            .is_some_and(|kinds| !kinds.iter().any(|kind| kind == USER_PROVIDED));
        // Only managed services have plans.
        let of_a_plan = ["service_plan_guids", "service_plan_names"]
            .into_iter()
            .any(|parameter| query.list(parameter).is_some());
        if of_other_kind || of_a_plan {
            filter = filter.only("1 = 0");
        }
        filter = of_spaces_in_sight(&mut connection, actor, query, filter).await?;
        Ok(ServiceInstance::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?
        .into())
    }

    pub async fn service_instance(
        &self,
        actor: &Actor,
        guid: &str,
    ) -> Result<(ServiceInstance, Space), Refusal> {
        instance_for(&mut *self.store.read().await?, actor, Action::Read, guid).await
    }

    /// Seeing them leaves an event.
    pub async fn service_credentials(
        &self,
        actor: &Actor,
        guid: &str,
    ) -> Result<Map<String, Value>, Refusal> {
        let mut tx = self
            .store
            .write("show the credentials of a service")
            .await?;
        let (instance, space) = instance_for(&mut tx, actor, Action::ReadSecrets, guid).await?;
        let of = (&instance, &space);
        record(&mut tx, actor, "show", of, json!({}), now()).await?;
        tx.commit().await?;
        Ok(services::credentials(&self.vault, &instance)?)
    }

    pub async fn create_service_instance(
        &self,
        actor: &Actor,
        space: &str,
        settings: &ServiceSettings,
    ) -> Result<ServiceInstance, Refusal> {
        let work = self.try_create_service_instance(actor, space, settings);
        self.telling(actor, work).await
    }

    async fn try_create_service_instance(
        &self,
        actor: &Actor,
        space: &str,
        settings: &ServiceSettings,
    ) -> Result<ServiceInstance, Refusal> {
        let name = settings
            .name
            .clone()
            .ok_or_else(|| Refusal::Unprocessable("Name can't be blank".into()))?;
        settings.check()?;
        let credentials = settings.credentials.clone().unwrap_or_default();
        let mut tx = self.store.write("create service instance").await?;
        let space = space_to_fill(&mut tx, actor, space).await?;
        let account = Account::of_space(&mut tx, &space).await?;
        if service_instances::by_name(&mut tx, &space.guid, &name)
            .await?
            .is_some()
        {
            return Err(taken(&name));
        }
        let now = now();
        let mut instance = ServiceInstance {
            guid: new_guid(),
            name,
            space_guid: space.guid.clone(),
            credentials: self.vault.seal(&Value::Object(credentials)),
            tags: Json(settings.tags.clone().unwrap_or_default()),
            labels: Json::default(),
            annotations: Json::default(),
            created_at: now,
            updated_at: now,
            row_version: 1,
            route_service_url: settings.route_service_url.clone().flatten(),
        };
        lay_labels(&mut instance.labels, &settings.labels)?;
        lay_annotations(&mut instance.annotations, &settings.annotations)?;
        instance
            .insert(&mut tx)
            .await
            .map_err(|error| match error {
                // Two made it at once (PostgreSQL): the other was first.
                StoreError::Taken { .. } => taken(&instance.name),
                error => error.into(),
            })?;
        account.settle(&mut tx, None, Purpose::Change).await?;
        let data = json!({"request": settings.shown()});
        record(&mut tx, actor, "create", (&instance, &space), data, now).await?;
        if let Some(organization) = platform_events::organization_of(&mut tx, &space).await? {
            let event = ServiceCreated {
                at: rfc3339_micros(now),
                service: named(&instance),
                kind: USER_PROVIDED.to_string(),
                space: named_space(&space),
                organization,
                user: actor.name.clone(),
            };
            platform_events::tell(&mut tx, event, &instance.guid, now).await?;
        }
        tx.commit().await?;
        self.nudge();
        Ok(instance)
    }

    pub async fn update_service_instance(
        &self,
        actor: &Actor,
        guid: &str,
        settings: &ServiceSettings,
    ) -> Result<ServiceInstance, Refusal> {
        settings.check()?;
        let mut tx = self.store.write("update service instance").await?;
        let (mut instance, space) = instance_for(&mut tx, actor, Action::Develop, guid).await?;
        let mut changed = Vec::new();
        if let Some(name) = settings
            .name
            .as_ref()
            .filter(|name| **name != instance.name)
        {
            if service_instances::by_name(&mut tx, &space.guid, name)
                .await?
                .is_some()
            {
                return Err(taken(name));
            }
            instance.name = name.clone();
            changed.push("name");
        }
        if let Some(credentials) = &settings.credentials
            && *credentials != services::credentials(&self.vault, &instance)?
        {
            instance.credentials = self.vault.seal(&Value::Object(credentials.clone()));
            changed.push("credentials");
        }
        if let Some(tags) = settings
            .tags
            .as_ref()
            .filter(|tags| **tags != *instance.tags)
        {
            instance.tags = Json(tags.clone());
            changed.push("tags");
        }
        let mut elsewhere = false;
        if let Some(url) = settings
            .route_service_url
            .as_ref()
            .filter(|url| **url != instance.route_service_url)
        {
            let bound = route_bindings::of_instance(&mut tx, &instance.guid).await?;
            if url.is_none() && !bound.is_empty() {
                return Refusal::unprocessable(
                    "Routes are bound to this service: its route service url can be changed, not taken away.",
                );
            }
            instance.route_service_url = url.clone();
            changed.push("route_service_url");
            elsewhere = true;
        }
        let metadata = (instance.labels.clone(), instance.annotations.clone());
        lay_labels(&mut instance.labels, &settings.labels)?;
        lay_annotations(&mut instance.annotations, &settings.annotations)?;
        if metadata != (instance.labels.clone(), instance.annotations.clone()) {
            changed.push("metadata");
        }
        if changed.is_empty() {
            return Ok(instance);
        }
        let now = now();
        instance
            .update(&mut tx, now)
            .await
            .map_err(|error| match error {
                StoreError::Taken { .. } => taken(&instance.name),
                error => error.into(),
            })?;
        if elsewhere {
            tell_apps_of_instance(&mut tx, &instance, now).await?;
        }
        for binding in service_bindings::of_instance(&mut tx, &instance.guid).await? {
            if let Some(app) = App::find(&mut tx, &binding.app_guid).await? {
                check_room(self, &mut tx, &app).await?;
            }
        }
        let data = json!({"request": settings.shown()});
        record(&mut tx, actor, "update", (&instance, &space), data, now).await?;
        if let Some(organization) = platform_events::organization_of(&mut tx, &space).await? {
            let event = ServiceUpdated {
                at: rfc3339_micros(now),
                service: named(&instance),
                kind: USER_PROVIDED.to_string(),
                changed: changed.into_iter().map(str::to_string).collect(),
                space: named_space(&space),
                organization,
                user: actor.name.clone(),
            };
            platform_events::tell(&mut tx, event, &instance.guid, now).await?;
        }
        tx.commit().await?;
        self.nudge();
        Ok(instance)
    }

    /// Deletes a service and its bindings.
    pub async fn delete_service_instance(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        let mut tx = self.store.write("delete service instance").await?;
        let (instance, space) = instance_for(&mut tx, actor, Action::Develop, guid).await?;
        delete_in(&mut tx, actor, &instance, &space).await?;
        tx.commit().await?;
        self.nudge();
        Ok(())
    }
}

/// In the caller's transaction.
pub(super) async fn delete_in(
    connection: &mut Connection,
    actor: &Actor,
    instance: &ServiceInstance,
    space: &Space,
) -> Result<(), Refusal> {
    let now = now();
    let mut unbound = Vec::new();
    for binding in service_bindings::of_instance(connection, &instance.guid).await? {
        unbound.extend(delete_binding_in(connection, actor, &binding, instance, space, now).await?);
    }
    delete_of_instance(connection, actor, instance, space, now).await?;
    ServiceInstance::delete(connection, &instance.guid).await?;
    record(
        connection,
        actor,
        "delete",
        (instance, space),
        json!({}),
        now,
    )
    .await?;
    for event in unbound {
        platform_events::tell(connection, event, &instance.guid, now).await?;
    }
    if let Some(organization) = platform_events::organization_of(connection, space).await? {
        let event = ServiceDeleted {
            at: rfc3339_micros(now),
            service: named(instance),
            kind: USER_PROVIDED.to_string(),
            space: named_space(space),
            organization,
            user: actor.name.clone(),
        };
        platform_events::tell(connection, event, &instance.guid, now).await?;
    }
    Ok(())
}
