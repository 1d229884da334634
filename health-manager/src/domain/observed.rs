//! What runs, as heartbeats and exits told it.
//!
//! A complete heartbeat is the truth about its agent: what it does not name is gone. A partial one
//! is about the instances it names. An agent that is silent for too long is lost, and so are its
//! instances; when it returns, its next beat brings them back.
//!
//! What a newcomer gets wrong: messages overtake each other. A beat that was on its way when the
//! exit happened shows the dead as running, so the ids of the ended are remembered; and the same
//! crash is told twice, by `droplet.exited` and by beats with state CRASHED for up to an hour.

use super::Millis;
use proto::bus::health::{Beat, Heartbeat, InstanceState};
use proto::ids::{DeaId, InstanceId, ProcessGuid, Version};
use std::collections::{BTreeMap, BTreeSet};

/// How long the ids of ended instances are remembered after they were last heard of.
const REMEMBER_ENDED: Millis = 2 * 3600 * 1000;
/// Most of them.
const MAX_ENDED: usize = 200_000;
/// Longest period of heartbeats that is believed, in seconds.
const MAX_PERIOD: f64 = 3600.0;

/// One instance as last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub dea: DeaId,
    pub version: Version,
    pub index: u32,
    pub state: InstanceState,
    /// When it came into this state, on our clock as well as its unix time says; never before it was seen in
    /// another, or not at all: whatever the agent's clock says.
    pub since: Millis,
    /// The same, as the agent said it.
    pub since_unix: f64,
    pub first_seen: Millis,
    pub last_seen: Millis,
}

impl Seen {
    /// It serves or is about to.
    pub fn is_live(&self) -> bool {
        matches!(self.state, InstanceState::Starting | InstanceState::Running)
    }

    pub fn is_running(&self) -> bool {
        self.state == InstanceState::Running
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    pub last_beat: Millis,
    pub last_complete: Option<Millis>,
    /// How often it says to beat.
    pub period: Millis,
    /// What it has, each with the heartbeat that named it last.
    pub instances: BTreeMap<(ProcessGuid, InstanceId), u64>,
}

impl Agent {
    /// How long it may be silent. Where agents beat less often than the setting for their loss
    /// foresees, two beats may be missed: else every agent would be lost and found in turns.
    fn patience(&self, lost_after: Millis) -> Millis {
        lost_after.max(self.period.saturating_mul(5) / 2)
    }
}

/// Something that vanished or crashed, for the memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    pub process: ProcessGuid,
    pub instance: InstanceId,
    pub seen: Seen,
    pub why: LossReason,
    /// When a crash happened, as the beat that tells it says: on our clock, and in Unix seconds.
    pub crashed: Option<(Millis, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossReason {
    /// A complete heartbeat does not name it any more.
    Vanished,
    /// Its agent is silent.
    AgentLost,
    /// A heartbeat says that it crashed.
    Crashed,
}

/// Everything that is seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    pub agents: BTreeMap<DeaId, Agent>,
    pub processes: BTreeMap<ProcessGuid, BTreeMap<InstanceId, Seen>>,
    ended: BTreeMap<InstanceId, Millis>,
    /// Heartbeats taken in so far.
    beats: u64,
}

/// When a beat was heard, and when its agent had last named everything it had.
#[derive(Debug, Clone, Copy)]
struct Heard {
    now: Millis,
    unix: f64,
    complete_before: Millis,
}

/// What a message changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// Processes to plan anew.
    pub processes: BTreeSet<ProcessGuid>,
    pub losses: Vec<Loss>,
    /// An agent that was not known.
    pub new_agent: bool,
}

impl Observed {
    /// Takes in a heartbeat. `unix` is now in unix seconds, to translate the agent's times.
    pub fn heartbeat(&mut self, beat: &Heartbeat, now: Millis, unix: f64) -> Change {
        let complete = beat.is_complete();
        let mut change = Change {
            new_agent: !self.agents.contains_key(&beat.dea),
            ..Change::default()
        };
        let agent = self
            .agents
            .entry(beat.dea.clone())
            .or_insert_with(|| Agent {
                last_beat: now,
                last_complete: None,
                period: 0,
                instances: BTreeMap::new(),
            });
        agent.last_beat = now;
        if let Some(seconds) = beat.yard_period {
            agent.period = (seconds.clamp(0.0, MAX_PERIOD) * 1000.0) as Millis;
        }
        let complete_before = agent.last_complete.unwrap_or(0);
        if complete {
            agent.last_complete = Some(now);
        }
        let mut held = std::mem::take(&mut agent.instances);
        self.beats += 1;
        let heard = Heard {
            now,
            unix,
            complete_before,
        };
        for one in &beat.droplets {
            let key = (one.droplet.clone(), one.instance.clone());
            match self.take_in(&beat.dea, one, &key, heard, &mut change) {
                true => _ = held.insert(key, self.beats),
                false => _ = held.remove(&key),
            }
        }
        let this = self.beats;
        for ((process, instance), _) in held.extract_if(.., |_, by| complete && *by != this) {
            let why = LossReason::Vanished;
            self.lose(process, instance, &beat.dea, why, &mut change);
        }
        if let Some(agent) = self.agents.get_mut(&beat.dea) {
            agent.instances = held;
        }
        change
    }

