//! What agents report: ends, output, what runs. Handled by whichever controller hears it; an end is
//! acknowledged only when it is on disk.

use super::round::StoredResult;
use crate::automation::Automation;
use crate::automation::ids::new_id;
use crate::automation::ops::Fault;
use crate::automation::ops::pack_staging;
use crate::automation::ops::together::{Together, all_or_each};
use crate::ops::now;
use crate::store::automation::execution_outputs::{self, ExecutionOutput};
use crate::store::automation::executions::{self, Execution};
use automation::execution::{Event, Placement, Status};
use automation::runners::{
    self, Conclusion, Exit, HostOutcome, HttpOutcome, Output, Process, PythonAnswer, Raw, Runner,
};
use daemon::{Deps, Received};
use proto::bus::automation::{ActionEnd, ActionExited, ActionOutput, AutomationReport};
use proto::bus::catalogue::{self, QUEUE_CONTROLLERS};
use proto::bus::stream::{Ack, TaskExited};
use proto::ids::DeaId;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Reports handled at once: each writes to the store.
const AT_ONCE: usize = 32;
/// An execution younger than this may be on its way to the agent that does not name it.
const ON_ITS_WAY: Duration = Duration::from_secs(15);

/// Hears agents.
pub async fn listen(automation: &Automation, deps: &Deps) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let (ends, permits_of_ends) = (automation.clone(), permits.clone());
    daemon::follow(
        &deps.bus,
        &deps.tasks,
        "hear-action-ends",
        catalogue::action_exited().shared(QUEUE_CONTROLLERS),
        move |received| handle_end(&ends, &permits_of_ends, received),
    )
    .await;
    let (tasks, permits_of_tasks) = (automation.clone(), permits.clone());
    daemon::follow(
        &deps.bus,
        &deps.tasks,
        "hear-task-ends",
        catalogue::app_task_exited().shared(QUEUE_CONTROLLERS),
        move |received| handle_task_end(&tasks, &permits_of_tasks, received),
    )
    .await;
    let outputs = automation.clone();
    daemon::follow(
        &deps.bus,
        &deps.tasks,
        "hear-action-output",
        catalogue::action_output().filter(),
        move |received| handle_output(&outputs, &permits, received),
    )
    .await;
    let reports = automation.clone();
    daemon::follow(
        &deps.bus,
        &deps.tasks,
        "hear-automation-reports",
        catalogue::automation_report().filter(),
        move |received| handle_report(&reports, received),
    )
    .await;
}

/// Handles one report in a task of its own, so that none waits behind another's transaction.
fn in_turn(
    automation: &Automation,
    permits: &Arc<Semaphore>,
    name: &'static str,
    work: impl Future<Output = Result<(), Fault>> + Send + 'static,
) {
    let permits = permits.clone();
    automation.ops.tasks.spawn_once(name, async move {
        let Ok(_permit) = permits.acquire().await else {
            return;
        };
        if let Err(fault) = work.await {
            tracing::warn!(
                error = &fault as &dyn std::error::Error,
                "a report of an agent could not be taken in"
            );
        }
    });
}

fn handle_end(automation: &Automation, permits: &Arc<Semaphore>, received: Received<ActionExited>) {
    let inner = automation.clone();
    in_turn(automation, permits, "take-in-action-end", async move {
        if !ended(&inner, &received.message).await? {
            let message = &received.message;
            received.ignore(
                "of no execution",
                format_args!("the end of {:?} on {:?}", message.execution, message.dea),
            );
        }
        // Not acknowledged: the agent repeats it.
        if let Err(error) = received.respond(&Ack { ok: true }).await {
            tracing::debug!(%error, "the end of an action was not acknowledged");
        }
        Ok(())
    });
}

/// One subject for the tasks of packs, which are ours, and those of apps, which the running half minds.
fn handle_task_end(
    automation: &Automation,
    permits: &Arc<Semaphore>,
    received: Received<TaskExited>,
) {
    let inner = automation.clone();
    in_turn(automation, permits, "take-in-task-end", async move {
        let exited = &received.message;
        let is_known = if exited.kind == pack_staging::KIND {
            inner.pack_staged(exited).await?
        } else if exited.kind == crate::runtime::tasks::KIND {
            (inner.ops.live.task_ended)(exited.clone()).await?
        } else {
            false
        };
        if !is_known {
            received.ignore(
                "nobody began it",
                format_args!("the end of task {:?} ({:?})", exited.task, exited.kind),
            );
        }
        // Not acknowledged: the agent repeats it.
        if let Err(error) = received.respond(&Ack { ok: true }).await {
            tracing::debug!(%error, "the end of a task was not acknowledged");
        }
        Ok(())
    });
}

