//! Trigger types and triggers (contract §4.1).
//!
//! A trigger is a type with concrete parameters. Rules that ask for the same share one: it is made by the
//! first of them ([`ensure_trigger`]) and goes with the last ([`release_trigger`]). A type without parameters
//! is its own trigger, of the same name.
//!
//! What a newcomer gets wrong: making and releasing may happen at the same moment in two transactions. Both
//! lock the row before they look at the rules, so that no rule is left with a trigger that is gone.

use super::callers::Permission;
use super::fault::Fault;
use super::intake::PayloadSchemas;
use super::resources;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::automation::ids::new_id;
use crate::ops::{new_guid, now};
use crate::store::Json;
use crate::store::automation::rules::Rule;
use crate::store::automation::trigger_types::TriggerType;
use crate::store::automation::triggers::{self, Trigger};
use crate::store::query::Filter;
use crate::store::sql::Connection;
use automation::documents::schema;
use automation::timers::Timer;
use automation::triggers::{builtin, timer_parameters, trigger_uid};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What a trigger type says about itself.
#[derive(Debug, Clone, Default)]
pub struct TypeWrite {
    pub pack: String,
    pub name: String,
    pub description: String,
    pub parameters_schema: Value,
    pub payload_schema: Value,
    pub tags: Value,
}

impl TypeWrite {
    fn document(&self) -> Value {
        json!({
            "description": self.description,
            "parameters_schema": self.parameters_schema,
            "payload_schema": self.payload_schema,
            "tags": self.tags,
        })
    }

    fn check(&self) -> Result<(), Fault> {
        if self.name.is_empty() || self.pack.is_empty() {
            return Err(Fault::Invalid(
                "A trigger type has a \"pack\" and a \"name\".".into(),
            ));
        }
        for (what, value) in [
            ("parameters_schema", &self.parameters_schema),
            ("payload_schema", &self.payload_schema),
        ] {
            if let Err(schema::Invalid::Schema(text)) = schema::validate(value, &json!({})) {
                return Err(Fault::Invalid(format!("{what}: {text}")));
            }
        }
        Ok(())
    }
}

/// A trigger type that came with the system, as a row.
fn builtin_row(kind: &automation::triggers::TriggerType, now: i64) -> TriggerType {
    let mut document = kind.document();
    let id = document["id"].as_str().unwrap_or_default().to_string();
    if let Some(entries) = document.as_object_mut() {
        for name in ["id", "ref", "pack", "name"] {
            entries.remove(name);
        }
    }
    TriggerType {
        reference: kind.reference(),
        id,
        pack: kind.pack.to_string(),
        name: kind.name.clone(),
        document: Json(document),
        created_at: now,
        updated_at: now,
        row_version: 1,
    }
}

fn is_builtin(reference: &str) -> bool {
    builtin().iter().any(|kind| kind.reference() == reference)
}

/// Brings the built-in trigger types up to what this version knows.
pub async fn register_builtin(connection: &mut Connection, now: i64) -> Result<(), Fault> {
    for kind in builtin() {
        let wanted = builtin_row(&kind, now);
        match TriggerType::find(connection, &wanted.reference).await? {
            None => wanted.insert(connection).await?,
            Some(mut row) if row.document != wanted.document => {
                row.document = wanted.document;
                row.update(connection, now).await?;
            }
            Some(_) => {}
        }
        if !has_parameters(&kind.parameters_schema) {
            ensure_trigger(connection, &kind.reference(), &Map::new(), now).await?;
        }
    }
    Ok(())
}

fn has_parameters(schema: &Value) -> bool {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .is_some_and(|properties| !properties.is_empty())
}

/// A trigger type by its reference; the built-in ones are known before they are registered.
pub async fn trigger_type(
    connection: &mut Connection,
    reference: &str,
) -> Result<Option<TriggerType>, Fault> {
    if let Some(row) = TriggerType::find(connection, reference).await? {
        return Ok(Some(row));
    }
    Ok(builtin()
        .iter()
        .find(|kind| kind.reference() == reference)
        .map(|kind| builtin_row(kind, 0)))
}

fn missing_type(reference: &str) -> Fault {
    Fault::Invalid(format!("Trigger type \"{reference}\" not found."))
}

