//! Actions of the pack `packs` that the controller carries out itself: they change what packs there are,
//! which no pack's process may.
//!
//! They are executions like any other, of the runner `orquesta`, so that their place, result and progress are
//! where clients look. The leader does the work in a task of its own. A new leader begins it again: each step
//! can be done twice. What is done at one time to one pack is done by one task.

use super::executions::SYSTEM_USER;
use super::fault::Fault;
use super::pack_index::IndexCache;
use crate::automation::Automation;
use crate::store::automation::executions::Execution;
use automation::execution::{Event, Status};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Seconds an action may take whose parameters name none.
const LONGEST: u64 = 600;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native {
    Install,
    Uninstall,
    Load,
    Unload,
    Download,
    Delete,
    SetupVirtualenv,
    UpdateVirtualenv,
}

impl Native {
    /// The one of this reference.
    pub fn of(reference: &str) -> Option<Native> {
        Some(match reference {
            "packs.install" => Native::Install,
            "packs.uninstall" => Native::Uninstall,
            "packs.load" => Native::Load,
            "packs.unload" => Native::Unload,
            "packs.download" => Native::Download,
            "packs.delete" => Native::Delete,
            "packs.setup_virtualenv" => Native::SetupVirtualenv,
            "packs.update_virtualenv" => Native::UpdateVirtualenv,
            _ => return None,
        })
    }
}

/// What this controller is doing to packs. Cheap to clone.
#[derive(Clone, Default)]
pub struct PacksAtWork {
    pub(super) index: IndexCache,
    /// Executions that are being carried out.
    running: Arc<Mutex<BTreeMap<String, CancellationToken>>>,
    /// One lock a pack.
    locks: Arc<Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl PacksAtWork {
    /// None: it is at work already.
    fn begin(&self, execution: &str) -> Option<CancellationToken> {
        let mut running = held(&self.running);
        if running.contains_key(execution) {
            return None;
        }
        let token = CancellationToken::new();
        running.insert(execution.to_string(), token.clone());
        Some(token)
    }

    fn end(&self, execution: &str) {
        held(&self.running).remove(execution);
    }

    /// Ends the work on an execution at its next step.
    pub fn cancel(&self, execution: &str) {
        if let Some(token) = held(&self.running).get(execution) {
            token.cancel();
        }
    }

    /// Waits for the turn on a pack.
    pub(super) async fn turn(&self, pack: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = held(&self.locks);
            // Those nobody holds or waits for are only here.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(pack.to_string()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

/// Carries an execution out, in a task of its own, unless it is at work already.
pub fn carry_out(automation: &Automation, native: Native, execution: String) {
    let Some(token) = automation.packs_at_work.begin(&execution) else {
        return;
    };
    let automation = automation.clone();
    automation
        .ops
        .tasks
        .clone()
        .spawn_once("change-packs", async move {
            let done = tokio::select! {
                done = automation.finish_native(native, &execution) => done,
                () = token.cancelled() => Ok(()),
            };
            automation.packs_at_work.end(&execution);
            if let Err(fault) = done {
                // The engine asks again.
                tracing::warn!(
                    execution,
                    error = &fault as &dyn std::error::Error,
                    "packs could not be changed and it is tried again"
                );
            }
        });
}

impl Automation {
    async fn finish_native(&self, native: Native, id: &str) -> Result<(), Fault> {
        let row = Execution::find(&mut *self.ops.store.read().await?, id).await?;
        let Some(row) = row else { return Ok(()) };
        let parameters = self.native_parameters(&row)?;
        let limit = parameters
            .get("timeout")
            .and_then(Value::as_u64)
            .unwrap_or(LONGEST);
        let work = self.do_native(native, &row, &parameters);
        let (status, result) = match tokio::time::timeout(Duration::from_secs(limit), work).await {
            Err(_) => {
                let text = format!("Action failed to complete in {limit} seconds");
                (Status::Timeout, failure(&text))
            }
            Ok(Ok(output)) => (Status::Succeeded, json!({"output": output})),
            // The database is away, or another controller leads now.
            Ok(Err(fault @ Fault::Store(_))) => return Err(fault),
            Ok(Err(fault)) => {
                if let Fault::Internal { operation, source } = &fault {
                    tracing::error!(execution = id, operation, %source, "changing packs failed");
                }
                (Status::Failed, failure(&text_of(&fault)))
            }
        };
        let event = Event::Finished {
            at: None,
            status,
            result,
        };
        if let Err((illegal, status)) = self.move_execution(id, event).await? {
            tracing::debug!(execution = id, %illegal, %status, "it has moved on meanwhile");
        }
        Ok(())
    }

    /// As given, over the defaults of the action.
    fn native_parameters(&self, row: &Execution) -> Result<Map<String, Value>, Fault> {
        let mut parameters = Map::new();
        let declared = row.document["action"]["parameters"].as_object();
        for (name, definition) in declared.into_iter().flatten() {
            if let Some(default) = definition.get("default") {
                parameters.insert(name.clone(), default.clone());
            }
        }
        parameters.extend(self.unseal(&row.parameters)?);
        Ok(parameters)
    }

    async fn do_native(
        &self,
        native: Native,
        row: &Execution,
        parameters: &Map<String, Value>,
    ) -> Result<Value, Fault> {
        let user = if row.username.is_empty() {
            SYSTEM_USER
        } else {
            &row.username
        };
        tracing::info!(
            execution = row.id,
            action = row.action_ref,
            user,
            "packs are changed"
        );
        match native {
            Native::Install => self.install_packs(&row.id, parameters).await,
            Native::Download => self.download_packs(&row.id, parameters).await,
            Native::Uninstall => self.uninstall_packs(&row.id, parameters).await,
            Native::Unload => self.unload_packs(&row.id, parameters).await,
            Native::Delete => self.delete_packs(&row.id, parameters).await,
            Native::Load => self.load_packs(parameters).await,
            Native::SetupVirtualenv | Native::UpdateVirtualenv => {
                self.setup_virtualenvs(&row.id, parameters).await
            }
        }
    }
}

/// The sentence and its causes.
fn text_of(fault: &Fault) -> String {
    let mut text = fault.to_string();
    let mut cause = std::error::Error::source(fault);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The result of a workflow that failed.
fn failure(text: &str) -> Value {
    json!({"output": null, "errors": [{"type": "error", "message": text}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_is_carried_out_once_at_a_time_and_can_be_canceled() {
        let work = PacksAtWork::default();
        let token = work.begin("1").unwrap();
        assert!(work.begin("1").is_none());
        work.cancel("1");
        assert!(token.is_cancelled());
        work.end("1");
        assert!(!work.begin("1").unwrap().is_cancelled());
    }

    #[tokio::test]
    async fn one_pack_is_changed_by_one_at_a_time() {
        let work = PacksAtWork::default();
        let turn = work.turn("a").await;
        let _other = work.turn("b").await;
        let waiting = work.clone();
        let next = async move { waiting.turn("a").await };
        tokio::pin!(next);
        assert!(futures_util::poll!(&mut next).is_pending());
        drop(turn);
        next.await;
    }
}
