//! Definitions of parameters as a pack writes them: of actions, policies, and its configuration.
//!
//! What a definition may say is told by [`crate::parameters`]; here it is reported with its place in
//! the file and with advice. A value that is a template has no type before it is rendered, so faults
//! of such values are left to the check after rendering.

use std::fmt::Write as _;

use jsonschema::error::ValidationError;
use serde_json::{Map, Value};

use super::fields::type_name;
use super::problem::Report;
use super::yaml::join;
use crate::parameters::definition::{self, Fault, FaultKind, Form, TYPES, WORDS, flag};
use crate::parameters::draft4::as_draft4;
use crate::python_regex::PythonRegex;

/// Reports every fault of definitions by name. What depends on the runner's own parameters, such
/// as an immutable parameter without a default, is known once both are merged.
pub(super) fn check_definitions(
    definitions: &Map<String, Value>,
    path: &str,
    report: &mut Report<'_>,
) {
    for (name, definition) in definitions {
        let path = join(path, name);
        let is_word = |symbol: char| symbol.is_alphanumeric() || symbol == '_';
        if name.is_empty() || !name.chars().all(is_word) {
            report.error(
                &path,
                format!("parameter name {name:?} is invalid"),
                "use letters, digits and underscores",
            );
        }
        for fault in definition::check(&path, definition) {
            let (message, advice) = explain(&fault);
            if fault.is_tolerable {
                report.warn(&fault.path, message, advice);
            } else {
                report.error(&fault.path, message, advice);
            }
        }
    }
}

/// What is wrong, and what to do.
fn explain(fault: &Fault) -> (String, String) {
    match &fault.kind {
        FaultKind::NoDefinition(found) => (
            format!("the definition is {}, not a mapping", type_name(found)),
            "write `type:` and the like under the name".to_owned(),
        ),
        FaultKind::TooDeep => (
            "definitions stand too deep inside each other".to_owned(),
            "make them flatter".to_owned(),
        ),
        FaultKind::UnknownWord(word) => {
            let known: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
            (
                format!("unknown key {word:?} in a definition"),
                format!("remove it, or correct it to one of: {}", known.join(", ")),
            )
        }
        FaultKind::Misfit { word, found, form } => {
            let found = match found {
                Value::Number(number) => number.to_string(),
                other => type_name(other).to_owned(),
            };
            (
                format!("{word} is {found}, not {}", expected(*form)),
                "change its value".to_owned(),
            )
        }
        FaultKind::NoType(found) => {
            let found = match found {
                Value::String(name) => format!("{name:?}"),
                other => type_name(other).to_owned(),
            };
            (
                format!("the type is {found}"),
                format!("write one of: {}", TYPES.join(", ")),
            )
        }
        FaultKind::BadPattern(error) => (error.to_string(), "correct the expression".to_owned()),
        FaultKind::SameChoice(choice) => (
            format!("the choice {choice} is listed twice"),
            "remove one".to_owned(),
        ),
        FaultKind::Lacks { word, needed } => (
            format!("{word} says nothing without {needed}"),
            format!("add {needed}"),
        ),
    }
}

fn expected(form: Form) -> &'static str {
    match form {
        Form::Anything => "a value",
        Form::Text | Form::Pattern => "a string",
        Form::Flag => "true or false",
        Form::Number => "a number",
        Form::Divisor => "a number above 0",
        Form::Count => "an integer from 0",
        Form::Definition => "a definition",
        Form::Items => "a definition or a list of definitions",
        Form::FlagOrDefinition => "true, false or a definition",
        Form::Definitions => "a mapping of definitions",
        Form::ListOfDefinitions => "a list of definitions",
        Form::Dependencies => "a mapping of definitions and lists of names",
        Form::Type => "a type",
        Form::Choices => "a list with at least one choice",
    }
}

