//! Jobs: what goes on after its request was answered.

use super::{Json, StoreError, row};
use crate::store::sql::{Connection, query};

pub const PROCESSING: &str = "PROCESSING";
pub const COMPLETE: &str = "COMPLETE";
pub const FAILED: &str = "FAILED";

row! {
    pub struct Job in "jobs", key guid {
        guid: String,
        operation: String,
        state: String,
        error_code: Option<i64>,
        error_title: Option<String>,
        error_detail: Option<String>,
        warnings: Json<Vec<String>>,
        created_at: i64,
        updated_at: i64,
    }
}

/// Ends a job. `error`: code, title and detail.
pub async fn finish(
    connection: &mut Connection,
    guid: &str,
    error: Option<(i64, &str, &str)>,
    now: i64,
) -> Result<(), StoreError> {
    query("UPDATE jobs SET state = $1, error_code = $2, error_title = $3, error_detail = $4, updated_at = $5 WHERE guid = $6")
        .bind(if error.is_some() { FAILED } else { COMPLETE }.to_string())
        .bind(error.map(|error| error.0))
        .bind(error.map(|error| error.1.to_string()))
        .bind(error.map(|error| error.2.to_string()))
        .bind(now)
        .bind(guid.to_string())
        .execute(connection)
        .await
        .map_err(StoreError::during("finish a job"))?;
    Ok(())
}
