//! Whether given parameters fit: everything that is wrong at once, in the words of Python's
//! jsonschema, which users and tests of StackStorm know.
//!
//! The checks are those of a draft-4 validator; only the sentences are ours, and secrets are masked
//! in them.

use std::fmt;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::Value;

use super::Map;
use super::draft4::as_draft4;
use super::schema::Schema;
use crate::documents::{MASK, secrets};
use crate::expressions::repr;

/// Steps of back-tracking for a `pattern`.
const MOST_BACKTRACKS: usize = 100_000;
/// Bytes a compiled `pattern` may take.
const LARGEST_PATTERN: usize = 2 * 1024 * 1024;

/// One thing that is wrong with given parameters. The text is for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Problem {
    /// The parameter, if it is about one.
    pub parameter: Option<String>,
    /// What is wrong.
    pub text: String,
}

/// All that is wrong with given parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("; ")?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A compiled schema, and the document it was compiled from.
#[derive(Debug)]
pub(crate) struct Validation {
    document: Value,
    validator: Validator,
}

impl Validation {
    /// From merged definitions; the error is for the author of the pack.
    pub(crate) fn new(definitions: &Map) -> Result<Validation, String> {
        let mut document = as_draft4(definitions);
        document.insert("additionalProperties".into(), Value::Bool(false));
        let document = Value::Object(document);
        let validator = jsonschema::options()
            .with_draft(Draft::Draft4)
            .should_validate_formats(false)
            .with_pattern_options(
                PatternOptions::fancy_regex()
                    .backtrack_limit(MOST_BACKTRACKS)
                    .size_limit(LARGEST_PATTERN)
                    .dfa_size_limit(LARGEST_PATTERN),
            )
            .build(&document)
            .map_err(|error| format!("parameters{}: {error}", error.instance_path()))?;
        Ok(Validation {
            document,
            validator,
        })
    }
}

impl Schema {
    /// The given parameters with defaults where nothing was given, or all that is wrong with them:
    /// unknown names, missing ones, wrong types, and values for what is immutable.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn validate(&self, given: &Map) -> Result<Map, Problems> {
        let complete = with_defaults(&self.merged, given);
        let shown = Value::Object(secrets::masked(&complete, &self.merged));
        let instance = Value::Object(complete);
        let mut problems: Vec<Problem> = self
            .validation
            .validator
            .iter_errors(&instance)
            .map(|error| self.problem(&error, &shown))
            .collect();
        let immutable: Vec<&String> = given
            .keys()
            .filter(|name| self.is_immutable(name))
            .collect();
        if !immutable.is_empty() {
            let names = Value::from(
                immutable
                    .iter()
                    .map(|name| name.as_str())
                    .collect::<Vec<_>>(),
            );
            problems.push(Problem {
                parameter: Some(immutable[0].clone()),
                text: format!(
                    "Override of immutable parameter(s) {} is unsupported.",
                    repr(&names)
                ),
            });
        }
        match instance {
            Value::Object(complete) if problems.is_empty() => Ok(complete),
            _ => Err(Problems(problems)),
        }
    }

    fn problem(&self, error: &ValidationError<'_>, shown: &Value) -> Problem {
        let path = error.instance_path().to_string();
        let limit = self
            .validation
            .document
            .pointer(&error.schema_path().to_string());
        let value = shown
            .pointer(&path)
            .map_or_else(|| repr(&Value::from(MASK)), repr);
        let parameter = match error.kind() {
            ValidationErrorKind::Required { property } if path.is_empty() => {
                property.as_str().map(str::to_owned)
            }
            ValidationErrorKind::AdditionalProperties { unexpected } if path.is_empty() => {
                unexpected.first().cloned()
            }
            _ => path
                .split('/')
                .nth(1)
                .map(|name| name.replace("~1", "/").replace("~0", "~")),
        };
        Problem {
            parameter,
            text: sentence(error, &value, limit),
        }
    }
}

