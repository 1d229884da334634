//! Parameters nobody is to see: masked where they are shown, and known to whoever scrubs output.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Map;
use super::schema::Schema;
use crate::documents::secrets;
use crate::expressions::text;

/// Shorter texts are not scrubbed from output: they would hit what is no secret at all.
const SHORTEST_SCRUBBED: usize = 4;
/// Lines of a longer secret are scrubbed one by one from this length on, since output is read by
/// line.
const SHORTEST_SCRUBBED_LINE: usize = 8;

impl Schema {
    /// The values with secrets masked, also within objects and lists.
    #[must_use]
    pub fn mask(&self, values: &Map) -> Map {
        secrets::masked(values, &self.merged)
    }

    /// The texts to be scrubbed from what an action prints: secret values, the lines of long ones,
    /// and what secret objects and lists hold. Longest first, so that a secret within another one
    /// does not leave the rest of it.
    #[must_use]
    pub fn secrets(&self, values: &Map) -> Vec<String> {
        let mut found = BTreeSet::new();
        let mut values = values.clone();
        secrets::each_secret_of(&mut values, &self.merged, &mut |_, secret| {
            collect(secret, &mut found);
        });
        let mut secrets: Vec<String> = found.into_iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
    }
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(_) | Value::Number(_) => {
            let secret = text(value);
            let lines = secret.lines().map(str::trim);
            found.extend(
                lines
                    .filter(|line| line.len() >= SHORTEST_SCRUBBED_LINE)
                    .map(str::to_owned),
            );
            if secret.len() >= SHORTEST_SCRUBBED {
                found.insert(secret);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(entries) => entries.values().for_each(|item| collect(item, found)),
        Value::Null | Value::Bool(_) => {}
    }
}
