//! Labels and annotations: what they may be, and which things a selector means.
//!
//! A selector is a list of requirements that must all hold (Cloud Foundry's API documentation, "Labels and selectors"):
//!
//! ```text
//!   key   !key   key=value   key==value   key!=value   key in (a,b)   key notin (a,b)
//! ```
//!
//! A label that is not there has no value: `!=` and `notin` take it too.

use std::collections::BTreeSet;

/// Longest name of a key, and longest value of a label.
const LONGEST: usize = 63;
/// Longest domain before the name of a key.
const LONGEST_PREFIX: usize = 253;
/// Longest value of an annotation.
const LONGEST_ANNOTATION: usize = 5000;

/// Why something is no label, annotation or selector; a sentence for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

fn invalid<T>(text: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(text.into()))
}

/// Letters, digits, `-`, `_` and `.`, with a letter or a digit at both ends.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let ends = |c: char| c.is_ascii_alphanumeric();
    text.chars().all(plain) && text.starts_with(ends) && text.ends_with(ends)
}

/// `name`, or `example.com/name`.
pub fn check_key(key: &str) -> Result<(), Invalid> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let fault = if name.is_empty() {
        "it is empty".to_string()
    } else if name.len() > LONGEST {
        format!("its name is longer than {LONGEST} characters")
    } else if !is_plain(name) {
        "its name has other than letters, digits, '-', '_' and '.', or does not begin and end with a letter or a digit".to_string()
    } else if prefix.is_some_and(|prefix| {
        prefix.len() > LONGEST_PREFIX || !prefix.contains('.') || !is_plain(prefix)
    }) {
        "what is before '/' is no domain name".to_string()
    } else {
        return Ok(());
    };
    invalid(format!("Metadata key error: '{key}': {fault}"))
}

pub fn check_label(key: &str, value: &str) -> Result<(), Invalid> {
    let fault = if value.len() > LONGEST {
        format!("is longer than {LONGEST} characters")
    } else if !value.is_empty() && !is_plain(value) {
        "has other than letters, digits, '-', '_' and '.', or does not begin and end with a letter or a digit".to_string()
    } else {
        return Ok(());
    };
    invalid(format!(
        "Metadata label value error: '{value}' of '{key}' {fault}"
    ))
}

pub fn check_annotation(key: &str, value: &str) -> Result<(), Invalid> {
    if value.chars().count() > LONGEST_ANNOTATION {
        return invalid(format!(
            "Metadata annotation value error: that of '{key}' is longer than {LONGEST_ANNOTATION} characters"
        ));
    }
    Ok(())
}

/// What is asked of one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    Exists(String),
    IsMissing(String),
    /// It has one of these values.
    In(String, BTreeSet<String>),
    /// It has none of these, or is missing.
    NotIn(String, BTreeSet<String>),
}

/// The requirements of a selector.
pub fn parse_selector(text: &str) -> Result<Vec<Requirement>, Invalid> {
    if text.trim().is_empty() {
        return invalid("Missing label_selector value");
    }
    parts(text).map(requirement).collect()
}

/// What is between the commas that are in no parentheses.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut is_inside = false;
    text.split(move |c: char| {
        match c {
            '(' => is_inside = true,
            ')' => is_inside = false,
            _ => {}
        }
        c == ',' && !is_inside
    })
    .map(str::trim)
}

fn requirement(text: &str) -> Result<Requirement, Invalid> {
    let one = |value: &str| BTreeSet::from([value.trim().to_string()]);
    let read = if let Some(key) = text.strip_prefix('!') {
        Requirement::IsMissing(key.trim().to_string())
    } else if let Some((key, value)) = text.split_once("!=") {
        Requirement::NotIn(key.trim().to_string(), one(value))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        Requirement::In(key.trim().to_string(), one(value))
    } else if let Some((key, rest)) = text.split_once(char::is_whitespace) {
        let (word, values) = match rest.split_once('(') {
            Some((word, values)) => (word.trim(), values.strip_suffix(')')),
            None => (rest, None),
        };
        let values = || values.map(|it| it.split(',').map(|one| one.trim().to_string()).collect());
        let key = key.to_string();
        match (word, values()) {
            ("in", Some(values)) => Requirement::In(key, values),
            ("notin", Some(values)) => Requirement::NotIn(key, values),
            _ => return not_understood(text),
        }
    } else {
        Requirement::Exists(text.to_string())
    };
    let (key, values) = match &read {
        Requirement::Exists(key) | Requirement::IsMissing(key) => (key, None),
        Requirement::In(key, values) | Requirement::NotIn(key, values) => (key, Some(values)),
    };
    let checked = check_key(key).and_then(|()| {
        let mut values = values.into_iter().flatten();
        values.try_for_each(|value| check_label(key, value))
    });
    checked.or_else(|_| not_understood(text)).map(|()| read)
}

fn not_understood<T>(text: &str) -> Result<T, Invalid> {
    invalid(format!(
        "Invalid label_selector value: '{text}' (write key, !key, key=value, key!=value, key in (a,b) or key notin (a,b))"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_those_of_cloud_foundry() {
        let long = "a".repeat(64);
        for key in ["team", "A-b_c.d9", "example.com/team", &long[..63]] {
            assert_eq!(check_key(key), Ok(()), "{key}");
            assert_eq!(
                check_label("k", key.rsplit('/').next().unwrap_or(key)),
                Ok(())
            );
        }
        for key in [
            "", "-a", "a-", "a b", "a=b", "ä", "com/team", "/a", "a.b/", "a.b/c/d", &long,
        ] {
            assert!(check_key(key).is_err(), "{key}");
        }
        assert_eq!(check_label("k", ""), Ok(()));
        for value in ["b=c!", " a", "a/b", &long] {
            let error = check_label("k", value).expect_err(value).to_string();
            assert!(error.starts_with("Metadata label value error:"), "{error}");
        }
        assert_eq!(check_annotation("k", "any thing, really: ä"), Ok(()));
        assert!(check_annotation("k", &"a".repeat(5001)).is_err());
    }

    #[test]
    fn selectors_are_read() {
        use Requirement::*;
        let key = || "k".to_string();
        let set = |values: &[&str]| values.iter().map(|it| it.to_string()).collect();
        let check = |text: &str, expected: &[Requirement]| {
            assert_eq!(parse_selector(text).as_deref(), Ok(expected), "{text}");
        };
        check("k", &[Exists(key())]);
        check("!k", &[IsMissing(key())]);
        check("k=v", &[In(key(), set(&["v"]))]);
        check("k==v", &[In(key(), set(&["v"]))]);
        check("k = ", &[In(key(), set(&[""]))]);
        check("k!=v", &[NotIn(key(), set(&["v"]))]);
        check("k in (a, b)", &[In(key(), set(&["a", "b"]))]);
        check("k notin (a)", &[NotIn(key(), set(&["a"]))]);
        check(
            "k in (a,b),!k, k notin (c,d)",
            &[
                In(key(), set(&["a", "b"])),
                IsMissing(key()),
                NotIn(key(), set(&["c", "d"])),
            ],
        );
        check(
            "example.com/k=v",
            &[In("example.com/k".into(), set(&["v"]))],
        );
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        assert_eq!(parse_selector(" "), invalid("Missing label_selector value"));
        for text in [
            "=v", "k=v=w", "k,", "k in a", "k in (a", "k of (a)", "!", "k=a'b", "a b",
        ] {
            let error = parse_selector(text).expect_err(text).to_string();
            assert!(error.starts_with("Invalid label_selector value"), "{error}");
        }
    }
}
