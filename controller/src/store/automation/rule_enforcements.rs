//! What rules made of trigger instances, with the reasons.

use crate::store::sql::{Connection, query};
use crate::store::{Json, StoreError, row};

pub const SUCCEEDED: &str = "succeeded";
pub const FAILED: &str = "failed";
/// Only recorded on demand, and only shown to who asks for it.
pub const MISMATCHED: &str = "mismatched";

row! {
    pub struct RuleEnforcement in "rule_enforcements", key id {
        id: String,
        rule_ref: String,
        rule_id: String,
        trigger_instance: String,
        execution_id: Option<String>,
        /// succeeded, failed, mismatched
        status: String,
        failure_reason: Option<String>,
        /// One a criterion.
        reasons: Json<serde_json::Value>,
        enforced_at: i64,
    }
}

/// Whether this rule has been judged for this trigger instance before.
pub async fn exists(
    connection: &mut Connection,
    rule_id: &str,
    trigger_instance: &str,
) -> Result<bool, StoreError> {
    query("SELECT 1 FROM rule_enforcements WHERE rule_id = $1 AND trigger_instance = $2")
        .bind(rule_id.to_string())
        .bind(trigger_instance.to_string())
        .fetch_optional(connection)
        .await
        .map(|row| row.is_some())
        .map_err(StoreError::during("look for an enforcement"))
}

/// Writes them, but what was judged before: a rule judges a trigger instance once.
pub async fn insert_all_once(
    connection: &mut Connection,
    rows: &[RuleEnforcement],
) -> Result<(), StoreError> {
    RuleEnforcement::insert_all(
        connection,
        rows,
        "ON CONFLICT (rule_id, trigger_instance) DO NOTHING",
    )
    .await
    .map(drop)
}
