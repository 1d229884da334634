//! Metadata of an action.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::{Fields, UnknownKeys};
use super::parameter_schema;
use super::problem::Report;
use super::yaml::Document;

const KEYS: &[&str] = &[
    "name",
    "pack",
    "description",
    "enabled",
    "runner_type",
    "entry_point",
    "parameters",
    "output_key",
    "output_schema",
    "tags",
    "notify",
];

/// What can be executed: a runner with an entry point and parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    pub name: String,
    pub pack: String,
    #[serde(rename = "ref")]
    pub reference: String,
    pub description: Option<String>,
    pub enabled: bool,
    pub runner_type: String,
    /// Relative to the pack's folder `actions`; empty when the runner needs none.
    pub entry_point: String,
    /// Definitions by name.
    pub parameters: Map<String, Value>,
    pub output_key: Option<String>,
    pub output_schema: Option<Value>,
    pub tags: Vec<Map<String, Value>>,
    /// Settings under `on-complete`, `on-success`, `on-failure`.
    pub notify: Map<String, Value>,
    /// The file in the pack, none for an action made through the API.
    pub metadata_file: String,
}

/// Reads an action of `pack` from its file.
pub fn read(document: &Document, pack: &str, file: &str, report: &mut Report<'_>) -> Action {
    let fields = Fields::of(&document.value, "", report);
    fields.check_keys(KEYS, UnknownKeys::Refuse, report);
    fields.check_pack(pack, report);
    let name = fields.required_text("name", report);
    let parameters = fields.mapping("parameters", report);
    parameter_schema::check_definitions(&parameters, "parameters", report);
    parameter_schema::check_positions(&parameters, "parameters", report);
    Action {
        reference: format!("{pack}.{name}"),
        name,
        pack: pack.to_owned(),
        description: fields.text("description", report),
        enabled: fields.flag("enabled", true, report),
        runner_type: fields.required_text("runner_type", report),
        entry_point: fields.text("entry_point", report).unwrap_or_default(),
        parameters,
        output_key: fields.text("output_key", report),
        output_schema: fields
            .value("output_schema")
            .map(|_| Value::Object(fields.mapping("output_schema", report))),
        tags: fields.tags(report),
        notify: notify(&fields, report),
        metadata_file: file.to_owned(),
    }
}

fn notify(fields: &Fields<'_>, report: &mut Report<'_>) -> Map<String, Value> {
    let Some(value) = fields.value("notify") else {
        return Map::new();
    };
    let moments = Fields::of(value, "notify", report);
    let known = ["on-complete", "on-success", "on-failure"];
    moments.check_keys(&known, UnknownKeys::Refuse, report);
    for moment in known {
        if let Some(value) = moments.value(moment) {
            let settings = Fields::of(value, &moments.path(moment), report);
            let known = ["message", "data", "routes", "channels"];
            settings.check_keys(&known, UnknownKeys::Refuse, report);
            settings.text("message", report);
            settings.mapping("data", report);
            settings.texts("routes", report);
            settings.texts("channels", report);
        }
    }
    fields.mapping("notify", report)
}
