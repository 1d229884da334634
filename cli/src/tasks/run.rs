//! `yard run APP -- COMMAND`: a command once, with an app's droplet and environment, as if it ran here.
//!
//! Its lines come from the app's log, so the log is followed before the task is asked for. The cluster writes
//! a last line into it when the task is over ([`Line::Ended`]); behind that line none of the task's follows.
//! Looking at the task now and then is for the case that the line is lost.

use super::{cancel, is_over};
use crate::apps::{find, scale};
use crate::client::{Client, LogItem, LogStream};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{self, Output};
use crate::targets::Store;
use clap::Args;
use proto::api::{App, LogLine, Process, Task};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use tokio::time::Instant;

/// How often the task itself is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long its last lines may take after it ended.
const LAST_LINES: Duration = Duration::from_secs(5);
/// Between two attempts to follow the log.
const AGAIN: Duration = Duration::from_secs(1);
/// What a program exits with that an interrupt ended.
const INTERRUPTED: u8 = 130;

#[derive(Debug, Args)]
pub struct TaskOptions {
    /// Of a task: its name in the log (default: made up)
    #[arg(long, requires = "command")]
    name: Option<String>,
    /// Of a task: memory, for instance 256M or 1G
    #[arg(short = 'm', long, requires = "command")]
    memory: Option<String>,
    /// Of a task: disk, for instance 512M or 1G
    #[arg(short = 'k', long, requires = "command")]
    disk: Option<String>,
    /// Of a task: a process type to take memory and disk from
    #[arg(long, requires = "command")]
    process: Option<String>,
    /// Of a task: do not wait for its end
    #[arg(long, requires = "command")]
    detach: bool,
}

pub async fn run(
    app: &str,
    options: &TaskOptions,
    command: &[String],
    out: &Output,
    store: Store,
) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, app).await?;
    let request = request(&client, &app, options, command).await?;
    if options.detach {
        let task = create(&client, &app, &request).await?;
        return out.show(&task, |task| {
            format!(
                "task {0} of {1} is on its way; `yard task show {1} {0}`, `yard logs {1}`\n",
                task.sequence_id, app.name
            )
        });
    }
    // Before the task is there, so that no line is missed.
    let stream = client
        .log_stream(&app.guid, 0)
        .await
        .map_err(|failure| failure.doing(format!("follow the logs of {}", app.name)))?;
    let task = create(&client, &app, &request).await?;
    let mut follower = Follower {
        client: &client,
        out,
        app: &app,
        task,
        shown_to: i64::MIN,
        interrupts: 0,
    };
    follower.follow(stream).await?;
    if out.json {
        out.document(&follower.task)?;
    }
    follower.verdict()
}

/// One word is a command line, several are exactly these arguments.
fn command_line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        words => {
            let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
            quoted.join(" ")
        }
    }
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

async fn request(
    client: &Client,
    app: &App,
    options: &TaskOptions,
    command: &[String],
) -> Outcome<Value> {
    let mut request = json!({ "command": command_line(command) });
    if let Some(name) = &options.name {
        request["name"] = json!(name);
    }
    for (field, text) in [
        ("memory_in_mb", &options.memory),
        ("disk_in_mb", &options.disk),
    ] {
        if let Some(text) = text {
            request[field] = json!(scale::parse_megabytes(text).map_err(Failure::usage)?);
        }
    }
    if let Some(kind) = &options.process {
        let path = format!("/v3/apps/{}/processes/{kind}", app.guid);
        let process: Process = client
            .get(&path, &[])
            .await
            .map_err(|failure| failure.doing(format!("find the process {kind} of {}", app.name)))?;
        request["template"] = json!({ "process": { "guid": process.guid } });
    }
    Ok(request)
}

async fn create(client: &Client, app: &App, request: &Value) -> Outcome<Task> {
    client
        .post(&format!("/v3/apps/{}/tasks", app.guid), request)
        .await
        .map_err(|failure| failure.doing(format!("run a task of {}", app.name)))
}

/// What a line of the app's log is to this task.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// What its command printed.
    Own,
    /// What the cluster says of it: that it waits, for instance.
    About(String),
    /// The last one.
    Ended,
    Others,
}

fn sort(task: &Task, line: &LogLine) -> Line {
    if line.source_type == proto::log::source_of_task(&task.name)
        && line.instance == task.sequence_id.to_string()
    {
        return Line::Own;
    }
    let head = format!("Task {} ({}) ", task.sequence_id, task.name);
    match line.text.strip_prefix(&head) {
        Some(rest) if line.source_type == proto::log::SOURCE_API => {
            if rest.starts_with("ended: ") {
                Line::Ended
            } else {
                Line::About(rest.trim_end().to_string())
            }
        }
        _ => Line::Others,
    }
}

struct Follower<'a> {
    client: &'a Client,
    out: &'a Output,
    app: &'a App,
    task: Task,
    /// Time of the newest line that was shown.
    shown_to: i64,
    interrupts: u32,
}

