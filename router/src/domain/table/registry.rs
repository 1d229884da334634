//! The writer of the route table: what registrations, unregistrations and time do to it.
//!
//! **What a newcomer gets wrong.**
//! - The same `host:port` may come back as another instance, also under another name: whoever missed an
//!   unregistration would send one app's requests to another. An instance of an app that is registered where
//!   another one was takes its place under every name.
//! - Registrations and unregistrations come over two subjects and can overtake each other.
//!   If both carry `endpoint_updated_at_ns` the later one wins (a grave keeps the time of an
//!   unregistration for a while). But clocks are set back: what is much older did not come late.

use super::{Endpoint, Member, Millis, Pool, RouteName, Service, Sleeper, Table};
use crate::domain::announcement::{Address, Announcement, Identity};
use crate::domain::departures::{Departure, Departures};
use crate::domain::route_rules::Enforced;
use crate::domain::route_service::ServiceUrl;
use crate::domain::tally::Tallies;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// How long an unregistration outweighs an older registration that arrives late.
const GRAVE: Millis = 60_000;
/// The same where the messages carry no time: long enough for two subscriptions to overtake each
/// other, too short for an instance to come back.
const SHORT_GRAVE: Millis = 250;
/// Most of them: beyond, a late registration may win for one period.
const MAX_GRAVES: usize = 100_000;
/// Messages overtake each other by seconds. A time that is further back is that of a clock that was set back.
const OVERTAKES_NS: u64 = 60_000_000_000;
/// A sweep that is later than this was not late: the process was stopped.
const SLEPT: Millis = 3000;

/// What a change did, for logs, metrics and the decision to publish a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    pub added: usize,
    pub replaced: usize,
    pub refreshed: usize,
    pub removed: usize,
    /// Names without endpoints that were forgotten.
    pub forgotten: usize,
    /// Messages older than what is known.
    pub outdated: usize,
}

impl Changed {
    /// Whether lookups could answer differently now.
    pub fn visible(&self) -> bool {
        self.added + self.replaced + self.removed + self.forgotten > 0
    }

    pub fn add(&mut self, other: Changed) {
        self.added += other.added;
        self.replaced += other.replaced;
        self.refreshed += other.refreshed;
        self.removed += other.removed;
        self.forgotten += other.forgotten;
        self.outdated += other.outdated;
    }
}

/// The writer's side: the table plus what only the writer needs.
#[derive(Debug, Default)]
pub struct Registry {
    table: Table,
    next_number: u64,
    tallies: Arc<Tallies>,
    departures: Arc<Departures>,
    /// Unregistrations that carry a time, so that an older registration cannot undo them.
    graves: HashMap<(RouteName, Address), Grave>,
    /// Names under which instances of apps were registered at an address; some may be gone since.
    /// (Mostly it is one name: a tree would take ten times the room.)
    names: HashMap<Address, Vec<RouteName>>,
    /// When it was last known that registrations could be heard.
    swept_at: Option<Millis>,
    /// Route services by URL, while a route has them.
    services: HashMap<Box<str>, Weak<Service>>,
}

#[derive(Debug, Clone)]
struct Grave {
    updated_at_ns: u64,
    instance_id: Option<Box<str>>,
    since: Millis,
}