/// Takes in the end of an action. Whether there is such an execution.
async fn ended(automation: &Automation, exited: &ActionExited) -> Result<bool, Fault> {
    let row = Execution::find(&mut *automation.ops.store.read().await?, &exited.execution).await?;
    let Some(row) = row else {
        // Deleted by retention or by hand: there is nothing left to tell.
        return Ok(false);
    };
    let at = Placement {
        agent: exited.dea.clone(),
        attempt: exited.attempt,
    };
    let event = match exited.end() {
        ActionEnd::NotStarted if exited.started_at == 0 => {
            tracing::info!(
                execution = row.id,
                agent = exited.dea,
                why = exited.description,
                "an action did not begin on its agent"
            );
            Event::NotTaken(at)
        }
        ActionEnd::Lost | ActionEnd::Unknown => Event::AgentForgot(at),
        ActionEnd::NotStarted
        | ActionEnd::Exited
        | ActionEnd::Timeout
        | ActionEnd::Stopped
        | ActionEnd::OutOfMemory => {
            let report = report_of(automation, exited).await?;
            let scrubber = automation.scrubber(&row)?;
            let conclusion = conclude(&row, exited, &report);
            let conclusion = checked(automation, &row, conclusion);
            Event::Finished {
                at: Some(at),
                status: conclusion.status,
                result: scrubber.value(&conclusion.result),
            }
        }
    };
    let stored = match &event {
        Event::Finished { result, .. } => {
            automation.store_large_result(&result.to_string()).await?
        }
        _ => None,
    };
    let end = End {
        execution: row.id,
        event,
        stored,
    };
    let inner = automation.clone();
    automation
        .ends
        .0
        .submit(&automation.ops.tasks, end, move |ends| {
            take_in(inner.clone(), ends)
        })
        .await??;
    automation
        .agents
        .ended(&exited.dea, &exited.execution, exited.attempt);
    automation.wake_engine();
    Ok(true)
}

/// What the end of an action means to its execution.
#[derive(Debug, Clone)]
pub struct End {
    pub execution: String,
    pub event: Event,
    pub stored: Option<StoredResult>,
}

/// Ends that are taken in together: those that agents tell of at the same time share a transaction.
#[derive(Clone, Default)]
pub struct Ends(Together<End, Result<End, Fault>>);

/// All of a group in one round, or each in its own if the whole is refused. Answers in the order of the ends.
pub async fn take_in(automation: Automation, ends: Vec<End>) -> Vec<Result<End, Fault>> {
    all_or_each("take in ends of actions", ends, |ends| {
        let automation = automation.clone();
        Box::pin(async move {
            let mut round = automation.round("take in ends of actions").await?;
            round.settle(ends).await?;
            round.finish().await
        })
    })
    .await
}

/// The pack host's `exited` event, from the message or from the blob store.
async fn report_of(automation: &Automation, exited: &ActionExited) -> Result<Value, Fault> {
    let bytes = if exited.result.is_empty() && exited.result_size > 0 {
        automation
            .read_result(&format!("{}-{}", exited.execution, exited.attempt))
            .await?
    } else {
        exited.result.clone()
    };
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(&bytes).map_err(Fault::internal("reading the report of an action"))
}

fn text(report: &Value, name: &str) -> String {
    report[name].as_str().unwrap_or_default().to_string()
}

fn output(report: &Value, name: &str) -> Output {
    let is_cut = report["truncated"]
        .as_array()
        .is_some_and(|streams| streams.iter().any(|stream| stream == name));
    Output {
        text: text(report, name),
        omitted: report[format!("{name}_omitted")]
            .as_u64()
            .unwrap_or(u64::from(is_cut)),
    }
}

