//! The one place where quotas refuse: what an organization and a space have before and after a change.
//!
//! ```text
//!   let account = Account::of_space(&mut tx, &space).await?;     locks, reads what is there
//!   …rows are changed…
//!   account.settle(&mut tx, Some(&app), Purpose::Change).await?; reads again, refuses what grew too far
//! ```
//!
//! Open it before the first row is written: it waits for whoever adds to the same organization, and a
//! transaction that already holds a row another one wants would wait for that one in turn. Where nothing is
//! limited nothing is locked or counted.
//!
//! A refusal rolls back the transaction that it refuses, so what rules are told of it has a transaction of its
//! own: [`Ops::telling`] around the operation.

use super::super::{Ops, Refusal, now};
use crate::domain::access::Actor;
use crate::domain::quotas::{Excess, Limits, Owner, Purpose, Usage, exceeded, joined, words};
use crate::domain::times::rfc3339_micros;
use crate::store::apps::App;
use crate::store::organizations::Organization;
use crate::store::quotas::{self, OrganizationQuota, SpaceQuota};
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::{StoreError, platform_events};
use automation::triggers::yard::{Named, QuotaExceeded};
use std::future::Future;

/// Of one limit of one quota rules are told once in this time. Microseconds.
const QUIET: i64 = 60_000_000;

/// A limit that refused something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    quota: Named,
    of_space: bool,
    excess: Excess,
    organization: Named,
    space: Option<Named>,
    app: Option<Named>,
}

impl Exceeded {
    fn event(&self, actor: &Actor, now: i64) -> QuotaExceeded {
        let scope = if self.of_space {
            "space"
        } else {
            "organization"
        };
        QuotaExceeded {
            at: rfc3339_micros(now),
            quota: self.quota.clone(),
            scope: scope.to_string(),
            limit: self.excess.limit.field().to_string(),
            allowed: self.excess.allowed,
            used: self.excess.used,
            asked: self.excess.asked,
            organization: self.organization.clone(),
            space: self.space.clone(),
            app: self.app.clone(),
            user: actor.name.clone(),
        }
    }
}

/// A quota that something counts against.
struct Scope {
    quota: Named,
    limits: Limits,
    /// None: the whole organization's.
    space: Option<String>,
    before: Usage,
}

/// What a change counts against, as it was before.
pub struct Account {
    organization: Named,
    space: Option<Named>,
    scopes: Vec<Scope>,
}

impl Account {
    /// For a change in a space.
    pub async fn of_space(connection: &mut Connection, space: &Space) -> Result<Account, Refusal> {
        let organization = Organization::find(connection, &space.organization_guid)
            .await?
            .ok_or(Refusal::NotFound("Organization"))?;
        Account::open(connection, &organization, Some(space)).await
    }

    /// For a change of what belongs to no space.
    pub async fn of_organization(
        connection: &mut Connection,
        organization: &Organization,
    ) -> Result<Account, Refusal> {
        Account::open(connection, organization, None).await
    }

    async fn open(
        connection: &mut Connection,
        organization: &Organization,
        space: Option<&Space>,
    ) -> Result<Account, Refusal> {
        let space_guid = space.map(|space| space.guid.as_str());
        let mut scopes = scopes(connection, &organization.guid, space_guid).await?;
        if !scopes.is_empty() {
            quotas::lock_holdings(connection, &organization.guid).await?;
            // They may have been changed while this one waited.
            scopes = self::scopes(connection, &organization.guid, space_guid).await?;
            let held = quotas::holdings(connection, &organization.guid).await?;
            for scope in &mut scopes {
                scope.before = Usage::of(&held, scope.space.as_deref());
            }
        }
        Ok(Account {
            organization: Named {
                guid: organization.guid.clone(),
                name: organization.name.clone(),
            },
            space: space.map(|space| Named {
                guid: space.guid.clone(),
                name: space.name.clone(),
            }),
            scopes,
        })
    }

