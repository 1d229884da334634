//! The two hosts of a sandbox, as its unit sees them: each with a connection, workers, and executions that
//! wait for one of those.

use super::executions::{Phase, WORKER_WITHIN};
use super::{FAREWELL_GRACE_MS, Unit};
use crate::adapters::automation::host::{Broken, HostConnection};
use crate::adapters::automation::making::{self, IDLE_WORKERS};
use crate::adapters::automation::workers::Workers;
use crate::adapters::chain;
use crate::domain::action::{ActionRecord, Outcome};
use crate::domain::action_output::Printed;
use crate::domain::pack_host::{self, HostEvent, HostKind, RunningWorker};
use crate::sandbox::Sandbox;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long a host may be away before its sandbox is given up.
const BACK_WITHIN: Duration = Duration::from_secs(20);
/// Idle workers that are asked for while executions wait for them, and for how long after.
const MORE_WORKERS: usize = 16;
const CALM: Duration = Duration::from_secs(10);
/// How long what is not urgent may wait for something that is.
const LATER: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Side {
    pub(super) reaching: Option<BoxFuture<'static, Result<HostConnection, String>>>,
    pub(super) connection: Option<HostConnection>,
    pub(super) workers: Option<Workers>,
    /// Executions that were not given to it yet.
    pub(super) waiting: VecDeque<String>,
    /// What the host said to run when it was reached, until it is clear that it said everything.
    greeting: Option<Vec<RunningWorker>>,
    pub(super) ready: bool,
    /// Until when more idle workers are wanted than usual.
    busy_until: Option<Duration>,
    /// Frames that wait for company, and for how long at most.
    later: Vec<u8>,
    later_until: Option<Duration>,
}

impl Side {
    pub(super) fn is_in(&mut self, sandbox: &Sandbox) {
        self.workers = Some(Workers::new(sandbox.group()));
    }

    pub(super) fn gone(&mut self) {
        self.connection = None;
        self.reaching = None;
        self.ready = false;
        self.later.clear();
        self.later_until = None;
    }

    /// Sends a frame to the host, if it is there; whoever is told on a new connection what runs
    /// repeats what matters.
    pub(super) fn tell(&mut self, frame: &[u8]) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        if self.later.is_empty() {
            connection.send(frame);
        } else {
            self.later.extend_from_slice(frame);
            connection.send(&std::mem::take(&mut self.later));
        }
        self.later_until = None;
    }

    /// Sends it with the next frame, or after a while: waking the host for it alone would cost more than it is
    /// worth.
    pub(super) fn tell_later(&mut self, frame: &[u8], now: Duration) {
        if self.connection.is_some() {
            self.later.extend_from_slice(frame);
            self.later_until.get_or_insert(now + LATER);
        }
    }

    /// `sweep`: when it is time to look again, if there is something to look at.
    pub(super) fn next_wake(&self, sweep: Duration) -> Option<Duration> {
        let has_leaving = self.workers.as_ref().is_some_and(Workers::has_leaving);
        let sweep = has_leaving.then_some(sweep);
        let times = [self.busy_until, self.later_until, sweep];
        times.into_iter().flatten().min()
    }

    pub(super) fn time_passed(&mut self, now: Duration) {
        if self.busy_until.is_some_and(|until| until <= now) {
            self.busy_until = None;
            self.tell(&pack_host::prefork(IDLE_WORKERS));
        }
        if self.later_until.is_some_and(|until| until <= now) {
            self.tell(&[]);
        }
        if let Some(workers) = &mut self.workers {
            workers.sweep();
        }
    }

    /// More are forked ahead while executions wait for them.
    pub(super) fn want_workers(&mut self, now: Duration) {
        if self.busy_until.is_none() {
            self.tell(&pack_host::prefork(MORE_WORKERS));
        }
        self.busy_until = Some(now + CALM);
    }

    /// Does something with its workers, and tells the host which of them are not wanted any more.
    pub(super) fn with_workers<T>(&mut self, act: impl FnOnce(&mut Workers) -> T) -> Option<T> {
        let workers = self.workers.as_mut()?;
        let outcome = act(workers);
        for pid in workers.take_dismissed() {
            self.tell(&pack_host::retire(pid));
        }
        Some(outcome)
    }
}

impl Unit {
    pub(super) fn side(&mut self, kind: HostKind) -> &mut Side {
        match kind {
            HostKind::Python => &mut self.python,
            HostKind::Shell => &mut self.shell,
        }
    }

