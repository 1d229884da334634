//! Policies of actions.

use crate::store::{Json, row};

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
