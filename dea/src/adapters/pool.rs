//! Prealloc: sandboxes that wait prepared, by what [`crate::domain::pool`] decides.
//!
//! ```text
//!   start ─▶ take ──(one of its shape waits)──▶ assign, mount, order
//!              │ note the demand     └─(none)─▶ prepare, as without a pool
//!              ▼
//!   loop: plan ─▶ discard, prepare one; again until it has nothing to do
//! ```
//!
//! What waits is in the table, under the same lock as everything that is admitted: taking one and giving
//! it up for room exclude each other. It carries no label. So an agent that comes back removes what its
//! predecessor had prepared, as it removes what was being prepared ([`super::adoption`]); what was taken and not
//! labelled yet goes the same way, and cannot be taken a second time.

use super::agent::{Agent, Holder, Table};
use super::automation::{ahead, making};
use super::chain;
use super::droplets::DropletUse;
use super::machine;
use crate::domain::capacity::{self, Claim, Hold, Resources};
use crate::domain::pool::{self, Because, Demand, Failures, Kind, Next, Shape, View, Waits};
use crate::sandbox::{Prepare, Sandbox, SandboxError, SandboxLimits};
use daemon::Shutdown;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How often it is looked at without a reason.
const LOOK: Duration = Duration::from_secs(1);
/// Most open files of what is prepared; who wants more is not served from the pool.
pub const FILES: u64 = 16384;
/// Of an instance's sandbox while it waits: there is only the init in it.
const WAITING: SandboxLimits = SandboxLimits {
    memory_mb: 64,
    disk_mb: 0,
    cpu_shares: 64,
    pids: 64,
    fds: FILES,
};

/// A sandbox that waits.
pub struct Ready {
    pub shape: Shape,
    pub sandbox: Sandbox,
    /// The libraries of all packs that are shown in it.
    pub base: Option<DropletUse>,
}

#[derive(Default)]
pub struct Pool {
    ready: BTreeMap<String, Ready>,
    /// Given up, and still to be removed.
    leaving: Vec<(Sandbox, Because)>,
    demand: Demand,
    /// Where libraries of all packs were said to be, the last ones by their checksum.
    base: Option<(String, String)>,
    failures: Failures,
    starting: usize,
    last_start: Option<Duration>,
    /// One is being made or removed.
    at_work: bool,
    /// Starts that were served and that were not, each kind.
    taken: BTreeMap<Kind, u64>,
    missed: BTreeMap<Kind, u64>,
    /// Why none is made, as it was last said.
    waits: Option<Waits>,
    changed: Arc<Notify>,
}

impl Pool {
    pub fn claims(&self) -> impl Iterator<Item = Claim<Holder>> {
        self.ready.iter().map(|(id, ready)| Claim {
            key: Holder::Prepared(id.clone()),
            limits: ready.shape.holds(),
            hold: Hold::Prepared,
        })
    }

    /// This one gives way.
    pub fn give_up(&mut self, id: &str) {
        if let Some(ready) = self.ready.remove(id) {
            self.leaving.push((ready.sandbox, Because::RoomIsShort));
            self.changed.notify_one();
        }
    }

    /// Makes the loop plan anew at once.
    pub fn look(&self) {
        self.changed.notify_one();
    }

    fn take(&mut self, shape: Shape, is_served: bool, now: Duration) -> Option<Ready> {
        let kind = shape.kind();
        let found = self
            .ready
            .iter()
            .find(|(_, ready)| ready.shape == shape)
            .map(|(id, _)| id.clone());
        self.demand.note(shape);
        self.last_start = Some(now);
        let taken = found.and_then(|id| self.ready.remove(&id));
        if taken.is_some() {
            *self.taken.entry(kind).or_default() += 1;
            metrics::counter!("dea_pool_taken_total", "kind" => kind.name()).increment(1);
            self.changed.notify_one();
        } else if is_served {
            *self.missed.entry(kind).or_default() += 1;
            metrics::counter!("dea_pool_missed_total", "kind" => kind.name()).increment(1);
        }
        taken
    }

    /// What was taken and not used after all.
    pub fn put_back(&mut self, ready: Option<Ready>) {
        if let Some(ready) = ready {
            let id = ready.sandbox.id().to_string();
            self.ready.insert(id, ready);
        }
    }

