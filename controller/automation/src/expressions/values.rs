//! Values of the engine, out of it: as JSON, and as the text a template prints.
//!
//! A template can make data that is small to hold and huge to walk (`[[x] * 1000] * 1000`), and a
//! value deeper than the stack. So each node that is visited is paid for, and depth is bounded.

use std::fmt::Write;

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use serde_json::Value as Json;

use super::lookup::Lookup;
use super::python;

/// Levels of lists and maps within a value.
const DEEPEST_VALUE: usize = 100;
/// Units that make a step of work, as the engine counts its own.
const UNITS_PER_STEP: u64 = 64;
/// What visiting one node costs; a byte of text costs one unit.
const NODE: u64 = 32;
/// What looking at one node costs when nothing is made of it.
const LOOK: u64 = 2;

/// Charges a rendering for what is done on its behalf outside the engine.
pub(crate) struct Meter<'borrow, 'template, 'environment> {
    state: &'borrow State<'template, 'environment>,
    units: u64,
    text: usize,
}

impl<'borrow, 'template, 'environment> Meter<'borrow, 'template, 'environment> {
    pub(crate) fn new(
        state: &'borrow State<'template, 'environment>,
    ) -> Meter<'borrow, 'template, 'environment> {
        Meter {
            state,
            units: 0,
            text: 0,
        }
    }

    pub(crate) fn node(&mut self) -> Result<(), Error> {
        self.units(NODE)
    }

    /// Bytes of text that were paid for.
    pub(crate) fn text(&self) -> usize {
        self.text
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<(), Error> {
        self.text = self.text.saturating_add(length);
        self.units(length as u64)
    }

    fn units(&mut self, units: u64) -> Result<(), Error> {
        self.units += units;
        let steps = self.units / UNITS_PER_STEP;
        self.units %= UNITS_PER_STEP;
        if steps > 0 {
            self.state.consume_fuel(steps)?;
        }
        Ok(())
    }
}

/// A value of the engine with the same content.
pub(crate) fn from_json(value: &Json) -> Value {
    match value {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(integer), _, _) => Value::from(integer),
            (None, Some(integer), _) => Value::from(integer),
            (None, None, float) => Value::from(float.unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::from(items.iter().map(from_json).collect::<Vec<_>>()),
        Json::Object(entries) => Value::from_pairs(
            entries
                .iter()
                .map(|(key, value)| (key.as_str(), from_json(value))),
        ),
    }
}

/// The value as JSON.
pub(crate) fn to_json(value: &Value, meter: &mut Meter<'_, '_, '_>) -> Result<Json, Error> {
    json_at(value, meter, 0)
}

fn json_at(value: &Value, meter: &mut Meter<'_, '_, '_>, depth: usize) -> Result<Json, Error> {
    check_depth(depth)?;
    meter.node()?;
    Ok(match value.kind() {
        ValueKind::Undefined | ValueKind::None => Json::Null,
        ValueKind::Bool => Json::Bool(value.is_true()),
        ValueKind::Number => number(value)?,
        ValueKind::Map => {
            let mut entries = serde_json::Map::new();
            for key in value.try_iter()?.checked() {
                let key = key?;
                let item = json_at(&value.get_item(&key)?, meter, depth + 1)?;
                let key = key_text(&key);
                meter.bytes(key.len())?;
                entries.insert(key, item);
            }
            Json::Object(entries)
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items = vec![];
            for item in value.try_iter()?.checked() {
                items.push(json_at(&item?, meter, depth + 1)?);
            }
            Json::Array(items)
        }
        _ => {
            let text = scalar_text(value)?;
            meter.bytes(text.len())?;
            Json::String(text)
        }
    })
}

