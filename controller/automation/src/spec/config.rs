//! The configuration of a pack: `config.schema.yaml` in the pack, values from the operator.
//!
//! ```text
//!   values ─┬─► check: faults at their paths
//!   schema ─┘─► effective: defaults filled in ─► templates to render, secrets to mask
//! ```
//!
//! Without a schema the values stand as they are. Defaults count even when nobody wrote a value.
//! Values may be templates on the datastore; what they give is only known for each run, so
//! [`Effective::templates`] lists them with their place and whether the schema calls them secret
//! (then the stored value is decrypted without being asked).

use serde_json::{Map, Value};

use crate::documents::MASK;
use crate::documents::secrets;
pub use crate::documents::secrets::Step;

use super::fields::type_name;
use super::parameter_schema::{self, child, is_template};
use super::problem::Report;
use super::yaml::Document;

/// Name of the schema in a pack's folder.
pub const SCHEMA_FILE: &str = "config.schema.yaml";

/// Reads `config.schema.yaml`: definitions by name.
pub fn read_schema(document: &Document, report: &mut Report<'_>) -> Map<String, Value> {
    match &document.value {
        Value::Object(definitions) if !definitions.is_empty() => {
            parameter_schema::check_definitions(definitions, "", report);
            definitions.clone()
        }
        Value::Object(_) | Value::Null => {
            report.error(
                "",
                "the configuration's schema is empty",
                "define the keys of the configuration, or remove the file",
            );
            Map::new()
        }
        other => {
            report.error(
                "",
                format!("this is {}, not a mapping", type_name(other)),
                "write the keys of the configuration with their definitions",
            );
            Map::new()
        }
    }
}

/// Reads a file of values and checks them against the schema, if the pack has one. Keys that the
/// schema does not have are let through, as in StackStorm.
pub fn read_values(
    document: &Document,
    schema: Option<&Map<String, Value>>,
    report: &mut Report<'_>,
) -> Map<String, Value> {
    let values = match &document.value {
        Value::Object(values) => values.clone(),
        Value::Null => Map::new(),
        other => {
            report.error(
                "",
                format!("this is {}, not a mapping", type_name(other)),
                "write `key: value` lines",
            );
            return Map::new();
        }
    };
    let Some(schema) = schema else {
        return values;
    };
    let mut given = values.clone();
    for (name, definition) in schema {
        fill_entry(&mut given, name, definition, Absent::Stays);
    }
    let given = Value::Object(given);
    for fault in parameter_schema::check_values(schema, &given, true) {
        let suffix = fault.suffix();
        report.error(
            suffix.trim_start_matches('.'),
            fault.message,
            "correct the value",
        );
    }
    for (name, value) in given.as_object().into_iter().flatten() {
        let is_secret = schema.get(name).is_some_and(is_secret);
        if is_secret && is_template(value) && value.to_string().contains("decrypt_kv") {
            report.error(
                name,
                "decrypt_kv on a value that the schema calls secret",
                "remove the filter: such values are decrypted by themselves",
            );
        }
    }
    values
}

/// A value of the configuration that is a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigTemplate {
    pub path: Vec<Step>,
    pub text: String,
    /// What the datastore holds is encrypted and is to be decrypted.
    pub secret: bool,
}

/// Values with the schema's defaults.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Effective {
    pub values: Map<String, Value>,
    pub templates: Vec<ConfigTemplate>,
}

impl Effective {
    /// Puts what a template gave in its place.
    pub fn set(&mut self, path: &[Step], value: Value) {
        let Some((Step::Key(first), rest)) = path.split_first() else {
            return;
        };
        let mut target = self.values.get_mut(first);
        for step in rest {
            target = match (target, step) {
                (Some(Value::Object(entries)), Step::Key(key)) => entries.get_mut(key),
                (Some(Value::Array(items)), Step::Index(index)) => items.get_mut(*index),
                _ => return,
            };
        }
        if let Some(target) = target {
            *target = value;
        }
    }
}

/// The configuration that code of the pack sees, templates not yet rendered.
pub fn effective(schema: Option<&Map<String, Value>>, values: &Map<String, Value>) -> Effective {
    let mut values = values.clone();
    if let Some(schema) = schema {
        for (name, definition) in schema {
            fill_entry(&mut values, name, definition, Absent::BecomesEmpty);
        }
    }
    let mut templates = Vec::new();
    for (name, value) in &values {
        let definition = schema.and_then(|schema| schema.get(name));
        let mut path = vec![Step::Key(name.clone())];
        find_templates(value, definition, &mut path, &mut templates);
    }
    Effective { values, templates }
}

