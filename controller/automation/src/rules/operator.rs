//! The operators of criteria: what compares a value of the payload with a pattern.
//!
//! A [`Comparison`] is an operator with its pattern made ready: expressions compiled, text in lower
//! case. What raises an exception in StackStorm is an error here; the criterion then does not
//! match, and the text ends up in a failed enforcement.

use serde_json::{Map, Value};

use super::criteria::{Criteria, Evaluation, ITEM};
use super::date;
use super::python::{self, contains, equal, greater, less, text, type_name, unhashable};
use crate::python_regex::{Flags, PythonRegex};

macro_rules! operators {
    ($($variant:ident $($name:literal)|+),+ $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operator { $($variant),+ }

        impl Operator {
            /// Every name, the first of an operator before its others.
            pub const NAMES: &'static [&'static str] = &[$($($name),+),+];

            /// The operator of a name, whatever its case.
            pub fn parse(name: &str) -> Option<Operator> {
                match name.to_ascii_lowercase().as_str() {
                    $($($name)|+ => Some(Operator::$variant),)+
                    _ => None,
                }
            }
        }
    };
}
operators! {
    Equals "equals" | "eq",
    NotEquals "nequals" | "neq",
    EqualsIgnoringCase "iequals" | "ieq",
    Contains "contains",
    ContainsIgnoringCase "icontains",
    ContainsNot "ncontains",
    ContainsNotIgnoringCase "incontains",
    StartsWith "startswith",
    StartsWithIgnoringCase "istartswith",
    EndsWith "endswith",
    EndsWithIgnoringCase "iendswith",
    LessThan "lessthan" | "lt",
    GreaterThan "greaterthan" | "gt",
    MatchesWildcard "matchwildcard",
    MatchesRegexAtStart "matchregex",
    MatchesRegex "regex",
    MatchesRegexIgnoringCase "iregex",
    OlderThanNoMore "timediff_lt" | "td_lt",
    OlderThan "timediff_gt" | "td_gt",
    Exists "exists",
    ExistsNot "nexists",
    Inside "inside" | "in",
    InsideNot "ninside" | "nin",
    Search "search",
}

impl Operator {
    /// Whether a criterion says something without a pattern.
    pub fn works_without_pattern(self) -> bool {
        matches!(
            self,
            Operator::NotEquals | Operator::Exists | Operator::ExistsNot
        )
    }
}

/// How many items and how many of the nested criteria must match in a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    all_items: bool,
    all_criteria: bool,
}

impl Condition {
    pub(super) fn parse(name: Option<&Value>) -> Result<Self, String> {
        let (all_items, all_criteria) = match name.and_then(Value::as_str) {
            Some("all") => (true, true),
            Some("any") => (false, true),
            Some("all2any") => (true, false),
            Some("any2any") => (false, false),
            _ => {
                let shown = name.map_or("None".to_owned(), python::string);
                return Err(format!(
                    "The '{shown}' condition is not recognized for type search, 'any', 'all', \
                     'any2any' and 'all2any' are allowed"
                ));
            }
        };
        Ok(Condition {
            all_items,
            all_criteria,
        })
    }
}

/// What was made ready of a pattern.
#[derive(Debug, Clone)]
pub(super) enum Ready {
    AsIs,
    Lower(String),
    Expression(PythonRegex),
    Search(Condition, Criteria),
    /// The pattern is wrong; said when it is used.
    Wrong(String),
}

/// An operator and its pattern.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    operator: Operator,
    pattern: Value,
    ready: Ready,
}

impl Comparison {
    pub(super) fn new(operator: Operator, pattern: Value, condition: Option<&Value>) -> Self {
        let ready = make_ready(operator, &pattern, condition).unwrap_or_else(Ready::Wrong);
        Comparison {
            operator,
            pattern,
            ready,
        }
    }

    pub(super) fn operator(&self) -> Operator {
        self.operator
    }

    pub(super) fn pattern(&self) -> &Value {
        &self.pattern
    }

    pub(super) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Whether no value makes it an error.
    pub(super) fn never_fails(&self) -> bool {
        match self.operator {
            Operator::Equals | Operator::NotEquals | Operator::Exists | Operator::ExistsNot => true,
            Operator::Inside | Operator::InsideNot => {
                self.pattern.is_null() || self.pattern.is_array()
            }
            Operator::Search => false,
            Operator::EqualsIgnoringCase
            | Operator::Contains
            | Operator::ContainsIgnoringCase
            | Operator::ContainsNot
            | Operator::ContainsNotIgnoringCase
            | Operator::StartsWith
            | Operator::StartsWithIgnoringCase
            | Operator::EndsWith
            | Operator::EndsWithIgnoringCase
            | Operator::LessThan
            | Operator::GreaterThan
            | Operator::MatchesWildcard
            | Operator::MatchesRegexAtStart
            | Operator::MatchesRegex
            | Operator::MatchesRegexIgnoringCase
            | Operator::OlderThanNoMore
            | Operator::OlderThan => self.pattern.is_null(),
        }
    }

