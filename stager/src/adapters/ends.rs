//! Ends of staging tasks: interpret, tell the controller, and only then let the agent forget.
//!
//! The agent repeats an end every few seconds until it is acknowledged. While one is being passed
//! on, its repetitions are not taken up; if the controller is away, nothing is acknowledged, and
//! the next repetition, to this stager or another, tries again. The controller, which commits the outcome,
//! also tells it in the app's log.

use super::{Counters, Stager};
use crate::domain::interpret::interpret;
use daemon::{Received, Shutdown};
use proto::bus::catalogue::{self, QUEUE_STAGERS};
use proto::bus::staging::{Acknowledged, StagingCompleted, StagingOutcome};
use proto::bus::stream::{Ack, TaskExited};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::{info, warn};

const CONTROLLER_ANSWER: Duration = Duration::from_secs(5);
/// The agent repeats anyway; these tries bridge a controller that is just starting.
const TRIES: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(500);
/// Ends passed on at once; repetitions bring the rest.
const AT_ONCE: usize = 256;

/// Tasks whose end is being passed on.
type Busy = Arc<Mutex<BTreeSet<String>>>;

pub(crate) async fn serve(stager: Arc<Stager>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut ends = stager
        .bus
        .subscribe(&catalogue::staging_task_exited().shared(QUEUE_STAGERS))
        .await?;
    stager.readiness.set("ends", true, "");
    let busy = Busy::default();
    loop {
        let received = tokio::select! {
            received = ends.next() => received,
            () = shutdown.draining() => return Ok(()),
        };
        let Some(received) = received else {
            anyhow::bail!("the subscription to the ends of staging tasks ended")
        };
        let task = received.message.task.clone();
        {
            let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
            if busy.len() >= AT_ONCE || !busy.insert(task.clone()) {
                received.pass_over("it is at work, or too many are");
                continue;
            }
        }
        let (working, busy) = (stager.clone(), busy.clone());
        stager.tasks.spawn_once("staging-end", async move {
            working.pass_on(&received).await;
            busy.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&task);
        });
    }
}

impl Stager {
    async fn pass_on(&self, received: &Received<TaskExited>) {
        let exited = &received.message;
        let completed = match interpret(exited) {
            Ok(completed) => completed,
            Err(unusable) => {
                // Repeating it would not make it better.
                received.ignore(
                    "of no build",
                    format_args!(
                        "the end of task {:?} on {:?}: {unusable}",
                        exited.task, exited.dea
                    ),
                );
                self.acknowledge(received).await;
                return;
            }
        };
        if !self.tell_controller(&completed).await {
            return;
        }
        self.acknowledge(received).await;
        let (app, build) = (&completed.app_id, &completed.task_id);
        match &completed.outcome {
            StagingOutcome::Staged(droplet) => {
                Counters::count(&self.counters.staged, "staged");
                info!(%app, %build, dea = %exited.dea, buildpack = %droplet.detected_buildpack, bytes = droplet.size_bytes, "staged");
            }
            StagingOutcome::Failed(failure) => {
                Counters::count(&self.counters.failed, "failed");
                info!(%app, %build, dea = %exited.dea, kind = %failure.kind, reason = %failure.message, "staging failed");
            }
        }
    }

    /// True when the controller has it for good.
    async fn tell_controller(&self, completed: &StagingCompleted) -> bool {
        let topic = catalogue::staging_completed();
        for attempt in 1..=TRIES {
            match self
                .bus
                .request::<_, Acknowledged>(&topic, completed, CONTROLLER_ANSWER)
                .await
            {
                Ok(Acknowledged { ok: true }) => return true,
                Ok(Acknowledged { ok: false }) => {
                    warn!(build = %completed.task_id, "the controller could not take the end of a staging; it will be repeated");
                    return false;
                }
                Err(failure) => {
                    warn!(build = %completed.task_id, attempt, error = %failure, "the controller was not told the end of a staging")
                }
            }
            tokio::time::sleep(BETWEEN).await;
        }
        false
    }

    async fn acknowledge(&self, received: &Received<TaskExited>) {
        if let Err(failure) = received.respond(&Ack { ok: true }).await {
            warn!(task = %received.message.task, error = %failure, "the end of a task could not be acknowledged; it will be repeated");
        }
    }
}
