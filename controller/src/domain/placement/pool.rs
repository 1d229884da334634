//! The agents known, and what is reserved on them.
//!
//! Agents advertise what they have free. The controller is the only one who places, so it can keep
//! its own account: between the choice and the first advertisement that must include it, the
//! memory and disk of a choice are *reserved* here and taken off what the agent last said. Without
//! that, a burst of starts would all go to the agent that looked emptiest a second ago.
//!
//! ```text
//!   choose ──► reserve ──► (command sent) ──► seen in a heartbeat ──► next advertisement: released
//!                 └──► expired, withdrawn, or the agent said hello anew: released
//! ```
//!
//! What a newcomer gets wrong: an advertisement that arrives after the choice may have been written
//! before it. A reservation therefore outlives advertisements until the agent has *shown* the
//! instance; counting it twice for a moment refuses a little too much, never too little. In the same way
//! an agent that begins to be emptied gets nothing from the order on ([`Pool::drain_ordered`]), or from the
//! first beat that calls an instance EVACUATING, which comes before its goodbye.

use super::roster::{Facts, Roster};
use super::{AgentView, Decision, PlacementRequest, Refusal};
use proto::bus::dea::{Advertisement, Drain, PlacementProperties, Shutdown};
use proto::ids::{DeaId, ProcessGuid};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a reservation is known by: the id of the instance or of the build.
pub type ReservationKey = String;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Reservation {
    dea: DeaId,
    memory_mb: u64,
    disk_mb: u64,
    process: Option<ProcessGuid>,
    expires_at: Duration,
    /// The agent has shown it: its next advertisement includes it.
    seen: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Agent {
    advertisement: Advertisement,
    advertised_at: Duration,
    leaving: bool,
    /// It stays and is being emptied.
    drain: Option<Drain>,
    /// Its heartbeats have stopped: what it advertised is worth nothing.
    lost: bool,
    /// Its last beats called an instance EVACUATING.
    evacuates: bool,
    /// It was told to be emptied, and until then its goodbye may be on the way.
    goodbye_due: Option<Duration>,
    held: Held,
}

/// What is reserved on an agent.
#[derive(Debug, Clone, Default, PartialEq)]
struct Held {
    keys: BTreeSet<ReservationKey>,
    memory_mb: u64,
    disk_mb: u64,
}

impl Agent {
    fn new(advertisement: Advertisement, now: Duration) -> Agent {
        Agent {
            advertisement,
            advertised_at: now,
            leaving: false,
            drain: None,
            lost: false,
            evacuates: false,
            goodbye_due: None,
            held: Held::default(),
        }
    }

    fn free_memory_mb(&self) -> u64 {
        let offered = self.advertisement.available_memory;
        offered.saturating_sub(self.held.memory_mb)
    }

    fn free_disk_mb(&self) -> u64 {
        let offered = self.advertisement.available_disk;
        offered.saturating_sub(self.held.disk_mb)
    }
}

/// The agents known, and what is reserved on them. Times are measured from any fixed moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pool {
    agents: BTreeMap<DeaId, Agent>,
    reservations: BTreeMap<ReservationKey, Reservation>,
    /// The same as choices read it.
    roster: Roster,
}

/// What to hold on an agent until it shows it itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debit {
    pub key: ReservationKey,
    pub dea: DeaId,
    pub memory_mb: u64,
    pub disk_mb: u64,
    /// None: a staging.
    pub process: Option<ProcessGuid>,
    pub expires_at: Duration,
}

impl Pool {
    /// An agent told what it has free. Returns whether it was unknown or has become usable again.
    pub fn advertised(
        &mut self,
        advertisement: Advertisement,
        now: Duration,
        fresh: Duration,
    ) -> bool {
        let id = advertisement.id.clone();
        let appeared = self.agents.get(&id).is_none_or(|known| {
            known.leaving || known.lost || now.saturating_sub(known.advertised_at) > fresh
        });
        self.release_where(&id, |reservation| reservation.seen);
        let mut agent = Agent::new(advertisement, now);
        if let Some(known) = self.agents.get_mut(&id) {
            // It may have been written before the order, or before the beat.
            (agent.evacuates, agent.goodbye_due) = (known.evacuates, known.goodbye_due);
            agent.held = std::mem::take(&mut known.held);
        }
        self.put(id, agent);
        appeared
    }

    /// Takes in what is now known of an agent.
    fn put(&mut self, id: DeaId, agent: Agent) {
        if !self.enter(id.clone(), agent) {
            return;
        }
        for key in self.keys_where(|reservation| reservation.dea == id) {
            self.hold(&key);
        }
    }

    fn keys_where(&self, is_it: impl Fn(&Reservation) -> bool) -> Vec<ReservationKey> {
        let found = self.reservations.iter().filter(|(_, one)| is_it(one));
        found.map(|(key, _)| key.clone()).collect()
    }

    /// True: it was not known, and nothing is held on it yet.
    fn enter(&mut self, id: DeaId, agent: Agent) -> bool {
        let after = agent.advertisement.app_id_to_count.clone();
        let before = self.agents.insert(id.clone(), agent);
        self.show(&id);
        let is_new = before.is_none();
        let before = before.map(|before| before.advertisement.app_id_to_count);
        self.recount(&id, &before.unwrap_or_default(), &after);
        is_new
    }

