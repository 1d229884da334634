//! Trigger instances: each time a trigger fired.

use crate::store::row::{Column as _, Rewrite};
use crate::store::sql::{Connection, query};
use crate::store::{Json, StoreError, row};

pub const PENDING: &str = "pending";
pub const PROCESSED: &str = "processed";
pub const FAILED: &str = "processing_failed";

row! {
    pub struct TriggerInstance in "trigger_instances", key id, versioned {
        id: String,
        trigger_ref: String,
        trigger_type: String,
        payload: Json<serde_json::Value>,
        /// pending, processing, processed, processing_failed
        status: String,
        trace_tag: Option<String>,
        trace_id: Option<String>,
        /// A key that makes a repeated report the same instance.
        source: Option<String>,
        occurred_at: i64,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

/// What makes a repeated report the same instance.
const ONCE: &str = "ON CONFLICT (source) DO NOTHING";

/// Writes it unless one of the same source is there. Whether it was written.
pub async fn insert_once(
    connection: &mut Connection,
    row: &TriggerInstance,
) -> Result<bool, StoreError> {
    insert_all_once(connection, std::slice::from_ref(row))
        .await
        .map(|written| written > 0)
}

/// Writes those of which none of the same source is there. How many were written.
pub async fn insert_all_once(
    connection: &mut Connection,
    rows: &[TriggerInstance],
) -> Result<u64, StoreError> {
    TriggerInstance::insert_all(connection, rows, ONCE).await
}

/// Notes that the rules have looked at these, and the trace that each belongs to. Stale if any of them is not
/// as it was read. `now`: Unix microseconds.
pub async fn processed(
    connection: &mut Connection,
    rows: &[TriggerInstance],
    now: i64,
) -> Result<(), StoreError> {
    let set = format!(
        "status = '{PROCESSED}', trace_id = v.column3, updated_at = v.column4, row_version = v.column2 + 1"
    );
    let rewrite = Rewrite {
        operation: "note processed trigger instances",
        noun: "trigger instance, one of",
        table: "trigger_instances",
        set: &set,
        values: 4,
    };
    rewrite
        .run(
            connection,
            rows,
            |row| &row.id,
            |row, mut statement| {
                statement = row.id.bind(statement);
                statement = row.row_version.bind(statement);
                statement = row.trace_id.bind(statement);
                now.max(row.updated_at + 1).bind(statement)
            },
        )
        .await
}

/// How many of the oldest pending ones have payloads of at most this many characters together; one, if
/// the first alone has more.
pub async fn pending_within(
    connection: &mut Connection,
    limit: i64,
    characters: i64,
) -> Result<i64, StoreError> {
    let operation = "measure pending trigger instances";
    let rows = query(
        "SELECT CAST(length(payload) AS BIGINT) FROM trigger_instances WHERE status = $1 \
         ORDER BY occurred_at, id LIMIT $2",
    )
    .bind(PENDING.to_string())
    .bind(limit)
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(operation))?;
    let (mut count, mut total) = (0, 0_i64);
    for row in rows {
        let length: i64 = row.try_get(0).map_err(StoreError::during(operation))?;
        total = total.saturating_add(length);
        if count > 0 && total > characters {
            break;
        }
        count += 1;
    }
    Ok(count)
}

/// Those that no rule has looked at yet, oldest first.
pub async fn pending(
    connection: &mut Connection,
    limit: i64,
) -> Result<Vec<TriggerInstance>, StoreError> {
    let operation = "read pending trigger instances";
    let sql = TriggerInstance::select("WHERE status = $1 ORDER BY occurred_at, id LIMIT $2");
    let rows = query(sql)
        .bind(PENDING.to_string())
        .bind(limit)
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(TriggerInstance::from_row)
        .collect::<Result<_, _>>()
        .map_err(StoreError::during(operation))
}

/// How many wait for the rules, counted no further than `limit`.
pub async fn count_pending(connection: &mut Connection, limit: i64) -> Result<i64, StoreError> {
    query(
        "SELECT count(*) FROM (SELECT id FROM trigger_instances WHERE status = $1 LIMIT $2) AS waiting",
    )
    .bind(PENDING.to_string())
    .bind(limit)
    .fetch_one(connection)
    .await
    .and_then(|row| row.try_get(0))
    .map_err(StoreError::during("count pending trigger instances"))
}

/// Those of a span of time of one trigger, oldest first: `from` (included) to `to`, Unix microseconds.
pub async fn of_trigger(
    connection: &mut Connection,
    trigger: &str,
    from: i64,
    to: i64,
    limit: i64,
) -> Result<Vec<TriggerInstance>, StoreError> {
    let operation = "read trigger instances of a span of time";
    let sql = TriggerInstance::select(
        "WHERE trigger_ref = $1 AND occurred_at >= $2 AND occurred_at < $3 ORDER BY occurred_at, id LIMIT $4",
    );
    let rows = query(sql)
        .bind(trigger.to_string())
        .bind(from)
        .bind(to)
        .bind(limit)
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(TriggerInstance::from_row)
        .collect::<Result<_, _>>()
        .map_err(StoreError::during(operation))
}
