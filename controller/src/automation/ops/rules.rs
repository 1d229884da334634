//! Rules (contract §4.1).
//!
//! Whoever writes a rule lends it his rights: its actions run in his name. A change by somebody
//! else makes it his. Rules of packs belong to nobody, and their actions to the system's user, who may nothing on
//! the platform; one that comes switched off belongs to whoever switches it on.

use super::callers::Permission;
use super::executions::schema_of;
use super::fault::Fault;
use super::resources::{self, present};
use super::triggers::{ensure_trigger, release_trigger, trigger_type};
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::automation::ids::new_id;
use crate::ops::now;
use crate::store::Json;
use crate::store::automation::actions::Action;
use crate::store::automation::rules::Rule;
use crate::store::sql::Connection;
use automation::documents::{MASK, derived_id};
use automation::runners::Runner;
use automation::spec;
use automation::spec::yaml::Document;
use automation::spec::{Report, Severity};
use serde_json::{Map, Value, json};

/// The pack of a rule that names none.
const DEFAULT_PACK: &str = "default";
/// What documents of the API have beside what a rule's author writes.
const DERIVED: [&str; 4] = ["id", "uid", "ref", "metadata_file"];

/// Reads a rule as the API takes it; all that is wrong is said at once.
pub fn read(mut document: Value) -> Result<spec::Rule, Fault> {
    if let Some(entries) = document.as_object_mut() {
        for name in DERIVED {
            entries.remove(name);
        }
        entries.retain(|_, value| !value.is_null());
    }
    let pack = document
        .get("pack")
        .and_then(Value::as_str)
        .unwrap_or(DEFAULT_PACK)
        .to_string();
    let document = Document::of(document);
    let mut report = Report::new("", &document);
    let rule = spec::rule::read(&document, &pack, "", &mut report);
    if !report.has_errors() {
        return Ok(rule);
    }
    let texts: Vec<String> = report
        .into_problems()
        .into_iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| {
            let place = if problem.path.is_empty() {
                String::new()
            } else {
                format!("{}: ", problem.path)
            };
            let advice = if problem.advice.is_empty() {
                String::new()
            } else {
                format!(" ({})", problem.advice)
            };
            format!("{place}{}{advice}", problem.message)
        })
        .collect();
    Err(Fault::Invalid(format!(
        "Invalid rule: {}",
        texts.join("; ")
    )))
}

/// The row of a rule, with the trigger it waits for. `now`: Unix microseconds.
pub async fn row_of(
    connection: &mut Connection,
    rule: &spec::Rule,
    owner_guid: Option<String>,
    now: i64,
) -> Result<Rule, Fault> {
    let trigger = ensure_trigger(
        connection,
        &rule.trigger.kind,
        &rule.trigger.parameters,
        now,
    )
    .await?;
    let mut document = serde_json::to_value(rule).map_err(Fault::internal("writing a rule"))?;
    document["trigger"]["ref"] = json!(trigger.reference);
    if let Some(entries) = document.as_object_mut() {
        for name in ["ref", "pack", "name", "enabled"] {
            entries.remove(name);
        }
    }
    Ok(Rule {
        reference: rule.reference.clone(),
        id: new_id(),
        pack: rule.pack.clone(),
        name: rule.name.clone(),
        trigger_ref: trigger.reference,
        action_ref: rule.action.reference.clone(),
        enabled: rule.enabled,
        document: Json(document),
        owner_guid,
        created_at: now,
        updated_at: now,
        row_version: 1,
    })
}

/// A masked value that comes back means the value it stands for.
fn keep_masked(given: &mut Map<String, Value>, before: &Value) {
    for (name, value) in given {
        if value.as_str() == Some(MASK)
            && let Some(kept) = before.get(name)
        {
            *value = kept.clone();
        }
    }
}

fn mask_by(values: &mut Value, schema: &Value) {
    let Some(entries) = values.as_object_mut() else {
        return;
    };
    for (name, value) in entries {
        if schema["properties"][name.as_str()]["secret"] == Value::Bool(true) {
            *value = json!(MASK);
        }
    }
}

impl Automation {
    pub async fn create_rule(&self, caller: &Caller, document: Value) -> Result<Rule, Fault> {
        caller.allow(Permission::Modify, "rule_create")?;
        let rule = read(document)?;
        let mut tx = self.ops.store.write("create a rule").await?;
        if let Some(known) = Rule::find(&mut tx, &rule.reference).await? {
            return Err(Fault::duplicate("Rule", &rule.reference, known.id));
        }
        let owner = Some(caller.actor.guid.clone());
        let row = row_of(&mut tx, &rule, owner, now()).await?;
        row.insert(&mut tx).await?;
        tx.commit().await?;
        self.nudge();
        Ok(row)
    }