    /// The libraries of all packs, as somebody just told.
    pub fn heard_of_base(&mut self, sha256: &str, url: &str) {
        self.base = Some((sha256.to_string(), url.to_string()));
    }

    pub fn base_url(&self, sha256: &str) -> String {
        let known = self.base.as_ref().filter(|(known, _)| known == sha256);
        known.map(|(_, url)| url.clone()).unwrap_or_default()
    }

    /// Nothing waits and nothing is on its way, in or out.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.leaving.is_empty() && !self.at_work
    }

    fn count(&self, kind: Kind) -> usize {
        let of_kind = |ready: &&Ready| ready.shape.kind() == kind;
        self.ready.values().filter(of_kind).count()
    }

    /// For the status page: of each kind what waits, and which starts it served.
    pub fn shown(&self) -> Value {
        let of = |kind: Kind| {
            let disks = self
                .ready
                .values()
                .filter(|ready| ready.shape.kind() == kind);
            let disks: Vec<u64> = disks.map(|ready| ready.shape.disk_mb()).collect();
            json!({
                "prepared": disks.len(),
                "disks_mb": disks,
                "taken": self.taken.get(&kind).unwrap_or(&0),
                "missed": self.missed.get(&kind).unwrap_or(&0),
            })
        };
        json!({
            "instances": of(Kind::Instance),
            "packs": of(Kind::Pack),
            "waits": self.waits.map(Waits::name),
        })
    }
}

/// A start is under way until this is dropped; nothing is prepared ahead meanwhile.
struct UnderWay<'a>(&'a Agent);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let now = self.0.now().uptime;
        let mut table = self.0.table();
        table.pool.starting = table.pool.starting.saturating_sub(1);
        table.pool.last_start = Some(now);
    }
}

impl Agent {
    /// Makes a sandbox that somebody waits for.
    pub async fn prepare(&self, wish: Prepare) -> Result<Sandbox, SandboxError> {
        self.table().pool.starting += 1;
        let _under_way = UnderWay(self);
        self.engine.prepare(wish).await
    }

    /// A sandbox of this shape that waits, if there is one. In any case it is noted that it was wanted.
    pub fn take_prepared(&self, table: &mut Table, shape: Shape) -> Option<Ready> {
        let is_served = self.pool_size(shape.kind()) > 0;
        table.pool.take(shape, is_served, self.now().uptime)
    }

    /// How many of a kind should wait.
    pub fn pool_size(&self, kind: Kind) -> usize {
        let settings = self.setting();
        let size = match kind {
            Kind::Instance => settings.integer("dea/pool/instances"),
            Kind::Pack => settings.integer("dea/pool/packs"),
        };
        usize::try_from(size).unwrap_or(0)
    }

    /// What should wait, the most urgent in front.
    fn wanted(&self, demand: &Demand) -> Vec<Shape> {
        // What the controller gives an app that does not say.
        let usual_bytes = self.setting().size("controller/apps/default_disk");
        let usual = Shape::Instance {
            disk_mb: usual_bytes.div_ceil(1 << 20),
        };
        let of = |kind, usual| demand.wanted(kind, self.pool_size(kind), usual);
        let mut wanted = of(Kind::Instance, Some(usual));
        wanted.extend(of(Kind::Pack, None));
        wanted
    }
}

/// A taken sandbox that turned out to be of no use.
pub async fn failed(kind: Kind, sandbox: &Sandbox, why: &str) {
    tracing::warn!(
        sandbox = sandbox.id(),
        kind = kind.name(),
        why,
        "a prepared sandbox could not be used and another is made"
    );
    metrics::counter!("dea_pool_failed_total", "kind" => kind.name()).increment(1);
    making::destroy(sandbox).await;
}

