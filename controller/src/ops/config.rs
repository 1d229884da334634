//! The live configuration of the cluster: read by everybody, changed by administrators.
//!
//! Values live in the cluster store, not in the database. A change is written only if nobody else
//! changed the key since its author looked ([`Cluster::compare_and_set`]), and is audited after it
//! was made: the other order would record changes that never happened.

use super::{Ops, Refusal, authorize, by, now};
use crate::domain::access::{Action, Actor, Object};
use crate::domain::times::rfc3339_micros;
use crate::store::audit_events::{self, On};
use crate::store::platform_events;
use automation::triggers::yard::ConfigChanged;
use daemon::{Cluster, ClusterError, Conflict, Stored};
use proto::api::ConfigEntry;
use proto::config::{KEYS, Key, Kind, PREFIX, Value};
use serde_json::json;
use std::collections::BTreeMap;

/// Environments hold passwords of proxies and package indexes: only for administrators.
pub fn is_visible(actor: &Actor, key: &Key) -> bool {
    actor.is_admin || key.kind != Kind::Environment
}

/// A key as it is shown, with what the store holds for it. What the store holds but this version
/// cannot read is not in force: the default is, as in every daemon.
pub fn entry(key: &Key, stored: Option<&Stored>) -> ConfigEntry {
    let value = stored.and_then(|stored| {
        let json = serde_json::from_str(&stored.value).ok()?;
        Value::from_json(&key.kind, &json).ok()
    });
    ConfigEntry {
        path: key.path.to_string(),
        is_set: value.is_some(),
        value: value.unwrap_or_else(|| key.default_value()).to_json(),
        default: key.default_value().to_json(),
        revision: stored.map(|stored| stored.revision),
        doc: key.doc.to_string(),
        kind: key.kind.to_string(),
        needs_restart: key.needs_restart,
    }
}

fn away(error: ClusterError) -> Refusal {
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        "the configuration could not be reached"
    );
    Refusal::Unavailable("The cluster store does not answer: try again in a moment".into())
}

fn conflict(path: &str, conflict: &Conflict) -> Refusal {
    Refusal::Conflict(match &conflict.current {
        Some(stored) => format!(
            "'{path}' was changed meanwhile: it is {} at revision {}",
            stored.value, stored.revision
        ),
        None => format!("'{path}' was changed meanwhile: it is no longer set"),
    })
}

/// The key of a path that the actor may see.
fn known(actor: &Actor, path: &str) -> Result<&'static Key, Refusal> {
    let key = Key::find(path).ok_or(Refusal::NotFound("Configuration key"))?;
    if is_visible(actor, key) {
        Ok(key)
    } else {
        Err(Refusal::NotAuthorized)
    }
}

impl Ops {
    /// What is stored, by path; what is not in the schema too.
    pub async fn stored_config(
        &self,
        cluster: &Cluster,
    ) -> Result<BTreeMap<String, Stored>, Refusal> {
        let pairs = cluster.list(PREFIX).await.map_err(away)?;
        Ok(pairs
            .into_iter()
            .map(|(key, stored)| (key.trim_start_matches(PREFIX).to_string(), stored))
            .collect())
    }

    pub async fn list_config(
        &self,
        actor: &Actor,
        cluster: &Cluster,
    ) -> Result<Vec<ConfigEntry>, Refusal> {
        let stored = self.stored_config(cluster).await?;
        Ok(KEYS
            .iter()
            .filter(|key| is_visible(actor, key))
            .map(|key| entry(key, stored.get(key.path)))
            .collect())
    }

    pub async fn config_entry(
        &self,
        actor: &Actor,
        cluster: &Cluster,
        path: &str,
    ) -> Result<ConfigEntry, Refusal> {
        let key = known(actor, path)?;
        let stored = cluster
            .get(&format!("{PREFIX}{path}"))
            .await
            .map_err(away)?;
        Ok(entry(key, stored.as_ref()))
    }

    /// A hint each time something may have changed.
    pub async fn watch_config(
        &self,
        cluster: &Cluster,
    ) -> Result<tokio::sync::mpsc::Receiver<()>, Refusal> {
        cluster.watch(PREFIX).await.map_err(away)
    }

    /// Whether there is such a key for the actor. Needs no cluster.
    pub fn check_config_read(&self, actor: &Actor, path: &str) -> Result<(), Refusal> {
        known(actor, path).map(|_| ())
    }