/// Positions are unique and follow each other.
pub(super) fn check_positions(
    definitions: &Map<String, Value>,
    path: &str,
    report: &mut Report<'_>,
) {
    let mut taken: Vec<(u64, &str)> = Vec::new();
    for (name, definition) in definitions {
        let Some(position) = definition.get("position").and_then(Value::as_u64) else {
            continue;
        };
        if let Some((_, other)) = taken.iter().find(|(at, _)| *at == position) {
            report.error(
                &join(&join(path, name), "position"),
                format!("parameters {name} and {other} have the same position {position}"),
                "give every parameter a position of its own",
            );
        }
        taken.push((position, name));
    }
    let mut positions: Vec<u64> = taken.iter().map(|(position, _)| *position).collect();
    positions.sort_unstable();
    positions.dedup();
    let has_gap = positions.windows(2).any(|pair| pair[1] - pair[0] != 1);
    if has_gap {
        report.error(
            path,
            format!("positions {positions:?} of parameters have a gap"),
            "number the positions one after the other",
        );
    }
}

/// Whether a value is a template, to be known only when it is rendered.
pub fn is_template(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.contains("{{") || text.contains("{%"))
}

/// A draft 4 schema of an object with these properties.
pub fn to_json_schema(definitions: &Map<String, Value>, allow_others: bool) -> Value {
    let mut schema = as_draft4(definitions);
    schema.insert("additionalProperties".to_owned(), allow_others.into());
    Value::Object(schema)
}

/// A value that a definition does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueFault {
    /// JSON pointer into the values, empty for the whole.
    pub pointer: String,
    pub message: String,
}

impl ValueFault {
    /// The pointer as the end of a path: `.a[0].b`.
    pub fn suffix(&self) -> String {
        let mut suffix = String::new();
        for part in self.pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let is_index = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            // Writing to a string cannot fail.
            let _ = if is_index {
                write!(suffix, "[{part}]")
            } else {
                write!(suffix, ".{part}")
            };
        }
        suffix
    }
}

/// Every fault of values, templates left out.
pub fn check_values(
    definitions: &Map<String, Value>,
    values: &Value,
    allow_others: bool,
) -> Vec<ValueFault> {
    let schema = to_json_schema(definitions, allow_others);
    let validator = match jsonschema::draft4::new(&schema) {
        Ok(validator) => validator,
        Err(error) => {
            return vec![ValueFault {
                pointer: String::new(),
                message: format!("the definitions are no schema: {}", error),
            }];
        }
    };
    let secret =
        |error: &ValidationError<'_>| is_secret_at(definitions, error.instance_path().as_str());
    validator
        .iter_errors(values)
        .filter(|error| !is_template(error.instance()))
        .map(|error| ValueFault {
            pointer: error.instance_path().as_str().to_owned(),
            // The text of an error shows the value.
            message: if secret(&error) {
                error.masked_with("********").to_string()
            } else {
                error.to_string()
            },
        })
        .collect()
}

/// Whether a definition on the way to a value is marked secret.
fn is_secret_at(definitions: &Map<String, Value>, pointer: &str) -> bool {
    let mut parts = pointer
        .split('/')
        .skip(1)
        .map(|part| part.replace("~1", "/").replace("~0", "~"));
    let mut definition = parts.next().and_then(|name| definitions.get(&name));
    loop {
        let Some(current) = definition else {
            return false;
        };
        if flag(current, "secret") {
            return true;
        }
        definition = parts.next().and_then(|part| child(current, &part));
    }
}

/// Definition of a property, or of an item, of a value with this definition: `properties` before
/// `patternProperties` before `additionalProperties`; `items` before `additionalItems`.
pub(super) fn child<'a>(definition: &'a Value, part: &str) -> Option<&'a Value> {
    if let Some(property) = definition.get("properties").and_then(|all| all.get(part)) {
        return Some(property);
    }
    let patterns = definition
        .get("patternProperties")
        .and_then(Value::as_object);
    for (pattern, property) in patterns.into_iter().flatten() {
        let matches = PythonRegex::search(pattern).and_then(|pattern| pattern.is_match(part));
        if matches == Ok(true) {
            return Some(property);
        }
    }
    if let Some(others) = definition
        .get("additionalProperties")
        .filter(|others| others.is_object())
    {
        return Some(others);
    }
    let index: usize = part.parse().ok()?;
    match definition.get("items") {
        Some(Value::Array(items)) if index < items.len() => items.get(index),
        Some(one @ Value::Object(_)) => Some(one),
        _ => definition
            .get("additionalItems")
            .filter(|others| others.is_object()),
    }
}
