//! Executions.

use crate::store::query::Filter;
use crate::store::row::{Column as _, Rewrite};
use crate::store::sql::{Connection, query};
use crate::store::{Json, SharedJson, StoreError, row};
use automation::execution::{Execution as Life, Status};
use serde_json::Value;

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
        document: SharedJson,
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

/// What a move of an execution changes of its row. The other columns stay as they were accepted, and the
/// indexes over them untouched: writing the whole row costs several times as much.
#[derive(Debug, Clone)]
pub struct Change {
    id: String,
    /// The version of the row that was read.
    before: i64,
    status: String,
    context: Json<Value>,
    life: Json<Life>,
    result: Option<String>,
    result_sha256: Option<String>,
    result_size: i64,
    dea: Option<String>,
    deadline: Option<i64>,
    ended_at: Option<i64>,
    updated_at: i64,
    row_version: i64,
}

impl Execution {
    /// Notes a new version. `now`: Unix microseconds.
    pub fn touch(&mut self, now: i64) {
        // Never backwards, whatever the clock does: readers order changes by it.
        self.updated_at = now.max(self.updated_at + 1);
        self.row_version += 1;
    }

    /// Notes a new version and what is to be written of it. `earlier`: the change of the same row that has not
    /// been written; this one stands for both. `now`: Unix microseconds.
    pub fn change(&mut self, now: i64, earlier: Option<&Change>) -> Change {
        let before = earlier.map_or(self.row_version, |earlier| earlier.before);
        self.touch(now);
        Change {
            id: self.id.clone(),
            before,
            status: self.status.clone(),
            context: self.context.clone(),
            life: self.life.clone(),
            result: self.result.clone(),
            result_sha256: self.result_sha256.clone(),
            result_size: self.result_size,
            dea: self.dea.clone(),
            deadline: self.deadline,
            ended_at: self.ended_at,
            updated_at: self.updated_at,
            row_version: self.row_version,
        }
    }
}

/// Writes changes, several with each statement. Stale if any of the rows is not as it was read.
pub async fn write(connection: &mut Connection, changes: &[Change]) -> Result<(), StoreError> {
    const COLUMNS: [&str; 11] = [
        "status",
        "context",
        "life",
        "result",
        "result_sha256",
        "result_size",
        "dea",
        "deadline",
        "ended_at",
        "updated_at",
        "row_version",
    ];
    let set: Vec<String> = COLUMNS
        .iter()
        .enumerate()
        .map(|(place, column)| format!("{column} = v.column{}", place + 3))
        .collect();
    let rewrite = Rewrite {
        operation: "move executions",
        noun: "execution, one of",
        table: "executions",
        set: &set.join(", "),
        values: COLUMNS.len() + 2,
    };
    rewrite
        .run(
            connection,
            changes,
            |change| &change.id,
            |change, mut statement| {
                statement = change.id.bind(statement);
                statement = change.before.bind(statement);
                statement = change.status.bind(statement);
                statement = change.context.bind(statement);
                statement = change.life.bind(statement);
                statement = change.result.bind(statement);
                statement = change.result_sha256.bind(statement);
                statement = change.result_size.bind(statement);
                statement = change.dea.bind(statement);
                statement = change.deadline.bind(statement);
                statement = change.ended_at.bind(statement);
                statement = change.updated_at.bind(statement);
                change.row_version.bind(statement)
            },
        )
        .await
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
    connection: &mut Connection,
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
        .bind(query(sql))
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
    connection: &mut Connection,
    parents: &[&str],
) -> Result<Vec<(String, String)>, StoreError> {
    let operation = "find the children of executions";
    let filter = Filter::new()
        .any("parent", parents)
        .order_by("started_at", "id", false);
    let sql = filter.sql("SELECT parent, id FROM executions");
    let rows = filter
        .bind(query(sql))
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
    connection: &mut Connection,
    column: &'static str,
) -> Result<Vec<String>, StoreError> {
    let operation = "list values of executions";
    let sql = format!(
        "SELECT DISTINCT {column} FROM executions WHERE {column} IS NOT NULL ORDER BY {column} LIMIT 1000"
    );
    let rows = query(sql)
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()
        .map_err(StoreError::during(operation))
}

/// Whether a deadline has passed. `now`: Unix microseconds.
pub async fn any_overdue(connection: &mut Connection, now: i64) -> Result<bool, StoreError> {
    let found = query("SELECT id FROM executions WHERE deadline <= $1 LIMIT 1")
        .bind(now)
        .fetch_optional(connection)
        .await
        .map_err(StoreError::during("look for overdue executions"))?;
    Ok(found.is_some())
}