/// What is wrong, as Python's jsonschema says it. `limit` is what the schema asks for.
fn sentence(error: &ValidationError<'_>, value: &str, limit: Option<&Value>) -> String {
    let asked = limit.map(repr).unwrap_or_default();
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            format!("{} is a required property", repr(property))
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => format!(
            "Additional properties are not allowed ({} {} unexpected)",
            unexpected
                .iter()
                .map(|name| repr(&Value::from(name.as_str())))
                .collect::<Vec<_>>()
                .join(", "),
            if unexpected.len() == 1 { "was" } else { "were" }
        ),
        ValidationErrorKind::AdditionalItems { .. } => {
            format!("Additional items are not allowed in {value}")
        }
        ValidationErrorKind::Type { .. } => {
            let types = match limit {
                Some(Value::Array(types)) => types.iter().map(repr).collect::<Vec<_>>().join(", "),
                Some(_) | None => asked,
            };
            format!("{value} is not of type {types}")
        }
        ValidationErrorKind::Enum { .. } => format!("{value} is not one of {asked}"),
        ValidationErrorKind::Minimum { limit } => {
            format!("{value} is less than the minimum of {}", repr(limit))
        }
        ValidationErrorKind::ExclusiveMinimum { limit } => format!(
            "{value} is less than or equal to the minimum of {}",
            repr(limit)
        ),
        ValidationErrorKind::Maximum { limit } => {
            format!("{value} is greater than the maximum of {}", repr(limit))
        }
        ValidationErrorKind::ExclusiveMaximum { limit } => format!(
            "{value} is greater than or equal to the maximum of {}",
            repr(limit)
        ),
        ValidationErrorKind::MinLength { limit } | ValidationErrorKind::MinItems { limit } => {
            if *limit == 1 {
                format!("{value} should be non-empty")
            } else {
                format!("{value} is too short")
            }
        }
        ValidationErrorKind::MaxLength { .. } => format!("{value} is too long"),
        ValidationErrorKind::MaxItems { limit } => {
            if *limit == 0 {
                format!("{value} is expected to be empty")
            } else {
                format!("{value} is too long")
            }
        }
        ValidationErrorKind::MinProperties { limit } => {
            if *limit == 1 {
                format!("{value} should be non-empty")
            } else {
                format!("{value} does not have enough properties")
            }
        }
        ValidationErrorKind::MaxProperties { .. } => {
            format!("{value} has too many properties")
        }
        ValidationErrorKind::MultipleOf { .. } => {
            format!("{value} is not a multiple of {asked}")
        }
        ValidationErrorKind::Pattern { pattern } => {
            format!(
                "{value} does not match {}",
                repr(&Value::from(pattern.as_str()))
            )
        }
        ValidationErrorKind::UniqueItems => format!("{value} has non-unique elements"),
        ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
            format!("{value} is not valid under any of the given schemas")
        }
        ValidationErrorKind::OneOfMultipleValid { .. } => {
            format!("{value} is valid under more than one of the given schemas")
        }
        ValidationErrorKind::Not { .. } => format!("{value} should not be valid under {asked}"),
        _ => error.masked_with(value).to_string(),
    }
}

/// The values with defaults wherever nothing, or null, was given; also within objects and lists.
pub(crate) fn with_defaults(definitions: &Map, given: &Map) -> Map {
    let mut complete = given.clone();
    for (name, definition) in definitions {
        if complete.get(name).is_none_or(Value::is_null)
            && let Some(default) = definition.get("default")
        {
            complete.insert(name.clone(), default.clone());
        }
        if let Some(value) = complete.get_mut(name) {
            fill_in(definition, value);
        }
    }
    complete
}

fn fill_in(definition: &Value, value: &mut Value) {
    match value {
        Value::Object(entries) => {
            if let Some(Value::Object(properties)) = definition.get("properties") {
                *entries = with_defaults(properties, entries);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let definition = match definition.get("items") {
                    Some(Value::Array(definitions)) => definitions.get(index),
                    single => single,
                };
                let Some(definition) = definition else {
                    continue;
                };
                if item.is_null()
                    && let Some(default) = definition.get("default")
                {
                    *item = default.clone();
                }
                fill_in(definition, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
