//! Parameters nobody is to see: masked where they are shown, and known to whoever scrubs output.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Map;
use super::definition::flag;
use super::schema::Schema;
use crate::expressions::text;
use crate::python_regex::PythonRegex;

/// What stands in place of a secret.
pub const MASK: &str = "********";

/// Shorter texts are not scrubbed from output: they would hit what is no secret at all.
const SHORTEST_SCRUBBED: usize = 4;
/// Lines of a longer secret are scrubbed one by one from this length on, since output is read by
/// line.
const SHORTEST_SCRUBBED_LINE: usize = 8;

impl Schema {
    /// The values with secrets masked, also within objects and lists.
    #[must_use]
    pub fn mask(&self, values: &Map) -> Map {
        mask(&self.merged, values)
    }

    /// The texts to be scrubbed from what an action prints: secret values, the lines of long ones,
    /// and what secret objects and lists hold. Longest first, so that a secret within another one
    /// does not leave the rest of it.
    #[must_use]
    pub fn secrets(&self, values: &Map) -> Vec<String> {
        let mut found = BTreeSet::new();
        for (name, value) in values {
            if let Some(definition) = self.merged.get(name) {
                collect(definition, value, &mut found);
            }
        }
        let mut secrets: Vec<String> = found.into_iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
    }
}

/// The values with masks where the definitions say `secret`.
pub(crate) fn mask(definitions: &Map, values: &Map) -> Map {
    values
        .iter()
        .map(|(name, value)| {
            let value = match definitions.get(name) {
                Some(definition) => masked(definition, value),
                None => value.clone(),
            };
            (name.clone(), value)
        })
        .collect()
}

fn masked(definition: &Value, value: &Value) -> Value {
    if flag(definition, "secret") {
        return Value::from(MASK);
    }
    match value {
        Value::Object(entries) => Value::Object(
            entries
                .iter()
                .map(|(name, entry)| {
                    let entry = within(definition, name)
                        .into_iter()
                        .fold(entry.clone(), |entry, definition| {
                            masked(definition, &entry)
                        });
                    (name.clone(), entry)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| match of_item(definition, index) {
                    Some(definition) => masked(definition, item),
                    None => item.clone(),
                })
                .collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn collect(definition: &Value, value: &Value, found: &mut BTreeSet<String>) {
    if flag(definition, "secret") {
        collect_all(value, found);
        return;
    }
    match value {
        Value::Object(entries) => {
            for (name, entry) in entries {
                for definition in within(definition, name) {
                    collect(definition, entry, found);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if let Some(definition) = of_item(definition, index) {
                    collect(definition, item, found);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn collect_all(value: &Value, found: &mut BTreeSet<String>) {
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
        Value::Array(items) => items.iter().for_each(|item| collect_all(item, found)),
        Value::Object(entries) => entries.values().for_each(|item| collect_all(item, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The definitions that hold for an entry of an object.
fn within<'definition>(definition: &'definition Value, name: &str) -> Vec<&'definition Value> {
    let mut found = vec![];
    if let Some(property) = definition.get("properties").and_then(|all| all.get(name)) {
        found.push(property);
    }
    if let Some(Value::Object(patterns)) = definition.get("patternProperties") {
        for (source, property) in patterns {
            let pattern = PythonRegex::search(source);
            // What cannot be matched is taken to match: better a mask too many.
            if pattern.is_ok_and(|pattern| pattern.is_match(name).unwrap_or(true)) {
                found.push(property);
            }
        }
    }
    if found.is_empty()
        && let Some(others @ Value::Object(_)) = definition.get("additionalProperties")
    {
        found.push(others);
    }
    found
}

fn of_item(definition: &Value, index: usize) -> Option<&Value> {
    match definition.get("items")? {
        Value::Array(definitions) => definitions
            .get(index)
            .or_else(|| definition.get("additionalItems")),
        definition => Some(definition),
    }
}
