//! Metadata of sensors and of the trigger types that they, or files of their own, declare.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::{Fields, UnknownKeys};
use super::problem::Report;
use super::yaml::Document;

/// A polling sensor may not ask more often.
const SHORTEST_POLL_SECONDS: f64 = 4.0;

const KEYS: &[&str] = &[
    "class_name",
    "entry_point",
    "pack",
    "description",
    "enabled",
    "poll_interval",
    "trigger_types",
    "artifact_uri",
];

/// A class that watches something and dispatches trigger instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensor {
    pub class_name: String,
    pub pack: String,
    #[serde(rename = "ref")]
    pub reference: String,
    pub description: Option<String>,
    pub enabled: bool,
    /// Relative to the pack's folder `sensors`.
    pub entry_point: String,
    /// Seconds between polls, for polling sensors.
    pub poll_interval: Option<f64>,
    /// Refs of the trigger types that the sensor dispatches.
    pub trigger_types: Vec<String>,
    pub metadata_file: String,
}

const TRIGGER_KEYS: &[&str] = &[
    "name",
    "pack",
    "description",
    "payload_schema",
    "parameters_schema",
    "tags",
];

/// A kind of event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriggerType {
    pub name: String,
    pub pack: String,
    #[serde(rename = "ref")]
    pub reference: String,
    pub description: Option<String>,
    pub payload_schema: Map<String, Value>,
    pub parameters_schema: Map<String, Value>,
    pub tags: Vec<Map<String, Value>>,
    pub metadata_file: String,
}

/// Reads a sensor of `pack` and the trigger types in its metadata.
pub fn read(
    document: &Document,
    pack: &str,
    file: &str,
    report: &mut Report<'_>,
) -> (Sensor, Vec<TriggerType>) {
    let fields = Fields::of(&document.value, "", report);
    fields.check_keys(KEYS, UnknownKeys::Warn, report);
    fields.check_pack(pack, report);
    let class_name = fields.required_text("class_name", report);
    let mut trigger_types = Vec::new();
    for (index, value) in fields.list("trigger_types", report).iter().enumerate() {
        let path = format!("trigger_types[{index}]");
        trigger_types.push(trigger_type(value, &path, pack, file, report));
    }
    let poll_interval = fields.number("poll_interval", report);
    if poll_interval.is_some_and(|seconds| seconds != 0.0 && seconds < SHORTEST_POLL_SECONDS) {
        report.error(
            "poll_interval",
            format!("a sensor polls every {SHORTEST_POLL_SECONDS} seconds at most"),
            "raise the interval",
        );
    }
    let sensor = Sensor {
        reference: format!("{pack}.{class_name}"),
        class_name,
        pack: pack.to_owned(),
        description: fields.text("description", report),
        enabled: fields.flag("enabled", true, report),
        entry_point: fields.required_text("entry_point", report),
        poll_interval: poll_interval.filter(|seconds| *seconds != 0.0),
        trigger_types: trigger_types
            .iter()
            .map(|kind| kind.reference.clone())
            .collect(),
        metadata_file: file.to_owned(),
    };
    (sensor, trigger_types)
}

/// Reads a trigger type that has a file of its own.
pub fn read_trigger_type(
    document: &Document,
    pack: &str,
    file: &str,
    report: &mut Report<'_>,
) -> TriggerType {
    trigger_type(&document.value, "", pack, file, report)
}

fn trigger_type(
    value: &Value,
    path: &str,
    pack: &str,
    file: &str,
    report: &mut Report<'_>,
) -> TriggerType {
    let fields = Fields::of(value, path, report);
    fields.check_keys(TRIGGER_KEYS, UnknownKeys::Warn, report);
    fields.check_pack(pack, report);
    let name = fields.required_text("name", report);
    TriggerType {
        reference: format!("{pack}.{name}"),
        name,
        pack: pack.to_owned(),
        description: fields.text("description", report),
        payload_schema: fields.mapping("payload_schema", report),
        parameters_schema: fields.mapping("parameters_schema", report),
        tags: fields.tags(report),
        metadata_file: file.to_owned(),
    }
}
