//! A trigger type, and the names of types and triggers.

use crate::documents::derived_id;
use crate::documents::schema::{self, Invalid};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A kind of thing that can happen.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerType {
    /// The pack it belongs to.
    pub pack: &'static str,
    /// Its name in the pack.
    pub name: String,
    /// What it means.
    pub description: &'static str,
    /// What a rule may say to narrow it down; `{}` if nothing.
    pub parameters_schema: Value,
    /// What it carries.
    pub payload_schema: Value,
}

impl TriggerType {
    /// `pack.name`
    pub fn reference(&self) -> String {
        format!("{}.{}", self.pack, self.name)
    }

    /// The document of the API.
    pub fn document(&self) -> Value {
        let uid = format!("trigger_type:{}:{}", self.pack, self.name);
        json!({
            "id": derived_id(&uid),
            "uid": uid,
            "ref": self.reference(),
            "pack": self.pack,
            "name": self.name,
            "description": self.description,
            "parameters_schema": self.parameters_schema,
            "payload_schema": self.payload_schema,
            "tags": [],
            "metadata_file": Value::Null,
        })
    }

    /// Whether an instance may carry this payload.
    pub fn check_payload(&self, payload: &Value) -> Result<(), Invalid> {
        schema::validate(&self.payload_schema, payload)
    }
}

/// The uid of a trigger: a type with parameters. Equal parameters give equal uids, whatever the order
/// of their keys, so that rules which want the same share one trigger.
pub fn trigger_uid(pack: &str, name: &str, parameters: &Value) -> String {
    let digest = Sha256::digest(sorted(parameters).to_string().as_bytes());
    let hash: String = digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("trigger:{pack}:{name}:{hash}")
}

/// The same value with the keys of its objects in order, however this build of `serde_json` keeps them.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let ordered: std::collections::BTreeMap<&String, Value> = object
                .iter()
                .map(|(key, inner)| (key, sorted(inner)))
                .collect();
            ordered
                .into_iter()
                .map(|(key, inner)| (key.clone(), inner))
                .collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_parameters_give_equal_uids() {
        let parse = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let one = trigger_uid(
            "core",
            "st2.webhook",
            &parse(r#"{"a": 1, "b": {"c": 2, "d": 3}}"#),
        );
        let same = trigger_uid(
            "core",
            "st2.webhook",
            &parse(r#"{"b": {"d": 3, "c": 2}, "a": 1}"#),
        );
        let other = trigger_uid("core", "st2.webhook", &parse(r#"{"a": 2}"#));
        assert_eq!(one, same);
        assert_ne!(one, other);
        assert!(one.starts_with("trigger:core:st2.webhook:"), "{one}");
    }
}