fn check_parameters(kind: &TriggerType, parameters: &Map<String, Value>) -> Result<(), Fault> {
    let given = Value::Object(parameters.clone());
    if timer_parameters(&kind.reference).is_some() {
        let zone = automation::timers::zone("UTC").map_err(Fault::internal("finding UTC"))?;
        return Timer::parse(&kind.reference, &given, &zone)
            .map(|_| ())
            .map_err(|error| Fault::Invalid(error.to_string()));
    }
    let schema = &kind.document["parameters_schema"];
    if schema.as_object().is_none_or(Map::is_empty) {
        return Ok(());
    }
    schema::validate(schema, &given).map_err(|invalid| {
        Fault::Invalid(format!(
            "The parameters of the trigger \"{}\" are not valid: {invalid}",
            kind.reference
        ))
    })
}

/// Whether an instance of a trigger type may carry a payload.
pub fn check_payload(
    kept: &PayloadSchemas,
    kind: &TriggerType,
    payload: &Value,
) -> Result<(), Fault> {
    let schema = &kind.document["payload_schema"];
    if schema.as_object().is_none_or(Map::is_empty) {
        return Ok(());
    }
    let invalid = |invalid: schema::Invalid| {
        Fault::Invalid(format!(
            "The payload of the trigger \"{}\" is not valid: {invalid}",
            kind.reference
        ))
    };
    let version = (kind.id.clone(), kind.row_version);
    let ready = match kept.get(&kind.reference, &version) {
        Some(ready) => ready,
        None => {
            let ready = Arc::new(schema::Compiled::new(schema).map_err(invalid)?);
            kept.put(&kind.reference, version, ready.clone());
            ready
        }
    };
    ready.validate(payload).map_err(invalid)
}

fn uid_of(kind: &TriggerType, parameters: &Map<String, Value>) -> (String, String) {
    let uid = trigger_uid(&kind.pack, &kind.name, &Value::Object(parameters.clone()));
    let hash = uid.rsplit(':').next().unwrap_or_default().to_string();
    (uid, hash)
}

/// The trigger of a type with these parameters, made if there is none. In the transaction of the rule that
/// names it: see the module's text. `now`: Unix microseconds.
pub async fn ensure_trigger(
    connection: &mut Connection,
    type_ref: &str,
    parameters: &Map<String, Value>,
    now: i64,
) -> Result<Trigger, Fault> {
    let kind = trigger_type(connection, type_ref)
        .await?
        .ok_or_else(|| missing_type(type_ref))?;
    check_parameters(&kind, parameters)?;
    let (_, hash) = uid_of(&kind, parameters);
    if let Some(row) = triggers::lock(connection, type_ref, &hash).await? {
        return Ok(row);
    }
    let name = if parameters.is_empty() {
        kind.name.clone()
    } else {
        new_guid()
    };
    let row = trigger_row(&kind, name, "", parameters, now);
    if triggers::insert_once(connection, &row).await? {
        return Ok(row);
    }
    // Somebody else made it in this moment.
    triggers::lock(connection, type_ref, &hash)
        .await?
        .ok_or_else(|| {
            Fault::Unavailable(format!(
                "The trigger of \"{type_ref}\" is being changed by somebody else: try again."
            ))
        })
}

fn trigger_row(
    kind: &TriggerType,
    name: String,
    description: &str,
    parameters: &Map<String, Value>,
    now: i64,
) -> Trigger {
    let (uid, hash) = uid_of(kind, parameters);
    Trigger {
        reference: format!("{}.{name}", kind.pack),
        id: new_id(),
        pack: kind.pack.clone(),
        name,
        type_ref: kind.reference.clone(),
        parameters: Json(Value::Object(parameters.clone())),
        parameters_hash: hash,
        document: Json(json!({
            "uid": uid,
            "description": description,
            "parameters": parameters,
        })),
        // The engine looks at once and reckons the first time, in the zone of the cluster.
        next_fire_at: timer_parameters(&kind.reference).map(|_| now),
        created_at: now,
        updated_at: now,
        row_version: 1,
    }
}

/// Removes a trigger that no rule names any more. After the rule's own change, in its transaction.
pub async fn release_trigger(connection: &mut Connection, reference: &str) -> Result<(), Fault> {
    triggers::lock_reference(connection, reference).await?;
    triggers::remove_unused(connection, reference).await?;
    Ok(())
}

