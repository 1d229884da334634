//! Takes known secret values out of output before it is stored or shown.
//!
//! The values are those of this execution: secret parameters, decrypted keys, secret config values.
//! All places of all secrets are found first and covered together, so that two secrets which share
//! characters cannot leave the end of one behind. A secret of several lines (a private key) is looked
//! for line by line too, because output is stored by the line; a secret is also looked for as JSON
//! would escape it, because results are printed as JSON.
//!
//! What a newcomer gets wrong: very short values are left alone. Masking every `1` of an output hides
//! nothing and destroys the output.

use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// What stands where a secret was.
pub const MASK: &str = "********";

/// Values below this many bytes are not looked for.
const SHORTEST: usize = 4;

/// Lines of a longer secret below this many bytes are not looked for by themselves.
const SHORTEST_LINE: usize = 8;

/// Knows the secrets of one execution.
#[derive(Clone, Default)]
pub struct Scrubber {
    needles: BTreeSet<String>,
}

impl std::fmt::Debug for Scrubber {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Scrubber({} secrets)", self.needles.len())
    }
}

impl Scrubber {
    /// Secrets of any shape: text is looked for as it is, numbers as JSON writes them, lists and
    /// objects by the values inside them.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Value>) -> Scrubber {
        let mut scrubber = Scrubber::default();
        for secret in secrets {
            scrubber.add(secret);
        }
        scrubber
    }

    fn add(&mut self, secret: &Value) {
        match secret {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => self.add_text(&number.to_string()),
            Value::String(text) => self.add_text(text),
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(object) => object.values().for_each(|value| self.add(value)),
        }
    }

    fn add_text(&mut self, text: &str) {
        let whole = text.trim_end_matches(['\r', '\n']);
        if whole.len() < SHORTEST || whole == MASK {
            return;
        }
        let escaped = Value::from(whole).to_string();
        self.needles
            .insert(escaped[1..escaped.len() - 1].to_owned());
        self.needles.insert(whole.to_owned());
        if whole.contains('\n') {
            let lines = whole
                .lines()
                .map(str::trim)
                .filter(|line| line.len() >= SHORTEST_LINE);
            self.needles.extend(lines.map(str::to_owned));
        }
    }

    /// The text with every secret masked.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut found: Vec<(usize, usize)> = Vec::new();
        for needle in &self.needles {
            let mut from = 0;
            while let Some(at) = text[from..].find(needle.as_str()) {
                let start = from + at;
                found.push((start, start + needle.len()));
                from = start + text[start..].chars().next().map_or(1, char::len_utf8);
            }
        }
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_unstable();
        let mut clean = String::with_capacity(text.len());
        let mut shown = 0;
        let mut covered = found[0];
        for (start, end) in found.into_iter().skip(1) {
            if start < covered.1 {
                covered.1 = covered.1.max(end);
            } else {
                clean.push_str(&text[shown..covered.0]);
                clean.push_str(MASK);
                shown = covered.1;
                covered = (start, end);
            }
        }
        clean.push_str(&text[shown..covered.0]);
        clean.push_str(MASK);
        clean.push_str(&text[covered.1..]);
        Cow::Owned(clean)
    }

    /// A result with every secret masked, in keys and in values.
    pub fn value(&self, value: &Value) -> Value {
        match value {
            Value::Null | Value::Bool(_) => value.clone(),
            Value::Number(number) => {
                if self.needles.contains(&number.to_string()) {
                    Value::from(MASK)
                } else {
                    value.clone()
                }
            }
            Value::String(text) => Value::from(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(object) => object
                .iter()
                .map(|(name, inner)| (self.text(name).into_owned(), self.value(inner)))
                .collect(),
        }
    }
}

/// One text, when there is no more of it: see [`Scrubber`].
pub fn scrub<'a>(text: &'a str, secrets: &[Value]) -> Cow<'a, str> {
    Scrubber::new(secrets).text(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let secrets = [
            json!("hunter2"),
            json!({"token": ["abcd-efgh"]}),
            json!(123456),
        ];
        assert_eq!(
            scrub("user hunter2, hunter2! abcd-efgh and 123456", &secrets),
            "user ********, ********! ******** and ********"
        );
        assert_eq!(scrub("nothing here", &secrets), "nothing here");
    }

    #[test]
    fn secrets_that_share_characters_leave_nothing_behind() {
        let secrets = [json!("abcdef"), json!("defghi"), json!("cdef")];
        assert_eq!(scrub("-abcdefghi-", &secrets), "-********-");
    }

    #[test]
    fn a_secret_of_several_lines_is_found_line_by_line() {
        let key = json!("-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----\n");
        assert_eq!(scrub("  MIIEvQIBADANBg", &[key]), "  ********");
    }

    #[test]
    fn a_secret_is_found_as_json_writes_it() {
        let secret = json!("pass\"word\n2");
        let printed = json!({"p": secret}).to_string();
        assert_eq!(scrub(&printed, &[secret]), r#"{"p":"********"}"#);
    }

    #[test]
    fn short_values_and_booleans_are_left_alone() {
        assert_eq!(
            scrub(
                "true 1 abc",
                &[json!(true), json!(1), json!("abc"), json!("")]
            ),
            "true 1 abc"
        );
    }

    #[test]
    fn a_result_is_masked_in_keys_and_values() {
        let scrubber = Scrubber::new(&[json!("hunter2"), json!(98765)]);
        assert_eq!(
            scrubber.value(&json!({"hunter2": ["a hunter2", 98765, 5, null]})),
            json!({"********": ["a ********", "********", 5, null]})
        );
        assert_eq!(format!("{scrubber:?}"), "Scrubber(2 secrets)");
    }

    proptest! {
        #[test]
        fn no_secret_survives(
            secrets in prop::collection::vec("[abé]{4,7}", 1..4),
            text in "[abé ]{0,60}",
        ) {
            let values: Vec<Value> = secrets.iter().map(|secret| json!(secret)).collect();
            let clean = scrub(&text, &values).into_owned();
            for secret in &secrets {
                prop_assert!(!clean.contains(secret.as_str()));
            }
            prop_assert_eq!(scrub(&clean, &values).into_owned(), clean.clone());
        }
    }
}
