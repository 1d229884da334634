//! Trigger instances: each time a trigger fired.

use crate::store::{Json, row};

row! {
    pub struct TriggerInstance in "trigger_instances", key id, versioned {
        id: String,
        trigger_ref: String,
        trigger_type: String,
        payload: Json<serde_json::Value>,
        /// pending, processing, processed, processing_failed
        status: String,
        trace_tag: Option<String>,
        trace_id: Option<String>,
        /// A key that makes a repeated report the same instance.
        source: Option<String>,
        occurred_at: i64,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}
