//! The controller's working half: hears the agents, and makes them run what the rows say.
//!
//! Every controller hears everything ([`listen`]) and keeps the same picture in memory ([`state`]),
//! so that each can answer the API. Only the leader acts: one loop ([`dispatcher`]) wakes up on a
//! nudge, on the bus or by the clock, reads the facts after its cursor and the rows again, asks
//! the pure planners of `domain/`, and carries their actions out.
//!
//! ```text
//!   API commits ─► fact ─► nudge ┐
//!   heartbeats, exits, ads ──────┼─► dispatcher ─► plan ─► place ─► dea.{id}.start, dea.stop, dea.update
//!   health manager's requests ───┤        ├─► rolling   (deployments)
//!   clock ───────────────────────┘        ├─► staging   (builds, one unit each)
//!                                          └─► tasks     (one-off tasks)
//! ```
//!
//! What a newcomer gets wrong: a wake-up carries no meaning, the rows do; an action that fails is
//! not retried where it failed but planned again in the next round; and while the bus is away
//! nothing is planned at all, because what is seen ages without anybody's fault.

mod acme;
mod certificates;
mod challenges;
mod clock;
mod commands;
mod completed;
mod components;
pub(crate) mod crashes;
mod decisions;
mod dispatcher;
mod drains;
mod entries;
mod launch;
mod listen;
mod mishaps;
mod nodes;
mod rolling;
mod routers;
mod sleepers;
mod staging;
mod state;
mod status;
pub(crate) mod tasks;
mod traffic;

use crate::blobs::Blobs;
use crate::domain::observed::{IndexState, IndexStats, ProcessScope};
use crate::domain::placement::PlacementRequest;
use crate::store::{Store, StoreError, Tx, leadership};
use crate::vault::Vault;
use challenges::Challenges;
use clock::Clock;
use daemon::seals::Seals;
use daemon::{Bus, Cluster, Deps, LogSender, Supervisor};
use proto::api::{RouterCertificate, RouterTable};
use proto::bus::dea::Drain;
use proto::bus::stream::{LogLine, TaskExited};
use proto::config::Settings;
use proto::ids::{ComponentId, DeaId, ProcessGuid, StagerQueue, Version};
use state::State;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};

pub use challenges::FOLDER as CHALLENGES;
pub use drains::NotTold;

/// Name of the leadership and of its fence in the store.
pub const LEADERSHIP: &str = "controller";

/// What the runtime must know of its surroundings.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Address of the API for apps (`cf_api`).
    pub public_url: String,
    /// `host:port` at which components reach this controller.
    pub advertise: String,
    pub bulk_user: String,
    pub bulk_password: String,
    pub stager_queue: StagerQueue,
    /// Opens the credentials of services.
    pub vault: Vault,
    /// The cluster's own domain.
    pub domain: String,
    /// Seals certificates for the routers. None: none are ordered.
    pub certificate_seals: Option<Arc<Seals>>,
}

/// The working half. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

/// What every part of the runtime stands on.
struct Shared {
    store: Store,
    blobs: Blobs,
    bus: Bus,
    cluster: Cluster,
    settings: watch::Receiver<Arc<Settings>>,
    /// `Some(epoch)` while this controller leads.
    epoch: watch::Receiver<Option<i64>>,
    component: ComponentId,
    config: RuntimeConfig,
    clock: Clock,
    tasks: Supervisor,
    logs: LogSender,
    state: Mutex<State>,
    /// Wakes the dispatcher.
    wake: Notify,
    /// Something seen may matter to the plan.
    dirty: AtomicBool,
    /// Wakes whoever tells the other controllers.
    committed: Notify,
    challenges: Challenges,
    /// A router holds requests for an app that sleeps.
    wishes: Notify,
    /// Reports handled at once: each writes to the store.
    reports: Arc<Semaphore>,
}

impl Runtime {
    /// Listens, campaigns, and acts when it leads.
    pub async fn start(
        store: Store,
        blobs: Blobs,
        deps: &Deps,
        config: RuntimeConfig,
    ) -> anyhow::Result<Runtime> {
        let shared = Arc::new(Shared {
            store,
            blobs,
            bus: deps.bus.clone(),
            cluster: deps.cluster.clone(),
            settings: deps.cluster.settings(),
            epoch: deps
                .cluster
                .campaign(LEADERSHIP, &deps.component, &deps.tasks),
            component: deps.component.clone(),
            config,
            clock: Clock::start(),
            tasks: deps.tasks.clone(),
            logs: LogSender::start(deps),
            state: Mutex::new(State::default()),
            wake: Notify::new(),
            dirty: AtomicBool::new(true),
            committed: Notify::new(),
            challenges: Challenges::default(),
            wishes: Notify::new(),
            reports: Arc::new(Semaphore::new(64)),
        });
        listen::start(&shared).await;
        deps.tasks.keep("dispatcher", &shared, dispatcher::run);
        deps.tasks
            .keep("facts-announcer", &shared, dispatcher::announce_facts);
        deps.tasks.keep("watch-nodes", &shared, nodes::watch);
        deps.tasks.keep("watch-drains", &shared, drains::watch);
        deps.tasks.keep("watch-mishaps", &shared, mishaps::watch);
        deps.tasks.keep("watch-traffic", &shared, traffic::watch);
        deps.tasks.keep("watch-sleepers", &shared, sleepers::watch);
        deps.tasks
            .keep("certificates", &shared, certificates::watch);
        let counting = shared.clone();
        deps.varz(move || status::counters(&counting));
        Ok(Runtime { shared })
    }

    /// Call it after each commit that appended a fact: wakes the leader, here or elsewhere.
    pub fn nudge(&self) {
        self.shared.nudge();
    }

