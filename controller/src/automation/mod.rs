//! Automation: packs, actions, sensors, triggers and rules, with the API of StackStorm.
//!
//! ```text
//!   HTTP ─► api ─► ops ─► store (rows) ─► nudge ─► engine (leader): schedule, place, send, settle
//!                                                     │   ▲
//!      automation (pure crate): specs, rules, …  ◄────┘   └── yard.action.exited, .output, .report
//! ```
//!
//! The pure parts are in the crate `automation`. Rows are the truth: each state of an execution is
//! written before anything acts on it, so a controller that dies leaves nothing half known, and the
//! next one reads on. Every controller answers the API; only the leader runs the [`engine`].

pub mod api;
pub mod engine;
pub mod ids;
pub mod ops;
pub mod start;

use crate::ops::Ops;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, broadcast, watch};

/// Something that happened, for the readers of the stream.
#[derive(Debug, Clone)]
pub struct StreamEvent {
    /// `st2.execution__update`, `st2.announcement__chatops`, …
    pub name: String,
    pub document: Arc<serde_json::Value>,
}

/// Events a slow reader of the stream may be behind before it loses some.
const STREAM_BACKLOG: usize = 1024;

/// What the API, the operations and the engine share. Cheap to clone.
#[derive(Clone)]
pub struct Automation {
    pub ops: Ops,
    /// Encrypts secret parameters, configuration values and keys.
    pub key: Arc<automation::datastore::SymmetricKey>,
    pub expressions: automation::expressions::Engine,
    pub agents: engine::agents::Agents,
    pub stream: broadcast::Sender<StreamEvent>,
    /// Rows changed that the engine should look at.
    pub wake: Arc<Notify>,
    /// `Some(epoch)` while this controller leads.
    pub epoch: watch::Receiver<Option<i64>>,
    /// None: an API without a cluster behind it.
    pub bus: Option<daemon::Bus>,
    /// `http://st2.<domain>:<port>`
    pub public_url: Arc<str>,
    /// Folders from which packs may be installed besides git; an operator's setting.
    pub pack_folders: Arc<[std::path::PathBuf]>,
    /// The built-in packs.
    pub builtin_packs: Arc<std::path::Path>,
    /// What is being done to packs here.
    pub packs_at_work: ops::natives::PacksAtWork,
}

impl Automation {
    pub fn stream_channel() -> broadcast::Sender<StreamEvent> {
        broadcast::channel(STREAM_BACKLOG).0
    }

    /// Tells readers of the stream; nobody listening is fine.
    pub fn tell(&self, name: impl Into<String>, document: serde_json::Value) {
        // Err means that nobody reads the stream now.
        let _ = self.stream.send(StreamEvent {
            name: name.into(),
            document: Arc::new(document),
        });
    }

    /// After this long without a report an agent is lost.
    pub fn agent_lost_after(&self) -> Duration {
        self.ops
            .settings()
            .duration("health-manager/agent/lost_after")
    }

    /// Wakes the engine, after a commit.
    pub fn nudge(&self) {
        self.wake.notify_one();
        self.ops.nudge();
    }
}
