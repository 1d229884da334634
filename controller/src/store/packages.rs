//! Packages: uploaded sources.

use super::{StoreError, row};
use crate::store::sql::{Connection, query};

pub const AWAITING_UPLOAD: &str = "AWAITING_UPLOAD";
pub const PROCESSING_UPLOAD: &str = "PROCESSING_UPLOAD";
pub const READY: &str = "READY";
pub const FAILED: &str = "FAILED";

row! {
    /// The zip is the blob `packages/<sha256>`.
    pub struct Package in "packages", key guid, versioned {
        guid: String,
        app_guid: String,
        /// `bits`
        kind => "type": String,
        state: String,
        error: Option<String>,
        sha1: Option<String>,
        sha256: Option<String>,
        size_bytes: Option<i64>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

/// Whoever processes a package is still at it. Leaves the version alone: this is no news of the package.
pub async fn at_work(connection: &mut Connection, guid: &str, now: i64) -> Result<(), StoreError> {
    query("UPDATE packages SET updated_at = $1 WHERE guid = $2 AND state = 'PROCESSING_UPLOAD'")
        .bind(now)
        .bind(guid.to_string())
        .execute(connection)
        .await
        .map_err(StoreError::during("work on an upload"))?;
    Ok(())
}

/// Fails the packages that were last touched, while being processed, before this time (Unix microseconds).
/// Returns how many.
pub async fn fail_processing(
    connection: &mut Connection,
    before: i64,
    error: &str,
    now: i64,
) -> Result<u64, StoreError> {
    let done = query(
        "UPDATE packages SET state = 'FAILED', error = $1, updated_at = $2, row_version = row_version + 1 \
         WHERE state = 'PROCESSING_UPLOAD' AND updated_at < $3",
    )
    .bind(error.to_string())
    .bind(now)
    .bind(before)
    .execute(connection)
    .await
    .map_err(StoreError::during("fail interrupted uploads"))?;
    Ok(done.rows_affected())
}
