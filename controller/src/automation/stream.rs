//! Events for the readers of the stream, at this controller and at the others.
//!
//! ```text
//!   tell ─┬─► readers here
//!         └─► outbox ─► yard.automation.advanced ─► other controllers ─► their readers
//! ```
//!
//! An execution crosses the bus as its id, and its document is made from the row where somebody reads;
//! what has no row (announcements) crosses as it is. What agents print every controller hears itself.
//! Nothing here waits: a queue that is full loses events, and readers that wait for an end look at the row
//! now and then.

use super::Automation;
use crate::automation::ops::Fault;
use crate::store::automation::executions::Execution;
use daemon::{Deps, Received, Shutdown};
use proto::bus::automation::AutomationAdvanced;
use proto::bus::catalogue;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc};

/// Names of events about executions.
pub const CREATED: &str = "st2.execution__create";
pub const UPDATED: &str = "st2.execution__update";
pub const DELETED: &str = "st2.execution__delete";

/// Events a slow reader may be behind before it loses some.
const BACKLOG: usize = 1024;
/// Events on their way to the bus, or from it.
const QUEUE: usize = 4096;

/// Something that happened, for the readers of the stream.
#[derive(Debug, Clone)]
pub struct StreamEvent {
    /// `st2.execution__update`, `st2.announcement__chatops`, …
    pub name: String,
    pub document: Arc<Value>,
}

/// The way to other controllers, and its end for [`start`].
pub fn outbox() -> (
    mpsc::Sender<AutomationAdvanced>,
    mpsc::Receiver<AutomationAdvanced>,
) {
    mpsc::channel(QUEUE)
}

impl Automation {
    /// The channel to readers at this controller.
    pub fn stream_channel() -> broadcast::Sender<StreamEvent> {
        broadcast::channel(BACKLOG).0
    }

    /// Whether anybody reads the stream at this controller.
    pub fn has_readers(&self) -> bool {
        self.stream.receiver_count() > 0
    }

    /// Shows an event to the readers here; nobody listening is fine.
    pub fn show(&self, name: impl Into<String>, document: Value) {
        // Err means that nobody reads the stream now.
        let _ = self.stream.send(StreamEvent {
            name: name.into(),
            document: Arc::new(document),
        });
    }

    /// Tells all readers, wherever they are.
    pub fn tell(&self, name: impl Into<String>, document: Value) {
        let name = name.into();
        self.send(AutomationAdvanced {
            execution: String::new(),
            event: name.clone(),
            document: document.to_string().into_bytes(),
        });
        self.show(name, document);
    }

    /// Tells all readers of an execution. `document`: for those here, if there are any.
    pub fn tell_execution(&self, name: &'static str, id: &str, document: Option<Value>) {
        self.send(AutomationAdvanced {
            execution: id.to_string(),
            event: name.to_string(),
            document: Vec::new(),
        });
        if let Some(document) = document {
            self.show(name, document);
        }
    }

    /// Wakes the engine of the controller that leads.
    pub fn nudge_peers(&self) {
        self.send(AutomationAdvanced::default());
    }

    fn send(&self, message: AutomationAdvanced) {
        let Some(peers) = &self.peers else { return };
        if peers.try_send(message).is_err() {
            metrics::counter!("automation_stream_events_lost_total").increment(1);
        }
    }
}

/// Begins to exchange events with other controllers.
pub async fn start(
    automation: &Automation,
    deps: &Deps,
    outbox: mpsc::Receiver<AutomationAdvanced>,
) {
    let (seen, unseen) = mpsc::channel(QUEUE);
    let own = deps.component.to_string();
    let wake = automation.wake.clone();
    daemon::follow(
        &deps.bus,
        &deps.tasks,
        "hear-automation-advanced",
        catalogue::automation_advanced().filter(),
        move |received: Received<AutomationAdvanced>| {
            if received.sender == own {
                return;
            }
            wake.notify_one();
            if seen.try_send(received.message).is_err() {
                metrics::counter!("automation_stream_events_lost_total").increment(1);
            }
        },
    )
    .await;
    let shutdown = deps.tasks.shutdown();
    deps.tasks.spawn_once(
        "tell-automation-advanced",
        publish(automation.clone(), outbox, shutdown.clone()),
    );
    deps.tasks.spawn_once(
        "show-automation-advanced",
        show(automation.clone(), unseen, shutdown),
    );
}

async fn publish(
    automation: Automation,
    mut outbox: mpsc::Receiver<AutomationAdvanced>,
    shutdown: Shutdown,
) {
    let Some(bus) = automation.bus.clone() else {
        return;
    };
    loop {
        let message = tokio::select! {
            () = shutdown.draining() => return,
            message = outbox.recv() => message,
        };
        let Some(message) = message else { return };
        // Readers elsewhere miss it; the rows say the same.
        if let Err(error) = bus
            .publish(&catalogue::automation_advanced(), &message)
            .await
        {
            metrics::counter!("automation_stream_events_lost_total").increment(1);
            tracing::debug!(event = message.event, %error, "other controllers were not told");
        }
    }
}

async fn show(
    automation: Automation,
    mut unseen: mpsc::Receiver<AutomationAdvanced>,
    shutdown: Shutdown,
) {
    loop {
        let message = tokio::select! {
            () = shutdown.draining() => return,
            message = unseen.recv() => message,
        };
        let Some(message) = message else { return };
        if message.event.is_empty() || !automation.has_readers() {
            continue;
        }
        if let Err(error) = show_one(&automation, message).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "an event of another controller was not shown"
            );
        }
    }
}

/// One after the other, so that readers see an execution's states in order.
async fn show_one(automation: &Automation, message: AutomationAdvanced) -> Result<(), Fault> {
    if message.execution.is_empty() {
        let document = serde_json::from_slice(&message.document)
            .map_err(Fault::internal("reading an event of another controller"))?;
        automation.show(message.event, document);
        return Ok(());
    }
    let row = Execution::find(&mut *automation.ops.store.read().await?, &message.execution).await?;
    match row {
        Some(row) => {
            let document = automation.present_execution(&row, None, false)?;
            automation.show(message.event, document);
        }
        None => automation.show(DELETED, json!({"id": message.execution})),
    }
    Ok(())
}
