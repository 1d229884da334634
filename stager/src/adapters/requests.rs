//! Staging requests: compose, hand to the agent, answer. The whole answer must come within the
//! controller's five seconds, so the agent gets a little less.

use super::{Counters, Stager};
use crate::domain::build::kind;
use crate::domain::compose::{Policy, compose};
use daemon::{BusError, Received, Shutdown};
use proto::buildpacks::allowed_schemes;
use proto::bus::catalogue::{self, QUEUE_STAGERS};
use proto::bus::staging::{StagingError, StagingReply, StagingRequest};
use proto::bus::stream::{RunTask, RunTaskReply, StopTask};
use proto::config::Settings;
use proto::ids::{DeaId, StagerQueue};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::{info, warn};

const AGENT_ANSWER: Duration = Duration::from_secs(4);
/// Requests handled at once; more are refused, and the controller tells the user.
const AT_ONCE: usize = 128;

pub(crate) async fn serve(
    stager: Arc<Stager>,
    queue: StagerQueue,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut requests = stager
        .bus
        .subscribe(&catalogue::stager(&queue).shared(QUEUE_STAGERS))
        .await?;
    stager.readiness.set("requests", true, "");
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let received = tokio::select! {
            received = requests.next() => received,
            () = shutdown.draining() => return Ok(()),
        };
        let Some(received) = received else {
            anyhow::bail!("the subscription to staging requests ended")
        };
        match slots.clone().try_acquire_owned() {
            Ok(slot) => {
                let working = stager.clone();
                stager.tasks.spawn_once("staging-request", async move {
                    working.take(received).await;
                    drop(slot);
                });
            }
            Err(_) => {
                stager
                    .answer(
                        &received,
                        Err(error(
                            "The stager has too many requests at once; push again in a moment.",
                        )),
                    )
                    .await
            }
        }
    }
}

impl Stager {
    async fn take(&self, received: Received<StagingRequest>) {
        let request = &received.message;
        let policy = policy(&self.cluster.settings().borrow().clone());
        let result = match compose(request, &policy) {
            Ok(task) => self.hand_over(request, task).await,
            Err(refusal) => Err(refusal),
        };
        self.answer(&received, result).await;
    }

    async fn hand_over(&self, request: &StagingRequest, task: RunTask) -> Result<(), StagingError> {
        let dea = &request.yard_dea;
        self.say(
            request.app_id.as_str(),
            &format!(
                "Staging on {dea} with {} MB of memory and {} MB of disk",
                request.memory_limit, request.disk_limit
            ),
        );
        let reply = self
            .bus
            .request::<RunTask, RunTaskReply>(&catalogue::dea_task_run(dea), &task, AGENT_ANSWER)
            .await;
        match reply {
            Ok(RunTaskReply { accepted: true, .. }) => Ok(()),
            Ok(RunTaskReply { reason, .. }) => Err(elsewhere(format!(
                "The agent {dea} refused to stage: {reason}."
            ))),
            Err(BusError::NoResponders(_)) => {
                Err(elsewhere(format!("The agent {dea} is not there any more.")))
            }
            Err(failure @ BusError::Timeout { .. }) => {
                // It may have started after all: nobody would wait for its result.
                self.stop(dea, &task.task).await;
                warn!(%dea, task = %task.task, error = %failure, "the agent did not answer, staging is refused");
                Err(error(format!(
                    "The agent {dea} did not answer within {} s; push again.",
                    AGENT_ANSWER.as_secs()
                )))
            }
            Err(failure) => {
                warn!(%dea, task = %task.task, error = %failure, "the task could not be handed to the agent");
                Err(error(format!(
                    "Staging could not be handed to the agent {dea}: {failure}."
                )))
            }
        }
    }

    async fn stop(&self, dea: &DeaId, task: &str) {
        let stop = StopTask {
            task: task.to_string(),
            reason: "the agent answered too late".to_string(),
        };
        if let Err(failure) = self
            .bus
            .publish(&catalogue::dea_task_stop(dea), &stop)
            .await
        {
            warn!(%dea, task, error = %failure, "the task could not be stopped");
        }
    }

    async fn answer(&self, received: &Received<StagingRequest>, result: Result<(), StagingError>) {
        let request = &received.message;
        let (app, build, dea) = (&request.app_id, &request.task_id, &request.yard_dea);
        match &result {
            Ok(()) => {
                Counters::count(&self.counters.taken, "taken");
                info!(%app, %build, %dea, "staging was handed to an agent");
            }
            Err(refusal) => {
                Counters::count(&self.counters.refused, "refused");
                info!(%app, %build, %dea, reason = %refusal.message, "staging was refused");
                received.pass_over("refused");
            }
        }
        let reply = StagingReply {
            task_id: build.clone(),
            task_log: String::new(),
            error: result.err(),
        };
        if let Err(failure) = received.respond(&reply).await {
            // The controller's own deadline covers this.
            warn!(%app, %build, error = %failure, "the staging request could not be answered");
        }
    }
}

fn policy(settings: &Settings) -> Policy {
    Policy {
        max_unpacked_bytes: settings.size("controller/packages/max_unpacked_size"),
        max_entries: u64::try_from(settings.integer("controller/packages/max_files"))
            .unwrap_or(u64::MAX),
        environment: settings.environment("staging/environment"),
        schemes: allowed_schemes(&settings.text("staging/buildpacks/schemes")),
        fetch_seconds: settings
            .duration("staging/buildpacks/fetch_timeout")
            .as_secs(),
        max_buildpack_bytes: settings.size("staging/buildpacks/max_size"),
    }
}

fn error(message: impl Into<String>) -> StagingError {
    StagingError {
        kind: kind::STAGER.to_string(),
        message: message.into(),
        last_lines: Vec::new(),
    }
}

/// Certainly not begun here: the controller may choose another agent.
fn elsewhere(message: String) -> StagingError {
    StagingError {
        kind: kind::INSUFFICIENT_RESOURCES.to_string(),
        ..error(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_is_read_is_in_the_schema() {
        let policy = policy(&Settings::default());
        assert!(policy.max_unpacked_bytes > 0 && policy.max_entries > 0);
        assert!(policy.environment.is_empty());
        assert!(policy.fetch_seconds > 0 && policy.max_buildpack_bytes > 0);
        assert_eq!(policy.schemes, ["https", "http", "git"]);
    }
}
