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

use super::AgentView;
use proto::bus::dea::{Advertisement, Drain, PlacementProperties, Shutdown};
use proto::ids::{DeaId, ProcessGuid};
use std::collections::BTreeMap;
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
        }
    }
}

/// The agents known, and what is reserved on them. Times are measured from any fixed moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pool {
    agents: BTreeMap<DeaId, Agent>,
    reservations: BTreeMap<ReservationKey, Reservation>,
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
        self.reservations
            .retain(|_, reservation| !(reservation.dea == id && reservation.seen));
        let mut agent = Agent::new(advertisement, now);
        if let Some(known) = self.agents.get(&id) {
            // It may have been written before the order, or before the beat.
            (agent.evacuates, agent.goodbye_due) = (known.evacuates, known.goodbye_due);
        }
        self.agents.insert(id, agent);
        appeared
    }

    /// An agent came up anew: what was on its way to its predecessor never arrived.
    pub fn came_up(&mut self, dea: &DeaId) {
        self.reservations
            .retain(|_, reservation| reservation.dea != *dea);
        if let Some(agent) = self.agents.get_mut(dea) {
            (agent.evacuates, agent.goodbye_due) = (false, None);
        }
    }

    /// An agent is told to be emptied; its goodbye is awaited until `due`. None: it is to take work, or was not
    /// reached. False: it is not known.
    pub fn drain_ordered(&mut self, dea: &DeaId, due: Option<Duration>) -> bool {
        let agent = self.agents.get_mut(dea);
        agent.map(|agent| agent.goodbye_due = due).is_some()
    }

    /// Whether the beats of an agent call an instance EVACUATING.
    pub fn evacuates(&mut self, dea: &DeaId, evacuates: bool) {
        if let Some(agent) = self.agents.get_mut(dea) {
            agent.evacuates = evacuates;
        }
    }

    /// An agent takes no more work (it may advertise again later). One that is emptied says so again and
    /// again in place of its advertisements: also to a controller that never heard one.
    pub fn leaving(&mut self, goodbye: Shutdown, now: Duration) {
        let drain = goodbye.yard_drain;
        if drain.is_some() {
            self.agents
                .entry(goodbye.id.clone())
                .or_insert_with(|| Agent::new(nothing_offered(&goodbye), now));
        }
        if let Some(agent) = self.agents.get_mut(&goodbye.id) {
            agent.leaving = true;
            agent.drain = drain;
            agent.goodbye_due = None;
            agent.advertisement.app_id_to_count = goodbye.app_id_to_count;
            if drain.is_some() {
                agent.advertised_at = now;
                agent.lost = false;
            }
        }
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
        if let Some(agent) = self.agents.get_mut(dea) {
            agent.lost = true;
        }
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
        self.reservations.insert(
            key,
            Reservation {
                dea,
                memory_mb,
                disk_mb,
                process,
                expires_at,
                seen: false,
            },
        );
    }

    /// The agent has shown that it holds this: from its next advertisement on it counts it itself.
    pub fn seen(&mut self, key: &str) {
        if let Some(reservation) = self.reservations.get_mut(key) {
            reservation.seen = true;
        }
    }

    /// It will not come: refused, ended, or never sent.
    pub fn withdrawn(&mut self, key: &str) {
        self.reservations.remove(key);
    }

    /// Drops what expired, and agents not heard from for `forget_after`.
    pub fn expire(&mut self, now: Duration, forget_after: Duration) {
        self.reservations
            .retain(|_, reservation| reservation.expires_at > now);
        self.agents
            .retain(|_, agent| now.saturating_sub(agent.advertised_at) <= forget_after);
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
        let mut held: BTreeMap<&DeaId, Vec<&Reservation>> = BTreeMap::new();
        for reservation in self.reservations.values() {
            held.entry(&reservation.dea).or_default().push(reservation);
        }
        self.agents
            .iter()
            .map(|(dea, agent)| {
                let held = held.get(dea).map_or(&[][..], Vec::as_slice);
                Self::view_of(agent, held, now)
            })
            .collect()
    }

    fn view_of(agent: &Agent, held: &[&Reservation], now: Duration) -> AgentView {
        let ad = &agent.advertisement;
        let mut view = AgentView {
            id: ad.id.clone(),
            zone: ad.placement_properties.zone.clone(),
            stacks: ad.stacks.iter().cloned().collect(),
            free_memory_mb: ad.available_memory,
            free_disk_mb: ad.available_disk,
            total_memory_mb: ad.yard_total_memory,
            total_disk_mb: ad.yard_total_disk,
            instances: ad.app_id_to_count.clone(),
            age: now.saturating_sub(agent.advertised_at),
            leaving: agent.leaving
                || agent.evacuates
                || agent.goodbye_due.is_some_and(|due| due > now),
            lost: agent.lost,
        };
        for reservation in held {
            view.free_memory_mb = view.free_memory_mb.saturating_sub(reservation.memory_mb);
            view.free_disk_mb = view.free_disk_mb.saturating_sub(reservation.disk_mb);
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
