//! Executions.

use crate::store::{Json, row};

row! {
    pub struct Execution in "executions", key id, versioned {
        id: String,
        liveaction_id: String,
        action_ref: String,
        runner_type: String,
        status: String,
        username: String,
        user_guid: Option<String>,
        parent: Option<String>,
        rule_ref: Option<String>,
        trigger_instance: Option<String>,
        trigger_ref: Option<String>,
        trigger_type: Option<String>,
        /// As given; secret ones encrypted.
        parameters: Json<serde_json::Value>,
        context: Json<serde_json::Value>,
        log: Json<serde_json::Value>,
        /// Action and runner as they were, notify, callback.
        document: Json<serde_json::Value>,
        /// None: none yet, or in the blob store.
        result: Option<String>,
        result_sha256: Option<String>,
        result_size: i64,
        dea: Option<String>,
        /// How often it was sent out.
        attempt: i64,
        not_before: Option<i64>,
        deadline: Option<i64>,
        started_at: i64,
        ended_at: Option<i64>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}
