//! Keys of the datastore (contract §2.7).

use super::callers::Permission;
use super::fault::Fault;
use super::fire::{Happened, fire};
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::automation::ids::new_id;
use crate::domain::times::rfc3339_micros;
use crate::ops::now;
use crate::store::automation::key_values::{self, KeyValue};
use automation::datastore::{self, Key, KeyError, Scope, ScopeFilter, WriteError, Written};
use automation::documents::MASK;
use serde_json::{Map, json};

/// Keys that expire in one transaction.
const EXPIRED_AT_ONCE: i64 = 500;

impl From<KeyError> for Fault {
    fn from(error: KeyError) -> Fault {
        Fault::Invalid(error.to_string())
    }
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Fault {
        Fault::Invalid(error.to_string())
    }
}

/// What a list of keys covers.
#[derive(Debug, Clone)]
pub struct KeysAsked {
    pub scope: ScopeFilter,
    /// Whose keys; None: the caller's.
    pub user: Option<String>,
    pub prefix: Option<String>,
    pub decrypt: bool,
    pub limit: i64,
    pub offset: i64,
}

/// What a write asks for.
#[derive(Debug, Clone)]
pub struct KeyWrite {
    pub value: String,
    pub secret: bool,
    pub encrypted: bool,
    pub ttl: Option<i64>,
}

impl Automation {
    /// Whose keys a request means: the caller's, or another's for an administrator.
    fn key_owner(caller: &Caller, user: Option<&str>, what: &str) -> Result<String, Fault> {
        match user {
            Some(user) if user != caller.actor.name => {
                caller.allow(Permission::Administer, what)?;
                Ok(user.to_string())
            }
            _ => Ok(caller.actor.name.clone()),
        }
    }

    fn key_of(
        caller: &Caller,
        name: &str,
        scope: Scope,
        user: Option<&str>,
        what: &str,
    ) -> Result<Key, Fault> {
        let owner = Self::key_owner(caller, user, what)?;
        Ok(Key::of(scope, &owner, name)?)
    }

    /// The value in the clear. Not for who may not see it: callers check.
    pub fn reveal(&self, row: &KeyValue) -> Result<String, Fault> {
        if !row.secret {
            return Ok(row.value.clone());
        }
        datastore::decrypt(&self.key, &row.value).map_err(|_| {
            Fault::Invalid(format!(
                "The value of the key \"{}\" cannot be decrypted with this installation's key.",
                row.name
            ))
        })
    }

    /// Everybody may do as he likes with his own keys.
    fn allow_keys(
        caller: &Caller,
        scope: Scope,
        permission: Permission,
        what: &str,
    ) -> Result<(), Fault> {
        match scope {
            Scope::System => caller.allow(permission, what),
            Scope::User => caller.allow_own_keys(what),
        }
    }

    /// A user's own secrets he may see; the system's an administrator, and a sensor, whose pack needs them.
    fn may_reveal(caller: &Caller, row: &KeyValue) -> Result<(), Fault> {
        if row.username == caller.actor.name || !row.secret {
            return Ok(());
        }
        caller.allow(Permission::RevealKeys, "key_value_pair_view (decrypt)")
    }

    pub async fn list_keys(
        &self,
        caller: &Caller,
        asked: &KeysAsked,
    ) -> Result<Vec<KeyValue>, Fault> {
        let owner = Self::key_owner(caller, asked.user.as_deref(), "key_value_pair_list")?;
        let (system, user) = match asked.scope {
            ScopeFilter::All => (true, Some(owner.as_str())),
            ScopeFilter::One(Scope::System) => (true, None),
            ScopeFilter::One(Scope::User) => (false, Some(owner.as_str())),
        };
        if system {
            caller.allow(Permission::ViewKeys, "key_value_pair_list")?;
        }
        if user.is_some() {
            caller.allow_own_keys("key_value_pair_list")?;
        }
        let mut rows = key_values::list(
            &mut *self.ops.store.read().await?,
            key_values::Wanted {
                system,
                user,
                prefix: asked.prefix.as_deref(),
                now: now(),
                limit: asked.limit,
                offset: asked.offset,
            },
        )
        .await?;
        if asked.decrypt {
            for row in &mut rows {
                Self::may_reveal(caller, row)?;
                row.value = self.reveal(row)?;
                row.encrypted = false;
            }
        }
        Ok(rows)
    }

    pub async fn key_value(
        &self,
        caller: &Caller,
        name: &str,
        scope: Scope,
        user: Option<&str>,
        decrypt: bool,
    ) -> Result<KeyValue, Fault> {
        let key = Self::key_of(caller, name, scope, user, "key_value_pair_view")?;
        Self::allow_keys(caller, scope, Permission::ViewKeys, "key_value_pair_view")?;
        let mut row = KeyValue::find(&mut *self.ops.store.read().await?, &key.uid())
            .await?
            .filter(|row| row.is_live(now()))
            .ok_or_else(|| missing(&key))?;
        if decrypt {
            Self::may_reveal(caller, &row)?;
            row.value = self.reveal(&row)?;
            row.encrypted = false;
        }
        Ok(row)
    }

