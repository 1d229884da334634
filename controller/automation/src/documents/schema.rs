//! Validation in StackStorm's dialect of JSON Schema: draft 4, but a property says itself that it is
//! required (`required: true`, as in draft 3), and an optional property may be null.
//!
//! The dialect is translated to plain draft 4, then a validator of that draft does the work. Schemas
//! come from packs: formats are checked, references to other documents are not followed.

use super::scrub::MASK;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value, json};
use thiserror::Error;

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, as `a.b[0]`; empty for the document itself.
    pub path: String,
    /// What.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "{}: {}", self.path, self.message)
        }
    }
}

/// Why a document is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Invalid {
    /// The schema itself cannot be used.
    #[error("the schema is not valid: {0}")]
    Schema(String),
    /// The document violates the schema; never empty.
    #[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "))]
    Document(Vec<Problem>),
}

/// Whether a document obeys a schema of the dialect; all problems at once.
pub fn validate(schema: &Value, document: &Value) -> Result<(), Invalid> {
    Compiled::new(schema)?.validate(document)
}

/// A schema that is made ready once for many documents.
#[derive(Debug)]
pub struct Compiled(jsonschema::Validator);

impl Compiled {
    pub fn new(schema: &Value) -> Result<Compiled, Invalid> {
        jsonschema::draft4::options()
            .should_validate_formats(true)
            .build(&translated(schema))
            .map(Compiled)
            .map_err(|error| Invalid::Schema(error.to_string()))
    }

    pub fn validate(&self, document: &Value) -> Result<(), Invalid> {
        self.check(document, |error| {
            listed(error, error.instance()).unwrap_or_else(|| error.to_string())
        })
    }

    fn check(
        &self,
        document: &Value,
        words: impl Fn(&jsonschema::ValidationError<'_>) -> String,
    ) -> Result<(), Invalid> {
        let problems: Vec<Problem> = self
            .0
            .iter_errors(document)
            .map(|error| Problem {
                path: readable(error.instance_path().as_str()),
                message: words(&error),
            })
            .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Invalid::Document(problems))
        }
    }
}

/// The same for a document with secrets: the problems do not show its values.
pub fn validate_masked(schema: &Value, document: &Value) -> Result<(), Invalid> {
    Compiled::new(schema)?.check(document, |error| {
        listed(error, MASK).unwrap_or_else(|| error.masked_with(MASK).to_string())
    })
}

/// All that a value could be, where the library names only the first ones.
fn listed(
    error: &jsonschema::ValidationError<'_>,
    value: impl std::fmt::Display,
) -> Option<String> {
    let ValidationErrorKind::Enum { options } = error.kind() else {
        return None;
    };
    // Null is what the translation adds.
    let options = options.as_array()?.iter().filter(|one| !one.is_null());
    let options: Vec<String> = options.map(Value::to_string).collect();
    Some(format!("{value} is not one of {}", options.join(", ")))
}

/// `/a/b/0` as `a.b[0]`.
fn readable(pointer: &str) -> String {
    let mut path = String::new();
    for segment in pointer.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        if segment.bytes().all(|byte| byte.is_ascii_digit()) {
            path.push_str(&format!("[{segment}]"));
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&segment);
        }
    }
    path
}

