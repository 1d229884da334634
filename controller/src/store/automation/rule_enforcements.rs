//! What rules made of trigger instances, with the reasons.

use crate::store::{Json, row};

row! {
    pub struct RuleEnforcement in "rule_enforcements", key id {
        id: String,
        rule_ref: String,
        rule_id: String,
        trigger_instance: String,
        execution_id: Option<String>,
        /// succeeded, failed
        status: String,
        failure_reason: Option<String>,
        /// One a criterion.
        reasons: Json<serde_json::Value>,
        enforced_at: i64,
    }
}
