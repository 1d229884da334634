//! Executions.

use crate::store::{Json, StoreError, row};
use automation::execution::{Execution as Life, Status};
use serde_json::Value;
use sqlx::AnyConnection;

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
