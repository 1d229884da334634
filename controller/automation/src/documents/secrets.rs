//! Where a document holds what its definition calls `secret`: the one walk that masks, seals and
//! collects.
//!
//! A part has every definition that may hold for it: its property, the patterns that its name matches,
//! else `additionalProperties`; the item at its place, else `additionalItems`; and the branches of
//! `allOf`, `anyOf` and `oneOf`, whether they apply or not. It is secret if any of them says so: better a
//! mask too many. What is secret is secret whole: nothing inside is looked at.

use crate::documents::MASK;
use crate::python_regex::PythonRegex;
use serde_json::{Map, Value};

/// `secret: true`
fn says_secret(definition: &Value) -> bool {
    definition.get("secret") == Some(&Value::Bool(true))
}

/// The definitions themselves and the branches in them.
fn with_branches<'d>(definition: &'d Value, found: &mut Vec<&'d Value>) {
    found.push(definition);
    for word in ["allOf", "anyOf", "oneOf"] {
        for branch in definition
            .get(word)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            with_branches(branch, found);
        }
    }
}

/// The definitions that may hold for an entry of an object.
fn of_entry<'d>(definition: &'d Value, name: &str, found: &mut Vec<&'d Value>) {
    let before = found.len();
    if let Some(property) = definition.get("properties").and_then(|all| all.get(name)) {
        with_branches(property, found);
    }
    let patterns = definition
        .get("patternProperties")
        .and_then(Value::as_object);
    for (source, property) in patterns.into_iter().flatten() {
        let pattern = PythonRegex::search(source);
        // What cannot be matched is taken to match.
        if pattern.map_or(true, |pattern| pattern.is_match(name).unwrap_or(true)) {
            with_branches(property, found);
        }
    }
    if found.len() == before
        && let Some(others @ Value::Object(_)) = definition.get("additionalProperties")
    {
        with_branches(others, found);
    }
}

/// The definitions that may hold for an item of a list.
fn of_item<'d>(definition: &'d Value, index: usize, found: &mut Vec<&'d Value>) {
    let one = match definition.get("items") {
        Some(Value::Array(places)) => places.get(index).or(definition.get("additionalItems")),
        Some(one) => Some(one),
        None => definition.get("additionalItems"),
    };
    if let Some(one @ Value::Object(_)) = one {
        with_branches(one, found);
    }
}

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// What is done with a secret part: its place, and the part.
pub type Change<'c> = dyn FnMut(&[Step], &mut Value) + 'c;

/// Shows `change` every secret part of a value beside its definition.
pub fn each_secret(value: &mut Value, definition: &Value, change: &mut Change<'_>) {
    let mut definitions = Vec::new();
    with_branches(definition, &mut definitions);
    walk(value, &definitions, &mut Vec::new(), change);
}

/// The same for values by name, each beside its definition.
pub fn each_secret_of(
    values: &mut Map<String, Value>,
    definitions: &Map<String, Value>,
    change: &mut Change<'_>,
) {
    for (name, value) in values.iter_mut() {
        if let Some(definition) = definitions.get(name) {
            let mut found = Vec::new();
            with_branches(definition, &mut found);
            walk(value, &found, &mut vec![Step::Key(name.clone())], change);
        }
    }
}

