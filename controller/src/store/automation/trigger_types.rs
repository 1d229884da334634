//! Types of triggers.

use crate::store::{Json, row};

row! {
    pub struct TriggerType in "trigger_types", key reference, versioned {
        reference: String,
        id: String,
        pack: String,
        name: String,
        document: Json<serde_json::Value>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}
