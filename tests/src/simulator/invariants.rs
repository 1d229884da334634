//! What must hold after every step, judged from what really happened and never from what a component
//! believes.

use super::Millis;
use super::agent::{Cause, Slot, Truth};
use super::apps::{Apps, owner};
use dea::domain::epoch::Command;
use proto::bus::dea::StopInstances;
use proto::ids::InstanceId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How long a fault may show afterwards: an agent is lost after 30 s, a second one is planned after a
/// grace of 30 s, asked again within 60 s, and what was late may be late twice.
const AFTERMATH: Millis = 180_000;
/// An order to stop that shows no effect for so long was lost: it is given again.
const TOLD_AGAIN: Millis = 10_000;
/// An instance counts as running for its stoppers that long after it was last seen.
const SEEN_LATELY: Millis = 60_000;
/// Most starts of one index of one version within [`STORM_SPAN`]: the first, three restarts at once, and
/// as many again for starts that were lost on their way.
const STORM: usize = 8;
const STORM_SPAN: Millis = 30_000;

/// What broke, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub at: Millis,
    pub what: String,
}

#[derive(Debug, Clone)]
struct Life {
    slot: Slot,
    agent: usize,
    address: String,
    healthy: bool,
    /// It is being stopped.
    stopping: bool,
    /// When it was last told to stop.
    told: Option<Millis>,
}

impl Life {
    /// It is being stopped, or the order to do so is on its way.
    fn is_leaving(&self, now: Millis) -> bool {
        let told = self
            .told
            .is_some_and(|at| now.saturating_sub(at) < TOLD_AGAIN);
        self.stopping || told
    }
}

#[derive(Default)]
pub struct Invariants {
    lives: BTreeMap<InstanceId, Life>,
    slots: BTreeMap<Slot, BTreeSet<InstanceId>>,
    /// When a healthy instance of a slot ended last.
    last_healthy: BTreeMap<Slot, Millis>,
    /// Ids that ended, and may not begin again.
    over: BTreeSet<InstanceId>,
    starts: BTreeMap<Slot, VecDeque<Millis>>,
    /// Which program listens at an address.
    at: BTreeMap<String, InstanceId>,
    /// The newest command of each kind that an agent followed, since its machine was new.
    obeyed: BTreeMap<(usize, Command), i64>,
    /// Agents that are being emptied: what runs there is replaced.
    emptied: BTreeSet<usize>,
    /// When a process of an agent began: it does not know which ports were in use just before.
    began: BTreeMap<usize, Millis>,
    agent_trouble: BTreeMap<usize, Millis>,
    core_trouble: Option<Millis>,
    pub extras_explained: u64,
    pub started: u64,
    pub stopped: u64,
}

impl Invariants {
    pub fn trouble_with_agent(&mut self, agent: usize, now: Millis) {
        self.agent_trouble.insert(agent, now);
    }

    /// A controller, a health manager or all of the bus.
    pub fn trouble_in_the_core(&mut self, now: Millis) {
        self.core_trouble = Some(now);
    }

    fn is_troubled(&self, agent: usize, now: Millis) -> bool {
        let recent = |at: Option<&Millis>| at.is_some_and(|at| now.saturating_sub(*at) < AFTERMATH);
        recent(self.agent_trouble.get(&agent)) || recent(self.core_trouble.as_ref())
    }

    /// Whether an agent is being emptied.
    pub fn emptied(&mut self, agent: usize, emptied: bool, now: Millis) {
        if emptied {
            self.emptied.insert(agent);
        } else if self.emptied.remove(&agent) {
            self.trouble_with_agent(agent, now);
        }
    }

    /// A process of the agent begins.
    pub fn agent_began(&mut self, agent: usize, now: Millis) {
        self.began.insert(agent, now);
    }

    /// The agent's machine is another one.
    pub fn machine_is_new(&mut self, agent: usize) {
        self.obeyed.retain(|(which, _), _| *which != agent);
    }

    /// The program that listens at an address.
    pub fn program_at(&self, address: &str) -> Option<&InstanceId> {
        self.at.get(address)
    }

