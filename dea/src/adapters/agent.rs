//! What the parts of the agent share: its table of instances and tasks, and the handles to the
//! world.
//!
//! The table is behind a plain mutex, held for moments and never across a wait. Each instance is
//! *owned* by its unit ([`super::life`]), which alone changes its machine and shows a copy here, so
//! that beats and answers never wait for work. Others reach the unit through a bounded channel of
//! [`Wish`]es.

use crate::Config;
use crate::domain::Now;
use crate::domain::capacity::{self, Claim, Hold, Resources};
use crate::domain::evacuation::Evacuation;
use crate::domain::instance::{Instance, Pace, State, StopCause};
use crate::domain::pack::Warm;
use crate::domain::record::InstanceRecord;
use crate::domain::retention;
use crate::domain::selection::Candidate;
use crate::domain::usage::Reading;
use crate::sandbox::{Engine, Sandbox};
use daemon::{Bus, Cluster, LogSender, Supervisor};
use proto::bus::dea::{InstanceStats, Usage};
use proto::bus::health::{Beat, InstanceState};
use proto::bus::router::RouteTerms;
use proto::config::Settings;
use proto::ids::{DeaId, InstanceId, ProcessGuid};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc, watch};

use super::accepted::Accepted;
use super::automation::notes::Notes;
use super::automation::output::Outputs;
use super::automation::sensors::SensorEntry;
use super::automation::unit::PackCommand;
use super::droplets::Droplets;
use super::epochs::KeptEpochs;
use super::inside::Inside;
use super::pool::Pool;
use super::spool::Spool;
use crate::domain::remembered::Remembered;

/// Ids of ended work that are remembered, so that a repeated command does not start it again.
const REMEMBERED: usize = 4096;
pub struct Agent {
    pub id: DeaId,
    pub config: Config,
    pub folder: PathBuf,
    /// What this machine has.
    pub totals: Resources,
    pub cores: u32,
    pub bus: Bus,
    pub tasks: Supervisor,
    pub engine: Engine,
    pub logs: LogSender,
    pub droplets: Arc<Droplets>,
    pub spool: Spool,
    pub accepted: Accepted,
    /// Executions of actions that have not ended.
    pub notes: Notes,
    pub outputs: Outputs,
    pub inside: Inside,
    pub web: reqwest::Client,
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Held because the settings end with it.
    pub cluster: Cluster,
    pub nudges: Nudges,
    pub clock: Clock,
    pub table: Mutex<Table>,
    /// Held while it is decided whether something fits, until it is in the table.
    pub admission: Mutex<()>,
    /// Held while routers are told about an instance.
    pub routes_in_order: tokio::sync::Mutex<()>,
}

/// "Do it now": each belongs to one loop.
#[derive(Default)]
pub struct Nudges {
    pub beat: Notify,
    pub advertise: Notify,
    pub register: Notify,
    pub report: Notify,
}

/// The agent's time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    /// What the machine's clock said then.
    started_unix: Duration,
}

fn unix_now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

impl Clock {
    pub fn started() -> Clock {
        Clock {
            started: Instant::now(),
            started_unix: unix_now(),
        }
    }

    pub fn now(&self) -> Now {
        Now {
            uptime: self.started.elapsed(),
            unix: unix_now().as_secs_f64(),
        }
    }

    /// Unix time in nanoseconds that never goes back while the process lives, whatever the machine's clock is
    /// set to: what is said later carries a later time.
    pub fn steady_unix_ns(&self) -> i64 {
        let steady = self.started_unix + self.started.elapsed();
        i64::try_from(steady.as_nanos()).unwrap_or(i64::MAX)
    }

    /// When `uptime` will be.
    pub fn at(&self, uptime: Duration) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.started + uptime)
    }
}

#[derive(Default)]
pub struct Table {
    pub instances: BTreeMap<InstanceId, Entry>,
    pub tasks: BTreeMap<String, TaskEntry>,
    /// By the id of their sandbox.
    pub packs: BTreeMap<String, PackEntry>,
    /// Actions that run or are about to, by execution and attempt, with their sandbox.
    pub actions: BTreeMap<(String, u32), String>,
    pub ended_actions: Remembered,
    /// Actions that were told to stop before they came.
    pub stopped_actions: Remembered,
    /// By their refs.
    pub sensors: BTreeMap<String, SensorEntry>,
    /// Newest generation that was told to stop.
    pub stopped_sensors: BTreeMap<String, i64>,
    /// What waits prepared for whoever comes.
    pub pool: Pool,
    pub epochs: KeptEpochs,
    /// The agent ends: no more work is taken.
    pub draining: bool,
    pub evacuation: Evacuation,
    ended: VecDeque<String>,
}

