//! What a definition of a parameter may say.
//!
//! The attributes are those of JSON Schema draft 4, with StackStorm's `secret`, `immutable` and
//! `position`, and with `required` as a flag of the property itself. Anything else is refused when
//! the action is registered, so that a misspelt `defualt` is found before it matters.

use serde_json::Value;

use super::Map;
use crate::expressions::{Pattern, PatternOptions, repr};

/// Schemas within schemas.
const DEEPEST_SCHEMA: usize = 32;

/// The types a value may have.
const TYPES: [&str; 7] = [
    "array", "boolean", "integer", "null", "number", "object", "string",
];

/// Calls `problem` for everything that is wrong with a definition: where, and what.
pub(crate) fn check(at: &str, definition: &Value, problem: &mut dyn FnMut(String)) {
    check_schema(at, definition, 0, problem);
}

fn check_schema(at: &str, schema: &Value, depth: usize, problem: &mut dyn FnMut(String)) {
    let Value::Object(attributes) = schema else {
        problem(not_of_type(at, schema, "object"));
        return;
    };
    if depth > DEEPEST_SCHEMA {
        problem(format!("{at}: nested deeper than {DEEPEST_SCHEMA} levels"));
        return;
    }
    for (name, value) in attributes {
        let at = format!("{at}.{name}");
        match name.as_str() {
            "default" => {}
            "$schema" | "description" | "format" | "id" | "title" => {
                require(value.is_string(), &at, value, "string", problem);
            }
            "pattern" => match value.as_str() {
                Some(source) => {
                    if let Err(error) = Pattern::compile(source, PatternOptions::default()) {
                        problem(format!("{at}: {error}"));
                    }
                }
                None => problem(not_of_type(&at, value, "string")),
            },
            "maximum" | "minimum" => require(value.is_number(), &at, value, "number", problem),
            "multipleOf" | "position" => {
                require(value.is_number(), &at, value, "number", problem);
                let number = value.as_f64().unwrap_or_default();
                if number < 0.0 || (number == 0.0 && name == "multipleOf" && value.is_number()) {
                    problem(format!("{at}: {} is too small", repr(value)));
                }
            }
            "exclusiveMaximum" | "exclusiveMinimum" | "immutable" | "required" | "secret"
            | "uniqueItems" => require(value.is_boolean(), &at, value, "boolean", problem),
            "maxItems" | "maxLength" | "maxProperties" | "minItems" | "minLength"
            | "minProperties" => {
                require(value.is_u64(), &at, value, "non-negative integer", problem);
            }
            "additionalItems" | "additionalProperties" => {
                if !value.is_boolean() {
                    check_schema(&at, value, depth + 1, problem);
                }
            }
            "not" => check_schema(&at, value, depth + 1, problem),
            "items" => match value {
                Value::Array(_) => check_schemas(&at, value, depth, problem),
                value => check_schema(&at, value, depth + 1, problem),
            },
            "allOf" | "anyOf" | "oneOf" => check_schemas(&at, value, depth, problem),
            "definitions" | "patternProperties" | "properties" => {
                check_members(&at, value, problem, |at, value, problem| {
                    check_schema(at, value, depth + 1, problem);
                });
            }
            "dependencies" => check_members(&at, value, problem, |at, value, problem| match value
                .as_array()
            {
                Some(names) if !names.is_empty() && names.iter().all(Value::is_string) => {}
                Some(_) => problem(not_of_type(at, value, "array of strings")),
                None => check_schema(at, value, depth + 1, problem),
            }),
            "enum" => {
                let sound = value.as_array().is_some_and(|values| !values.is_empty());
                require(sound, &at, value, "array of values", problem);
            }
            "type" => check_type(&at, value, problem),
            unknown => problem(format!(
                "{}: Additional properties are not allowed ('{unknown}' was unexpected)",
                at.trim_end_matches(unknown).trim_end_matches('.')
            )),
        }
    }
    for (bound, exclusive) in [
        ("maximum", "exclusiveMaximum"),
        ("minimum", "exclusiveMinimum"),
    ] {
        if attributes.contains_key(exclusive) && !attributes.contains_key(bound) {
            problem(format!("{at}: '{bound}' is a dependency of '{exclusive}'"));
        }
    }
}

fn check_members(
    at: &str,
    value: &Value,
    problem: &mut dyn FnMut(String),
    check: impl Fn(&str, &Value, &mut dyn FnMut(String)),
) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                check(&format!("{at}.{name}"), member, problem);
            }
        }
        value => problem(not_of_type(at, value, "object")),
    }
}

fn check_schemas(at: &str, value: &Value, depth: usize, problem: &mut dyn FnMut(String)) {
    match value.as_array() {
        Some(schemas) if !schemas.is_empty() => {
            for (index, schema) in schemas.iter().enumerate() {
                check_schema(&format!("{at}[{index}]"), schema, depth + 1, problem);
            }
        }
        Some(_) | None => problem(not_of_type(at, value, "array of schemas")),
    }
}

