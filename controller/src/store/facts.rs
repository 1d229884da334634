//! Facts: an ordered log, each written in the transaction of the change it announces.
//!
//! A fact says *that* something changed; consumers read the rows again, so a fact told twice, or
//! read late, does no harm. A consumer keeps a cursor and moves it after it has acted: a crash in
//! between means the fact is read once more. Numbers come from one sequence row that writers hold
//! until they commit, so a reader who has seen number n never finds a smaller one later.

use super::{Json, StoreError, row};
use crate::store::sql::{self, Connection, query};

/// What a fact is about. `object` is the guid of the noun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Number, version, droplet or settings of a process, or the state of its app.
    ProcessChanged,
    /// The row is gone; object: its guid.
    ProcessRemoved,
    /// The names of an app changed; object: the app.
    RoutesChanged,
    /// The app and all of its rows are gone.
    AppDeleted,
    /// A build wants to be staged; object: the build.
    BuildRequested,
    /// A task was asked for or is to be cancelled; object: the task.
    TaskChanged,
    /// The row is gone before it was over; object: the task, payload `{"dea": id or null}`.
    TaskRemoved,
    /// A deployment was created or is to be taken back; object: the deployment.
    DeploymentChanged,
    /// One instance is to be replaced; object: the process, payload `{"index": n}`.
    InstanceRestartRequested,
    /// The health manager asked a controller that does not lead; payload: its request.
    HealthRequested,
    /// Something that rules may react to; payload: its name and what rules see of it.
    PlatformEvent,
    /// Written by something newer than this controller.
    Unknown,
}

impl Kind {
    const ALL: [Kind; 11] = [
        Kind::ProcessChanged,
        Kind::ProcessRemoved,
        Kind::RoutesChanged,
        Kind::AppDeleted,
        Kind::BuildRequested,
        Kind::TaskChanged,
        Kind::TaskRemoved,
        Kind::DeploymentChanged,
        Kind::InstanceRestartRequested,
        Kind::HealthRequested,
        Kind::PlatformEvent,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::ProcessChanged => "process.changed",
            Kind::ProcessRemoved => "process.removed",
            Kind::RoutesChanged => "routes.changed",
            Kind::AppDeleted => "app.deleted",
            Kind::BuildRequested => "build.requested",
            Kind::TaskChanged => "task.changed",
            Kind::TaskRemoved => "task.removed",
            Kind::DeploymentChanged => "deployment.changed",
            Kind::InstanceRestartRequested => "instance.restart_requested",
            Kind::HealthRequested => "health.requested",
            Kind::PlatformEvent => "platform.event",
            Kind::Unknown => "unknown",
        }
    }

    pub fn parse(name: &str) -> Kind {
        Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .unwrap_or(Kind::Unknown)
    }
}

row! {
    pub struct FactRow in "facts", key sequence {
        sequence: i64,
        kind: String,
        object: String,
        payload: Json<serde_json::Value>,
        created_at: i64,
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub sequence: i64,
    pub kind: Kind,
    pub object: String,
    pub payload: serde_json::Value,
    /// Unix microseconds.
    pub created_at: i64,
}

/// Appends to the log in the caller's transaction and returns the number. Call it late in the
/// transaction: on PostgreSQL it makes the other writers of facts wait until this one commits.
pub async fn append(
    connection: &mut Connection,
    kind: Kind,
    object: &str,
    payload: serde_json::Value,
    now: i64,
) -> Result<i64, StoreError> {
    let sequence = super::next_number(connection, "facts").await?;
    FactRow {
        sequence,
        kind: kind.name().to_string(),
        object: object.to_string(),
        payload: Json(payload),
        created_at: now,
    }
    .insert(connection)
    .await?;
    Ok(sequence)
}

/// The facts after `sequence`, in order, at most `limit`.
pub async fn after(
    connection: &mut Connection,
    sequence: i64,
    limit: i64,
) -> Result<Vec<Fact>, StoreError> {
    let operation = "read facts";
    let sql = FactRow::select("WHERE sequence > $1 ORDER BY sequence LIMIT $2");
    let rows = query(sql)
        .bind(sequence)
        .bind(limit)
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(|row| {
            let row = FactRow::from_row(row)?;
            Ok(Fact {
                sequence: row.sequence,
                kind: Kind::parse(&row.kind),
                object: row.object,
                payload: row.payload.0,
                created_at: row.created_at,
            })
        })
        .collect::<Result<_, sql::Error>>()
        .map_err(StoreError::during(operation))
}

/// The newest number given out.
pub async fn newest(connection: &mut Connection) -> Result<i64, StoreError> {
    query("SELECT value FROM sequences WHERE name = 'facts'")
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(StoreError::during("read the newest fact"))
}

/// How far a consumer has read; 0 for a new one.
pub async fn cursor(connection: &mut Connection, consumer: &str) -> Result<i64, StoreError> {
    let row = query("SELECT sequence FROM cursors WHERE consumer = $1")
        .bind(consumer.to_string())
        .fetch_optional(connection)
        .await
        .map_err(StoreError::during("read a cursor"))?;
    match row {
        Some(row) => row.try_get(0).map_err(StoreError::during("read a cursor")),
        None => Ok(0),
    }
}

/// Moves a cursor on; never back.
pub async fn advance(
    connection: &mut Connection,
    consumer: &str,
    sequence: i64,
) -> Result<(), StoreError> {
    query(
        "INSERT INTO cursors (consumer, sequence) VALUES ($1, $2) \
         ON CONFLICT (consumer) DO UPDATE SET sequence = $2 WHERE cursors.sequence < $2",
    )
    .bind(consumer.to_string())
    .bind(sequence)
    .execute(connection)
    .await
    .map_err(StoreError::during("move a cursor"))?;
    Ok(())
}

/// Drops facts older than `before` that every consumer has read. Returns how many.
pub async fn prune(connection: &mut Connection, before: i64) -> Result<u64, StoreError> {
    let done = query(
        "DELETE FROM facts WHERE created_at < $1 AND sequence <= (SELECT coalesce(min(sequence), 0) FROM cursors)",
    )
    .bind(before)
    .execute(connection)
    .await
    .map_err(StoreError::during("prune facts"))?;
    Ok(done.rows_affected())
}
