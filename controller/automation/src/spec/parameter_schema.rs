//! Definitions of parameters: of actions, runners, policies, and of a pack's configuration.
//!
//! StackStorm's dialect is JSON Schema draft 4 with three differences: `required` is a boolean in
//! the property itself, one `type` is given and not a list, and there are the words `secret`,
//! `position` and `immutable`. [`to_json_schema`] turns definitions into a draft 4 schema.
//!
//! A value that is a template has no type before it is rendered, so faults of such values are left
//! to the check after rendering.

use std::fmt::Write as _;

use jsonschema::error::ValidationError;
use serde_json::{Map, Value, json};

use super::fields::type_name;
use super::problem::Report;
use super::yaml::join;

const TYPES: &[&str] = &[
    "array", "boolean", "integer", "null", "number", "object", "string",
];

/// How a word of a definition is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Anything,
    Text,
    Flag,
    Number,
    /// A count from zero.
    Count,
    /// A definition.
    Definition,
    /// A definition or a list of them, one for each position.
    Items,
    FlagOrDefinition,
    /// Definitions by name.
    Definitions,
    ListOfDefinitions,
    Type,
    Choices,
    Mapping,
}

const WORDS: &[(&str, Form)] = &[
    ("id", Form::Text),
    ("$schema", Form::Text),
    ("title", Form::Text),
    ("description", Form::Text),
    ("default", Form::Anything),
    ("multipleOf", Form::Number),
    ("maximum", Form::Number),
    ("exclusiveMaximum", Form::Flag),
    ("minimum", Form::Number),
    ("exclusiveMinimum", Form::Flag),
    ("maxLength", Form::Count),
    ("minLength", Form::Count),
    ("pattern", Form::Text),
    ("additionalItems", Form::FlagOrDefinition),
    ("items", Form::Items),
    ("maxItems", Form::Count),
    ("minItems", Form::Count),
    ("uniqueItems", Form::Flag),
    ("maxProperties", Form::Count),
    ("minProperties", Form::Count),
    ("required", Form::Flag),
    ("secret", Form::Flag),
    ("additionalProperties", Form::FlagOrDefinition),
    ("definitions", Form::Definitions),
    ("properties", Form::Definitions),
    ("patternProperties", Form::Definitions),
    ("dependencies", Form::Mapping),
    ("enum", Form::Choices),
    ("type", Form::Type),
    ("position", Form::Count),
    ("immutable", Form::Flag),
    ("allOf", Form::ListOfDefinitions),
    ("anyOf", Form::ListOfDefinitions),
    ("oneOf", Form::ListOfDefinitions),
    ("not", Form::Definition),
];

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
        check_definition(definition, Level::Parameter, &path, report);
    }
}

/// StackStorm checks the definition of a parameter more strictly than definitions inside it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Parameter,
    /// Unknown keys and lists of types pass.
    Inside,
}

fn check_definition(definition: &Value, level: Level, path: &str, report: &mut Report<'_>) {
    let words = match definition {
        Value::Object(words) => words,
        // `name:` with nothing after it takes any value.
        Value::Null => return,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            report.error(
                path,
                format!("the definition is {}, not a mapping", type_name(definition)),
                "write `type:` and the like under the name",
            );
            return;
        }
    };
    for (word, value) in words {
        let path = join(path, word);
        if let Some((_, form)) = WORDS.iter().find(|(known, _)| known == word) {
            check_form(*form, word, value, level, &path, report);
            continue;
        }
        let known: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
        let message = format!("unknown key {word:?} in a definition");
        let advice = format!("remove it, or correct it to one of: {}", known.join(", "));
        match level {
            Level::Parameter => report.error(&path, message, advice),
            Level::Inside => report.warn(&path, message, advice),
        }
    }
    for (word, needed) in [
        ("exclusiveMaximum", "maximum"),
        ("exclusiveMinimum", "minimum"),
    ] {
        if words.contains_key(word) && !words.contains_key(needed) {
            report.error(
                &join(path, word),
                format!("{word} says nothing without {needed}"),
                format!("add {needed}"),
            );
        }
    }
}

