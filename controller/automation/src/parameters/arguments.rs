//! Arguments of scripts: which parameters stand by position, and how they are written.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Map;
use super::schema::{Schema, position};
use crate::expressions::{JsonStyle, json_text, text};

/// What a script is called with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// In the order of `position`, written as text.
    pub positional: Vec<String>,
    /// The other parameters of the action, as they are.
    pub named: BTreeMap<String, Value>,
}

impl Schema {
    /// The arguments for resolved parameters of the action.
    #[must_use]
    pub fn arguments(&self, values: &Map) -> Arguments {
        let positions: BTreeMap<i64, &String> = self
            .action
            .iter()
            .filter_map(|(name, definition)| Some((position(definition)?, name)))
            .collect();
        Arguments {
            positional: positions
                .values()
                .map(|name| {
                    let value = values.get(*name).unwrap_or(&Value::Null);
                    argument(self.type_of(name), value)
                })
                .collect(),
            named: values
                .iter()
                .filter(|(name, _)| !positions.values().any(|positional| positional == name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }
}

/// One positional argument. Empty text stands for null, an empty list and an empty object.
fn argument(kind: Option<&str>, value: &Value) -> String {
    match (kind, value) {
        (_, Value::Null) | (Some("null"), _) => String::new(),
        (Some("boolean"), Value::Bool(flag)) => if *flag { "1" } else { "0" }.into(),
        (Some("array"), Value::Array(items)) => {
            items.iter().map(text).collect::<Vec<_>>().join(",")
        }
        (Some("object"), Value::Object(entries)) if entries.is_empty() => String::new(),
        (Some("object"), Value::Object(_)) => json_text(value, &JsonStyle::compact()),
        (_, value) => text(value),
    }
}