pub async fn run(agent: Arc<Agent>, shutdown: Shutdown) -> anyhow::Result<()> {
    let changed = agent.table().pool.changed.clone();
    loop {
        let acted = tokio::select! {
            acted = turn(&agent) => acted,
            () = shutdown.cancelled() => return Ok(()),
        };
        show(&agent);
        if acted {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = changed.notified() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// What a turn of the loop does.
struct Work {
    leaving: Vec<(Sandbox, Because)>,
    prepare: Option<Shape>,
}

/// Plans once and does it; whether there may be more to do.
async fn turn(agent: &Arc<Agent>) -> bool {
    let left = machine::left(&agent.folder).unwrap_or_else(|error| {
        tracing::warn!(
            error = format!("{error:#}"),
            "what the machine has left cannot be read: nothing is prepared"
        );
        Resources::default()
    });
    let work = decide(agent, left);
    let acted = !work.leaving.is_empty() || work.prepare.is_some();
    for (sandbox, because) in work.leaving {
        metrics::counter!("dea_pool_discarded_total", "because" => because.name()).increment(1);
        making::destroy(&sandbox).await;
    }
    if let Some(shape) = work.prepare {
        let made = make(agent, &shape).await;
        let now = agent.now().uptime;
        let mut table = agent.table();
        match made {
            Ok(ready) => {
                table.pool.failures.worked();
                table
                    .pool
                    .ready
                    .insert(ready.sandbox.id().to_string(), ready);
            }
            Err(why) => {
                metrics::counter!("dea_pool_failed_total", "kind" => shape.kind().name())
                    .increment(1);
                tracing::warn!(?shape, why, "no sandbox could be prepared ahead");
                table.pool.failures.failed(now);
            }
        }
    }
    agent.table().pool.at_work = false;
    acted
}

/// Takes what has to go out of the table; the rest of the plan is done without the lock.
fn decide(agent: &Agent, left: Resources) -> Work {
    let now = agent.now().uptime;
    let offered = agent.offered();
    let _admitting = agent.admitting();
    let mut table = agent.table();
    let wanted = agent.wanted(&table.pool.demand);
    let held = capacity::reserved(&table.claims());
    let draining = table.draining || table.evacuation.is_on();
    let pool = &mut table.pool;
    let prepared: Vec<(String, Shape)> = pool
        .ready
        .iter()
        .map(|(id, ready)| (id.clone(), ready.shape.clone()))
        .collect();
    let view = View {
        wanted: &wanted,
        prepared: &prepared,
        offered,
        held,
        left,
        starting: pool.starting,
        last_start: pool.last_start,
        not_before: pool.failures.until(),
        draining,
    };
    let plan = pool::plan(&view, now);
    for (id, because) in plan.discard {
        if let Some(ready) = pool.ready.remove(&id) {
            pool.leaving.push((ready.sandbox, because));
        }
    }
    let (prepare, waits) = match plan.next {
        Next::Prepare(shape) => (Some(shape), None),
        Next::Full => (None, None),
        Next::Wait(waits) => (None, Some(waits)),
    };
    if std::mem::replace(&mut pool.waits, waits) != waits
        && let Some(waits) = waits
    {
        tracing::debug!(because = waits.name(), "no sandbox is prepared ahead now");
    }
    let leaving = std::mem::take(&mut pool.leaving);
    pool.at_work = prepare.is_some() || !leaving.is_empty();
    Work { leaving, prepare }
}

async fn make(agent: &Arc<Agent>, shape: &Shape) -> Result<Ready, String> {
    let id = format!("ready-{:016x}", rand::random::<u64>());
    match shape {
        Shape::Instance { disk_mb } => {
            let wish = Prepare {
                hostname: id.clone(),
                id,
                stack: "host".to_string(),
                limits: SandboxLimits {
                    disk_mb: *disk_mb,
                    ..WAITING
                },
                host_port: true,
                network: true,
                hosts: vec![],
            };
            let sandbox = agent.engine.prepare(wish).await;
            let sandbox = sandbox.map_err(|error| chain(&error))?;
            if let Err(error) = sandbox.keep_connected().await {
                making::destroy(&sandbox).await;
                return Err(chain(&error));
            }
            Ok(Ready {
                shape: shape.clone(),
                sandbox,
                base: None,
            })
        }
        Shape::Pack { disk_mb, base } => {
            let (sandbox, base) = ahead::make(agent, id, *disk_mb, base).await?;
            Ok(Ready {
                shape: shape.clone(),
                sandbox,
                base,
            })
        }
    }
}

fn show(agent: &Agent) {
    let table = agent.table();
    for kind in Kind::BOTH {
        let name = kind.name();
        metrics::gauge!("dea_pool_prepared", "kind" => name).set(table.pool.count(kind) as f64);
        metrics::gauge!("dea_pool_wanted", "kind" => name).set(agent.pool_size(kind) as f64);
    }
}