    fn show(&mut self, dea: &DeaId) {
        let Some(agent) = self.agents.get(dea) else {
            return;
        };
        let ad = &agent.advertisement;
        let facts = Facts {
            id: dea.clone(),
            free_memory_mb: agent.free_memory_mb(),
            free_disk_mb: agent.free_disk_mb(),
            total_memory_mb: ad.yard_total_memory,
            total_disk_mb: ad.yard_total_disk,
            advertised_at: agent.advertised_at,
            leaving: agent.leaving || agent.evacuates,
            leaving_until: agent.goodbye_due,
            lost: agent.lost,
        };
        self.roster
            .write(facts, &ad.placement_properties.zone, &ad.stacks);
    }

    fn recount(
        &mut self,
        dea: &DeaId,
        before: &BTreeMap<ProcessGuid, u32>,
        after: &BTreeMap<ProcessGuid, u32>,
    ) {
        if before == after {
            return;
        }
        for (process, count) in before {
            if !after.contains_key(process) {
                self.roster.count(dea, process, 0, *count);
            }
        }
        for (process, count) in after {
            let former = before.get(process).copied().unwrap_or_default();
            if former != *count {
                self.roster.count(dea, process, *count, former);
            }
        }
    }

    /// Takes a reservation off what its agent has, if that is known.
    fn hold(&mut self, key: &str) {
        let Some(reservation) = self.reservations.get(key) else {
            return;
        };
        let dea = reservation.dea.clone();
        let Some(agent) = self.agents.get_mut(&dea) else {
            return;
        };
        if agent.held.keys.insert(key.to_owned()) {
            agent.held.memory_mb = agent.held.memory_mb.saturating_add(reservation.memory_mb);
            agent.held.disk_mb = agent.held.disk_mb.saturating_add(reservation.disk_mb);
            if let Some(process) = &reservation.process {
                self.roster.count(&dea, process, 1, 0);
            }
        }
        self.show(&dea);
    }

    fn release(&mut self, key: &str) {
        let Some(reservation) = self.reservations.remove(key) else {
            return;
        };
        let dea = &reservation.dea;
        if let Some(agent) = self.agents.get_mut(dea)
            && agent.held.keys.remove(key)
        {
            agent.held.memory_mb = agent.held.memory_mb.saturating_sub(reservation.memory_mb);
            agent.held.disk_mb = agent.held.disk_mb.saturating_sub(reservation.disk_mb);
            if let Some(process) = &reservation.process {
                self.roster.count(dea, process, 0, 1);
            }
        }
        self.show(dea);
    }

    fn release_where(&mut self, dea: &DeaId, is_it: impl Fn(&Reservation) -> bool) {
        let held = self.agents.get(dea).into_iter();
        let keys: Vec<ReservationKey> = held
            .flat_map(|agent| &agent.held.keys)
            .filter(|key| self.reservations.get(*key).is_some_and(&is_it))
            .cloned()
            .collect();
        for key in keys {
            self.release(&key);
        }
    }

    /// Changes what is known of an agent; false: it is not known.
    fn change(&mut self, dea: &DeaId, change: impl FnOnce(&mut Agent)) -> bool {
        let known = self.agents.get_mut(dea).map(change).is_some();
        self.show(dea);
        known
    }

    /// An agent came up anew: what was on its way to its predecessor never arrived.
    pub fn came_up(&mut self, dea: &DeaId) {
        self.release_where(dea, |_| true);
        self.change(dea, |agent| {
            (agent.evacuates, agent.goodbye_due) = (false, None);
        });
    }

    /// An agent is told to be emptied; its goodbye is awaited until `due`. None: it is to take work, or was not
    /// reached. False: it is not known.
    pub fn drain_ordered(&mut self, dea: &DeaId, due: Option<Duration>) -> bool {
        self.change(dea, |agent| agent.goodbye_due = due)
    }

    /// Whether the beats of an agent call an instance EVACUATING.
    pub fn evacuates(&mut self, dea: &DeaId, evacuates: bool) {
        let changes = self
            .agents
            .get(dea)
            .is_some_and(|agent| agent.evacuates != evacuates);
        if changes {
            self.change(dea, |agent| agent.evacuates = evacuates);
        }
    }

    /// An agent takes no more work (it may advertise again later). One that is emptied says so again and
    /// again in place of its advertisements: also to a controller that never heard one.
    pub fn leaving(&mut self, goodbye: Shutdown, now: Duration) {
        let drain = goodbye.yard_drain;
        let known = self.agents.get(&goodbye.id).cloned();
        let unheard = || drain.map(|_| Agent::new(nothing_offered(&goodbye), now));
        let Some(mut agent) = known.or_else(unheard) else {
            return;
        };
        agent.leaving = true;
        agent.drain = drain;
        agent.goodbye_due = None;
        agent.advertisement.app_id_to_count = goodbye.app_id_to_count;
        if drain.is_some() {
            agent.advertised_at = now;
            agent.lost = false;
        }
        self.put(goodbye.id, agent);
    }

