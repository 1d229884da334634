//! Rules made ready, and what they make of a trigger instance. No row is written here: the engine
//! enforces ([`crate::automation::engine`]), the tester shows ([`super::rule_tests`]).

use super::executions::SYSTEM_USER;
use super::fault::Fault;
use super::loaded_keys::LoadedKeys;
use super::resources::present;
use crate::automation::Automation;
use crate::store::automation::rules::{self, Fingerprint, Rule};
use automation::expressions::{Context, Engine, References};
use automation::rules::{CompiledRule, Instance, Reason, Renderer};
use automation::spec;
use serde_json::{Map, Value};
use sqlx::AnyConnection;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A value in the record of an enforcement is cut at this many bytes.
const LONGEST_RECORDED: usize = 1024;
/// Criteria that are recorded of one enforcement.
const MOST_RECORDED: usize = 100;

/// A rule and what its templates read.
#[derive(Debug)]
pub struct Ready {
    pub row: Rule,
    pub rule: CompiledRule,
    references: References,
}

/// Why a rule cannot be used: its document makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("the rule \"{rule}\" cannot be read")]
pub struct Unreadable {
    pub rule: String,
    #[source]
    source: serde_json::Error,
}

impl Ready {
    pub fn new(row: Rule, engine: &Engine) -> Result<Ready, Unreadable> {
        let document: spec::Rule =
            serde_json::from_value(present(&row)).map_err(|source| Unreadable {
                rule: row.reference.clone(),
                source,
            })?;
        let mut references = References::default();
        let criteria = Value::Object(document.criteria.clone());
        let parameters = Value::Object(document.action.parameters.clone());
        for value in [&criteria, &parameters] {
            // What does not compile reads nothing, and fails when it is rendered.
            if let Ok(found) = engine.references_of_value(value) {
                references.extend(found);
            }
        }
        Ok(Ready {
            rule: CompiledRule::new(&document),
            row,
            references,
        })
    }
}

/// The rules that are switched on, by trigger.
#[derive(Debug, Default)]
pub struct RuleSet {
    fingerprint: Fingerprint,
    by_trigger: BTreeMap<String, Vec<Ready>>,
}

impl RuleSet {
    pub fn of(&self, trigger: &str) -> &[Ready] {
        self.by_trigger.get(trigger).map_or(&[], Vec::as_slice)
    }

    /// Everything the rules of these triggers may read of the datastore.
    pub fn references<'a>(&self, triggers: impl IntoIterator<Item = &'a str>) -> References {
        let mut all = References::default();
        for ready in triggers.into_iter().flat_map(|trigger| self.of(trigger)) {
            all.extend(ready.references.clone());
        }
        all
    }
}

/// The rules as they are now; `before` if none has changed since.
pub async fn current(
    connection: &mut AnyConnection,
    before: &Arc<RuleSet>,
    engine: &Engine,
) -> Result<Arc<RuleSet>, Fault> {
    let fingerprint = rules::fingerprint(connection).await?;
    if fingerprint == before.fingerprint {
        return Ok(before.clone());
    }
    let filter = crate::store::query::Filter::new()
        .equals_number("enabled", 1)
        .order_by("reference", "reference", false);
    let mut by_trigger: BTreeMap<String, Vec<Ready>> = BTreeMap::new();
    for row in Rule::fetch(connection, filter, "read the rules").await? {
        match Ready::new(row, engine) {
            Ok(ready) => by_trigger
                .entry(ready.row.trigger_ref.clone())
                .or_default()
                .push(ready),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a rule is left out"
                );
            }
        }
    }
    Ok(Arc::new(RuleSet {
        fingerprint,
        by_trigger,
    }))
}

/// Renders patterns: a lone expression keeps its type.
struct Patterns<'a> {
    engine: &'a Engine,
    context: &'a Context,
}

impl Renderer for Patterns<'_> {
    fn render(&self, template: &Value, name: &str, payload: &Value) -> Result<Value, String> {
        let inner;
        let context = if self.context.contains(name) {
            self.context
        } else {
            inner = self.context.clone().with(name, payload);
            &inner
        };
        self.engine
            .render_value(template, context)
            .map_err(|error| error.to_string())
    }
}

/// Renders parameters of the action: a text stays a text, which the action's schema casts, as in StackStorm;
/// inside lists and objects a lone expression keeps its type.
struct Parameters<'a>(Patterns<'a>);

