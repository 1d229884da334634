//! Rules made ready, and what they make of a trigger instance. No row is written here: the engine
//! enforces ([`crate::automation::engine`]), the tester shows ([`super::rule_tests`]).

use super::executions::SYSTEM_USER;
use super::fault::Fault;
use super::loaded_keys::LoadedKeys;
use super::resources::present;
use crate::automation::Automation;
use crate::store::automation::rules::{self, Fingerprint, Rule};
use crate::store::sql::Connection;
use automation::expressions::{Engine, References};
use automation::rules::{CompiledRule, Instance, Reason, Templates, TriggerRules, Verdict};
use automation::spec;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A value in the record of an enforcement is cut at this many bytes.
const LONGEST_RECORDED: usize = 1024;
/// Criteria that are recorded of one enforcement.
const MOST_RECORDED: usize = 100;

/// What takes no longer than this is done where it is asked for.
const QUICK: Duration = Duration::from_micros(500);

/// A rule and what its templates read.
#[derive(Debug)]
pub struct Ready {
    pub row: Rule,
    pub rule: CompiledRule,
    references: References,
}

impl AsRef<CompiledRule> for Ready {
    fn as_ref(&self) -> &CompiledRule {
        &self.rule
    }
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

/// The rules of one trigger that are switched on.
#[derive(Debug)]
struct OfTrigger {
    /// Identifier and version of each: the same ones need not be made ready again.
    revision: Vec<(String, i64)>,
    rules: TriggerRules<Ready>,
    /// Everything they may read of the datastore.
    references: References,
    /// Microseconds that the last judging took.
    took: AtomicU64,
}

impl OfTrigger {
    fn new(rows: Vec<Rule>, engine: &Engine) -> OfTrigger {
        let revision = revision(&rows);
        let mut references = References::default();
        let mut rules = Vec::with_capacity(rows.len());
        for row in rows {
            match Ready::new(row, engine) {
                Ok(ready) => {
                    references.extend(ready.references.clone());
                    rules.push(ready);
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a rule is left out"
                    );
                }
            }
        }
        OfTrigger {
            revision,
            rules: TriggerRules::new(rules),
            references,
            took: AtomicU64::new(u64::MAX),
        }
    }
}

fn revision(rows: &[Rule]) -> Vec<(String, i64)> {
    rows.iter()
        .map(|row| (row.id.clone(), row.row_version))
        .collect()
}

/// The rules that are switched on, by trigger.
#[derive(Debug, Default)]
pub struct RuleSet {
    fingerprint: Fingerprint,
    by_trigger: BTreeMap<String, Arc<OfTrigger>>,
}

impl RuleSet {
    /// The rules of a trigger, if it has any.
    pub fn of(&self, trigger: &str) -> Option<&TriggerRules<Ready>> {
        self.by_trigger.get(trigger).map(|found| &found.rules)
    }

    /// Whether the rules of a trigger were judged so quickly the last time that the next time is not worth a turn to
    /// another thread.
    pub fn was_quick(&self, trigger: &str) -> bool {
        let took = |found: &Arc<OfTrigger>| found.took.load(Ordering::Relaxed);
        self.by_trigger
            .get(trigger)
            .is_none_or(|found| took(found) <= QUICK.as_micros() as u64)
    }

    /// Notes how long the rules of a trigger took to be judged.
    pub fn took(&self, trigger: &str, took: Duration) {
        if let Some(found) = self.by_trigger.get(trigger) {
            let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            found.took.store(took, Ordering::Relaxed);
        }
    }