    /// Refuses what the transaction has made grow beyond a limit. `app`: what rules are told it was about.
    pub async fn settle(
        &self,
        connection: &mut Connection,
        app: Option<&App>,
        purpose: Purpose,
    ) -> Result<(), Refusal> {
        if self.scopes.is_empty() {
            return Ok(());
        }
        let held = quotas::holdings(connection, &self.organization.guid).await?;
        let mut texts = Vec::new();
        let mut all = Vec::new();
        for scope in &self.scopes {
            let after = Usage::of(&held, scope.space.as_deref());
            for excess in exceeded(&scope.limits, &scope.before, &after) {
                texts.push(words(self.owner(scope), excess.limit, purpose));
                all.push(Exceeded {
                    quota: scope.quota.clone(),
                    of_space: scope.space.is_some(),
                    excess,
                    organization: self.organization.clone(),
                    space: self.space.clone(),
                    app: app.map(|app| Named {
                        guid: app.guid.clone(),
                        name: app.name.clone(),
                    }),
                });
            }
        }
        if all.is_empty() {
            return Ok(());
        }
        Err(Refusal::QuotaExceeded {
            text: joined(&texts),
            exceeded: all,
        })
    }

    fn owner(&self, scope: &Scope) -> Owner<'_> {
        match &self.space {
            Some(space) if scope.space.is_some() => Owner::Space(&space.name),
            _ => Owner::Organization(&self.organization.name),
        }
    }
}

/// The quotas that limit anything there: the space's first.
async fn scopes(
    connection: &mut Connection,
    organization: &str,
    space: Option<&str>,
) -> Result<Vec<Scope>, StoreError> {
    let mut scopes = Vec::new();
    if let Some(space) = space
        && let Some(Space {
            quota_guid: Some(quota),
            ..
        }) = Space::find(connection, space).await?
        && let Some(quota) = SpaceQuota::find(connection, &quota).await?
    {
        scopes.push(Scope {
            quota: Named {
                guid: quota.guid,
                name: quota.name,
            },
            limits: quota.limits.0,
            space: Some(space.to_string()),
            before: Usage::default(),
        });
    }
    if let Some(organization) = Organization::find(connection, organization).await?
        && let Some(quota) = OrganizationQuota::find(connection, &organization.quota_guid).await?
    {
        scopes.push(Scope {
            quota: Named {
                guid: quota.guid,
                name: quota.name,
            },
            limits: quota.limits.0,
            space: None,
            before: Usage::default(),
        });
    }
    scopes.retain(|scope| scope.limits.limit_anything());
    Ok(scopes)
}

impl Ops {
    /// Does it; if a quota refuses it, rules are told.
    pub(in crate::ops) async fn telling<T>(
        &self,
        actor: &Actor,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let done = work.await;
        if let Err(Refusal::QuotaExceeded { exceeded, .. }) = &done
            && let Err(error) = self.tell_exceeded(actor, exceeded).await
        {
            // The refusal stands whether anybody hears of it or not.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                actor = %actor.name,
                "rules were not told that a quota was exceeded"
            );
        }
        done
    }

    async fn tell_exceeded(&self, actor: &Actor, all: &[Exceeded]) -> Result<(), StoreError> {
        let now = now();
        let mut tx = self.store.write("tell that a quota was exceeded").await?;
        // All of these rows before the facts, for which everybody waits.
        let mut untold = Vec::new();
        for one in all {
            let limit = one.excess.limit.field();
            if quotas::note_told(&mut tx, &one.quota.guid, limit, now - QUIET, now).await? {
                untold.push(one);
            }
        }
        for one in &untold {
            platform_events::tell(&mut tx, one.event(actor, now), &one.quota.guid, now).await?;
        }
        tx.commit().await?;
        if !untold.is_empty() {
            self.nudge();
        }
        Ok(())
    }
}
