//! Answers `healthmanager.status` and `healthmanager.health`. Only the leader does: every health manager
//! knows the same, and the asker would count the answers of several.

use super::manager::Manager;
use daemon::Shutdown;
use proto::bus::catalogue;
use std::sync::Arc;

/// Most processes answered for in one question.
const MAX_ASKED: usize = 10_000;

pub async fn answer_status(manager: Arc<Manager>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut questions = manager
        .bus
        .subscribe(&catalogue::healthmanager_status().filter())
        .await?;
    loop {
        let question = tokio::select! {
            question = questions.next() => question,
            () = shutdown.cancelled() => return Ok(()),
        };
        let Some(question) = question else {
            anyhow::bail!("the subscription to healthmanager.status ended")
        };
        if !manager.leads() {
            continue;
        }
        let asked = &question.message;
        let policy = manager.policy();
        let answer = manager.shared.state().world.status(
            &asked.droplet,
            &asked.state,
            asked.version.as_ref(),
            &policy,
        );
        if let Some(answer) = answer
            && let Err(error) = question.respond(&answer).await
        {
            tracing::debug!(%error, "a question about a process's state could not be answered");
        }
    }
}

pub async fn answer_health(manager: Arc<Manager>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut questions = manager
        .bus
        .subscribe(&catalogue::healthmanager_health().filter())
        .await?;
    loop {
        let question = tokio::select! {
            question = questions.next() => question,
            () = shutdown.cancelled() => return Ok(()),
        };
        let Some(question) = question else {
            anyhow::bail!("the subscription to healthmanager.health ended")
        };
        if !manager.leads() {
            continue;
        }
        for asked in question.message.droplets.iter().take(MAX_ASKED) {
            let answer = manager
                .shared
                .state()
                .world
                .health(&asked.droplet, &asked.version);
            if let Some(answer) = answer
                && let Err(error) = question.respond(&answer).await
            {
                tracing::debug!(%error, "a question about a process's health could not be answered");
                break;
            }
        }
    }
}