fn check_type(at: &str, value: &Value, problem: &mut dyn FnMut(String)) {
    let alone = [value.clone()];
    let types = match value {
        Value::Array(types) if !types.is_empty() => types.as_slice(),
        _ => &alone,
    };
    for given in types {
        if !given.as_str().is_some_and(|name| TYPES.contains(&name)) {
            problem(format!(
                "{at}: {} is not one of {}",
                repr(given),
                repr(&Value::from(TYPES.as_slice()))
            ));
        }
    }
}

fn require(sound: bool, at: &str, value: &Value, kind: &str, problem: &mut dyn FnMut(String)) {
    if !sound {
        problem(not_of_type(at, value, kind));
    }
}

fn not_of_type(at: &str, value: &Value, kind: &str) -> String {
    format!("{at}: {} is not of type '{kind}'", repr(value))
}

/// The definition as a schema that a draft-4 validator reads the same way.
///
/// `required` moves from each property to the object that has it, and a property whose default is
/// null, or that is optional and has none, takes null as well.
pub(crate) fn as_draft4(properties: &Map) -> Map {
    let mut object = Map::new();
    let mut required = vec![];
    let mut converted = Map::new();
    for (name, definition) in properties {
        let is_required = flag(definition, "required");
        if is_required {
            required.push(Value::from(name.as_str()));
        }
        let mut schema = match definition {
            Value::Object(attributes) if attributes.is_empty() => any_type(),
            definition => subschema(definition),
        };
        let default_is_null = definition.get("default").is_none_or(Value::is_null);
        if default_is_null && (!is_required || definition.get("default").is_some()) {
            allow_null(&mut schema);
        }
        converted.insert(name.clone(), schema);
    }
    object.insert("type".into(), "object".into());
    object.insert("properties".into(), Value::Object(converted));
    if !required.is_empty() {
        object.insert("required".into(), Value::Array(required));
    }
    object
}

/// A flag of a definition; absent is false.
pub(crate) fn flag(definition: &Value, name: &str) -> bool {
    definition
        .get(name)
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

fn subschema(definition: &Value) -> Value {
    let Value::Object(attributes) = definition else {
        return definition.clone();
    };
    let mut schema = Map::new();
    for (name, value) in attributes {
        match name.as_str() {
            "$schema" | "default" | "description" | "id" | "immutable" | "position"
            | "required" | "secret" | "title" => {}
            "properties" => {
                if let Value::Object(properties) = value {
                    let nested = as_draft4(properties);
                    for key in ["properties", "required"] {
                        if let Some(value) = nested.get(key) {
                            schema.insert(key.into(), value.clone());
                        }
                    }
                }
            }
            "patternProperties" | "definitions" => {
                if let Value::Object(members) = value {
                    let members = members
                        .iter()
                        .map(|(name, member)| (name.clone(), subschema(member)))
                        .collect();
                    schema.insert(name.clone(), Value::Object(members));
                }
            }
            "dependencies" => {
                if let Value::Object(members) = value {
                    let members = members
                        .iter()
                        .map(|(name, member)| {
                            let member = match member {
                                Value::Object(_) => subschema(member),
                                _ => member.clone(),
                            };
                            (name.clone(), member)
                        })
                        .collect();
                    schema.insert(name.clone(), Value::Object(members));
                }
            }
            "additionalItems"
            | "additionalProperties"
            | "not"
            | "items"
            | "allOf"
            | "anyOf"
            | "oneOf" => {
                let value = match value {
                    Value::Array(schemas) => Value::Array(schemas.iter().map(subschema).collect()),
                    value => subschema(value),
                };
                schema.insert(name.clone(), value);
            }
            _ => {
                schema.insert(name.clone(), value.clone());
            }
        }
    }
    Value::Object(schema)
}

/// The types a definition without any attribute takes: all but null.
fn any_type() -> Value {
    let alternatives = ["array", "boolean", "integer", "number", "object", "string"]
        .map(|name| serde_json::json!({ "type": name }));
    serde_json::json!({ "anyOf": alternatives })
}

fn allow_null(schema: &mut Value) {
    let Value::Object(attributes) = schema else {
        return;
    };
    if let Some(Value::Array(values)) = attributes.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    for name in ["anyOf", "oneOf"] {
        if let Some(Value::Array(alternatives)) = attributes.get_mut(name) {
            let null = serde_json::json!({ "type": "null" });
            if !alternatives.contains(&null) {
                alternatives.push(null);
            }
            return;
        }
    }
    // A parameter without a type is text.
    match attributes.get_mut("type") {
        Some(Value::Array(types)) => {
            if !types.contains(&Value::from("null")) {
                types.push("null".into());
            }
        }
        Some(Value::String(name)) if name == "null" => {}
        Some(single) => *single = Value::Array(vec![single.clone(), "null".into()]),
        None => {
            attributes.insert("type".into(), serde_json::json!(["string", "null"]));
        }
    }
}