    /// Whether it was last heard to offer what it has.
    pub fn takes_work(&self, dea: &DeaId) -> bool {
        self.agents.get(dea).is_some_and(|agent| !agent.leaving)
    }

    /// How far an agent is emptied; None: it is not.
    pub fn drain(&self, dea: &DeaId) -> Option<Drain> {
        self.agents.get(dea)?.drain
    }

    /// Its heartbeats have stopped: nothing is placed there before it advertises again.
    pub fn lost(&mut self, dea: &DeaId) {
        self.change(dea, |agent| agent.lost = true);
    }

    /// Takes a choice off what the agent has. The same key again replaces the former reservation.
    pub fn reserve(&mut self, debit: Debit) {
        let Debit {
            key,
            dea,
            memory_mb,
            disk_mb,
            process,
            expires_at,
        } = debit;
        self.release(&key);
        self.reservations.insert(
            key.clone(),
            Reservation {
                dea,
                memory_mb,
                disk_mb,
                process,
                expires_at,
                seen: false,
            },
        );
        self.hold(&key);
    }

    /// The agent has shown that it holds this: from its next advertisement on it counts it itself.
    pub fn seen(&mut self, key: &str) {
        if let Some(reservation) = self.reservations.get_mut(key) {
            reservation.seen = true;
        }
    }

    /// It will not come: refused, ended, or never sent.
    pub fn withdrawn(&mut self, key: &str) {
        self.release(key);
    }

    /// Drops what expired, and agents not heard from for `forget_after`.
    pub fn expire(&mut self, now: Duration, forget_after: Duration) {
        for key in self.keys_where(|reservation| reservation.expires_at <= now) {
            self.release(&key);
        }
        let known = self.agents.len();
        self.agents
            .retain(|_, agent| now.saturating_sub(agent.advertised_at) <= forget_after);
        if self.agents.len() != known {
            self.write_roster_anew();
        }
    }

    /// Its rows are never taken out one by one: their places are what everything else is known by.
    fn write_roster_anew(&mut self) {
        self.roster = Roster::default();
        for (dea, mut agent) in std::mem::take(&mut self.agents) {
            agent.held = Held::default();
            self.enter(dea, agent);
        }
        for key in self.keys_where(|_| true) {
            self.hold(&key);
        }
    }

    /// Chooses an agent, or says why none. Those that have not advertised within `fresh` are not asked.
    pub fn choose(
        &self,
        request: &PlacementRequest,
        now: Duration,
        fresh: Duration,
        randomness: u64,
    ) -> Decision {
        self.roster.choose(request, now, fresh, randomness)
    }

    /// Why no agent could ever hold this, not even an empty one; None: one could, or none is known.
    pub fn never(
        &self,
        request: &PlacementRequest,
        now: Duration,
        fresh: Duration,
    ) -> Option<Refusal> {
        self.roster.never(request, now, fresh)
    }

    /// The agents that advertised within `ttl`.
    pub fn advertising(&self, now: Duration, ttl: Duration) -> impl Iterator<Item = &DeaId> {
        self.agents
            .iter()
            .filter(move |(_, agent)| now.saturating_sub(agent.advertised_at) <= ttl)
            .map(|(dea, _)| dea)
    }

    /// Every agent, with reservations taken off.
    pub fn view(&self, now: Duration) -> Vec<AgentView> {
        let agents = self.agents.values();
        agents.map(|agent| self.view_of(agent, now)).collect()
    }

    fn view_of(&self, agent: &Agent, now: Duration) -> AgentView {
        let ad = &agent.advertisement;
        let mut view = AgentView {
            id: ad.id.clone(),
            zone: ad.placement_properties.zone.clone(),
            stacks: ad.stacks.iter().cloned().collect(),
            free_memory_mb: agent.free_memory_mb(),
            free_disk_mb: agent.free_disk_mb(),
            total_memory_mb: ad.yard_total_memory,
            total_disk_mb: ad.yard_total_disk,
            instances: ad.app_id_to_count.clone(),
            age: now.saturating_sub(agent.advertised_at),
            leaving: agent.leaving
                || agent.evacuates
                || agent.goodbye_due.is_some_and(|due| due > now),
            lost: agent.lost,
        };
        let held = agent.held.keys.iter();
        for reservation in held.filter_map(|key| self.reservations.get(key)) {
            if let Some(process) = &reservation.process {
                *view.instances.entry(process.clone()).or_default() += 1;
            }
        }
        view
    }
}

/// What is known of an agent that was never heard to offer anything.
fn nothing_offered(goodbye: &Shutdown) -> Advertisement {
    Advertisement {
        id: goodbye.id.clone(),
        stacks: Vec::new(),
        available_memory: 0,
        available_disk: 0,
        app_id_to_count: BTreeMap::new(),
        placement_properties: PlacementProperties {
            zone: goodbye.yard_zone.clone().unwrap_or_default(),
        },
        url: None,
        yard_total_memory: None,
        yard_total_disk: None,
    }
}
