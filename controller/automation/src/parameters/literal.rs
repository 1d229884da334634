//! Python literals: what `ast.literal_eval` reads.
//!
//! An array given as `['a', True]` is Python's text of a list, often made by a template. Only data
//! is read: names, calls and operators are errors.

use serde_json::{Map, Number, Value};

/// Levels of brackets in one literal.
const DEEPEST_LITERAL: usize = 64;

/// The value of a literal; tuples and sets become arrays.
pub(crate) fn parse(text: &str) -> Option<Value> {
    let mut reader = Reader {
        rest: text,
        depth: 0,
    };
    reader.skip_spaces();
    let first = reader.value()?;
    reader.skip_spaces();
    // Values with commas between them are a tuple even without brackets.
    let value = if reader.take(',') {
        let mut items = vec![first];
        reader.items_until(None, &mut items)?;
        Value::Array(items)
    } else {
        first
    };
    reader.rest.is_empty().then_some(value)
}

struct Reader<'text> {
    rest: &'text str,
    depth: usize,
}

impl Reader<'_> {
    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, expected: char) -> bool {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > DEEPEST_LITERAL {
            return None;
        }
        let value = match self.rest.chars().next()? {
            '[' => self.sequence('[', ']'),
            '(' => self.group(),
            '{' => self.braces(),
            '\'' | '"' => self.strings(),
            '+' | '-' | '.' | '0'..='9' => self.number(),
            _ => self.word(),
        };
        self.depth -= 1;
        value
    }

    fn sequence(&mut self, open: char, close: char) -> Option<Value> {
        self.take(open);
        let mut items = vec![];
        self.items_until(Some(close), &mut items)?;
        Some(Value::Array(items))
    }

    /// Items with commas between them, to the closing bracket or the end of the text.
    fn items_until(&mut self, close: Option<char>, items: &mut Vec<Value>) -> Option<()> {
        loop {
            self.skip_spaces();
            if self.closes(close) {
                return Some(());
            }
            items.push(self.value()?);
            self.skip_spaces();
            if !self.take(',') {
                return self.closes(close).then_some(());
            }
        }
    }

    fn closes(&mut self, close: Option<char>) -> bool {
        match close {
            Some(close) => self.take(close),
            None => self.rest.is_empty(),
        }
    }

    /// A tuple, or one value in parentheses.
    fn group(&mut self) -> Option<Value> {
        self.take('(');
        self.skip_spaces();
        if self.take(')') {
            return Some(Value::Array(vec![]));
        }
        let first = self.value()?;
        self.skip_spaces();
        if self.take(')') {
            return Some(first);
        }
        if !self.take(',') {
            return None;
        }
        let mut items = vec![first];
        self.items_until(Some(')'), &mut items)?;
        Some(Value::Array(items))
    }

    /// A dictionary or a set.
    fn braces(&mut self) -> Option<Value> {
        self.take('{');
        self.skip_spaces();
        let mut entries = Map::new();
        if self.take('}') {
            return Some(Value::Object(entries));
        }
        let first = self.value()?;
        self.skip_spaces();
        if !self.take(':') {
            let mut items = vec![first];
            if self.take(',') {
                self.items_until(Some('}'), &mut items)?;
                return Some(Value::Array(items));
            }
            return self.take('}').then_some(Value::Array(items));
        }
        let mut key = first;
        loop {
            self.skip_spaces();
            entries.insert(crate::expressions::text(&key), self.value()?);
            self.skip_spaces();
            if self.take('}') {
                return Some(Value::Object(entries));
            }
            if !self.take(',') {
                return None;
            }
            self.skip_spaces();
            if self.take('}') {
                return Some(Value::Object(entries));
            }
            key = self.value()?;
            self.skip_spaces();
            if !self.take(':') {
                return None;
            }
        }
    }

    /// String literals one after another are one string.
    fn strings(&mut self) -> Option<Value> {
        let mut text = String::new();
        while self.rest.starts_with(['\'', '"']) {
            self.string(false, &mut text)?;
            self.skip_spaces();
        }
        Some(Value::String(text))
    }

    fn string(&mut self, raw: bool, text: &mut String) -> Option<()> {
        let quote = self.rest.chars().next()?;
        let triple = [quote; 3].iter().collect::<String>();
        let end = if self.rest.starts_with(&triple) {
            triple
        } else {
            quote.to_string()
        };
        self.rest = &self.rest[end.len()..];
        loop {
            if let Some(rest) = self.rest.strip_prefix(end.as_str()) {
                self.rest = rest;
                return Some(());
            }
            let character = self.rest.chars().next()?;
            self.rest = &self.rest[character.len_utf8()..];
            match character {
                '\n' if end.len() == 1 => return None,
                '\\' if raw => {
                    text.push('\\');
                    let escaped = self.rest.chars().next()?;
                    self.rest = &self.rest[escaped.len_utf8()..];
                    text.push(escaped);
                }
                '\\' => self.escape(text)?,
                character => text.push(character),
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Option<()> {
        let escaped = self.rest.chars().next()?;
        self.rest = &self.rest[escaped.len_utf8()..];
        match escaped {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'a' => text.push('\u{7}'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'v' => text.push('\u{b}'),
            '\n' => {}
            '\\' | '\'' | '"' => text.push(escaped),
            'x' => text.push(self.code_point(2, 16)?),
            'u' => text.push(self.code_point(4, 16)?),
            'U' => text.push(self.code_point(8, 16)?),
            '0'..='7' => {
                let digits = self
                    .rest
                    .bytes()
                    .take(2)
                    .take_while(|byte| matches!(byte, b'0'..=b'7'))
                    .count();
                let first = escaped.to_digit(8)?;
                let rest = u32::from_str_radix(&self.rest[..digits], 8).unwrap_or(0);
                self.rest = &self.rest[digits..];
                text.push(char::from_u32(
                    first * 8_u32.pow(u32::try_from(digits).ok()?) + rest,
                )?);
            }
            other => {
                text.push('\\');
                text.push(other);
            }
        }
        Some(())
    }

    fn code_point(&mut self, digits: usize, radix: u32) -> Option<char> {
        let text = self.rest.get(..digits)?;
        self.rest = &self.rest[digits..];
        char::from_u32(u32::from_str_radix(text, radix).ok()?)
    }

    fn number(&mut self) -> Option<Value> {
        let end = self
            .rest
            .char_indices()
            .find(|(at, character)| {
                let after_exponent = self.rest[..*at].ends_with(['e', 'E']);
                !(character.is_ascii_alphanumeric()
                    || matches!(character, '.' | '_')
                    || (matches!(character, '+' | '-') && (*at == 0 || after_exponent)))
            })
            .map_or(self.rest.len(), |(at, _)| at);
        let digits = self.rest[..end].replace('_', "");
        self.rest = &self.rest[end..];
        let (negative, digits) = match digits.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
        };
        let prefixed = [("0x", 16), ("0o", 8), ("0b", 2)]
            .iter()
            .find_map(|(prefix, radix)| {
                let digits = digits.strip_prefix(prefix)?;
                i64::from_str_radix(digits, *radix).ok()
            });
        let integer = prefixed.or_else(|| {
            let leading_zero = digits.len() > 1 && digits.starts_with('0');
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            (plain && !leading_zero).then(|| digits.parse().ok())?
        });
        if let Some(integer) = integer {
            return Some(Value::from(if negative { -integer } else { integer }));
        }
        if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
            || !digits.contains(['.', 'e', 'E'])
        {
            return None;
        }
        let float: f64 = digits.parse().ok()?;
        Number::from_f64(if negative { -float } else { float }).map(Value::Number)
    }

    fn word(&mut self) -> Option<Value> {
        for (word, value) in [
            ("None", Value::Null),
            ("True", Value::Bool(true)),
            ("False", Value::Bool(false)),
        ] {
            if let Some(rest) = self.rest.strip_prefix(word)
                && !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_')
            {
                self.rest = rest;
                return Some(value);
            }
        }
        let prefix_length = self.rest.find(['\'', '"']).filter(|length| *length <= 2)?;
        let raw = match self.rest[..prefix_length].to_ascii_lowercase().as_str() {
            "u" | "b" => false,
            "r" | "br" | "rb" => true,
            _ => return None,
        };
        self.rest = &self.rest[prefix_length..];
        let mut text = String::new();
        self.string(raw, &mut text)?;
        Some(Value::String(text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::expressions::repr;

    #[test]
    fn literals_of_python_are_read() {
        for (text, expected) in [
            ("[1, 2, 3]", json!([1, 2, 3])),
            (
                "['a', \"b\", u'c', r'\\d', b'e']",
                json!(["a", "b", "c", "\\d", "e"]),
            ),
            ("(1, 'x')", json!([1, "x"])),
            ("(1)", json!(1)),
            ("(1,)", json!([1])),
            ("True, True, 1", json!([true, true, 1])),
            ("1,", json!([1])),
            (
                "{'a': None, 'b': [True, False], 3: .5,}",
                json!({"a": null, "b": [true, false], "3": 0.5}),
            ),
            ("{1, 2}", json!([1, 2])),
            ("{}", json!({})),
            ("()", json!([])),
            ("'a' 'b'", json!("ab")),
            (r"'\x41\u00e9\t\101\''", json!("A\u{e9}\tA'")),
            ("'''two\nlines'''", json!("two\nlines")),
            ("-1_000", json!(-1000)),
            ("0x1f", json!(31)),
            ("1e3", json!(1000.0)),
            (" 1.5 ", json!(1.5)),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_data_is_not_read() {
        for text in [
            "",
            "\\invalid",
            "name",
            "f()",
            "[1",
            "[1 2]",
            "{'a' 1}",
            "{'a': }",
            "'open",
            "1 2",
            "__import__('os')",
            "1 + 1",
            "Nonesuch",
            "'a\nb'",
            "012",
            "inf",
            "[,]",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&"[".repeat(100_000)), None);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z']{0,4}", inner, 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_python_prints_reads_back(value in value()) {
            let text = repr(&value);
            prop_assert_eq!(parse(&text), Some(value), "{}", text);
        }

        #[test]
        fn no_text_panics(text in "[\\[\\](){}'\"\\\\,:a-z0-9.eE+_ -]{0,30}") {
            let _ = parse(&text);
        }
    }
}
