//! Installing what a pack requires, in a container on an agent.
//!
//! ```text
//!   content archive ─► task (kind "pack") on an agent: venv, pip ─► archive with content/ and virtualenv/
//!        leader ── yard.dea.{id}.task.run ──►  agent  ── yard.task.app.exited ──► any controller ─► row
//! ```
//!
//! A virtual environment holds its own path in its scripts: it is made where the pack will be. The task has
//! a name made of the execution and the content, so that a new leader who sends it again does not begin
//! another, and finds the outcome in the row if it is over.

use super::fault::Fault;
use super::packs::Stored;
use crate::automation::Automation;
use crate::automation::engine::agents::Limits;
use crate::automation::engine::dispatch::content_key;
use crate::ops::now;
use crate::store::automation::pack_stagings::PackStaging;
use crate::store::{Json, StoreError};
use daemon::BusError;
use http::Method;
use proto::bus::catalogue;
use proto::bus::stream::{
    RunTask, RunTaskReply, StopTask, TaskEnd, TaskExited, TaskInput, TaskOutput, task_input::Source,
};
use proto::ids::DeaId;
use proto::log::SOURCE_STAGING;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How the agent tells these tasks apart.
pub const KIND: &str = "pack";
/// Where the container has the pack; agents show it to actions at the same place.
pub const PACK_PLACE: &str = "/opt/stackyard/pack";
/// The same of the libraries that all packs may import.
pub const BASE_PLACE: &str = "/opt/stackyard/base";
/// How long an agent may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long an agent with room is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);
/// How often the row is looked at.
const LOOK: Duration = Duration::from_millis(300);
/// Uploads may end a while after the deadline of the staging itself.
const SLACK: Duration = Duration::from_secs(120);
/// Lines of output in the error.
const LAST_LINES: usize = 20;
const MIB: u64 = 1 << 20;

const SCRIPT: &str = include_str!("pack_staging.sh");

/// What is to be installed.
pub(super) struct StagingAsked<'a> {
    /// For whom; the same again means the same task.
    pub execution: &'a str,
    pub pack: &'a str,
    pub content: &'a Stored,
    /// Over the operator's.
    pub environment: &'a BTreeMap<String, String>,
}

fn failed<T>(pack: &str, why: impl std::fmt::Display) -> Result<T, Fault> {
    Err(Fault::Invalid(format!(
        "The requirements of pack \"{pack}\" could not be installed: {why}"
    )))
}

fn task_of(asked: &StagingAsked<'_>) -> String {
    format!("pack-{}-{}", asked.execution, &asked.content.sha256[..16])
}

/// Where the agent puts the archive until it is known by its checksum.
fn upload_key(task: &str) -> String {
    format!("uploads/{task}/pack.tgz")
}

impl Automation {
    /// Stages a pack for where packs are.
    pub(super) async fn stage_pack(&self, asked: &StagingAsked<'_>) -> Result<Stored, Fault> {
        self.stage_at(asked, PACK_PLACE).await
    }

    pub(super) async fn stage_at(
        &self,
        asked: &StagingAsked<'_>,
        place: &str,
    ) -> Result<Stored, Fault> {
        let task = task_of(asked);
        let row = self.staging_row(&task, asked.pack).await?;
        let outcome = if row.outcome.is_null() {
            let dea = match row.dea.as_deref().and_then(|dea| DeaId::new(dea).ok()) {
                Some(dea) => dea,
                None => self.place_staging(&task, asked, place).await?,
            };
            self.wait_for_staging(&task, asked.pack, &dea).await?
        } else {
            row.outcome.0
        };
        let (Some(sum), Some(size)) = (outcome["sha256"].as_str(), outcome["size"].as_i64()) else {
            let mut why = outcome["error"].as_str().unwrap_or_default().to_string();
            for line in outcome["last_lines"].as_array().into_iter().flatten() {
                why.push('\n');
                why.push_str(line.as_str().unwrap_or_default());
            }
            return failed(asked.pack, why);
        };
        let (from, to) = (upload_key(&task), content_key(sum));
        if self.ops.blobs.size(&from).await?.is_some() {
            self.ops.blobs.rename(&from, &to).await?;
        } else if self.ops.blobs.size(&to).await?.is_none() {
            return failed(asked.pack, "the agent's archive did not arrive");
        }
        Ok(Stored {
            sha256: sum.to_string(),
            size,
        })
    }

