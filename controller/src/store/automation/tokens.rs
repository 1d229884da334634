//! Tokens of the automation API; only their hashes are kept.

use crate::store::sql::{Connection, query};
use crate::store::{Json, StoreError, row};

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

/// Forgets what is no longer good. `now`: Unix microseconds.
pub async fn delete_expired(connection: &mut Connection, now: i64) -> Result<(), StoreError> {
    query("DELETE FROM automation_tokens WHERE expires_at < $1")
        .bind(now)
        .execute(connection)
        .await
        .map_err(StoreError::during("delete expired tokens"))?;
    Ok(())
}

/// Makes a token good until then: Unix microseconds.
pub async fn extend(
    connection: &mut Connection,
    token_hash: &str,
    expires_at: i64,
) -> Result<(), StoreError> {
    query("UPDATE automation_tokens SET expires_at = $1 WHERE token_hash = $2")
        .bind(expires_at)
        .bind(token_hash.to_string())
        .execute(connection)
        .await
        .map_err(StoreError::during("extend a token"))?;
    Ok(())
}

/// Forgets the tokens made for an execution that ended, or for a sensor.
pub async fn delete_of_execution(
    connection: &mut Connection,
    execution: &str,
) -> Result<(), StoreError> {
    query("DELETE FROM automation_tokens WHERE execution_id = $1")
        .bind(execution.to_string())
        .execute(connection)
        .await
        .map_err(StoreError::during("delete the tokens of an execution"))?;
    Ok(())
}