    pub async fn update_rule(
        &self,
        caller: &Caller,
        ref_or_id: &str,
        document: Value,
    ) -> Result<Rule, Fault> {
        caller.allow(Permission::Modify, "rule_modify")?;
        let mut rule = read(document)?;
        let now = now();
        let mut tx = self.ops.store.write("update a rule").await?;
        let before = resources::get::<Rule>(&mut tx, ref_or_id).await?;
        keep_masked(
            &mut rule.trigger.parameters,
            &before.document["trigger"]["parameters"],
        );
        keep_masked(
            &mut rule.action.parameters,
            &before.document["action"]["parameters"],
        );
        let written = row_of(&mut tx, &rule, Some(caller.actor.guid.clone()), now).await?;
        let mut row = Rule {
            id: before.id.clone(),
            created_at: before.created_at,
            row_version: before.row_version,
            ..written
        };
        let only_switched = row.document == before.document && row.reference == before.reference;
        let adopted = before.owner_guid.is_none() && row.enabled && !before.enabled;
        if only_switched && !adopted {
            // It stays its owner's.
            row.owner_guid = before.owner_guid.clone();
        }
        if row.reference == before.reference {
            row.update(&mut tx, now).await?;
        } else {
            if let Some(known) = Rule::find(&mut tx, &row.reference).await? {
                return Err(Fault::duplicate("Rule", &row.reference, known.id));
            }
            Rule::delete(&mut tx, &before.reference).await?;
            row.row_version += 1;
            row.insert(&mut tx).await?;
        }
        if row.trigger_ref != before.trigger_ref {
            release_trigger(&mut tx, &before.trigger_ref).await?;
        }
        tx.commit().await?;
        self.nudge();
        Ok(row)
    }

    pub async fn delete_rule(&self, caller: &Caller, ref_or_id: &str) -> Result<(), Fault> {
        caller.allow(Permission::Modify, "rule_delete")?;
        let mut tx = self.ops.store.write("delete a rule").await?;
        let row = resources::get::<Rule>(&mut tx, ref_or_id).await?;
        Rule::delete(&mut tx, &row.reference).await?;
        release_trigger(&mut tx, &row.trigger_ref).await?;
        tx.commit().await?;
        self.nudge();
        Ok(())
    }

    /// Documents of rules with secret parameters masked; with `views` also what their trigger and action are
    /// about.
    pub async fn present_rules(
        &self,
        rows: &[Rule],
        show_secrets: bool,
        views: bool,
    ) -> Result<Vec<Value>, Fault> {
        let mut connection = self.ops.store.read().await?;
        let mut documents = Vec::with_capacity(rows.len());
        for row in rows {
            let mut document = present(row);
            document["trigger"]["ref"] = json!(row.trigger_ref);
            let type_ref = document["trigger"]["type"].as_str().unwrap_or_default();
            let kind = trigger_type(&mut connection, type_ref).await?;
            let action = Action::find(&mut connection, &row.action_ref).await?;
            if views {
                let text = |document: Option<&Value>| {
                    document
                        .and_then(|document| document["description"].as_str())
                        .unwrap_or_default()
                        .to_string()
                };
                document["trigger"]["description"] =
                    json!(text(kind.as_ref().map(|kind| &kind.document.0)));
                document["action"]["description"] =
                    json!(text(action.as_ref().map(|action| &action.document.0)));
            }
            if !show_secrets {
                if let Some(kind) = &kind {
                    mask_by(
                        &mut document["trigger"]["parameters"],
                        &kind.document["parameters_schema"],
                    );
                }
                if let Some(action) = &action
                    && let Some(runner) = Runner::from_name(&action.runner_type)
                    && let Ok(schema) = schema_of(&action.reference, runner, &action.document)
                    && let Some(given) = document["action"]["parameters"].as_object()
                {
                    document["action"]["parameters"] = Value::Object(schema.mask(given));
                }
            }
            documents.push(document);
        }
        Ok(documents)
    }

    /// The owner of a rule by name, if he may still run actions; None: the rule is the system's.
    pub async fn rule_owner(
        &self,
        connection: &mut Connection,
        rule: &Rule,
    ) -> Result<Option<(String, String)>, Fault> {
        match &rule.owner_guid {
            None => Ok(None),
            Some(guid) => self.may_execute(connection, guid).await.map(Some),
        }
    }
}

/// The two kinds of rules.
pub fn rule_types() -> Vec<Value> {
    [
        ("standard", "Applies whenever its criteria match."),
        (
            "backstop",
            "Applies when no standard rule matched the same trigger instance.",
        ),
    ]
    .into_iter()
    .map(|(name, description)| {
        let uid = format!("rule_type:{name}");
        json!({
            "id": derived_id(&uid), "uid": uid, "name": name, "ref": name,
            "description": description, "enabled": true, "parameters": {},
        })
    })
    .collect()
}
