//! Values of packs' configurations.

use crate::store::{Json, row};

row! {
    pub struct PackConfig in "pack_configs", key pack, versioned {
        pack: String,
        id: String,
        /// Secret values are encrypted.
        document: Json<serde_json::Value>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}
