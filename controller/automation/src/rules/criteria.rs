//! Criteria made ready once, evaluated for every trigger instance.
//!
//! ```text
//!   "trigger.body.user#1": {type: equals, pattern: ada}
//!    └ path (walk) ┘        └ operator ┘ └ pattern: fixed, or a template rendered each time ┘
//!
//!   any:                      one of these groups must match: an extension of ours. No rule of
//!     - {trigger.a: …}        StackStorm has such a key, since a key without a `type` never
//!     - {trigger.b: …}        matches there.
//! ```
//!
//! All criteria must match. Evaluation stops at the first that does not. What is wrong with a
//! criterion (a bad expression, an unknown operator) is said when it is reached, as in StackStorm,
//! and is found before by [`check_criteria`].

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::Renderer;
use super::operator::{Comparison, Condition, Operator};
use super::path::Path;
use super::python;
use crate::spec::yaml::join;

/// Name of the payload in criteria and templates.
pub(super) const TRIGGER: &str = "trigger";

/// Name of an item in the criteria inside a search.
pub(super) const ITEM: &str = "item";

/// Key of a list of groups of criteria.
pub(super) const ANY: &str = "any";

/// Groups inside groups, and searches inside searches.
const DEEPEST: usize = 16;

/// What a value is compared under.
#[derive(Clone, Copy)]
pub(super) struct Evaluation<'a> {
    pub rule: &'a str,
    pub now_millis: i64,
    pub renderer: &'a dyn Renderer,
}

#[derive(Debug, Clone)]
pub(super) struct Criteria {
    /// Name of what the paths start at.
    root: &'static str,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
pub(super) enum Entry {
    One(Criterion),
    Any(Vec<Criteria>),
}

#[derive(Debug, Clone)]
pub(super) struct Criterion {
    pub key: String,
    /// As written, empty when there is none.
    pub operator: String,
    /// None: it starts at something else, which is never there.
    pub path: Result<Option<Path>, String>,
    pub check: Check,
}

#[derive(Debug, Clone)]
pub(super) enum Check {
    Fixed(Comparison),
    /// The pattern is rendered each time.
    Rendered {
        operator: Operator,
        template: Value,
        condition: Option<Value>,
    },
    /// There is no `type`: never matches.
    NoOperator,
    UnknownOperator(String),
}

/// What came of one criterion.
pub(super) struct Checked<'a> {
    pub matched: bool,
    pub value: Option<&'a Value>,
    pub pattern: Cow<'a, Value>,
}

pub(super) static NULL: Value = Value::Null;

impl Criteria {
    pub(super) fn compile(criteria: &Map<String, Value>, root: &'static str) -> Self {
        Criteria {
            root,
            entries: criteria
                .iter()
                .map(|(key, value)| match groups(key, value) {
                    Some(groups) => Entry::Any(
                        groups
                            .into_iter()
                            .map(|group| Criteria::compile(group, root))
                            .collect(),
                    ),
                    None => Entry::One(Criterion::compile(key, value, root)),
                })
                .collect(),
        }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether everything matches; stops at the first that does not.
    pub(super) fn hold(
        &self,
        payload: &Value,
        evaluation: &Evaluation<'_>,
        failures: &mut Vec<String>,
    ) -> bool {
        self.entries
            .iter()
            .all(|entry| entry.holds(self.root, payload, evaluation, failures))
    }

    /// Like [`Criteria::hold`], looking at everything.
    pub(super) fn all_match(
        &self,
        payload: &Value,
        evaluation: &Evaluation<'_>,
        failures: &mut Vec<String>,
    ) -> bool {
        let count = self.count(payload, evaluation, failures);
        count == self.entries.len()
    }

    pub(super) fn any_matches(
        &self,
        payload: &Value,
        evaluation: &Evaluation<'_>,
        failures: &mut Vec<String>,
    ) -> bool {
        self.count(payload, evaluation, failures) > 0
    }

    fn count(
        &self,
        payload: &Value,
        evaluation: &Evaluation<'_>,
        failures: &mut Vec<String>,
    ) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.holds(self.root, payload, evaluation, failures))
            .count()
    }

    /// Whether no payload makes any of them fail.
    fn never_fail(&self) -> bool {
        self.entries.iter().all(Entry::never_fails)
    }

    /// The first operator that does not exist.
    pub(super) fn unknown_operator(&self) -> Option<&str> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Any(groups) => groups.iter().find_map(Criteria::unknown_operator),
            Entry::One(criterion) => match &criterion.check {
                Check::UnknownOperator(name) => Some(name.as_str()),
                Check::Fixed(_) | Check::Rendered { .. } | Check::NoOperator => None,
            },
        })
    }
}

