//! Who calls the automation API: tokens, API keys, the platform's own login; and what he may do.
//!
//! There is one account store. A token or key is found by its hash and leads to a user of the
//! platform; what the user may do in automation follows from being an administrator or from a role
//! of automation ([`Caller::allow`]).
//!
//! A sensor's token is good for what the service that a sensor gets can do, and for nothing else: firing
//! the trigger types of its own pack, and keys of the system. Roles do not widen it.

use super::Fault;
use crate::automation::Automation;
use crate::automation::api::extract::{Caller, Credential, Shown};
use crate::blobs::hex;
use crate::domain::access::Actor;
use crate::ops::{now, tokens::grants_of};
use crate::store::automation::{accounts, api_keys, role_assignments, tokens};
use crate::store::query::Filter;
use crate::store::sql::Connection;
use crate::store::users::User;
use sha2::{Digest, Sha256, Sha512};

/// What is to be done in automation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Look at anything but secrets.
    View,
    /// Look at keys of the system.
    ViewKeys,
    /// Fire triggers.
    Fire,
    /// Run actions, respond to inquiries.
    Execute,
    /// Create, change, delete rules, actions, packs, …
    Modify,
    /// Set and delete keys of the system.
    ModifyKeys,
    /// Keys of the system in the clear.
    RevealKeys,
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
        Permission::View | Permission::ViewKeys => has("observer") || has("operator"),
        Permission::Execute | Permission::Fire => has("operator"),
        Permission::Modify
        | Permission::ModifyKeys
        | Permission::RevealKeys
        | Permission::Administer => false,
    }
}

/// The accounts that sensors, and actions of rules which nobody owns, act in. Nobody can log in to them,
/// and no account of a user has such a guid.
pub const SENSORS_GUID: &str = "automation-sensors";
pub const SENSORS_NAME: &str = "sensor_service";
pub const SYSTEM_GUID: &str = "automation-system";
pub const SYSTEM_NAME: &str = super::executions::SYSTEM_USER;

/// As what a caller acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Somebody with an account: his roles decide.
    Person,
    /// Actions of rules that nobody owns: they run actions, fire triggers and keep their state among the
    /// system's keys.
    System,
    Sensor,
}

/// Whose execution the tokens of a sensor's generation count as: they go with it.
pub fn sensor_token_owner(sensor: &str, generation: i64) -> String {
    format!("sensor:{sensor}:{generation}")
}

/// The sensor that a token was made for, by what the token belongs to.
fn sensor_of(token_owner: &str) -> Option<&str> {
    let (sensor, _generation) = token_owner.strip_prefix("sensor:")?.rsplit_once(':')?;
    Some(sensor)
}

impl Caller {
    fn standing(&self) -> Standing {
        match self.actor.guid.as_str() {
            SENSORS_GUID => Standing::Sensor,
            SYSTEM_GUID => Standing::System,
            _ => Standing::Person,
        }
    }

    pub fn is_admin(&self) -> bool {
        self.has(Permission::Administer)
    }

    fn has(&self, permission: Permission) -> bool {
        use Permission as P;
        match self.standing() {
            Standing::Person => permits(self.actor.is_admin, &self.roles, permission),
            Standing::System => match permission {
                P::View | P::Execute | P::Fire | P::ViewKeys | P::ModifyKeys | P::RevealKeys => {
                    true
                }
                P::Modify | P::Administer => false,
            },
            Standing::Sensor => match permission {
                P::Fire | P::ViewKeys | P::ModifyKeys | P::RevealKeys => true,
                P::View | P::Execute | P::Modify | P::Administer => false,
            },
        }
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
        if self.has(permission) {
            return Ok(());
        }
        Err(self.lacks(what))
    }

    /// Everybody has keys of his own but a sensor: it keeps its state among the system's.
    pub fn allow_own_keys(&self, what: &str) -> Result<(), Fault> {
        match self.standing() {
            Standing::Person | Standing::System => Ok(()),
            Standing::Sensor => Err(self.lacks(what)),
        }
    }

    /// Refuses accounts that are nobody's what everybody may do for himself.
    pub fn allow_person(&self, what: &str) -> Result<(), Fault> {
        match self.standing() {
            Standing::Person => Ok(()),
            Standing::System | Standing::Sensor => Err(self.lacks(what)),
        }
    }

    /// Whether this caller may fire triggers of a type of this pack. A sensor: those of its own.
    pub fn allow_trigger(&self, type_ref: &str, type_pack: &str) -> Result<(), Fault> {
        self.allow(Permission::Fire, "webhook_send")?;
        if self.standing() != Standing::Sensor {
            return Ok(());
        }
        let sensor = match &self.by {
            Credential::Token { sensor, .. } => sensor.as_deref().unwrap_or_default(),
            Credential::ApiKey | Credential::Bearer => "",
        };
        match sensor.split_once('.') {
            Some((pack, _)) if pack == type_pack => Ok(()),
            _ => Err(Fault::Forbidden(format!(
                "The sensor \"{sensor}\" may fire triggers of its own pack, not \"{type_ref}\"."
            ))),
        }
    }

