//! The agents in the form in which one of them is chosen: a choice reads a thousand of them in some microseconds.
//!
//! A [`Roster`] is kept by the pool and says nothing that the pool does not know. Each agent is one small row; what
//! would be compared as text (zones, stacks, the order of names) is a number, and who runs instances of a process is
//! found by the process, not by asking every agent.

use super::{Decision, PlacementRequest, Refusal, Resource};
use proto::ids::{DeaId, ProcessGuid};
use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a choice asks of one agent; what is held on it is taken off.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Facts {
    pub id: DeaId,
    pub free_memory_mb: u64,
    pub free_disk_mb: u64,
    /// All it has, used or not; unknown for a stranger.
    pub total_memory_mb: Option<u64>,
    pub total_disk_mb: Option<u64>,
    pub advertised_at: Duration,
    /// It takes no more work.
    pub leaving: bool,
    /// Nor before this, because it was told to be emptied.
    pub leaving_until: Option<Duration>,
    /// Its heartbeats have stopped.
    pub lost: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    facts: Facts,
    zone: u32,
    stacks: u32,
    /// Its place among all agents by name.
    rank: u32,
}

impl Facts {
    fn is_leaving(&self, now: Duration) -> bool {
        self.leaving || self.leaving_until.is_some_and(|until| until > now)
    }

    fn is_usable(&self, now: Duration, fresh: Duration) -> bool {
        !self.is_leaving(now) && !self.lost && now.saturating_sub(self.advertised_at) <= fresh
    }

    fn fits(&self, request: &PlacementRequest) -> bool {
        self.free_memory_mb >= request.memory_mb && self.free_disk_mb >= request.disk_mb
    }

    fn could_ever_fit(&self, request: &PlacementRequest) -> bool {
        let holds = |total: Option<u64>, needed| total.is_none_or(|total| total >= needed);
        holds(self.total_memory_mb, request.memory_mb) && holds(self.total_disk_mb, request.disk_mb)
    }
}

/// Texts that are known by number, each once. Agents are few, and so are their zones and stacks.
#[derive(Debug, Clone, Default, PartialEq)]
struct Numbered<T>(Vec<T>);

impl<T> Numbered<T> {
    fn number<B>(&mut self, text: &B) -> u32
    where
        T: Borrow<B>,
        B: PartialEq + ToOwned<Owned = T> + ?Sized,
    {
        let known = self.0.iter().position(|known| known.borrow() == text);
        let place = known.unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }
}

/// A row's place in the roster.
type Slot = u32;

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Roster {
    rows: Vec<Row>,
    slots: BTreeMap<DeaId, Slot>,
    zones: Numbered<String>,
    stacks: Numbered<Vec<String>>,
    /// How many instances of a process each agent has.
    instances: BTreeMap<ProcessGuid, BTreeMap<Slot, u32>>,
}

fn at<T>(all: &[T], number: u32) -> &T {
    // Numbers are given out by the list itself and never taken back.
    &all[number as usize]
}

impl Roster {
    pub(super) fn write(&mut self, facts: Facts, zone: &str, stacks: &[String]) {
        let (zone, stacks) = (self.zones.number(zone), self.stacks.number(stacks));
        if let Some(slot) = self.slots.get(&facts.id) {
            let row = &mut self.rows[*slot as usize];
            (row.facts, row.zone, row.stacks) = (facts, zone, stacks);
            return;
        }
        let rank = self.make_room(&facts.id);
        let slot = Slot::try_from(self.rows.len()).unwrap_or(Slot::MAX);
        self.slots.insert(facts.id.clone(), slot);
        self.rows.push(Row {
            facts,
            zone,
            stacks,
            rank,
        });
    }

    /// The rank of a newcomer; those behind it move on.
    fn make_room(&mut self, newcomer: &DeaId) -> u32 {
        let mut rank = 0;
        for row in &mut self.rows {
            match row.facts.id < *newcomer {
                true => rank += 1,
                false => row.rank += 1,
            }
        }
        rank
    }

    /// So many instances of a process more, or fewer, on an agent that has a row.
    pub(super) fn count(&mut self, dea: &DeaId, process: &ProcessGuid, more: u32, fewer: u32) {
        let Some(slot) = self.slots.get(dea).copied() else {
            return;
        };
        if !self.instances.contains_key(process) {
            self.instances.insert(process.clone(), BTreeMap::new());
        }
        let Some(counts) = self.instances.get_mut(process) else {
            return;
        };
        let count = counts.entry(slot).or_default();
        *count = count.saturating_add(more).saturating_sub(fewer);
        if *count == 0 {
            counts.remove(&slot);
        }
        if counts.is_empty() {
            self.instances.remove(process);
        }
    }

    /// Chooses an agent (contract §5.1): those that advertised within `fresh`, are not leaving, have the stack and
    /// the room; of these the zones with the fewest siblings, of these the agents with the fewest siblings, of these
    /// the better half by free memory; of these one by `randomness`.
    pub(super) fn choose(
        &self,
        request: &PlacementRequest,
        now: Duration,
        fresh: Duration,
        randomness: u64,
    ) -> Decision {
        let has_stack = self.with_stack(&request.stack);
        let siblings = self.siblings(request);
        let mut fewest = (u32::MAX, u32::MAX);
        let mut best: Vec<(Reverse<u64>, u32, usize)> = Vec::with_capacity(self.rows.len());
        let mut roomy = 0;
        for (slot, row) in self.rows.iter().enumerate() {
            let facts = &row.facts;
            if !(facts.is_usable(now, fresh) && *at(&has_stack, row.stacks) && facts.fits(request))
            {
                continue;
            }
            roomy += 1;
            let crowd = (*at(&siblings.in_zone, row.zone), siblings.on_agent[slot]);
            if crowd < fewest {
                fewest = crowd;
                best.clear();
            }
            if crowd == fewest {
                best.push((Reverse(facts.free_memory_mb), row.rank, slot));
            }
        }
        if best.is_empty() {
            return Decision::Refuse(self.refusal(request, now, fresh));
        }
        let half = best.len().div_ceil(2);
        let place = (randomness % half as u64) as usize;
        let (_, (_, _, slot), _) = best.select_nth_unstable(place);
        let chosen = &self.rows[*slot].facts;
        Decision::Place {
            dea: chosen.id.clone(),
            because: format!(
                "{roomy} of {} agents have room; {} has {} MB memory free and runs {} of this app",
                self.rows.len(),
                chosen.id,
                chosen.free_memory_mb,
                fewest.1
            ),
        }
    }

