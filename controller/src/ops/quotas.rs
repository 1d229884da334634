//! Quotas of organizations and of spaces: made, changed, given. Where they refuse something: [`account`].

mod account;

pub use account::{Account, Exceeded};

use super::list::{Columns, ListQuery, Listing};
use super::{Ops, Refusal, authorize, by, new_guid, now, space_for, visible_spaces};
use crate::domain::access::{Action, Actor, Object, Sight, decide, sight};
use crate::domain::names;
use crate::domain::quotas::{Limits, Setting, Usage};
use crate::store::audit_events::{self, On};
use crate::store::organizations::Organization;
use crate::store::query::Filter;
use crate::store::quotas::{self, OrganizationQuota, SpaceQuota};
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::{Json, StoreError};
use serde_json::json;
use std::collections::BTreeSet;

const COLUMNS: Columns = Columns {
    filters: &[("guids", "guid"), ("names", "name")],
    others: &["organization_guids"],
    orders: &[("name", "name")],
};

const SPACE_COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("names", "name"),
        ("organization_guids", "organization_guid"),
    ],
    others: &["space_guids"],
    orders: &[("name", "name")],
};

/// A change of a quota. Settings that are not named stay.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QuotaSettings {
    pub name: Option<String>,
    pub limits: Vec<(Setting, Option<i64>)>,
    pub paid_services_allowed: Option<bool>,
}

impl QuotaSettings {
    fn lay(&self, limits: &mut Limits) -> Result<(), Refusal> {
        for (setting, value) in &self.limits {
            limits
                .set(*setting, *value)
                .map_err(Refusal::Unprocessable)?;
        }
        if let Some(allowed) = self.paid_services_allowed {
            limits.paid_services_allowed = allowed;
        }
        Ok(())
    }

    fn new_name(&self) -> Result<String, Refusal> {
        let name = self
            .name
            .clone()
            .ok_or_else(|| Refusal::Unprocessable("Name must be a string".into()))?;
        names::check_name(&name)?;
        Ok(name)
    }
}

/// A quota with those that have it and that the actor sees.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaView<Q> {
    pub quota: Q,
    pub holders: Vec<String>,
}

const NOUN: &str = "Organization quota";
const SPACE_NOUN: &str = "Space quota";

fn taken(name: &str) -> Refusal {
    Refusal::Unprocessable(format!("Organization Quota '{name}' already exists."))
}

fn space_taken(name: &str) -> Refusal {
    Refusal::Unprocessable(format!("Space Quota '{name}' already exists."))
}

fn on(quota: &OrganizationQuota) -> On<'_> {
    On {
        guid: &quota.guid,
        kind: "organization_quota",
        name: &quota.name,
        space: None,
        organization: None,
    }
}

fn on_space_quota(quota: &SpaceQuota) -> On<'_> {
    On {
        guid: &quota.guid,
        kind: "space_quota",
        name: &quota.name,
        space: None,
        organization: Some(&quota.organization_guid),
    }
}

/// Those of a list that are seen; None: all.
fn seen(holders: Vec<String>, visible: Option<&BTreeSet<String>>) -> Vec<String> {
    holders
        .into_iter()
        .filter(|guid| visible.is_none_or(|visible| visible.contains(guid)))
        .collect()
}

/// The part of few rows that was asked for.
fn page<T>(rows: Vec<T>, query: &ListQuery) -> Listing<T> {
    let total = rows.len() as u64;
    let (skip, take) = (
        query.window.offset() as usize,
        query.window.limit() as usize,
    );
    Listing {
        rows: rows.into_iter().skip(skip).take(take).collect(),
        total,
    }
}

/// Organizations whose spaces an actor sees all; None: of all.
fn managed(actor: &Actor) -> Option<BTreeSet<String>> {
    match sight(actor) {
        Sight::Everything => None,
        Sight::Only { managed, .. } => Some(managed),
    }
}

