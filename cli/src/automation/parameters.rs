//! What the words `name=value` of a command line mean to an action, an inquiry or a configuration.
//! Pure: files that a word names are read by the caller.
//!
//! ```text
//!   schema of runner + action ─► Signature ─┐
//!   words of the command line ──────────────┴─► values with the types of the schema
//! ```
//! All faults are told at once. A value with a template (`{{ … }}`) stays text whatever the type:
//! the cluster renders it, and casts what comes of it.

use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
    Number,
    Flag,
    List,
    Object,
    /// No type, or several: JSON if it reads as JSON, else text.
    Any,
}

impl Kind {
    fn of(schema: &Value) -> Kind {
        let names: Vec<&str> = match &schema["type"] {
            Value::String(name) => vec![name],
            Value::Array(names) => names
                .iter()
                .filter_map(Value::as_str)
                .filter(|name| *name != "null")
                .collect(),
            _ => Vec::new(),
        };
        match names.as_slice() {
            ["string"] => Kind::Text,
            ["integer"] => Kind::Whole,
            ["number"] => Kind::Number,
            ["boolean"] => Kind::Flag,
            ["array"] => Kind::List,
            ["object"] => Kind::Object,
            _ => Kind::Any,
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Whole => "a whole number",
            Kind::Number => "a number",
            Kind::Flag => "true or false",
            Kind::List => "a list: a,b,c or a JSON array",
            Kind::Object => "an object: name:value,name:value or a JSON object",
            Kind::Any => "any JSON value",
        }
    }
}

#[derive(Debug, Clone)]
struct Parameter {
    kind: Kind,
    items: Kind,
    position: Option<i64>,
    required: bool,
    immutable: bool,
}

/// The parameters that something takes.
#[derive(Debug, Clone, Default)]
pub struct Signature {
    parameters: BTreeMap<String, Parameter>,
}

impl Signature {
    /// Of an action: its runner's parameters, with what the action says about them on top.
    pub fn of_action(action: &Value, runner: &Value) -> Signature {
        let mut merged: Map<String, Value> = runner["runner_parameters"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        for (name, schema) in action["parameters"].as_object().into_iter().flatten() {
            let known = merged
                .entry(name)
                .or_insert_with(|| Value::Object(Map::new()));
            match (known.as_object_mut(), schema.as_object()) {
                (Some(known), Some(schema)) => known.extend(schema.clone()),
                _ => *known = schema.clone(),
            }
        }
        Signature::of_properties(&merged)
    }

    /// Of a mapping of names to schemas.
    pub fn of_properties(properties: &Map<String, Value>) -> Signature {
        let parameters = properties
            .iter()
            .map(|(name, schema)| {
                let flag = |key: &str| schema[key].as_bool().unwrap_or(false);
                let parameter = Parameter {
                    kind: Kind::of(schema),
                    items: Kind::of(&schema["items"]),
                    position: schema["position"].as_i64(),
                    required: flag("required") && schema.get("default").is_none(),
                    immutable: flag("immutable"),
                };
                (name.clone(), parameter)
            })
            .collect();
        Signature { parameters }
    }

    /// Reads words of a command line; `file` gives the text of a file for values like `@FILE`.
    /// With `whole`, what is required must be there.
    pub fn read(
        &self,
        words: &[String],
        whole: bool,
        file: impl Fn(&str) -> Result<String, String>,
    ) -> Result<Map<String, Value>, Vec<String>> {
        let mut given = Map::new();
        let mut faults = Vec::new();
        let mut places = self.places().into_iter();
        for word in words {
            let (name, text) = match word.split_once('=') {
                Some((name, text)) if is_name(name) => (name.to_string(), text),
                _ => match places.next() {
                    Some(name) => (name, word.as_str()),
                    None => {
                        faults.push(format!("{word:?} is too much: write NAME=VALUE"));
                        continue;
                    }
                },
            };
            let Some(parameter) = self.parameters.get(&name) else {
                faults.push(format!("there is no parameter {name}"));
                continue;
            };
            if parameter.immutable {
                faults.push(format!("{name} cannot be changed"));
                continue;
            }
            let value = from_file(text, &file).and_then(|text| parameter.convert(&text));
            match value {
                Ok(value) if given.contains_key(&name) => {
                    drop(value);
                    faults.push(format!("{name} is given twice"));
                }
                Ok(value) => {
                    given.insert(name, value);
                }
                Err(fault) => faults.push(format!("{name}: {fault}")),
            }
        }
        if whole && faults.is_empty() {
            faults.extend(
                self.parameters
                    .iter()
                    .filter(|(name, parameter)| {
                        parameter.required && !parameter.immutable && !given.contains_key(*name)
                    })
                    .map(|(name, _)| format!("{name} is required")),
            );
        }
        if faults.is_empty() {
            Ok(given)
        } else {
            Err(faults)
        }
    }

    /// Names that words without a name go to, in their order: by position, else the only one that
    /// is required.
    fn places(&self) -> Vec<String> {
        let open = || {
            self.parameters
                .iter()
                .filter(|(_, parameter)| !parameter.immutable)
        };
        let mut placed: Vec<(i64, &String)> = open()
            .filter_map(|(name, parameter)| Some((parameter.position?, name)))
            .collect();
        placed.sort();
        if !placed.is_empty() {
            return placed.into_iter().map(|(_, name)| name.clone()).collect();
        }
        let required: Vec<&String> = open()
            .filter(|(_, parameter)| parameter.required)
            .map(|(name, _)| name)
            .collect();
        match required.as_slice() {
            [only] => vec![(*only).clone()],
            _ => Vec::new(),
        }
    }

    /// The names that may be given, for an error.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self
            .parameters
            .iter()
            .filter(|(_, parameter)| !parameter.immutable)
            .map(|(name, _)| name.as_str())
            .collect();
        names.join(", ")
    }
}

