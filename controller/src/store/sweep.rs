//! What is named by rows, for removing the blobs that are not; and rows that grow old.

use super::StoreError;
use sqlx::{AnyConnection, Row};
use std::collections::BTreeSet;

async fn texts(
    connection: &mut AnyConnection,
    sql: &'static str,
) -> Result<BTreeSet<String>, StoreError> {
    let operation = "list what is in use";
    let rows = sqlx::query(sql)
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, sqlx::Error>>()
        .map_err(StoreError::during(operation))
}

pub async fn package_checksums(
    connection: &mut AnyConnection,
) -> Result<BTreeSet<String>, StoreError> {
    texts(
        connection,
        "SELECT DISTINCT sha256 FROM packages WHERE sha256 IS NOT NULL",
    )
    .await
}

pub async fn droplet_checksums(
    connection: &mut AnyConnection,
) -> Result<BTreeSet<String>, StoreError> {
    texts(connection, "SELECT DISTINCT sha256 FROM droplets").await
}

pub async fn buildpack_checksums(
    connection: &mut AnyConnection,
) -> Result<BTreeSet<String>, StoreError> {
    texts(
        connection,
        "SELECT DISTINCT sha256 FROM buildpacks WHERE sha256 IS NOT NULL",
    )
    .await
}

pub async fn running_builds(
    connection: &mut AnyConnection,
) -> Result<BTreeSet<String>, StoreError> {
    texts(
        connection,
        "SELECT guid FROM builds WHERE state = 'STAGING'",
    )
    .await
}

pub async fn apps(connection: &mut AnyConnection) -> Result<BTreeSet<String>, StoreError> {
    texts(connection, "SELECT guid FROM apps").await
}

pub async fn pack_archives(connection: &mut AnyConnection) -> Result<BTreeSet<String>, StoreError> {
    texts(
        connection,
        "SELECT DISTINCT archive_sha256 FROM packs WHERE archive_sha256 IS NOT NULL",
    )
    .await
}

/// Results too large for their row, and executions whose report may still be on its way.
pub async fn results(connection: &mut AnyConnection) -> Result<BTreeSet<String>, StoreError> {
    texts(
        connection,
        "SELECT result_sha256 FROM executions WHERE result_sha256 IS NOT NULL \
         UNION SELECT id FROM executions WHERE deadline IS NOT NULL",
    )
    .await
}

/// Deletes jobs and audit events from before these times (Unix microseconds).
pub async fn forget(
    connection: &mut AnyConnection,
    jobs: i64,
    events: i64,
) -> Result<(), StoreError> {
    for (statement, before) in [
        ("DELETE FROM jobs WHERE created_at < $1", jobs),
        ("DELETE FROM audit_events WHERE created_at < $1", events),
    ] {
        sqlx::query(statement)
            .bind(before)
            .execute(&mut *connection)
            .await
            .map_err(StoreError::during("forget old rows"))?;
    }
    super::process_versions::forget(connection).await?;
    Ok(())
}