    /// Refuses a sensor a webhook that rules wait for: it fires triggers by their names.
    pub fn allow_webhook(&self) -> Result<(), Fault> {
        self.allow(Permission::Fire, "webhook_send")?;
        match self.standing() {
            Standing::Person | Standing::System => Ok(()),
            Standing::Sensor => Err(self.lacks("webhook_send")),
        }
    }

    fn lacks(&self, what: &str) -> Fault {
        Fault::Forbidden(format!(
            "User \"{}\" doesn't have required permission \"{what}\"",
            self.actor.name
        ))
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
    connection: &mut Connection,
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
pub async fn roles_of(connection: &mut Connection, username: &str) -> Result<Vec<String>, Fault> {
    let filter = Filter::new().equals("username", username).kept();
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
        connection: &mut Connection,
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
                    sensor: row
                        .execution_id
                        .as_deref()
                        .and_then(sensor_of)
                        .map(str::to_string),
                };
                (row.user_guid, by)
            }
            Shown::ApiKey(key) => {
                let filter = Filter::new().equals("key_hash", &key_hash(&key)).kept();
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
        let check = |admin, roles: &[&str], expected: &[Permission]| {
            let roles: Vec<String> = roles.iter().map(|role| role.to_string()).collect();
            let found: Vec<Permission> = EVERY
                .into_iter()
                .filter(|one| permits(admin, &roles, *one))
                .collect();
            assert_eq!(found, expected, "{admin} {roles:?}");
        };
        use Permission::{Execute, Fire, View, ViewKeys};
        check(true, &[], &EVERY);
        check(false, &[], &[]);
        check(false, &["admin"], &EVERY);
        check(false, &["observer"], &[View, ViewKeys]);
        check(false, &["operator"], &[View, ViewKeys, Fire, Execute]);
    }

    const EVERY: [Permission; 8] = [
        Permission::View,
        Permission::ViewKeys,
        Permission::Fire,
        Permission::Execute,
        Permission::Modify,
        Permission::ModifyKeys,
        Permission::RevealKeys,
        Permission::Administer,
    ];

    fn service(guid: &str, sensor: Option<&str>) -> Caller {
        Caller {
            actor: Actor {
                guid: guid.into(),
                name: "service".into(),
                // Neither counts for it.
                is_admin: true,
                grants: Vec::new(),
            },
            roles: vec!["admin".into()],
            by: Credential::Token {
                expires_at: 0,
                from_query: false,
                sensor: sensor.map(str::to_string),
            },
        }
    }

    #[test]
    fn services_may_do_what_they_are_for_whatever_roles_their_names_have() {
        let check = |guid: &str, expected: &[Permission]| {
            let caller = service(guid, None);
            let found: Vec<Permission> = EVERY
                .into_iter()
                .filter(|one| caller.allow(*one, "").is_ok())
                .collect();
            assert_eq!(found, expected, "{guid}");
            assert!(!caller.is_admin());
            assert!(caller.allow_person("api_key_create").is_err());
            let owns = caller.allow_own_keys("key_value_pair_set").is_ok();
            assert_eq!(owns, guid == SYSTEM_GUID);
        };
        use Permission::{Execute, Fire, ModifyKeys, RevealKeys, View, ViewKeys};
        check(SENSORS_GUID, &[ViewKeys, Fire, ModifyKeys, RevealKeys]);
        check(
            SYSTEM_GUID,
            &[View, ViewKeys, Fire, Execute, ModifyKeys, RevealKeys],
        );
    }

    #[test]
    fn a_sensor_fires_triggers_of_its_own_pack() {
        let owner = sensor_token_owner("test.Watcher", 12);
        assert_eq!(sensor_of(&owner), Some("test.Watcher"));
        assert_eq!(sensor_of("65f1a0"), None);
        let sensor = service(SENSORS_GUID, sensor_of(&owner));
        assert!(sensor.allow_trigger("test.seen", "test").is_ok());
        assert!(sensor.allow_trigger("tests.seen", "tests").is_err());
        assert!(sensor.allow_trigger("core.st2.webhook", "core").is_err());
        assert!(sensor.allow_webhook().is_err());
        // Not even a token that names no sensor.
        let stray = service(SENSORS_GUID, None);
        assert!(stray.allow_trigger("test.seen", "test").is_err());
        let system = service(SYSTEM_GUID, None);
        assert!(system.allow_trigger("test.seen", "test").is_ok());
        assert!(system.allow_webhook().is_ok());
    }
}