    pub async fn write_key(
        &self,
        caller: &Caller,
        name: &str,
        scope: Scope,
        user: Option<&str>,
        write: &KeyWrite,
    ) -> Result<KeyValue, Fault> {
        let key = Self::key_of(caller, name, scope, user, "key_value_pair_set")?;
        Self::allow_keys(caller, scope, Permission::ModifyKeys, "key_value_pair_set")?;
        let now = now();
        let stored = datastore::stored(
            Written {
                name,
                value: &write.value,
                secret: write.secret,
                encrypted: write.encrypted,
                ttl: write.ttl,
            },
            Some(&self.key),
            &rand::random(),
            now / 1000,
        )?;
        let mut tx = self.ops.store.write("set a key").await?;
        let before = KeyValue::find(&mut tx, &key.uid()).await?;
        let mut after = before.clone().unwrap_or_else(|| KeyValue {
            uid: key.uid(),
            id: new_id(),
            scope: scope.full().to_string(),
            name: key.stored_name(),
            username: key.owner().unwrap_or_default().to_string(),
            value: String::new(),
            secret: false,
            encrypted: false,
            expires_at: None,
            created_at: now,
            updated_at: now,
            row_version: 1,
        });
        after.value = stored.value;
        after.secret = stored.secret;
        after.encrypted = stored.secret;
        after.expires_at = stored.expires_at.map(|at| at.saturating_mul(1000));
        match &before {
            Some(_) => after.update(&mut tx, now).await?,
            None => after.insert(&mut tx).await?,
        }
        // What had expired is news when it is set again.
        let before = before.filter(|row| row.is_live(now));
        for (trigger, payload) in self.changes(before.as_ref(), Some(&after)) {
            fire(&mut tx, &Happened::new(trigger, payload), now).await?;
        }
        tx.commit().await?;
        self.nudge();
        Ok(after)
    }

    pub async fn delete_key(
        &self,
        caller: &Caller,
        name: &str,
        scope: Scope,
        user: Option<&str>,
    ) -> Result<KeyValue, Fault> {
        let key = Self::key_of(caller, name, scope, user, "key_value_pair_delete")?;
        let what = "key_value_pair_delete";
        Self::allow_keys(caller, scope, Permission::ModifyKeys, what)?;
        let mut tx = self.ops.store.write("delete a key").await?;
        let row = KeyValue::find(&mut tx, &key.uid())
            .await?
            .filter(|row| row.is_live(now()))
            .ok_or_else(|| missing(&key))?;
        KeyValue::delete(&mut tx, &row.uid).await?;
        for (trigger, payload) in self.changes(Some(&row), None) {
            fire(&mut tx, &Happened::new(trigger, payload), now()).await?;
        }
        tx.commit().await?;
        self.nudge();
        Ok(row)
    }
}

impl Automation {
    /// Takes away keys whose time is over. Whoever waits for deletions is told.
    pub async fn expire_keys(&self) -> Result<(), Fault> {
        loop {
            let due = key_values::any_expired(&mut *self.ops.store.read().await?, now()).await?;
            if !due {
                return Ok(());
            }
            let mut round = self.round("expire keys").await?;
            let at = round.now();
            for row in key_values::take_expired(round.connection(), at, EXPIRED_AT_ONCE).await? {
                for (trigger, payload) in self.changes(Some(&row), None) {
                    fire(round.connection(), &Happened::new(trigger, payload), at).await?;
                }
            }
            round.finish().await?;
        }
    }

    /// Whether two rows hold the same value: a secret is encrypted anew each time it is written.
    fn same_value(&self, before: &KeyValue, after: &KeyValue) -> bool {
        if before.secret != after.secret {
            return false;
        }
        match (self.reveal(before), self.reveal(after)) {
            (Ok(before), Ok(after)) => before == after,
            _ => before.value == after.value,
        }
    }

    /// The triggers that a change of a key fires, with their payloads.
    fn changes(
        &self,
        before: Option<&KeyValue>,
        after: Option<&KeyValue>,
    ) -> Vec<(&'static str, serde_json::Value)> {
        match (before, after) {
            (None, None) => vec![],
            (None, Some(after)) => vec![(
                "core.st2.key_value_pair.create",
                json!({"object": masked_document(after)}),
            )],
            (Some(before), None) => vec![(
                "core.st2.key_value_pair.delete",
                json!({"object": masked_document(before)}),
            )],
            (Some(before), Some(after)) => {
                let mut fired = vec![(
                    "core.st2.key_value_pair.update",
                    json!({"object": masked_document(after)}),
                )];
                if !self.same_value(before, after) {
                    fired.push((
                        "core.st2.key_value_pair.value_change",
                        json!({
                            "old_object": masked_document(before),
                            "new_object": masked_document(after),
                        }),
                    ));
                }
                fired
            }
        }
    }
}

/// A key as rules see it: a secret one without its value.
fn masked_document(row: &KeyValue) -> serde_json::Value {
    let mut document = document(row);
    if row.secret {
        document["value"] = json!(MASK);
    }
    document
}

/// A key as documents show it: a secret one by its ciphertext.
pub fn document(row: &KeyValue) -> serde_json::Value {
    let mut document = Map::from_iter([
        ("id".to_string(), json!(row.id)),
        ("uid".to_string(), json!(row.uid)),
        ("name".to_string(), json!(row.name)),
        ("value".to_string(), json!(row.value)),
        ("scope".to_string(), json!(row.scope)),
        ("secret".to_string(), json!(row.secret)),
        ("encrypted".to_string(), json!(row.encrypted)),
    ]);
    if !row.username.is_empty() {
        document.insert("user".into(), json!(row.username));
        // Users know their keys by the bare name.
        let bare = row
            .name
            .strip_prefix(&format!("{}:", row.username))
            .unwrap_or(&row.name);
        document.insert("name".into(), json!(bare));
    }
    if let Some(end) = row.expires_at {
        document.insert("expire_timestamp".into(), json!(rfc3339_micros(end)));
    }
    serde_json::Value::Object(document)
}

fn missing(key: &Key) -> Fault {
    Fault::NotFound(format!(
        "KeyValuePair with name: {} and scope: {} not found in db.",
        key.stored_name(),
        key.scope().full()
    ))
}
