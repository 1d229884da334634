//! Rules: criteria, why they match or not, and what they make of a trigger's payload.
//!
//! ```text
//!   spec::Rule ─► CompiledRule ─┬─► evaluate: Verdict with a reason for every criterion
//!                               ├─► TriggerRules: which of a trigger's rules run
//!                               └─► Templates::parameters: parameters of the action
//! ```
//!
//! A rule is compiled when it is registered: paths, expressions and nested criteria are made ready.
//! The shell keeps the [`TriggerRules`] of each trigger by its ref. They evaluate only the rules
//! that the payload shows a sign of, found in an index; the answer is that of [`dispatch`], which
//! evaluates all of them, and a property test holds the two together. What several rules ask is
//! evaluated once for all of them; it costs a walk into the payload, and nothing is allocated unless
//! a pattern is a template or case is ignored (`examples/rules_bench.rs` measures it).
//!
//! What a newcomer gets wrong: a criterion that fails (a bad expression, text compared with a
//! number) does not stop the rule from being evaluated. It does not match, and its text is a
//! failed enforcement on the record of the rule: see [`Verdict::failures`].

#[cfg(test)]
mod agreement;
mod criteria;
mod date;
mod index;
mod operator;
mod path;
mod python;
mod questions;
mod signs;
mod templates;
#[cfg(test)]
mod tests;
mod trigger_rules;

use serde::Serialize;
use serde_json::{Map, Value};

pub use criteria::{CriteriaFault, check_criteria};
pub use operator::Operator;
pub use path::Path;
pub use templates::Templates;
pub use trigger_rules::TriggerRules;

use crate::spec::{Rule, RuleKind};
use criteria::{Criteria, Entry, Evaluation, PROBLEM, TRIGGER};

/// Renders templates of patterns and parameters.
pub trait Renderer {
    /// The template's value where `payload` stands under `name` (`trigger`, or `item` inside a
    /// search), beside the datastore. Lists and mappings are rendered in depth; a string that is
    /// one expression keeps the expression's type.
    fn render(&self, template: &Value, name: &str, payload: &Value) -> Result<Value, String>;
}

impl<F> Renderer for F
where
    F: Fn(&Value, &str, &Value) -> Result<Value, String>,
{
    fn render(&self, template: &Value, name: &str, payload: &Value) -> Result<Value, String> {
        self(template, name, payload)
    }
}

/// What happened: the part of a trigger instance that rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Instance<'a> {
    pub id: &'a str,
    pub payload: &'a Value,
}

/// What came of one criterion.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// The criterion's key; in a group with the group's place before it: `any[0].trigger.x`.
    pub key: String,
    /// As the rule writes it, empty when it does not.
    pub operator: String,
    /// Rendered.
    pub pattern: Value,
    /// What the payload has at the path; none when it has nothing there.
    pub value: Option<Value>,
    pub matched: bool,
    /// Why the criterion could not be evaluated.
    pub failure: Option<String>,
}

/// Whether a rule matches, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    pub matched: bool,
    /// Why no criterion was looked at, when that is so.
    pub note: Option<String>,
    /// One for every criterion, in the order of their keys.
    pub reasons: Vec<Reason>,
    /// Texts of failed enforcements.
    pub failures: Vec<String>,
}

/// A rule made ready to be evaluated.
#[derive(Debug, Clone)]
pub struct CompiledRule {
    reference: String,
    enabled: bool,
    kind: RuleKind,
    criteria: Criteria,
    parameters: Map<String, Value>,
}

impl CompiledRule {
    pub fn new(rule: &Rule) -> Self {
        CompiledRule {
            reference: rule.reference.clone(),
            enabled: rule.enabled,
            kind: rule.kind.kind,
            criteria: Criteria::compile(&rule.criteria, TRIGGER),
            parameters: rule.action.parameters.clone(),
        }
    }

    pub fn reference(&self) -> &str {
        &self.reference
    }

    pub fn kind(&self) -> RuleKind {
        self.kind
    }

    fn evaluation<'a>(&'a self, now_millis: i64, renderer: &'a dyn Renderer) -> Evaluation<'a> {
        Evaluation {
            rule: &self.reference,
            now_millis,
            renderer,
        }
    }

    /// Why no criterion is to be looked at.
    fn note(&self, payload: &Value) -> Option<&'static str> {
        if !self.enabled {
            Some("the rule is disabled")
        } else if !self.criteria.is_empty() && is_empty(payload) {
            Some("there are criteria, but the payload is empty")
        } else {
            None
        }
    }

    /// Whether the rule matches. `failures` gets the texts of failed enforcements. Criteria are
    /// looked at until one does not match.
    pub fn matches(
        &self,
        instance: Instance<'_>,
        now_millis: i64,
        renderer: &dyn Renderer,
        failures: &mut Vec<String>,
    ) -> bool {
        if self.note(instance.payload).is_some() {
            return false;
        }
        let already = failures.len();
        let evaluation = self.evaluation(now_millis, renderer);
        let matched = self.criteria.hold(instance.payload, &evaluation, failures);
        for failure in &mut failures[already..] {
            *failure = self.failure_text(instance.id, failure);
        }
        matched
    }

    fn failure_text(&self, instance: &str, failure: &str) -> String {
        self.failure_of(instance, [failure, "", "", ""])
    }

    /// The same for the fault of a comparison.
    fn fault_text(&self, instance: &str, fault: &str) -> String {
        self.failure_of(instance, [PROBLEM, &self.reference, ": ", fault])
    }

    /// Put together without the machinery of formats: one event may make a thousand of these.
    fn failure_of(&self, instance: &str, [first, second, third, fourth]: [&str; 4]) -> String {
        [
            "Failed to match rule \"",
            &self.reference,
            "\" against trigger instance \"",
            instance,
            "\": ",
            first,
            second,
            third,
            fourth,
        ]
        .concat()
    }
}

