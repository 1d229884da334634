//! Codes for one login of another client, kept as hashes.

use super::{StoreError, row};
use crate::store::sql::{Connection, query};

row! {
    pub struct AuthorizationCode in "authorization_codes", key code_hash {
        /// SHA-256, hex.
        code_hash: String,
        user_guid: String,
        client: String,
        created_at: i64,
        expires_at: i64,
    }
}

pub async fn delete_expired(connection: &mut Connection, now: i64) -> Result<u64, StoreError> {
    let done = query("DELETE FROM authorization_codes WHERE expires_at < $1")
        .bind(now)
        .execute(connection)
        .await
        .map_err(StoreError::during("delete expired authorization codes"))?;
    Ok(done.rows_affected())
}
