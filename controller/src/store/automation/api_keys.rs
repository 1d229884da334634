//! API keys; only their hashes are kept.

use crate::store::{Json, row};

row! {
    pub struct ApiKey in "api_keys", key id, versioned {
        id: String,
        key_hash: String,
        user_guid: String,
        username: String,
        metadata: Json<serde_json::Value>,
        enabled: bool,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}
