//! The loops: hear, read, plan, ask.
//!
//! Each source of events has its own task that changes the world and wakes the planner; the planner
//! only plans and sends. So a slow controller never delays the hearing of heartbeats.

use super::bulk::BulkReader;
use super::state::Shared;
use crate::domain::plan::Operation;
use crate::domain::policy::Policy;
use crate::domain::round::{messages, round};
use anyhow::{Context, bail};
use daemon::{Bus, Cluster, Shutdown};
use proto::bus::health::{HealthOperation, HealthRequest, RecordedCrash};
use proto::bus::{Empty, catalogue};
use proto::config::Settings;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Everything is planned at least this often.
const FULL_PLAN: Duration = Duration::from_secs(10);
/// Events that come together are planned together.
const GATHER: Duration = Duration::from_millis(2);
/// Silence is looked for at least this often.
const SWEEP: Duration = Duration::from_secs(1);
/// First and longest wait before a failed reading is tried again.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(10);

pub struct Manager {
    pub bus: Bus,
    /// Kept alive here: settings and leadership come from it.
    pub cluster: Cluster,
    pub settings: watch::Receiver<Arc<Settings>>,
    pub leadership: watch::Receiver<Option<i64>>,
    pub shared: Arc<Shared>,
    pub readiness: daemon::Readiness,
}

impl Manager {
    pub fn policy(&self) -> Policy {
        Policy::read(&self.settings.borrow())
    }

    pub fn leads(&self) -> bool {
        self.leadership.borrow().is_some()
    }

    /// Hears heartbeats.
    pub async fn hear_heartbeats(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut beats = self
            .bus
            .subscribe(&catalogue::dea_heartbeat().filter())
            .await?;
        // Now that we hear, whoever is there may say what it has. While the bus is away, its return does this.
        if self.bus.flush().await.is_ok() {
            let _ = self
                .bus
                .publish(&catalogue::healthmanager_start(), &Empty)
                .await;
        }
        loop {
            let beat = tokio::select! {
                beat = beats.next() => beat,
                () = shutdown.cancelled() => return Ok(()),
            };
            let Some(beat) = beat else {
                bail!("the subscription to dea.heartbeat ended")
            };
            let (now, policy) = (self.shared.now(), self.policy());
            let mut state = self.shared.state();
            let change = state
                .world
                .heartbeat(&beat.message, now, self.shared.unix(), &policy);
            if change.new_agent {
                tracing::info!(dea = %beat.message.dea, instances = beat.message.droplets.len(), "an agent is heard");
            }
            if !change.processes.is_empty() {
                state.due.processes.extend(change.processes);
                drop(state);
                self.shared.wake.notify_one();
            }
        }
    }

    /// Hears of exits. The controller acknowledges them, not we.
    pub async fn hear_exits(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut exits = self
            .bus
            .subscribe(&catalogue::droplet_exited().filter())
            .await?;
        loop {
            let exit = tokio::select! {
                exit = exits.next() => exit,
                () = shutdown.cancelled() => return Ok(()),
            };
            let Some(exit) = exit else {
                bail!("the subscription to droplet.exited ended")
            };
            let (now, policy) = (self.shared.now(), self.policy());
            let mut state = self.shared.state();
            if state
                .world
                .exited(&exit.message, now, self.shared.unix(), &policy)
            {
                state.report.exits += 1;
                state.due.processes.insert(exit.message.droplet.clone());
                drop(state);
                self.shared.wake.notify_one();
                tracing::info!(process = %exit.message.droplet, instance = %exit.message.instance, index = exit.message.index, reason = ?exit.message.reason, "an instance exited");
            }
        }
    }

    /// Hears which processes changed.
    pub async fn hear_updates(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut updates = self
            .bus
            .subscribe(&catalogue::droplet_updated().filter())
            .await?;
        loop {
            let update = tokio::select! {
                update = updates.next() => update,
                () = shutdown.cancelled() => return Ok(()),
            };
            let Some(update) = update else {
                bail!("the subscription to droplet.updated ended")
            };
            self.shared
                .state()
                .updated
                .insert(update.message.droplet.clone());
            self.shared.read_now.notify_one();
        }
    }