    /// Everything the rules of these triggers may read of the datastore.
    pub fn references<'a>(&self, triggers: impl IntoIterator<Item = &'a str>) -> References {
        let mut all = References::default();
        let triggers: BTreeSet<&str> = triggers.into_iter().collect();
        for found in triggers
            .into_iter()
            .filter_map(|trigger| self.by_trigger.get(trigger))
        {
            all.extend(found.references.clone());
        }
        all
    }

    /// The set with these rules. What has not changed is kept.
    fn renewed(&self, fingerprint: Fingerprint, rows: Vec<Rule>, engine: &Engine) -> RuleSet {
        let mut rows_of: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
        for row in rows {
            rows_of
                .entry(row.trigger_ref.clone())
                .or_default()
                .push(row);
        }
        let by_trigger = rows_of.into_iter().map(|(trigger, rows)| {
            let known = self.by_trigger.get(&trigger);
            let found = match known.filter(|known| known.revision == revision(&rows)) {
                Some(known) => known.clone(),
                None => Arc::new(OfTrigger::new(rows, engine)),
            };
            (trigger, found)
        });
        RuleSet {
            fingerprint,
            by_trigger: by_trigger.collect(),
        }
    }
}

/// The rules as they are now; `before` if none has changed since.
pub async fn current(
    connection: &mut Connection,
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
    let rows = Rule::fetch(connection, filter, "read the rules").await?;
    let (before, engine) = (before.clone(), engine.clone());
    // A thousand regular expressions take their time.
    tokio::task::spawn_blocking(move || Arc::new(before.renewed(fingerprint, rows, &engine)))
        .await
        .map_err(Fault::internal("making rules ready"))
}

/// What a rule sees of one trigger instance.
pub struct View<'a> {
    pub id: &'a str,
    pub payload: &'a Value,
    /// Unix milliseconds.
    pub now: i64,
}

impl<'a> View<'a> {
    fn instance(&self) -> Instance<'a> {
        Instance {
            id: self.id,
            payload: self.payload,
        }
    }
}

/// What templates of rules may read of a trigger instance.
pub fn templates<'a>(
    engine: &'a Engine,
    payload: &'a Value,
    keys: Arc<LoadedKeys>,
) -> Templates<'a> {
    Templates::new(engine, payload, keys, SYSTEM_USER)
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
    rules: &'r TriggerRules<Ready>,
    view: &View<'_>,
    templates: &Templates<'_>,
    all: bool,
) -> Vec<Judgement<'r>> {
    let dispatch = rules.dispatch(view.instance(), view.now, templates);
    let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
    if all {
        let every = 0..rules.rules().len();
        outcomes.extend(every.map(|position| (position, Outcome::Mismatched)));
    }
    // The first failure of a rule stands, unless the rule matches all the same.
    for (position, text) in dispatch.failures.into_iter().rev() {
        outcomes.insert(position, Outcome::Failed(text));
    }
    for position in dispatch.matched {
        let parameters = parameters(&rules.rules()[position], view, templates);
        outcomes.insert(position, Outcome::Matched(parameters));
    }
    outcomes
        .into_iter()
        .map(|(position, outcome)| {
            let ready = &rules.rules()[position];
            let rule = &ready.rule;
            Judgement {
                ready,
                outcome,
                reasons: automation::rules::reasons(rule, view.instance(), view.now, templates),
            }
        })
        .collect()
}

/// The parameters a rule gives to its action.
pub fn parameters(
    ready: &Ready,
    view: &View<'_>,
    templates: &Templates<'_>,
) -> Result<Map<String, Value>, String> {
    templates
        .parameters(&ready.rule, view.id)
        .map_err(|error| error.to_string())
}

/// Judges one rule by itself, for people who ask why.
pub fn explain(ready: &Ready, view: &View<'_>, templates: &Templates<'_>) -> Verdict {
    automation::rules::evaluate(&ready.rule, view.instance(), view.now, templates)
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
        connection: &mut Connection,
        references: &References,
    ) -> Result<Arc<LoadedKeys>, Fault> {
        self.load_keys(connection, references, SYSTEM_USER).await
    }

    /// The keys that one rule reads.
    pub async fn keys_for_rule(
        &self,
        connection: &mut Connection,
        ready: &Ready,
    ) -> Result<Arc<LoadedKeys>, Fault> {
        self.load_keys(connection, &ready.references, SYSTEM_USER)
            .await
    }
}
