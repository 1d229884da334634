//! What is remembered of each version of a process: why an index is missing, how often it crashed,
//! what was asked for. Lives in memory only: after a restart of the health manager the controller's
//! records bring the crashes back ([`World::recall`](super::world::World::recall)), so that a back-off
//! goes on where it was; other reasons are unknown, so the grace applies.

use super::Millis;
use super::crashes::{Crash, Crashes};
use super::policy::Policy;
use proto::ids::{InstanceId, ProcessGuid, Version};
use std::collections::BTreeMap;

/// Why no instance holds an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingReason {
    /// Nobody said.
    Unknown,
    /// `droplet.exited` or a heartbeat said that it crashed.
    Crashed,
    /// Its agent shuts down.
    AgentShutdown,
    /// Its agent is being emptied.
    AgentEvacuation,
    /// Its agent is silent.
    AgentLost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    pub since: Millis,
    pub why: MissingReason,
}

/// A request that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub last: Millis,
    pub times: u32,
}

impl Asked {
    pub fn again(before: Option<Asked>, now: Millis) -> Asked {
        Asked {
            last: now,
            times: before.map_or(1, |before| before.times.saturating_add(1)),
        }
    }
}

/// One index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexMemory {
    pub missing: Option<Missing>,
    pub crashes: Crashes,
    pub asked: Option<Asked>,
}

/// One version of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionMemory {
    pub indices: BTreeMap<u32, IndexMemory>,
    /// Stops asked for.
    pub stops: BTreeMap<InstanceId, Asked>,
    /// When anything here changed last.
    pub touched: Millis,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    pub versions: BTreeMap<(ProcessGuid, Version), VersionMemory>,
}

/// What an exit or a loss said.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    pub instance: InstanceId,
    pub index: u32,
    pub why: MissingReason,
    /// How long it had been RUNNING, if it was seen.
    pub ran: Option<Millis>,
    /// When it happened: on our clock, and in Unix seconds.
    pub at: Millis,
    pub unix: f64,
}

impl Ending {
    pub fn crash(&self, policy: &Policy) -> Crash {
        Crash {
            instance: self.instance.clone(),
            unix: (self.unix * 1000.0) as i64,
            ran_well: self.ran.is_some_and(|ran| ran >= policy.reset_after),
        }
    }
}

impl Memory {
    pub fn of(&self, process: &ProcessGuid, version: &Version) -> Option<&VersionMemory> {
        // A tuple key is looked up by value; ids are short.
        self.versions.get(&(process.clone(), version.clone()))
    }

    pub fn of_mut(
        &mut self,
        process: &ProcessGuid,
        version: &Version,
        now: Millis,
    ) -> &mut VersionMemory {
        let memory = self
            .versions
            .entry((process.clone(), version.clone()))
            .or_default();
        memory.touched = now;
        memory
    }

    /// An instance is gone.
    pub fn ended(
        &mut self,
        process: &ProcessGuid,
        version: &Version,
        ending: &Ending,
        now: Millis,
        policy: &Policy,
    ) {
        let index = self
            .of_mut(process, version, now)
            .indices
            .entry(ending.index)
            .or_default();
        index.asked = None;
        index.missing = Some(Missing {
            since: now,
            why: ending.why,
        });
        if ending.why == MissingReason::Crashed {
            index.crashes.add(ending.crash(policy), ending.at);
        }
    }
}