/// What a sender calls the trigger it fires: a reference, or a type with parameters.
pub async fn named_trigger(
    connection: &mut Connection,
    named: &Value,
) -> Result<(String, TriggerType), Fault> {
    let unknown = |text: &str| Fault::Invalid(format!("Trigger \"{text}\" not found."));
    match named {
        Value::String(reference) => {
            let trigger = Trigger::find(connection, reference).await?;
            let type_ref = trigger
                .as_ref()
                .map_or(reference.as_str(), |trigger| &trigger.type_ref);
            let kind = trigger_type(connection, type_ref)
                .await?
                .ok_or_else(|| unknown(reference))?;
            Ok((reference.clone(), kind))
        }
        Value::Object(entries) => {
            let type_ref = entries.get("type").and_then(Value::as_str);
            let reference = entries.get("ref").and_then(Value::as_str);
            let Some(type_ref) = type_ref.or(reference) else {
                return Err(Fault::Invalid(
                    "The trigger has neither a \"type\" nor a \"ref\".".into(),
                ));
            };
            let kind = trigger_type(connection, type_ref)
                .await?
                .ok_or_else(|| unknown(type_ref))?;
            let parameters = entries
                .get("parameters")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default();
            let (_, hash) = uid_of(&kind, &parameters);
            let filter = Filter::new()
                .equals("type_ref", type_ref)
                .equals("parameters_hash", &hash);
            let found = Trigger::fetch(connection, filter, "find a trigger by its parameters")
                .await?
                .pop();
            match found {
                Some(trigger) => Ok((trigger.reference, kind)),
                None if parameters.is_empty() => Ok((type_ref.to_string(), kind)),
                None => Err(Fault::Invalid(format!(
                    "No rule waits for the trigger \"{type_ref}\" with these parameters."
                ))),
            }
        }
        _ => Err(Fault::Invalid("Trigger not specified.".into())),
    }
}

async fn rules_of(connection: &mut Connection, trigger: &str) -> Result<Vec<String>, Fault> {
    let filter = Filter::new()
        .equals("trigger_ref", trigger)
        .order_by("reference", "reference", false)
        .window(10, 0);
    let rows = Rule::fetch(connection, filter, "rules of a trigger").await?;
    Ok(rows.into_iter().map(|row| row.reference).collect())
}

async fn refuse_if_used(connection: &mut Connection, trigger: &str) -> Result<(), Fault> {
    let rules = rules_of(connection, trigger).await?;
    if rules.is_empty() {
        return Ok(());
    }
    Err(Fault::Invalid(format!(
        "The trigger \"{trigger}\" is used by the rules {}.",
        rules.join(", ")
    )))
}

