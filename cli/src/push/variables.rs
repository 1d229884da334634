//! `((name))` in a manifest, filled in from `--var` and `--vars-file`. Pure.
//!
//! A text that is nothing but a variable takes the value with its type (`instances: ((count))`
//! becomes a number); inside a longer text the value is written out.

use std::collections::{BTreeMap, BTreeSet};
use yaml_serde::{Mapping, Value};

pub type Variables = BTreeMap<String, Value>;

/// `NAME=value`; the value is YAML, so that numbers are numbers.
pub fn parse_variable(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is no variable: write NAME=value"))?;
    if name.is_empty() {
        return Err(format!("{text:?} is no variable: the name is missing"));
    }
    let parsed = yaml_serde::from_str(value).unwrap_or_else(|_| Value::String(value.to_string()));
    Ok((name.to_string(), parsed))
}

/// Fills in all variables; names those that have no value.
pub fn fill(value: Value, variables: &Variables) -> Result<Value, BTreeSet<String>> {
    let mut missing = BTreeSet::new();
    let filled = walk(value, variables, &mut missing);
    if missing.is_empty() {
        Ok(filled)
    } else {
        Err(missing)
    }
}

fn walk(value: Value, variables: &Variables, missing: &mut BTreeSet<String>) -> Value {
    match value {
        Value::String(text) => fill_text(text, variables, missing),
        Value::Sequence(items) => Value::Sequence(
            items
                .into_iter()
                .map(|item| walk(item, variables, missing))
                .collect(),
        ),
        Value::Mapping(mapping) => {
            let filled: Mapping = mapping
                .into_iter()
                .map(|(key, value)| {
                    (
                        walk(key, variables, missing),
                        walk(value, variables, missing),
                    )
                })
                .collect();
            Value::Mapping(filled)
        }
        other => other,
    }
}

fn fill_text(text: String, variables: &Variables, missing: &mut BTreeSet<String>) -> Value {
    if let Some(name) = text
        .strip_prefix("((")
        .and_then(|rest| rest.strip_suffix("))"))
        .filter(|name| is_name(name))
    {
        return variables.get(name).cloned().unwrap_or_else(|| {
            missing.insert(name.to_string());
            Value::Null
        });
    }
    let mut filled = String::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find("((") {
        let (before, after) = rest.split_at(start);
        filled.push_str(before);
        match after[2..].split_once("))") {
            Some((name, tail)) if is_name(name) => {
                match variables.get(name).map(plain) {
                    Some(Some(value)) => filled.push_str(&value),
                    _ => {
                        missing.insert(name.to_string());
                    }
                }
                rest = tail;
            }
            _ => {
                filled.push_str("((");
                rest = &after[2..];
            }
        }
    }
    filled.push_str(rest);
    Value::String(filled)
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
}

/// A value that can stand inside a text.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(yaml: &str, variables: &[&str]) -> Result<String, Vec<String>> {
        let variables = variables
            .iter()
            .map(|text| parse_variable(text).expect("a variable"))
            .collect();
        let value = yaml_serde::from_str(yaml).expect("YAML");
        match fill(value, &variables) {
            Ok(value) => Ok(yaml_serde::to_string(&value)
                .expect("YAML")
                .trim()
                .to_string()),
            Err(missing) => Err(missing.into_iter().collect()),
        }
    }

    #[test]
    fn a_lone_variable_keeps_its_type() {
        assert_eq!(filled("n: ((n))", &["n=3"]), Ok("n: 3".into()));
        assert_eq!(filled("- ((a))-((b))", &["a=x", "b=2"]), Ok("- x-2".into()));
        assert_eq!(
            filled("route: ((host)).yard.internal", &["host=shop"]),
            Ok("route: shop.yard.internal".into())
        );
    }

    #[test]
    fn what_has_no_value_is_named() {
        assert_eq!(
            filled("{a: ((x)), b: z((y))}", &["z=1"]),
            Err(vec!["x".into(), "y".into()])
        );
    }

    #[test]
    fn double_parentheses_of_a_shell_command_stay() {
        assert_eq!(
            filled("command: echo $((1 + 2))", &[]),
            Ok("command: echo $((1 + 2))".into())
        );
    }

    #[test]
    fn a_variable_needs_a_name_and_a_value() {
        assert!(parse_variable("x").is_err());
        assert!(parse_variable("=x").is_err());
        assert_eq!(
            parse_variable("a=b=c").expect("a variable").1,
            Value::String("b=c".into())
        );
    }
}