    pub fn address_of(&self, instance: &InstanceId) -> Option<String> {
        self.lives.get(instance).map(|life| life.address.clone())
    }

    /// A router knows these names for an address. Whoever listens there must be theirs.
    pub fn leads_to(&self, names: &[String], address: &str) -> Result<(), String> {
        let Some(life) = self.at.get(address).and_then(|id| self.lives.get(id)) else {
            return Ok(());
        };
        let process = life.slot.process.as_str();
        match names.iter().find(|name| owner(name) != Some(process)) {
            None => Ok(()),
            Some(name) => Err(format!(
                "{name} leads to {address}, where a program of {process} listens"
            )),
        }
    }

    /// A router forgot an endpoint: what is healthy and could tell so all the time must not be forgotten.
    pub fn forgotten(&self, name: &str, address: &str, now: Millis) -> Result<(), String> {
        let life = self.at.get(address).and_then(|id| self.lives.get(id));
        let lives = life.filter(|life| {
            life.healthy
                && !life.is_leaving(now)
                && owner(name) == Some(life.slot.process.as_str())
                && !self.is_troubled(life.agent, now)
        });
        match lives {
            None => Ok(()),
            Some(life) => Err(format!(
                "{address} of {name}, a healthy instance on agent {}: nothing explains it",
                life.agent
            )),
        }
    }

    /// Whether nothing but the beginning of its agent's process explains what an address was before.
    pub fn is_anew(&self, agent: usize, now: Millis) -> bool {
        let began = self.began.get(&agent);
        began.is_some_and(|at| now.saturating_sub(*at) < AFTERMATH)
    }

    pub fn truth(&mut self, agent: usize, truth: Truth, now: Millis) -> Result<(), String> {
        match truth {
            Truth::Begun {
                instance,
                slot,
                address,
            } => self.begun(agent, instance, slot, address, now),
            Truth::Ordered { instance } => {
                if let Some(life) = self.lives.get(&instance) {
                    self.at.insert(life.address.clone(), instance);
                }
                Ok(())
            }
            Truth::Obeyed { command, epoch } => {
                let newest = self.obeyed.entry((agent, command)).or_insert(epoch);
                if epoch < *newest {
                    return Err(format!(
                        "agent {agent} follows a {command:?} of epoch {epoch}, after one of epoch {newest}"
                    ));
                }
                *newest = epoch;
                Ok(())
            }
            Truth::Healthy { instance } => {
                if let Some(life) = self.lives.get_mut(&instance) {
                    life.healthy = true;
                }
                Ok(())
            }
            Truth::Stopping { instance, cause } => {
                if let Some(life) = self.lives.get_mut(&instance) {
                    life.stopping = true;
                }
                match cause {
                    Cause::Told | Cause::AgentShutdown | Cause::Unhealthy => Ok(()),
                    Cause::Unknown => Err(format!(
                        "{instance} is ended by its agent, and nobody said so"
                    )),
                }
            }
            Truth::Over { instance } => {
                if let Some(life) = self.lives.remove(&instance) {
                    if life.healthy {
                        self.last_healthy.insert(life.slot.clone(), now);
                    }
                    if let Some(ids) = self.slots.get_mut(&life.slot) {
                        ids.remove(&instance);
                    }
                    if self.at.get(&life.address) == Some(&instance) {
                        self.at.remove(&life.address);
                    }
                    self.over.insert(instance);
                }
                Ok(())
            }
        }
    }

