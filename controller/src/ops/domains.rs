//! Domains.

use super::list::{Columns, ListQuery, Listing};
use super::quotas::Account;
use super::{Ops, Refusal, authorize, by, new_guid, now};
use crate::domain::access::{Action, Actor, Object, Sight, sight};
use crate::domain::names;
use crate::domain::quotas::Purpose;
use crate::store::StoreError;
use crate::store::audit_events::{self, On};
use crate::store::domains::{self, Domain};
use crate::store::organizations::Organization;
use crate::store::query::Filter;
use crate::store::routes::{self, Route};
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use proto::ports::Transport;
use serde_json::json;

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("names", "name"),
        ("organization_guids", "organization_guid"),
    ],
    others: &[],
    orders: &[("name", "name")],
};

fn is_visible(actor: &Actor, domain: &Domain) -> bool {
    match (&domain.organization_guid, sight(actor)) {
        (None, _) | (_, Sight::Everything) => true,
        (Some(organization), Sight::Only { organizations, .. }) => {
            organizations.contains(organization)
        }
    }
}

/// The domain that routes are made under where none is named: the oldest shared one, else the
/// oldest of the organization. Not one whose routes have ports.
pub async fn default_of(
    connection: &mut Connection,
    organization: &str,
) -> Result<Option<Domain>, StoreError> {
    let mut all = domains::all(connection).await?;
    all.retain(|domain| domain.router_group_guid.is_none());
    let own = |domain: &&Domain| domain.organization_guid.as_deref() == Some(organization);
    let shared = all
        .iter()
        .find(|domain| domain.organization_guid.is_none() && !domain.internal);
    Ok(shared.or_else(|| all.iter().find(own)).cloned())
}

impl Ops {
    /// All, or those that an organization can use.
    pub async fn list_domains(
        &self,
        actor: &Actor,
        organization: Option<&str>,
        query: &ListQuery,
    ) -> Result<Listing<Domain>, Refusal> {
        let mut connection = self.store.read().await?;
        if let Some(organization) = organization {
            Organization::find(&mut connection, organization)
                .await?
                .ok_or(Refusal::NotFound("Organization"))?;
            authorize(
                actor,
                Action::Read,
                &Object::Organization(organization),
                "Organization",
            )?;
        }
        let filter = query.filter(&COLUMNS)?;
        // Few rows: sight is decided here rather than in SQL.
        let mut rows = Domain::fetch(&mut connection, filter, "list domains").await?;
        rows.retain(|domain| is_visible(actor, domain));
        if let Some(organization) = organization {
            rows.retain(|domain| {
                domain
                    .organization_guid
                    .as_deref()
                    .is_none_or(|owner| owner == organization)
            });
        }
        let total = rows.len() as u64;
        let (skip, take) = (
            query.window.offset() as usize,
            query.window.limit() as usize,
        );
        Ok(Listing {
            rows: rows.into_iter().skip(skip).take(take).collect(),
            total,
        })
    }

    pub async fn domain(&self, actor: &Actor, guid: &str) -> Result<Domain, Refusal> {
        let domain = Domain::find(&mut *self.store.read().await?, guid).await?;
        domain
            .filter(|domain| is_visible(actor, domain))
            .ok_or(Refusal::NotFound("Domain"))
    }

    pub async fn default_domain(
        &self,
        actor: &Actor,
        organization: &str,
    ) -> Result<Domain, Refusal> {
        let mut connection = self.store.read().await?;
        Organization::find(&mut connection, organization)
            .await?
            .ok_or(Refusal::NotFound("Organization"))?;
        authorize(
            actor,
            Action::Read,
            &Object::Organization(organization),
            "Organization",
        )?;
        default_of(&mut connection, organization)
            .await?
            .ok_or(Refusal::NotFound("Domain"))
    }

    /// `router_group`: its routes have ports of that group; only for domains that all share.
    pub async fn create_domain(
        &self,
        actor: &Actor,
        name: &str,
        organization: Option<&str>,
        router_group: Option<&str>,
    ) -> Result<Domain, Refusal> {
        let creating = self.try_create_domain(actor, name, organization, router_group);
        self.telling(actor, creating).await
    }

