//! JSON values as YAML text, for readers of YAML 1.1.
//!
//! Block style with sorted keys, as PyYAML writes it. A string stands plain only when no reader of
//! YAML 1.1 takes it for something else: `yes` is a boolean there, `1:30` a number, and so every
//! string that is not plainly a word is quoted.

use serde_json::Value;

use super::python::{JsonStyle, json_text, number_text};

/// Words that YAML 1.1 does not read as text.
const RESERVED: [&str; 10] = [
    "", "<<", "=", "false", "no", "null", "off", "on", "true", "yes",
];

/// The document, with a newline at its end.
pub(crate) fn yaml_text(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Array(items) if !items.is_empty() => write_items(&mut out, items, 0),
        Value::Object(entries) if !entries.is_empty() => write_entries(&mut out, entries, 0),
        scalar => {
            write_scalar(&mut out, scalar);
            out.push('\n');
            // Nothing else ends a plain text at the top.
            if !out.starts_with(['\'', '"', '[', '{']) {
                out.push_str("...\n");
            }
        }
    }
    out
}

fn write_entries(out: &mut String, entries: &serde_json::Map<String, Value>, indent: usize) {
    for (index, (key, value)) in entries.iter().enumerate() {
        // The first entry of a list's item stands behind its dash.
        if index > 0 || !out.ends_with("- ") {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        write_string(out, key);
        out.push(':');
        match value {
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                write_items(out, items, indent);
            }
            Value::Object(entries) if !entries.is_empty() => {
                out.push('\n');
                write_entries(out, entries, indent + 2);
            }
            scalar => {
                out.push(' ');
                write_scalar(out, scalar);
                out.push('\n');
            }
        }
    }
}

fn write_items(out: &mut String, items: &[Value], indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !out.ends_with("- ") {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push_str("- ");
        match item {
            Value::Array(items) if !items.is_empty() => write_items(out, items, indent + 2),
            Value::Object(entries) if !entries.is_empty() => {
                write_entries(out, entries, indent + 2);
            }
            scalar => {
                write_scalar(out, scalar);
                out.push('\n');
            }
        }
    }
}

fn write_scalar(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        // YAML 1.1 wants a point in the digits before an exponent.
        Value::Number(number) => match number_text(number).split_once('e') {
            Some((digits, exponent)) if !digits.contains('.') => {
                out.push_str(digits);
                out.push_str(".0e");
                out.push_str(exponent);
            }
            Some(_) | None => out.push_str(&number_text(number)),
        },
        Value::String(text) => write_string(out, text),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

fn write_string(out: &mut String, text: &str) {
    if text.chars().any(is_special) {
        let style = JsonStyle {
            ascii: true,
            ..JsonStyle::default()
        };
        out.push_str(&json_text(&Value::from(text), &style));
    } else if is_plain(text) {
        out.push_str(text);
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    }
}

/// Whether a character may only stand escaped.
fn is_special(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

fn is_plain(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || matches!(first, '_' | '/'))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !RESERVED.contains(&text.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The texts of the first cases are those PyYAML 6.0.3 writes.
    #[test]
    fn documents_are_laid_out_as_pyyaml_does() {
        for (value, expected) in [
            (
                json!({"a": 1, "b": {"x": [1, {"k": 2, "z": [3]}], "w": {}}, "c": []}),
                "a: 1\nb:\n  w: {}\n  x:\n  - 1\n  - k: 2\n    z:\n    - 3\nc: []\n",
            ),
            (
                json!([[1, 2], [[3]], {"a": null}]),
                "- - 1\n  - 2\n- - - 3\n- a: null\n",
            ),
            (
                json!({"s": "yes", "t": "True", "n": "1", "x": "plain text", "e": "", "c": "a: b", "q": "it's"}),
                "c: 'a: b'\ne: ''\nn: '1'\nq: it's\ns: 'yes'\nt: 'True'\nx: plain text\n",
            ),
            (json!("text"), "text\n...\n"),
            (json!(1e20), "1.0e+20\n...\n"),
            (json!({"m": "a\nb"}), "m: \"a\\nb\"\n"),
            (json!({"1:30": "- x"}), "'1:30': '- x'\n"),
        ] {
            assert_eq!(yaml_text(&value), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            words in prop::collection::btree_map("[ -~é\n\t]{0,8}", prop::collection::vec("[ -~\\n:#'\"-]{0,8}", 0..3), 0..4)
        ) {
            let value = json!(words);
            let read: Value = crate::spec::yaml::parse(&yaml_text(&value)).unwrap();
            prop_assert_eq!(read, value);
        }
    }
}
