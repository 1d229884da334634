//! Values as Python prints them.
//!
//! Users read these texts in results, and packs parse them back, so they follow CPython: `repr` for
//! what is inside a container, `str` for what stands alone, `json.dumps` with its two habits (a
//! space after the separators, `\uXXXX` for everything outside ASCII).

use std::fmt::Write as _;

use serde_json::{Number, Value};

/// `str(value)`: what a template prints.
#[must_use]
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            repr(value)
        }
    }
}

/// `repr(value)`: what a value looks like inside a list or an error message.
#[must_use]
pub fn repr(value: &Value) -> String {
    let mut out = String::new();
    write_repr(&mut out, value);
    out
}

fn write_repr(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(number) => out.push_str(&number_text(number)),
        Value::String(text) => write_quoted(out, text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_repr(out, item);
            }
            out.push(']');
        }
        Value::Object(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_quoted(out, key);
                out.push_str(": ");
                write_repr(out, value);
            }
            out.push('}');
        }
    }
}

/// A string as Python quotes it: single quotes unless only double ones avoid an escape.
fn write_quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            character if character == quote => {
                out.push('\\');
                out.push(character);
            }
            character if character.is_control() => {
                // A control character is below U+00A0, so two digits are enough.
                let _ = write!(out, "\\x{:02x}", u32::from(character));
            }
            character => out.push(character),
        }
    }
    out.push(quote);
}

/// A number as Python prints it.
pub(crate) fn number_text(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => float_text(float),
        Some(_) | None => number.to_string(),
    }
}

/// `repr(float)`: the shortest digits that read back, with an exponent from 1e16 up and below 1e-4.
pub(crate) fn float_text(float: f64) -> String {
    if float.is_nan() {
        return "nan".into();
    }
    if float.is_infinite() {
        return if float > 0.0 { "inf" } else { "-inf" }.into();
    }
    let magnitude = float.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let scientific = format!("{float:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{float:?}")
}

/// The name Python gives the type of a value, as error messages quote it.
#[must_use]
pub fn type_name(value: &Value) -> &'static str {
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

/// How JSON text is laid out. [`JsonStyle::default`] is Python's `json.dumps(value)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonStyle {
    /// Between two items.
    pub item_separator: String,
    /// Between a key and its value.
    pub key_separator: String,
    /// Each level on its own lines, moved in by this many spaces.
    pub indent: Option<usize>,
    /// Everything outside ASCII becomes `\uXXXX`.
    pub ascii: bool,
}

impl Default for JsonStyle {
    fn default() -> JsonStyle {
        JsonStyle {
            item_separator: ", ".into(),
            key_separator: ": ".into(),
            indent: None,
            ascii: true,
        }
    }
}

impl JsonStyle {
    /// Without any space, and with Unicode as it is.
    #[must_use]
    pub fn compact() -> JsonStyle {
        JsonStyle {
            item_separator: ",".into(),
            key_separator: ":".into(),
            indent: None,
            ascii: false,
        }
    }
}

/// A value as JSON text of a given layout.
#[must_use]
pub fn json_text(value: &Value, style: &JsonStyle) -> String {
    let mut out = String::new();
    write_json(&mut out, value, style, 0);
    out
}

fn write_json(out: &mut String, value: &Value, style: &JsonStyle, level: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(&number_text(number)),
        Value::String(text) => write_json_string(out, text, style.ascii),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(entries) if entries.is_empty() => out.push_str("{}"),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                begin_item(out, style, level + 1, index);
                write_json(out, item, style, level + 1);
            }
            end_items(out, style, level);
            out.push(']');
        }
        Value::Object(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                begin_item(out, style, level + 1, index);
                write_json_string(out, key, style.ascii);
                out.push_str(&style.key_separator);
                write_json(out, value, style, level + 1);
            }
            end_items(out, style, level);
            out.push('}');
        }
    }
}

fn begin_item(out: &mut String, style: &JsonStyle, level: usize, index: usize) {
    if index > 0 {
        out.push_str(&style.item_separator);
    }
    if let Some(indent) = style.indent {
        new_line(out, indent * level);
    }
}

fn end_items(out: &mut String, style: &JsonStyle, level: usize) {
    if let Some(indent) = style.indent {
        new_line(out, indent * level);
    }
}

fn new_line(out: &mut String, spaces: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', spaces));
}

fn write_json_string(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            character if u32::from(character) < 0x20 || (ascii && !character.is_ascii()) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            character => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_prints_as_python_prints_it() {
        for (value, expected) in [
            (json!(null), "None"),
            (json!(true), "True"),
            (json!(-3), "-3"),
            (json!(1.0), "1.0"),
            (json!(0.1), "0.1"),
            (json!(1e16), "1e+16"),
            (json!(1.5e-7), "1.5e-07"),
            (json!(0.0001), "0.0001"),
            (json!(123_456_789_012_345.6), "123456789012345.6"),
            (json!("it's"), "it's"),
            (
                json!(["it's", "a\"b", "both'\""]),
                r#"["it's", 'a"b', 'both\'"']"#,
            ),
            (
                json!({"a": [null, false], "b": "x\ny"}),
                r"{'a': [None, False], 'b': 'x\ny'}",
            ),
            (json!(["\u{7f}\u{1}é"]), r"['\x7f\x01é']"),
            (json!([]), "[]"),
            (json!({}), "{}"),
        ] {
            assert_eq!(text(&value), expected);
        }
    }

    #[test]
    fn json_text_follows_its_style() {
        let value = json!({"a": [1, {"b": "é\u{1F600}"}], "c": [], "d": {}});
        assert_eq!(
            json_text(&value, &JsonStyle::default()),
            r#"{"a": [1, {"b": "\u00e9\ud83d\ude00"}], "c": [], "d": {}}"#
        );
        assert_eq!(
            json_text(&value, &JsonStyle::compact()),
            "{\"a\":[1,{\"b\":\"é\u{1F600}\"}],\"c\":[],\"d\":{}}"
        );
        let indented = JsonStyle {
            item_separator: ",".into(),
            indent: Some(2),
            ..JsonStyle::default()
        };
        assert_eq!(
            json_text(&json!({"a": [1, 2], "b": {}}), &indented),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {}\n}"
        );
    }

    proptest! {
        #[test]
        fn json_text_reads_back(text in ".{0,40}", number in any::<f64>(), flag in any::<bool>()) {
            let value = json!({ "text": text, "number": number, "list": [flag, null] });
            for style in [JsonStyle::default(), JsonStyle::compact()] {
                let read: Value = serde_json::from_str(&json_text(&value, &style)).unwrap();
                prop_assert_eq!(&read, &value);
            }
        }
    }
}
