//! One-off tasks, as rows: the runtime places them.

use super::apps::{app_for, lay_annotations, lay_labels, owner_for};
use super::list::{Columns, LABEL_SELECTOR, ListQuery, Listing};
use super::processes::megabytes;
use super::quotas::Account;
use super::{Ops, Refusal, by, new_guid, now, of_apps_in_sight, on, sees_secrets};
use crate::domain::access::{Action, Actor};
use crate::domain::placement::PlacementRequest;
use crate::domain::quotas::Purpose;
use crate::domain::tasks::{Event, Stage};
use crate::store::apps::App;
use crate::store::droplets::Droplet;
use crate::store::processes::Process;
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::tasks::{self, PENDING, Task};
use crate::store::{Json, audit_events, facts};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("names", "name"),
        ("states", "state"),
        ("app_guids", "app_guid"),
    ],
    others: &[
        "space_guids",
        "organization_guids",
        "sequence_ids",
        LABEL_SELECTOR,
    ],
    orders: &[
        ("sequence_id", "sequence_id"),
        ("name", "name"),
        ("state", "state"),
    ],
};

const MIB: u64 = 1 << 20;
const LONGEST_NAME: usize = 250;
/// A single argument of a program has at most 128 KiB on Linux.
const LONGEST_COMMAND: usize = 100_000;

/// What a task is to be. None: the template's, or the default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskSettings {
    pub name: Option<String>,
    pub command: Option<String>,
    /// Guid of a process to take command and sizes from.
    pub template: Option<String>,
    pub droplet: Option<String>,
    pub memory_mb: Option<u64>,
    pub disk_mb: Option<u64>,
    pub labels: BTreeMap<String, Option<String>>,
    pub annotations: BTreeMap<String, Option<String>>,
}

/// A task, and whether the actor may see its command.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenTask {
    pub task: Task,
    pub with_command: bool,
}

async fn task_for(
    connection: &mut Connection,
    actor: &Actor,
    action: Action,
    guid: &str,
) -> Result<(Task, App, Space), Refusal> {
    let task = Task::find(connection, guid)
        .await?
        .ok_or(Refusal::NotFound("Task"))?;
    let (app, space) = owner_for(connection, actor, action, &task.app_guid, "Task").await?;
    Ok((task, app, space))
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.chars().count() > LONGEST_NAME {
        return Refusal::unprocessable(format!("Name must have 1 to {LONGEST_NAME} characters"));
    }
    // It stands in each line of the task's log.
    if name.chars().any(char::is_control) {
        return Refusal::unprocessable("Name must not contain control characters");
    }
    Ok(())
}

fn check_command(command: &str) -> Result<(), Refusal> {
    if command.trim().is_empty() {
        return Refusal::unprocessable("No command was given, and no template has one");
    }
    if command.len() > LONGEST_COMMAND {
        return Refusal::unprocessable(format!(
            "Command has {} bytes, at most {LONGEST_COMMAND} fit",
            command.len()
        ));
    }
    if command.contains('\0') {
        return Refusal::unprocessable("Command must not contain a NUL");
    }
    Ok(())
}

/// The process a task is like, if one is named.
async fn template(
    connection: &mut Connection,
    app: &App,
    guid: Option<&str>,
) -> Result<Option<Process>, Refusal> {
    let Some(guid) = guid else { return Ok(None) };
    let process = Process::find(connection, guid)
        .await?
        .filter(|process| process.app_guid == app.guid);
    match process {
        Some(process) => Ok(Some(process)),
        None => Err(Refusal::NotFound("Process")),
    }
}

async fn droplet_of(
    connection: &mut Connection,
    app: &App,
    named: Option<&str>,
) -> Result<Droplet, Refusal> {
    let Some(guid) = named.or(app.current_droplet_guid.as_deref()) else {
        return Refusal::unprocessable(
            "Task must have a droplet. Specify droplet or assign current droplet to app.",
        );
    };
    Droplet::find(connection, guid)
        .await?
        .filter(|droplet| droplet.app_guid == app.guid)
        .ok_or(Refusal::NotFound("Droplet"))
}