/// What the raw outcome means to the runner of the execution.
fn conclude(row: &Execution, exited: &ActionExited, report: &Value) -> Conclusion {
    let runner = Runner::from_name(&row.runner_type).unwrap_or(Runner::Noop);
    let seconds = row
        .life
        .run_limit
        .and_then(|limit| u64::try_from(limit / 1000).ok())
        .unwrap_or_default();
    let process = Process {
        exit: if exited.signal != 0 {
            Exit::Signal(exited.signal)
        } else {
            Exit::Code(exited.exit_status)
        },
        timed_out: (exited.end() == ActionEnd::Timeout).then_some(seconds),
        out_of_memory: exited.end() == ActionEnd::OutOfMemory,
        stdout: output(report, "stdout"),
        stderr: output(report, "stderr"),
        sudo_password: false,
    };
    let answer: Option<Value> = report["result"]
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok());
    match runner {
        Runner::PythonScript => runners::conclude(Raw::Python {
            process,
            answer: answer.map(|answer| PythonAnswer {
                result: answer["result"].clone(),
                status: answer["status"].as_bool(),
            }),
        }),
        Runner::HttpRequest => http(&process, answer, seconds),
        Runner::RemoteShellCmd | Runner::RemoteShellScript => {
            remote(row, &process, answer, seconds)
        }
        _ => runners::conclude(Raw::Shell(process)),
    }
}

/// An action that succeeded with a result which is not what it should be has failed, where the operator
/// wants that.
fn checked(automation: &Automation, row: &Execution, conclusion: Conclusion) -> Conclusion {
    let settings = automation.ops.settings();
    let Some(runner) = Runner::from_name(&row.runner_type) else {
        return conclusion;
    };
    if conclusion.status != Status::Succeeded
        || !settings.bool("automation/actions/validate_output")
    {
        return conclusion;
    }
    match runners::check_output(runner, &row.document["action"], &conclusion.result) {
        Ok(()) => conclusion,
        Err(result) => Conclusion {
            status: Status::Failed,
            result,
        },
    }
}

fn http(process: &Process, answer: Option<Value>, seconds: u64) -> Conclusion {
    let error = |text: String| runners::conclude(Raw::Http(HttpOutcome::Failed { error: text }));
    if process.timed_out.is_some() {
        return runners::conclude(Raw::Http(HttpOutcome::TimedOut {
            error: format!("Action failed to complete in {seconds} seconds"),
        }));
    }
    let Some(answer) = answer else {
        return error(last_line(&process.stderr.text));
    };
    let result = answer["result"].clone();
    let status = match (answer["status"].as_bool(), answer["timed_out"].as_bool()) {
        (_, Some(true)) => Status::Timeout,
        (Some(true), _) => Status::Succeeded,
        _ => Status::Failed,
    };
    Conclusion { status, result }
}

fn remote(row: &Execution, process: &Process, answer: Option<Value>, seconds: u64) -> Conclusion {
    let partial = row.document["action"]["parameters"]["allow_partial_failure"]["default"]
        .as_bool()
        .unwrap_or(false);
    match answer {
        Some(answer) => {
            let status = match (answer["status"].as_bool(), answer["timed_out"].as_bool()) {
                (_, Some(true)) => Status::Timeout,
                (Some(true), _) => Status::Succeeded,
                _ => Status::Failed,
            };
            Conclusion {
                status,
                result: answer["result"].clone(),
            }
        }
        None => {
            let why = if process.timed_out.is_some() {
                format!("Action failed to complete in {seconds} seconds")
            } else {
                last_line(&process.stderr.text)
            };
            runners::conclude(Raw::Remote {
                hosts: BTreeMap::from([("error".to_string(), HostOutcome::Failed { error: why })]),
                allow_partial_failure: partial,
            })
        }
    }
}

fn last_line(text: &str) -> String {
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("The action ended without a result.")
        .to_string()
}

fn handle_output(
    automation: &Automation,
    permits: &Arc<Semaphore>,
    received: Received<ActionOutput>,
) {
    let inner = automation.clone();
    in_turn(automation, permits, "take-in-action-output", async move {
        let (output, from) = received.open();
        let execution = output.execution.clone();
        if !printed(&inner, output).await? {
            from.ignore("of no execution", format_args!("output of {execution:?}"));
        }
        Ok(())
    });
}

