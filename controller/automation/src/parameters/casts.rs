//! From what was given or rendered to the type a parameter has.
//!
//! Templates give text, and so does the command line, so `"5"` is a sound integer and `"[1]"` an
//! array. The marker that `use_none` writes becomes null whatever the type.

use serde_json::{Number, Value};

use super::literal;
use crate::expressions::{NONE_MARKER, repr, text, type_name};

/// A value that cannot become what its parameter needs. The text is for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Failed to cast value \"{value}\" (type: {given}) for parameter \"{parameter}\" of type \
     \"{expected}\": {reason}. Perhaps the value is of an invalid type?"
)]
pub struct CastError {
    /// Name of the parameter.
    pub parameter: String,
    /// The value as it is shown: masked when the parameter is a secret.
    pub value: String,
    /// The type of the value, as Python names it.
    pub given: &'static str,
    /// The type of the parameter.
    pub expected: String,
    /// What is wrong.
    pub reason: String,
}

/// The value as a parameter of this type takes it; the error is the reason.
pub(crate) fn cast(value: &Value, expected: &str) -> Result<Value, String> {
    if value.is_null() || value.as_str() == Some(NONE_MARKER) {
        return Ok(Value::Null);
    }
    match expected {
        "array" | "object" => structure(value),
        "boolean" => boolean(value),
        "integer" => integer(value),
        "number" => number(value),
        "string" => match value {
            Value::String(_) => Ok(value.clone()),
            _ => Err(format!(
                "Value \"{}\" must either be a string or None. Got \"{}\"",
                text(value),
                type_name(value)
            )),
        },
        _ => Ok(value.clone()),
    }
}

fn structure(value: &Value) -> Result<Value, String> {
    let Value::String(text) = value else {
        return Ok(value.clone());
    };
    serde_json::from_str(text)
        .ok()
        .or_else(|| literal::parse(text))
        .ok_or_else(|| "it is neither JSON nor a Python literal".into())
}

fn boolean(value: &Value) -> Result<Value, String> {
    let Value::String(text) = value else {
        return Ok(value.clone());
    };
    let mut characters = text.chars();
    let capitalized: String = characters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(characters.flat_map(char::to_lowercase))
        .collect();
    literal::parse(&capitalized).ok_or_else(|| format!("malformed node or string: {}", repr(value)))
}

fn integer(value: &Value) -> Result<Value, String> {
    let refused = || {
        format!(
            "int() argument must be a string, a bytes-like object or a real number, not '{}'",
            type_name(value)
        )
    };
    match value {
        Value::Bool(flag) => Ok(Value::from(i64::from(*flag))),
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().unwrap_or_default().trunc();
            if (-9.2e18..=9.2e18).contains(&whole) {
                Ok(Value::from(whole as i64))
            } else {
                Err(format!("{number} is too large for an integer"))
            }
        }
        Value::Number(_) => Ok(value.clone()),
        Value::String(text) => digits(text)
            .parse::<i64>()
            .map(Value::from)
            .or_else(|_| digits(text).parse::<u64>().map(Value::from))
            .map_err(|_| format!("invalid literal for int() with base 10: {}", repr(value))),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(refused()),
    }
}

fn number(value: &Value) -> Result<Value, String> {
    let float = match value {
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::Number(number) => number.as_f64().unwrap_or_default(),
        Value::String(text) => digits(text)
            .parse::<f64>()
            .map_err(|_| format!("could not convert string to float: {}", repr(value)))?,
        Value::Null | Value::Array(_) | Value::Object(_) => {
            return Err(format!(
                "float() argument must be a string or a real number, not '{}'",
                type_name(value)
            ));
        }
    };
    Number::from_f64(float)
        .map(Value::Number)
        .ok_or_else(|| format!("{} is not a finite number", text(value)))
}

/// The text of a number without what Python skips: spaces around it, `_` between digits.
fn digits(text: &str) -> String {
    let trimmed = text.trim();
    let sound = trimmed.split('_').all(|part| {
        let part = part.trim_start_matches(['+', '-']);
        !part.is_empty() && part.starts_with(|first: char| first.is_ascii_digit() || first == '.')
    });
    if sound {
        trimmed.replace('_', "")
    } else {
        trimmed.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_becomes_the_type_of_the_parameter() {
        for (value, expected, result) in [
            (json!("[4, 5]"), "array", json!([4, 5])),
            (json!("[1, 'a', None]"), "array", json!([1, "a", null])),
            (json!("True,True,1"), "array", json!([true, true, 1])),
            (json!([1]), "array", json!([1])),
            (json!("{\"a\": true}"), "object", json!({"a": true})),
            (json!("{'a': True}"), "object", json!({"a": true})),
            (json!("true"), "boolean", json!(true)),
            (json!("FALSE"), "boolean", json!(false)),
            (json!(true), "boolean", json!(true)),
            (json!("1"), "boolean", json!(1)),
            (json!(" 5 "), "integer", json!(5)),
            (json!("-1_000"), "integer", json!(-1000)),
            (json!(5.7), "integer", json!(5)),
            (json!(true), "integer", json!(1)),
            (
                json!("18446744073709551615"),
                "integer",
                json!(18_446_744_073_709_551_615_u64),
            ),
            (json!("1e3"), "number", json!(1000.0)),
            (json!(5), "number", json!(5.0)),
            (json!("text"), "string", json!("text")),
            (json!(""), "string", json!("")),
            (json!(null), "string", json!(null)),
            (json!(7), "null", json!(7)),
        ] {
            assert_eq!(cast(&value, expected), Ok(result), "{value} as {expected}");
        }
        for expected in ["array", "boolean", "integer", "number", "object", "string"] {
            assert_eq!(cast(&json!(NONE_MARKER), expected), Ok(Value::Null));
        }
    }

    #[test]
    fn what_cannot_be_cast_says_why_in_the_words_of_python() {
        for (value, expected, reason) in [
            (
                json!("\\invalid"),
                "array",
                "it is neither JSON nor a Python literal",
            ),
            (json!("yes"), "boolean", "malformed node or string: 'yes'"),
            (
                json!("5.0"),
                "integer",
                "invalid literal for int() with base 10: '5.0'",
            ),
            (
                json!("x"),
                "integer",
                "invalid literal for int() with base 10: 'x'",
            ),
            (
                json!("1__0"),
                "integer",
                "invalid literal for int() with base 10: '1__0'",
            ),
            (
                json!([]),
                "integer",
                "int() argument must be a string, a bytes-like object or a real number, not 'list'",
            ),
            (
                json!("x"),
                "number",
                "could not convert string to float: 'x'",
            ),
            (json!("inf"), "number", "inf is not a finite number"),
            (
                json!([]),
                "string",
                "Value \"[]\" must either be a string or None. Got \"list\"",
            ),
            (
                json!(true),
                "string",
                "Value \"True\" must either be a string or None. Got \"bool\"",
            ),
        ] {
            assert_eq!(cast(&value, expected), Err(reason.to_owned()), "{value}");
        }
    }
}
