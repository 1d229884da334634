//! The tree as one daemon sees it: stored values over defaults, read by path with the type the
//! schema promises.

use super::key::Key;
use super::keys::KEYS;
use super::place::{Owner, Place};
use super::value::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A snapshot of the configuration. Cheap to clone behind an `Arc`; never changes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    stored: BTreeMap<&'static str, Value>,
}

impl Settings {
    /// Takes the stored values of the whole cluster; see [`Settings::of_owners`].
    pub fn from_stored<'a>(
        stored: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> (Settings, Vec<String>) {
        Settings::of_owners(stored, &[])
    }

    /// Takes the stored values as these owners have them ([`Owner::of_daemon`]): the last one's win over
    /// those of the ones before, over the cluster's and the default. Unknown paths and unreadable values are
    /// returned, not used; what others have for themselves is passed over.
    pub fn of_owners<'a>(
        stored: impl IntoIterator<Item = (&'a str, &'a str)>,
        owners: &[Owner],
    ) -> (Settings, Vec<String>) {
        let mut cluster = BTreeMap::new();
        let mut own = vec![BTreeMap::new(); owners.len()];
        let mut ignored = Vec::new();
        for (stored_path, text) in stored {
            let Some(place) = Place::parse(stored_path) else {
                ignored.push(stored_path.to_string());
                continue;
            };
            let values = match &place.owner {
                None => &mut cluster,
                Some(owner) => match owners.iter().position(|one| one == owner) {
                    Some(position) => &mut own[position],
                    None => continue,
                },
            };
            let value = Key::find(&place.path).and_then(|key| {
                let json = serde_json::from_str(text).ok()?;
                Some((key.path, Value::from_json(&key.kind, &json).ok()?))
            });
            match value {
                Some((path, value)) => {
                    values.insert(path, value);
                }
                None => ignored.push(stored_path.to_string()),
            }
        }
        cluster.extend(own.into_iter().flatten());
        (Settings { stored: cluster }, ignored)
    }

    /// The value in force, for any key of the schema.
    pub fn value(&self, path: &str) -> Option<Value> {
        let key = Key::find(path)?;
        Some(
            self.stored
                .get(key.path)
                .cloned()
                .unwrap_or_else(|| key.default_value()),
        )
    }

    /// Whether somebody set it.
    pub fn is_set(&self, path: &str) -> bool {
        self.stored.contains_key(path)
    }

    /// Every key with its value in force.
    pub fn effective(&self) -> impl Iterator<Item = (&'static Key, Value)> + '_ {
        KEYS.iter().map(|key| {
            (
                key,
                self.stored
                    .get(key.path)
                    .cloned()
                    .unwrap_or_else(|| key.default_value()),
            )
        })
    }

    fn expected(&self, path: &str) -> Value {
        self.value(path)
            .unwrap_or_else(|| panic!("{path} is not in the configuration schema"))
    }

    pub fn bool(&self, path: &str) -> bool {
        match self.expected(path) {
            Value::Bool(value) => value,
            other => wrong(path, &other),
        }
    }

    pub fn integer(&self, path: &str) -> i64 {
        match self.expected(path) {
            Value::Integer(value) => value,
            other => wrong(path, &other),
        }
    }

    pub fn number(&self, path: &str) -> f64 {
        match self.expected(path) {
            Value::Number(value) => value,
            other => wrong(path, &other),
        }
    }

    pub fn duration(&self, path: &str) -> Duration {
        match self.expected(path) {
            Value::Duration(value) => value,
            other => wrong(path, &other),
        }
    }

    /// Bytes.
    pub fn size(&self, path: &str) -> u64 {
        match self.expected(path) {
            Value::Size(value) => value,
            other => wrong(path, &other),
        }
    }

    pub fn text(&self, path: &str) -> String {
        match self.expected(path) {
            Value::Text(value) => value,
            other => wrong(path, &other),
        }
    }

    pub fn environment(&self, path: &str) -> BTreeMap<String, String> {
        match self.expected(path) {
            Value::Environment(value) => value,
            other => wrong(path, &other),
        }
    }
}

/// A program error, found by the first test that reads the key: never caused by input.
fn wrong<T>(path: &str, value: &Value) -> T {
    panic!("{path} is read as another kind than the schema gives it: {value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_newer_version_leaves_the_default() {
        let (settings, ignored) = Settings::from_stored([
            ("router/access_log/enabled", "false"),
            ("router/limits/max_attempts", "\"many\""),
            ("router/new/key", "1"),
        ]);
        assert!(!settings.bool("router/access_log/enabled"));
        assert_eq!(settings.integer("router/limits/max_attempts"), 3);
        assert_eq!(ignored, ["router/limits/max_attempts", "router/new/key"]);
    }

    #[test]
    fn an_own_value_wins_over_the_clusters_and_the_default() {
        const PERIOD: &str = "dea/heartbeat/period";
        let stored = [
            ("@dea-1/dea/heartbeat/period", "\"2s\""),
            ("@dea-2/dea/heartbeat/period", "\"soon\""),
            ("@dea-3/dea/new/key", "1"),
            ("dea/heartbeat/period", "\"5s\""),
        ];
        let seen = |me: Option<&str>| {
            let owners: Vec<Owner> = me.and_then(Owner::parse).into_iter().collect();
            let (settings, ignored) = Settings::of_owners(stored, &owners);
            (settings.duration(PERIOD).as_secs(), ignored)
        };
        assert_eq!(seen(Some("dea-1")), (2, vec![]));
        let unreadable = vec!["@dea-2/dea/heartbeat/period".to_string()];
        assert_eq!(seen(Some("dea-2")), (5, unreadable));
        let unknown = vec!["@dea-3/dea/new/key".to_string()];
        assert_eq!(seen(Some("dea-3")), (5, unknown));
        assert_eq!(seen(None), (5, vec![]));
        let stranger: Vec<Owner> = Owner::parse("dea-9").into_iter().collect();
        let (settings, _) = Settings::of_owners(stored[..1].to_vec(), &stranger);
        assert_eq!(settings.duration(PERIOD).as_secs(), 10, "the default");
    }

    #[test]
    fn the_closer_value_wins() {
        const PERIOD: &str = "dea/heartbeat/period";
        let stored = [
            ("@dea-1/dea/heartbeat/period", "\"1s\""),
            ("@@machine-1/dea/heartbeat/period", "\"2s\""),
            ("@@machine-2/dea/heartbeat/period", "\"3s\""),
            ("dea/heartbeat/period", "\"4s\""),
        ];
        let seen = |machine: &str, component: &str| {
            let owners = [format!("@{machine}"), component.to_string()];
            let owners: Vec<Owner> = owners.iter().filter_map(|one| Owner::parse(one)).collect();
            let (settings, ignored) = Settings::of_owners(stored, &owners);
            assert!(ignored.is_empty(), "{ignored:?}");
            settings.duration(PERIOD).as_secs()
        };
        assert_eq!(seen("machine-1", "dea-1"), 1, "its own");
        assert_eq!(seen("machine-1", "dea-2"), 2, "its machine's");
        assert_eq!(seen("machine-2", "dea-3"), 3, "its machine's");
        assert_eq!(seen("machine-3", "dea-4"), 4, "the cluster's");
    }
}