    /// What is wrong with the pattern, whatever the payload.
    pub(super) fn fault(&self) -> Option<&str> {
        match &self.ready {
            Ready::Wrong(message) => Some(message),
            Ready::AsIs | Ready::Lower(_) | Ready::Expression(_) | Ready::Search(..) => None,
        }
    }

    /// Whether a value passes.
    pub(super) fn holds(
        &self,
        value: &Value,
        evaluation: &Evaluation<'_>,
        failures: &mut Vec<String>,
    ) -> Result<bool, String> {
        use Operator as O;
        let pattern = &self.pattern;
        match self.operator {
            O::Exists => return Ok(!value.is_null()),
            O::ExistsNot => return Ok(value.is_null()),
            O::NotEquals => return Ok(!equal(value, pattern)),
            _ if pattern.is_null() && self.operator != O::Search => return Ok(false),
            _ => {}
        }
        match (&self.ready, self.operator) {
            // Where Python looks at the value first, its fault is told first.
            (
                Ready::Wrong(message),
                O::EqualsIgnoringCase | O::StartsWithIgnoringCase | O::EndsWithIgnoringCase,
            ) => text(value, "lower").and(Err(message.clone())),
            (Ready::Wrong(message), O::MatchesWildcard) => value
                .as_str()
                .ok_or_else(|| no_path(value))
                .and(Err(message.clone())),
            (Ready::Wrong(message), _) => Err(message.clone()),
            (Ready::Expression(expression), operator) => {
                let text = match operator {
                    O::MatchesWildcard => value.as_str().ok_or_else(|| no_path(value))?,
                    _ => expression_subject(value)?,
                };
                expression.is_match(text).map_err(|error| error.to_string())
            }
            (Ready::Search(condition, criteria), _) => {
                search(value, *condition, criteria, evaluation, failures)
            }
            (Ready::Lower(lower), operator) => ignoring_case(operator, value, lower),
            (Ready::AsIs, O::Equals) => Ok(equal(value, pattern)),
            (Ready::AsIs, O::Contains) => contains(value, pattern),
            (Ready::AsIs, O::ContainsNot) => Ok(!contains(value, pattern)?),
            (Ready::AsIs, O::Inside) => contains(pattern, value),
            (Ready::AsIs, O::InsideNot) => Ok(!contains(pattern, value)?),
            (Ready::AsIs, O::StartsWith) => {
                Ok(text(value, "startswith")?.starts_with(affix(pattern, "startswith")?))
            }
            (Ready::AsIs, O::EndsWith) => {
                Ok(text(value, "endswith")?.ends_with(affix(pattern, "endswith")?))
            }
            (Ready::AsIs, O::LessThan) => less(value, pattern),
            (Ready::AsIs, O::GreaterThan) => greater(value, pattern),
            (Ready::AsIs, O::OlderThanNoMore) => {
                Ok(age(value, evaluation)? < python::float(pattern)?)
            }
            (Ready::AsIs, O::OlderThan) => Ok(age(value, evaluation)? > python::float(pattern)?),
            (
                Ready::AsIs,
                O::NotEquals
                | O::Exists
                | O::ExistsNot
                | O::EqualsIgnoringCase
                | O::ContainsIgnoringCase
                | O::ContainsNotIgnoringCase
                | O::StartsWithIgnoringCase
                | O::EndsWithIgnoringCase
                | O::MatchesWildcard
                | O::MatchesRegexAtStart
                | O::MatchesRegex
                | O::MatchesRegexIgnoringCase
                | O::Search,
            ) => Ok(false),
        }
    }
}