    async fn try_create_domain(
        &self,
        actor: &Actor,
        name: &str,
        organization: Option<&str>,
        router_group: Option<&str>,
    ) -> Result<Domain, Refusal> {
        if let Some(group) = router_group {
            if organization.is_some() {
                return Refusal::unprocessable(
                    "Domains scoped to an organization cannot be associated to a router group.",
                );
            }
            authorize(actor, Action::Administer, &Object::Platform, "Domain")?;
            if Transport::of_group(group).is_none() {
                return Refusal::unprocessable(format!(
                    "Router group with guid '{group}' not found."
                ));
            }
        }
        let name = name.to_lowercase();
        names::check_domain(&name)?;
        let mut tx = self.store.write("create domain").await?;
        let account = match organization {
            None => {
                authorize(actor, Action::Administer, &Object::Platform, "Domain")?;
                None
            }
            Some(organization) => {
                let missing = || {
                    Refusal::Unprocessable(format!(
                        "Organization with guid '{organization}' does not exist or you do not have access to it."
                    ))
                };
                let found = Organization::find(&mut tx, organization)
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
                Some(Account::of_organization(&mut tx, &found).await?)
            }
        };
        for other in domains::all(&mut tx).await? {
            if other.name == name {
                return Refusal::unprocessable(format!(
                    "The domain name \"{name}\" is already in use"
                ));
            }
            if other.organization_guid.is_none() && names::is_of_the_system(&name, &other.name) {
                return Refusal::unprocessable(format!(
                    "The domain name \"{name}\" cannot be created because it is reserved for the system"
                ));
            }
            let host = name.strip_suffix(&format!(".{}", other.name));
            if let Some(host) = host
                && routes::any_of_host(&mut tx, &other.guid, host).await?
            {
                return Refusal::unprocessable(format!(
                    "The domain name \"{name}\" cannot be created because \"{name}\" is already reserved by a route"
                ));
            }
            // A private domain beneath somebody else's would take names of his.
            let nested = name.ends_with(&format!(".{}", other.name))
                || other.name.ends_with(&format!(".{name}"));
            if nested
                && other.organization_guid.is_some()
                && other.organization_guid.as_deref() != organization
            {
                return Refusal::unprocessable(format!(
                    "The domain name \"{name}\" cannot be created because \"{}\" is already reserved by another domain",
                    other.name
                ));
            }
        }
        let now = now();
        let domain = Domain {
            guid: new_guid(),
            name: name.clone(),
            internal: false,
            organization_guid: organization.map(str::to_string),
            router_group_guid: router_group.map(str::to_string),
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        domain.insert(&mut tx).await.map_err(|error| match error {
            StoreError::Taken { .. } => {
                Refusal::Unprocessable(format!("The domain name \"{name}\" is already in use"))
            }
            error => error.into(),
        })?;
        if let Some(account) = account {
            account.settle(&mut tx, None, Purpose::Change).await?;
        }
        let target = On {
            guid: &domain.guid,
            kind: "domain",
            name: &domain.name,
            space: None,
            organization,
        };
        audit_events::record(
            &mut tx,
            "audit.domain.create",
            by(actor),
            target,
            json!({}),
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(domain)
    }

    /// Deletes it with its routes: apps are not reached under it any more.
    pub async fn delete_domain(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        let mut tx = self.store.write("delete domain").await?;
        let domain = Domain::find(&mut tx, guid)
            .await?
            .filter(|domain| is_visible(actor, domain))
            .ok_or(Refusal::NotFound("Domain"))?;
        let (action, place) = match &domain.organization_guid {
            None => (Action::Administer, Object::Platform),
            Some(organization) => (Action::Manage, Object::Organization(organization)),
        };
        authorize(actor, action, &place, "Domain")?;
        let filter = Filter::new().equals("domain_guid", guid);
        for route in Route::fetch(&mut tx, filter, "list the routes of a domain").await? {
            // A route cannot outlive its space.
            let space = Space::find(&mut tx, &route.space_guid).await?;
            let space = space.ok_or(Refusal::NotFound("Space"))?;
            super::routes::delete_in(&mut tx, actor, &route, &space).await?;
        }
        Domain::delete(&mut tx, guid).await?;
        let target = On {
            guid,
            kind: "domain",
            name: &domain.name,
            space: None,
            organization: domain.organization_guid.as_deref(),
        };
        audit_events::record(
            &mut tx,
            "audit.domain.delete-request",
            by(actor),
            target,
            json!({}),
            now(),
        )
        .await?;
        tx.commit().await?;
        self.nudge();
        Ok(())
    }
}
