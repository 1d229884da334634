//! The first start of a cluster: an administrator, a place to push to, a domain. Idempotent: what
//! is there stays as it is.

use super::tokens::ORIGIN;
use super::{Ops, Refusal, STACKS, guid_of, new_guid, now};
use crate::store::domains::{self, Domain};
use crate::store::organizations::{self, Organization};
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::users::{self, User};
use crate::store::{Json, audit_events, buildpacks, quotas};

pub const ADMIN: &str = "admin";
pub const DEFAULT: &str = "default";

impl Ops {
    /// Another controller may do the same at this moment (PostgreSQL): who was second finds it done.
    pub async fn prepare(&self, admin_password: &str, domain: &str) -> Result<(), Refusal> {
        if let Err(error) = self.prepare_once(admin_password, domain).await {
            tracing::warn!(%error, "the cluster could not be prepared; it is tried again");
            self.prepare_once(admin_password, domain).await?;
        }
        Ok(())
    }

    async fn prepare_once(&self, admin_password: &str, domain: &str) -> Result<(), Refusal> {
        let known = users::by_name(&mut *self.store.read().await?, ADMIN, ORIGIN).await?;
        // Hashing is slow: not inside the transaction.
        let hash = match &known {
            Some(_) => None,
            None => Some(self.hash_password(admin_password).await?),
        };
        let now = now();
        let mut tx = self.store.write("prepare the cluster").await?;
        if let Some(password_hash) = hash
            && users::by_name(&mut tx, ADMIN, ORIGIN).await?.is_none()
        {
            let user = User {
                guid: new_guid(),
                username: ADMIN.to_string(),
                origin: ORIGIN.to_string(),
                password_hash,
                is_admin: true,
                created_at: now,
                updated_at: now,
                row_version: 1,
            };
            user.insert(&mut tx).await?;
        }
        quotas::make_default(&mut tx, now).await?;
        let guid = |name: &str| guid_of("buildpack", name);
        buildpacks::make_shipped(&mut tx, STACKS[0], guid, now).await?;
        // The default organization is made once, with the cluster: whoever deletes it later wants
        // it gone. The shared domain marks that the first start is over.
        if domains::all(&mut tx).await?.is_empty() {
            if organizations::by_name(&mut tx, DEFAULT).await?.is_none() {
                self.default_organization(&mut tx, now).await?;
            }
            let shared = Domain {
                guid: new_guid(),
                name: domain.to_string(),
                internal: false,
                organization_guid: None,
                router_group_guid: None,
                created_at: now,
                updated_at: now,
                row_version: 1,
            };
            shared.insert(&mut tx).await?;
            tracing::info!(domain, "prepared a new cluster");
        }
        tx.commit().await?;
        Ok(())
    }

    async fn default_organization(
        &self,
        connection: &mut Connection,
        now: i64,
    ) -> Result<(), Refusal> {
        let organization = Organization {
            guid: new_guid(),
            name: DEFAULT.to_string(),
            suspended: false,
            quota_guid: quotas::DEFAULT_GUID.to_string(),
            labels: Json::default(),
            annotations: Json::default(),
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        organization.insert(connection).await?;
        let space = Space {
            guid: new_guid(),
            name: DEFAULT.to_string(),
            organization_guid: organization.guid.clone(),
            ssh_allowed: true,
            quota_guid: None,
            labels: Json::default(),
            annotations: Json::default(),
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        space.insert(connection).await?;
        let target = super::on("space", &space.guid, &space.name, &space);
        audit_events::record(
            connection,
            "audit.space.create",
            audit_events::By::SYSTEM,
            target,
            serde_json::json!({}),
            now,
        )
        .await?;
        Ok(())
    }
}