    /// The key that an administrator wants to change, and the value if it fits. Needs no cluster.
    pub fn check_config(
        &self,
        actor: &Actor,
        path: &str,
        value: Option<&serde_json::Value>,
    ) -> Result<(&'static Key, Option<Value>), Refusal> {
        authorize(
            actor,
            Action::Administer,
            &Object::Platform,
            "Configuration key",
        )?;
        let key = known(actor, path)?;
        let value = value
            .map(|value| Value::from_json(&key.kind, value))
            .transpose()
            .map_err(|error| Refusal::Unprocessable(format!("{path}: {error}")))?;
        Ok((key, value))
    }

    /// Changes a key, or with no value takes it back to its default. `revision`: the one the author
    /// saw; None: whatever is there now.
    pub async fn change_config(
        &self,
        actor: &Actor,
        cluster: &Cluster,
        path: &str,
        value: Option<&serde_json::Value>,
        revision: Option<i64>,
    ) -> Result<ConfigEntry, Refusal> {
        let (key, value) = self.check_config(actor, path, value)?;
        let place = format!("{PREFIX}{path}");
        let before = cluster.get(&place).await.map_err(away)?;
        let expected = revision.or_else(|| before.as_ref().map(|stored| stored.revision));
        let after = match &value {
            Some(value) => {
                let text = value.to_json().to_string();
                let done = cluster
                    .compare_and_set(&place, expected, &text)
                    .await
                    .map_err(away)?;
                let revision = done.map_err(|found| conflict(path, &found))?;
                Some(Stored {
                    value: text,
                    revision,
                })
            }
            None => {
                if let Some(expected) = expected {
                    let done = cluster
                        .compare_and_delete(&place, expected)
                        .await
                        .map_err(away)?;
                    done.map_err(|found| conflict(path, &found))?;
                }
                None
            }
        };
        let (was, is) = (entry(key, before.as_ref()), entry(key, after.as_ref()));
        if before.is_some() || after.is_some() {
            self.audit_config(actor, key, &was, &is).await;
        }
        Ok(is)
    }

    /// The change is made and cannot be taken back unseen: if the database is away, the log keeps it.
    async fn audit_config(&self, actor: &Actor, key: &Key, was: &ConfigEntry, is: &ConfigEntry) {
        let secret = key.kind == Kind::Environment;
        let shown = |entry: &ConfigEntry| match (secret, entry.is_set) {
            (_, false) => serde_json::Value::Null,
            (true, true) => json!("[PRIVATE DATA HIDDEN]"),
            (false, true) => entry.value.clone(),
        };
        let data = json!({"path": key.path, "was": shown(was), "is": shown(is)});
        tracing::info!(actor = %actor.name, path = key.path, is = %data["is"], "the configuration was changed");
        let now = now();
        let record = async {
            let mut tx = self
                .store
                .write("audit a change of the configuration")
                .await?;
            let target = On {
                guid: key.path,
                kind: "config",
                name: key.path,
                space: None,
                organization: None,
            };
            audit_events::record(
                &mut tx,
                "audit.config.update",
                by(actor),
                target,
                data.clone(),
                now,
            )
            .await?;
            let event = ConfigChanged {
                at: rfc3339_micros(now),
                key: key.path.to_string(),
                value: shown(is),
                previous: shown(was),
                user: actor.name.clone(),
                restart_needed: key.needs_restart,
            };
            platform_events::tell(&mut tx, event, key.path, now).await?;
            tx.commit().await
        };
        if let Err(error) = record.await {
            tracing::error!(error = &error as &dyn std::error::Error, actor = %actor.name, %data, "a change of the configuration was not audited");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_and_cannot_be_read_shows_as_the_default_with_its_revision() {
        let key = Key::find("router/limits/max_attempts").expect("a known key");
        let stored = |value: &str| Stored {
            value: value.into(),
            revision: 7,
        };
        let readable = entry(key, Some(&stored("5")));
        assert_eq!(
            (readable.value, readable.is_set, readable.revision),
            (json!(5), true, Some(7))
        );
        let unreadable = entry(key, Some(&stored("\"many\"")));
        assert_eq!(
            (unreadable.value, unreadable.is_set, unreadable.revision),
            (json!(3), false, Some(7))
        );
        let unset = entry(key, None);
        assert_eq!(
            (unset.value, unset.is_set, unset.revision),
            (json!(3), false, None)
        );
    }
}