impl Parameter {
    fn convert(&self, text: &str) -> Result<Value, String> {
        convert(self.kind, self.items, text)
    }
}

fn convert(kind: Kind, items: Kind, text: &str) -> Result<Value, String> {
    if kind != Kind::Text && (text.contains("{{") || text.contains("{%")) {
        return Ok(Value::String(text.to_string()));
    }
    let wrong = || format!("{text:?} is not {}", kind.in_words());
    match kind {
        Kind::Text => Ok(Value::String(text.to_string())),
        Kind::Whole => text
            .trim()
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| wrong()),
        Kind::Number => match text.trim().parse::<i64>() {
            Ok(whole) => Ok(Value::from(whole)),
            Err(_) => text
                .trim()
                .parse::<f64>()
                .ok()
                .and_then(Number::from_f64)
                .map(Value::Number)
                .ok_or_else(wrong),
        },
        Kind::Flag => match text.trim().to_lowercase().as_str() {
            "true" | "yes" | "y" | "on" | "1" => Ok(Value::Bool(true)),
            "false" | "no" | "n" | "off" | "0" => Ok(Value::Bool(false)),
            _ => Err(wrong()),
        },
        Kind::List if text.trim_start().starts_with('[') => serde_json::from_str(text)
            .map_err(|error| format!("{text:?} is no JSON array: {error}")),
        Kind::List => text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| match items {
                Kind::Any => Ok(Value::String(item.to_string())),
                kind => convert(kind, Kind::Any, item),
            })
            .collect::<Result<Vec<Value>, String>>()
            .map(Value::Array),
        Kind::Object if text.trim_start().starts_with('{') => serde_json::from_str(text)
            .map_err(|error| format!("{text:?} is no JSON object: {error}")),
        Kind::Object => text
            .split(',')
            .filter(|pair| !pair.trim().is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once([':', '=']).ok_or_else(wrong)?;
                Ok((name.trim().to_string(), any(value.trim())))
            })
            .collect::<Result<Map<String, Value>, String>>()
            .map(Value::Object),
        Kind::Any => Ok(any(text)),
    }
}

/// JSON if it reads as JSON, else text.
fn any(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_string()))
}

/// `name=value` words where nobody says which types they have.
pub fn free(
    words: &[String],
    file: impl Fn(&str) -> Result<String, String>,
) -> Result<Map<String, Value>, Vec<String>> {
    let mut given = Map::new();
    let mut faults = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some((name, text)) if is_name(name) => match from_file(text, &file) {
                Ok(text) => {
                    given.insert(name.to_string(), any(&text));
                }
                Err(fault) => faults.push(format!("{name}: {fault}")),
            },
            _ => faults.push(format!("{word:?} is not NAME=VALUE")),
        }
    }
    if faults.is_empty() {
        Ok(given)
    } else {
        Err(faults)
    }
}