async fn organization_views(
    connection: &mut Connection,
    actor: &Actor,
    rows: Vec<OrganizationQuota>,
) -> Result<Vec<QuotaView<OrganizationQuota>>, Refusal> {
    let visible = match sight(actor) {
        Sight::Everything => None,
        Sight::Only { organizations, .. } => Some(organizations),
    };
    let guids: Vec<String> = rows.iter().map(|quota| quota.guid.clone()).collect();
    let mut holders = quotas::organizations_of(connection, &guids).await?;
    Ok(rows
        .into_iter()
        .map(|quota| QuotaView {
            holders: seen(
                holders.remove(&quota.guid).unwrap_or_default(),
                visible.as_ref(),
            ),
            quota,
        })
        .filter(|view| visible.is_none() || !view.holders.is_empty())
        .collect())
}

async fn space_views(
    connection: &mut Connection,
    actor: &Actor,
    rows: Vec<SpaceQuota>,
) -> Result<Vec<QuotaView<SpaceQuota>>, Refusal> {
    let visible: Option<BTreeSet<String>> = visible_spaces(connection, actor)
        .await?
        .map(|spaces| spaces.into_iter().collect());
    let managed = managed(actor);
    let guids: Vec<String> = rows.iter().map(|quota| quota.guid.clone()).collect();
    let mut holders = quotas::spaces_of(connection, &guids).await?;
    Ok(rows
        .into_iter()
        .map(|quota| QuotaView {
            holders: seen(
                holders.remove(&quota.guid).unwrap_or_default(),
                visible.as_ref(),
            ),
            quota,
        })
        .filter(|view| {
            let organization = &view.quota.organization_guid;
            managed
                .as_ref()
                .is_none_or(|managed| managed.contains(organization))
                || !view.holders.is_empty()
        })
        .collect())
}

/// A quota that the actor sees.
async fn organization_quota_for(
    connection: &mut Connection,
    actor: &Actor,
    guid: &str,
) -> Result<QuotaView<OrganizationQuota>, Refusal> {
    let rows = OrganizationQuota::find(connection, guid)
        .await?
        .into_iter()
        .collect();
    organization_views(connection, actor, rows)
        .await?
        .pop()
        .ok_or(Refusal::NotFound(NOUN))
}

/// A quota of spaces that the actor sees.
async fn space_quota_for(
    connection: &mut Connection,
    actor: &Actor,
    guid: &str,
) -> Result<QuotaView<SpaceQuota>, Refusal> {
    let rows = SpaceQuota::find(connection, guid)
        .await?
        .into_iter()
        .collect();
    space_views(connection, actor, rows)
        .await?
        .pop()
        .ok_or(Refusal::NotFound(SPACE_NOUN))
}

/// The same with the right to change it: whoever manages the organization divides it among its spaces.
async fn space_quota_to_change(
    connection: &mut Connection,
    actor: &Actor,
    guid: &str,
) -> Result<SpaceQuota, Refusal> {
    let quota = space_quota_for(connection, actor, guid).await?.quota;
    let organization = Object::Organization(&quota.organization_guid);
    if !decide(actor, Action::Manage, &organization).allowed {
        return Err(Refusal::NotAuthorized);
    }
    Ok(quota)
}

/// `["a", "b"]`, as clients know it.
fn listed(guids: &[&String]) -> String {
    let quoted: Vec<String> = guids.iter().map(|guid| format!("{guid:?}")).collect();
    format!("[{}]", quoted.join(", "))
}

/// Gives a quota whose row the transaction has locked to organizations.
async fn give_organizations(
    connection: &mut Connection,
    quota: &str,
    organizations: &[String],
) -> Result<(), Refusal> {
    let present = Organization::fetch(
        connection,
        Filter::new().any("guid", organizations),
        "find organizations",
    )
    .await?;
    let missing: Vec<&String> = organizations
        .iter()
        .filter(|guid| !present.iter().any(|one| one.guid == **guid))
        .collect();
    if !missing.is_empty() {
        return Refusal::unprocessable(format!(
            "Organizations with guids {} do not exist, or you do not have access to them.",
            listed(&missing)
        ));
    }
    // In one order, so that two who give the same ones wait for each other at the first.
    for organization in organizations.iter().collect::<BTreeSet<_>>() {
        quotas::give_organization(connection, organization, quota).await?;
    }
    Ok(())
}

