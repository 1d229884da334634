//! What a payload must show for a rule to be worth evaluating.
//!
//! From the criteria of a rule follow signs like "the text at `trigger.body.kind` is `push`". If a
//! payload shows none of the signs of one [`Choice`], the rule does not match it *and* leaves no
//! failure, so that it need not be looked at. Everything here is about that "and": evaluation goes
//! through the criteria in order and stops at the first that does not match, so a later criterion
//! tells something only if no earlier one can fail.

use serde_json::Value;

use super::criteria::{Check, Criteria, Criterion, Entry};
use super::operator::{Comparison, Operator, Ready};
use super::path::Path;
use super::python::Exact;
use super::questions::Question;

/// One thing that a payload may show.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sign {
    pub path: Path,
    pub test: Test,
}

/// What the value at the path is. Each test also passes where evaluating the criterion is an error
/// because of the value's type (see [`super::index`]).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Test {
    /// This text.
    Is(Letters, String),
    Number(Exact),
    Above(Exact),
    Below(Exact),
    Starts(Letters, String),
    Ends(Letters, String),
    /// A text with this in it, a list with this item, or a mapping with this key.
    Contains(String),
    /// A text with this in it.
    Holds(Letters, Vec<u8>),
    Present,
    Absent,
    /// The answer to this question is not no.
    Passes(Question),
}

/// How letters of a text are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Letters {
    AsTheyAre,
    /// The text in lower case.
    Lower,
}

/// Signs of which a payload must show at least one. None at all: no payload does.
pub(super) type Choice = Vec<Sign>;

/// Every choice of signs that follows from criteria; each alone suffices. `questions`: what their entries ask,
/// as far as others could ask it.
pub(super) fn choices(criteria: &Criteria, questions: &[Option<Question>]) -> Vec<Choice> {
    let mut choices = Vec::new();
    for (place, entry) in criteria.entries().iter().enumerate() {
        let question = questions.get(place).copied().flatten();
        match entry {
            Entry::One(criterion) => {
                choices.extend(of_criterion(criterion));
                // At least it can be asked once for all rules that want to know.
                choices.extend(question.and_then(|question| asking(criterion, question)));
            }
            Entry::Any(groups) => choices.extend(
                groups
                    .iter()
                    .map(|group| self::choices(group, &[]).into_iter().min_by_key(Vec::len))
                    .collect::<Option<Vec<_>>>()
                    .map(|groups| groups.concat()),
            ),
        }
        if !entry.never_fails() {
            break;
        }
    }
    choices
}

fn asking(criterion: &Criterion, question: Question) -> Option<Choice> {
    let path = criterion.path.as_ref().ok()?.clone()?;
    let test = Test::Passes(question);
    Some(vec![Sign { path, test }])
}

fn of_criterion(criterion: &Criterion) -> Option<Choice> {
    let comparison = match &criterion.check {
        Check::NoOperator => return Some(Vec::new()),
        Check::Fixed(comparison) => comparison,
        Check::Rendered { .. } | Check::UnknownOperator(_) => return None,
    };
    let Ok(Some(path)) = &criterion.path else {
        return None;
    };
    let tests = tests(comparison)?;
    let sign = |test| Sign {
        path: path.clone(),
        test,
    };
    Some(tests.into_iter().map(sign).collect())
}

fn tests(comparison: &Comparison) -> Option<Vec<Test>> {
    use Operator as O;
    let pattern = comparison.pattern();
    let operator = comparison.operator();
    match operator {
        O::Exists => return Some(vec![Test::Present]),
        O::ExistsNot => return Some(vec![Test::Absent]),
        // Most values differ.
        O::NotEquals | O::Search => return None,
        _ if pattern.is_null() => return Some(Vec::new()),
        _ => {}
    }
    let part = || {
        pattern
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let test = match (comparison.ready(), operator) {
        (Ready::Wrong(_) | Ready::Search(..), _) => return None,
        (Ready::Expression(regex), _) => {
            let literals = regex.required_literals()?.iter();
            let holds = |literal: &Vec<u8>| Test::Holds(Letters::AsTheyAre, literal.clone());
            return Some(literals.map(holds).collect());
        }
        (Ready::Lower(lower), O::EqualsIgnoringCase) => Test::Is(Letters::Lower, lower.clone()),
        (Ready::Lower(lower), _) if lower.is_empty() => return None,
        (Ready::Lower(lower), O::ContainsIgnoringCase) => {
            Test::Holds(Letters::Lower, lower.clone().into_bytes())
        }
        (Ready::Lower(lower), O::StartsWithIgnoringCase) => {
            Test::Starts(Letters::Lower, lower.clone())
        }
        (Ready::Lower(lower), O::EndsWithIgnoringCase) => Test::Ends(Letters::Lower, lower.clone()),
        (Ready::AsIs, O::Equals) => equal_to(pattern)?,
        (Ready::AsIs, O::Inside) => {
            return pattern.as_array()?.iter().map(equal_to).collect();
        }
        (Ready::AsIs, O::Contains) => Test::Contains(part()?),
        (Ready::AsIs, O::StartsWith) => Test::Starts(Letters::AsTheyAre, part()?),
        (Ready::AsIs, O::EndsWith) => Test::Ends(Letters::AsTheyAre, part()?),
        (Ready::AsIs, O::GreaterThan) => Test::Above(Exact::of(pattern)?),
        (Ready::AsIs, O::LessThan) => Test::Below(Exact::of(pattern)?),
        (Ready::AsIs | Ready::Lower(_), _) => return None,
    };
    Some(vec![test])
}

/// None for lists and mappings.
fn equal_to(pattern: &Value) -> Option<Test> {
    match pattern {
        Value::Null => Some(Test::Absent),
        Value::String(text) => Some(Test::Is(Letters::AsTheyAre, text.clone())),
        Value::Bool(_) | Value::Number(_) => Exact::of(pattern).map(Test::Number),
        Value::Array(_) | Value::Object(_) => None,
    }
}
