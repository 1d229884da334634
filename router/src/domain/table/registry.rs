//! The writer of the route table: what registrations, unregistrations and time do to it.
//!
//! **What a newcomer gets wrong.**
//! - The same `host:port` may come back as another instance, also under another name: whoever missed an
//!   unregistration would send one app's requests to another. An instance of an app that is registered where
//!   another one was takes its place under every name.
//! - Registrations and unregistrations come over two subjects and can overtake each other.
//!   If both carry `endpoint_updated_at_ns` the later one wins (a grave keeps the time of an
//!   unregistration for a while). But clocks are set back: what is much older did not come late.

use super::tenants::Tenants;
use super::{Endpoint, Member, Millis, Pool, RouteName, Service, Sleeper, Table};
use crate::domain::announcement::Announcement;
use crate::domain::departures::{Departure, Departures};
#[cfg(test)]
use crate::domain::identity::At;
use crate::domain::identity::{Address, Identity};
use crate::domain::route_rules::Enforced;
use crate::domain::route_service::ServiceUrl;
use crate::domain::tally::{Tallies, Tally};
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
    /// The names of instances of apps by their addresses.
    tenants: Tenants,
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

    #[cfg(test)]
    pub(super) fn names_at(&self, at: At<'_>) -> &[RouteName] {
        self.tenants.names(at)
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// A pool with the route service that any of its members wants: a request must not find a way past it
    /// while others are not told of it yet. The newest decides.
    fn pool(&mut self, name: &RouteName, members: Vec<Member>, emptied: Option<Millis>) -> Pool {
        let wanted = members.iter().rev();
        let url = wanted
            .filter_map(|member| member.endpoint.identity.route_service())
            .next();
        let service = url.and_then(|url| self.service(url));
        let known = self.table.get(name);
        let rules = rules(known.and_then(|known| known.rules.as_ref()), &members);
        let name = known.map_or(name, |known| &known.name).clone();
        Pool {
            turn: AtomicUsize::new(known.map_or(0, |known| known.turn.load(Ordering::Relaxed))),
            rules,
            service,
            emptied,
            sleeper: known.and_then(|known| known.sleeper.clone()),
            ..Pool::of(name, members.into())
        }
    }

    /// Replaces, adds or (with `None`) removes the pool of a name. What its members counted is told even if they are gone.
    fn put(&mut self, name: &RouteName, pool: Option<Pool>) {
        let former = self.table.get(name).cloned();
        let now = pool.as_ref().map_or(&[][..], |pool| &pool.members);
        for left in former.iter().flat_map(|former| former.tallied()) {
            let mut now = now.iter();
            if !now.any(|member| Arc::ptr_eq(&member.tally, &left.tally)) {
                let app = left.endpoint.identity.app();
                self.tallies.keep(name, app, &left.tally);
            }
        }
        self.table.put(name, pool);
    }

    /// It is under this name no more.
    fn leaves(&mut self, name: &RouteName, who: &Identity, why: Departure, now: Millis) {
        self.departures.note(name, who, why, now);
        self.unlist(name, who);
    }

    fn unlist(&mut self, name: &RouteName, who: &Identity) {
        if who.tenant().is_some() {
            self.tenants.remove(who.at(), name);
        }
    }

    fn sleeper(&self, name: &RouteName) -> Option<Arc<Sleeper>> {
        self.table.get(name)?.sleeper.clone()
    }

    fn service(&mut self, text: &str) -> Option<Arc<Service>> {
        if let Some(known) = self.services.get(text).and_then(Weak::upgrade) {
            return Some(known);
        }
        // Both were checked when the registration was read; a host of digits and dots is an address.
        let url = ServiceUrl::parse(text)?;
        let identity = Identity::of_service(&url)?;
        let name = RouteName::of_host(&url.host);
        let tally: Arc<Tally> = Arc::default();
        self.tallies.keep(&name, None, &tally);
        let member = Member {
            endpoint: Arc::new(Endpoint::new(self.number(), identity)),
            tally,
            seen: AtomicU64::new(0),
            updated_at_ns: AtomicU64::new(0),
        };
        let service = Arc::new(Service {
            url,
            pool: Arc::new(Pool::of(name, [member].into())),
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
        let identity = &announcement.identity;
        // An endpoint already known under any of the names is the same target: share it.
        let mut endpoint: Option<Arc<Endpoint>> = None;
        let mut all_known = true;
        for name in &announcement.names {
            let pool = self.table.get(name);
            let mut members = pool.into_iter().flat_map(|pool| &pool.members);
            match members.find(|member| member.endpoint.is_same(identity)) {
                Some(same) => _ = endpoint.get_or_insert_with(|| same.endpoint.clone()),
                None => all_known = false,
            }
        }
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
            let same_address = pool.and_then(|pool| pool.place_of(identity));
            if let (Some(pool), Some(place)) = (pool, same_address) {
                let member = &pool.members[place];
                if older(announcement.updated_at_ns, member.updated_at_ns()) {
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
            let known = pool.cloned();
            let known = known.as_ref().map_or(&[][..], |pool| &pool.members);
            let endpoint = match &endpoint {
                Some(known) => known.clone(),
                None => {
                    let made = Endpoint::new(self.number(), identity.clone());
                    endpoint.insert(Arc::new(made)).clone()
                }
            };
            let app = identity.app();
            let of_app = known
                .iter()
                .find(|member| member.endpoint.identity.app() == app);
            let member = Member {
                endpoint,
                tally: of_app.map_or_else(Arc::default, |member| member.tally.clone()),
                seen: AtomicU64::new(now),
                updated_at_ns: AtomicU64::new(announcement.updated_at_ns),
            };
            let mut members = Vec::with_capacity(known.len() + 1);
            members.extend_from_slice(known);
            match same_address {
                Some(place) => {
                    let former = members.remove(place);
                    let known = &former.endpoint.identity;
                    // (The same instance on other terms is no other instance.)
                    match known.instance_id() == identity.instance_id() {
                        true => self.unlist(name, known),
                        false => self.leaves(name, known, Departure::Replaced, now),
                    }
                    changed.replaced += 1;
                }
                None => changed.added += 1,
            }
            members.push(member);
            let pool = self.pool(name, members, None);
            if identity.tenant().is_some() {
                self.tenants.add(identity.at(), &pool.name);
            }
            self.put(name, Some(pool));
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
                ..self.pool(name, Vec::new(), Some(now))
            });
            self.put(name, rest);
        }
        changed
    }

    /// The pool of a name with another sleeper, or none.
    fn put_sleeper(&mut self, name: &RouteName, sleeper: Option<Arc<Sleeper>>) {
        let (members, emptied) = match self.table.get(name) {
            Some(pool) => (pool.members.to_vec(), pool.emptied),
            None => (Vec::new(), None),
        };
        let pool = Pool {
            sleeper,
            ..self.pool(name, members, emptied)
        };
        self.put(name, Some(pool));
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
                self.put(&name, None);
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
        let mut left: Vec<(Arc<Pool>, usize)> = Vec::new();
        for name in self.tenants.names(identity.at()) {
            let Some(pool) = self.table.get(name) else {
                continue;
            };
            let former = pool.members.iter().position(|member| {
                let known = &member.endpoint.identity;
                known.at() == identity.at() && known.tenant().is_some_and(|other| other != tenant)
            });
            let Some(place) = former else { continue };
            if older(
                announcement.updated_at_ns,
                pool.members[place].updated_at_ns(),
            ) {
                return false;
            }
            // Under its own names it replaces the former one in its place.
            if !announcement.names.contains(name) {
                left.push((pool.clone(), place));
            }
        }
        for (pool, place) in left {
            changed.removed += 1;
            let mut members = pool.members.to_vec();
            let former = members.remove(place);
            let known = &former.endpoint.identity;
            self.leaves(&pool.name, known, Departure::Replaced, now);
            let emptied = members.is_empty().then_some(now);
            let rest = self.pool(&pool.name, members, emptied);
            self.put(&pool.name, Some(rest));
        }
        true
    }

    fn is_buried(&self, name: &RouteName, announcement: &Announcement, now: Millis) -> bool {
        if self.graves.is_empty() {
            return false;
        }
        let address = announcement.identity.address();
        let Some(grave) = self.graves.get(&(name.clone(), address)) else {
            return false;
        };
        let gone = grave.instance_id.as_deref();
        let here = announcement.identity.instance_id();
        if are_others(gone, here) {
            return false;
        }
        if announcement.updated_at_ns != 0 && grave.updated_at_ns != 0 {
            return announcement.updated_at_ns == grave.updated_at_ns
                || older(announcement.updated_at_ns, grave.updated_at_ns);
        }
        gone.is_some() && gone == here && now.saturating_sub(grave.since) < SHORT_GRAVE
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
            let worth = announcement.updated_at_ns != 0 || identity.instance_id().is_some();
            if worth && self.graves.len() < MAX_GRAVES {
                self.graves.insert(
                    (name.clone(), identity.address()),
                    Grave {
                        updated_at_ns: announcement.updated_at_ns,
                        instance_id: identity.instance_id().map(Box::from),
                        since: now,
                    },
                );
            }
            let Some(pool) = self.table.get(name).cloned() else {
                continue;
            };
            let Some(place) = pool.place_of(identity) else {
                if pool.members.is_empty() && pool.sleeper.is_none() && !announcement.returns {
                    self.put(name, None);
                    changed.forgotten += 1;
                }
                continue;
            };
            let member = &pool.members[place];
            let known = &member.endpoint.identity;
            if are_others(known.instance_id(), identity.instance_id())
                || older(announcement.updated_at_ns, member.updated_at_ns())
            {
                changed.outdated += 1;
                continue;
            }
            let why = match announcement.returns {
                true => Departure::ToReturn,
                false => Departure::Unregistered,
            };
            self.leaves(name, known, why, now);
            let mut members = pool.members.to_vec();
            members.remove(place);
            changed.removed += 1;
            let emptied = (members.is_empty() && announcement.returns).then_some(now);
            let known = !members.is_empty() || emptied.is_some() || pool.sleeper.is_some();
            let rest = known.then(|| self.pool(name, members, emptied));
            self.put(name, rest);
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
        // One over TLS proves who it is whenever it is asked: it goes when it cannot (contract §3 row 3).
        let is_stale = |member: &Member| {
            member.endpoint.identity.tls().is_none()
                && now.saturating_sub(member.seen()) > member.stale_after(stale_after)
        };
        let is_over = |pool: &Pool| {
            pool.sleeper.is_none()
                && pool
                    .emptied
                    .is_some_and(|since| now.saturating_sub(since) > stale_after)
        };
        let touched = self.find(|pool| is_over(pool) || pool.members.iter().any(is_stale));
        for pool in touched {
            if is_over(&pool) {
                self.put(&pool.name, None);
                changed.forgotten += 1;
                continue;
            }
            let members = self.part(&pool, is_stale, Departure::Pruned, now);
            changed.removed += pool.members.len() - members.len();
            let emptied = members.is_empty().then_some(now);
            let rest = self.pool(&pool.name, members, emptied);
            self.put(&pool.name, Some(rest));
        }
        self.prune_sleepers(now, stale_after, &mut changed);
        changed
    }

    /// Removes endpoints that [left](Endpoint::leave), under all their names.
    pub fn remove(&mut self, numbers: &[u64], now: Millis) -> Changed {
        let mut changed = Changed::default();
        let is_gone = |member: &Member| numbers.contains(&member.endpoint.number);
        for pool in self.find(|pool| pool.members.iter().any(is_gone)) {
            let members = self.part(&pool, is_gone, Departure::Unproved, now);
            changed.removed += pool.members.len() - members.len();
            let emptied = members.is_empty().then_some(now);
            let rest = self.pool(&pool.name, members, emptied);
            self.put(&pool.name, Some(rest));
        }
        changed
    }

    /// Removes endpoints of isolation segments that are not taken any more. Their names are other routers': nobody
    /// expects them here.
    pub fn keep_taken(&mut self, takes: impl Fn(Option<&str>) -> bool, now: Millis) -> Changed {
        let mut changed = Changed::default();
        let is_left = |member: &Member| !takes(member.endpoint.identity.isolation_segment());
        for pool in self.find(|pool| pool.members.iter().any(is_left)) {
            let members = self.part(&pool, is_left, Departure::Elsewhere, now);
            changed.removed += pool.members.len() - members.len();
            let rest = (!members.is_empty()).then(|| self.pool(&pool.name, members, None));
            self.put(&pool.name, rest);
        }
        changed
    }

    fn find(&self, wanted: impl Fn(&Pool) -> bool) -> Vec<Arc<Pool>> {
        let pools = self.table.iter().filter(|pool| wanted(pool));
        pools.cloned().collect()
    }

    /// Those of its members that do not leave it.
    fn part(
        &mut self,
        pool: &Pool,
        leaves: impl Fn(&Member) -> bool,
        why: Departure,
        now: Millis,
    ) -> Vec<Member> {
        let mut members = Vec::with_capacity(pool.members.len());
        for member in &pool.members {
            match leaves(member) {
                true => self.leaves(&pool.name, &member.endpoint.identity, why, now),
                false => members.push(member.clone()),
            }
        }
        members
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

/// Those of the newest member. While they stay, so does what they are held against; a route without members
/// keeps them: it has what it spent when the next one comes.
fn rules(known: Option<&Arc<Enforced>>, members: &[Member]) -> Option<Arc<Enforced>> {
    let Some(newest) = members.last() else {
        return known.cloned();
    };
    let wanted = newest.endpoint.identity.rules()?;
    match known {
        Some(known) if known.rules == *wanted => Some(known.clone()),
        Some(_) | None => Some(Arc::new(Enforced::new(wanted.clone()))),
    }
}

/// Whether a message of time `message` says less than what is known from `known` (0: no time), because it
/// was overtaken.
fn older(message: u64, known: u64) -> bool {
    message != 0 && known != 0 && message < known && known - message < OVERTAKES_NS
}

/// Whether both are told, and are not the same.
fn are_others(one: Option<&str>, other: Option<&str>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}