/// A key of an object as `json.dumps` writes it.
fn key_text(key: &Value) -> String {
    match key.kind() {
        ValueKind::None => "null".into(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.into(),
        _ => key.to_string(),
    }
}

fn number(value: &Value) -> Result<Json, Error> {
    if let Ok(integer) = i64::try_from(value.clone())
        && value.is_integer()
    {
        return Ok(Json::from(integer));
    }
    if let Ok(integer) = u64::try_from(value.clone())
        && value.is_integer()
    {
        return Ok(Json::from(integer));
    }
    let float = f64::try_from(value.clone())?;
    serde_json::Number::from_f64(float)
        .map(Json::Number)
        .ok_or_else(|| {
            refuse(format!(
                "{} is not a number of JSON",
                python::float_text(float)
            ))
        })
}

/// Walks a value only to pay for it, and to be sure that it is not too deep.
pub(crate) fn measure(value: &Value, meter: &mut Meter<'_, '_, '_>) -> Result<(), Error> {
    walk(value, meter, 0, |value, meter| {
        meter.units(NODE + value.as_str().map_or(0, str::len) as u64)
    })
}

/// Walks a value to be sure that it may stand within another one, at the price of a look.
pub(crate) fn check_nesting(value: &Value, meter: &mut Meter<'_, '_, '_>) -> Result<(), Error> {
    walk(value, meter, 1, |_, meter| meter.units(LOOK))
}

fn walk(
    value: &Value,
    meter: &mut Meter<'_, '_, '_>,
    depth: usize,
    pay: fn(&Value, &mut Meter<'_, '_, '_>) -> Result<(), Error>,
) -> Result<(), Error> {
    check_depth(depth)?;
    pay(value, meter)?;
    match value.kind() {
        ValueKind::Map => {
            for key in value.try_iter()?.checked() {
                let key = key?;
                walk(&key, meter, depth + 1, pay)?;
                walk(&value.get_item(&key)?, meter, depth + 1, pay)?;
            }
        }
        // Without a length it may be iterated only once, and its items are paid for as they come.
        ValueKind::Iterable if value.len().is_none() => {}
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter()?.checked() {
                walk(&item?, meter, depth + 1, pay)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The value without anything that is computed only when it is read: slices and repetitions are
/// such, and keep what they are made of.
pub(crate) fn owned(value: &Value, meter: &mut Meter<'_, '_, '_>) -> Result<Value, Error> {
    owned_at(value, meter, 0)
}

fn owned_at(value: &Value, meter: &mut Meter<'_, '_, '_>, depth: usize) -> Result<Value, Error> {
    check_depth(depth)?;
    meter.units(LOOK)?;
    Ok(match value.kind() {
        ValueKind::Map => {
            let mut entries = vec![];
            for key in value.try_iter()?.checked() {
                let key = key?;
                let item = owned_at(&value.get_item(&key)?, meter, depth + 1)?;
                entries.push((owned_at(&key, meter, depth + 1)?, item));
            }
            Value::from_pairs(entries)
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items = vec![];
            for item in value.try_iter()?.checked() {
                items.push(owned_at(&item?, meter, depth + 1)?);
            }
            if value.is_tuple() {
                Value::from(Tuple::from(items))
            } else {
                Value::from(items)
            }
        }
        _ => value.clone(),
    })
}

/// Writes the value as a template prints it.
pub(crate) fn write_text(
    out: &mut impl Write,
    value: &Value,
    meter: &mut Meter<'_, '_, '_>,
) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => out.write_str(text)?,
        None => write_repr(out, value, meter, 0)?,
    }
    Ok(())
}

/// The value as a template prints it.
pub(crate) fn to_text(value: &Value, meter: &mut Meter<'_, '_, '_>) -> Result<String, Error> {
    let mut text = String::new();
    write_text(&mut text, value, meter)?;
    Ok(text)
}

fn write_repr(
    out: &mut impl Write,
    value: &Value,
    meter: &mut Meter<'_, '_, '_>,
    depth: usize,
) -> Result<(), Error> {
    check_depth(depth)?;
    meter.node()?;
    match value.kind() {
        ValueKind::None => out.write_str("None")?,
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" })?,
        ValueKind::Number if !value.is_integer() => {
            out.write_str(&python::float_text(f64::try_from(value.clone())?))?;
        }
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            meter.bytes(text.len())?;
            out.write_str(&python::repr(&Json::from(text)))?;
        }
        ValueKind::Map => {
            out.write_char('{')?;
            for (index, key) in value.try_iter()?.checked().enumerate() {
                let key = key?;
                if index > 0 {
                    out.write_str(", ")?;
                }
                write_repr(out, &key, meter, depth + 1)?;
                out.write_str(": ")?;
                write_repr(out, &value.get_item(&key)?, meter, depth + 1)?;
            }
            out.write_char('}')?;
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let (open, close) = if value.is_tuple() {
                ('(', ')')
            } else {
                ('[', ']')
            };
            out.write_char(open)?;
            let mut length = 0;
            for item in value.try_iter()?.checked() {
                if length > 0 {
                    out.write_str(", ")?;
                }
                write_repr(out, &item?, meter, depth + 1)?;
                length += 1;
            }
            if length == 1 && value.is_tuple() {
                out.write_char(',')?;
            }
            out.write_char(close)?;
        }
        _ => out.write_str(&scalar_text(value)?)?,
    }
    Ok(())
}

/// Text of what is neither a list nor a map.
fn scalar_text(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Invalid => Err(refuse(value.to_string())),
        _ => Ok(match value.downcast_object_ref::<Lookup>() {
            Some(lookup) => lookup.read(),
            None => value.to_string(),
        }),
    }
}

fn check_depth(depth: usize) -> Result<(), Error> {
    if depth > DEEPEST_VALUE {
        return Err(refuse(format!(
            "The value is nested deeper than {DEEPEST_VALUE} levels."
        )));
    }
    Ok(())
}

/// An error whose text is for the user.
pub(crate) fn refuse(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text.into())
}