    /// False: it has ended, whatever the beat says.
    fn take_in(
        &mut self,
        dea: &DeaId,
        one: &Beat,
        key: &(ProcessGuid, InstanceId),
        heard: Heard,
        change: &mut Change,
    ) -> bool {
        let Heard {
            now,
            unix,
            complete_before,
        } = heard;
        let known_end = self
            .ended
            .get_mut(&one.instance)
            .map(|at| *at = now)
            .is_some();
        if known_end && one.state != InstanceState::Crashed {
            return false;
        }
        let age = ((unix - one.state_timestamp).max(0.0) * 1000.0) as Millis;
        let fresh = Seen {
            dea: dea.clone(),
            version: one.version.clone(),
            index: one.index,
            state: one.state,
            since: now.saturating_sub(age).max(complete_before),
            since_unix: one.state_timestamp,
            first_seen: now,
            last_seen: now,
        };
        if one.state == InstanceState::Crashed && !known_end {
            // The beat is the first to tell. What ran until now is in `seen` of the loss.
            let before = self
                .processes
                .get(&key.0)
                .and_then(|all| all.get(&key.1))
                .cloned();
            self.remember_end(&one.instance, now);
            // Not before it was last seen alive, whatever the agent's clock says.
            let alive = before.as_ref().map_or(0, |before| before.last_seen);
            change.losses.push(Loss {
                process: key.0.clone(),
                instance: key.1.clone(),
                seen: before.unwrap_or_else(|| fresh.clone()),
                why: LossReason::Crashed,
                crashed: Some((fresh.since.max(alive), one.state_timestamp)),
            });
        }
        let known = self.processes.get_mut(&key.0);
        match known.and_then(|all| all.get_mut(&key.1)) {
            Some(seen) => {
                if seen.dea != *dea {
                    // An agent that came back under another name brought it along.
                    if let Some(former) = self.agents.get_mut(&seen.dea) {
                        former.instances.remove(key);
                    }
                    seen.dea = dea.clone();
                }
                if seen.state != fresh.state {
                    change.processes.insert(key.0.clone());
                    seen.since = fresh.since.max(seen.last_seen);
                    seen.since_unix = fresh.since_unix;
                }
                seen.state = fresh.state;
                seen.version = fresh.version;
                seen.index = fresh.index;
                seen.last_seen = now;
            }
            None => {
                let all = self.processes.entry(key.0.clone()).or_default();
                all.insert(key.1.clone(), fresh);
                change.processes.insert(key.0.clone());
            }
        }
        true
    }

    /// An instance ended. `None` if that was known already; else what was known of it.
    pub fn exited(
        &mut self,
        process: &ProcessGuid,
        instance: &InstanceId,
        now: Millis,
    ) -> Option<Option<Seen>> {
        let known = self.ended.contains_key(instance);
        self.remember_end(instance, now);
        let seen = self
            .processes
            .get_mut(process)
            .and_then(|all| all.remove(instance));
        if self.processes.get(process).is_some_and(BTreeMap::is_empty) {
            self.processes.remove(process);
        }
        if let Some(seen) = &seen
            && let Some(agent) = self.agents.get_mut(&seen.dea)
        {
            agent.instances.remove(&(process.clone(), instance.clone()));
        }
        (!known).then_some(seen)
    }

    fn lose(
        &mut self,
        process: ProcessGuid,
        instance: InstanceId,
        dea: &DeaId,
        why: LossReason,
        change: &mut Change,
    ) {
        let Some(all) = self.processes.get_mut(&process) else {
            return;
        };
        // Another agent may have brought it since.
        if all.get(&instance).is_none_or(|seen| seen.dea != *dea) {
            return;
        }
        let Some(seen) = all.remove(&instance) else {
            return;
        };
        if all.is_empty() {
            self.processes.remove(&process);
        }
        change.processes.insert(process.clone());
        if seen.state != InstanceState::Crashed {
            change.losses.push(Loss {
                process,
                instance,
                seen,
                why,
                crashed: None,
            });
        }
    }

    /// Gives up agents that are silent for too long, and forgets what ended long ago.
    pub fn sweep(&mut self, now: Millis, lost_after: Millis) -> (Vec<DeaId>, Change) {
        let mut change = Change::default();
        let lost: Vec<DeaId> = self
            .agents
            .iter()
            .filter(|(_, agent)| now.saturating_sub(agent.last_beat) > agent.patience(lost_after))
            .map(|(dea, _)| dea.clone())
            .collect();
        for dea in &lost {
            let Some(agent) = self.agents.remove(dea) else {
                continue;
            };
            for (process, instance) in agent.instances.into_keys() {
                self.lose(process, instance, dea, LossReason::AgentLost, &mut change);
            }
        }
        self.ended
            .retain(|_, at| now.saturating_sub(*at) < REMEMBER_ENDED);
        (lost, change)
    }

    /// Nobody could be heard for a while: silence until now means nothing.
    pub fn excuse_silence(&mut self, now: Millis) {
        for agent in self.agents.values_mut() {
            agent.last_beat = now;
        }
    }

    /// The end of an instance is on record: what is heard of it from now on is old.
    pub fn recall_end(&mut self, instance: &InstanceId, now: Millis) {
        self.remember_end(instance, now);
    }

    fn remember_end(&mut self, instance: &InstanceId, now: Millis) {
        self.ended.insert(instance.clone(), now);
        if self.ended.len() > MAX_ENDED {
            let oldest = self
                .ended
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(id, _)| id.clone());
            if let Some(oldest) = oldest {
                self.ended.remove(&oldest);
            }
        }
    }

    pub fn of(&self, process: &ProcessGuid) -> impl Iterator<Item = (&InstanceId, &Seen)> {
        self.processes.get(process).into_iter().flatten()
    }

    pub fn count(&self, state: InstanceState) -> usize {
        self.processes
            .values()
            .flat_map(BTreeMap::values)
            .filter(|seen| seen.state == state)
            .count()
    }
}