    /// Which host an execution is for.
    pub(super) fn host_for(&self, record: &ActionRecord) -> HostKind {
        if record.shell && self.has_shell_host {
            HostKind::Shell
        } else {
            HostKind::Python
        }
    }

    pub(super) fn reach_host(&mut self, kind: HostKind) {
        let Some(sandbox) = self.sandbox.clone() else {
            return;
        };
        self.side(kind).reaching = Some(Box::pin(async move {
            making::reach(&sandbox, kind, BACK_WITHIN).await
        }));
    }

    pub(super) fn host_went(&mut self, kind: HostKind, broken: &Broken) {
        tracing::warn!(
            pack = self.pack,
            sandbox = self.id,
            host = ?kind,
            error = chain(broken),
            "the connection to a host of a pack broke"
        );
        let side = self.side(kind);
        side.gone();
        side.greeting = None;
        if let Some(workers) = &mut side.workers {
            workers.forget();
        }
        self.reach_host(kind);
    }

    pub(super) fn hear(&mut self, kind: HostKind, event: HostEvent) {
        match event {
            HostEvent::Hello {
                version,
                running,
                idle,
            } => self.greeted(kind, version, running, &idle),
            HostEvent::Worker { pid } => {
                self.side(kind).with_workers(|workers| workers.came(pid));
            }
            HostEvent::WorkerLost { pid } => {
                self.side(kind).with_workers(|workers| workers.went(pid));
            }
            HostEvent::Started { id, at } => self.began(&id, at.saturating_mul(1000)),
            HostEvent::Output {
                id,
                stream,
                seq,
                data,
            } => self.printed(&id, Printed { stream, seq, data }),
            HostEvent::Exited { id, reusable, rest } => self.exited(kind, &id, reusable, rest),
            HostEvent::Refused {
                request,
                id,
                code,
                problems,
            } => {
                if request.as_deref() == Some("run")
                    && let Some(id) = id
                {
                    self.refused(&id, &code, problems);
                }
            }
            HostEvent::Pong => self.heard_everything(kind),
            HostEvent::Unknown => {}
        }
    }

    fn greeted(&mut self, kind: HostKind, version: u64, running: Vec<RunningWorker>, idle: &[i32]) {
        if version != pack_host::VERSION {
            tracing::warn!(
                pack = self.pack,
                version,
                "a host of a pack speaks another version"
            );
        }
        let side = self.side(kind);
        side.with_workers(|workers| {
            workers.forget();
            idle.iter().for_each(|pid| workers.came(*pid));
        });
        side.greeting = Some(running);
        side.tell(&pack_host::ping());
    }

    /// The host has told everything from before this connection: what it does not know of by now it
    /// will never tell.
    fn heard_everything(&mut self, kind: HostKind) {
        let Some(running) = self.side(kind).greeting.take() else {
            return;
        };
        let known: BTreeMap<&str, i32> = running
            .iter()
            .map(|worker| (worker.id.as_str(), worker.pid))
            .collect();
        let mut unknown = Vec::new();
        let mut to_stop = Vec::new();
        let now = self.agent.now().uptime;
        let side = match kind {
            HostKind::Python => &self.python,
            HostKind::Shell => &self.shell,
        };
        for (id, execution) in &mut self.executions {
            if execution.host != kind {
                continue;
            }
            if execution.phase == Phase::Waiting {
                execution.guard = Some(now + WORKER_WITHIN);
                continue;
            }
            let Some(pid) = known.get(id.as_str()) else {
                unknown.push(id.clone());
                continue;
            };
            if execution.worker.is_none()
                && let Some(workers) = &side.workers
            {
                execution.worker = workers.of_running(*pid);
            }
            if execution.phase == Phase::Given {
                execution.phase = Phase::Began;
                execution.guard = execution.record.guard().map(|guard| now + guard);
            }
            if execution.started_at == 0 {
                // Its start was told to an earlier agent; it was soon after it was accepted.
                execution.started_at = (execution.record.accepted_at * 1e6) as i64;
            }
            if execution.stop_reason.is_some() || execution.farewell {
                to_stop.push(id.clone());
            }
        }
        for id in unknown {
            let why = "the host of its sandbox does not know it".to_string();
            self.end(&id, Outcome::Lost { why });
        }
        let side = self.side(kind);
        for id in to_stop {
            side.tell(&pack_host::stop(&id, FAREWELL_GRACE_MS));
        }
        side.ready = true;
    }
}
