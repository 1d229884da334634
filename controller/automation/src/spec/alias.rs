//! Metadata of a chat alias.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::{Fields, UnknownKeys};
use super::problem::Report;
use super::yaml::Document;
use crate::aliases;

const KEYS: &[&str] = &[
    "name",
    "pack",
    "description",
    "enabled",
    "action_ref",
    "formats",
    "ack",
    "result",
    "extra",
    "immutable_parameters",
];

/// One way to say the command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AliasFormat {
    /// The pattern is its own help text.
    Text(String),
    Detailed {
        /// Help text; none hides the format from help.
        #[serde(skip_serializing_if = "Option::is_none")]
        display: Option<String>,
        /// Patterns; none of them makes the display the only thing shown.
        #[serde(default)]
        representation: Vec<String>,
        /// Runs the action for every match in the text.
        #[serde(default)]
        match_multiple: bool,
    },
}

impl AliasFormat {
    pub fn display(&self) -> Option<&str> {
        match self {
            AliasFormat::Text(text) => Some(text),
            AliasFormat::Detailed { display, .. } => display.as_deref(),
        }
    }

    pub fn patterns(&self) -> &[String] {
        match self {
            AliasFormat::Text(text) => std::slice::from_ref(text),
            AliasFormat::Detailed { representation, .. } => representation,
        }
    }

    pub fn matches_multiple(&self) -> bool {
        match self {
            AliasFormat::Text(_) => false,
            AliasFormat::Detailed { match_multiple, .. } => *match_multiple,
        }
    }
}

/// What the chat is told when the execution was accepted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// None: as the chat bot is configured, mostly on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// A template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub append_url: Option<bool>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// What the chat is told when the execution is over.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ResultMessage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// A template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// Commands of chat that run an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    pub name: String,
    pub pack: String,
    #[serde(rename = "ref")]
    pub reference: String,
    pub description: Option<String>,
    pub enabled: bool,
    pub action_ref: String,
    pub formats: Vec<AliasFormat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<Acknowledgement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<ResultMessage>,
    #[serde(default)]
    pub extra: Map<String, Value>,
    /// Parameters that the command cannot change; values may be templates.
    #[serde(default)]
    pub immutable_parameters: Map<String, Value>,
    #[serde(default)]
    pub metadata_file: String,
}

/// Reads an alias of `pack`.
pub fn read(document: &Document, pack: &str, file: &str, report: &mut Report<'_>) -> Alias {
    let fields = Fields::of(&document.value, "", report);
    fields.check_keys(KEYS, UnknownKeys::Refuse, report);
    fields.check_pack(pack, report);
    let name = fields.required_text("name", report);
    Alias {
        reference: format!("{pack}.{name}"),
        name,
        pack: pack.to_owned(),
        description: fields.text("description", report),
        enabled: fields.flag("enabled", true, report),
        action_ref: fields.reference("action_ref", report),
        formats: formats(&fields, report),
        ack: acknowledgement(&fields, report),
        result: result(&fields, report),
        extra: fields.mapping("extra", report),
        immutable_parameters: fields.mapping("immutable_parameters", report),
        metadata_file: file.to_owned(),
    }
}

fn formats(fields: &Fields<'_>, report: &mut Report<'_>) -> Vec<AliasFormat> {
    let items = fields.list("formats", report);
    if items.is_empty() {
        report.error(
            "formats",
            "the alias has no format, so nothing can be said to call it",
            "list at least one pattern under `formats`",
        );
    }
    let mut formats = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("formats[{index}]");
        let format = match item {
            Value::String(text) => AliasFormat::Text(text.clone()),
            other => detailed(other, &path, report),
        };
        for (at, pattern) in format.patterns().iter().enumerate() {
            if let Err(error) = aliases::Pattern::compile(pattern) {
                let path = match format {
                    AliasFormat::Text(_) => path.clone(),
                    AliasFormat::Detailed { .. } => format!("{path}.representation[{at}]"),
                };
                report.error(&path, error.to_string(), "correct the pattern");
            }
        }
        formats.push(format);
    }
    formats
}

fn detailed(value: &Value, path: &str, report: &mut Report<'_>) -> AliasFormat {
    let fields = Fields::of(value, path, report);
    let display = fields.text("display", report);
    let representation = match fields.value("representation") {
        Some(Value::String(one)) => vec![one.clone()],
        _ => fields.texts("representation", report),
    };
    if display.is_none() && representation.is_empty() && value.is_object() {
        report.error(
            path,
            "the format has neither display nor representation",
            "give it patterns under `representation`",
        );
    }
    AliasFormat::Detailed {
        display,
        representation,
        match_multiple: fields.flag("match_multiple", false, report),
    }
}

fn optional_flag(fields: &Fields<'_>, name: &str, report: &mut Report<'_>) -> Option<bool> {
    fields.value(name).map(|_| fields.flag(name, false, report))
}

fn acknowledgement(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<Acknowledgement> {
    let ack = Fields::of(fields.value("ack")?, "ack", report);
    Some(Acknowledgement {
        enabled: optional_flag(&ack, "enabled", report),
        format: ack.text("format", report),
        append_url: optional_flag(&ack, "append_url", report),
        extra: ack.mapping("extra", report),
    })
}

fn result(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<ResultMessage> {
    let result = Fields::of(fields.value("result")?, "result", report);
    Some(ResultMessage {
        enabled: optional_flag(&result, "enabled", report),
        format: result.text("format", report),
        extra: result.mapping("extra", report),
    })
}
