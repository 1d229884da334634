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
pub mod classic;
pub mod engine;
pub mod ids;
pub mod ops;
pub mod start;
pub mod stream;

use crate::ops::Ops;
use proto::bus::automation::AutomationAdvanced;
use std::sync::Arc;
use std::time::Duration;
pub use stream::StreamEvent;
use tokio::sync::{Notify, broadcast, mpsc, watch};

/// What the API, the operations and the engine share. Cheap to clone.
#[derive(Clone)]
pub struct Automation {
    pub ops: Ops,
    /// Encrypts secret parameters, configuration values and keys.
    pub key: Arc<automation::datastore::SymmetricKey>,
    pub expressions: automation::expressions::Engine,
    pub agents: engine::agents::Agents,
    /// Readers of the stream at this controller.
    pub stream: broadcast::Sender<StreamEvent>,
    /// The other controllers, whose readers see the same; None: there are none.
    pub peers: Option<mpsc::Sender<AutomationAdvanced>>,
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
    /// How executions are accepted here.
    pub acceptance: ops::acceptance::Acceptance,
    /// How what happens outside is taken in here.
    pub intake: ops::intake::Intake,
    /// Ends of actions that are taken in here.
    pub ends: engine::reports::Ends,
    /// What is being done to packs here.
    pub packs_at_work: ops::natives::PacksAtWork,
}

impl Automation {
    /// After this long without a report an agent is lost.
    pub fn agent_lost_after(&self) -> Duration {
        self.ops
            .settings()
            .duration("health-manager/agent/lost_after")
    }

    /// Whom executions may be given to.
    pub fn placement_limits(&self) -> engine::agents::Limits {
        let each = self
            .ops
            .settings()
            .integer("automation/executions/per_agent");
        engine::agents::Limits {
            fresh: self.agent_lost_after(),
            each: usize::try_from(each).unwrap_or(usize::MAX),
        }
    }

    /// Whether agents can be heard and told.
    pub fn is_connected(&self) -> bool {
        self.bus
            .as_ref()
            .is_some_and(|bus| bus.status().borrow().connected)
    }

    /// Wakes the engine, after a commit that concerns nobody else: executions moved, triggers fired.
    pub fn wake_engine(&self) {
        self.wake.notify_one();
        if self.epoch.borrow().is_none() {
            self.nudge_peers();
        }
    }

    /// Wakes the engine and all that the platform does after a commit.
    pub fn nudge(&self) {
        self.wake_engine();
        self.ops.nudge();
    }
}
