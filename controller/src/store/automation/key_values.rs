//! Keys of the datastore.

use crate::store::row;

row! {
    pub struct KeyValue in "key_values", key uid, versioned {
        uid: String,
        id: String,
        /// st2kv.system, st2kv.user
        scope: String,
        name: String,
        /// Of a user's key; empty: the system's.
        username: String,
        value: String,
        secret: bool,
        encrypted: bool,
        expires_at: Option<i64>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}
