//! Policies of actions.

use crate::store::sql::{Connection, query};
use crate::store::{Json, StoreError, row};

row! {
    pub struct Policy in "policies", key reference, versioned {
        reference: String,
        id: String,
        pack: String,
        name: String,
        resource_ref: String,
        policy_type: String,
        enabled: bool,
        document: Json<serde_json::Value>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

/// Whether a policy is about an action, or one was that still holds executions of it.
pub async fn concern(connection: &mut Connection, action: &str) -> Result<bool, StoreError> {
    query(
        "SELECT 1 FROM policies WHERE resource_ref = $1 AND enabled = 1 \
         UNION ALL SELECT 1 FROM held_executions WHERE action_ref = $1 LIMIT 1",
    )
    .bind(action.to_string())
    .fetch_optional(connection)
    .await
    .map(|row| row.is_some())
    .map_err(StoreError::during(
        "look whether policies concern an action",
    ))
}
