//! Rules at the leader: pending trigger instances become enforcements and executions.
//!
//! ```text
//!   pending instances ─► judged outside of any transaction (templates are slow)
//!        └─► one transaction a batch: enforcement + execution + `processed`, fenced;
//!            what concerns no rule is `processed` by one statement for all
//! ```
//!
//! The enforcement (unique for a rule and an instance), the execution and the instance's status are written
//! together: a controller that dies in between leaves the instance pending, and the next one judges it
//! again. The queue is the table itself, so a burst takes no memory beyond one batch. What comes to the leader
//! from outside does not queue: it is judged as it comes, and written with what it led to ([`take_in`]).
//!
//! What a newcomer gets wrong: one instance that the store refuses must not hold up the others. A batch
//! that fails for a reason that will not pass is done again one by one, and what fails alone is set aside.

use super::round::Round;
use crate::automation::Automation;
use crate::automation::ids::new_id;
use crate::automation::ops::Fault;
use crate::automation::ops::executions::{Cause, SYSTEM_USER, Wanted};
use crate::automation::ops::matching::{self, Judgement, Outcome, View};
use crate::automation::ops::traces::{self, Joined};
use crate::ops::now;
use crate::store::automation::executions::Execution;
use crate::store::automation::rule_enforcements::{self, RuleEnforcement};
use crate::store::automation::rules::Rule;
use crate::store::automation::traces::Trace;
use crate::store::automation::trigger_instances::{self, TriggerInstance};
use crate::store::{Json, StoreError};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// Trigger instances in one transaction.
const BATCH: i64 = 100;
/// Characters of their payloads together, unless one alone has more.
const BATCH_SIZE: i64 = 16 << 20;
/// Batches before the other duties have their turn.
const BATCHES: usize = 10;
/// What comes from outside waits this long for its rules; then it is recorded without them.
const JUDGED_WITHIN: Duration = Duration::from_millis(200);
/// Trigger instances that are judged where the task stands that brings them, and the size of their payloads, if
/// the last ones of their triggers were quick.
const JUDGED_HERE: usize = 4;
const LARGEST_JUDGED_HERE: usize = 16 << 10;
/// The gauge of what waits counts no further.
const COUNTED: i64 = 100_000;

/// How trigger instances that were judged are recorded so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recorded {
    Not,
    Pending,
}

/// What was decided about one rule and one instance, free of borrows.
struct Decision {
    rule: Rule,
    outcome: Outcome,
    reasons: Value,
}

/// Looks at what happened. Whether more waits.
pub async fn look(automation: &Automation) -> Result<bool, Fault> {
    for _ in 0..BATCHES {
        let mut reader = automation.ops.store.read().await?;
        let count = trigger_instances::pending_within(&mut reader, BATCH, BATCH_SIZE).await?;
        if count == 0 {
            metrics::gauge!("automation_pending_instances").set(0.0);
            return Ok(false);
        }
        let rows = trigger_instances::pending(&mut reader, count).await?;
        drop(reader);
        let judged = judge(automation, rows).await?;
        enforce(automation, judged).await?;
    }
    let waiting =
        trigger_instances::count_pending(&mut *automation.ops.store.read().await?, COUNTED).await?;
    metrics::gauge!("automation_pending_instances").set(waiting as f64);
    Ok(waiting > 0)
}

/// Judges what comes from outside, and records it together with what it leads to.
pub async fn take_in(automation: &Automation, rows: &[TriggerInstance]) -> Result<(), Fault> {
    let judging = judge(automation, rows.to_vec());
    let Ok(judged) = tokio::time::timeout(JUDGED_WITHIN, judging).await else {
        return Err(Fault::Unavailable(format!(
            "the rules have not been judged within {JUDGED_WITHIN:?}"
        )));
    };
    enforce_together(automation, &judged?, Recorded::Not).await
}

