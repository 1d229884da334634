//! Tokens of the automation API; only their hashes are kept.

use crate::store::{Json, row};

row! {
    pub struct Token in "automation_tokens", key token_hash {
        token_hash: String,
        id: String,
        user_guid: String,
        username: String,
        metadata: Json<serde_json::Value>,
        /// Made for one execution, and gone with it.
        execution_id: Option<String>,
        expires_at: i64,
        created_at: i64,
    }
}