/// The groups of an `any` entry; none for an entry of another kind.
fn groups<'a>(key: &str, value: &'a Value) -> Option<Vec<&'a Map<String, Value>>> {
    if key != ANY {
        return None;
    }
    value
        .as_array()?
        .iter()
        .map(Value::as_object)
        .collect::<Option<Vec<_>>>()
}

impl Entry {
    /// Whether no payload makes it fail: then nothing is lost if it is not looked at.
    pub(super) fn never_fails(&self) -> bool {
        match self {
            Entry::One(criterion) => criterion.never_fails(),
            Entry::Any(groups) => groups.iter().all(Criteria::never_fail),
        }
    }

    fn holds(
        &self,
        root: &str,
        payload: &Value,
        evaluation: &Evaluation<'_>,
        failures: &mut Vec<String>,
    ) -> bool {
        match self {
            Entry::One(criterion) => criterion.check(root, payload, evaluation, failures).matched,
            Entry::Any(groups) => groups
                .iter()
                .any(|group| group.hold(payload, evaluation, failures)),
        }
    }
}

impl Criterion {
    fn never_fails(&self) -> bool {
        match &self.check {
            Check::NoOperator => true,
            Check::Fixed(comparison) => self.path.is_ok() && comparison.never_fails(),
            Check::Rendered { .. } | Check::UnknownOperator(_) => false,
        }
    }

    fn compile(key: &str, value: &Value, root: &'static str) -> Self {
        let path = key.split('#').next().unwrap_or_default();
        Criterion {
            key: key.to_owned(),
            operator: value.get("type").map(python::string).unwrap_or_default(),
            path: Path::parse(path, root),
            check: Check::compile(value),
        }
    }

    pub(super) fn check<'a>(
        &'a self,
        root: &str,
        payload: &'a Value,
        evaluation: &Evaluation<'_>,
        failures: &mut Vec<String>,
    ) -> Checked<'a> {
        let unmatched = |pattern: Cow<'a, Value>| Checked {
            matched: false,
            value: None,
            pattern,
        };
        // The pattern comes before the path: a template that fails is said first.
        let rendered;
        let (comparison, pattern) = match &self.check {
            Check::NoOperator => return unmatched(Cow::Borrowed(&NULL)),
            Check::UnknownOperator(name) => {
                failures.push(format!(
                    "{}: Invalid operator: {name}",
                    problem_with(evaluation.rule)
                ));
                return unmatched(Cow::Borrowed(&NULL));
            }
            Check::Fixed(comparison) => (comparison, Cow::Borrowed(comparison.pattern())),
            Check::Rendered {
                operator,
                template,
                condition,
            } => match evaluation.renderer.render(template, root, payload) {
                Ok(pattern) => {
                    rendered = Comparison::new(*operator, pattern.clone(), condition.as_ref());
                    (&rendered, Cow::Owned(pattern))
                }
                Err(error) => {
                    failures.push(format!(
                        "Failed to render pattern value \"{}\" for key \"{}\": {error}",
                        python::string(template),
                        self.key
                    ));
                    return unmatched(Cow::Borrowed(template));
                }
            },
        };
        let value = match &self.path {
            Ok(path) => path.as_ref().and_then(|path| path.first(payload)),
            Err(error) => {
                failures.push(format!(
                    "Failed transforming criteria key {}: {error}",
                    self.key
                ));
                return unmatched(pattern);
            }
        };
        let matched = match comparison.holds(value.unwrap_or(&NULL), evaluation, failures) {
            Ok(matched) => matched,
            Err(error) => {
                failures.push(format!("{}: {error}", problem_with(evaluation.rule)));
                false
            }
        };
        Checked {
            matched,
            value,
            pattern,
        }
    }
}

/// Before the fault of a comparison.
pub(super) const PROBLEM: &str = "There might be a problem with the criteria in rule ";

fn problem_with(rule: &str) -> String {
    format!("{PROBLEM}{rule}")
}

impl Check {
    fn compile(value: &Value) -> Self {
        let name = match value.get("type") {
            None => return Check::NoOperator,
            Some(Value::String(name)) => name.as_str(),
            Some(other) => return Check::UnknownOperator(python::string(other)),
        };
        let Some(operator) = Operator::parse(name) else {
            return Check::UnknownOperator(name.to_owned());
        };
        let condition = value.get("condition");
        match value.get("pattern") {
            Some(template @ Value::String(text)) if is_template(text) => Check::Rendered {
                operator,
                template: template.clone(),
                condition: condition.cloned(),
            },
            Some(Value::String(text)) => {
                let text = Value::String(as_rendered(text));
                Check::Fixed(Comparison::new(operator, text, condition))
            }
            Some(pattern) => Check::Fixed(Comparison::new(operator, pattern.clone(), condition)),
            None => Check::Fixed(Comparison::new(operator, Value::Null, condition)),
        }
    }
}

fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|start| text.contains(start))
}

/// What a template engine makes of text without templates: newlines are unified and one at the end
/// is dropped, so that a block of YAML matches as its author meant.
fn as_rendered(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}

/// What is wrong with a rule's criteria.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CriteriaFault {
    /// Place inside the criteria, like `trigger.body.pattern`.
    pub path: String,
    pub message: String,
    pub advice: String,
}

impl CriteriaFault {
    fn new(path: &str, message: String, advice: impl Into<String>) -> Self {
        CriteriaFault {
            path: path.to_owned(),
            message,
            advice: advice.into(),
        }
    }
}

/// Every fault of criteria that shows without a payload.
pub fn check_criteria(criteria: &Map<String, Value>) -> Vec<CriteriaFault> {
    let mut faults = Vec::new();
    check_entries(criteria, TRIGGER, "", 0, &mut faults);
    faults
}

fn check_entries(
    criteria: &Map<String, Value>,
    root: &'static str,
    around: &str,
    depth: usize,
    faults: &mut Vec<CriteriaFault>,
) {
    if depth > DEEPEST {
        faults.push(CriteriaFault::new(
            around,
            format!("criteria stand more than {DEEPEST} deep inside each other"),
            "make them flatter",
        ));
        return;
    }
    for (key, value) in criteria {
        let path = join(around, key);
        if key == ANY {
            check_groups(value, root, &path, depth, faults);
        } else {
            check_one(key, value, root, &path, depth, faults);
        }
    }
}

fn check_groups(
    value: &Value,
    root: &'static str,
    path: &str,
    depth: usize,
    faults: &mut Vec<CriteriaFault>,
) {
    let groups = groups(ANY, value).unwrap_or_default();
    if groups.is_empty() || groups.iter().any(|group| group.is_empty()) {
        faults.push(CriteriaFault::new(
            path,
            "`any` takes a list of groups of criteria, none of them empty".to_owned(),
            "write a list of mappings, each with criteria as its entries",
        ));
        return;
    }
    for (index, group) in groups.into_iter().enumerate() {
        check_entries(group, root, &format!("{path}[{index}]"), depth + 1, faults);
    }
}

fn check_one(
    key: &str,
    value: &Value,
    root: &'static str,
    path: &str,
    depth: usize,
    faults: &mut Vec<CriteriaFault>,
) {
    let criterion = Criterion::compile(key, value, root);
    match &criterion.path {
        Ok(Some(_)) => {}
        Ok(None) => faults.push(CriteriaFault::new(
            path,
            format!("the path does not start at {root}, so there is never a value"),
            "start the key with the name of the payload and a point",
        )),
        Err(message) => faults.push(CriteriaFault::new(
            path,
            message.clone(),
            "correct the path, or put names with other symbols in brackets and quotes",
        )),
    }
    let operators = || format!("use one of: {}", Operator::NAMES.join(", "));
    let operator = match &criterion.check {
        Check::NoOperator => {
            faults.push(CriteriaFault::new(
                path,
                "Operator not specified for field: ".to_owned() + key,
                operators(),
            ));
            return;
        }
        Check::UnknownOperator(name) => {
            faults.push(CriteriaFault::new(
                &join(path, "type"),
                format!("there is no operator {name:?}"),
                operators(),
            ));
            return;
        }
        Check::Rendered { .. } => return,
        Check::Fixed(comparison) => comparison.operator(),
    };
    let pattern = value.get("pattern").unwrap_or(&NULL);
    if pattern.is_null() && !operator.works_without_pattern() {
        faults.push(CriteriaFault::new(
            path,
            format!("no pattern specified for operator {}", criterion.operator),
            "add `pattern: …`",
        ));
        return;
    }
    if operator == Operator::Search
        && let (Ok(_), Value::Object(nested)) = (Condition::parse(value.get("condition")), pattern)
    {
        // An unknown operator inside is found there, with its place.
        check_entries(nested, ITEM, &join(path, "pattern"), depth + 1, faults);
    } else if let Check::Fixed(comparison) = &criterion.check
        && let Some(message) = comparison.fault()
    {
        faults.push(CriteriaFault::new(
            path,
            message.to_owned(),
            "correct the pattern or the condition",
        ));
    }
}