/// Shows output to readers of the stream; the leader keeps it. Whether there is such an execution.
async fn printed(automation: &Automation, output: ActionOutput) -> Result<bool, Fault> {
    let row = Execution::find(&mut *automation.ops.store.read().await?, &output.execution).await?;
    let Some(row) = row else { return Ok(false) };
    let scrubber = automation.scrubber(&row)?;
    let mut kept = Vec::new();
    for piece in &output.pieces {
        let mut data = String::from_utf8_lossy(&piece.data).into_owned();
        if piece.lost > 0 {
            data = format!("[{} bytes of output were lost]\n{data}", piece.lost);
        }
        let data = scrubber.text(&data).into_owned();
        let id = new_id();
        // Every controller hears the agent itself.
        automation.show(
            "st2.execution.output__create",
            json!({
                "id": id,
                "execution_id": row.id,
                "action_ref": row.action_ref,
                "runner_ref": row.runner_type,
                "timestamp": crate::domain::times::rfc3339_micros(piece.timestamp),
                "output_type": piece.stream,
                "data": data,
            }),
        );
        kept.push((id, piece.stream.clone(), data, piece.timestamp));
    }
    if automation.epoch.borrow().is_none() {
        return Ok(true);
    }
    let mut tx = automation
        .ops
        .store
        .write("keep the output of an action")
        .await?;
    let mut position = execution_outputs::last_position(&mut tx, &row.id).await?;
    for (id, output_type, data, at) in kept {
        position += 1;
        ExecutionOutput {
            id,
            execution_id: row.id.clone(),
            position,
            output_type,
            data,
            created_at: if at == 0 { now() } else { at },
        }
        .insert(&mut tx)
        .await?;
    }
    tx.commit().await?;
    Ok(true)
}

fn handle_report(automation: &Automation, received: Received<AutomationReport>) {
    let (report, from) = received.open();
    let Ok(agent) = DeaId::new(report.dea.clone()) else {
        return from.ignore("of no agent", format_args!("{:?}", report.dea));
    };
    let before = automation.agents.report_of(&agent);
    let takes_work = automation
        .agents
        .reported(agent.clone(), report.clone(), Instant::now());
    if takes_work {
        automation.wake.notify_one();
    }
    if automation.epoch.borrow().is_none() {
        return;
    }
    let inner = automation.clone();
    automation
        .ops
        .tasks
        .spawn_once("compare-automation-report", async move {
            let heard = super::sensors::hear(&inner, before.as_ref(), &report).await;
            if let Err(fault) = compare(&inner, &agent, &report).await.and(heard) {
                tracing::warn!(
                    error = &fault as &dyn std::error::Error,
                    "a report of an agent could not be compared"
                );
            }
        });
}

/// Finds what the agent does not know any more, and what it should not run.
async fn compare(
    automation: &Automation,
    agent: &DeaId,
    report: &AutomationReport,
) -> Result<(), Fault> {
    let runs: BTreeSet<(&str, u32)> = report
        .actions
        .iter()
        .map(|action| (action.execution.as_str(), action.attempt))
        .collect();
    let placed =
        executions::on_agent(&mut *automation.ops.store.read().await?, agent.as_str()).await?;
    let young = now() - i64::try_from(ON_ITS_WAY.as_micros()).unwrap_or_default();
    for row in placed {
        let Some(at) = row.life.placement.clone() else {
            continue;
        };
        let is_old = row.life.since.saturating_mul(1000) < young;
        if is_old && !runs.contains(&(row.id.as_str(), at.attempt)) {
            automation
                .move_execution(&row.id, Event::AgentForgot(at))
                .await?
                .ok();
        }
    }
    for action in &report.actions {
        let row =
            Execution::find(&mut *automation.ops.store.read().await?, &action.execution).await?;
        let at = Placement {
            agent: agent.to_string(),
            attempt: action.attempt,
        };
        let is_present = row
            .as_ref()
            .is_some_and(|row| row.ended_at.is_none() && row.life.placement.as_ref() == Some(&at));
        // What has ended here and is still named there is on its way to be told.
        let is_ended = row
            .as_ref()
            .is_some_and(|row| row.ended_at.is_some_and(|end| end > young));
        if !is_present && !is_ended {
            tracing::info!(
                execution = action.execution,
                attempt = action.attempt,
                %agent,
                "an agent runs what it was not given: it is told to end it"
            );
            super::dispatch::stop(automation, action.execution.clone(), at);
        }
    }
    Ok(())
}

/// An agent is not heard of any more: what was on it is settled.
pub async fn agent_lost(automation: &Automation, agent: &DeaId) -> Result<(), Fault> {
    tracing::warn!(%agent, "an agent that ran actions is lost");
    let placed =
        executions::on_agent(&mut *automation.ops.store.read().await?, agent.as_str()).await?;
    for row in placed {
        let event = Event::AgentLost(agent.to_string());
        if let Err((illegal, _)) = automation.move_execution(&row.id, event).await? {
            tracing::debug!(execution = row.id, %illegal, "nothing to settle");
        }
    }
    Ok(())
}
