//! Semantic versions.

use std::cmp::Ordering;

use minijinja::{Environment, Error, Value};
use semver::{BuildMetadata, Prerelease, Version};

use super::super::values::refuse;

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("version_compare", |value: &Value, other: &Value| {
        compare(value, other).map(|order| order as i64)
    });
    environment.add_filter("version_more_than", |value: &Value, other: &Value| {
        compare(value, other).map(Ordering::is_gt)
    });
    environment.add_filter("version_less_than", |value: &Value, other: &Value| {
        compare(value, other).map(Ordering::is_lt)
    });
    environment.add_filter("version_equal", |value: &Value, other: &Value| {
        compare(value, other).map(Ordering::is_eq)
    });
    environment.add_filter("version_match", matches);
    environment.add_filter("version_bump_major", |value: &Value| {
        parse(value).map(|version| bump(version.major.saturating_add(1), 0, 0))
    });
    environment.add_filter("version_bump_minor", |value: &Value| {
        parse(value).map(|version| bump(version.major, version.minor.saturating_add(1), 0))
    });
    environment.add_filter("version_bump_patch", |value: &Value| {
        parse(value).map(|version| {
            bump(
                version.major,
                version.minor,
                version.patch.saturating_add(1),
            )
        })
    });
    environment.add_filter("version_strip_patch", |value: &Value| {
        parse(value).map(|version| format!("{}.{}", version.major, version.minor))
    });
}

fn parse(value: &Value) -> Result<Version, Error> {
    let text = value.to_string();
    Version::parse(&text).map_err(|_| refuse(format!("{text} is not valid SemVer string")))
}

/// Build metadata takes no part in the order.
fn compare(value: &Value, other: &Value) -> Result<Ordering, Error> {
    Ok(parse(value)?.cmp_precedence(&parse(other)?))
}

fn bump(major: u64, minor: u64, patch: u64) -> String {
    Version {
        major,
        minor,
        patch,
        pre: Prerelease::EMPTY,
        build: BuildMetadata::EMPTY,
    }
    .to_string()
}

/// `>=1.0.0` and its like; a version alone has to be equal.
fn matches(value: &Value, expression: &Value) -> Result<bool, Error> {
    let expression = expression.to_string();
    type Holds = fn(Ordering) -> bool;
    let operators: [(&str, Holds); 6] = [
        (">=", Ordering::is_ge),
        ("<=", Ordering::is_le),
        ("==", Ordering::is_eq),
        ("!=", Ordering::is_ne),
        (">", Ordering::is_gt),
        ("<", Ordering::is_lt),
    ];
    for (operator, holds) in operators {
        if let Some(version) = expression.strip_prefix(operator) {
            return compare(value, &Value::from(version)).map(holds);
        }
    }
    if expression.starts_with(|first: char| first.is_ascii_digit()) {
        return compare(value, &Value::from(expression)).map(Ordering::is_eq);
    }
    Err(refuse(format!(
        "match_expr parameter should be in format <op><ver>, where <op> is one of \
         ['<', '>', '==', '<=', '>=', '!=']. You provided: '{expression}'"
    )))
}
