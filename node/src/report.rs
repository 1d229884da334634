//! What the node tells the cluster of its machine: a document in the store, for `yard node list`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use daemon::{Cluster, Policy, Supervisor, Write};
use proto::node::NodeReport;
use proto::roles::NODES;
use tracing::debug;

use crate::board::Board;

/// Changes come in swarms while things start.
const GATHER: Duration = Duration::from_millis(200);

/// Tells when something changes, and by the clock: who is not heard for long is not there.
pub fn keep(machine: &str, cluster: &Cluster, board: &Arc<Board>, tasks: &Supervisor) {
    let (machine, cluster, board) = (machine.to_string(), cluster.clone(), board.clone());
    tasks.spawn("node-report", Policy::Restart, move |shutdown| {
        let (machine, cluster, board) = (machine.clone(), cluster.clone(), board.clone());
        async move {
            let mut changes = board.changes();
            loop {
                changes.borrow_and_update();
                let write = Write::Put {
                    key: format!("{NODES}{machine}"),
                    value: serde_json::to_string(&report(&machine, &board))?,
                };
                if let Err(error) = cluster.transact(&[], &[write]).await {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "the state of this machine was not told; it is told again"
                    );
                }
                tokio::select! {
                    changed = changes.changed() => {
                        changed?;
                        tokio::time::sleep(GATHER).await;
                    }
                    () = tokio::time::sleep(Duration::from_secs_f64(NodeReport::PERIOD_S)) => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
        }
    });
}

fn report(machine: &str, board: &Board) -> NodeReport {
    let status = board.status();
    NodeReport {
        machine: machine.to_string(),
        host: nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0.0, |since| since.as_secs_f64()),
        phase: status.phase,
        components: status.components,
        error: status.error,
    }
}