impl Automation {
    pub async fn create_trigger_type(
        &self,
        caller: &Caller,
        write: &TypeWrite,
    ) -> Result<TriggerType, Fault> {
        caller.allow(Permission::Modify, "trigger_create")?;
        write.check()?;
        let now = now();
        let reference = format!("{}.{}", write.pack, write.name);
        let mut tx = self.ops.store.write("create a trigger type").await?;
        if let Some(known) = trigger_type(&mut tx, &reference).await? {
            return Err(Fault::duplicate("TriggerType", &reference, known.id));
        }
        let row = TriggerType {
            reference,
            id: new_id(),
            pack: write.pack.clone(),
            name: write.name.clone(),
            document: Json(write.document()),
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        row.insert(&mut tx).await?;
        if !has_parameters(&write.parameters_schema) {
            ensure_trigger(&mut tx, &row.reference, &Map::new(), now).await?;
        }
        tx.commit().await?;
        Ok(row)
    }

    pub async fn update_trigger_type(
        &self,
        caller: &Caller,
        ref_or_id: &str,
        write: &TypeWrite,
    ) -> Result<TriggerType, Fault> {
        caller.allow(Permission::Modify, "trigger_modify")?;
        write.check()?;
        let mut tx = self.ops.store.write("update a trigger type").await?;
        let mut row = resources::get::<TriggerType>(&mut tx, ref_or_id).await?;
        if is_builtin(&row.reference) {
            return Err(Fault::Invalid(format!(
                "The trigger type \"{}\" comes with the system and cannot be changed.",
                row.reference
            )));
        }
        if (&row.pack, &row.name) != (&write.pack, &write.name) {
            return Err(Fault::Invalid(
                "A trigger type keeps its pack and its name: create another one.".into(),
            ));
        }
        row.document = Json(write.document());
        row.update(&mut tx, now()).await?;
        tx.commit().await?;
        Ok(row)
    }

    pub async fn delete_trigger_type(&self, caller: &Caller, ref_or_id: &str) -> Result<(), Fault> {
        caller.allow(Permission::Modify, "trigger_delete")?;
        let mut tx = self.ops.store.write("delete a trigger type").await?;
        let row = resources::get::<TriggerType>(&mut tx, ref_or_id).await?;
        if is_builtin(&row.reference) {
            return Err(Fault::Invalid(format!(
                "The trigger type \"{}\" comes with the system and cannot be deleted.",
                row.reference
            )));
        }
        let filter = Filter::new().equals("type_ref", &row.reference);
        for trigger in Trigger::fetch(&mut tx, filter, "triggers of a type").await? {
            refuse_if_used(&mut tx, &trigger.reference).await?;
            Trigger::delete(&mut tx, &trigger.reference).await?;
        }
        TriggerType::delete(&mut tx, &row.reference).await?;
        tx.commit().await?;
        Ok(())
    }

    /// A trigger that waits for rules, made by hand.
    pub async fn create_trigger(
        &self,
        caller: &Caller,
        type_ref: &str,
        name: Option<&str>,
        description: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Trigger, Fault> {
        caller.allow(Permission::Modify, "trigger_create")?;
        let mut tx = self.ops.store.write("create a trigger").await?;
        let kind = trigger_type(&mut tx, type_ref)
            .await?
            .ok_or_else(|| missing_type(type_ref))?;
        check_parameters(&kind, parameters)?;
        let (_, hash) = uid_of(&kind, parameters);
        if let Some(known) = triggers::lock(&mut tx, type_ref, &hash).await? {
            return Err(Fault::duplicate("Trigger", &known.reference, known.id));
        }
        let name = match name {
            Some(name) => name.to_string(),
            None if parameters.is_empty() => kind.name.clone(),
            None => new_guid(),
        };
        let row = trigger_row(&kind, name, description, parameters, now());
        row.insert(&mut tx).await?;
        tx.commit().await?;
        self.nudge();
        Ok(row)
    }

    /// Its description; its parameters only while no rule uses it.
    pub async fn update_trigger(
        &self,
        caller: &Caller,
        ref_or_id: &str,
        type_ref: &str,
        description: Option<&str>,
        parameters: &Map<String, Value>,
    ) -> Result<Trigger, Fault> {
        caller.allow(Permission::Modify, "trigger_modify")?;
        let now = now();
        let mut tx = self.ops.store.write("update a trigger").await?;
        let found = resources::get::<Trigger>(&mut tx, ref_or_id).await?;
        triggers::lock_reference(&mut tx, &found.reference).await?;
        let mut row = resources::get::<Trigger>(&mut tx, &found.reference).await?;
        if row.type_ref != type_ref {
            return Err(Fault::Invalid(
                "A trigger keeps its type: create another one.".into(),
            ));
        }
        let description = match description {
            Some(description) => description.to_string(),
            None => row.document["description"]
                .as_str()
                .unwrap_or_default()
                .to_string(),
        };
        if row.parameters.as_object() != Some(parameters) {
            refuse_if_used(&mut tx, &row.reference).await?;
        }
        let kind = trigger_type(&mut tx, type_ref)
            .await?
            .ok_or_else(|| missing_type(type_ref))?;
        check_parameters(&kind, parameters)?;
        let changed = trigger_row(&kind, row.name.clone(), &description, parameters, now);
        if changed.parameters_hash != row.parameters_hash {
            row.next_fire_at = changed.next_fire_at;
        }
        row.parameters = changed.parameters;
        row.parameters_hash = changed.parameters_hash;
        row.document = changed.document;
        row.update(&mut tx, now).await?;
        tx.commit().await?;
        self.nudge();
        Ok(row)
    }

    pub async fn delete_trigger(&self, caller: &Caller, ref_or_id: &str) -> Result<(), Fault> {
        caller.allow(Permission::Modify, "trigger_delete")?;
        let mut tx = self.ops.store.write("delete a trigger").await?;
        let row = resources::get::<Trigger>(&mut tx, ref_or_id).await?;
        triggers::lock_reference(&mut tx, &row.reference).await?;
        refuse_if_used(&mut tx, &row.reference).await?;
        Trigger::delete(&mut tx, &row.reference).await?;
        tx.commit().await?;
        self.nudge();
        Ok(())
    }
}
