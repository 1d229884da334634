//! Comparisons of JSON values as Python makes them.
//!
//! Rules were written against Python: `1 == 1.0 == True`, text is in text but a number is not in
//! text, and values of different types have no order. What raises in Python is an error here, with
//! Python's words, because they end up in the enforcement that a user reads.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// Python's name of a value's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

/// A number of any kind, booleans included.
#[derive(Clone, Copy)]
enum Numeric {
    Integer(i128),
    Float(f64),
}

fn numeric(value: &Value) -> Option<Numeric> {
    match value {
        Value::Bool(flag) => Some(Numeric::Integer(i128::from(*flag))),
        Value::Number(number) => Some(of_number(number)),
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn of_number(number: &Number) -> Numeric {
    if let Some(integer) = number.as_i64() {
        return Numeric::Integer(integer.into());
    }
    if let Some(integer) = number.as_u64() {
        return Numeric::Integer(integer.into());
    }
    Numeric::Float(number.as_f64().unwrap_or(f64::NAN))
}

/// Exact even where an integer does not fit a float.
fn compare_numbers(left: Numeric, right: Numeric) -> Option<Ordering> {
    match (left, right) {
        (Numeric::Integer(left), Numeric::Integer(right)) => Some(left.cmp(&right)),
        (Numeric::Float(left), Numeric::Float(right)) => left.partial_cmp(&right),
        (Numeric::Integer(left), Numeric::Float(right)) => compare_to_float(left, right),
        (Numeric::Float(left), Numeric::Integer(right)) => {
            compare_to_float(right, left).map(Ordering::reverse)
        }
    }
}

fn compare_to_float(integer: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // The conversion saturates, which keeps the order: JSON integers are far smaller.
    let whole = float.trunc() as i128;
    Some(integer.cmp(&whole).then_with(|| {
        0.0f64
            .partial_cmp(&float.fract())
            .unwrap_or(Ordering::Equal)
    }))
}

/// A number such that two of them are equal when Python says so, whatever their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Exact {
    Integer(i128),
    /// Bits of a float with a fraction, or of one too large for an integer.
    Float(u64),
}

impl Exact {
    /// None for what is neither a number nor a boolean.
    pub(super) fn of(value: &Value) -> Option<Exact> {
        /// Floats below it are integers without loss when they have no fraction.
        const LARGEST: f64 = 1e38;
        Some(match numeric(value)? {
            Numeric::Integer(integer) => Exact::Integer(integer),
            Numeric::Float(float) if float.fract() == 0.0 && float.abs() < LARGEST => {
                Exact::Integer(float as i128)
            }
            Numeric::Float(float) => Exact::Float(float.to_bits()),
        })
    }

    /// Numbers of JSON always have an order: none of them is NaN.
    pub(super) fn order(self, other: Exact) -> Ordering {
        compare_numbers(self.numeric(), other.numeric()).unwrap_or(Ordering::Equal)
    }

    fn numeric(self) -> Numeric {
        match self {
            Exact::Integer(integer) => Numeric::Integer(integer),
            Exact::Float(bits) => Numeric::Float(f64::from_bits(bits)),
        }
    }
}

/// `left == right`
pub(super) fn equal(left: &Value, right: &Value) -> bool {
    if let (Some(left), Some(right)) = (numeric(left), numeric(right)) {
        return compare_numbers(left, right) == Some(Ordering::Equal);
    }
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::String(left), Value::String(right)) => left == right,
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, left)| right.get(key).is_some_and(|right| equal(left, right)))
        }
        _ => false,
    }
}

/// `left SIGN right` for `<` and `>`; none: neither order holds (NaN).
fn order(left: &Value, right: &Value, sign: &str) -> Result<Option<Ordering>, String> {
    if let (Some(left), Some(right)) = (numeric(left), numeric(right)) {
        return Ok(compare_numbers(left, right));
    }
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok(Some(left.cmp(right))),
        (Value::Array(lefts), Value::Array(rights)) => {
            for (left, right) in lefts.iter().zip(rights) {
                if !equal(left, right) {
                    return order(left, right, sign);
                }
            }
            Ok(Some(lefts.len().cmp(&rights.len())))
        }
        _ => Err(format!(
            "'{sign}' not supported between instances of '{}' and '{}'",
            type_name(left),
            type_name(right)
        )),
    }
}

/// `left < right`
pub(super) fn less(left: &Value, right: &Value) -> Result<bool, String> {
    Ok(order(left, right, "<")? == Some(Ordering::Less))
}

/// `left > right`
pub(super) fn greater(left: &Value, right: &Value) -> Result<bool, String> {
    Ok(order(left, right, ">")? == Some(Ordering::Greater))
}

/// `item in container`
pub(super) fn contains(container: &Value, item: &Value) -> Result<bool, String> {
    match (container, item) {
        (Value::String(text), Value::String(part)) => Ok(text.contains(part.as_str())),
        (Value::String(_), other) => Err(format!(
            "'in <string>' requires string as left operand, not {}",
            type_name(other)
        )),
        (Value::Array(items), item) => Ok(items.iter().any(|candidate| equal(candidate, item))),
        (Value::Object(entries), Value::String(key)) => Ok(entries.contains_key(key)),
        (Value::Object(_), Value::Array(_) | Value::Object(_)) => Err(unhashable(item)),
        (Value::Object(_), Value::Null | Value::Bool(_) | Value::Number(_)) => Ok(false),
        (Value::Null | Value::Bool(_) | Value::Number(_), _) => Err(format!(
            "argument of type '{}' is not iterable",
            type_name(container)
        )),
    }
}

/// Lists and mappings are no keys.
pub(super) fn unhashable(value: &Value) -> String {
    format!("unhashable type: '{}'", type_name(value))
}

/// The text, for a method that only text has.
pub(super) fn text<'a>(value: &'a Value, method: &str) -> Result<&'a str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("'{}' object has no attribute '{method}'", type_name(value)))
}

/// `float(value)`
pub(super) fn float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Bool(_) | Value::Number(_) => Ok(match numeric(value) {
            Some(Numeric::Integer(integer)) => integer as f64,
            Some(Numeric::Float(float)) => float,
            None => f64::NAN,
        }),
        Value::String(text) => text
            .trim()
            .replace('_', "")
            .parse()
            .map_err(|_| format!("could not convert string to float: '{text}'")),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(format!(
            "float() argument must be a string or a real number, not '{}'",
            type_name(value)
        )),
    }
}

/// `str(value)`, as far as a rule can tell.
pub(super) fn string(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
