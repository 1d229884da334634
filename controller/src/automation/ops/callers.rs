//! Who calls the automation API: tokens, API keys, the platform's own login; and what he may do.
//!
//! There is one account store. A token or key is found by its hash and leads to a user of the
//! platform; what the user may do in automation follows from being an administrator or from a role
//! of automation ([`allow`]).

use super::Fault;
use crate::automation::Automation;
use crate::automation::api::extract::{Caller, Credential, Shown};
use crate::blobs::hex;
use crate::domain::access::Actor;
use crate::ops::{now, tokens::grants_of};
use crate::store::automation::{accounts, api_keys, role_assignments, tokens};
use crate::store::query::Filter;
use crate::store::users::User;
use sha2::{Digest, Sha256, Sha512};
use sqlx::AnyConnection;

/// What is to be done in automation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Look at anything but secrets.
    View,
    /// Run actions, respond to inquiries, fire triggers.
    Execute,
    /// Create, change, delete rules, actions, packs, keys of the system, …
    Modify,
    /// What concerns other users: API keys, roles, secrets in the clear.
    Administer,
}

/// Roles that come with the system.
pub const SYSTEM_ROLES: [(&str, &str); 4] = [
    ("system_admin", "All permissions; cannot be taken away."),
    ("admin", "All permissions."),
    ("operator", "Sees everything and runs actions."),
    ("observer", "Sees everything and changes nothing."),
];

/// Whether a caller may, by his roles.
pub fn permits(is_admin: bool, roles: &[String], permission: Permission) -> bool {
    let has = |name: &str| roles.iter().any(|role| role == name);
    if is_admin || has("admin") || has("system_admin") {
        return true;
    }
    match permission {
        Permission::View => has("observer") || has("operator"),
        Permission::Execute => has("operator"),
        Permission::Modify | Permission::Administer => false,
    }
}

/// The accounts that sensors, and actions of rules which nobody owns, act in. Nobody can log in to them,
/// and no account of a user has such a guid.
pub const SENSORS_GUID: &str = "automation-sensors";
pub const SENSORS_NAME: &str = "sensor_service";
pub const SYSTEM_GUID: &str = "automation-system";
pub const SYSTEM_NAME: &str = super::executions::SYSTEM_USER;

impl Caller {
    /// Whether it is the system itself: it fires triggers, runs actions and keeps its state among the
    /// system's keys.
    pub fn is_service(&self) -> bool {
        [SENSORS_GUID, SYSTEM_GUID].contains(&self.actor.guid.as_str())
    }

    pub fn is_admin(&self) -> bool {
        permits(self.actor.is_admin, &self.roles, Permission::Administer)
    }

    /// Roles of automation, with the one that administrators of the platform have.
    pub fn all_roles(&self) -> Vec<String> {
        let mut roles = self.roles.clone();
        if self.actor.is_admin && !roles.iter().any(|role| role == "system_admin") {
            roles.insert(0, "system_admin".into());
        }
        roles
    }

    /// Refuses with StackStorm's words what the caller may not do; `what` as in `action_execute`.
    pub fn allow(&self, permission: Permission, what: &str) -> Result<(), Fault> {
        let as_service =
            self.is_service() && matches!(permission, Permission::View | Permission::Execute);
        if as_service || permits(self.actor.is_admin, &self.roles, permission) {
            return Ok(());
        }
        Err(Fault::Forbidden(format!(
            "User \"{}\" doesn't have required permission \"{what}\"",
            self.actor.name
        )))
    }
}