async fn judge(
    automation: &Automation,
    rows: Vec<TriggerInstance>,
) -> Result<Vec<(TriggerInstance, Vec<Decision>)>, Fault> {
    let mut connection = automation.ops.store.read().await?;
    let known = automation.intake.rules.get();
    let set = matching::current(&mut connection, &known, &automation.expressions).await?;
    automation.intake.rules.put(set.clone());
    let references = set.references(rows.iter().map(|row| row.trigger_ref.as_str()));
    let keys = automation
        .keys_for_rules(&mut connection, &references)
        .await?;
    drop(connection);
    let record_all = automation
        .ops
        .settings()
        .bool("automation/rules/record_mismatches");
    let engine = automation.expressions.clone();
    let is_quick = rows.len() <= JUDGED_HERE
        && rows.iter().all(|row| {
            set.was_quick(&row.trigger_ref) && has_at_most(LARGEST_JUDGED_HERE, &row.payload)
        });
    let judge = move || {
        rows.into_iter()
            .map(|row| {
                let begun = Instant::now();
                let Some(candidates) = set.of(&row.trigger_ref) else {
                    return (row, Vec::new());
                };
                let templates = matching::templates(&engine, &row.payload, keys.clone());
                let view = View {
                    id: &row.id,
                    payload: &row.payload,
                    now: now() / 1000,
                };
                let decisions = matching::judge(candidates, &view, &templates, record_all)
                    .into_iter()
                    .map(decided)
                    .collect();
                set.took(&row.trigger_ref, begun.elapsed());
                (row, decisions)
            })
            .collect()
    };
    if is_quick {
        // A turn to another thread and back takes longer.
        return Ok(judge());
    }
    let judged = tokio::task::spawn_blocking(judge);
    judged.await.map_err(Fault::internal("judging rules"))
}

/// Whether a value has at most so many entries and bytes of text together.
fn has_at_most(size: usize, value: &Value) -> bool {
    fn rest(size: usize, value: &Value) -> Option<usize> {
        let size = size.checked_sub(1)?;
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Some(size),
            Value::String(text) => size.checked_sub(text.len()),
            Value::Array(values) => values.iter().try_fold(size, rest),
            Value::Object(entries) => entries.iter().try_fold(size, |size, (name, value)| {
                rest(size.checked_sub(name.len())?, value)
            }),
        }
    }
    rest(size, value).is_some()
}

fn decided(judgement: Judgement<'_>) -> Decision {
    Decision {
        rule: judgement.ready.row.clone(),
        outcome: judgement.outcome,
        reasons: matching::recorded(judgement.reasons),
    }
}

/// Whether trying again later cannot help.
fn is_lasting(fault: &Fault) -> bool {
    match fault {
        Fault::Store(StoreError::Unavailable { .. } | StoreError::Stale { .. })
        | Fault::Unavailable(_)
        | Fault::TooMany(_) => false,
        Fault::Store(_)
        | Fault::NotFound(_)
        | Fault::Invalid(_)
        | Fault::Conflict { .. }
        | Fault::NotAuthenticated
        | Fault::BadCredentials(_)
        | Fault::Forbidden(_)
        | Fault::TooLarge(_)
        | Fault::NotSupported(_)
        | Fault::Internal { .. } => true,
    }
}

async fn enforce(
    automation: &Automation,
    judged: Vec<(TriggerInstance, Vec<Decision>)>,
) -> Result<(), Fault> {
    match enforce_together(automation, &judged, Recorded::Pending).await {
        Err(fault) if is_lasting(&fault) => {
            tracing::warn!(
                error = &fault as &dyn std::error::Error,
                "a batch of trigger instances failed; they are processed one by one"
            );
        }
        done => return done,
    }
    for one in &judged {
        match enforce_together(automation, std::slice::from_ref(one), Recorded::Pending).await {
            Err(fault) if is_lasting(&fault) => set_aside(automation, &one.0, &fault).await?,
            done => done?,
        }
    }
    Ok(())
}

async fn set_aside(
    automation: &Automation,
    row: &TriggerInstance,
    why: &Fault,
) -> Result<(), Fault> {
    tracing::error!(
        instance = row.id,
        trigger = row.trigger_ref,
        error = why as &dyn std::error::Error,
        "a trigger instance cannot be processed and is set aside"
    );
    let mut round = automation.round("set a trigger instance aside").await?;
    let at = round.now();
    let mut row = row.clone();
    row.status = trigger_instances::FAILED.to_string();
    row.update(round.connection(), at).await?;
    round.finish().await
}

async fn enforce_together(
    automation: &Automation,
    judged: &[(TriggerInstance, Vec<Decision>)],
    recorded: Recorded,
) -> Result<(), Fault> {
    let mut round = automation.round("enforce rules").await?;
    let at = round.now();
    let mut accepted = Vec::new();
    let mut processed = Vec::with_capacity(judged.len());
    for (row, decisions) in judged {
        let mut row = row.clone();
        for decision in decisions {
            if recorded == Recorded::Pending
                && rule_enforcements::exists(round.connection(), &decision.rule.id, &row.id).await?
            {
                continue;
            }
            accepted.extend(one(automation, &mut round, &mut row, decision).await?);
        }
        if row.trace_tag.is_some() && row.trace_id.is_none() {
            note_instance(&mut round, &mut row).await?;
        }
        processed.push(row);
    }
    match recorded {
        // Stale: somebody else has processed one of them, and this transaction never was.
        Recorded::Pending => {
            trigger_instances::processed(round.connection(), &processed, at).await?;
        }
        Recorded::Not => {
            for row in &mut processed {
                row.status = trigger_instances::PROCESSED.to_string();
            }
            trigger_instances::insert_all_once(round.connection(), &processed).await?;
        }
    }
    round.accepted(accepted).await?;
    round.finish().await
}

