//! Actions.

use crate::store::{Json, row};

row! {
    pub struct Action in "actions", key reference, versioned {
        reference: String,
        id: String,
        pack: String,
        name: String,
        runner_type: String,
        enabled: bool,
        document: Json<serde_json::Value>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}
