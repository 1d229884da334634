//! Packs that are installed.

use crate::store::sql::{Connection, query};
use crate::store::{Json, StoreError, row};

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

/// What tells whether a pack and its configuration are still as somebody read them, and where its content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    id: String,
    row_version: i64,
    /// None: nobody has configured it.
    config: Option<(String, i64)>,
    pub archive_sha256: Option<String>,
}

/// How a pack stands; None: there is none of this name.
pub async fn standing(
    connection: &mut Connection,
    reference: &str,
) -> Result<Option<Standing>, StoreError> {
    let operation = "read how a pack stands";
    let row = query(
        "SELECT p.id, p.row_version, p.archive_sha256, c.id, c.row_version FROM packs p \
         LEFT JOIN pack_configs c ON c.pack = p.reference WHERE p.reference = $1",
    )
    .bind(reference.to_string())
    .fetch_optional(connection)
    .await
    .map_err(StoreError::during(operation))?;
    row.map(|row| {
        let config_id: Option<String> = row.try_get(3)?;
        let config_version: Option<i64> = row.try_get(4)?;
        Ok(Standing {
            id: row.try_get(0)?,
            row_version: row.try_get(1)?,
            config: config_id.zip(config_version),
            archive_sha256: row.try_get(2)?,
        })
    })
    .transpose()
    .map_err(StoreError::during(operation))
}

/// Checksum of a pack's staged content; empty where there is none.
pub async fn content_sum(
    connection: &mut Connection,
    reference: &str,
) -> Result<String, StoreError> {
    let operation = "read the checksum of a pack's content";
    let row = query("SELECT archive_sha256 FROM packs WHERE reference = $1")
        .bind(reference.to_string())
        .fetch_optional(connection)
        .await
        .map_err(StoreError::during(operation))?;
    let sum: Option<String> = row
        .map(|row| row.try_get(0))
        .transpose()
        .map_err(StoreError::during(operation))?
        .flatten();
    Ok(sum.unwrap_or_default())
}
