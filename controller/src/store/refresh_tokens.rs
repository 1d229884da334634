//! Refresh tokens, kept as hashes: what is in the database opens nothing.

use super::{StoreError, row};
use crate::store::sql::{Connection, query};

row! {
    pub struct RefreshToken in "refresh_tokens", key token_hash {
        /// SHA-256, hex.
        token_hash: String,
        user_guid: String,
        client: String,
        created_at: i64,
        expires_at: i64,
    }
}

/// All tokens of a user: a password change ends them.
pub async fn delete_of_user(connection: &mut Connection, user: &str) -> Result<(), StoreError> {
    query("DELETE FROM refresh_tokens WHERE user_guid = $1")
        .bind(user.to_string())
        .execute(connection)
        .await
        .map_err(StoreError::during("end the sessions of a user"))?;
    Ok(())
}

pub async fn delete_expired(connection: &mut Connection, now: i64) -> Result<u64, StoreError> {
    let done = query("DELETE FROM refresh_tokens WHERE expires_at < $1")
        .bind(now)
        .execute(connection)
        .await
        .map_err(StoreError::during("delete expired refresh tokens"))?;
    Ok(done.rows_affected())
}