/// `@FILE` is what the file holds, `@@x` the text `@x`.
fn from_file(text: &str, file: impl Fn(&str) -> Result<String, String>) -> Result<String, String> {
    match text.strip_prefix('@') {
        Some(rest) if rest.starts_with('@') => Ok(rest.to_string()),
        Some(name) if !name.is_empty() => file(name),
        _ => Ok(text.to_string()),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn signature() -> Signature {
        let runner = json!({ "runner_parameters": {
            "timeout": { "type": "integer", "default": 60 },
            "cmd": { "type": "string", "required": true },
            "fixed": { "type": "string", "immutable": true, "required": true },
        } });
        let action = json!({ "parameters": {
            "cmd": { "position": 0 },
            "hosts": { "type": "array", "items": { "type": "integer" }, "position": 1 },
            "env": { "type": "object" },
            "dry": { "type": "boolean" },
            "rate": { "type": ["number", "null"] },
            "what": {},
        } });
        Signature::of_action(&action, &runner)
    }

    fn read(words: &[&str]) -> Result<Value, Vec<String>> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        signature()
            .read(&words, true, |name| match name {
                "note.txt" => Ok("from a file".to_string()),
                other => Err(format!("no file {other}")),
            })
            .map(Value::Object)
    }

    #[test]
    fn values_get_the_types_of_the_schema() {
        for (words, expected) in [
            (vec!["cmd=5"], json!({ "cmd": "5" })),
            (vec!["cmd=a=b"], json!({ "cmd": "a=b" })),
            (vec!["date -u"], json!({ "cmd": "date -u" })),
            (
                vec!["date", "1,2"],
                json!({ "cmd": "date", "hosts": [1, 2] }),
            ),
            (vec!["x", "hosts=[3]"], json!({ "cmd": "x", "hosts": [3] })),
            (vec!["x", "timeout=5"], json!({ "cmd": "x", "timeout": 5 })),
            (
                vec!["x", "timeout={{ st2kv.system.t }}"],
                json!({ "cmd": "x", "timeout": "{{ st2kv.system.t }}" }),
            ),
            (vec!["x", "dry=Yes"], json!({ "cmd": "x", "dry": true })),
            (vec!["x", "rate=0.5"], json!({ "cmd": "x", "rate": 0.5 })),
            (vec!["x", "rate=2"], json!({ "cmd": "x", "rate": 2 })),
            (
                vec!["x", "env=A:1,B=two"],
                json!({ "cmd": "x", "env": { "A": 1, "B": "two" } }),
            ),
            (
                vec!["x", r#"env={"A": [1]}"#],
                json!({ "cmd": "x", "env": { "A": [1] } }),
            ),
            (vec!["x", "what=[1]"], json!({ "cmd": "x", "what": [1] })),
            (
                vec!["x", "what=word"],
                json!({ "cmd": "x", "what": "word" }),
            ),
            (vec!["cmd=@note.txt"], json!({ "cmd": "from a file" })),
            (vec!["cmd=@@ada"], json!({ "cmd": "@ada" })),
        ] {
            assert_eq!(read(&words), Ok(expected), "{words:?}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        assert_eq!(
            read(&[
                "cmd=x",
                "timeout=soon",
                "dry=perhaps",
                "colour=red",
                "fixed=1",
                "cmd=y",
                "what=@missing"
            ]),
            Err(vec![
                "timeout: \"soon\" is not a whole number".to_string(),
                "dry: \"perhaps\" is not true or false".to_string(),
                "there is no parameter colour".to_string(),
                "fixed cannot be changed".to_string(),
                "cmd is given twice".to_string(),
                "what: no file missing".to_string(),
            ])
        );
        assert_eq!(read(&["dry=1"]), Err(vec!["cmd is required".to_string()]));
        assert_eq!(
            read(&["a", "1", "b"]),
            Err(vec!["\"b\" is too much: write NAME=VALUE".to_string()])
        );
    }

    #[test]
    fn a_single_required_parameter_needs_no_name() {
        let properties = json!({ "message": { "type": "string", "required": true }, "loud": { "type": "boolean" } });
        let signature = Signature::of_properties(properties.as_object().expect("an object"));
        let given = signature.read(&["hello there".to_string()], true, |_| Ok(String::new()));
        assert_eq!(
            given.map(Value::Object),
            Ok(json!({ "message": "hello there" }))
        );
        assert_eq!(signature.names(), "loud, message");
    }

    #[test]
    fn without_a_schema_json_is_json() {
        let words = ["a=1", "b=text", "c={\"d\": true}"].map(String::from);
        let given = free(&words, |_| Ok(String::new()));
        assert_eq!(
            given.map(Value::Object),
            Ok(json!({ "a": 1, "b": "text", "c": { "d": true } }))
        );
        assert!(free(&["nothing".to_string()], |_| Ok(String::new())).is_err());
    }
}
