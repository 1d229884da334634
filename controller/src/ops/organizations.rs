//! Organizations.

use super::list::{Columns, LABEL_SELECTOR, ListQuery, Listing};
use super::{Ops, Refusal, apps::lay_annotations, apps::lay_labels, authorize, by, new_guid, now};
use crate::domain::access::{Action, Actor, Object, Sight, sight};
use crate::domain::names;
use crate::store::audit_events::{self, On};
use crate::store::organizations::{self, Organization};
use crate::store::{Json, StoreError, quotas, roles, spaces};
use serde_json::json;
use std::collections::BTreeMap;

const COLUMNS: Columns = Columns {
    filters: &[("guids", "guid"), ("names", "name")],
    others: &[LABEL_SELECTOR],
    orders: &[("name", "name")],
};

fn on(organization: &Organization) -> On<'_> {
    On {
        guid: &organization.guid,
        kind: "organization",
        name: &organization.name,
        space: None,
        organization: Some(&organization.guid),
    }
}

fn taken(name: &str) -> Refusal {
    Refusal::Unprocessable(format!("Organization '{name}' already exists."))
}

/// Changes to an organization or a space; None: as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlaceSettings {
    pub name: Option<String>,
    pub labels: BTreeMap<String, Option<String>>,
    pub annotations: BTreeMap<String, Option<String>>,
}

impl Ops {
    pub async fn list_organizations(
        &self,
        actor: &Actor,
        query: &ListQuery,
    ) -> Result<Listing<Organization>, Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        if let Sight::Only { organizations, .. } = sight(actor) {
            filter = filter.any("guid", &organizations.into_iter().collect::<Vec<_>>());
        }
        Ok(Organization::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?
        .into())
    }

    pub async fn organization(&self, actor: &Actor, guid: &str) -> Result<Organization, Refusal> {
        authorize(
            actor,
            Action::Read,
            &Object::Organization(guid),
            "Organization",
        )?;
        Organization::find(&mut *self.store.read().await?, guid)
            .await?
            .ok_or(Refusal::NotFound("Organization"))
    }

    pub async fn create_organization(
        &self,
        actor: &Actor,
        settings: &PlaceSettings,
    ) -> Result<Organization, Refusal> {
        authorize(actor, Action::Administer, &Object::Platform, "Organization")?;
        let name = settings
            .name
            .clone()
            .ok_or_else(|| Refusal::Unprocessable("Name can't be blank".into()))?;
        names::check_name(&name)?;
        let mut tx = self.store.write("create organization").await?;
        if organizations::by_name(&mut tx, &name).await?.is_some() {
            return Err(taken(&name));
        }
        let now = now();
        let mut organization = Organization {
            guid: new_guid(),
            name: name.clone(),
            suspended: false,
            quota_guid: quotas::DEFAULT_GUID.to_string(),
            labels: Json::default(),
            annotations: Json::default(),
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        lay_labels(&mut organization.labels, &settings.labels)?;
        lay_annotations(&mut organization.annotations, &settings.annotations)?;
        organization
            .insert(&mut tx)
            .await
            .map_err(|error| match error {
                StoreError::Taken { .. } => taken(&name),
                error => error.into(),
            })?;
        audit_events::record(
            &mut tx,
            "audit.organization.create",
            by(actor),
            on(&organization),
            json!({}),
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(organization)
    }

    pub async fn update_organization(
        &self,
        actor: &Actor,
        guid: &str,
        settings: &PlaceSettings,
    ) -> Result<Organization, Refusal> {
        authorize(
            actor,
            Action::Manage,
            &Object::Organization(guid),
            "Organization",
        )?;
        let mut tx = self.store.write("update organization").await?;
        let mut organization = Organization::find(&mut tx, guid)
            .await?
            .ok_or(Refusal::NotFound("Organization"))?;
        if let Some(name) = &settings.name
            && *name != organization.name
        {
            names::check_name(name)?;
            if organizations::by_name(&mut tx, name).await?.is_some() {
                return Err(taken(name));
            }
            organization.name = name.clone();
        }
        lay_labels(&mut organization.labels, &settings.labels)?;
        lay_annotations(&mut organization.annotations, &settings.annotations)?;
        let now = now();
        organization.update(&mut tx, now).await?;
        audit_events::record(
            &mut tx,
            "audit.organization.update",
            by(actor),
            on(&organization),
            json!({}),
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(organization)
    }

    /// Deletes an organization with its spaces and all that is in them.
    pub async fn delete_organization(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        authorize(actor, Action::Administer, &Object::Platform, "Organization")?;
        let mut tx = self.store.write("delete organization").await?;
        let organization = Organization::find(&mut tx, guid)
            .await?
            .ok_or(Refusal::NotFound("Organization"))?;
        // Whoever adds to it locks it first, and waits for what is deleted here.
        quotas::lock_holdings(&mut tx, guid).await?;
        for space in spaces::of_organization(&mut tx, guid).await? {
            super::spaces::delete_in(&mut tx, actor, &space).await?;
        }
        organizations::delete_rows(&mut tx, guid).await?;
        roles::delete_of_organization(&mut tx, guid).await?;
        audit_events::record(
            &mut tx,
            "audit.organization.delete-request",
            by(actor),
            on(&organization),
            json!({}),
            now(),
        )
        .await?;
        tx.commit().await?;
        self.nudge();
        Ok(())
    }
}
