//! Executions.

use crate::store::query::Filter;
use crate::store::{Json, StoreError, row};
use automation::execution::{Execution as Life, Status};
use serde_json::Value;
use sqlx::{AnyConnection, Row};

row! {
    pub struct Execution in "executions", key id, versioned {
        id: String,
        liveaction_id: String,
        action_ref: String,
        runner_type: String,
        /// As in `life`, like `dea`, `deadline` and `ended_at`: see [`Execution::set_life`].
        status: String,
        username: String,
        user_guid: Option<String>,
        parent: Option<String>,
        rule_ref: Option<String>,
        trigger_instance: Option<String>,
        trigger_ref: Option<String>,
        trigger_type: Option<String>,
        /// Rendered as far as a request can; secret ones encrypted.
        parameters: Json<Value>,
        context: Json<Value>,
        /// Action and runner as they were, notify.
        document: Json<Value>,
        life: Json<Life>,
        /// None: none yet, or in the blob store.
        result: Option<String>,
        result_sha256: Option<String>,
        result_size: i64,
        dea: Option<String>,
        /// When the engine must look at it. None: never again.
        deadline: Option<i64>,
        started_at: i64,
        ended_at: Option<i64>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

/// Milliseconds of the engine's clock as microseconds of the store's.
fn micros(millis: i64) -> i64 {
    millis.saturating_mul(1000)
}

impl Execution {
    /// Takes over a state, with the columns that follow from it.
    pub fn set_life(&mut self, life: Life, settings: &automation::execution::Settings) {
        self.status = life.status.as_str().to_string();
        self.dea = life
            .placement
            .as_ref()
            .map(|placement| placement.agent.clone());
        self.deadline = life.deadline(settings).map(|deadline| micros(deadline.at));
        self.started_at = micros(life.accepted_at);
        self.ended_at = life.ended_at.map(micros);
        self.life = Json(life);
    }
}

/// An execution as lists read it: without its result, which may be large. It cannot be written back.
#[derive(Debug, Clone)]
pub struct Listed(Execution);

impl std::ops::Deref for Listed {
    type Target = Execution;
    fn deref(&self) -> &Execution {
        &self.0
    }
}

/// One page of what matches, without results, and how many match at all.
pub async fn list(
    connection: &mut AnyConnection,
    filter: Filter,
    limit: i64,
    offset: i64,
) -> Result<(Vec<Listed>, u64), StoreError> {
    let operation = "list executions";
    let total = filter.count(connection, Execution::TABLE).await?;
    let columns: Vec<&str> = Execution::COLUMNS
        .iter()
        .map(|column| match *column {
            "result" => "CAST(NULL AS TEXT) AS result",
            other => other,
        })
        .collect();
    let filter = filter.window(limit, offset);
    let sql = filter.sql(&format!(
        "SELECT {} FROM {}",
        columns.join(", "),
        Execution::TABLE
    ));
    let rows = filter
        .bind(sqlx::query(sqlx::AssertSqlSafe(sql)))
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(operation))?;
    let listed = rows
        .iter()
        .map(|row| Execution::from_row(row).map(Listed))
        .collect::<Result<_, _>>()
        .map_err(StoreError::during(operation))?;
    Ok((listed, total))
}

/// Parent and child of all children of these, oldest first.
pub async fn ids_of_children(
    connection: &mut AnyConnection,
    parents: &[&str],
) -> Result<Vec<(String, String)>, StoreError> {
    let operation = "find the children of executions";
    let filter = Filter::new()
        .any("parent", parents)
        .order_by("started_at", "id", false);
    let sql = filter.sql("SELECT parent, id FROM executions");
    let rows = filter
        .bind(sqlx::query(sqlx::AssertSqlSafe(sql)))
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, _>>()
        .map_err(StoreError::during(operation))
}

/// The first thousand values of a column. `column`: a constant of this program.
pub async fn distinct(
    connection: &mut AnyConnection,
    column: &'static str,
) -> Result<Vec<String>, StoreError> {
    let operation = "list values of executions";
    let sql = format!(
        "SELECT DISTINCT {column} FROM executions WHERE {column} IS NOT NULL ORDER BY {column} LIMIT 1000"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()
        .map_err(StoreError::during(operation))
}

async fn select(
    connection: &mut AnyConnection,
    rest: &str,
    number: i64,
    texts: &[&str],
    operation: &'static str,
) -> Result<Vec<Execution>, StoreError> {
    let sql = Execution::select(rest);
    let mut statement = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(number);
    for text in texts {
        statement = statement.bind(text.to_string());
    }
    statement
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(operation))?
        .iter()
        .map(Execution::from_row)
        .collect::<Result<_, _>>()
        .map_err(StoreError::during(operation))
}

/// Those whose deadline has passed, the most overdue first. `now`: Unix microseconds.
pub async fn overdue(
    connection: &mut AnyConnection,
    now: i64,
    limit: i64,
) -> Result<Vec<Execution>, StoreError> {
    let rest = format!("WHERE deadline <= $1 ORDER BY deadline LIMIT {limit}");
    select(connection, &rest, now, &[], "read overdue executions").await
}

/// Those that may run and have no agent, the oldest first.
pub async fn unplaced(
    connection: &mut AnyConnection,
    limit: i64,
) -> Result<Vec<Execution>, StoreError> {
    let rest = format!(
        "WHERE started_at >= $1 AND status = 'scheduled' AND dea IS NULL ORDER BY started_at, id LIMIT {limit}"
    );
    select(
        connection,
        &rest,
        0,
        &[],
        "read executions without an agent",
    )
    .await
}

/// How many may run and have no agent, counted no further than `limit`.
pub async fn count_unplaced(connection: &mut AnyConnection, limit: i64) -> Result<i64, StoreError> {
    sqlx::query(
        "SELECT count(*) FROM (SELECT id FROM executions WHERE status = 'scheduled' AND dea IS NULL LIMIT $1) AS waiting",
    )
    .bind(limit)
    .fetch_one(connection)
    .await
    .and_then(|row| row.try_get(0))
    .map_err(StoreError::during("count executions without an agent"))
}

/// Those the engine has not done with: not ended, or ended and not concluded.
pub async fn unsettled(connection: &mut AnyConnection) -> Result<Vec<Execution>, StoreError> {
    let rest = "WHERE deadline IS NOT NULL AND deadline > $1 ORDER BY started_at, id";
    select(connection, rest, i64::MIN, &[], "read unsettled executions").await
}

/// Executions of one action in any of these states.
pub async fn of_action(
    connection: &mut AnyConnection,
    action_ref: &str,
    statuses: &[Status],
) -> Result<Vec<Execution>, StoreError> {
    let names: Vec<String> = statuses
        .iter()
        .map(|status| format!("'{}'", status.as_str()))
        .collect();
    let rest = format!(
        "WHERE started_at >= $1 AND action_ref = $2 AND status IN ({}) ORDER BY started_at, id",
        names.join(", ")
    );
    select(
        connection,
        &rest,
        0,
        &[action_ref],
        "read executions of an action",
    )
    .await
}

/// What is placed on an agent and has not ended.
pub async fn on_agent(
    connection: &mut AnyConnection,
    dea: &str,
) -> Result<Vec<Execution>, StoreError> {
    let rest = "WHERE started_at >= $1 AND dea = $2 AND ended_at IS NULL";
    select(connection, rest, 0, &[dea], "read executions on an agent").await
}

/// Children of an execution, oldest first.
pub async fn children(
    connection: &mut AnyConnection,
    parent: &str,
) -> Result<Vec<Execution>, StoreError> {
    let rest = "WHERE started_at >= $1 AND parent = $2 ORDER BY started_at, id";
    select(
        connection,
        rest,
        0,
        &[parent],
        "read children of an execution",
    )
    .await
}
