//! What executions print, in order.

use crate::store::sql::{Connection, query};
use crate::store::{StoreError, row};

row! {
    pub struct ExecutionOutput in "execution_outputs", key id {
        id: String,
        execution_id: String,
        position: i64,
        /// stdout, stderr, other
        output_type: String,
        data: String,
        created_at: i64,
    }
}

/// Number of the last piece kept; 0 for none.
pub async fn last_position(
    connection: &mut Connection,
    execution: &str,
) -> Result<i64, StoreError> {
    query("SELECT coalesce(max(position), 0) FROM execution_outputs WHERE execution_id = $1")
        .bind(execution.to_string())
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(StoreError::during("find the last output of an execution"))
}

/// Pieces after a position, in order.
pub async fn after(
    connection: &mut Connection,
    execution: &str,
    position: i64,
    limit: i64,
) -> Result<Vec<ExecutionOutput>, StoreError> {
    let operation = "read the output of an execution";
    let sql = ExecutionOutput::select(
        "WHERE execution_id = $1 AND position > $2 ORDER BY position LIMIT $3",
    );
    let rows = query(sql)
        .bind(execution.to_string())
        .bind(position)
        .bind(limit)
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(ExecutionOutput::from_row)
        .collect::<Result<_, _>>()
        .map_err(StoreError::during(operation))
}
