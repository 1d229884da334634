//! JSON, YAML and JSONPath.

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};
use serde_json::Value as Json;

use super::super::jsonpath::Query;
use super::super::python::{JsonStyle, json_text};
use super::super::values::{Meter, from_json, refuse, to_json};
use super::super::yaml_text::yaml_text;
use super::{Arguments, text_of};

/// What `use_none` gives for null; the casts of parameters turn it back into null.
pub const NONE_MARKER: &str = "%*****__%NONE%__*****%";

/// The most spaces of one level of indentation.
const WIDEST_INDENT: usize = 16;

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("from_json_string", from_json_string);
    environment.add_filter("from_yaml_string", from_yaml_string);
    environment.add_filter("to_json_string", to_json_string);
    environment.add_filter("to_yaml_string", to_yaml_string);
    environment.add_filter("to_complex", to_complex);
    environment.add_filter("json_escape", json_escape);
    environment.add_filter("jsonpath_query", jsonpath_query);
    environment.add_filter("use_none", use_none);
}

fn from_json_string(state: &State, value: &Value) -> Result<Value, Error> {
    let text = text_of(state, value)?;
    pay_for_reading(state, &text)?;
    let read: Json = serde_json::from_str(&text)
        .map_err(|error| refuse(format!("from_json_string: {error}")))?;
    Ok(from_json(&read))
}

fn from_yaml_string(state: &State, value: &Value) -> Result<Value, Error> {
    let text = text_of(state, value)?;
    pay_for_reading(state, &text)?;
    let read: Json = crate::spec::yaml::parse(&text)
        .map_err(|error| refuse(format!("from_yaml_string: {error}")))?;
    Ok(from_json(&read))
}

/// A document that is read takes several times the memory of its text.
fn pay_for_reading(state: &State, text: &str) -> Result<(), Error> {
    Meter::new(state).bytes(text.len().saturating_mul(4))
}

fn to_json_string(
    state: &State,
    value: &Value,
    given: Rest<ValueOrKwargs>,
) -> Result<String, Error> {
    let arguments = Arguments::new("to_json_string", 3, given)?;
    let indent = indentation(&arguments)?;
    // Objects are sorted already, so both answers of `sort_keys` look the same.
    arguments.flag(1, "sort_keys")?;
    let mut style = JsonStyle {
        item_separator: ",".into(),
        indent,
        ..JsonStyle::default()
    };
    if let Some(separators) = arguments.optional(2, "separators")? {
        let pair: Vec<Value> = separators.try_iter()?.collect();
        let [item, key] = pair.as_slice() else {
            return Err(refuse("to_json_string() takes two separators"));
        };
        style.item_separator = text_of(state, item)?;
        style.key_separator = text_of(state, key)?;
    }
    arguments.finish()?;
    Ok(json_text(&to_json(value, &mut Meter::new(state))?, &style))
}

fn to_yaml_string(
    state: &State,
    value: &Value,
    given: Rest<ValueOrKwargs>,
) -> Result<String, Error> {
    let arguments = Arguments::new("to_yaml_string", 2, given)?;
    // The writer has one indentation and keeps Unicode; both read back the same.
    indentation(&arguments)?;
    arguments.flag(1, "allow_unicode")?;
    arguments.finish()?;
    let value = to_json(value, &mut Meter::new(state))?;
    Ok(yaml_text(&value))
}

fn indentation(arguments: &Arguments) -> Result<Option<usize>, Error> {
    let Some(indent) = arguments.optional(0, "indent")? else {
        return Ok(None);
    };
    match indent.as_usize() {
        Some(spaces) if spaces <= WIDEST_INDENT => Ok(Some(spaces)),
        Some(_) | None => Err(refuse(format!(
            "indent has to be a number up to {WIDEST_INDENT}"
        ))),
    }
}

fn to_complex(state: &State, value: &Value) -> Result<String, Error> {
    let value = to_json(value, &mut Meter::new(state))?;
    Ok(json_text(&value, &JsonStyle::default()))
}

fn json_escape(state: &State, value: &Value) -> Result<String, Error> {
    let text = to_complex(state, value)?;
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    Ok(inner.map_or_else(|| text.clone(), str::to_owned))
}

fn jsonpath_query(state: &State, value: &Value, query: &Value) -> Result<Value, Error> {
    let query = Query::parse(&text_of(state, query)?).map_err(|error| refuse(error.to_string()))?;
    let data = to_json(value, &mut Meter::new(state))?;
    let matches = query.find(&data, &|| state.consume_fuel(1))?;
    Ok(if matches.is_empty() {
        Value::from(())
    } else {
        matches.into_iter().map(from_json).collect()
    })
}

fn use_none(value: &Value) -> Value {
    if value.is_none() {
        Value::from(NONE_MARKER)
    } else {
        value.clone()
    }
}