/// The same with spaces.
async fn give_spaces(
    connection: &mut Connection,
    quota: &SpaceQuota,
    spaces: &[String],
) -> Result<(), Refusal> {
    let filter = Filter::new().any("guid", spaces);
    let present = Space::fetch(connection, filter, "find spaces").await?;
    let missing: Vec<&String> = spaces
        .iter()
        .filter(|guid| !present.iter().any(|one| one.guid == **guid))
        .collect();
    if !missing.is_empty() {
        return Refusal::unprocessable(format!(
            "Spaces with guids {} do not exist, or you do not have access to them.",
            listed(&missing)
        ));
    }
    if present
        .iter()
        .any(|space| space.organization_guid != quota.organization_guid)
    {
        return Refusal::unprocessable(
            "Space quotas cannot be applied outside of their owning organization.",
        );
    }
    for space in spaces.iter().collect::<BTreeSet<_>>() {
        quotas::give_space(connection, space, Some(&quota.guid)).await?;
    }
    Ok(())
}

impl Ops {
    pub async fn list_organization_quotas(
        &self,
        actor: &Actor,
        query: &ListQuery,
    ) -> Result<Listing<QuotaView<OrganizationQuota>>, Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        if let Some(organizations) = query.list("organization_guids") {
            filter = filter.any_in(
                "guid",
                "SELECT quota_guid FROM organizations WHERE guid",
                organizations,
            );
        }
        // Few rows: sight is decided here rather than in SQL.
        let rows = OrganizationQuota::fetch(&mut connection, filter, "list quotas").await?;
        Ok(page(
            organization_views(&mut connection, actor, rows).await?,
            query,
        ))
    }

    pub async fn organization_quota(
        &self,
        actor: &Actor,
        guid: &str,
    ) -> Result<QuotaView<OrganizationQuota>, Refusal> {
        organization_quota_for(&mut *self.store.read().await?, actor, guid).await
    }

    pub async fn create_organization_quota(
        &self,
        actor: &Actor,
        settings: &QuotaSettings,
        organizations: &[String],
    ) -> Result<QuotaView<OrganizationQuota>, Refusal> {
        authorize(actor, Action::Administer, &Object::Platform, NOUN)?;
        let name = settings.new_name()?;
        let mut limits = Limits::default();
        settings.lay(&mut limits)?;
        let mut tx = self.store.write("create organization quota").await?;
        let now = now();
        let quota = OrganizationQuota {
            guid: new_guid(),
            name: name.clone(),
            limits: Json(limits),
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        quota.insert(&mut tx).await.map_err(|error| match error {
            StoreError::Taken { .. } => taken(&name),
            error => error.into(),
        })?;
        give_organizations(&mut tx, &quota.guid, organizations).await?;
        let data = json!({"request": {"limits": *quota.limits, "organizations": organizations}});
        let kind = "audit.organization_quota.create";
        audit_events::record(&mut tx, kind, by(actor), on(&quota), data, now).await?;
        let view = organization_quota_for(&mut tx, actor, &quota.guid).await?;
        tx.commit().await?;
        Ok(view)
    }

    pub async fn update_organization_quota(
        &self,
        actor: &Actor,
        guid: &str,
        settings: &QuotaSettings,
    ) -> Result<QuotaView<OrganizationQuota>, Refusal> {
        let mut tx = self.store.write("update organization quota").await?;
        let mut quota = organization_quota_for(&mut tx, actor, guid).await?.quota;
        authorize(actor, Action::Administer, &Object::Platform, NOUN)?;
        if let Some(name) = &settings.name {
            names::check_name(name)?;
            quota.name = name.clone();
        }
        settings.lay(&mut quota.limits)?;
        let now = now();
        quota
            .update(&mut tx, now)
            .await
            .map_err(|error| match error {
                StoreError::Taken { .. } => taken(&quota.name),
                error => error.into(),
            })?;
        let data = json!({"request": {"name": quota.name, "limits": *quota.limits}});
        let kind = "audit.organization_quota.update";
        audit_events::record(&mut tx, kind, by(actor), on(&quota), data, now).await?;
        let view = organization_quota_for(&mut tx, actor, guid).await?;
        tx.commit().await?;
        Ok(view)
    }

    pub async fn delete_organization_quota(
        &self,
        actor: &Actor,
        guid: &str,
    ) -> Result<(), Refusal> {
        let mut tx = self.store.write("delete organization quota").await?;
        let quota = organization_quota_for(&mut tx, actor, guid).await?.quota;
        authorize(actor, Action::Administer, &Object::Platform, NOUN)?;
        if guid == quotas::DEFAULT_GUID {
            return Refusal::unprocessable(format!(
                "The quota '{}' cannot be deleted: every new organization gets it.",
                quota.name
            ));
        }
        quotas::lock_organization_quota(&mut tx, guid).await?;
        let held = quotas::organizations_of(&mut tx, &[guid.to_string()]).await?;
        if !held.is_empty() {
            return Refusal::unprocessable(
                "This quota is applied to one or more organizations. Apply different quotas to those organizations before deleting.",
            );
        }
        quotas::delete_organization_quota(&mut tx, guid).await?;
        let kind = "audit.organization_quota.delete";
        audit_events::record(&mut tx, kind, by(actor), on(&quota), json!({}), now()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Gives the quota to organizations, instead of those they have. All that have it then.
    pub async fn apply_organization_quota(
        &self,
        actor: &Actor,
        guid: &str,
        organizations: &[String],
    ) -> Result<Vec<String>, Refusal> {
        let mut tx = self.store.write("apply organization quota").await?;
        let quota = organization_quota_for(&mut tx, actor, guid).await?.quota;
        authorize(actor, Action::Administer, &Object::Platform, NOUN)?;
        if !quotas::lock_organization_quota(&mut tx, guid).await? {
            return Err(Refusal::NotFound(NOUN));
        }
        give_organizations(&mut tx, guid, organizations).await?;
        let data = json!({"request": {"organizations": organizations}});
        let kind = "audit.organization_quota.apply";
        audit_events::record(&mut tx, kind, by(actor), on(&quota), data, now()).await?;
        let view = organization_quota_for(&mut tx, actor, guid).await?;
        tx.commit().await?;
        Ok(view.holders)
    }

    pub async fn list_space_quotas(
        &self,
        actor: &Actor,
        query: &ListQuery,
    ) -> Result<Listing<QuotaView<SpaceQuota>>, Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&SPACE_COLUMNS)?;
        if let Some(spaces) = query.list("space_guids") {
            filter = filter.any_in("guid", "SELECT quota_guid FROM spaces WHERE guid", spaces);
        }
        let rows = SpaceQuota::fetch(&mut connection, filter, "list space quotas").await?;
        Ok(page(
            space_views(&mut connection, actor, rows).await?,
            query,
        ))
    }

    pub async fn space_quota(
        &self,
        actor: &Actor,
        guid: &str,
    ) -> Result<QuotaView<SpaceQuota>, Refusal> {
        space_quota_for(&mut *self.store.read().await?, actor, guid).await
    }

    pub async fn create_space_quota(
        &self,
        actor: &Actor,
        organization: &str,
        settings: &QuotaSettings,
        spaces: &[String],
    ) -> Result<QuotaView<SpaceQuota>, Refusal> {
        let missing = || {
            Refusal::Unprocessable(format!(
                "Organization with guid '{organization}' does not exist, or you do not have access to it."
            ))
        };
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
        let name = settings.new_name()?;
        let mut limits = Limits::default();
        settings.lay(&mut limits)?;
        let mut tx = self.store.write("create space quota").await?;
        Organization::find(&mut tx, organization)
            .await?
            .ok_or_else(missing)?;
        let now = now();
        let quota = SpaceQuota {
            guid: new_guid(),
            name: name.clone(),
            organization_guid: organization.to_string(),
            limits: Json(limits),
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        quota.insert(&mut tx).await.map_err(|error| match error {
            StoreError::Taken { .. } => space_taken(&name),
            error => error.into(),
        })?;
        give_spaces(&mut tx, &quota, spaces).await?;
        let data = json!({"request": {"limits": *quota.limits, "spaces": spaces}});
        let target = on_space_quota(&quota);
        let kind = "audit.space_quota.create";
        audit_events::record(&mut tx, kind, by(actor), target, data, now).await?;
        let view = space_quota_for(&mut tx, actor, &quota.guid).await?;
        tx.commit().await?;
        Ok(view)
    }

    pub async fn update_space_quota(
        &self,
        actor: &Actor,
        guid: &str,
        settings: &QuotaSettings,
    ) -> Result<QuotaView<SpaceQuota>, Refusal> {
        let mut tx = self.store.write("update space quota").await?;
        let mut quota = space_quota_to_change(&mut tx, actor, guid).await?;
        if let Some(name) = &settings.name {
            names::check_name(name)?;
            quota.name = name.clone();
        }
        settings.lay(&mut quota.limits)?;
        let now = now();
        quota
            .update(&mut tx, now)
            .await
            .map_err(|error| match error {
                StoreError::Taken { .. } => space_taken(&quota.name),
                error => error.into(),
            })?;
        let data = json!({"request": {"name": quota.name, "limits": *quota.limits}});
        let target = on_space_quota(&quota);
        let kind = "audit.space_quota.update";
        audit_events::record(&mut tx, kind, by(actor), target, data, now).await?;
        let view = space_quota_for(&mut tx, actor, guid).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// Deletes it; the spaces that have it have none then.
    pub async fn delete_space_quota(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        let mut tx = self.store.write("delete space quota").await?;
        let quota = space_quota_to_change(&mut tx, actor, guid).await?;
        quotas::lock_space_quota(&mut tx, guid).await?;
        quotas::delete_space_quota(&mut tx, guid).await?;
        let target = on_space_quota(&quota);
        let kind = "audit.space_quota.delete";
        audit_events::record(&mut tx, kind, by(actor), target, json!({}), now()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Gives the quota to spaces of its organization, instead of those they have. All that have it then.
    pub async fn apply_space_quota(
        &self,
        actor: &Actor,
        guid: &str,
        spaces: &[String],
    ) -> Result<Vec<String>, Refusal> {
        let mut tx = self.store.write("apply space quota").await?;
        let quota = space_quota_to_change(&mut tx, actor, guid).await?;
        if !quotas::lock_space_quota(&mut tx, guid).await? {
            return Err(Refusal::NotFound(SPACE_NOUN));
        }
        give_spaces(&mut tx, &quota, spaces).await?;
        let data = json!({"request": {"spaces": spaces}});
        let target = on_space_quota(&quota);
        let kind = "audit.space_quota.apply";
        audit_events::record(&mut tx, kind, by(actor), target, data, now()).await?;
        let view = space_quota_for(&mut tx, actor, guid).await?;
        tx.commit().await?;
        Ok(view.holders)
    }

    /// Takes the quota away from a space.
    pub async fn remove_space_quota(
        &self,
        actor: &Actor,
        guid: &str,
        space: &str,
    ) -> Result<(), Refusal> {
        let mut tx = self.store.write("remove space quota").await?;
        let quota = space_quota_to_change(&mut tx, actor, guid).await?;
        let has_it = Space::find(&mut tx, space)
            .await?
            .is_some_and(|space| space.quota_guid.as_deref() == Some(guid));
        if !has_it {
            return Refusal::unprocessable(format!(
                "Unable to remove quota from space with guid '{space}'. Ensure the space quota is applied to this space."
            ));
        }
        quotas::give_space(&mut tx, space, None).await?;
        let data = json!({"request": {"space": space}});
        let target = on_space_quota(&quota);
        let kind = "audit.space_quota.remove";
        audit_events::record(&mut tx, kind, by(actor), target, data, now()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// What counts against the quota of an organization.
    pub async fn organization_usage(
        &self,
        actor: &Actor,
        organization: &str,
    ) -> Result<Usage, Refusal> {
        let organization = self.organization(actor, organization).await?.guid;
        let mut connection = self.store.read().await?;
        let held = quotas::holdings(&mut connection, &organization).await?;
        Ok(Usage::of(&held, None))
    }

    /// What counts against the quota of a space.
    pub async fn space_usage(&self, actor: &Actor, space: &str) -> Result<Usage, Refusal> {
        let mut connection = self.store.read().await?;
        let space = space_for(&mut connection, actor, Action::Read, space, "Space").await?;
        let held = quotas::holdings(&mut connection, &space.organization_guid).await?;
        Ok(Usage::of(&held, Some(&space.guid)))
    }
}
