//! The datastore for expressions: an expression is rendered without I/O, so the keys it names are
//! loaded before.

use super::fault::Fault;
use crate::automation::Automation;
use crate::ops::now;
use crate::store::automation::key_values::{self, KeyValue};
use automation::datastore::{self, SymmetricKey};
use automation::expressions::{Datastore, References, Scope as LookupScope};
use sqlx::AnyConnection;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keys are computed by some expressions (`st2kv.system[name]`): then this many are loaded.
const MOST_KEYS: i64 = 10_000;

/// Keys by owner (empty: the system) and name.
pub struct LoadedKeys {
    keys: BTreeMap<(String, String), String>,
    key: Arc<SymmetricKey>,
}

impl std::fmt::Debug for LoadedKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LoadedKeys")
    }
}

impl Datastore for LoadedKeys {
    fn get(&self, scope: LookupScope<'_>, key: &str) -> Option<String> {
        let owner = match scope {
            LookupScope::System => "",
            LookupScope::User(user) => user,
        };
        self.keys
            .get(&(owner.to_string(), key.to_string()))
            .cloned()
    }

    fn decrypt(&self, ciphertext: &str) -> Result<String, String> {
        datastore::decrypt(&self.key, ciphertext).map_err(|error| error.to_string())
    }
}

impl Automation {
    /// Loads what `references` may read, for the keys of `user`.
    pub async fn load_keys(
        &self,
        connection: &mut AnyConnection,
        references: &References,
        user: &str,
    ) -> Result<Arc<LoadedKeys>, Fault> {
        let mut keys = BTreeMap::new();
        let now = now();
        if references.computed_keys {
            let wanted = key_values::Wanted {
                system: true,
                user: Some(user),
                prefix: None,
                now,
                limit: MOST_KEYS,
                offset: 0,
            };
            for row in key_values::list(connection, wanted).await? {
                keys.insert(name_of(&row), row.value);
            }
        } else {
            let uids: Vec<String> = references
                .system_keys
                .iter()
                .filter_map(|name| datastore::Key::system(name).ok())
                .chain(
                    references
                        .user_keys
                        .iter()
                        .filter_map(|name| datastore::Key::user(user, name).ok()),
                )
                .map(|key| key.uid())
                .collect();
            for uid in uids {
                if let Some(row) = KeyValue::find(connection, &uid).await?
                    && row.is_live(now)
                {
                    keys.insert(name_of(&row), row.value);
                }
            }
        }
        Ok(Arc::new(LoadedKeys {
            keys,
            key: self.key.clone(),
        }))
    }
}

fn name_of(row: &KeyValue) -> (String, String) {
    let bare = row
        .name
        .strip_prefix(&format!("{}:", row.username))
        .filter(|_| !row.username.is_empty())
        .unwrap_or(&row.name);
    (row.username.clone(), bare.to_string())
}
