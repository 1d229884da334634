//! Trying rules out: on one trigger instance, or on those of a span of time. Nothing is executed and
//! nothing is written.

use super::callers::Permission;
use super::fault::Fault;
use super::matching::{self, Ready, View};
use super::resources::{self, present};
use super::triggers::{check_payload, named_trigger, trigger_type};
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::automation::ids::new_id;
use crate::domain::times::rfc3339_micros;
use crate::ops::now;
use crate::store::Json;
use crate::store::automation::rules::Rule;
use crate::store::automation::trigger_instances::{self, TriggerInstance};
use crate::store::sql::Connection;
use automation::rules::Verdict;
use serde_json::{Map, Value, json};

/// Instances looked at in one replay, unless fewer are asked for.
pub const MOST_REPLAYED: i64 = 10_000;
/// Matches that a replay shows.
const MOST_SHOWN: usize = 10;
/// Instances read at a time.
const CHUNK: usize = 500;

/// What the rule is tried on.
#[derive(Debug, Clone)]
pub enum Sample {
    /// Id of a trigger instance.
    Instance(String),
    Payload(Value),
}

/// What came of a try.
#[derive(Debug)]
pub struct Trial {
    pub verdict: Verdict,
    pub rule: String,
    pub action: String,
    /// Why the rule would never be asked about this instance.
    pub other_trigger: Option<String>,
    /// None: it does not match.
    pub parameters: Option<Result<Map<String, Value>, String>>,
}

#[derive(Debug, Default)]
pub struct Replay {
    pub looked_at: u64,
    pub matched: u64,
    /// Whose criteria could not be evaluated.
    pub failed: u64,
    /// Whose parameters could not be rendered, though the criteria match.
    pub unmapped: u64,
    /// There were more instances than were looked at.
    pub more: bool,
    pub first_matches: Vec<Value>,
    pub first_failures: Vec<String>,
}

/// A span of time in Unix microseconds, `to` excluded.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub from: i64,
    pub to: i64,
    pub limit: i64,
}

impl Automation {
    /// A rule by reference or id, or as a document that is not stored. It counts as switched on.
    async fn rule_to_try(
        &self,
        connection: &mut Connection,
        given: &Value,
    ) -> Result<Ready, Fault> {
        let mut row = match given {
            Value::String(reference) => resources::get::<Rule>(connection, reference).await?,
            document => {
                let rule = super::rules::read(document.clone())?;
                trigger_type(connection, &rule.trigger.kind)
                    .await?
                    .ok_or_else(|| {
                        Fault::Invalid(format!("Trigger type \"{}\" not found.", rule.trigger.kind))
                    })?;
                let named =
                    json!({"type": rule.trigger.kind, "parameters": rule.trigger.parameters});
                // No rule waits for it yet: then there is no instance of it either.
                let trigger_ref = match named_trigger(connection, &named).await {
                    Ok((reference, _)) => reference,
                    Err(Fault::Invalid(_)) => String::new(),
                    Err(fault) => return Err(fault),
                };
                Rule {
                    reference: rule.reference.clone(),
                    id: new_id(),
                    pack: rule.pack.clone(),
                    name: rule.name.clone(),
                    trigger_ref,
                    action_ref: rule.action.reference.clone(),
                    enabled: true,
                    document: Json(
                        serde_json::to_value(&rule).map_err(Fault::internal("writing a rule"))?,
                    ),
                    owner_guid: None,
                    created_at: 0,
                    updated_at: 0,
                    row_version: 1,
                }
            }
        };
        row.enabled = true;
        Ready::new(row, &self.expressions).map_err(Fault::internal("reading a rule"))
    }

    /// Whether a rule matches, why, and what it would give to its action.
    pub async fn try_rule(
        &self,
        caller: &Caller,
        rule: &Value,
        sample: &Sample,
    ) -> Result<Trial, Fault> {
        caller.allow(Permission::View, "rule_view")?;
        // What a rule renders may hold secrets of the datastore, decrypted.
        caller.allow(Permission::Modify, "rule_modify")?;
        let mut connection = self.ops.store.read().await?;
        let ready = self.rule_to_try(&mut connection, rule).await?;
        let (id, payload, other_trigger) = match sample {
            Sample::Instance(id) => {
                let row = find_instance(&mut connection, id).await?;
                let other = (row.trigger_ref != ready.row.trigger_ref).then(|| {
                    format!(
                        "The instance is of the trigger \"{}\", which the rule does not wait for.",
                        row.trigger_ref
                    )
                });
                (row.id, row.payload.0, other)
            }
            Sample::Payload(payload) => {
                let document = present(&ready.row);
                let kind = document["trigger"]["type"].as_str().unwrap_or_default();
                if let Some(kind) = trigger_type(&mut connection, kind).await? {
                    check_payload(&self.intake.payloads, &kind, payload)?;
                }
                (new_id(), payload.clone(), None)
            }
        };
        let keys = self.keys_for_rule(&mut connection, &ready).await?;
        drop(connection);
        let engine = self.expressions.clone();
        // Templates may take their time: not on a thread that serves others.
        let trial = tokio::task::spawn_blocking(move || {
            let templates = matching::templates(&engine, &payload, keys);
            let view = View {
                id: &id,
                payload: &payload,
                now: now() / 1000,
            };
            let verdict = matching::explain(&ready, &view, &templates);
            let parameters = verdict
                .matched
                .then(|| matching::parameters(&ready, &view, &templates));
            Trial {
                verdict,
                rule: ready.row.reference,
                action: ready.row.action_ref,
                other_trigger,
                parameters,
            }
        });
        trial.await.map_err(Fault::internal("trying a rule"))
    }

