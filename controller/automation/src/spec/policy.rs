//! Metadata of a policy: what holds an action back, or runs it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::{Fields, UnknownKeys};
use super::parameter_schema;
use super::problem::Report;
use super::yaml::Document;
use crate::parameters::validation::with_defaults;

const KEYS: &[&str] = &[
    "name",
    "pack",
    "description",
    "enabled",
    "resource_ref",
    "policy_type",
    "parameters",
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub name: String,
    pub pack: String,
    #[serde(rename = "ref")]
    pub reference: String,
    pub description: Option<String>,
    pub enabled: bool,
    /// Ref of the action.
    pub resource_ref: String,
    pub policy_type: String,
    /// With the type's defaults.
    pub parameters: Map<String, Value>,
    pub metadata_file: String,
}

/// Definitions of parameters by policy type, like `action.concurrency`.
pub type PolicyTypes = BTreeMap<String, Map<String, Value>>;

/// Reads a policy of `pack`; `types` are those that exist.
pub fn read(
    document: &Document,
    pack: &str,
    file: &str,
    types: &PolicyTypes,
    report: &mut Report<'_>,
) -> Policy {
    let fields = Fields::of(&document.value, "", report);
    fields.check_keys(KEYS, UnknownKeys::Refuse, report);
    fields.check_pack(pack, report);
    let name = fields.required_text("name", report);
    let policy_type = fields.required_text("policy_type", report);
    let given = fields.mapping("parameters", report);
    let parameters = match types.get(&policy_type) {
        Some(definitions) => {
            let parameters = with_defaults(definitions, &given);
            for fault in parameter_schema::check_values(
                definitions,
                &Value::Object(parameters.clone()),
                false,
            ) {
                report.error(
                    &format!("parameters{}", fault.suffix()),
                    fault.message,
                    "correct the parameter",
                );
            }
            parameters
        }
        None => {
            if !policy_type.is_empty() {
                let known: Vec<&str> = types.keys().map(String::as_str).collect();
                report.error(
                    "policy_type",
                    format!("there is no policy type {policy_type:?}"),
                    format!("use one of: {}", known.join(", ")),
                );
            }
            given
        }
    };
    Policy {
        reference: format!("{pack}.{name}"),
        name,
        pack: pack.to_owned(),
        description: fields.text("description", report),
        enabled: fields.flag("enabled", true, report),
        resource_ref: fields.reference("resource_ref", report),
        policy_type,
        parameters,
        metadata_file: file.to_owned(),
    }
}