impl Renderer for Parameters<'_> {
    fn render(&self, template: &Value, name: &str, payload: &Value) -> Result<Value, String> {
        match template {
            Value::String(text) => self
                .0
                .engine
                .render_text(text, self.0.context)
                .map(Value::String)
                .map_err(|error| error.to_string()),
            other => self.0.render(other, name, payload),
        }
    }
}

/// What a rule sees of one trigger instance.
pub struct View<'a> {
    pub id: &'a str,
    pub payload: &'a Value,
    /// Unix milliseconds.
    pub now: i64,
}

/// The names that templates of rules may use.
pub fn context(payload: &Value, keys: Arc<LoadedKeys>) -> Context {
    Context::new()
        .with("trigger", payload)
        .with_datastore(keys, SYSTEM_USER)
}

/// What came of one rule.
#[derive(Debug)]
pub enum Outcome {
    /// It matches: parameters for the action, or why there are none.
    Matched(Result<Map<String, Value>, String>),
    /// Its criteria could not be evaluated.
    Failed(String),
    Mismatched,
}

#[derive(Debug)]
pub struct Judgement<'r> {
    pub ready: &'r Ready,
    pub outcome: Outcome,
    pub reasons: Vec<Reason>,
}

/// Judges the rules of a trigger. Mismatches are part of the answer only if `all`.
pub fn judge<'r>(
    rules: &'r [Ready],
    view: &View<'_>,
    engine: &Engine,
    context: &Context,
    all: bool,
) -> Vec<Judgement<'r>> {
    let patterns = Patterns { engine, context };
    let instance = Instance {
        id: view.id,
        payload: view.payload,
    };
    let dispatch = automation::rules::dispatch(
        rules.iter().map(|ready| &ready.rule),
        instance,
        view.now,
        &patterns,
    );
    let mut judgements = Vec::new();
    for ready in rules {
        let is = |rule: &&CompiledRule| std::ptr::eq::<CompiledRule>(*rule, &ready.rule);
        let failure = dispatch
            .failures
            .iter()
            .find(|(rule, _)| is(rule))
            .map(|(_, text)| text.clone());
        let outcome = if dispatch.matched.iter().any(is) {
            Outcome::Matched(parameters(ready, instance, engine, context))
        } else if let Some(text) = failure {
            Outcome::Failed(text)
        } else if all {
            Outcome::Mismatched
        } else {
            continue;
        };
        let verdict = automation::rules::evaluate(&ready.rule, instance, view.now, &patterns);
        judgements.push(Judgement {
            ready,
            outcome,
            reasons: verdict.reasons,
        });
    }
    judgements
}

/// The parameters a rule gives to its action.
pub fn parameters(
    ready: &Ready,
    instance: Instance<'_>,
    engine: &Engine,
    context: &Context,
) -> Result<Map<String, Value>, String> {
    let renderer = Parameters(Patterns { engine, context });
    automation::rules::map(&ready.rule, instance, &renderer).map_err(|error| error.to_string())
}

/// Judges one rule by itself, for people who ask why.
pub fn explain(
    ready: &Ready,
    view: &View<'_>,
    engine: &Engine,
    context: &Context,
) -> automation::rules::Verdict {
    let instance = Instance {
        id: view.id,
        payload: view.payload,
    };
    automation::rules::evaluate(
        &ready.rule,
        instance,
        view.now,
        &Patterns { engine, context },
    )
}

/// Reasons as they are recorded: payloads may be large, records are not.
pub fn recorded(reasons: Vec<Reason>) -> Value {
    let cut = |value: Value| {
        let text = value.to_string();
        if text.len() <= LONGEST_RECORDED {
            return value;
        }
        let mut end = LONGEST_RECORDED;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Value::String(format!("{}…", &text[..end]))
    };
    let kept: Vec<Value> = reasons
        .into_iter()
        .take(MOST_RECORDED)
        .map(|mut reason| {
            reason.pattern = cut(reason.pattern);
            reason.value = reason.value.map(cut);
            serde_json::to_value(reason).unwrap_or_default()
        })
        .collect();
    Value::Array(kept)
}

impl Automation {
    /// The keys that the rules of these triggers read.
    pub async fn keys_for_rules(
        &self,
        connection: &mut AnyConnection,
        references: &References,
    ) -> Result<Arc<LoadedKeys>, Fault> {
        self.load_keys(connection, references, SYSTEM_USER).await
    }

    /// The keys that one rule reads.
    pub async fn keys_for_rule(
        &self,
        connection: &mut AnyConnection,
        ready: &Ready,
    ) -> Result<Arc<LoadedKeys>, Fault> {
        self.load_keys(connection, &ready.references, SYSTEM_USER)
            .await
    }
}