impl Follower<'_> {
    /// Shows what it prints until it is over and all of it is shown.
    async fn follow(&mut self, stream: LogStream) -> Outcome {
        let mut stream = Some(stream);
        let mut skip_to = i64::MIN;
        let mut look = Instant::now() + LOOK;
        let mut until: Option<Instant> = None;
        loop {
            tokio::select! {
                item = next(&mut stream), if stream.is_some() => match item {
                    // After a break the kept lines are read again: those shown already are left out.
                    Some(LogItem::Line(line)) if line.timestamp <= skip_to => {}
                    Some(LogItem::Line(line)) => match sort(&self.task, &line) {
                        Line::Own => self.print(&line)?,
                        Line::About(what) => self.remark(&what),
                        Line::Ended => {
                            self.look().await?;
                            if is_over(&self.task) {
                                return Ok(());
                            }
                        }
                        Line::Others => {}
                    },
                    Some(LogItem::Lost(loss)) => self.remark(&format!("({} lines lost in {})", loss.lines, loss.place)),
                    None => stream = None,
                },
                () = tokio::time::sleep_until(look) => {
                    self.look().await?;
                    if is_over(&self.task) && until.is_none() {
                        until = Some(Instant::now() + LAST_LINES);
                    }
                    if stream.is_none() {
                        skip_to = self.shown_to;
                        stream = self.client.log_stream(&self.app.guid, 1000).await.ok();
                    }
                    look = Instant::now() + if stream.is_none() { AGAIN } else { LOOK };
                    if until.is_some_and(|until| Instant::now() >= until) {
                        self.out.warn(format!("the end of its output may be missing; `yard logs {} --recent` shows what is there", self.app.name));
                        return Ok(());
                    }
                }
                interrupt = tokio::signal::ctrl_c() => {
                    interrupt.map_err(|error| Failure::failed("wait for an interrupt").because(error))?;
                    self.interrupted().await?;
                }
                () = output::reader_gone() => return Err(Failure::pipe_closed()),
            }
        }
    }

    async fn look(&mut self) -> Outcome {
        let path = format!("/v3/tasks/{}", self.task.guid);
        match self.client.get(&path, &[]).await {
            Ok(task) => self.task = task,
            // The task goes on without us; the next look may find the cluster again.
            Err(failure) if failure.code == Code::Unreachable => {
                self.remark(&failure.what);
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    async fn interrupted(&mut self) -> Outcome {
        self.interrupts += 1;
        if self.interrupts > 1 {
            let left = format!(
                "task {} of {} was left before it was over",
                self.task.sequence_id, self.app.name
            );
            return Err(Failure::new(Code::Command(INTERRUPTED), left).fix(format!(
                "`yard task show {} {}`",
                self.app.name, self.task.sequence_id
            )));
        }
        self.remark("is being cancelled; interrupt again not to wait for its end");
        match cancel(self.client, self.app, &self.task).await {
            Ok(task) => self.task = task,
            // It was over in this moment, or is being cancelled by somebody else: its end tells.
            Err(failure) if failure.code == Code::Failed => self.remark(&failure.what),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Output goes where it came from; with `--json` all of it to standard error.
    fn print(&mut self, line: &LogLine) -> Outcome {
        self.shown_to = self.shown_to.max(line.timestamp);
        let text = line.text.trim_end_matches('\n');
        if self.out.json || line.stderr {
            // The end is what counts; if nobody reads this, the command goes on.
            let _ = writeln!(std::io::stderr(), "{text}");
            return Ok(());
        }
        self.out.say(text)
    }

    /// Beside the output of the command.
    fn remark(&self, what: &str) {
        let _ = writeln!(
            std::io::stderr(),
            "task {} of {}: {what}",
            self.task.sequence_id,
            self.app.name
        );
    }

    /// The command's end as ours.
    fn verdict(&self) -> Outcome {
        let task = &self.task;
        if task.state == "SUCCEEDED" {
            return Ok(());
        }
        let why = task
            .result
            .failure_reason
            .as_deref()
            .unwrap_or("no reason was given");
        let what = format!(
            "task {} of {} failed: {why}",
            task.sequence_id, self.app.name
        );
        let code = match task
            .result
            .yard_exit_status
            .and_then(|status| u8::try_from(status).ok())
        {
            _ if self.interrupts > 0 => Code::Command(INTERRUPTED),
            Some(status) if status > 0 => Code::Command(status),
            Some(_) | None => Code::Failed,
        };
        Err(Failure::new(code, what))
    }
}

async fn next(stream: &mut Option<LogStream>) -> Option<LogItem> {
    match stream {
        Some(stream) => stream.next().await,
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| word.to_string()).collect()
    }

    #[test]
    fn several_words_reach_the_command_as_they_are() {
        assert_eq!(command_line(&words(&["echo $PORT; ls"])), "echo $PORT; ls");
        assert_eq!(command_line(&words(&["ls", "-l", "a b"])), "ls -l 'a b'");
        assert_eq!(
            command_line(&words(&["sh", "-c", "it's $HOME", ""])),
            r"sh -c 'it'\''s $HOME' ''"
        );
    }

    #[test]
    fn lines_are_told_apart() {
        let task: Task = serde_json::from_value(json!({
            "guid": "t", "sequence_id": 3, "name": "migrate", "state": "RUNNING",
        }))
        .expect("a task");
        let line = |source: &str, instance: &str, text: &str| LogLine {
            timestamp: 1,
            source_type: source.into(),
            instance: instance.into(),
            stderr: false,
            text: text.into(),
        };
        let own = "APP/TASK/migrate";
        for (line, is) in [
            (line(own, "3", "hello"), Line::Own),
            (line(own, "4", "the same name"), Line::Others),
            (
                line("APP/PROC/WEB", "3", "Task 3 (migrate) ended: x"),
                Line::Others,
            ),
            (
                line("API", "0", "Task 3 (migrate) ended: it succeeded"),
                Line::Ended,
            ),
            (
                line("API", "0", "Task 33 (migrate) ended: it succeeded"),
                Line::Others,
            ),
            (
                line("API", "0", "Task 3 (migrate) waits: needs room"),
                Line::About("waits: needs room".into()),
            ),
            (line(own, "3", "Task 3 (migrate) ended: x"), Line::Own),
        ] {
            assert_eq!(sort(&task, &line), is, "{line:?}");
        }
    }
}
