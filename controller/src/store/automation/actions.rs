//! Actions.

use crate::store::sql::{Connection, query};
use crate::store::{Json, StoreError, row};

row! {
    pub struct Action in "actions", key reference, versioned {
        reference: String,
        id: String,
        pack: String,
        name: String,
        runner_type: String,
        enabled: bool,
        document: Json<serde_json::Value>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

/// What tells whether an action and its runner are still as somebody read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    id: String,
    row_version: i64,
    /// None: the runner has no row.
    runner_version: Option<i64>,
}

/// The version of an action; None: there is none of this reference.
pub async fn version(
    connection: &mut Connection,
    reference: &str,
) -> Result<Option<Version>, StoreError> {
    let operation = "read the version of an action";
    let row = query(
        "SELECT a.id, a.row_version, r.row_version FROM actions a \
         LEFT JOIN runner_types r ON r.name = a.runner_type WHERE a.reference = $1",
    )
    .bind(reference.to_string())
    .fetch_optional(connection)
    .await
    .map_err(StoreError::during(operation))?;
    row.map(|row| {
        Ok(Version {
            id: row.try_get(0)?,
            row_version: row.try_get(1)?,
            runner_version: row.try_get(2)?,
        })
    })
    .transpose()
    .map_err(StoreError::during(operation))
}
