//! Triggers: a type with parameters, shared by the rules that name equal ones.

use crate::store::{Json, row};

row! {
    pub struct Trigger in "triggers", key reference, versioned {
        reference: String,
        id: String,
        pack: String,
        name: String,
        type_ref: String,
        parameters: Json<serde_json::Value>,
        parameters_hash: String,
        document: Json<serde_json::Value>,
        /// Timers: Unix microseconds.
        next_fire_at: Option<i64>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}
