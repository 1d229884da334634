//! Spaces.

use super::list::{Columns, LABEL_SELECTOR, ListQuery, Listing};
use super::organizations::PlaceSettings;
use super::{
    Ops, Refusal, apps, apps::lay_annotations, apps::lay_labels, authorize, by, new_guid, now, on,
    space_for, visible_spaces,
};
use crate::domain::access::{Action, Actor, Object};
use crate::domain::names;
use crate::store::organizations::Organization;
use crate::store::query::Filter;
use crate::store::routes::Route;
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::{Json, StoreError, audit_events, roles, service_instances};
use serde_json::json;

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("names", "name"),
        ("organization_guids", "organization_guid"),
    ],
    others: &["include", LABEL_SELECTOR],
    orders: &[("name", "name")],
};

fn taken() -> Refusal {
    Refusal::Unprocessable("Name must be unique per organization".into())
}

async fn is_taken(
    connection: &mut Connection,
    organization: &str,
    name: &str,
) -> Result<bool, StoreError> {
    let filter = Filter::new()
        .equals("organization_guid", organization)
        .equals("name", name);
    Ok(!Space::fetch(connection, filter, "find space")
        .await?
        .is_empty())
}

impl Ops {
    pub async fn list_spaces(
        &self,
        actor: &Actor,
        query: &ListQuery,
    ) -> Result<Listing<Space>, Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        if let Some(visible) = visible_spaces(&mut connection, actor).await? {
            filter = filter.any("guid", &visible);
        }
        Ok(Space::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?
        .into())
    }

    pub async fn space(&self, actor: &Actor, guid: &str) -> Result<Space, Refusal> {
        space_for(
            &mut *self.store.read().await?,
            actor,
            Action::Read,
            guid,
            "Space",
        )
        .await
    }

    pub async fn create_space(
        &self,
        actor: &Actor,
        organization: &str,
        settings: &PlaceSettings,
    ) -> Result<Space, Refusal> {
        let name = settings
            .name
            .clone()
            .ok_or_else(|| Refusal::Unprocessable("Name can't be blank".into()))?;
        names::check_name(&name)?;
        let mut tx = self.store.write("create space").await?;
        let missing = || {
            Refusal::Unprocessable(
                "Invalid organization. Ensure the organization exists and you have access to it."
                    .into(),
            )
        };
        Organization::find(&mut tx, organization)
            .await?
            .ok_or_else(missing)?;
        authorize(
            actor,
            Action::Manage,
            &Object::Organization(organization),
            "Organization",
        )
        .map_err(|refusal| match refusal {
            Refusal::NotFound(_) => missing(),
            refusal => refusal,
        })?;
        if is_taken(&mut tx, organization, &name).await? {
            return Err(taken());
        }
        let now = now();
        let mut space = Space {
            guid: new_guid(),
            name,
            organization_guid: organization.to_string(),
            ssh_allowed: true,
            quota_guid: None,
            labels: Json::default(),
            annotations: Json::default(),
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        lay_labels(&mut space.labels, &settings.labels)?;
        lay_annotations(&mut space.annotations, &settings.annotations)?;
        space.insert(&mut tx).await.map_err(|error| match error {
            StoreError::Taken { .. } => taken(),
            error => error.into(),
        })?;
        audit_events::record(
            &mut tx,
            "audit.space.create",
            by(actor),
            on("space", &space.guid, &space.name, &space),
            json!({}),
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(space)
    }

    pub async fn update_space(
        &self,
        actor: &Actor,
        guid: &str,
        settings: &PlaceSettings,
    ) -> Result<Space, Refusal> {
        let mut tx = self.store.write("update space").await?;
        let mut space = space_for(&mut tx, actor, Action::Manage, guid, "Space").await?;
        if let Some(name) = &settings.name
            && *name != space.name
        {
            names::check_name(name)?;
            if is_taken(&mut tx, &space.organization_guid, name).await? {
                return Err(taken());
            }
            space.name = name.clone();
        }
        lay_labels(&mut space.labels, &settings.labels)?;
        lay_annotations(&mut space.annotations, &settings.annotations)?;
        let now = now();
        space.update(&mut tx, now).await?;
        audit_events::record(
            &mut tx,
            "audit.space.update",
            by(actor),
            on("space", &space.guid, &space.name, &space),
            json!({}),
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(space)
    }

    /// Deletes a space with all that is in it.
    pub async fn delete_space(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        let mut tx = self.store.write("delete space").await?;
        let space = space_for(&mut tx, actor, Action::Read, guid, "Space").await?;
        authorize(
            actor,
            Action::Manage,
            &Object::Organization(&space.organization_guid),
            "Space",
        )?;
        delete_in(&mut tx, actor, &space).await?;
        tx.commit().await?;
        self.nudge();
        Ok(())
    }
}

/// In the caller's transaction.
pub async fn delete_in(
    connection: &mut Connection,
    actor: &Actor,
    space: &Space,
) -> Result<(), Refusal> {
    for app in crate::store::apps::of_space(connection, &space.guid).await? {
        apps::delete_in(connection, actor, &app, space).await?;
    }
    for instance in service_instances::of_space(connection, &space.guid).await? {
        super::service_instances::delete_in(connection, actor, &instance, space).await?;
    }
    let routes = Route::fetch(
        connection,
        Filter::new().equals("space_guid", &space.guid),
        "list the routes of a space",
    )
    .await?;
    for route in routes {
        Route::delete(connection, &route.guid).await?;
    }
    roles::delete_of_space(connection, &space.guid).await?;
    Space::delete(connection, &space.guid).await?;
    let target = on("space", &space.guid, &space.name, space);
    audit_events::record(
        connection,
        "audit.space.delete-request",
        by(actor),
        target,
        json!({}),
        now(),
    )
    .await?;
    Ok(())
}
