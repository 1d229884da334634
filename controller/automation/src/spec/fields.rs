//! Reading a mapping of metadata: typed fields, all faults at once.
//!
//! A reader gives a default where it reports a fault, so that the rest of the document is checked
//! too; [`Report::has_errors`] then tells whether the result may be used. An explicit null counts
//! as an absent key, as in StackStorm.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::problem::Report;
use super::yaml::join;

/// Keys that StackStorm computes and that come back in whole documents sent to its API.
const COMPUTED: &[&str] = &["id", "ref", "uid", "metadata_file"];

/// What to do with a key that the kind of document does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnknownKeys {
    Refuse,
    /// StackStorm loads such documents without looking.
    Warn,
    Ignore,
}

/// One mapping of a document.
pub(super) struct Fields<'a> {
    entries: &'a Map<String, Value>,
    path: String,
}

/// Read instead of what is no mapping.
static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

impl<'a> Fields<'a> {
    /// The mapping at `path`; anything else is reported and read as an empty one.
    pub fn of(value: &'a Value, path: &str, report: &mut Report<'_>) -> Self {
        let entries = value.as_object().unwrap_or_else(|| {
            report.error(
                path,
                format!("this is {}, not a mapping", type_name(value)),
                "write `key: value` lines",
            );
            &NOTHING
        });
        Fields {
            entries,
            path: path.to_owned(),
        }
    }

    pub fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    pub fn check_keys(&self, known: &[&str], unknown: UnknownKeys, report: &mut Report<'_>) {
        if unknown == UnknownKeys::Ignore {
            return;
        }
        for key in self.entries.keys() {
            let is_computed = self.path.is_empty() && COMPUTED.contains(&key.as_str());
            if known.contains(&key.as_str()) || is_computed {
                continue;
            }
            let message = format!("unknown key {key:?}");
            let advice = format!("remove it, or correct it to one of: {}", known.join(", "));
            if unknown == UnknownKeys::Refuse {
                report.error(&self.path(key), message, advice);
            } else {
                report.warn(&self.path(key), message, advice);
            }
        }
    }

    /// Keys outside `known`, with their values.
    pub fn others(&self, known: &[&str]) -> Map<String, Value> {
        self.entries
            .iter()
            .filter(|(key, _)| !known.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.entries.get(name).filter(|value| !value.is_null())
    }

    fn misfit(&self, name: &str, value: &Value, expected: &str, report: &mut Report<'_>) {
        let advice = match value {
            Value::Number(_) | Value::Bool(_) if expected == "a string" => "put it in quotes",
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => "change its value",
        };
        report.error(
            &self.path(name),
            format!("{name} is {}, not {expected}", type_name(value)),
            advice,
        );
    }

    pub fn text(&self, name: &str, report: &mut Report<'_>) -> Option<String> {
        match self.value(name)? {
            Value::String(text) => Some(text.clone()),
            other => {
                self.misfit(name, other, "a string", report);
                None
            }
        }
    }

    /// A string that must be there and not be empty.
    pub fn required_text(&self, name: &str, report: &mut Report<'_>) -> String {
        if self.value(name).is_none() {
            report.error(
                &self.path,
                format!("{name} is missing"),
                format!("add `{name}: …`"),
            );
            return String::new();
        }
        let text = self.text(name, report).unwrap_or_default();
        if self.value(name).is_some_and(Value::is_string) && text.trim().is_empty() {
            report.error(
                &self.path(name),
                format!("{name} is empty"),
                "give it a value",
            );
        }
        text
    }

    pub fn flag(&self, name: &str, default: bool, report: &mut Report<'_>) -> bool {
        match self.value(name) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.misfit(name, other, "true or false", report);
                default
            }
        }
    }

    pub fn number(&self, name: &str, report: &mut Report<'_>) -> Option<f64> {
        match self.value(name)? {
            Value::Number(number) => number.as_f64(),
            other => {
                self.misfit(name, other, "a number", report);
                None
            }
        }
    }

    pub fn mapping(&self, name: &str, report: &mut Report<'_>) -> Map<String, Value> {
        match self.value(name) {
            None => Map::new(),
            Some(Value::Object(entries)) => entries.clone(),
            Some(other) => {
                self.misfit(name, other, "a mapping", report);
                Map::new()
            }
        }
    }

    pub fn list(&self, name: &str, report: &mut Report<'_>) -> &'a [Value] {
        match self.value(name) {
            None => &[],
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.misfit(name, other, "a list", report);
                &[]
            }
        }
    }

    pub fn texts(&self, name: &str, report: &mut Report<'_>) -> Vec<String> {
        let mut texts = Vec::new();
        for (index, item) in self.list(name, report).iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text.clone()),
                other => report.error(
                    &format!("{}[{index}]", self.path(name)),
                    format!("an item of {name} is {}, not a string", type_name(other)),
                    "put it in quotes",
                ),
            }
        }
        texts
    }

    /// Tags are mappings, mostly `{name, value}`.
    pub fn tags(&self, report: &mut Report<'_>) -> Vec<Map<String, Value>> {
        let mut tags = Vec::new();
        for (index, item) in self.list("tags", report).iter().enumerate() {
            match item {
                Value::Object(tag) => tags.push(tag.clone()),
                other => report.error(
                    &format!("{}[{index}]", self.path("tags")),
                    format!("a tag is {}, not a mapping", type_name(other)),
                    "write `name: …` and `value: …`",
                ),
            }
        }
        tags
    }

    /// The pack that the document says it belongs to must be the one it lies in.
    pub fn check_pack(&self, pack: &str, report: &mut Report<'_>) {
        if let Some(written) = self.text("pack", report)
            && written != pack
        {
            report.error(
                &self.path("pack"),
                format!("the file lies in pack {pack:?} but names pack {written:?}"),
                format!("remove the key, or write `pack: {pack}`"),
            );
        }
    }

    /// A reference `pack.name`.
    pub fn reference(&self, name: &str, report: &mut Report<'_>) -> String {
        let text = self.required_text(name, report);
        if !text.trim().is_empty() && !is_reference(&text) {
            report.error(
                &self.path(name),
                format!("{text:?} is no reference"),
                "write the pack, a point and the name, like core.local",
            );
        }
        text
    }
}

/// Whether a text is `pack.name`; the name may hold points.
pub fn is_reference(text: &str) -> bool {
    text.split_once('.').is_some_and(|(pack, name)| {
        !pack.is_empty() && !name.is_empty() && !text.contains(char::is_whitespace)
    })
}