/// Rows read with one statement where there are many: as many as the thread that is SQLite hands over without
/// waiting for each to be taken.
const PORTION: i64 = 50;

/// Those whose deadline has passed, the most overdue first. `now`: Unix microseconds.
pub async fn overdue(
    connection: &mut Connection,
    now: i64,
    limit: i64,
) -> Result<Vec<Execution>, StoreError> {
    let filter = Filter::new()
        .compare("deadline", "<=", now)
        .order_by("deadline", "id", false);
    let mut found = Vec::new();
    while (found.len() as i64) < limit {
        let most = PORTION.min(limit - found.len() as i64);
        let portion = filter.clone().window(most, found.len() as i64);
        let portion = Execution::fetch(connection, portion, "read overdue executions").await?;
        let is_last = (portion.len() as i64) < most;
        found.extend(portion);
        if is_last {
            break;
        }
    }
    Ok(found)
}

/// Those that may run and have no agent, the oldest first.
pub async fn unplaced(
    connection: &mut Connection,
    limit: i64,
) -> Result<Vec<Execution>, StoreError> {
    let filter = Filter::new()
        .only("status = 'scheduled' AND dea IS NULL")
        .order_by("started_at", "id", false)
        .window(limit, 0);
    Execution::fetch(connection, filter, "read executions without an agent").await
}

/// How many may run and have no agent, counted no further than `limit`.
pub async fn count_unplaced(connection: &mut Connection, limit: i64) -> Result<i64, StoreError> {
    query(
        "SELECT count(*) FROM (SELECT id FROM executions WHERE status = 'scheduled' AND dea IS NULL LIMIT $1) AS waiting",
    )
    .bind(limit)
    .fetch_one(connection)
    .await
    .and_then(|row| row.try_get(0))
    .map_err(StoreError::during("count executions without an agent"))
}

/// How many executions of one action are in any of these states, of those that the engine has not done with.
pub async fn count_of_action(
    connection: &mut Connection,
    action_ref: &str,
    statuses: &[Status],
) -> Result<usize, StoreError> {
    let mut count = 0;
    // Asked for several at once, SQLite goes through the history of the action.
    for status in statuses {
        let filter = in_state(action_ref, *status);
        count += filter.count(connection, Execution::TABLE).await?;
    }
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// The parameters of those of which [`count_of_action`] is the number, as they are kept.
pub async fn parameters_of_action(
    connection: &mut Connection,
    action_ref: &str,
    statuses: &[Status],
) -> Result<Vec<Json<Value>>, StoreError> {
    let operation = "read the parameters of executions of an action";
    let mut found = Vec::new();
    for status in statuses {
        let filter = in_state(action_ref, *status);
        let sql = filter.sql("SELECT parameters FROM executions");
        let rows = filter
            .bind(query(sql))
            .fetch_all(&mut *connection)
            .await
            .map_err(StoreError::during(operation))?;
        for row in &rows {
            found.push(Json::get(row, "parameters").map_err(StoreError::during(operation))?);
        }
    }
    Ok(found)
}

fn in_state(action_ref: &str, status: Status) -> Filter {
    Filter::new()
        .equals("action_ref", action_ref)
        .equals("status", status.as_str())
        .only("deadline IS NOT NULL")
}

/// These executions; several hundred are read with several statements.
pub async fn by_ids(
    connection: &mut Connection,
    ids: &[String],
) -> Result<Vec<Execution>, StoreError> {
    let mut found = Vec::new();
    for some in ids.chunks(200) {
        let filter = Filter::new().any("id", some);
        found.extend(Execution::fetch(connection, filter, "read executions").await?);
    }
    Ok(found)
}

/// What is placed on an agent and has not ended.
pub async fn on_agent(
    connection: &mut Connection,
    dea: &str,
) -> Result<Vec<Execution>, StoreError> {
    let filter = Filter::new().equals("dea", dea).only("ended_at IS NULL");
    Execution::fetch(connection, filter, "read executions on an agent").await
}

/// Children of an execution, oldest first.
pub async fn children(
    connection: &mut Connection,
    parent: &str,
) -> Result<Vec<Execution>, StoreError> {
    let filter = Filter::new()
        .equals("parent", parent)
        .order_by("started_at", "id", false);
    Execution::fetch(connection, filter, "read children of an execution").await
}
