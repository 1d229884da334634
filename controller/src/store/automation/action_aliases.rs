//! Aliases of actions, for chat.

use crate::store::{Json, row};

row! {
    pub struct ActionAlias in "action_aliases", key reference, versioned {
        reference: String,
        id: String,
        pack: String,
        name: String,
        enabled: bool,
        document: Json<serde_json::Value>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}