/// What others want of an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    Stop(StopCause),
    Evict,
    /// It has other names now, or the same on other terms.
    Rename(Vec<String>, BTreeMap<String, RouteTerms>),
    /// The agent ends, the instance goes on.
    Leave,
}

/// One instance, as its unit last showed it.
pub struct Entry {
    pub record: InstanceRecord,
    pub machine: Instance,
    pub wishes: mpsc::Sender<Wish>,
    pub sandbox: Option<Sandbox>,
    /// Routers know it.
    pub registered: bool,
    pub reading: Option<Reading>,
    pub usage: Option<Usage>,
}

pub struct TaskEntry {
    pub limits: Resources,
    /// It is told in heartbeats.
    pub of_app: bool,
    /// Takes the reason for an early end.
    pub stop: mpsc::Sender<TaskWish>,
}

/// A pack's sandbox, as its unit and the door see it.
pub struct PackEntry {
    pub warm: Warm,
    /// Actions accepted for it that have not ended.
    pub running: usize,
    /// It takes no more actions.
    pub closing: bool,
    pub commands: mpsc::Sender<PackCommand>,
}

/// Who holds room on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    Instance(InstanceId),
    /// The sandbox of a pack.
    Pack(String),
    /// A sandbox that waits in the pool.
    Prepared(String),
    /// Who cannot be evicted.
    Lasting,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TaskWish {
    Stop(String),
    Leave,
}

impl Table {
    /// An empty one, of an agent that has followed these leaders.
    pub fn of(epochs: KeptEpochs) -> Table {
        Table {
            epochs,
            ..Table::default()
        }
    }

    /// Why no more work is taken; `None`: it is.
    pub fn closed(&self) -> Option<&'static str> {
        if self.draining {
            Some("the agent is shutting down")
        } else if self.evacuation.is_on() {
            Some("the agent is being emptied")
        } else {
            None
        }
    }

    /// What keeps the agent from being empty. The sandboxes of crashed instances do not.
    pub fn left(&self) -> u32 {
        let instances = self
            .instances
            .values()
            .filter(|entry| !matches!(entry.machine.state(), State::Crashed { .. }))
            .count();
        let left = instances + self.tasks.len() + self.actions.len() + self.sensors.len();
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Whether this id runs or ran here.
    pub fn knows(&self, id: &str) -> bool {
        self.ended.iter().any(|ended| ended == id)
            || self.tasks.contains_key(id)
            || InstanceId::new(id).is_ok_and(|id| self.instances.contains_key(&id))
    }

    pub fn ended(&mut self, id: &str) {
        if self.ended.len() >= REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(id.to_string());
    }

    /// Who holds what.
    pub fn claims(&self) -> Vec<Claim<Holder>> {
        let instances = self.instances.iter().map(|(id, entry)| Claim {
            key: Holder::Instance(id.clone()),
            limits: entry.record.limits(),
            hold: match entry.machine.state() {
                State::Crashed { .. } => Hold::Kept {
                    since: entry.machine.since(),
                },
                State::Born
                | State::Starting { .. }
                | State::Running { .. }
                | State::Stopping { .. }
                | State::Stopped => Hold::Live,
            },
        });
        let tasks = self.tasks.values().map(|task| Claim {
            key: Holder::Lasting,
            limits: task.limits,
            hold: Hold::Live,
        });
        let packs = self.packs.values().map(|pack| Claim {
            key: Holder::Pack(pack.warm.id.clone()),
            limits: pack.warm.limits,
            hold: match pack.warm.idle_since {
                Some(since) => Hold::Idle {
                    since: since.as_secs_f64(),
                },
                None => Hold::Live,
            },
        });
        let sensors = self.sensors.values().filter_map(|sensor| {
            Some(Claim {
                key: Holder::Lasting,
                limits: sensor.holds?,
                hold: Hold::Live,
            })
        });
        instances
            .chain(tasks)
            .chain(packs)
            .chain(sensors)
            .chain(self.pool.claims())
            .collect()
    }

    /// Those who give way for what was just admitted.
    pub fn evict(&mut self, evicted: Vec<Holder>) {
        for gone in evicted {
            match gone {
                Holder::Instance(instance) => self.wish(&instance, Wish::Evict),
                Holder::Pack(sandbox) => self.retire(&sandbox, "its room is needed"),
                Holder::Prepared(sandbox) => self.pool.give_up(&sandbox),
                Holder::Lasting => {}
            }
        }
    }

    /// A pack's sandbox takes no more actions and goes when the last has ended.
    pub fn retire(&mut self, sandbox: &str, why: &'static str) {
        let Some(entry) = self.packs.get_mut(sandbox) else {
            return;
        };
        if entry.closing {
            return;
        }
        entry.closing = true;
        if entry.commands.try_send(PackCommand::Retire(why)).is_err() {
            // It is told again with the next look at what is idle.
            entry.closing = false;
            tracing::warn!(sandbox, "the sandbox of a pack takes no more commands");
        }
    }

    /// Crashed instances that a newer crash of the same process makes superfluous.
    pub fn superseded(&self) -> Vec<InstanceId> {
        retention::superseded(
            self.instances
                .iter()
                .filter(|(_, entry)| matches!(entry.machine.state(), State::Crashed { .. }))
                .map(|(id, entry)| {
                    (
                        id.clone(),
                        entry.record.start.droplet.clone(),
                        entry.machine.since(),
                    )
                }),
        )
    }

    /// Tells a unit; a full channel means that it was told plenty.
    pub fn wish(&self, instance: &InstanceId, wish: Wish) {
        if let Some(entry) = self.instances.get(instance)
            && entry.wishes.try_send(wish).is_err()
        {
            tracing::warn!(%instance, "an instance takes no more wishes");
        }
    }

    /// Instances of each process that serve or are about to.
    pub fn counts(&self) -> BTreeMap<ProcessGuid, u32> {
        let mut counts = BTreeMap::new();
        for entry in self.instances.values() {
            match entry.machine.beat_state() {
                Some(
                    InstanceState::Starting | InstanceState::Running | InstanceState::Evacuating,
                ) => {
                    *counts
                        .entry(entry.record.start.droplet.clone())
                        .or_default() += 1;
                }
                Some(InstanceState::Crashed) | None => {}
            }
        }
        counts
    }
}