/// The stored form of a token.
pub fn token_hash(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// The stored form of an API key.
pub fn key_hash(key: &str) -> String {
    hex(&Sha512::digest(key.as_bytes()))
}

/// The user of an account, and his roles of automation.
async fn account(
    connection: &mut AnyConnection,
    guid: &str,
) -> Result<Option<(Actor, Vec<String>)>, Fault> {
    let found = accounts::find(connection, guid).await?;
    Ok(found.map(|found| {
        let actor = Actor {
            guid: found.guid,
            name: found.username,
            is_admin: found.is_admin,
            grants: grants_of(found.granted),
        };
        (actor, found.roles)
    }))
}

/// Roles of automation of a user.
pub async fn roles_of(
    connection: &mut AnyConnection,
    username: &str,
) -> Result<Vec<String>, Fault> {
    let filter = Filter::new().equals("username", username);
    let found =
        role_assignments::RoleAssignment::fetch(connection, filter, "roles of a user").await?;
    Ok(found.into_iter().map(|row| row.role).collect())
}

impl Automation {
    /// Makes an account of the system's own if it is not there.
    pub async fn service_account(&self, guid: &str, name: &str) -> Result<(), Fault> {
        if User::find(&mut *self.ops.store.read().await?, guid)
            .await?
            .is_some()
        {
            return Ok(());
        }
        let mut round = self.round("make an account of the system's own").await?;
        let at = round.now();
        User {
            guid: guid.to_string(),
            username: name.to_string(),
            origin: "automation".to_string(),
            password_hash: String::new(),
            is_admin: false,
            created_at: at,
            updated_at: at,
            row_version: 1,
        }
        .insert(round.connection())
        .await?;
        round.finish().await
    }

    /// Guid and name of a user who may run actions; else why he may not.
    pub async fn may_execute(
        &self,
        connection: &mut AnyConnection,
        guid: &str,
    ) -> Result<(String, String), Fault> {
        let (actor, roles) = account(connection, guid)
            .await?
            .ok_or_else(|| Fault::Forbidden("The account of its owner is gone.".into()))?;
        if permits(actor.is_admin, &roles, Permission::Execute) {
            return Ok((actor.guid, actor.name));
        }
        Err(Fault::Forbidden(format!(
            "User \"{}\" doesn't have required permission \"action_execute\"",
            actor.name
        )))
    }

    /// Who showed this credential.
    pub async fn caller(&self, shown: Shown) -> Result<Caller, Fault> {
        let wrong = |text: &str| Fault::BadCredentials(text.to_string());
        if let Shown::Bearer(token) = &shown {
            let actor = self.ops.actor(token).await?;
            let mut connection = self.ops.store.read().await?;
            let roles = roles_of(&mut connection, &actor.name).await?;
            return Ok(Caller {
                actor,
                roles,
                by: Credential::Bearer,
            });
        }
        let mut connection = self.ops.store.read().await?;
        let (guid, by) = match shown {
            Shown::Token { token, from_query } => {
                let row = tokens::Token::find(&mut connection, &token_hash(&token))
                    .await?
                    .ok_or_else(|| wrong("Invalid or expired token."))?;
                if row.expires_at <= now() {
                    return Err(wrong("Token has expired."));
                }
                let by = Credential::Token {
                    expires_at: row.expires_at,
                    from_query,
                };
                (row.user_guid, by)
            }
            Shown::ApiKey(key) => {
                let filter = Filter::new().equals("key_hash", &key_hash(&key));
                let row = api_keys::ApiKey::fetch(&mut connection, filter, "find an API key")
                    .await?
                    .pop()
                    .ok_or_else(|| wrong("ApiKey with key_hash not found."))?;
                if !row.enabled {
                    return Err(wrong("API key is disabled."));
                }
                (row.user_guid, Credential::ApiKey)
            }
            Shown::Bearer(_) => return Err(Fault::NotAuthenticated),
        };
        let (actor, roles) = account(&mut connection, &guid)
            .await?
            .ok_or_else(|| wrong("the account is gone"))?;
        Ok(Caller { actor, roles, by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_permit_what_they_are_for() {
        use Permission::{Administer, Execute, Modify, View};
        let check = |admin, roles: &[&str], expected: [bool; 4]| {
            let roles: Vec<String> = roles.iter().map(|role| role.to_string()).collect();
            let found = [View, Execute, Modify, Administer].map(|one| permits(admin, &roles, one));
            assert_eq!(found, expected, "{admin} {roles:?}");
        };
        check(true, &[], [true; 4]);
        check(false, &[], [false; 4]);
        check(false, &["admin"], [true; 4]);
        check(false, &["observer"], [true, false, false, false]);
        check(false, &["operator"], [true, true, false, false]);
    }
}