    /// Judges recorded trigger instances by a rule.
    pub async fn replay_rule(
        &self,
        caller: &Caller,
        rule: &Value,
        span: Span,
    ) -> Result<Replay, Fault> {
        caller.allow(Permission::Modify, "rule_modify")?;
        let mut connection = self.ops.store.read().await?;
        let ready = self.rule_to_try(&mut connection, rule).await?;
        let keys = self.keys_for_rule(&mut connection, &ready).await?;
        drop(connection);
        let ready = std::sync::Arc::new(ready);
        let mut replay = Replay::default();
        let mut from = span.from;
        let mut seen_at_edge: Vec<String> = Vec::new();
        let limit = u64::try_from(span.limit.clamp(1, MOST_REPLAYED)).unwrap_or_default();
        loop {
            let wanted = CHUNK + seen_at_edge.len();
            let rows = trigger_instances::of_trigger(
                &mut *self.ops.store.read().await?,
                &ready.row.trigger_ref,
                from,
                span.to,
                i64::try_from(wanted).unwrap_or(i64::MAX),
            )
            .await?;
            let last_page = rows.len() < wanted;
            let mut fresh: Vec<TriggerInstance> = rows
                .into_iter()
                .filter(|row| !seen_at_edge.contains(&row.id))
                .collect();
            let room = usize::try_from(limit - replay.looked_at).unwrap_or(usize::MAX);
            if fresh.len() > room {
                fresh.truncate(room);
                replay.more = true;
            }
            // The next page begins at the last instant, which several instances may share.
            if let Some(last) = fresh.last().map(|row| row.occurred_at) {
                if last != from {
                    seen_at_edge.clear();
                }
                from = last;
                seen_at_edge.extend(
                    fresh
                        .iter()
                        .filter(|row| row.occurred_at == last)
                        .map(|row| row.id.clone()),
                );
            }
            let (ready, keys, engine) = (ready.clone(), keys.clone(), self.expressions.clone());
            let begun = std::mem::take(&mut replay);
            let more = begun.more;
            replay = tokio::task::spawn_blocking(move || {
                replay_chunk(begun, &ready, &fresh, &engine, keys)
            })
            .await
            .map_err(Fault::internal("replaying a rule"))?;
            if last_page || more {
                return Ok(replay);
            }
            if replay.looked_at == limit {
                replay.more = true;
                return Ok(replay);
            }
        }
    }
}

fn replay_chunk(
    mut replay: Replay,
    ready: &Ready,
    rows: &[TriggerInstance],
    engine: &automation::expressions::Engine,
    keys: std::sync::Arc<super::loaded_keys::LoadedKeys>,
) -> Replay {
    let now = now() / 1000;
    for row in rows {
        replay.looked_at += 1;
        let templates = matching::templates(engine, &row.payload, keys.clone());
        let view = View {
            id: &row.id,
            payload: &row.payload,
            now,
        };
        let verdict = matching::explain(ready, &view, &templates);
        if !verdict.matched {
            if let Some(failure) = verdict.failures.into_iter().next() {
                replay.failed += 1;
                if replay.first_failures.len() < MOST_SHOWN {
                    replay.first_failures.push(failure);
                }
            }
            continue;
        }
        replay.matched += 1;
        let parameters = matching::parameters(ready, &view, &templates);
        replay.unmapped += u64::from(parameters.is_err());
        if replay.first_matches.len() < MOST_SHOWN {
            let mut shown = json!({
                "trigger_instance": row.id,
                "occurrence_time": rfc3339_micros(row.occurred_at),
            });
            match parameters {
                Ok(parameters) => shown["parameters"] = Value::Object(parameters),
                Err(text) => shown["failure"] = json!(text),
            }
            replay.first_matches.push(shown);
        }
    }
    replay
}

/// A trigger instance, or StackStorm's words for what is not there.
pub async fn find_instance(
    connection: &mut Connection,
    id: &str,
) -> Result<TriggerInstance, Fault> {
    TriggerInstance::find(connection, id)
        .await?
        .ok_or_else(|| Fault::NotFound(format!("Unable to identify resource with id \"{id}\".")))
}
