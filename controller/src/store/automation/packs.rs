//! Packs that are installed.

use crate::store::{Json, row};

row! {
    pub struct Pack in "packs", key reference, versioned {
        reference: String,
        id: String,
        name: String,
        version: String,
        /// pack.yaml, and the names of the files.
        document: Json<serde_json::Value>,
        /// Null: none.
        config_schema: Json<serde_json::Value>,
        archive_sha256: Option<String>,
        archive_size: Option<i64>,
        builtin: bool,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}
