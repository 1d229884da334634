//! Executions that a policy holds: the queues of those that are alike to the limits of their action.
//!
//! Written with the executions themselves; what an execution says of itself (`life`) is the truth. One that
//! is held and not here comes here when the engine looks at it next.

use crate::store::row::{groups, placeholders};
use crate::store::sql::{self, Connection, query};
use crate::store::{StoreError, row};

row! {
    pub struct HeldExecution in "held_executions", key execution_id {
        execution_id: String,
        action_ref: String,
        /// See [`automation::policies::Standing::text`].
        standing: String,
        /// Unix microseconds.
        accepted_at: i64,
    }
}

/// Notes executions as held, or in which other queue they wait now.
pub async fn put(connection: &mut Connection, rows: &[HeldExecution]) -> Result<(), StoreError> {
    let again = "ON CONFLICT (execution_id) DO UPDATE SET standing = excluded.standing";
    HeldExecution::insert_all(connection, rows, again).await?;
    Ok(())
}

/// Forgets those that are no longer held.
pub async fn remove(connection: &mut Connection, ids: &[String]) -> Result<(), StoreError> {
    for group in groups(ids) {
        let sql = format!(
            "DELETE FROM held_executions WHERE execution_id IN ({})",
            placeholders(group.len())
        );
        let statement = query(sql);
        group
            .iter()
            .fold(statement, |statement, id| statement.bind(id.clone()))
            .execute(&mut *connection)
            .await
            .map_err(StoreError::during("forget held executions"))?;
    }
    Ok(())
}

/// What is told apart in the queue of an action. Reads one row of each, however many wait.
pub async fn standings(
    connection: &mut Connection,
    action_ref: &str,
) -> Result<Vec<String>, StoreError> {
    let operation = "read what is told apart among held executions";
    let rows = query(
        "WITH RECURSIVE apart (standing) AS ( \
           SELECT standing FROM (SELECT standing FROM held_executions WHERE action_ref = $1 \
             ORDER BY standing LIMIT 1) AS smallest \
           UNION ALL \
           SELECT (SELECT held.standing FROM held_executions AS held \
             WHERE held.action_ref = $1 AND held.standing > apart.standing ORDER BY held.standing LIMIT 1) \
           FROM apart WHERE apart.standing IS NOT NULL) \
         SELECT standing FROM apart WHERE standing IS NOT NULL",
    )
    .bind(action_ref.to_string())
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()
        .map_err(StoreError::during(operation))
}

/// Ids of the oldest of those that are alike.
pub async fn oldest(
    connection: &mut Connection,
    action_ref: &str,
    standing: &str,
    most: usize,
) -> Result<Vec<String>, StoreError> {
    let operation = "read the oldest of held executions";
    let rows = query(
        "SELECT execution_id FROM held_executions WHERE action_ref = $1 AND standing = $2 \
         ORDER BY accepted_at, execution_id LIMIT $3",
    )
    .bind(action_ref.to_string())
    .bind(standing.to_string())
    .bind(i64::try_from(most).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()
        .map_err(StoreError::during(operation))
}

/// The executions of one action that are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub action_ref: String,
    pub count: i64,
    /// Unix microseconds of the oldest.
    pub accepted_at: i64,
    pub oldest: String,
}

/// What is held, by action; the longest waiting first.
pub async fn queues(connection: &mut Connection, most: i64) -> Result<Vec<Queue>, StoreError> {
    let operation = "count held executions";
    let rows = query(
        "SELECT held.action_ref, held.count, held.since, (SELECT min(one.execution_id) FROM held_executions AS one \
           WHERE one.action_ref = held.action_ref AND one.accepted_at = held.since) \
         FROM (SELECT action_ref, count(*) AS count, min(accepted_at) AS since FROM held_executions GROUP BY action_ref) AS held \
         ORDER BY held.since, held.action_ref LIMIT $1",
    )
    .bind(most)
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(|row| {
            Ok(Queue {
                action_ref: row.try_get(0)?,
                count: row.try_get(1)?,
                accepted_at: row.try_get(2)?,
                oldest: row.try_get(3)?,
            })
        })
        .collect::<Result<_, sql::Error>>()
        .map_err(StoreError::during(operation))
}
