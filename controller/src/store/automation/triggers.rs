//! Triggers: a type with parameters, shared by the rules that name equal ones.

use crate::store::row::placeholders;
use crate::store::sql::{Connection, query};
use crate::store::{Json, StoreError, row};

row! {
    pub struct Trigger in "triggers", key reference, versioned {
        reference: String,
        id: String,
        pack: String,
        name: String,
        type_ref: String,
        parameters: Json<serde_json::Value>,
        parameters_hash: String,
        document: Json<serde_json::Value>,
        /// Timers: Unix microseconds.
        next_fire_at: Option<i64>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

async fn select(
    connection: &mut Connection,
    rest: &str,
    number: i64,
    operation: &'static str,
) -> Result<Vec<Trigger>, StoreError> {
    let sql = Trigger::select(rest);
    query(sql)
        .bind(number)
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(operation))?
        .iter()
        .map(Trigger::from_row)
        .collect::<Result<_, _>>()
        .map_err(StoreError::during(operation))
}

/// Timers whose time has come, the most overdue first. `now`: Unix microseconds.
pub async fn due(
    connection: &mut Connection,
    now: i64,
    limit: i64,
) -> Result<Vec<Trigger>, StoreError> {
    let rest = format!("WHERE next_fire_at <= $1 ORDER BY next_fire_at, reference LIMIT {limit}");
    select(connection, &rest, now, "read due timers").await
}

/// Timers whose time has not come yet.
pub async fn waiting(connection: &mut Connection, now: i64) -> Result<Vec<Trigger>, StoreError> {
    let rest = "WHERE next_fire_at > $1 ORDER BY reference";
    select(connection, rest, now, "read waiting timers").await
}

/// Removes a trigger with parameters that no rule names. Whether it did.
pub async fn remove_unused(
    connection: &mut Connection,
    reference: &str,
) -> Result<bool, StoreError> {
    let done = query(
        "DELETE FROM triggers WHERE reference = $1 AND reference <> type_ref \
         AND NOT EXISTS (SELECT 1 FROM rules WHERE rules.trigger_ref = triggers.reference)",
    )
    .bind(reference.to_string())
    .execute(connection)
    .await
    .map_err(StoreError::during("remove an unused trigger"))?;
    Ok(done.rows_affected() > 0)
}

/// Finds a trigger by its parameters and keeps others from removing it until the transaction ends.
pub async fn lock(
    connection: &mut Connection,
    type_ref: &str,
    parameters_hash: &str,
) -> Result<Option<Trigger>, StoreError> {
    let operation = "lock a trigger";
    let sql = format!(
        "UPDATE triggers SET row_version = row_version WHERE type_ref = $1 AND parameters_hash = $2 RETURNING {}",
        Trigger::COLUMNS.join(", ")
    );
    query(sql)
        .bind(type_ref.to_string())
        .bind(parameters_hash.to_string())
        .fetch_optional(connection)
        .await
        .and_then(|row| row.as_ref().map(Trigger::from_row).transpose())
        .map_err(StoreError::during(operation))
}

/// The same by reference. Whether it is there.
pub async fn lock_reference(
    connection: &mut Connection,
    reference: &str,
) -> Result<bool, StoreError> {
    let done = query("UPDATE triggers SET row_version = row_version WHERE reference = $1")
        .bind(reference.to_string())
        .execute(connection)
        .await
        .map_err(StoreError::during("lock a trigger"))?;
    Ok(done.rows_affected() > 0)
}

/// Writes it unless one of the same name or with the same parameters is there. Whether it was written.
pub async fn insert_once(connection: &mut Connection, row: &Trigger) -> Result<bool, StoreError> {
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING",
        Trigger::TABLE,
        Trigger::COLUMNS.join(", "),
        placeholders(Trigger::COLUMNS.len()),
    );
    let done = row
        .bind_all(query(sql))
        .execute(connection)
        .await
        .map_err(StoreError::during("insert a trigger"))?;
    Ok(done.rows_affected() > 0)
}