/// What Python calls an empty payload.
fn is_empty(payload: &Value) -> bool {
    match payload {
        Value::Null => true,
        Value::Object(entries) => entries.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
    }
}

impl AsRef<CompiledRule> for CompiledRule {
    fn as_ref(&self) -> &CompiledRule {
        self
    }
}

/// Evaluates one rule and tells what every criterion gave, for people who ask why. Whether the
/// rule matches and which enforcements failed is the same as in [`CompiledRule::matches`].
pub fn evaluate(
    rule: &CompiledRule,
    instance: Instance<'_>,
    now_millis: i64,
    renderer: &dyn Renderer,
) -> Verdict {
    let mut failures = Vec::new();
    let matched = rule.matches(instance, now_millis, renderer, &mut failures);
    Verdict {
        matched,
        note: rule.note(instance.payload).map(str::to_owned),
        reasons: reasons(rule, instance, now_millis, renderer),
        failures,
    }
}

/// What every criterion gives, in the order of their keys; nothing if none is to be looked at.
pub fn reasons(
    rule: &CompiledRule,
    instance: Instance<'_>,
    now_millis: i64,
    renderer: &dyn Renderer,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if rule.note(instance.payload).is_none() {
        let evaluation = rule.evaluation(now_millis, renderer);
        explain(
            &rule.criteria,
            "",
            instance.payload,
            &evaluation,
            &mut reasons,
        );
    }
    reasons
}

fn explain(
    criteria: &Criteria,
    around: &str,
    payload: &Value,
    evaluation: &Evaluation<'_>,
    reasons: &mut Vec<Reason>,
) {
    for entry in criteria.entries() {
        match entry {
            Entry::Any(groups) => {
                for (index, group) in groups.iter().enumerate() {
                    let around = format!("{around}{}[{index}].", criteria::ANY);
                    explain(group, &around, payload, evaluation, reasons);
                }
            }
            Entry::One(criterion) => {
                let mut failures = Vec::new();
                let checked = criterion.check(TRIGGER, payload, evaluation, &mut failures);
                reasons.push(Reason {
                    key: format!("{around}{}", criterion.key),
                    operator: criterion.operator.clone(),
                    pattern: checked.pattern.into_owned(),
                    value: checked.value.cloned(),
                    matched: checked.matched,
                    failure: (!failures.is_empty()).then(|| failures.join("; ")),
                });
            }
        }
    }
}

/// Which of the rules of one trigger run, by their places among those rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dispatch {
    pub matched: Vec<usize>,
    /// Rules whose criteria could not be evaluated, with the text of the failed enforcement.
    pub failures: Vec<(usize, String)>,
}

/// Evaluates the rules of one trigger: the standard ones, then, if none of them matched, the
/// backstops. Every rule is looked at; [`TriggerRules`] spares most of that.
pub fn dispatch<R: AsRef<CompiledRule>>(
    rules: &[R],
    instance: Instance<'_>,
    now_millis: i64,
    renderer: &dyn Renderer,
) -> Dispatch {
    let kind = |position: usize| rules[position].as_ref().kind;
    let mut texts = Vec::new();
    dispatch_at(0..rules.len(), kind, |position, failures| {
        let rule = rules[position].as_ref();
        let matched = rule.matches(instance, now_millis, renderer, &mut texts);
        failures.extend(texts.drain(..).map(|text| (position, text)));
        matched
    })
}

/// The same with the rules at these places alone; `matches` tells whether one does, and adds its failures.
fn dispatch_at(
    positions: impl Iterator<Item = usize>,
    kind: impl Fn(usize) -> RuleKind,
    mut matches: impl FnMut(usize, &mut Vec<(usize, String)>) -> bool,
) -> Dispatch {
    let mut dispatch = Dispatch::default();
    let mut backstops = Vec::new();
    let mut consider = |position: usize, dispatch: &mut Dispatch| {
        if matches(position, &mut dispatch.failures) {
            dispatch.matched.push(position);
        }
    };
    for position in positions {
        match kind(position) {
            RuleKind::Standard => consider(position, &mut dispatch),
            RuleKind::Backstop => backstops.push(position),
        }
    }
    if dispatch.matched.is_empty() {
        for position in backstops {
            consider(position, &mut dispatch);
        }
    }
    dispatch
}

/// Why the parameters of a rule's action could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to render parameter {parameter:?} of rule {rule:?}: {cause}")]
pub struct MapError {
    pub rule: String,
    pub parameter: String,
    pub cause: String,
}

/// Parameters of the rule's action for a trigger instance.
pub fn map(
    rule: &CompiledRule,
    instance: Instance<'_>,
    renderer: &dyn Renderer,
) -> Result<Map<String, Value>, MapError> {
    rule.parameters
        .iter()
        .map(|(name, template)| {
            renderer
                .render(template, TRIGGER, instance.payload)
                .map(|value| (name.clone(), value))
                .map_err(|cause| MapError {
                    rule: rule.reference.clone(),
                    parameter: name.clone(),
                    cause,
                })
        })
        .collect()
}