impl Entry {
    /// As commands and questions name its state.
    pub fn state_name(&self, evacuation: &Evacuation) -> &'static str {
        match self
            .machine
            .beat_state()
            .map(|state| evacuation.seen_as(state))
        {
            Some(InstanceState::Evacuating) => "EVACUATING",
            Some(InstanceState::Starting | InstanceState::Running | InstanceState::Crashed)
            | None => self.machine.name(),
        }
    }

    pub fn candidate(&self, evacuation: &Evacuation) -> Candidate<'_> {
        Candidate {
            droplet: &self.record.start.droplet,
            version: &self.record.start.version,
            instance: &self.record.instance,
            index: self.record.start.index,
            state: self.state_name(evacuation),
        }
    }
}

impl Agent {
    pub fn table(&self) -> MutexGuard<'_, Table> {
        // A panic while the table was held cannot leave it half changed: every change is one insert.
        self.table
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// One decision about room at a time.
    pub fn admitting(&self) -> MutexGuard<'_, ()> {
        self.admission
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn now(&self) -> Now {
        self.clock.now()
    }

    pub fn setting(&self) -> Arc<Settings> {
        self.settings.borrow().clone()
    }

    /// What is offered now.
    pub fn offered(&self) -> Resources {
        let settings = self.setting();
        capacity::offered(
            self.totals,
            settings.number("dea/overcommit/memory"),
            settings.number("dea/overcommit/disk"),
        )
    }

    pub fn pace(&self) -> Pace {
        let settings = self.setting();
        Pace {
            drain: settings.duration("dea/instance/drain"),
            grace: settings.duration("dea/instance/stop_grace"),
        }
    }

    /// Most processes and threads of one sandbox.
    pub fn max_pids(&self) -> u64 {
        u64::try_from(self.setting().integer("dea/instance/max_pids")).unwrap_or(u64::MAX)
    }

    pub fn stats(&self, entry: &Entry) -> InstanceStats {
        let start = &entry.record.start;
        let now = self.now().unix;
        InstanceStats {
            name: start.name.clone(),
            host: self.config.host().to_string(),
            port: entry
                .sandbox
                .as_ref()
                .and_then(Sandbox::host_port)
                .unwrap_or(0),
            uris: entry.record.uris.clone(),
            uptime: (now - entry.record.accepted_at).max(0.0),
            mem_quota: start.limits.mem << 20,
            disk_quota: start.limits.disk << 20,
            fds_quota: start.limits.fds,
            cores: self.cores,
            usage: entry.usage.unwrap_or(Usage {
                time: now,
                ..Usage::default()
            }),
        }
    }

    /// The instance as beats tell it, if they do.
    pub fn beat(&self, entry: &Entry, evacuation: &Evacuation) -> Option<Beat> {
        let state = evacuation.seen_as(entry.machine.beat_state()?);
        let start = &entry.record.start;
        Some(Beat {
            droplet: start.droplet.clone(),
            version: start.version.clone(),
            instance: entry.record.instance.clone(),
            index: start.index,
            state,
            state_timestamp: entry.machine.since(),
            cc_partition: start.cc_partition.clone(),
            yard_stats: (state != InstanceState::Crashed).then(|| self.stats(entry)),
            yard_details: entry
                .machine
                .ending()
                .map(|ending| ending.description.clone()),
        })
    }
}
