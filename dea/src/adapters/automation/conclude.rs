//! The end of an execution: its result where the controller finds it, its report in the spool.

use crate::adapters::agent::Agent;
use crate::adapters::chain;
use crate::adapters::spool::Fact;
use crate::adapters::transfer;
use crate::domain::action::{self, ActionRecord, Circumstances, Outcome};
use crate::domain::action_output::Output;
use proto::bus::automation::ActionExited;
use std::io::{Seek, Write};
use std::sync::Arc;
use std::time::Duration;

/// Attempts to store a result, and the wait between them.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(800);
/// Where nothing is said: what a message of the bus carries in any case.
const INLINE: u64 = 256 << 10;

/// What there is to tell of an end.
pub struct End {
    pub record: ActionRecord,
    pub outcome: Outcome,
    pub output: Output,
    pub stop_reason: Option<String>,
    /// Unix microseconds; 0: it did not start.
    pub started_at: i64,
}

/// Tells it. When this returns the end is in the spool.
pub async fn conclude(agent: &Arc<Agent>, mut end: End) {
    let about = Circumstances {
        dea: agent.id.as_str(),
        stop_reason: end.stop_reason.as_deref(),
        started_at: end.started_at,
        now_us: super::unix_us(),
    };
    let mut exited = action::exited(&end.record, &end.outcome, about);
    let document = action::document(&end.outcome, &mut end.output);
    deposit(agent, &end.record, &mut exited, document).await;
    tracing::info!(
        execution = end.record.execution,
        attempt = end.record.attempt,
        action = end.record.action,
        how = exited.description,
        "an action ended"
    );
    // Whoever hears of the end reads the output: it must not come after.
    if end.output.was_passed_on() {
        agent.outputs.flush().await;
    }
    agent.spool.put(Fact::Action(exited));
    agent.notes.settle(&end.record.id());
}

/// Puts the document into the report, or where the controller wants large ones.
async fn deposit(
    agent: &Agent,
    record: &ActionRecord,
    exited: &mut ActionExited,
    document: Vec<u8>,
) {
    exited.result_size = document.len() as u64;
    let inline = match record.inline_limit {
        0 => INLINE,
        limit => limit,
    };
    if exited.result_size <= inline {
        exited.result = document;
        return;
    }
    // Large ones are rare; the future of every end would carry what storing them needs.
    match Box::pin(store(agent, record, &document)).await {
        Ok(sha256) => exited.result_sha256 = sha256,
        Err(why) => {
            tracing::warn!(
                execution = record.execution,
                why,
                "the result of an action could not be stored"
            );
            exited.description = format!(
                "{}; its result could not be stored: {why}",
                exited.description
            );
            exited.result = action::stripped(&document);
            exited.result_size = exited.result.len() as u64;
        }
    }
}

/// Stores the document; its SHA-256.
async fn store(agent: &Agent, record: &ActionRecord, document: &[u8]) -> Result<String, String> {
    if record.result_url.is_empty() {
        return Err("there is no address for large results".to_string());
    }
    let folder = agent.folder.join("inputs");
    let mut file = tempfile::tempfile_in(folder).map_err(|error| chain(&error))?;
    file.write_all(document).map_err(|error| chain(&error))?;
    let open = || {
        let mut copy = file.try_clone().map_err(|error| chain(&error))?;
        copy.rewind().map_err(|error| chain(&error))?;
        Ok::<_, String>(copy)
    };
    let what = "the result of an action";
    let digests = transfer::digest(what, open()?)
        .await
        .map_err(|error| chain(&error))?;
    let mut attempt = 1;
    loop {
        match transfer::upload(&agent.web, what, open()?, &record.result_url).await {
            Ok(()) => return Ok(digests.sha256),
            Err(error) if error.is_passing() && attempt < ATTEMPTS => {
                tokio::time::sleep(PAUSE * attempt).await;
            }
            Err(error) => return Err(chain(&error)),
        }
        attempt += 1;
    }
}