/// The same schema in plain draft 4.
pub fn translated(schema: &Value) -> Value {
    match schema {
        Value::Object(object) => Value::Object(translated_object(object)),
        Value::Array(items) => items.iter().map(translated).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

fn translated_object(schema: &Map<String, Value>) -> Map<String, Value> {
    let mut plain = Map::new();
    let mut required: Vec<Value> = match schema.get("required") {
        Some(Value::Array(names)) => names.clone(),
        _ => Vec::new(),
    };
    for (keyword, value) in schema {
        match keyword.as_str() {
            "required" => {}
            "properties" | "patternProperties" => {
                let Value::Object(properties) = value else {
                    plain.insert(keyword.clone(), value.clone());
                    continue;
                };
                let mut inner = Map::new();
                for (name, property) in properties {
                    let must = property.get("required") == Some(&Value::Bool(true));
                    let named = keyword == "properties";
                    if must && named {
                        required.push(Value::from(name.as_str()));
                    }
                    let property = translated(property);
                    let property = if must || !named {
                        property
                    } else {
                        nullable(property)
                    };
                    inner.insert(name.clone(), property);
                }
                plain.insert(keyword.clone(), Value::Object(inner));
            }
            // These hold documents, not schemas.
            "enum" | "default" | "example" => {
                plain.insert(keyword.clone(), value.clone());
            }
            _ => {
                plain.insert(keyword.clone(), translated(value));
            }
        }
    }
    if !required.is_empty() {
        plain.insert("required".into(), Value::Array(required));
    }
    plain
}

/// Accepts null as well. What restricts only values of one type (a pattern, a minimum) lets null
/// through by itself.
fn nullable(property: Value) -> Value {
    let Value::Object(mut object) = property else {
        return property;
    };
    if let Some(kind) = object.get_mut("type") {
        match kind {
            Value::String(one) if one != "null" => *kind = json!([one, "null"]),
            Value::Array(kinds) if !kinds.contains(&json!("null")) => kinds.push(json!("null")),
            _ => {}
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(Value::Array(choices)) = object.get_mut(keyword)
            && !choices.contains(&json!({"type": "null"}))
        {
            choices.push(json!({"type": "null"}));
        }
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "url": {"type": "string", "required": true},
                "port": {"type": "integer", "required": false, "minimum": 1},
                "mode": {"enum": ["a", "b"]},
                "nested": {"type": "object", "properties": {"deep": {"type": "boolean", "required": true}}},
                "list": {"type": "array", "items": {"type": "integer"}},
            },
            "additionalProperties": false,
        })
    }

    #[track_caller]
    fn paths(document: Value) -> Vec<String> {
        match validate(&schema(), &document) {
            Ok(()) => Vec::new(),
            Err(Invalid::Document(problems)) => {
                problems.into_iter().map(|problem| problem.path).collect()
            }
            Err(Invalid::Schema(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn a_property_says_itself_that_it_is_required() {
        assert!(paths(json!({"url": "x"})).is_empty());
        let error = validate(&schema(), &json!({})).expect_err("no url");
        assert_eq!(error.to_string(), "\"url\" is a required property");
        assert_eq!(paths(json!({"url": null})), ["url"]);
    }

    #[test]
    fn an_optional_property_may_be_null() {
        assert!(paths(json!({"url": "x", "port": null, "mode": null, "nested": null})).is_empty());
    }

    #[test]
    fn every_choice_is_told() {
        let schema = json!({"properties": {"unit": {"enum": ["w", "d", "h", "m", "s"]}}});
        let document = json!({"unit": "y"});
        let told = |result: Result<(), Invalid>| result.expect_err("no unit").to_string();
        let all = "is not one of \"w\", \"d\", \"h\", \"m\", \"s\"";
        let plain = told(validate(&schema, &document));
        assert!(plain.contains(&format!("\"y\" {all}")), "{plain}");
        let masked = told(validate_masked(&schema, &document));
        assert!(masked.contains(&format!("{MASK} {all}")), "{masked}");
    }

    #[test]
    fn all_problems_are_told_with_their_place() {
        let mut found =
            paths(json!({"url": 5, "port": 0, "nested": {}, "list": [1, "two"], "more": 1}));
        found.sort();
        assert_eq!(found, ["", "list[1]", "nested", "port", "url"]);
    }

    #[test]
    fn a_schema_that_is_none_is_refused() {
        assert!(matches!(
            validate(&json!({"type": "colour"}), &json!(1)),
            Err(Invalid::Schema(_))
        ));
    }

    #[test]
    fn a_place_reads_like_a_path() {
        assert_eq!(readable("/a/0/b~1c"), "a[0].b/c");
        assert_eq!(readable(""), "");
    }
}