    /// What is seen of each index of a process. An index on its way shows as starting, one that
    /// waits for room as down with the reason.
    pub fn stats(
        &self,
        process: &ProcessGuid,
        version: &Version,
        instances: u32,
    ) -> Vec<IndexStats> {
        let state = self.shared.state();
        let scope = ProcessScope {
            process,
            version,
            instances,
        };
        let mut stats = state.picture.observed.stats(&scope, clock::unix_seconds());
        let waiting = state.picture.waiting.get(process);
        for one in &mut stats {
            match one.state {
                IndexState::Running | IndexState::Starting => continue,
                IndexState::Down | IndexState::Crashed => {}
            }
            if state
                .picture
                .ledger
                .in_flight(process, version, one.index)
                .is_some()
            {
                one.state = IndexState::Starting;
            } else if one.state == IndexState::Down
                && let Some(wait) = waiting.and_then(|waiting| waiting.get(&one.index))
            {
                one.details = Some(wait.reason.clone());
            }
        }
        stats
    }

    /// Why no agent could ever hold such an instance. Says nothing before every agent was heard: a
    /// larger one may be among the others.
    pub fn never_fits(&self, request: &PlacementRequest) -> Option<String> {
        let (now, fresh) = (self.shared.clock.now(), self.shared.advertisement_ttl());
        let state = self.shared.state();
        if !state.picture.is_warm(now, fresh) {
            return None;
        }
        let refusal = state.picture.pool.never(request, now, fresh);
        refusal.map(|refusal| refusal.to_string())
    }

    /// Why instances of a process are not placed.
    pub fn waiting(&self, process: &ProcessGuid) -> Option<String> {
        self.shared.state().picture.waiting_reason(process)
    }

    /// A line into the log stream of an app, from the API.
    pub fn log(&self, app: &str, text: &str) {
        self.shared.log(app, proto::log::SOURCE_API, false, text);
    }

    /// An agent tells how a task of an app ended. When this returns Ok it is on disk, or there is no
    /// such task (false).
    pub async fn task_ended(&self, exited: &TaskExited) -> Result<bool, StoreError> {
        tasks::exited(&self.shared, exited).await
    }

    /// Tells an agent to be emptied (true) or to take work again; how far it is then.
    pub async fn drain(&self, dea: &DeaId, on: bool) -> Result<Option<Drain>, NotTold> {
        drains::tell(&self.shared, dea, on).await
    }

    /// Agents, leader, and what waits for what.
    pub async fn status(&self) -> serde_json::Value {
        status::document(&self.shared).await
    }

    /// What each router knows of routes; see [`routers::tables`].
    pub async fn router_tables(&self, host: Option<&str>, most: usize) -> Vec<RouterTable> {
        routers::tables(&self.shared, host, most).await
    }

    /// The certificates of the routers' entrances, those that are wanted too.
    pub async fn certificates(&self) -> Result<Vec<RouterCertificate>, StoreError> {
        certificates::list(&self.shared).await
    }

    /// What an authority that asks for this token is answered.
    pub fn challenge(&self, token: &str) -> Option<String> {
        self.shared.challenges.answer(token)
    }

    /// `Some(epoch)` while this controller leads.
    pub fn epoch(&self) -> watch::Receiver<Option<i64>> {
        self.shared.epoch.clone()
    }

    pub fn leads(&self) -> bool {
        self.shared.epoch.borrow().is_some()
    }

    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    pub fn config(&self) -> &RuntimeConfig {
        &self.shared.config
    }
}

impl Shared {
    /// Begins a transaction that commits only while no later leader has begun.
    async fn write_as_leader(&self, operation: &'static str, epoch: i64) -> Result<Tx, StoreError> {
        let mut tx = self.store.write(operation).await?;
        leadership::fence(&mut tx, LEADERSHIP, epoch).await?;
        Ok(tx)
    }

    /// The picture in memory. Never held across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn settings(&self) -> Arc<Settings> {
        self.settings.borrow().clone()
    }

    fn connected(&self) -> bool {
        self.bus.status().borrow().connected
    }

    /// A fact was committed.
    fn nudge(&self) {
        self.wake.notify_one();
        self.committed.notify_one();
    }

    /// Something was seen that the plan should know of.
    fn seen(&self) {
        self.dirty.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// How old an advertisement may be to count.
    fn advertisement_ttl(&self) -> Duration {
        let period = self.settings().duration("dea/advertise/period");
        proto::timing::ADVERTISEMENT_TTL.max(period.mul_f64(2.5))
    }

    /// After this long without a heartbeat an agent is lost.
    fn lost_after(&self) -> Duration {
        self.settings().duration("health-manager/agent/lost_after")
    }

    /// Whether an agent was not heard of for that long, though the bus was there.
    fn is_lost(&self, dea: &DeaId) -> bool {
        let (seen, lost_after) = (self.clock.now(), self.lost_after());
        let state = self.state();
        let listened = state
            .picture
            .connected_since
            .is_some_and(|since| seen.saturating_sub(since) > lost_after);
        let is_silent = || {
            state.picture.observed.agent(dea).is_none()
                && state
                    .picture
                    .pool
                    .view(seen)
                    .iter()
                    .all(|agent| agent.id != *dea || agent.age > lost_after)
        };
        listened && is_silent()
    }

    /// A line into the log stream of an app.
    fn log(&self, app: &str, source_type: &str, stderr: bool, text: &str) {
        self.logs.send(LogLine {
            timestamp: clock::unix_nanos(),
            source: app.to_string(),
            instance: "0".to_string(),
            source_type: source_type.to_string(),
            stderr,
            payload: text.as_bytes().to_vec(),
            tags: HashMap::new().into_iter().collect(),
        });
    }
}
