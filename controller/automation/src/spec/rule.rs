//! Metadata of a rule: which trigger, under which criteria, runs which action.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::{Fields, UnknownKeys};
use super::problem::Report;
use super::yaml::Document;
use crate::rules;

const KEYS: &[&str] = &[
    "name",
    "pack",
    "description",
    "enabled",
    "type",
    "trigger",
    "criteria",
    "action",
    "context",
    "tags",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleKind {
    #[default]
    Standard,
    /// Only considered when no standard rule matched.
    Backstop,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RuleType {
    #[serde(rename = "ref")]
    pub kind: RuleKind,
    #[serde(default)]
    pub parameters: Map<String, Value>,
}

/// The trigger type and what it is asked for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RuleTrigger {
    /// Ref of the trigger type.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub parameters: Map<String, Value>,
}

/// The action and templates of its parameters.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RuleAction {
    #[serde(rename = "ref")]
    pub reference: String,
    #[serde(default)]
    pub parameters: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Rule {
    pub name: String,
    pub pack: String,
    #[serde(rename = "ref")]
    pub reference: String,
    pub description: Option<String>,
    /// Rules are off until someone says otherwise.
    #[serde(default)]
    pub enabled: bool,
    #[serde(default, rename = "type")]
    pub kind: RuleType,
    pub trigger: RuleTrigger,
    #[serde(default)]
    pub criteria: Map<String, Value>,
    pub action: RuleAction,
    #[serde(default)]
    pub context: Map<String, Value>,
    #[serde(default)]
    pub tags: Vec<Map<String, Value>>,
    #[serde(default)]
    pub metadata_file: String,
}

/// Reads a rule of `pack`.
pub fn read(document: &Document, pack: &str, file: &str, report: &mut Report<'_>) -> Rule {
    let fields = Fields::of(&document.value, "", report);
    fields.check_keys(KEYS, UnknownKeys::Refuse, report);
    fields.check_pack(pack, report);
    let name = fields.required_text("name", report);
    let criteria = fields.mapping("criteria", report);
    for fault in rules::check_criteria(&criteria) {
        report.error(
            &format!("criteria.{}", fault.path),
            fault.message,
            fault.advice,
        );
    }
    Rule {
        reference: format!("{pack}.{name}"),
        name,
        pack: pack.to_owned(),
        description: fields.text("description", report),
        enabled: fields.flag("enabled", false, report),
        kind: kind(&fields, report),
        trigger: trigger(&fields, report),
        criteria,
        action: action(&fields, report),
        context: fields.mapping("context", report),
        tags: fields.tags(report),
        metadata_file: file.to_owned(),
    }
}

fn kind(fields: &Fields<'_>, report: &mut Report<'_>) -> RuleType {
    let Some(value) = fields.value("type") else {
        return RuleType::default();
    };
    let kind = Fields::of(value, "type", report);
    kind.check_keys(&["ref", "parameters"], UnknownKeys::Refuse, report);
    let name = kind.required_text("ref", report);
    let parsed = match name.as_str() {
        "standard" | "" => RuleKind::Standard,
        "backstop" => RuleKind::Backstop,
        other => {
            report.error(
                "type.ref",
                format!("there is no rule type {other:?}"),
                "write standard or backstop",
            );
            RuleKind::Standard
        }
    };
    RuleType {
        kind: parsed,
        parameters: kind.mapping("parameters", report),
    }
}

fn required<'a>(fields: &Fields<'a>, name: &str, report: &mut Report<'_>) -> Option<Fields<'a>> {
    let Some(value) = fields.value(name) else {
        report.error("", format!("{name} is missing"), format!("add `{name}:`"));
        return None;
    };
    Some(Fields::of(value, name, report))
}

fn trigger(fields: &Fields<'_>, report: &mut Report<'_>) -> RuleTrigger {
    // StackStorm lets other keys pass: documents from its API carry the trigger's ref.
    let Some(trigger) = required(fields, "trigger", report) else {
        return RuleTrigger::default();
    };
    RuleTrigger {
        kind: trigger.reference("type", report),
        parameters: trigger.mapping("parameters", report),
    }
}

fn action(fields: &Fields<'_>, report: &mut Report<'_>) -> RuleAction {
    let Some(action) = required(fields, "action", report) else {
        return RuleAction::default();
    };
    let known = ["ref", "description", "parameters"];
    action.check_keys(&known, UnknownKeys::Refuse, report);
    RuleAction {
        reference: action.reference("ref", report),
        parameters: action.mapping("parameters", report),
    }
}
