//! The tree as one daemon sees it: stored values over defaults, read by path with the type the
//! schema promises.

use super::keys::{KEYS, Key};
use super::value::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A snapshot of the configuration. Cheap to clone behind an `Arc`; never changes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    stored: BTreeMap<&'static str, Value>,
}

impl Settings {
    /// Takes the stored values; unknown paths and unreadable values are returned, not used.
    pub fn from_stored<'a>(
        stored: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> (Settings, Vec<String>) {
        let mut settings = Settings::default();
        let mut ignored = Vec::new();
        for (path, text) in stored {
            let value = Key::find(path).and_then(|key| {
                let json = serde_json::from_str(text).ok()?;
                Some((key.path, Value::from_json(&key.kind, &json).ok()?))
            });
            match value {
                Some((path, value)) => {
                    settings.stored.insert(path, value);
                }
                None => ignored.push(path.to_string()),
            }
        }
        (settings, ignored)
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
}