impl Registry {
    /// A snapshot to look up in.
    pub fn snapshot(&self) -> Table {
        self.table.clone()
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    /// What was answered under its names.
    pub fn tallies(&self) -> Arc<Tallies> {
        self.tallies.clone()
    }

    /// Who left lately.
    pub fn departures(&self) -> Arc<Departures> {
        self.departures.clone()
    }

    /// Numbers of all endpoints, those of route services too.
    pub fn numbers(&self) -> HashSet<u64> {
        let members = self.table.iter().flat_map(|pool| &pool.members);
        let services = self.table.iter().filter_map(|pool| pool.service.as_ref());
        members
            .map(|member| member.endpoint.number)
            .chain(services.filter_map(|service| service.number()))
            .collect()
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// A pool with the route service that any of its members wants: a request must not find a way past it
    /// while others are not told of it yet. The newest decides.
    fn pool(
        &mut self,
        name: &RouteName,
        members: Vec<Arc<Member>>,
        turn: Arc<AtomicUsize>,
        emptied: Option<Millis>,
    ) -> Pool {
        let wanted = members.iter().rev();
        let url = wanted
            .filter_map(|member| member.endpoint.identity.route_service.clone())
            .next();
        let rules = self.rules(name, &members);
        Pool {
            name: name.clone(),
            members,
            turn,
            rules,
            service: url.and_then(|url| self.service(&url)),
            emptied,
            sleeper: self.sleeper(name),
        }
    }

    fn sleeper(&self, name: &RouteName) -> Option<Arc<Sleeper>> {
        self.table.get(name)?.sleeper.clone()
    }

    /// Those of the newest member. While they stay, so does what they are held against; a route without members
    /// keeps them: it has what it spent when the next one comes.
    fn rules(&self, name: &RouteName, members: &[Arc<Member>]) -> Option<Arc<Enforced>> {
        let known = self.table.get(name).and_then(|pool| pool.rules.as_ref());
        let Some(newest) = members.last() else {
            return known.cloned();
        };
        let wanted = newest.endpoint.identity.rules.as_deref()?;
        match known {
            Some(known) if known.rules == *wanted => Some(known.clone()),
            Some(_) | None => Some(Arc::new(Enforced::new(wanted.clone()))),
        }
    }

    fn service(&mut self, text: &str) -> Option<Arc<Service>> {
        if let Some(known) = self.services.get(text).and_then(Weak::upgrade) {
            return Some(known);
        }
        // Both were checked when the registration was read; a host of digits and dots is an address.
        let url = ServiceUrl::parse(text)?;
        let identity = Identity::of_service(&url)?;
        let name = RouteName {
            host: url.host.to_string(),
            path: String::new(),
        };
        let endpoint = Arc::new(Endpoint::new(self.number(), identity));
        let member = Arc::new(Member {
            endpoint,
            tally: self.tallies.tally(&name, None),
            seen: AtomicU64::new(0),
            updated_at_ns: AtomicU64::new(0),
        });
        let service = Arc::new(Service {
            url,
            pool: Arc::new(Pool {
                name,
                members: vec![member],
                turn: Arc::default(),
                service: None,
                rules: None,
                emptied: None,
                sleeper: None,
            }),
        });
        self.services.retain(|_, known| known.strong_count() > 0);
        self.services.insert(text.into(), Arc::downgrade(&service));
        Some(service)
    }

    /// Adds or refreshes the endpoint under each of its names.
    pub fn register(&mut self, announcement: &Announcement, now: Millis) -> Changed {
        if let Some(process) = &announcement.wakes {
            return self.register_sleeper(announcement, process, now);
        }
        let mut changed = Changed::default();
        // An endpoint already known under any of the names is the same target: share it.
        let known = announcement.names.iter().filter_map(|name| {
            let mut members = self.table.get(name)?.members.iter();
            let same = members.find(|member| member.endpoint.is_same(&announcement.identity))?;
            Some(same.endpoint.clone())
        });
        let known: Vec<Arc<Endpoint>> = known.collect();
        let all_known = known.len() == announcement.names.len();
        let mut endpoint = known.into_iter().next();
        if !all_known && !self.take_over(announcement, now, &mut changed) {
            changed.outdated += announcement.names.len();
            return changed;
        }
        for name in &announcement.names {
            if self.is_buried(name, announcement, now) {
                changed.outdated += 1;
                continue;
            }
            let pool = self.table.get(name);
            let same_address = pool.and_then(|pool| {
                pool.members.iter().position(|member| {
                    member.endpoint.identity.address == announcement.identity.address
                })
            });
            if let (Some(pool), Some(place)) = (pool, same_address) {
                let member = &pool.members[place];
                if older(
                    announcement.updated_at_ns,
                    member.updated_at_ns.load(Ordering::Relaxed),
                ) {
                    changed.outdated += 1;
                    continue;
                }
                if endpoint
                    .as_ref()
                    .is_some_and(|known| Arc::ptr_eq(known, &member.endpoint))
                {
                    member.seen.store(now, Ordering::Relaxed);
                    member
                        .updated_at_ns
                        .store(announcement.updated_at_ns, Ordering::Relaxed);
                    changed.refreshed += 1;
                    continue;
                }
            }
            let (mut members, turn) = match pool {
                Some(pool) => (pool.members.clone(), pool.turn.clone()),
                None => (Vec::new(), Arc::new(AtomicUsize::new(0))),
            };
            let endpoint = match &endpoint {
                Some(known) => known.clone(),
                None => {
                    let made = Endpoint::new(self.number(), announcement.identity.clone());
                    endpoint.insert(Arc::new(made)).clone()
                }
            };
            let tally = self
                .tallies
                .tally(name, announcement.identity.app.as_deref());
            let member = Arc::new(Member {
                endpoint,
                tally,
                seen: AtomicU64::new(now),
                updated_at_ns: AtomicU64::new(announcement.updated_at_ns),
            });
            match same_address {
                Some(place) => {
                    let former = members.remove(place);
                    let known = &former.endpoint.identity;
                    // (The same instance on other terms is no other instance.)
                    if known.instance_id != announcement.identity.instance_id {
                        self.departures.note(name, known, Departure::Replaced, now);
                    }
                    changed.replaced += 1;
                }
                None => changed.added += 1,
            }
            members.push(member);
            let pool = self.pool(name, members, turn, None);
            self.table.put(name, Some(pool));
        }
        changed
    }

    /// A process sleeps under each of the names. Those that still have instances go on with them.
    fn register_sleeper(
        &mut self,
        announcement: &Announcement,
        process: &str,
        now: Millis,
    ) -> Changed {
        let mut changed = Changed::default();
        for name in announcement
            .names
            .iter()
            .filter(|name| name.port().is_none())
        {
            if let Some(known) = self
                .sleeper(name)
                .filter(|known| *known.process == *process)
            {
                known.seen.store(now, Ordering::Relaxed);
                changed.refreshed += 1;
                continue;
            }
            let sleeper = Arc::new(Sleeper {
                process: process.into(),
                seen: AtomicU64::new(now),
            });
            self.put_sleeper(name, Some(sleeper));
            changed.added += 1;
        }
        changed
    }

    /// Nobody sleeps under these names any more. One without instances is forgotten, unless they are to come.
    fn unregister_sleeper(&mut self, announcement: &Announcement, now: Millis) -> Changed {
        let mut changed = Changed::default();
        for name in &announcement.names {
            let Some(pool) = self.table.get(name).filter(|pool| pool.sleeper.is_some()) else {
                continue;
            };
            changed.removed += 1;
            if !pool.members.is_empty() {
                self.put_sleeper(name, None);
                continue;
            }
            let rest = announcement.returns.then(|| Pool {
                sleeper: None,
                ..self.pool(name, Vec::new(), Arc::default(), Some(now))
            });
            self.table.put(name, rest);
        }
        changed
    }

    /// The pool of a name with another sleeper, or none.
    fn put_sleeper(&mut self, name: &RouteName, sleeper: Option<Arc<Sleeper>>) {
        let (members, turn, emptied) = match self.table.get(name) {
            Some(pool) => (pool.members.clone(), pool.turn.clone(), pool.emptied),
            None => (Vec::new(), Arc::default(), None),
        };
        let pool = Pool {
            sleeper,
            ..self.pool(name, members, turn, emptied)
        };
        self.table.put(name, Some(pool));
    }

    /// Forgets sleepers whom nobody has told of for so long.
    fn prune_sleepers(&mut self, now: Millis, stale_after: Millis, changed: &mut Changed) {
        let is_stale = |pool: &&Arc<Pool>| {
            pool.sleeper.as_ref().is_some_and(|sleeper| {
                now.saturating_sub(sleeper.seen.load(Ordering::Relaxed)) > stale_after
            })
        };
        let stale = self.table.iter().filter(is_stale);
        let stale: Vec<RouteName> = stale.map(|pool| pool.name.clone()).collect();
        for name in stale {
            self.put_sleeper(&name, None);
            changed.removed += 1;
            let empty = self
                .table
                .get(&name)
                .is_some_and(|pool| pool.members.is_empty());
            if empty {
                self.table.put(&name, None);
                changed.forgotten += 1;
            }
        }
    }

    /// An instance of an app is new at its address: whoever was there before is there no more. False: it is
    /// the announcement that is outdated.
    fn take_over(
        &mut self,
        announcement: &Announcement,
        now: Millis,
        changed: &mut Changed,
    ) -> bool {
        let identity = &announcement.identity;
        let Some(tenant) = identity.tenant() else {
            return true;
        };
        let mut left: Vec<(RouteName, Vec<Arc<Member>>, Arc<AtomicUsize>)> = Vec::new();
        for name in self.names.get(&identity.address).into_iter().flatten() {
            let Some(pool) = self.table.get(name) else {
                continue;
            };
            let former = pool.members.iter().position(|member| {
                let known = &member.endpoint.identity;
                known.address == identity.address
                    && known.tenant().is_some_and(|other| other != tenant)
            });
            let Some(place) = former else { continue };
            let known_at = pool.members[place].updated_at_ns.load(Ordering::Relaxed);
            if older(announcement.updated_at_ns, known_at) {
                return false;
            }
            // Under its own names it replaces the former one in its place.
            if !announcement.names.contains(name) {
                let mut members = pool.members.clone();
                let former = members.remove(place);
                let known = &former.endpoint.identity;
                self.departures.note(name, known, Departure::Replaced, now);
                left.push((name.clone(), members, pool.turn.clone()));
            }
        }
        for (name, members, turn) in left {
            changed.removed += 1;
            let emptied = members.is_empty().then_some(now);
            let rest = self.pool(&name, members, turn, emptied);
            self.table.put(&name, Some(rest));
        }
        let names = self.names.entry(identity.address.clone()).or_default();
        let unknown = announcement.names.iter();
        let unknown: Vec<&RouteName> = unknown.filter(|name| !names.contains(name)).collect();
        names.reserve_exact(unknown.len());
        names.extend(unknown.into_iter().cloned());
        true
    }

    fn is_buried(&self, name: &RouteName, announcement: &Announcement, now: Millis) -> bool {
        if self.graves.is_empty() {
            return false;
        }
        let address = announcement.identity.address.clone();
        let Some(grave) = self.graves.get(&(name.clone(), address)) else {
            return false;
        };
        let ids = (&grave.instance_id, &announcement.identity.instance_id);
        if matches!(ids, (Some(gone), Some(here)) if gone != here) {
            return false;
        }
        if announcement.updated_at_ns != 0 && grave.updated_at_ns != 0 {
            return announcement.updated_at_ns == grave.updated_at_ns
                || older(announcement.updated_at_ns, grave.updated_at_ns);
        }
        grave.instance_id.is_some()
            && grave.instance_id == announcement.identity.instance_id
            && now.saturating_sub(grave.since) < SHORT_GRAVE
    }

    /// Removes the endpoint from each of the names. A name that loses its last endpoint is forgotten,
    /// its owner said so; unless a successor is expected.
    pub fn unregister(&mut self, announcement: &Announcement, now: Millis) -> Changed {
        if announcement.wakes.is_some() {
            return self.unregister_sleeper(announcement, now);
        }
        let mut changed = Changed::default();
        let identity = &announcement.identity;
        for name in &announcement.names {
            let worth = announcement.updated_at_ns != 0 || identity.instance_id.is_some();
            if worth && self.graves.len() < MAX_GRAVES {
                self.graves.insert(
                    (name.clone(), identity.address.clone()),
                    Grave {
                        updated_at_ns: announcement.updated_at_ns,
                        instance_id: identity.instance_id.clone(),
                        since: now,
                    },
                );
            }
            let Some(pool) = self.table.get(name) else {
                continue;
            };
            let place = pool
                .members
                .iter()
                .position(|member| member.endpoint.identity.address == identity.address);
            let Some(place) = place else {
                if pool.members.is_empty() && pool.sleeper.is_none() && !announcement.returns {
                    self.table.put(name, None);
                    changed.forgotten += 1;
                }
                continue;
            };
            let member = &pool.members[place];
            let known = &member.endpoint.identity;
            let other_instance = matches!(
                (&known.instance_id, &identity.instance_id),
                (Some(known), Some(gone)) if known != gone
            );
            if other_instance
                || older(
                    announcement.updated_at_ns,
                    member.updated_at_ns.load(Ordering::Relaxed),
                )
            {
                changed.outdated += 1;
                continue;
            }
            let why = match announcement.returns {
                true => Departure::ToReturn,
                false => Departure::Unregistered,
            };
            self.departures.note(name, known, why, now);
            let mut members = pool.members.clone();
            members.remove(place);
            changed.removed += 1;
            let turn = pool.turn.clone();
            let emptied = (members.is_empty() && announcement.returns).then_some(now);
            let known = !members.is_empty() || emptied.is_some() || pool.sleeper.is_some();
            let rest = known.then(|| self.pool(name, members, turn, emptied));
            self.table.put(name, rest);
        }
        changed
    }

    /// Prunes, unless this process was stopped for a while (a machine that was suspended): then the
    /// registrations of that time wait unread, and nothing may count as stale because of it. To be
    /// called `every` so often while the bus is there.
    pub fn sweep(&mut self, now: Millis, every: Millis, stale_after: Millis) -> Changed {
        let slept = self
            .swept_at
            .is_some_and(|last| now.saturating_sub(last) > every.saturating_add(SLEPT));
        if slept {
            self.refresh_all(now);
            return Changed::default();
        }
        self.swept_at = Some(now);
        self.prune(now, stale_after)
    }

    /// Removes what was not registered again for `stale_after`. A name that loses its last endpoint
    /// this way stays known, without endpoints, for another `stale_after`: something is wrong with it.
    pub fn prune(&mut self, now: Millis, stale_after: Millis) -> Changed {
        let mut changed = Changed::default();
        self.graves
            .retain(|_, grave| now.saturating_sub(grave.since) < GRAVE);
        let table = &self.table;
        self.names.retain(|address, names| {
            names.retain(|name| {
                table.get(name).is_some_and(|pool| {
                    let mut members = pool.members.iter();
                    members.any(|member| member.endpoint.identity.address == *address)
                })
            });
            !names.is_empty()
        });
        // One over TLS proves who it is whenever it is asked: it goes when it cannot (contract §3 row 3).
        let is_stale = |member: &Arc<Member>| {
            member.endpoint.identity.tls.is_none()
                && now.saturating_sub(member.seen()) > member.stale_after(stale_after)
        };
        let is_over = |pool: &Pool| {
            pool.sleeper.is_none()
                && pool
                    .emptied
                    .is_some_and(|since| now.saturating_sub(since) > stale_after)
        };
        let touched: Vec<RouteName> = self
            .table
            .iter()
            .filter(|pool| is_over(pool) || pool.members.iter().any(is_stale))
            .map(|pool| pool.name.clone())
            .collect();
        for name in touched {
            let Some(pool) = self.table.get(&name) else {
                continue;
            };
            if is_over(pool) {
                self.table.put(&name, None);
                changed.forgotten += 1;
                continue;
            }
            let members: Vec<_> = pool
                .members
                .iter()
                .filter(|member| !is_stale(member))
                .cloned()
                .collect();
            changed.removed += pool.members.len() - members.len();
            for member in pool.members.iter().filter(|member| is_stale(member)) {
                let known = &member.endpoint.identity;
                self.departures.note(&name, known, Departure::Pruned, now);
            }
            let emptied = members.is_empty().then_some(now);
            let turn = pool.turn.clone();
            let rest = self.pool(&name, members, turn, emptied);
            self.table.put(&name, Some(rest));
        }
        self.prune_sleepers(now, stale_after, &mut changed);
        changed
    }

    /// Removes endpoints that [left](Endpoint::leave), under all their names.
    pub fn remove(&mut self, numbers: &[u64], now: Millis) -> Changed {
        let mut changed = Changed::default();
        let is_gone = |member: &Arc<Member>| numbers.contains(&member.endpoint.number);
        let touched: Vec<Arc<Pool>> = self
            .table
            .iter()
            .filter(|pool| pool.members.iter().any(is_gone))
            .cloned()
            .collect();
        for pool in touched {
            let mut members = pool.members.clone();
            members.retain(|member| !is_gone(member));
            changed.removed += pool.members.len() - members.len();
            for member in pool.members.iter().filter(|member| is_gone(member)) {
                let known = &member.endpoint.identity;
                self.departures
                    .note(&pool.name, known, Departure::Unproved, now);
            }
            let emptied = members.is_empty().then_some(now);
            let rest = self.pool(&pool.name, members, pool.turn.clone(), emptied);
            self.table.put(&pool.name, Some(rest));
        }
        changed
    }

    /// Removes endpoints of isolation segments that are not taken any more. Their names are other routers': nobody
    /// expects them here.
    pub fn keep_taken(&mut self, takes: impl Fn(Option<&str>) -> bool, now: Millis) -> Changed {
        let mut changed = Changed::default();
        let is_taken =
            |member: &Arc<Member>| takes(member.endpoint.identity.isolation_segment.as_deref());
        let touched: Vec<Arc<Pool>> = self
            .table
            .iter()
            .filter(|pool| !pool.members.iter().all(is_taken))
            .cloned()
            .collect();
        for pool in touched {
            let (members, left): (Vec<_>, Vec<_>) =
                pool.members.iter().cloned().partition(is_taken);
            changed.removed += left.len();
            for member in left {
                let known = &member.endpoint.identity;
                self.departures
                    .note(&pool.name, known, Departure::Elsewhere, now);
            }
            let rest = (!members.is_empty())
                .then(|| self.pool(&pool.name, members, pool.turn.clone(), None));
            self.table.put(&pool.name, rest);
        }
        changed
    }

    /// The bus was away: nobody could register, so nothing may count as stale because of it.
    pub fn refresh_all(&mut self, now: Millis) {
        self.swept_at = Some(now);
        for pool in self.table.iter() {
            for member in &pool.members {
                member.seen.store(now, Ordering::Relaxed);
            }
            if let Some(sleeper) = &pool.sleeper {
                sleeper.seen.store(now, Ordering::Relaxed);
            }
        }
    }
}

/// Whether a message of time `message` says less than what is known from `known` (0: no time), because it
/// was overtaken.
fn older(message: u64, known: u64) -> bool {
    message != 0 && known != 0 && message < known && known - message < OVERTAKES_NS
}