fn check_form(
    form: Form,
    word: &str,
    value: &Value,
    level: Level,
    path: &str,
    report: &mut Report<'_>,
) {
    let expected = match (form, value) {
        (Form::Anything, _)
        | (Form::Text, Value::String(_))
        | (Form::Flag | Form::FlagOrDefinition, Value::Bool(_))
        | (Form::Number, Value::Number(_))
        | (Form::Mapping, Value::Object(_)) => {
            if word == "pattern"
                && let Value::String(pattern) = value
                && let Err(message) = crate::rules::PythonRegex::search(pattern)
            {
                report.error(path, message, "correct the expression");
            }
            return;
        }
        (Form::Count, Value::Number(number)) if number.as_u64().is_some() => return,
        (Form::Definition | Form::Items | Form::FlagOrDefinition, Value::Object(_)) => {
            check_definition(value, Level::Inside, path, report);
            return;
        }
        (Form::Items | Form::ListOfDefinitions, Value::Array(items)) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                check_definition(item, Level::Inside, &format!("{path}[{index}]"), report);
            }
            return;
        }
        (Form::Definitions, Value::Object(definitions)) => {
            for (name, definition) in definitions {
                check_definition(definition, Level::Inside, &join(path, name), report);
            }
            return;
        }
        (Form::Type, Value::String(name)) if TYPES.contains(&name.as_str()) => return,
        (Form::Type, Value::Array(names))
            if level == Level::Inside
                && !names.is_empty()
                && names
                    .iter()
                    .all(|name| name.as_str().is_some_and(|name| TYPES.contains(&name))) =>
        {
            return;
        }
        (Form::Choices, Value::Array(choices)) if !choices.is_empty() => {
            for (index, choice) in choices.iter().enumerate() {
                if choices[..index].contains(choice) {
                    report.error(
                        &format!("{path}[{index}]"),
                        format!("the choice {choice} is listed twice"),
                        "remove one",
                    );
                }
            }
            return;
        }
        (Form::Text, _) => "a string",
        (Form::Flag, _) => "true or false",
        (Form::Number, _) => "a number",
        (Form::Count, _) => "an integer from 0",
        (Form::Definition, _) => "a definition",
        (Form::Items, _) => "a definition or a list of definitions",
        (Form::FlagOrDefinition, _) => "true, false or a definition",
        (Form::Definitions, _) => "a mapping of definitions",
        (Form::ListOfDefinitions, _) => "a list of definitions",
        (Form::Choices, _) => "a list with at least one choice",
        (Form::Mapping, _) => "a mapping",
        (Form::Type, _) => {
            let found = match value {
                Value::String(name) => format!("{name:?}"),
                other => type_name(other).to_owned(),
            };
            report.error(
                path,
                format!("the type is {found}"),
                format!("write one of: {}", TYPES.join(", ")),
            );
            return;
        }
    };
    report.error(
        path,
        format!("{word} is {}, not {expected}", type_name(value)),
        "change its value",
    );
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
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    set_properties(&mut schema, definitions);
    schema.insert("additionalProperties".to_owned(), json!(allow_others));
    Value::Object(schema)
}

fn set_properties(schema: &mut Map<String, Value>, definitions: &Map<String, Value>) {
    let is_required = |definition: &Value| definition.get("required") == Some(&Value::Bool(true));
    let mut required: Vec<Value> = definitions
        .iter()
        .filter(|(_, definition)| is_required(definition))
        .map(|(name, _)| Value::from(name.as_str()))
        .collect();
    if let Some(Value::Array(already)) = schema.remove("required") {
        required.extend(already);
    }
    required.dedup();
    if !required.is_empty() {
        schema.insert("required".to_owned(), Value::Array(required));
    }
    let properties = definitions
        .iter()
        .map(|(name, definition)| {
            let mut converted = convert(definition);
            if !is_required(definition) {
                allow_null(&mut converted);
            }
            (name.clone(), converted)
        })
        .collect();
    schema.insert("properties".to_owned(), Value::Object(properties));
}

/// A property that may be left out may be null too.
fn allow_null(schema: &mut Value) {
    let Some(words) = schema.as_object_mut() else {
        return;
    };
    match words.get_mut("type") {
        Some(Value::Array(types)) if !types.iter().any(|name| name == "null") => {
            types.push(json!("null"));
        }
        Some(one @ Value::String(_)) if *one != "null" => *one = json!([one.take(), "null"]),
        _ => {}
    }
    for word in ["anyOf", "oneOf"] {
        if let Some(Value::Array(alternatives)) = words.get_mut(word) {
            alternatives.push(json!({"type": "null"}));
        }
    }
    if let Some(Value::Array(choices)) = words.get_mut("enum")
        && !choices.contains(&Value::Null)
    {
        choices.push(Value::Null);
    }
}

fn convert(definition: &Value) -> Value {
    let Value::Object(words) = definition else {
        return json!({});
    };
    let mut schema = Map::new();
    for (word, value) in words {
        match word.as_str() {
            "secret" | "position" | "immutable" | "properties" | "id" | "$schema" => {}
            // The boolean belongs to the object around.
            "required" if !value.is_array() => {}
            "items" | "additionalItems" | "additionalProperties" | "not" => {
                schema.insert(word.clone(), convert_each(value));
            }
            "patternProperties" | "definitions" => {
                let converted = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, definition)| (name.clone(), convert(definition)))
                    .collect();
                schema.insert(word.clone(), Value::Object(converted));
            }
            "allOf" | "anyOf" | "oneOf" => {
                schema.insert(word.clone(), convert_each(value));
            }
            _ => {
                schema.insert(word.clone(), value.clone());
            }
        }
    }
    if let Some(Value::Object(properties)) = words.get("properties") {
        set_properties(&mut schema, properties);
    }
    Value::Object(schema)
}

fn convert_each(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(convert).collect(),
        Value::Object(_) => convert(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Values with the defaults of definitions at the top where no value, or null, is given.
pub(super) fn with_defaults(
    definitions: &Map<String, Value>,
    given: &Map<String, Value>,
) -> Map<String, Value> {
    let mut values = given.clone();
    for (name, definition) in definitions {
        if let Some(default) = definition.get("default")
            && values.get(name).is_none_or(Value::is_null)
        {
            values.insert(name.clone(), default.clone());
        }
    }
    values
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
        if current.get("secret") == Some(&Value::Bool(true)) {
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
        let matches =
            crate::rules::PythonRegex::search(pattern).and_then(|pattern| pattern.is_match(part));
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