    /// Why no agent could ever hold this, not even an empty one; None: one could, or none is known.
    /// Agents that are silent or shut down count: they may come back.
    pub(super) fn never(
        &self,
        request: &PlacementRequest,
        now: Duration,
        fresh: Duration,
    ) -> Option<Refusal> {
        let has_stack = self.with_stack(&request.stack);
        let mut rows = self.rows.iter();
        if rows.any(|row| *at(&has_stack, row.stacks) && row.facts.could_ever_fit(request)) {
            return None;
        }
        Some(self.refusal(request, now, fresh)).filter(Refusal::is_for_good)
    }

    /// Of every list of stacks that an agent has, whether this one is in it.
    fn with_stack(&self, stack: &str) -> Vec<bool> {
        let lists = self.stacks.0.iter();
        lists
            .map(|list| list.iter().any(|offered| offered == stack))
            .collect()
    }

    /// A zone counts with all of its agents, also the full ones: spreading is about failures.
    fn siblings(&self, request: &PlacementRequest) -> Siblings {
        let mut siblings = Siblings {
            on_agent: vec![0; self.rows.len()],
            in_zone: vec![0; self.zones.0.len()],
        };
        for process in &request.siblings {
            for (slot, count) in self.instances.get(process).into_iter().flatten() {
                let zone = at(&self.rows, *slot).zone;
                siblings.on_agent[*slot as usize] += count;
                siblings.in_zone[zone as usize] += count;
            }
        }
        siblings
    }

    /// Of a request that nobody can hold now.
    fn refusal(&self, request: &PlacementRequest, now: Duration, fresh: Duration) -> Refusal {
        let mut all: Vec<&Row> = self.rows.iter().collect();
        all.sort_by_key(|row| row.rank);
        let usable: Vec<&Row> = all
            .iter()
            .copied()
            .filter(|row| row.facts.is_usable(now, fresh))
            .collect();
        if usable.is_empty() {
            let ids = |leaving: bool| {
                let found = all
                    .iter()
                    .filter(|row| row.facts.is_leaving(now) == leaving);
                found.map(|row| row.facts.id.clone()).collect()
            };
            return Refusal::NoAgent {
                silent: ids(false),
                leaving: ids(true),
            };
        }
        let has_stack = self.with_stack(&request.stack);
        let with_stack: Vec<&Facts> = usable
            .iter()
            .filter(|row| *at(&has_stack, row.stacks))
            .map(|row| &row.facts)
            .collect();
        if with_stack.is_empty() {
            let lists = usable.iter().map(|row| at(&self.stacks.0, row.stacks));
            return Refusal::NoStack {
                stack: request.stack.clone(),
                offered: lists.flatten().cloned().collect::<BTreeSet<String>>(),
            };
        }
        no_room(&with_stack, request)
    }
}

/// Instances to keep apart from.
struct Siblings {
    on_agent: Vec<u32>,
    in_zone: Vec<u32>,
}

/// Says which resource is short, and who comes closest.
fn no_room(agents: &[&Facts], request: &PlacementRequest) -> Refusal {
    let ever = agents.iter().any(|agent| agent.could_ever_fit(request));
    let with_memory: Vec<&Facts> = agents
        .iter()
        .copied()
        .filter(|agent| agent.free_memory_mb >= request.memory_mb)
        .collect();
    // When nobody could ever hold it, name the resource that makes it so.
    let never_for_disk = !ever
        && agents.iter().any(|agent| {
            agent
                .total_memory_mb
                .is_none_or(|total| total >= request.memory_mb)
        });
    if with_memory.is_empty() && !never_for_disk {
        let best = best_of(agents, |agent| {
            (
                agent.free_memory_mb,
                agent.total_memory_mb.unwrap_or_default(),
            )
        });
        Refusal::NoRoom {
            what: Resource::Memory,
            needed_mb: request.memory_mb,
            best: best.id.clone(),
            free_mb: best.free_memory_mb,
            total_mb: best.total_memory_mb,
            ever,
        }
    } else {
        let among = if with_memory.is_empty() {
            agents
        } else {
            &with_memory
        };
        let best = best_of(among, |agent| {
            (agent.free_disk_mb, agent.total_disk_mb.unwrap_or_default())
        });
        Refusal::NoRoom {
            what: Resource::Disk,
            needed_mb: request.disk_mb,
            best: best.id.clone(),
            free_mb: best.free_disk_mb,
            total_mb: best.total_disk_mb,
            ever,
        }
    }
}

fn best_of<'a>(agents: &[&'a Facts], key: impl Fn(&Facts) -> (u64, u64)) -> &'a Facts {
    agents
        .iter()
        .copied()
        .max_by(|a, b| key(a).cmp(&key(b)).then_with(|| b.id.cmp(&a.id)))
        .expect("callers pass at least one agent")
}
