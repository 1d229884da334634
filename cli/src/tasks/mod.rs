//! One-off tasks of an app: [`run`] one and see how it ends, list them, cancel one.

pub mod run;

use crate::apps::find;
use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Color, Output, human, table};
use crate::targets::Store;
use clap::{Args, Subcommand};
use proto::api::{App, Task};
use time::OffsetDateTime;

#[derive(Debug, Args)]
pub struct TasksArgs {
    /// The app
    app: String,
}

#[derive(Debug, Args)]
pub struct TaskArgs {
    #[command(subcommand)]
    command: TaskCommand,
}

#[derive(Debug, Subcommand)]
enum TaskCommand {
    /// List the tasks of an app, the newest first
    List(TasksArgs),
    /// Show a task
    Show(OneTask),
    /// End a task that is not over
    Cancel(OneTask),
}

#[derive(Debug, Args)]
struct OneTask {
    /// The app
    app: String,
    /// The task's number, or its guid
    task: String,
}

pub async fn run(args: TaskArgs, out: &Output, store: Store) -> Outcome {
    match args.command {
        TaskCommand::List(args) => list(args, out, store).await,
        TaskCommand::Show(args) => {
            let client = Client::open(store)?;
            let (_, task) = find_task(&client, &args).await?;
            show(out, &task)
        }
        TaskCommand::Cancel(args) => {
            let client = Client::open(store)?;
            let (app, task) = find_task(&client, &args).await?;
            let task = cancel(&client, &app, &task).await?;
            out.show(&task, |task| {
                let what = if is_over(task) {
                    "is over"
                } else {
                    "is being cancelled"
                };
                format!("task {} of {} {what}\n", task.sequence_id, app.name)
            })
        }
    }
}

pub async fn list(args: TasksArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    let query = [("order_by", "-created_at"), ("per_page", "5000")];
    let tasks: Vec<Task> = client
        .list(&format!("/v3/apps/{}/tasks", app.guid), &query)
        .await?;
    let empty = format!(
        "no tasks of {0}; `yard run {0} -- COMMAND` runs one",
        app.name
    );
    out.show(&tasks, |tasks| {
        let now = OffsetDateTime::now_utc();
        table::table(
            ["task", "name", "state", "begun", "command", "why"],
            tasks.iter().map(|task| row(task, out, now)),
            &empty,
        )
    })
}

fn row(task: &Task, out: &Output, now: OffsetDateTime) -> [table::Cell; 6] {
    let color = match task.state.as_str() {
        "SUCCEEDED" => Color::Good,
        "FAILED" => Color::Bad,
        "RUNNING" => Color::Strong,
        _ => Color::Careful,
    };
    [
        task.sequence_id.to_string().into(),
        task.name.as_str().into(),
        table::Cell::painted(out, color, task.state.to_lowercase()),
        human::ago(&task.created_at, now).into(),
        one_line(task.command.as_deref().unwrap_or_default()).into(),
        one_line(&why(task)).into(),
    ]
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

/// Why it failed, or what it waits for.
fn why(task: &Task) -> String {
    let why = task.result.failure_reason.as_ref();
    why.or(task.yard_waits_for.as_ref())
        .cloned()
        .unwrap_or_default()
}

fn show(out: &Output, task: &Task) -> Outcome {
    out.show(task, |task| {
        let status = task.result.yard_exit_status;
        let mut rows = vec![
            ("task", task.sequence_id.to_string()),
            ("name", task.name.clone()),
            ("guid", task.guid.clone()),
            ("state", task.state.to_lowercase()),
            ("command", task.command.clone().unwrap_or_default()),
            ("memory", human::megabytes(task.memory_in_mb)),
            ("disk", human::megabytes(task.disk_in_mb)),
            ("agent", task.yard_agent.clone().unwrap_or_default()),
            (
                "exit status",
                status.map_or(String::new(), |status| status.to_string()),
            ),
            ("why", why(task)),
            ("created", task.created_at.clone()),
            ("changed", task.updated_at.clone()),
        ];
        rows.retain(|(_, value)| !value.is_empty());
        table::fields(&rows)
    })
}

fn is_over(task: &Task) -> bool {
    matches!(task.state.as_str(), "SUCCEEDED" | "FAILED")
}

async fn find_task(client: &Client, args: &OneTask) -> Outcome<(App, Task)> {
    let app = find::app(client, &args.app).await?;
    let filter = match args.task.parse::<u64>() {
        Ok(_) => "sequence_ids",
        Err(_) => "guids",
    };
    let path = format!("/v3/apps/{}/tasks", app.guid);
    let found: Vec<Task> = client.list(&path, &[(filter, args.task.as_str())]).await?;
    match found.into_iter().next() {
        Some(task) => Ok((app, task)),
        None => Err(Failure::new(
            Code::NotFound,
            format!("there is no task {} of {}", args.task, app.name),
        )
        .fix(format!("`yard tasks {}` lists them", app.name))),
    }
}

async fn cancel(client: &Client, app: &App, task: &Task) -> Outcome<Task> {
    let path = format!("/v3/tasks/{}/actions/cancel", task.guid);
    client
        .act(&path)
        .await
        .map_err(|failure| {
            failure.doing(format!("cancel task {} of {}", task.sequence_id, app.name))
        })?
        .json(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_why() {
        let plain = Output {
            json: false,
            color: false,
            live: false,
        };
        let task: Task = serde_json::from_value(serde_json::json!({
            "guid": "t", "sequence_id": 3, "name": "migrate", "state": "PENDING", "command": "a\nb",
            "created_at": "2026-03-04T05:03:07Z", "yard_waits_for": "needs 9 MB memory",
        }))
        .expect("a task");
        let now = time::macros::datetime!(2026-03-04 05:06:07 UTC);
        let text = table::table(["", "", "", "", "", ""], [row(&task, &plain, now)], "none");
        assert!(
            text.contains("3  migrate  pending  3m00s ago  a b  needs 9 MB memory"),
            "{text}"
        );
    }
}
