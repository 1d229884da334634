//! One-off tasks.

use super::apps::App;
use super::query::Filter;
use super::{Json, StoreError, platform_events, row};
use crate::domain::tasks::{End, Event, Stage, Verdict};
use crate::domain::times::rfc3339_micros;
use crate::store::sql::{Connection, query};
use automation::triggers::yard::TaskFinished;
use std::collections::BTreeMap;

pub const PENDING: &str = "PENDING";
pub const RUNNING: &str = "RUNNING";
pub const CANCELING: &str = "CANCELING";
pub const SUCCEEDED: &str = "SUCCEEDED";
pub const FAILED: &str = "FAILED";

row! {
    pub struct Task in "tasks", key guid, versioned {
        guid: String,
        app_guid: String,
        /// Counts the tasks of an app.
        sequence_id: i64,
        name: String,
        command: String,
        droplet_guid: String,
        memory_mb: i64,
        disk_mb: i64,
        /// [`PENDING`], [`RUNNING`], [`CANCELING`], [`SUCCEEDED`], [`FAILED`]
        state: String,
        /// The agent that may have it.
        dea: Option<String>,
        /// Why it is not placed, for the user.
        waits_for: Option<String>,
        /// Unix microseconds; not placed by then it failed.
        deadline: i64,
        failure_reason: Option<String>,
        /// 128 + signal where a signal ended it.
        exit_status: Option<i64>,
        exit_signal: Option<String>,
        labels: Json<BTreeMap<String, String>>,
        annotations: Json<BTreeMap<String, String>>,
        created_by_guid: String,
        created_by_name: String,
        /// Unix microseconds; when an agent said that it took it.
        started_at: Option<i64>,
        ended_at: Option<i64>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

impl Task {
    pub fn stage(&self) -> Stage {
        match self.state.as_str() {
            PENDING if self.dea.is_none() => Stage::Waiting,
            PENDING => Stage::Given,
            RUNNING => Stage::Running,
            CANCELING => Stage::Canceling,
            _ => Stage::Over,
        }
    }

    /// Lays an event over the row and writes it. An end is told to rules in the same transaction.
    pub async fn step(
        &mut self,
        connection: &mut Connection,
        event: Event,
        now: i64,
    ) -> Result<Verdict, StoreError> {
        let chosen = match &event {
            Event::Chosen(dea) => Some(dea.to_string()),
            Event::Taken
            | Event::NotTaken(_)
            | Event::CancelAsked
            | Event::Exited(_)
            | Event::Gone(_)
            | Event::Overdue(_) => None,
        };
        let verdict = self.stage().step(event);
        match &verdict {
            Verdict::Stays(_) => return Ok(verdict),
            Verdict::Becomes(stage) => match stage {
                Stage::Given => {
                    self.dea = chosen;
                    self.waits_for = None;
                }
                Stage::Running => {
                    self.state = RUNNING.to_string();
                    self.started_at = Some(now);
                }
                Stage::Canceling => self.state = CANCELING.to_string(),
                Stage::Waiting | Stage::Over => {}
            },
            Verdict::WaitsAgain(why) => {
                self.dea = None;
                self.waits_for = Some(why.clone());
            }
            Verdict::Ends(end) => self.end(end, now),
        }
        self.update(connection, now).await?;
        if let Verdict::Ends(_) = &verdict {
            self.tell_rules(connection, now).await?;
        }
        Ok(verdict)
    }

    fn end(&mut self, end: &End, now: i64) {
        let state = if end.failure.is_none() {
            SUCCEEDED
        } else {
            FAILED
        };
        self.state = state.to_string();
        self.waits_for = None;
        self.failure_reason = end.failure.clone();
        self.exit_status = end.status.map(i64::from);
        self.exit_signal = end.signal.clone();
        self.ended_at = Some(now);
    }

    async fn tell_rules(&self, connection: &mut Connection, now: i64) -> Result<(), StoreError> {
        let Some(app) = App::find(connection, &self.app_guid).await? else {
            return Ok(());
        };
        let Some(place) = platform_events::place(connection, &app).await? else {
            return Ok(());
        };
        let ran = self
            .started_at
            .map(|since| now.saturating_sub(since) / 1000);
        let event = TaskFinished {
            at: rfc3339_micros(now),
            place,
            task: self.guid.clone(),
            sequence_id: u64::try_from(self.sequence_id).unwrap_or_default(),
            name: self.name.clone(),
            succeeded: self.state == SUCCEEDED,
            exit_status: self
                .exit_status
                .and_then(|status| i32::try_from(status).ok()),
            reason: self.failure_reason.clone(),
            node: self.dea.clone(),
            duration_ms: ran.and_then(|millis| u64::try_from(millis).ok()),
        };
        platform_events::tell(connection, event, &self.app_guid, now).await
    }
}

/// Those that are not over, the oldest first.
pub async fn open(connection: &mut Connection) -> Result<Vec<Task>, StoreError> {
    let filter = Filter::new()
        .only("ended_at IS NULL")
        .order("created_at", false);
    Task::fetch(connection, filter, "list tasks that are not over").await
}

pub async fn open_of_app(connection: &mut Connection, app: &str) -> Result<Vec<Task>, StoreError> {
    let filter = Filter::new()
        .equals("app_guid", app)
        .only("ended_at IS NULL")
        .order("created_at", false);
    Task::fetch(
        connection,
        filter,
        "list the tasks of an app that are not over",
    )
    .await
}

/// The next number for a task of this app. Holds the app's row of numbers until the commit.
pub async fn next_number(connection: &mut Connection, app: &str) -> Result<i64, StoreError> {
    query(
        "INSERT INTO task_numbers (app_guid, newest) VALUES ($1, 1) \
         ON CONFLICT (app_guid) DO UPDATE SET newest = task_numbers.newest + 1 RETURNING newest",
    )
    .bind(app.to_string())
    .fetch_one(connection)
    .await
    .and_then(|row| row.try_get(0))
    .map_err(StoreError::during("number a task"))
}

/// Deletes those that ended before this time (Unix microseconds). Returns how many.
pub async fn forget(connection: &mut Connection, before: i64) -> Result<u64, StoreError> {
    let done = query("DELETE FROM tasks WHERE ended_at < $1")
        .bind(before)
        .execute(connection)
        .await
        .map_err(StoreError::during("forget old tasks"))?;
    Ok(done.rows_affected())
}

/// Those that no agent has taken yet, the oldest first.
pub async fn pending(connection: &mut Connection, most: i64) -> Result<Vec<Task>, StoreError> {
    let filter = Filter::new()
        .only("ended_at IS NULL")
        .equals("state", PENDING)
        .order("created_at", false)
        .window(most, 0);
    Task::fetch(connection, filter, "read the tasks that wait").await
}