fn has(definition: &Value, words: &[&str]) -> bool {
    words.iter().any(|word| match definition.get(*word) {
        Some(Value::Object(entries)) => !entries.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Bool(flag)) => *flag,
        _ => false,
    })
}

/// What Python calls false.
fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}

/// What becomes of an object or a list that nobody wrote but whose parts are defined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// For checks: its required parts are only required when it is there.
    Stays,
    /// For code of the pack, which then finds the defaults of the parts.
    BecomesEmpty,
}

fn fill_entry(entries: &mut Map<String, Value>, name: &str, definition: &Value, absent: Absent) {
    if !entries.contains_key(name)
        && let Some(default) = definition.get("default")
    {
        entries.insert(name.to_owned(), default.clone());
    }
    let empty = match definition.get("type").and_then(Value::as_str) {
        Some("object")
            if has(
                definition,
                &["properties", "patternProperties", "additionalProperties"],
            ) =>
        {
            Value::Object(Map::new())
        }
        Some("array") if has(definition, &["items", "additionalItems"]) => Value::Array(Vec::new()),
        _ => return,
    };
    if absent == Absent::BecomesEmpty && entries.get(name).is_none_or(is_falsy) {
        entries.insert(name.to_owned(), empty);
    }
    if let Some(value) = entries.get_mut(name) {
        fill(value, definition, absent);
    }
}

fn fill(value: &mut Value, definition: &Value, absent: Absent) {
    match value {
        Value::Object(entries) => {
            let defined = definition.get("properties").and_then(Value::as_object);
            for (name, definition) in defined.into_iter().flatten() {
                fill_entry(entries, name, definition, absent);
            }
            let undefined: Vec<String> = entries
                .keys()
                .filter(|name| !defined.is_some_and(|defined| defined.contains_key(*name)))
                .cloned()
                .collect();
            for name in undefined {
                if let Some(definition) = child(definition, &name) {
                    fill_entry(entries, &name, definition, absent);
                }
            }
        }
        Value::Array(items) => {
            if let Some(Value::Array(positions)) = definition.get("items") {
                for position in positions.iter().skip(items.len()) {
                    match position.get("default") {
                        Some(default) => items.push(default.clone()),
                        None => break,
                    }
                }
            }
            for (index, item) in items.iter_mut().enumerate() {
                if let Some(definition) = child(definition, &index.to_string()) {
                    fill(item, definition, absent);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_secret(definition: &Value) -> bool {
    definition.get("secret") == Some(&Value::Bool(true))
}

fn find_templates(
    value: &Value,
    definition: Option<&Value>,
    path: &mut Vec<Step>,
    found: &mut Vec<ConfigTemplate>,
) {
    match value {
        Value::String(text) if is_template(value) => found.push(ConfigTemplate {
            path: path.clone(),
            text: text.clone(),
            secret: definition.is_some_and(is_secret),
        }),
        Value::Object(entries) => {
            for (name, value) in entries {
                path.push(Step::Key(name.clone()));
                let definition = definition.and_then(|definition| child(definition, name));
                find_templates(value, definition, path, found);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                path.push(Step::Index(index));
                let definition =
                    definition.and_then(|definition| child(definition, &index.to_string()));
                find_templates(value, definition, path, found);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Values that came back from someone who saw them masked: where a secret is the mask, the value
/// that was there before. The places where there was none, if there are such.
pub fn unmask(
    schema: &Map<String, Value>,
    returned: &Map<String, Value>,
    before: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<String>> {
    let mut values = returned.clone();
    let mut unknown = Vec::new();
    secrets::each_secret_of(&mut values, schema, &mut |path, secret| {
        if secret != MASK {
            return;
        }
        match secrets::at(before, path) {
            Some(kept) => *secret = kept.clone(),
            None => unknown.push(readable(path)),
        }
    });
    if unknown.is_empty() {
        Ok(values)
    } else {
        Err(unknown)
    }
}

/// `a.b[0]`
fn readable(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(name) if text.is_empty() => text.push_str(name),
            Step::Key(name) => text.push_str(&format!(".{name}")),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}