impl Ops {
    pub async fn create_task(
        &self,
        actor: &Actor,
        app: &str,
        settings: &TaskSettings,
    ) -> Result<Task, Refusal> {
        self.telling(actor, self.try_create_task(actor, app, settings))
            .await
    }

    async fn try_create_task(
        &self,
        actor: &Actor,
        app: &str,
        settings: &TaskSettings,
    ) -> Result<Task, Refusal> {
        let mut tx = self.store.write("create task").await?;
        let (app, space) = app_for(&mut tx, actor, Action::Develop, app).await?;
        let account = Account::of_space(&mut tx, &space).await?;
        let droplet = droplet_of(&mut tx, &app, settings.droplet.as_deref()).await?;
        let like = template(&mut tx, &app, settings.template.as_deref()).await?;
        let of_droplet = |kind: &str| droplet.process_types.get(kind).cloned();
        let command = settings
            .command
            .clone()
            .or_else(|| like.as_ref()?.command.clone())
            .or_else(|| of_droplet(&like.as_ref()?.kind))
            .unwrap_or_default();
        check_command(&command)?;
        if let Some(name) = &settings.name {
            check_name(name)?;
        }
        let defaults = self.settings();
        let size = |key: &str| defaults.size(key).div_ceil(MIB) as i64;
        let memory_mb = match (settings.memory_mb, &like) {
            (Some(memory), _) => megabytes("Memory in mb", memory)?,
            (None, Some(like)) => like.memory_mb,
            (None, None) => size("controller/apps/default_memory"),
        };
        let disk_mb = match (settings.disk_mb, &like) {
            (Some(disk), _) => megabytes("Disk in mb", disk)?,
            (None, Some(like)) => like.disk_mb,
            (None, None) => size("controller/apps/default_disk"),
        };
        let request = PlacementRequest {
            stack: droplet.stack.clone(),
            memory_mb: memory_mb.unsigned_abs(),
            disk_mb: disk_mb.unsigned_abs(),
            siblings: BTreeSet::new(),
        };
        if let Some(reason) = (self.live.room)(&request) {
            return Refusal::unprocessable(format!("The task cannot be placed: it {reason}"));
        }
        let patience = defaults.duration("controller/tasks/pending_timeout");
        let now = now();
        let guid = new_guid();
        let mut task = Task {
            name: match &settings.name {
                Some(name) => name.clone(),
                None => guid[..8].to_string(),
            },
            guid,
            app_guid: app.guid.clone(),
            sequence_id: tasks::next_number(&mut tx, &app.guid).await?,
            command,
            droplet_guid: droplet.guid,
            memory_mb,
            disk_mb,
            state: PENDING.to_string(),
            dea: None,
            waits_for: None,
            deadline: now.saturating_add(i64::try_from(patience.as_micros()).unwrap_or(i64::MAX)),
            failure_reason: None,
            exit_status: None,
            exit_signal: None,
            labels: Json::default(),
            annotations: Json::default(),
            created_by_guid: actor.guid.clone(),
            created_by_name: actor.name.clone(),
            started_at: None,
            ended_at: None,
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        lay_labels(&mut task.labels, &settings.labels)?;
        lay_annotations(&mut task.annotations, &settings.annotations)?;
        task.insert(&mut tx).await?;
        account.settle(&mut tx, Some(&app), Purpose::Task).await?;
        // Not the command: it may hold passwords.
        let data = json!({
            "task_guid": task.guid,
            "request": {
                "name": task.name,
                "memory_in_mb": task.memory_mb,
                "disk_in_mb": task.disk_mb,
                "droplet_guid": task.droplet_guid,
            },
        });
        let target = on("app", &app.guid, &app.name, &space);
        audit_events::record(
            &mut tx,
            "audit.app.task.create",
            by(actor),
            target,
            data,
            now,
        )
        .await?;
        let changed = facts::Kind::TaskChanged;
        facts::append(&mut tx, changed, &task.guid, json!({}), now).await?;
        tx.commit().await?;
        self.nudge();
        Ok(task)
    }

    pub async fn task(&self, actor: &Actor, guid: &str) -> Result<SeenTask, Refusal> {
        let mut connection = self.store.read().await?;
        let (task, _, space) = task_for(&mut connection, actor, Action::Read, guid).await?;
        Ok(SeenTask {
            task,
            with_command: sees_secrets(actor, &space),
        })
    }

    /// Of one app, or of all that the actor sees; then without commands.
    pub async fn list_tasks(
        &self,
        actor: &Actor,
        app: Option<&str>,
        query: &ListQuery,
    ) -> Result<Listing<SeenTask>, Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        let mut with_command = false;
        if let Some(app) = app {
            let (_, space) = app_for(&mut connection, actor, Action::Read, app).await?;
            with_command = sees_secrets(actor, &space);
            filter = filter.equals("app_guid", app);
        }
        if let Some(numbers) = query.list("sequence_ids") {
            let numbers: Option<Vec<i64>> =
                numbers.iter().map(|number| number.parse().ok()).collect();
            let numbers = numbers.ok_or_else(|| {
                Refusal::BadQuery("'sequence_ids' must be a list of numbers".to_string())
            })?;
            filter = filter.any_number("sequence_id", &numbers);
        }
        filter = of_apps_in_sight(&mut connection, actor, query, filter).await?;
        let (rows, total) = Task::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?;
        let rows = rows
            .into_iter()
            .map(|task| SeenTask { task, with_command })
            .collect();
        Ok(Listing { rows, total })
    }

