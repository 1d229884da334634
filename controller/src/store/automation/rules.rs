//! Rules.

use crate::store::sql::{Connection, query};
use crate::store::{Json, StoreError, row};

row! {
    pub struct Rule in "rules", key reference, versioned {
        reference: String,
        id: String,
        pack: String,
        name: String,
        trigger_ref: String,
        action_ref: String,
        enabled: bool,
        document: Json<serde_json::Value>,
        /// Whose rights its actions have; None: the system's.
        owner_guid: Option<String>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

/// Changes whenever any rule does: rows, the latest change and creation, and all versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint([i64; 4]);

pub async fn fingerprint(connection: &mut Connection) -> Result<Fingerprint, StoreError> {
    let operation = "look for changed rules";
    let row = query(
        "SELECT count(*), coalesce(max(updated_at), 0), coalesce(max(created_at), 0), \
         CAST(coalesce(sum(row_version), 0) AS BIGINT) FROM rules",
    )
    .fetch_one(connection)
    .await
    .map_err(StoreError::during(operation))?;
    let mut parts = [0; 4];
    for (place, part) in parts.iter_mut().enumerate() {
        *part = row.try_get(place).map_err(StoreError::during(operation))?;
    }
    Ok(Fingerprint(parts))
}

/// Whether a rule that is switched on names this trigger.
pub async fn any_enabled(connection: &mut Connection, trigger: &str) -> Result<bool, StoreError> {
    query("SELECT 1 FROM rules WHERE trigger_ref = $1 AND enabled = 1 LIMIT 1")
        .bind(trigger.to_string())
        .fetch_optional(connection)
        .await
        .map(|row| row.is_some())
        .map_err(StoreError::during("look for rules of a trigger"))
}
