//! What has grown old, deleted in batches.

use crate::store::StoreError;
use crate::store::sql::{Connection, query};

/// A kind of rows that grow old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With all they printed. Only those that ended and whose end was followed up.
    Executions,
    Outputs,
    /// Only those that the rules have looked at.
    TriggerInstances,
    Enforcements,
    /// With their components.
    Traces,
}

impl Kind {
    /// Table, the time that counts, and what else must be true.
    fn rows(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Kind::Executions => (
                "executions",
                "started_at",
                "ended_at IS NOT NULL AND deadline IS NULL",
            ),
            Kind::Outputs => ("execution_outputs", "created_at", "1 = 1"),
            Kind::TriggerInstances => (
                "trigger_instances",
                "occurred_at",
                "status IN ('processed', 'processing_failed')",
            ),
            Kind::Enforcements => ("rule_enforcements", "enforced_at", "1 = 1"),
            Kind::Traces => ("traces", "started_at", "1 = 1"),
        }
    }
}

/// Deletes the oldest from before a time (Unix microseconds), at most so many. How many it were.
pub async fn forget(
    connection: &mut Connection,
    kind: Kind,
    before: i64,
    most: i64,
) -> Result<u64, StoreError> {
    let (table, time, rest) = kind.rows();
    let sql = format!(
        "DELETE FROM {table} WHERE id IN \
         (SELECT id FROM {table} WHERE {time} < $1 AND {rest} ORDER BY {time} LIMIT {most})"
    );
    let done = query(sql)
        .bind(before)
        .execute(connection)
        .await
        .map_err(StoreError::during("forget what is old in automation"))?;
    Ok(done.rows_affected())
}