    pub async fn update_task(
        &self,
        actor: &Actor,
        guid: &str,
        labels: &BTreeMap<String, Option<String>>,
        annotations: &BTreeMap<String, Option<String>>,
    ) -> Result<SeenTask, Refusal> {
        let mut tx = self.store.write("update task").await?;
        let (mut task, _, space) = task_for(&mut tx, actor, Action::Develop, guid).await?;
        lay_labels(&mut task.labels, labels)?;
        lay_annotations(&mut task.annotations, annotations)?;
        task.update(&mut tx, now()).await?;
        tx.commit().await?;
        Ok(SeenTask {
            task,
            with_command: sees_secrets(actor, &space),
        })
    }

    /// Asks for a task to be ended. One that no agent was told of is over at once.
    pub async fn cancel_task(&self, actor: &Actor, guid: &str) -> Result<SeenTask, Refusal> {
        let mut tx = self.store.write("cancel task").await?;
        let (mut task, app, space) = task_for(&mut tx, actor, Action::Operate, guid).await?;
        match task.stage() {
            Stage::Waiting | Stage::Given | Stage::Running => {}
            Stage::Canceling | Stage::Over => {
                return Refusal::unprocessable(format!(
                    "Task state is {} and therefore cannot be canceled",
                    task.state
                ));
            }
        }
        let now = now();
        task.step(&mut tx, Event::CancelAsked, now).await?;
        record_cancel(&mut tx, actor, &task, &app, &space, now).await?;
        let changed = facts::Kind::TaskChanged;
        facts::append(&mut tx, changed, &task.guid, json!({}), now).await?;
        tx.commit().await?;
        self.nudge();
        Ok(SeenTask {
            task,
            with_command: sees_secrets(actor, &space),
        })
    }
}

async fn record_cancel(
    connection: &mut Connection,
    actor: &Actor,
    task: &Task,
    app: &App,
    space: &Space,
    now: i64,
) -> Result<(), Refusal> {
    let data = json!({"task_guid": task.guid});
    let target = on("app", &app.guid, &app.name, space);
    let kind = "audit.app.task.cancel";
    audit_events::record(connection, kind, by(actor), target, data, now).await?;
    Ok(())
}

/// Before the rows of an app are deleted: whoever runs its tasks is told to end them. Returns them, for the
/// facts that belong late into the transaction.
pub async fn cancel_all_in(
    connection: &mut Connection,
    actor: &Actor,
    app: &App,
    space: &Space,
    now: i64,
) -> Result<Vec<Task>, Refusal> {
    let open = tasks::open_of_app(connection, &app.guid).await?;
    for task in &open {
        if task.stage() != Stage::Canceling {
            record_cancel(connection, actor, task, app, space, now).await?;
        }
    }
    Ok(open)
}