    fn begun(
        &mut self,
        agent: usize,
        instance: InstanceId,
        slot: Slot,
        address: String,
        now: Millis,
    ) -> Result<(), String> {
        if let Some(other) = self.lives.get(&instance) {
            return Err(format!(
                "{instance} is begun on agent {agent} while it runs on agent {}",
                other.agent
            ));
        }
        if self.over.contains(&instance) && !self.is_troubled(agent, now) {
            return Err(format!("{instance} is begun a second time"));
        }
        let held: Vec<(InstanceId, usize)> = self
            .slots
            .get(&slot)
            .into_iter()
            .flatten()
            .filter_map(|id| {
                let life = self.lives.get(id)?;
                let stays = !life.is_leaving(now) && !self.emptied.contains(&life.agent);
                stays.then(|| (id.clone(), life.agent))
            })
            .collect();
        for (other, holder) in held {
            if !self.is_troubled(holder, now) && !self.is_troubled(agent, now) {
                return Err(format!(
                    "{instance} is begun on agent {agent} at index {} of {}, where {other} runs on agent {holder}: nothing explains it",
                    slot.index, slot.process
                ));
            }
            self.extras_explained += 1;
        }
        let starts = self.starts.entry(slot.clone()).or_default();
        starts.push_back(now);
        while starts
            .front()
            .is_some_and(|at| now.saturating_sub(*at) > STORM_SPAN)
        {
            starts.pop_front();
        }
        if starts.len() > STORM {
            return Err(format!(
                "index {} of {} was started {} times within {} s",
                slot.index,
                slot.process,
                starts.len(),
                STORM_SPAN / 1000
            ));
        }
        self.started += 1;
        self.slots
            .entry(slot.clone())
            .or_default()
            .insert(instance.clone());
        self.lives.insert(
            instance,
            Life {
                slot,
                agent,
                address,
                healthy: false,
                stopping: false,
                told: None,
            },
        );
        Ok(())
    }

    /// A controller tells instances to stop. What is wanted is stopped only if another one runs there.
    pub fn stop_sent(
        &mut self,
        stop: &StopInstances,
        apps: &Apps,
        now: Millis,
    ) -> Result<(), String> {
        for instance in stop.instances.iter().flatten() {
            let Some(life) = self.lives.get(instance).cloned() else {
                continue;
            };
            self.stopped += 1;
            let wanted = apps.rows.get(&life.slot.process).is_some_and(|row| {
                row.run && row.version == life.slot.version && life.slot.index < row.instances
            });
            if wanted {
                let another = self.slots.get(&life.slot).into_iter().flatten().any(|id| {
                    id != instance
                        && self
                            .lives
                            .get(id)
                            .is_some_and(|other| other.healthy && !other.is_leaving(now))
                });
                let lately = self
                    .last_healthy
                    .get(&life.slot)
                    .is_some_and(|at| now.saturating_sub(*at) < SEEN_LATELY);
                if !another && !lately {
                    return Err(format!(
                        "{instance} is told to stop, and it is the only one at index {} of {}, which is wanted",
                        life.slot.index, life.slot.process
                    ));
                }
            }
            if let Some(life) = self.lives.get_mut(instance) {
                life.told = Some(now);
            }
        }
        Ok(())
    }

    /// What differs between what runs and what is wanted; `None`: nothing.
    pub fn difference(&self, apps: &Apps) -> Option<String> {
        for (process, row) in &apps.rows {
            for index in 0..if row.run { row.instances } else { 0 } {
                let slot = Slot {
                    process: process.clone(),
                    version: row.version.clone(),
                    index,
                };
                let here: Vec<&Life> = self
                    .slots
                    .get(&slot)
                    .into_iter()
                    .flatten()
                    .filter_map(|id| self.lives.get(id))
                    .collect();
                match here.as_slice() {
                    [one] if one.healthy => {}
                    [_] => return Some(format!("index {index} of {process} is not healthy")),
                    [] => return Some(format!("index {index} of {process} is missing")),
                    more => {
                        return Some(format!(
                            "{} instances at index {index} of {process}",
                            more.len()
                        ));
                    }
                }
            }
        }
        self.lives.iter().find_map(|(instance, life)| {
            let wanted = apps.rows.get(&life.slot.process).is_some_and(|row| {
                row.run && row.version == life.slot.version && life.slot.index < row.instances
            });
            (!wanted).then(|| {
                format!(
                    "{instance} at index {} of {} is not wanted",
                    life.slot.index, life.slot.process
                )
            })
        })
    }
}