fn walk(value: &mut Value, definitions: &[&Value], path: &mut Vec<Step>, change: &mut Change<'_>) {
    if definitions.is_empty() {
        return;
    }
    if definitions.iter().any(|one| says_secret(one)) {
        change(path, value);
        return;
    }
    match value {
        Value::Object(entries) => {
            for (name, entry) in entries.iter_mut() {
                let mut found = Vec::new();
                for definition in definitions {
                    of_entry(definition, name, &mut found);
                }
                path.push(Step::Key(name.clone()));
                walk(entry, &found, path, change);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let mut found = Vec::new();
                for definition in definitions {
                    of_item(definition, index, &mut found);
                }
                path.push(Step::Index(index));
                walk(item, &found, path, change);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The part of a value at a place.
#[must_use]
pub fn at<'v>(values: &'v Map<String, Value>, path: &[Step]) -> Option<&'v Value> {
    let (first, rest) = path.split_first()?;
    let Step::Key(first) = first else {
        return None;
    };
    let mut part = values.get(first)?;
    for step in rest {
        part = match step {
            Step::Key(name) => part.get(name)?,
            Step::Index(index) => part.get(index)?,
        };
    }
    Some(part)
}

/// Puts the mask in place of every secret.
pub fn mask(value: &mut Value, definition: &Value) {
    each_secret(value, definition, &mut cover);
}

/// The values by name with every secret under the mask.
#[must_use]
pub fn masked(values: &Map<String, Value>, definitions: &Map<String, Value>) -> Map<String, Value> {
    let mut values = values.clone();
    each_secret_of(&mut values, definitions, &mut cover);
    values
}

fn cover(_: &[Step], secret: &mut Value) {
    *secret = Value::from(MASK);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn check(definition: Value, value: Value, expected: Value) {
        let mut found = value.clone();
        mask(&mut found, &definition);
        assert_eq!(found, expected, "{value} beside {definition}");
    }

    #[test]
    fn secrets_are_found_wherever_a_definition_may_put_them() {
        let secret = json!({"type": "string", "secret": true});
        check(secret.clone(), json!("a"), json!(MASK));
        check(
            json!({"items": secret}),
            json!(["a", "b"]),
            json!([MASK, MASK]),
        );
        check(
            json!({"items": [{}, secret], "additionalItems": secret}),
            json!(["a", "b", "c"]),
            json!(["a", MASK, MASK]),
        );
        check(
            json!({"properties": {"open": {}}, "additionalProperties": secret}),
            json!({"open": "a", "other": "b"}),
            json!({"open": "a", "other": MASK}),
        );
        check(
            json!({"properties": {"x_key": {}}, "patternProperties": {"_key$": secret}}),
            json!({"x_key": "a", "x": "b"}),
            json!({"x_key": MASK, "x": "b"}),
        );
        check(
            json!({"patternProperties": {"(": secret}}),
            json!({"x": "a"}),
            json!({"x": MASK}),
        );
        check(
            json!({"oneOf": [{"type": "null"}, {"properties": {"p": {"anyOf": [secret]}}}]}),
            json!({"p": "a", "q": "b"}),
            json!({"p": MASK, "q": "b"}),
        );
        check(json!({"items": true}), json!(["a"]), json!(["a"]));
        check(Value::Null, json!({"a": 1}), json!({"a": 1}));
    }

    #[test]
    fn a_secret_that_two_definitions_name_is_changed_once() {
        let definition = json!({
            "properties": {"p": {"secret": true}},
            "patternProperties": {"p": {"secret": true}},
        });
        let mut seen = 0;
        each_secret(&mut json!({"p": "a"}), &definition, &mut |_, value| {
            seen += 1;
            *value = json!({"p": "a"});
        });
        assert_eq!(seen, 1);
    }

    /// A definition and a value that obeys it, with every secret text beginning with `S`.
    fn both() -> impl Strategy<Value = (Value, Value)> {
        let leaf = prop_oneof![
            "S[a-z]{6,9}".prop_map(|text| (json!({"secret": true}), json!(text))),
            "[a-z]{6,9}".prop_map(|text| (json!({"type": "string"}), json!(text))),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let several = prop::collection::vec(inner.clone(), 1..4);
            prop_oneof![
                inner.clone().prop_map(|(definition, value)| (
                    json!({"items": definition}),
                    json!([value.clone(), value])
                )),
                several.clone().prop_map(|all| {
                    let (definitions, values): (Vec<Value>, Vec<Value>) = all.into_iter().unzip();
                    let first = &definitions[..1];
                    match definitions.len() {
                        2 => (
                            json!({"items": first, "additionalItems": definitions[1]}),
                            json!(values),
                        ),
                        _ => (json!({"items": definitions}), json!(values)),
                    }
                }),
                several.prop_map(|all| {
                    let mut properties = Map::new();
                    let mut entries = Map::new();
                    for (place, (definition, value)) in all.into_iter().enumerate() {
                        properties.insert(format!("p{place}"), definition);
                        entries.insert(format!("p{place}"), value);
                    }
                    (json!({"properties": properties}), Value::Object(entries))
                }),
                inner.clone().prop_map(|(definition, value)| (
                    json!({"additionalProperties": definition}),
                    json!({"any": value})
                )),
                inner.clone().prop_map(|(definition, value)| (
                    json!({"patternProperties": {"^x": definition}}),
                    json!({"xy": value})
                )),
                inner.prop_map(|(definition, value)| (json!({"anyOf": [{}, definition]}), value)),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_secret_of_any_definition_is_left_and_nothing_else_goes((definition, value) in both()) {
            let values = Map::from_iter([("all".to_string(), value.clone())]);
            let definitions = Map::from_iter([("all".to_string(), definition.clone())]);
            let masked = Value::Object(masked(&values, &definitions));
            let (before, after) = (json!(values).to_string(), masked.to_string());
            prop_assert!(!after.contains("\"S"), "{after} beside {definition}");
            prop_assert_eq!(before.matches('"').count(), after.matches('"').count());

            // Kept apart, the places lead back to them.
            let mut sealed = values.clone();
            let mut secrets = Vec::new();
            each_secret_of(&mut sealed, &definitions, &mut |path, secret| {
                secrets.push((path.to_vec(), secret.take()));
            });
            prop_assert!(!json!(sealed).to_string().contains("\"S"));
            prop_assert_eq!(before.matches("\"S").count(), secrets.len());
            for (path, secret) in &secrets {
                prop_assert_eq!(at(&values, path), Some(secret));
            }
        }
    }
}
