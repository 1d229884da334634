//! Reading a mapping key by key, collecting what is wrong.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A mapping, the heading of its faults, and where they go.
pub(super) struct Fields<'a> {
    heading: String,
    map: &'a Map<String, Value>,
    faults: &'a mut Vec<String>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(
        heading: &str,
        map: &'a Map<String, Value>,
        faults: &'a mut Vec<String>,
    ) -> Fields<'a> {
        Fields {
            heading: heading.to_string(),
            map,
            faults,
        }
    }

    pub(super) fn fault(&mut self, text: &str) {
        self.faults.push(format!("{}: {text}", self.heading));
    }

    fn wrong(&mut self, key: &str, expected: &str) {
        let given = self.map.get(key).map(describe).unwrap_or_default();
        self.fault(&format!("'{key}' must be {expected}, not {given}"));
    }

    /// Refuses keys that are in none of the lists.
    pub(super) fn known(&mut self, lists: &[&[&str]]) {
        let unknown: Vec<String> = self
            .map
            .keys()
            .filter(|key| !lists.iter().any(|list| list.contains(&key.as_str())))
            .cloned()
            .collect();
        for key in unknown {
            let mut known: Vec<&str> = lists.iter().flat_map(|list| list.iter().copied()).collect();
            known.sort_unstable();
            self.fault(&format!("unknown key '{key}'; known: {}", known.join(", ")));
        }
    }

    /// As it is; null counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// As it is, null too.
    pub(super) fn any(&self, key: &str) -> Option<Value> {
        self.map.get(key).cloned()
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.wrong(key, "a text");
                None
            }
        }
    }

    pub(super) fn flag(&mut self, key: &str) -> bool {
        match self.get(key) {
            None => false,
            Some(Value::Bool(value)) => *value,
            Some(_) => {
                self.wrong(key, "true or false");
                false
            }
        }
    }

    pub(super) fn number(&mut self, key: &str, min: u32, max: u32) -> Option<u32> {
        let number = self
            .get(key)?
            .as_u64()
            .and_then(|number| u32::try_from(number).ok());
        match number {
            Some(number) if (min..=max).contains(&number) => Some(number),
            _ => {
                self.wrong(key, &format!("a whole number from {min} to {max}"));
                None
            }
        }
    }

    /// `64M`, `1G`: a size with a unit, at least one megabyte.
    pub(super) fn megabytes(&mut self, key: &str) -> Option<u64> {
        let bytes = match self.get(key)? {
            Value::String(text) => proto::config::value::parse_size(text.trim()),
            _ => None,
        };
        match bytes {
            Some(bytes) if (1 << 20..1 << 50).contains(&bytes) => Some(bytes.div_ceil(1 << 20)),
            _ => {
                self.wrong(key, "a size with a unit of measurement, like 64M or 1G");
                None
            }
        }
    }

    pub(super) fn list(&mut self, key: &str, expected: &str) -> Option<Vec<Value>> {
        match self.get(key)? {
            Value::Array(list) => Some(list.clone()),
            _ => {
                self.wrong(key, expected);
                None
            }
        }
    }

    pub(super) fn mapping(&mut self, key: &str) -> Option<Map<String, Value>> {
        match self.get(key)? {
            Value::Object(map) => Some(map.clone()),
            _ => {
                self.wrong(key, "a mapping");
                None
            }
        }
    }

    pub(super) fn environment(&mut self, key: &str) -> Option<BTreeMap<String, String>> {
        let map = self.mapping(key)?;
        let mut environment = BTreeMap::new();
        for (name, value) in map {
            if let Err(fault) = check_variable(&name) {
                self.fault(&format!("'{key}': {fault}"));
                continue;
            }
            let text = match (&value, scalar(&value)) {
                (_, Some(text)) => text,
                (Value::Null, None) => continue,
                // Structured values reach the app as JSON.
                (value, None) => value.to_string(),
            };
            if text.contains('\0') {
                self.fault(&format!("'{key}': the value of '{name}' contains a NUL"));
                continue;
            }
            environment.insert(name, text);
        }
        Some(environment)
    }
}

/// Names of variables that a user may set.
pub fn check_variable(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("{name:?} is no name of a variable"));
    }
    if name.starts_with("VCAP_") {
        return Err(format!(
            "cannot set '{name}': names that begin with VCAP_ are the platform's"
        ));
    }
    if name.starts_with("VMC") {
        return Err(format!(
            "cannot set '{name}': names that begin with VMC are the platform's"
        ));
    }
    if name == "PORT" {
        return Err("cannot set PORT: the platform chooses it".to_string());
    }
    Ok(())
}

/// Texts, numbers and flags as a text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_string(),
        Value::Bool(flag) => format!("the flag {flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {:?}", text.chars().take(60).collect::<String>()),
        Value::Array(_) => "a list".to_string(),
        Value::Object(_) => "a mapping".to_string(),
    }
}

/// YAML to JSON: keys become texts, tags are refused, depth is bounded.
pub(super) fn to_json(yaml: yaml_serde::Value, depth: usize) -> Result<Value, String> {
    if depth > 64 {
        return Err("The manifest is nested too deeply".to_string());
    }
    Ok(match yaml {
        yaml_serde::Value::Null => Value::Null,
        yaml_serde::Value::Bool(flag) => Value::Bool(flag),
        yaml_serde::Value::String(text) => Value::String(text),
        yaml_serde::Value::Number(number) => {
            match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), _, _) => Value::from(number),
                (None, Some(number), _) => Value::from(number),
                (None, None, Some(number)) => Value::from(number),
                (None, None, None) => Value::Null,
            }
        }
        yaml_serde::Value::Sequence(list) => Value::Array(
            list.into_iter()
                .map(|item| to_json(item, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        yaml_serde::Value::Mapping(map) => {
            let mut object = Map::new();
            for (key, value) in map {
                let key = scalar(&to_json(key, depth + 1)?)
                    .ok_or("A key of the manifest is not a text")?;
                object.insert(key, to_json(value, depth + 1)?);
            }
            Value::Object(object)
        }
        yaml_serde::Value::Tagged(_) => {
            return Err("The manifest uses YAML tags, which are not supported".to_string());
        }
    })
}
