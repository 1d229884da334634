//! Rules.

use crate::store::{Json, row};

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
