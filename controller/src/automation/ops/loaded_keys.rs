//! The datastore for expressions: an expression is rendered without I/O, so the keys it names are
//! loaded before.

use super::fault::Fault;
use crate::automation::Automation;
use crate::ops::now;
use crate::store::automation::key_values::{self, KeyValue};
use crate::store::sql::Connection;
use automation::datastore::{self, Key, Scope, SymmetricKey};
use automation::expressions::{Datastore, References};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keys are computed by some expressions (`st2kv.system[name]`): then this many are loaded.
const MOST_KEYS: i64 = 10_000;

/// Texts by key.
pub struct LoadedKeys {
    keys: BTreeMap<Key, String>,
    key: Arc<SymmetricKey>,
}

impl std::fmt::Debug for LoadedKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LoadedKeys")
    }
}

impl Datastore for LoadedKeys {
    fn get(&self, key: &Key) -> Option<String> {
        self.keys.get(key).cloned()
    }

    fn decrypt(&self, ciphertext: &str) -> Result<String, String> {
        datastore::decrypt(&self.key, ciphertext).map_err(|error| error.to_string())
    }
}

impl Automation {
    /// Loads what `references` may read, for the keys of `user`.
    pub async fn load_keys(
        &self,
        connection: &mut Connection,
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
                keys.extend(key_of(&row).map(|key| (key, row.value)));
            }
        } else {
            let system = references.system_keys.iter().map(|name| Key::system(name));
            let own = references
                .user_keys
                .iter()
                .map(|name| Key::user(user, name));
            // There is nothing under a name that no key can have.
            let wanted: Vec<Key> = system.chain(own).flatten().collect();
            for key in wanted {
                if let Some(row) = KeyValue::find(connection, &key.uid()).await?
                    && row.is_live(now)
                {
                    keys.insert(key, row.value);
                }
            }
        }
        Ok(Arc::new(LoadedKeys {
            keys,
            key: self.key.clone(),
        }))
    }
}

fn key_of(row: &KeyValue) -> Option<Key> {
    let scope: Scope = row.scope.parse().ok()?;
    Key::from_stored(scope, &row.name).ok()
}