    /// Whether it is on record that this staging failed.
    pub(super) async fn staging_has_failed(&self, asked: &StagingAsked<'_>) -> Result<bool, Fault> {
        let mut connection = self.ops.store.read().await?;
        let row = PackStaging::find(&mut connection, &task_of(asked)).await?;
        Ok(row.is_some_and(|row| !row.outcome.is_null() && row.outcome["sha256"].is_null()))
    }

    async fn staging_row(&self, task: &str, pack: &str) -> Result<PackStaging, Fault> {
        let mut tx = self.fenced("begin to stage a pack").await?;
        if let Some(row) = PackStaging::find(&mut tx, task).await? {
            return Ok(row);
        }
        let now = now();
        let row = PackStaging {
            task: task.to_string(),
            pack: pack.to_string(),
            dea: None,
            outcome: Json(Value::Null),
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        row.insert(&mut tx).await?;
        tx.commit().await?;
        Ok(row)
    }

    /// Gives the task to an agent.
    async fn place_staging(
        &self,
        task: &str,
        asked: &StagingAsked<'_>,
        place: &str,
    ) -> Result<DeaId, Fault> {
        let Some(bus) = &self.bus else {
            return Err(Fault::Unavailable("This controller has no bus.".into()));
        };
        let orders = self.staging_orders(task, asked, place);
        let until = Instant::now() + PATIENCE;
        let mut reason = "there is no agent".to_string();
        while Instant::now() < until {
            // An agent full of executions still has a builder's place.
            let limits = Limits {
                each: usize::MAX,
                ..self.placement_limits()
            };
            let Some(dea) = self.agents.choose(asked.pack, "", Instant::now(), limits) else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let topic = catalogue::dea_task_run(&dea);
            match bus
                .request::<_, RunTaskReply>(&topic, &orders, ANSWER)
                .await
            {
                Ok(reply) if reply.accepted => {
                    let mut tx = self.fenced("note who stages a pack").await?;
                    if let Some(mut row) = PackStaging::find(&mut tx, task).await? {
                        row.dea = Some(dea.to_string());
                        match row.update(&mut tx, now()).await {
                            Ok(()) => tx.commit().await?,
                            // Its end was noted in between: then nobody asks who has it.
                            Err(StoreError::Stale { .. }) => {}
                            Err(error) => return Err(error.into()),
                        }
                    }
                    return Ok(dea);
                }
                Ok(reply) => reason = format!("the agent {dea} refused: {}", reply.reason),
                Err(BusError::NoResponders(_)) => reason = format!("the agent {dea} is gone"),
                Err(error) => {
                    // It may have begun: nobody would wait for its result.
                    self.stop_staging(&dea, task).await;
                    reason = format!("the agent {dea} did not answer: {error}");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        failed(
            asked.pack,
            format!(
                "no agent took it within {} s ({reason})",
                PATIENCE.as_secs()
            ),
        )
    }

    async fn stop_staging(&self, dea: &DeaId, task: &str) {
        let Some(bus) = &self.bus else { return };
        let stop = StopTask {
            task: task.to_string(),
            reason: "nobody waits for it any more".to_string(),
        };
        if let Err(error) = bus.publish(&catalogue::dea_task_stop(dea), &stop).await {
            tracing::warn!(%dea, task, %error, "the staging of a pack could not be stopped");
        }
    }

    fn staging_orders(&self, task: &str, asked: &StagingAsked<'_>, place: &str) -> RunTask {
        let settings = self.ops.settings();
        let timeout = settings.duration("staging/timeout");
        let expires = now() / 1_000_000 + (timeout + SLACK).as_secs().cast_signed();
        let blobs = &self.ops.blobs;
        let mut environment = settings.environment("staging/environment");
        environment.extend(asked.environment.clone());
        let input = |path: String, source| TaskInput {
            path,
            source: Some(source),
            sha256: String::new(),
            optional: false,
            mode: 0,
        };
        let script = format!("{place}/stage.sh");
        RunTask {
            task: task.to_string(),
            kind: KIND.to_string(),
            app: String::new(),
            app_name: asked.pack.to_string(),
            stack: crate::ops::STACKS[0].to_string(),
            command: vec!["/bin/bash".into(), script.clone(), place.into()],
            environment: environment
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            working_directory: String::new(),
            memory_mb: settings.size("staging/memory") / MIB,
            disk_mb: settings.size("staging/disk") / MIB,
            timeout_seconds: u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX),
            inputs: vec![
                TaskInput {
                    sha256: asked.content.sha256.clone(),
                    ..input(
                        format!("{place}/content.tgz"),
                        Source::Url(blobs.url(
                            &Method::GET,
                            &content_key(&asked.content.sha256),
                            expires,
                        )),
                    )
                },
                input(script, Source::Content(SCRIPT.as_bytes().to_vec())),
            ],
            outputs: vec![TaskOutput {
                path: format!("{place}/out/pack.tgz"),
                url: blobs.url(&Method::PUT, &upload_key(task), expires),
                required: true,
            }],
            log_source_type: SOURCE_STAGING.to_string(),
            log_instance: String::new(),
            droplet: None,
            context: Vec::new(),
            result_file: String::new(),
            epoch: self.epoch.borrow().unwrap_or(0),
        }
    }

    async fn wait_for_staging(&self, task: &str, pack: &str, dea: &DeaId) -> Result<Value, Fault> {
        let limit = self.ops.settings().duration("staging/timeout") + SLACK;
        let until = Instant::now() + limit;
        let mut silent_since: Option<Instant> = None;
        while Instant::now() < until {
            let row = PackStaging::find(&mut *self.ops.store.read().await?, task).await?;
            match row {
                Some(row) if !row.outcome.is_null() => return Ok(row.outcome.0),
                Some(_) => {}
                None => return failed(pack, "nobody knows of it any more"),
            }
            if self.agents.known().contains(dea) {
                silent_since = None;
            } else if silent_since.get_or_insert_with(Instant::now).elapsed()
                > self.agent_lost_after()
            {
                return failed(pack, format!("the agent {dea}, which did it, was lost"));
            }
            tokio::time::sleep(LOOK).await;
        }
        self.stop_staging(dea, task).await;
        failed(
            pack,
            format!("it was not over within {} s", limit.as_secs()),
        )
    }

    /// Takes in the end of such a task.
    /// Whether there is such a staging: whoever asked for it may have given up, long ago.
    pub async fn pack_staged(&self, exited: &TaskExited) -> Result<bool, Fault> {
        let mut tx = self.ops.store.write("note how a pack was staged").await?;
        let row = PackStaging::find(&mut tx, &exited.task).await?;
        let is_known = row.is_some();
        if let Some(mut row) = row.filter(|row| row.outcome.is_null()) {
            row.outcome = Json(outcome(exited));
            row.update(&mut tx, now()).await?;
            tx.commit().await?;
        }
        Ok(is_known)
    }
}

/// What the end of a task means.
fn outcome(exited: &TaskExited) -> Value {
    let succeeded = exited.end() == TaskEnd::Exited && exited.exit_status == 0;
    if succeeded && let Some(archive) = exited.uploaded.first() {
        return json!({"sha256": archive.sha256, "size": archive.size_bytes});
    }
    let skipped = exited.last_lines.len().saturating_sub(LAST_LINES);
    let why = match exited.end() {
        TaskEnd::Exited => format!("pip ended with exit status {}", exited.exit_status),
        TaskEnd::OutOfMemory => {
            "it ran out of memory: raise the setting staging/memory".to_string()
        }
        TaskEnd::DiskFull => "it ran out of disk: raise the setting staging/disk".to_string(),
        TaskEnd::Timeout => "it did not end in time: raise the setting staging/timeout".to_string(),
        TaskEnd::Stopped
        | TaskEnd::NotStarted
        | TaskEnd::UploadFailed
        | TaskEnd::AgentLostIt
        | TaskEnd::Unknown => format!("{} ({})", exited.description, exited.dea),
    };
    json!({"error": why, "last_lines": exited.last_lines[skipped..]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::bus::stream::UploadedOutput;

    #[test]
    fn an_end_is_an_archive_or_a_reason_with_the_last_lines() {
        let mut exited = TaskExited {
            task: "pack-1".into(),
            end: TaskEnd::Exited.into(),
            uploaded: vec![UploadedOutput {
                sha256: "ab".into(),
                size_bytes: 7,
                ..UploadedOutput::default()
            }],
            ..TaskExited::default()
        };
        assert_eq!(outcome(&exited), json!({"sha256": "ab", "size": 7}));
        exited.exit_status = 1;
        exited.last_lines = (0..30).map(|line| line.to_string()).collect();
        let failed = outcome(&exited);
        assert_eq!(failed["error"], "pip ended with exit status 1");
        assert_eq!(failed["last_lines"].as_array().unwrap().len(), LAST_LINES);
        assert_eq!(failed["last_lines"][19], "29");
        exited.end = TaskEnd::OutOfMemory.into();
        assert!(
            outcome(&exited)["error"]
                .as_str()
                .unwrap()
                .contains("staging/memory")
        );
    }
}