/// Carries out one decision: the execution that was accepted, if any was.
async fn one(
    automation: &Automation,
    round: &mut Round,
    instance: &mut TriggerInstance,
    decision: &Decision,
) -> Result<Option<Execution>, Fault> {
    let at = round.now();
    let rule = &decision.rule;
    let (status, execution, failure) = match &decision.outcome {
        Outcome::Mismatched => (rule_enforcements::MISMATCHED, None, None),
        Outcome::Failed(text) => (rule_enforcements::FAILED, None, Some(text.clone())),
        Outcome::Matched(parameters) => {
            let trace = note_instance(round, instance).await?;
            let component = traces::component_of_rule(rule, &instance.id, at);
            round.traces().add(&trace, component);
            let done = match parameters {
                Err(text) => Err(text.clone()),
                Ok(parameters) => {
                    run(automation, round, instance, rule, parameters, trace.trace).await?
                }
            };
            match done {
                Ok(execution) => (rule_enforcements::SUCCEEDED, Some(execution), None),
                Err(text) => (rule_enforcements::FAILED, None, Some(text)),
            }
        }
    };
    metrics::counter!("automation_enforcements_total", "status" => status).increment(1);
    if let Some(text) = &failure {
        tracing::warn!(
            rule = rule.reference,
            instance = instance.id,
            text,
            "a rule could not be enforced"
        );
    }
    let enforcement = RuleEnforcement {
        id: new_id(),
        rule_ref: rule.reference.clone(),
        rule_id: rule.id.clone(),
        trigger_instance: instance.id.clone(),
        execution_id: execution.as_ref().map(|row| row.id.clone()),
        status: status.to_string(),
        failure_reason: failure,
        reasons: Json(decision.reasons.clone()),
        enforced_at: at,
    };
    round.enforced(enforcement);
    Ok(execution)
}

/// The trace of a trigger instance, with the instance noted in it.
async fn note_instance(round: &mut Round, row: &mut TriggerInstance) -> Result<Joined, Fault> {
    let at = round.now();
    if let Some(joined) = row
        .trace_id
        .as_deref()
        .and_then(|id| round.traces().begun(id))
    {
        // By another rule that matched it.
        return Ok(joined);
    }
    let joined = traces::of_instance(round.connection(), row, at).await?;
    let component = traces::component_of_instance(row, at);
    round.traces().add(&joined, component);
    Ok(joined)
}

/// Accepts the execution of a rule's action, or says why there is none.
async fn run(
    automation: &Automation,
    round: &mut Round,
    instance: &TriggerInstance,
    rule: &Rule,
    parameters: &Map<String, Value>,
    trace: Trace,
) -> Result<Result<Execution, String>, Fault> {
    let owner = match automation.rule_owner(round.connection(), rule).await {
        Ok(owner) => owner,
        Err(Fault::Forbidden(text)) => return Ok(Err(text)),
        Err(fault) => return Err(fault),
    };
    let (user_guid, username) = match owner {
        Some((guid, name)) => (Some(guid), name),
        None => (None, SYSTEM_USER.to_string()),
    };
    let context = Map::from_iter([
        (
            "trigger_instance".to_string(),
            json!({"id": instance.id, "name": Value::Null}),
        ),
        (
            "rule".to_string(),
            json!({"id": rule.id, "name": rule.name}),
        ),
    ]);
    let wanted = Wanted {
        action: rule.action_ref.clone(),
        parameters: parameters.clone(),
        context,
        username,
        user_guid,
        trace: Some(trace),
        // What a payload brought in is not an expression.
        literal: true,
        because: Cause {
            rule: Some((rule.reference.clone(), rule.id.clone())),
            trigger_instance: Some(instance.id.clone()),
            trigger: Some(instance.trigger_ref.clone()),
            trigger_type: Some(instance.trigger_type.clone()),
        },
        ..Wanted::default()
    };
    round.accept(wanted).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_small_by_its_entries_and_its_texts() {
        let payload = json!({"name": "text", "list": [1, null, true]});
        // Six values, and the letters of two names and a text.
        let exact = 6 + 4 + 4 + 4;
        assert!(has_at_most(exact, &payload));
        assert!(!has_at_most(exact - 1, &payload));
        assert!(!has_at_most(0, &Value::Null));
    }
}