    /// Notices that the bus comes and goes, and that agents are silent.
    pub async fn watch_silence(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut status = self.bus.status();
        let mut greeted: Option<u64> = None;
        loop {
            let (connected, connection) = {
                let status = status.borrow_and_update();
                (status.connected, status.reconnects)
            };
            if !connected {
                greeted = None;
                self.bus_went();
            } else if greeted != Some(connection) {
                greeted = self.bus_came().await.then_some(connection);
            }
            if connected && self.sweep() {
                tracing::warn!("this process was stopped for a while: everything is asked again");
                // Not only asked: what is planned from before the sleep is not sent either.
                greeted = self.bus_came().await.then_some(connection);
            }
            tokio::select! {
                changed = status.changed() => changed.context("the bus is gone")?,
                () = tokio::time::sleep(SWEEP) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// Hearing begins anew: what was said meanwhile is gone, so everything is asked again. Whether
    /// the question was sent.
    async fn bus_came(&self) -> bool {
        {
            let now = self.shared.now();
            let mut state = self.shared.state();
            state.world.connected(now);
            state.reread = true;
        }
        let greeting = self
            .bus
            .publish(&catalogue::healthmanager_start(), &Empty)
            .await;
        if let Err(error) = &greeting {
            tracing::warn!(%error, "the agents could not be asked what they run");
        }
        self.shared.read_now.notify_one();
        self.plan_all();
        greeting.is_ok()
    }

    fn bus_went(&self) {
        let mut state = self.shared.state();
        let heard = state.world.hearing_since.is_some();
        state.world.disconnected();
        drop(state);
        if heard {
            tracing::warn!("the bus is away: nothing is planned");
            self.plan_all();
        }
    }

    /// Whether it was this process that was away.
    fn sweep(&self) -> bool {
        let (now, policy) = (self.shared.now(), self.policy());
        let mut state = self.shared.state();
        let swept = state.world.sweep(now, self.shared.unix(), &policy);
        for dea in &swept.lost {
            state.report.agents_lost += 1;
            tracing::warn!(%dea, "an agent is lost");
        }
        if !swept.change.processes.is_empty() {
            state.due.processes.extend(swept.change.processes);
            drop(state);
            self.shared.wake.notify_one();
        }
        swept.slept
    }

    fn plan_all(&self) {
        self.shared.state().due.all = true;
        self.shared.wake.notify_one();
    }

    /// Keeps the desired state.
    pub async fn read_desired(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut reader = BulkReader::new(self.bus.clone())?;
        let mut settings = self.settings.clone();
        let mut last_full = tokio::time::Instant::now();
        let mut due = last_full;
        let mut retry = FIRST_RETRY;
        loop {
            tokio::select! {
                () = self.shared.read_now.notified() => {}
                () = tokio::time::sleep_until(due) => {}
                changed = settings.changed() => {
                    changed.context("the settings ended")?;
                    due = due.min(last_full + self.refresh());
                    continue;
                }
                () = shutdown.cancelled() => return Ok(()),
            }
            if !self.bus.status().borrow().connected {
                due = tokio::time::Instant::now() + FIRST_RETRY;
                continue;
            }
            let whole = {
                let mut state = self.shared.state();
                let reread = std::mem::take(&mut state.reread);
                reread || state.world.desired.complete_as_of.is_none()
            } || tokio::time::Instant::now() >= due;
            let begun = tokio::time::Instant::now();
            let reading = async {
                if whole {
                    self.read_all(&mut reader).await
                } else {
                    self.read_updated(&mut reader).await
                }
            };
            let result = tokio::select! {
                result = reading => result,
                () = shutdown.cancelled() => return Ok(()),
            };
            match result {
                Ok(()) => {
                    retry = FIRST_RETRY;
                    if whole {
                        last_full = begun;
                        due = begun + self.refresh();
                    }
                }
                Err(error) => {
                    let text = format!("{error:#}");
                    tracing::warn!(error = %text, "the desired state cannot be read");
                    let mut state = self.shared.state();
                    state.report.failed_fetches += 1;
                    state.report.last_fetch_error = Some(text);
                    drop(state);
                    due = tokio::time::Instant::now() + retry;
                    retry = (retry * 2).min(LAST_RETRY);
                }
            }
        }
    }

    fn refresh(&self) -> Duration {
        self.settings
            .borrow()
            .duration("health-manager/desired/refresh")
    }

    async fn read_all(&self, reader: &mut BulkReader) -> anyhow::Result<()> {
        let begun = self.shared.now();
        // What changes from here on may be missing in the set, and is read again after it.
        self.shared.state().updated.clear();
        let set = reader.all(begun).await?;
        let first = self.shared.state().world.desired.complete_as_of.is_none();
        let crashes = if first {
            self.recorded_crashes(reader).await
        } else {
            Vec::new()
        };
        let (now, policy) = (self.shared.now(), self.policy());
        let mut state = self.shared.state();
        tracing::debug!(processes = set.len(), "the desired state was read");
        state.world.desired.replace(set, begun);
        state
            .world
            .recall(&crashes, now, self.shared.unix(), &policy);
        state.report.fetches += 1;
        state.report.last_fetch_error = None;
        state.due.all = true;
        let more = !state.updated.is_empty();
        drop(state);
        self.readiness.set("desired", true, "");
        self.shared.wake.notify_one();
        if more {
            self.shared.read_now.notify_one();
        }
        Ok(())
    }

    /// What crashed before we began to hear. Without it the app that crashes again and again is
    /// started at once, which is no reason to bring nobody back.
    async fn recorded_crashes(&self, reader: &mut BulkReader) -> Vec<RecordedCrash> {
        let since = self.shared.unix() - self.policy().recall_span() as f64 / 1000.0;
        match reader.crashes(since as i64).await {
            Ok(crashes) => {
                tracing::info!(crashes = crashes.len(), "recorded crashes were read");
                crashes
            }
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "recorded crashes cannot be read: every back-off begins anew");
                Vec::new()
            }
        }
    }

    async fn read_updated(&self, reader: &mut BulkReader) -> anyhow::Result<()> {
        loop {
            let (process, row, complete_to) = {
                let mut state = self.shared.state();
                let Some(process) = state.updated.pop_first() else {
                    return Ok(());
                };
                let row = state
                    .world
                    .desired
                    .processes
                    .get(&process)
                    .map(|wanted| wanted.row);
                (process, row, state.world.desired.complete_to())
            };
            let begun = self.shared.now();
            let wanted = match reader.one(&process, row, complete_to, begun).await {
                Ok(wanted) => wanted,
                Err(error) => {
                    self.shared.state().updated.insert(process);
                    return Err(error);
                }
            };
            let mut state = self.shared.state();
            state.world.desired.update(&process, wanted);
            state.due.processes.insert(process);
            drop(state);
            self.shared.wake.notify_one();
        }
    }

    /// Plans whenever something happened or time is up, and asks the controller.
    pub async fn plan_and_ask(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut leadership = self.leadership.clone();
        let mut settings = self.settings.clone();
        let mut full_at = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep_until(full_at) => self.shared.state().due.all = true,
                changed = leadership.changed() => {
                    changed.context("the campaign for leadership ended")?;
                    self.shared.state().due.all = true;
                }
                changed = settings.changed() => {
                    changed.context("the settings ended")?;
                    self.shared.state().due.all = true;
                }
                () = shutdown.draining() => return Ok(()),
            }
            tokio::time::sleep(GATHER).await;
            let leads = leadership.borrow_and_update().is_some();
            let made = self.make_plan(leads);
            let now = self.shared.now();
            let due = made
                .next
                .map(|at| Duration::from_millis(at.saturating_sub(now)).max(GATHER));
            let due = due.map_or(FULL_PLAN, |wait| wait.min(FULL_PLAN));
            let due = tokio::time::Instant::now() + due;
            // The plan of a part must not put off what the whole is waiting for.
            full_at = if made.all { due } else { full_at.min(due) };
            for request in &made.messages {
                self.ask(request).await;
            }
        }
    }

    fn make_plan(&self, leads: bool) -> Made {
        let (now, policy) = (self.shared.now(), self.policy());
        let mut state = self.shared.state();
        let due = std::mem::take(&mut state.due);
        let made = round(&mut state.world, due, leads, now, &policy);
        state.report.leads = leads;
        if made.all {
            state.keep_reasons(&made.plan, made.left_to_the_leader);
            state.measure(now, &policy);
        }
        for request in &made.plan.requests {
            match request.operation {
                Operation::Start { .. } => state.report.starts += 1,
                Operation::Stop { .. } => state.report.stops += 1,
            }
        }
        drop(state);
        Made {
            messages: messages(&made.plan),
            next: made.plan.next,
            all: made.all,
        }
    }

    async fn ask(&self, request: &HealthRequest) {
        let reason = request.yard_reason.as_deref().unwrap_or_default();
        match self.bus.publish(&catalogue::hm_requests(), request).await {
            Ok(()) => {
                metrics::counter!("health_requests_total", "operation" => match request.op {
                    HealthOperation::Start => "start",
                    HealthOperation::Stop => "stop",
                })
                .increment(1);
                tracing::info!(process = %request.droplet, op = ?request.op, indices = ?request.indices, instances = request.instances.len(), %reason, "asked");
            }
            Err(error) => {
                // It counts as asked and is asked again when its time comes.
                self.shared.state().report.failed_sends += 1;
                tracing::warn!(%error, process = %request.droplet, "a request could not be sent");
            }
        }
    }
}

/// A plan on its way out.
struct Made {
    messages: Vec<HealthRequest>,
    /// When time alone would change it.
    next: Option<u64>,
    /// It is about everything.
    all: bool,
}
