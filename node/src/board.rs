//! What the node knows about its parts, for whoever asks.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use proto::node::{ComponentState, ComponentStatus, NodePhase, NodeStatus};
use tokio::sync::watch;

use crate::domain::cast::Part;

pub struct Board {
    cluster: String,
    inner: Mutex<Inner>,
    stop: watch::Sender<bool>,
    /// Told each time something changes.
    changed: watch::Sender<()>,
    phase: watch::Sender<NodePhase>,
}

struct Inner {
    parts: BTreeMap<Part, ComponentStatus>,
    error: Option<String>,
}

impl Board {
    pub fn new(cluster: &str) -> Board {
        Board {
            cluster: cluster.to_string(),
            inner: Mutex::new(Inner {
                parts: BTreeMap::new(),
                error: None,
            }),
            stop: watch::Sender::new(false),
            changed: watch::Sender::new(()),
            phase: watch::Sender::new(NodePhase::Starting),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn add(&self, part: &Part, admin: Option<String>, log_file: String) {
        let status = ComponentStatus {
            name: part.name(),
            role: part.role_name().to_string(),
            pid: None,
            state: ComponentState::Waiting,
            detail: String::new(),
            restarts: 0,
            since: now(),
            admin,
            log_file,
        };
        self.lock().parts.insert(part.clone(), status);
        self.changed.send_replace(());
    }

    /// The machine has its role no more, and nothing of it runs.
    pub fn remove(&self, part: &Part) {
        self.lock().parts.remove(part);
        self.changed.send_replace(());
    }

    /// The part is on its way out; `detail` says how far it is.
    pub fn leaving(&self, part: &Part, detail: String) {
        self.change(part, |status| {
            status.state = ComponentState::Leaving;
            status.detail = detail;
        });
    }

    pub fn part(&self, part: &Part) -> Option<ComponentStatus> {
        self.lock().parts.get(part).cloned()
    }

    /// Hints that something is not as it was.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// A part began a life.
    pub fn started(&self, part: &Part, pid: u32) {
        self.change(part, |status| {
            status.pid = Some(pid);
            status.state = ComponentState::Starting;
            status.detail = String::new();
            status.since = now();
        });
    }

    pub fn ended(&self, part: &Part, state: ComponentState, detail: String) {
        self.change(part, |status| {
            status.pid = None;
            status.state = state;
            status.detail = detail;
            if state == ComponentState::Restarting {
                status.restarts += 1;
            }
        });
    }

    /// What the part's own status server says; only of a part that runs.
    pub fn health(&self, part: &Part, ready: bool, detail: String) {
        self.change(part, |status| {
            if status.pid.is_none() || status.state == ComponentState::Leaving {
                return;
            }
            status.state = match (ready, status.state) {
                (true, _) => ComponentState::Ready,
                (false, ComponentState::Ready | ComponentState::Unready) => ComponentState::Unready,
                (false, state) => state,
            };
            status.detail = detail;
        });
    }

    fn change(&self, part: &Part, change: impl FnOnce(&mut ComponentStatus)) {
        let all_ready = {
            let mut inner = self.lock();
            if let Some(status) = inner.parts.get_mut(part) {
                let before = status.clone();
                change(status);
                if *status != before {
                    self.changed.send_replace(());
                }
            }
            inner
                .parts
                .values()
                .all(|status| status.state == ComponentState::Ready)
        };
        if all_ready {
            self.phase.send_if_modified(|phase| {
                let arrived = *phase == NodePhase::Starting;
                if arrived {
                    *phase = NodePhase::Running;
                }
                arrived
            });
        }
    }

    pub fn fail(&self, error: String) {
        self.lock().error = Some(error);
        self.changed.send_replace(());
    }

    /// What failed works now.
    pub fn recovered(&self) {
        if self.lock().error.take().is_some() {
            self.changed.send_replace(());
        }
    }

    pub fn set_phase(&self, phase: NodePhase) {
        self.phase.send_replace(phase);
        self.changed.send_replace(());
    }

    pub fn status(&self) -> NodeStatus {
        let inner = self.lock();
        NodeStatus {
            cluster: self.cluster.clone(),
            phase: *self.phase.borrow(),
            components: inner.parts.values().cloned().collect(),
            error: inner.error.clone(),
            refused: None,
            told: None,
        }
    }

    pub fn request_stop(&self) {
        self.stop.send_replace(true);
    }

    pub async fn stop_requested(&self) {
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Resolves when everything has ended.
    pub async fn stopped(&self) -> NodeStatus {
        let _ = self
            .phase
            .subscribe()
            .wait_for(|phase| *phase == NodePhase::Stopped)
            .await;
        self.status()
    }
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cast;
    use proto::roles::Roles;

    #[test]
    fn the_node_runs_once_every_part_was_ready() {
        let board = Board::new("c");
        let parts = cast::parts(&Roles::one_of_each());
        for part in &parts {
            board.add(part, None, String::new());
            board.started(part, 7);
        }
        for part in &parts[1..] {
            board.health(part, true, String::new());
        }
        assert_eq!(board.status().phase, NodePhase::Starting);
        board.health(&parts[0], false, "waits".to_string());
        assert_eq!(board.status().components[0].state, ComponentState::Starting);
        board.health(&parts[0], true, String::new());
        assert_eq!(board.status().phase, NodePhase::Running);
        board.health(&parts[0], false, "the bus is away".to_string());
        assert_eq!(board.status().components[0].state, ComponentState::Unready);
        assert_eq!(board.status().phase, NodePhase::Running);
        board.ended(
            &parts[0],
            ComponentState::Restarting,
            "signal 9".to_string(),
        );
        board.health(&parts[0], true, String::new());
        assert_eq!(
            board.status().components[0].state,
            ComponentState::Restarting,
            "an old answer changes nothing"
        );
        assert_eq!(board.status().components[0].restarts, 1);
    }
}
