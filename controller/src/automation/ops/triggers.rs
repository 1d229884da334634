//! Triggers: a trigger type with parameters, one for all rules that want the same.

use super::fault::Fault;
use crate::automation::ids::new_id;
use crate::ops::now;
use crate::store::Json;
use crate::store::automation::trigger_types::TriggerType;
use crate::store::automation::triggers::Trigger;
use crate::store::query::Filter;
use automation::documents::schema;
use automation::triggers::trigger_uid;
use serde_json::{Map, Value, json};
use sqlx::AnyConnection;

/// Pack of the triggers that are a type with parameters.
const PACK: &str = "core";

/// The trigger that a rule on this type with these parameters waits for. Without parameters it has the
/// type's name; with them it is made once, and shared by equal ones.
pub async fn ensure_trigger(
    connection: &mut AnyConnection,
    type_ref: &str,
    parameters: &Map<String, Value>,
) -> Result<Trigger, Fault> {
    let kind = TriggerType::find(connection, type_ref)
        .await?
        .ok_or_else(|| {
            Fault::Invalid(format!(
                "There is no trigger type \"{type_ref}\": install the pack that brings it."
            ))
        })?;
    let given = Value::Object(parameters.clone());
    if let Some(wanted) = kind.document.get("parameters_schema") {
        schema::validate(wanted, &given).map_err(|error| {
            Fault::Invalid(format!(
                "Parameters of the trigger type \"{type_ref}\": {error}"
            ))
        })?;
    }
    let uid = trigger_uid(&kind.pack, &kind.name, &given);
    let hash = uid.rsplit(':').next().unwrap_or_default().to_string();
    let same = Filter::new()
        .equals("type_ref", type_ref)
        .equals("parameters_hash", &hash);
    if let Some(known) = Trigger::fetch(connection, same, "find a trigger")
        .await?
        .pop()
    {
        return Ok(known);
    }
    let (pack, name) = if parameters.is_empty() {
        (kind.pack.clone(), kind.name.clone())
    } else {
        (PACK.to_string(), crate::ops::new_guid())
    };
    let now = now();
    let row = Trigger {
        reference: format!("{pack}.{name}"),
        id: new_id(),
        pack,
        name,
        type_ref: type_ref.to_string(),
        parameters: Json(given.clone()),
        parameters_hash: hash,
        document: Json(json!({
            "uid": uid,
            "description": kind.document.get("description").cloned().unwrap_or_default(),
            "parameters": given,
        })),
        next_fire_at: None,
        created_at: now,
        updated_at: now,
        row_version: 1,
    };
    row.insert(connection).await?;
    Ok(row)
}
