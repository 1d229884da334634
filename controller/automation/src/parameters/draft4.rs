//! Definitions of parameters as a schema that a validator of JSON Schema draft 4 reads.

use serde_json::Value;

use super::Map;
use super::definition::flag;

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

fn subschema(definition: &Value) -> Value {
    let attributes = match definition {
        Value::Object(attributes) => attributes,
        // `name:` with nothing after it.
        Value::Null => return any_type(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return definition.clone();
        }
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