fn make_ready(
    operator: Operator,
    pattern: &Value,
    condition: Option<&Value>,
) -> Result<Ready, String> {
    if pattern.is_null() && operator != Operator::Search {
        return Ok(Ready::AsIs);
    }
    let expression = |flags: Flags| {
        let pattern = match pattern {
            Value::String(pattern) => pattern,
            Value::Array(_) | Value::Object(_) => return Err(unhashable(pattern)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                return Err("first argument must be string or compiled pattern".to_owned());
            }
        };
        PythonRegex::compile(pattern, flags)
            .map(Ready::Expression)
            .map_err(|error| error.to_string())
    };
    match operator {
        Operator::EqualsIgnoringCase
        | Operator::ContainsIgnoringCase
        | Operator::ContainsNotIgnoringCase
        | Operator::StartsWithIgnoringCase
        | Operator::EndsWithIgnoringCase => {
            Ok(Ready::Lower(text(pattern, "lower")?.to_lowercase()))
        }
        Operator::MatchesWildcard => {
            let pattern = pattern.as_str().ok_or_else(|| no_path(pattern))?;
            PythonRegex::wildcard(pattern)
                .map(Ready::Expression)
                .map_err(|error| error.to_string())
        }
        Operator::MatchesRegexAtStart => expression(Flags {
            dot_all: true,
            at_start: true,
            ..Flags::default()
        }),
        Operator::MatchesRegex => expression(Flags::default()),
        Operator::MatchesRegexIgnoringCase => expression(Flags {
            ignore_case: true,
            ..Flags::default()
        }),
        Operator::Search => {
            let condition = Condition::parse(condition)?;
            let entries = pattern.as_object().ok_or_else(|| {
                format!("'{}' object has no attribute 'items'", type_name(pattern))
            })?;
            Ok(Ready::Search(condition, nested(entries)?))
        }
        Operator::Equals
        | Operator::NotEquals
        | Operator::Contains
        | Operator::ContainsNot
        | Operator::StartsWith
        | Operator::EndsWith
        | Operator::LessThan
        | Operator::GreaterThan
        | Operator::OlderThanNoMore
        | Operator::OlderThan
        | Operator::Exists
        | Operator::ExistsNot
        | Operator::Inside
        | Operator::InsideNot => Ok(Ready::AsIs),
    }
}

/// Criteria inside a search; an unknown operator there makes the whole search fail.
fn nested(entries: &Map<String, Value>) -> Result<Criteria, String> {
    let criteria = Criteria::compile(entries, ITEM);
    match criteria.unknown_operator() {
        Some(name) => Err(format!("Invalid operator: {name}")),
        None => Ok(criteria),
    }
}

fn no_path(value: &Value) -> String {
    format!(
        "expected str, bytes or os.PathLike object, not {}",
        type_name(value)
    )
}

fn expression_subject(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| {
        format!(
            "expected string or bytes-like object, got '{}'",
            type_name(value)
        )
    })
}

fn affix<'a>(pattern: &'a Value, method: &str) -> Result<&'a str, String> {
    pattern.as_str().ok_or_else(|| {
        format!(
            "{method} first arg must be str or a tuple of str, not {}",
            type_name(pattern)
        )
    })
}

fn ignoring_case(operator: Operator, value: &Value, lower: &str) -> Result<bool, String> {
    let value = text(value, "lower")?.to_lowercase();
    Ok(match operator {
        Operator::ContainsIgnoringCase => value.contains(lower),
        Operator::ContainsNotIgnoringCase => !value.contains(lower),
        Operator::StartsWithIgnoringCase => value.starts_with(lower),
        Operator::EndsWithIgnoringCase => value.ends_with(lower),
        _ => value == lower,
    })
}

/// Seconds since the date in the payload.
fn age(value: &Value, evaluation: &Evaluation<'_>) -> Result<f64, String> {
    let moment = date::parse(&python::string(value))?;
    Ok(date::seconds_since(moment, evaluation.now_millis))
}

/// All items and criteria are looked at, as in StackStorm: a criterion that fails is on record even
/// when another one decided.
fn search(
    value: &Value,
    condition: Condition,
    criteria: &Criteria,
    evaluation: &Evaluation<'_>,
    failures: &mut Vec<String>,
) -> Result<bool, String> {
    let mut passes = |item: &Value| {
        if condition.all_criteria {
            criteria.all_match(item, evaluation, failures)
        } else {
            criteria.any_matches(item, evaluation, failures)
        }
    };
    let decide = |passed: usize, total: usize| {
        if condition.all_items {
            passed == total
        } else {
            passed > 0
        }
    };
    match value {
        Value::Array(items) => {
            let passed = items.iter().filter(|item| passes(item)).count();
            Ok(decide(passed, items.len()))
        }
        Value::Object(_) => Ok(passes(value)),
        // Python takes text apart into its characters.
        Value::String(text) => {
            let mut passed = 0;
            let mut total = 0;
            for symbol in text.chars() {
                total += 1;
                passed += usize::from(passes(&Value::String(symbol.to_string())));
            }
            Ok(decide(passed, total))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            Err(format!("'{}' object is not iterable", type_name(value)))
        }
    }
}
