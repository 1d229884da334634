//! Restarts daemons for values of the configuration that need it: one at a time, each once all are
//! ready ([`crate::domain::rolling`] decides).
//!
//! An agent is killed and not asked to end: an agent that is asked takes its instances down, one
//! that is killed finds them again. All others are asked, and have the time to end their work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Cluster, ClusterError, Policy, Supervisor};
use nix::sys::signal::Signal;
use proto::bus::Role;
use proto::config::{Owner, PREFIX, Settings};
use proto::node::ComponentState;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::adapters::process::{self, Identity, Program};
use crate::board::Board;
use crate::domain::cast::Part;
use crate::domain::rolling::{BOOTSTRAP, STARTED_WITH, Seen, Step, Values, next, values};

/// What each daemon is to be started with.
pub type Wanted = Arc<BTreeMap<Part, Values>>;

/// Looked at by the clock too: a hint may be missed.
const RELOOK: Duration = Duration::from_secs(30);
/// While something waits to be ready.
const SOON: Duration = Duration::from_millis(500);

/// A daemon that is restarted when what it was started with is no longer so.
pub struct Daemon {
    pub part: Part,
    pub program: Program,
    /// Of its bootstrap file ([`crate::plan::Plan::fingerprint`]).
    pub fingerprint: String,
    /// Those whose values of the configuration it has.
    pub owners: Vec<Owner>,
}

#[derive(Clone)]
pub struct Rolling {
    pub cluster: Cluster,
    /// Those that stay.
    pub daemons: watch::Sender<Arc<Vec<Daemon>>>,
    pub board: Arc<Board>,
    /// For those who start daemons.
    pub wanted: watch::Sender<Wanted>,
}

impl Rolling {
    /// What the daemons are to be started with; an error leaves what was known.
    pub async fn read(&self) -> Result<(), ClusterError> {
        let pairs = self.cluster.list(PREFIX).await?;
        let stored: Vec<(&str, &str)> = pairs
            .iter()
            .filter_map(|(key, stored)| Some((key.strip_prefix(PREFIX)?, stored.value.as_str())))
            .collect();
        let daemons = self.daemons.borrow().clone();
        let wanted = daemons.iter().map(|daemon| {
            let part = &daemon.part;
            let (settings, _) = Settings::of_owners(stored.iter().copied(), &daemon.owners);
            let mut values = values(&settings, part.role_name());
            values.insert(BOOTSTRAP.to_string(), daemon.fingerprint.clone());
            (part.clone(), values)
        });
        self.wanted.send_replace(Arc::new(wanted.collect()));
        Ok(())
    }

    pub fn start(self, tasks: &Supervisor) {
        tasks.spawn("rolling-restart", Policy::Restart, move |shutdown| {
            let rolling = self.clone();
            async move {
                let mut hints = rolling.cluster.watch(PREFIX).await?;
                let mut daemons = rolling.daemons.subscribe();
                loop {
                    let wait = match rolling.read().await {
                        Ok(()) => rolling.round().await,
                        Err(_) => RELOOK,
                    };
                    tokio::select! {
                        hint = hints.recv() => {
                            if hint.is_none() {
                                anyhow::bail!("the watch of the configuration ended");
                            }
                        }
                        () = tokio::time::sleep(wait) => {}
                        changed = daemons.changed() => changed?,
                        () = shutdown.cancelled() => return Ok(()),
                    }
                }
            }
        });
    }

    /// Does the next step; says when to look again.
    async fn round(&self) -> Duration {
        match next(&self.seen()) {
            Step::Done => RELOOK,
            Step::WaitFor(_) => SOON,
            Step::Restart { part, because } => {
                let running = self.running(&part);
                if let Some(identity) = running {
                    info!(part = %part.name(), ?because, "a daemon is restarted for new values of the configuration");
                    restart(&part, identity).await;
                    // Until its keeper has seen the end, the board tells of the one before.
                    self.settled(&part, identity.pid).await;
                }
                SOON
            }
        }
    }

    fn running(&self, part: &Part) -> Option<Identity> {
        let daemons = self.daemons.borrow().clone();
        let daemon = daemons.iter().find(|daemon| daemon.part == *part)?;
        process::find(&daemon.program)
    }

    fn seen(&self) -> Vec<Seen> {
        let status = self.board.status();
        let wanted = self.wanted.borrow().clone();
        let daemons = self.daemons.borrow().clone();
        daemons
            .iter()
            .map(|Daemon { part, program, .. }| {
                let running = process::find(program);
                let told = status.components.iter().find(|one| one.name == part.name());
                let ready = told.is_some_and(|one| {
                    one.state == ComponentState::Ready
                        && one.pid == running.map(|identity| identity.pid)
                });
                let started_with = running
                    .and_then(|identity| process::variable(identity, STARTED_WITH))
                    .and_then(|text| serde_json::from_str(&text).ok());
                Seen {
                    part: part.clone(),
                    // One that does not run has nothing to be restarted for.
                    ready: running.is_some() && ready,
                    started_with,
                    wanted: wanted.get(part).cloned().unwrap_or_default(),
                }
            })
            .collect()
    }

    /// Waits until the part's successor is known.
    async fn settled(&self, part: &Part, before: u32) {
        const LONGEST: Duration = Duration::from_secs(60);
        let begun = std::time::Instant::now();
        while begun.elapsed() < LONGEST {
            let status = self.board.status();
            let pid = status
                .components
                .iter()
                .find(|one| one.name == part.name())
                .and_then(|one| one.pid);
            if pid.is_some_and(|pid| pid != before) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        warn!(part = %part.name(), "a daemon that was restarted for new values does not come back");
    }
}

async fn restart(part: &Part, identity: Identity) {
    let is_agent = matches!(
        part,
        Part::Daemon {
            role: Role::Dea,
            ..
        }
    );
    identity.signal(if is_agent {
        Signal::SIGKILL
    } else {
        Signal::SIGTERM
    });
    let ended = tokio::time::timeout(part.stop_deadline(), identity.end()).await;
    if ended.is_err() {
        warn!(part = %part.name(), "a daemon did not end in time and is killed");
        identity.signal_group(Signal::SIGKILL);
    }
}
