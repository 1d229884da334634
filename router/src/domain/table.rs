//! The route table: names → pools of endpoints.
//!
//! **Problem.** Every request looks here, every registration (each instance, every 20 s) writes
//! here. Lookups must take no lock; registrations that change nothing must cost nothing.
//!
//! **Approach.** A [`Table`] is a value made of 256 shared shards. The one writer changes its own copy
//! (only shards touched since the last snapshot are copied) and publishes clones as snapshots. What
//! changes all the time (last seen, set aside, in flight) lives in atomics shared by all
//! snapshots, so a repeated registration publishes nothing.
//!
//! **What a newcomer gets wrong.**
//! - "Last seen" belongs to the pair of name and endpoint: an instance that stops registering one of
//!   its names must lose that name only.
//! - The same `host:port` may come back as another instance. It is then another [`Endpoint`], with
//!   fresh counters and connections, and a late unregistration of the old one must not hit it.
//! - Registrations and unregistrations come over two subjects and can overtake each other.
//!   If both carry `endpoint_updated_at_ns` the later one wins (a grave keeps the time of an
//!   unregistration for a while).

use super::announcement::{Address, Announcement, HashBy, Identity};
use super::balance::{Algorithm, stable_hash};
use super::route_service::ServiceUrl;
use super::tally::{Tallies, Tally};
use super::uri::{RouteName, covers};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Milliseconds on the router's own clock, which never goes back.
pub type Millis = u64;

const SHARDS: usize = 256;
/// How long an unregistration outweighs an older registration that arrives late.
const GRAVE: Millis = 60_000;
/// The same where the messages carry no time: long enough for two subscriptions to overtake each
/// other, too short for an instance to come back.
const SHORT_GRAVE: Millis = 250;
/// Most of them: beyond, a late registration may win for one period.
const MAX_GRAVES: usize = 100_000;
/// A sweep that is later than this was not late: the process was stopped.
const SLEPT: Millis = 3000;

/// When [`Endpoint::leave`] was said: later than any time.
const GONE: Millis = Millis::MAX;

/// One instance as a target. Shared by every pool that names it and by requests under way.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in this process: connections to it are kept under this number.
    pub number: u64,
    pub identity: Identity,
    /// The same on every router, for [`super::balance::choose_by_hash`].
    pub weight: u64,
    in_flight: AtomicUsize,
    /// Set aside until then.
    set_aside_until: AtomicU64,
}

impl Endpoint {
    pub fn new(number: u64, identity: Identity) -> Endpoint {
        let weight = match &identity.instance_id {
            Some(instance) => stable_hash(instance.as_bytes()),
            None => stable_hash(identity.address.to_string().as_bytes()),
        };
        Endpoint {
            number,
            weight,
            identity,
            in_flight: AtomicUsize::new(0),
            set_aside_until: AtomicU64::new(0),
        }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub fn is_set_aside(&self, now: Millis) -> bool {
        self.set_aside_until.load(Ordering::Relaxed) > now
    }

    pub fn set_aside(&self, until: Millis) {
        if !self.is_gone() {
            self.set_aside_until.store(until, Ordering::Relaxed);
        }
    }

    /// It failed to prove who it is: nobody may be sent there any more. Says whether that is new.
    pub fn leave(&self) -> bool {
        self.set_aside_until.swap(GONE, Ordering::Relaxed) != GONE
    }

    pub fn is_gone(&self) -> bool {
        self.set_aside_until.load(Ordering::Relaxed) == GONE
    }

    /// Counts one request until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Whether a registration of this identity means this endpoint.
    fn is_same(&self, identity: &Identity) -> bool {
        self.identity == *identity && !self.is_gone()
    }

    /// Whether the name of a component or of its app's guid is known, for metrics.
    pub fn component(&self) -> Option<&str> {
        self.identity.tags.get("component").map(String::as_str)
    }
}

/// A request that an endpoint is serving.
#[derive(Debug)]
pub struct InFlight(Arc<Endpoint>);

impl InFlight {
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An endpoint under one name.
#[derive(Debug)]
pub struct Member {
    pub endpoint: Arc<Endpoint>,
    /// What it answers under this name counts here.
    pub tally: Arc<Tally>,
    seen: AtomicU64,
    updated_at_ns: AtomicU64,
}

impl Member {
    pub fn seen(&self) -> Millis {
        self.seen.load(Ordering::Relaxed)
    }

    /// The time after which it is stale, given the router's own threshold.
    pub fn stale_after(&self, default: Millis) -> Millis {
        self.endpoint
            .identity
            .stale_after
            .map_or(default, |own| own.min(default))
    }
}

/// The endpoints of one name.
#[derive(Debug)]
pub struct Pool {
    pub name: RouteName,
    pub members: Vec<Arc<Member>>,
    turn: Arc<AtomicUsize>,
    /// Where its requests go first.
    pub service: Option<Arc<Service>>,
    /// When it lost its last endpoint without anybody asking for it.
    emptied: Option<Millis>,
}

/// A route service, as a route of its own with one endpoint.
#[derive(Debug)]
pub struct Service {
    pub url: ServiceUrl,
    pub pool: Arc<Pool>,
}

impl Service {
    fn number(&self) -> Option<u64> {
        self.pool
            .members
            .first()
            .map(|member| member.endpoint.number)
    }
}

impl Pool {
    pub fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// What the newest registration of the name asks for.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.members
            .last()
            .and_then(|member| member.endpoint.identity.algorithm)
    }

    /// The header whose value chooses the instance, if so.
    pub fn hash(&self) -> Option<&HashBy> {
        self.members
            .last()
            .and_then(|member| member.endpoint.identity.hash.as_ref())
    }

    pub fn find_instance(&self, id: &str) -> Option<&Arc<Member>> {
        self.find(|identity| identity.instance_id.as_deref() == Some(id))
    }

    pub fn find_index(&self, app: &str, index: &str) -> Option<&Arc<Member>> {
        self.find(|identity| {
            identity.app.as_deref() == Some(app)
                && identity.instance_index.as_deref() == Some(index)
        })
    }

    pub fn find_process_index(&self, process: &str, index: Option<&str>) -> Option<&Arc<Member>> {
        self.find(|identity| {
            identity.tags.get("process_id").map(String::as_str) == Some(process)
                && index.is_none_or(|index| identity.instance_index.as_deref() == Some(index))
        })
    }

    fn find(&self, wanted: impl Fn(&Identity) -> bool) -> Option<&Arc<Member>> {
        self.members
            .iter()
            .find(|member| wanted(&member.endpoint.identity))
    }
}

type Shard = HashMap<Box<str>, Vec<Arc<Pool>>>;

/// The table. `clone` is cheap: it shares.
#[derive(Debug, Clone)]
pub struct Table {
    shards: Vec<Arc<Shard>>,
    hasher: RandomState,
    /// Longest wildcard chain worth walking is decided by the host itself; this only skips the walk.
    wildcards: usize,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            shards: vec![Arc::default(); SHARDS],
            hasher: RandomState::new(),
            wildcards: 0,
        }
    }
}

impl Table {
    fn shard_of(&self, host: &str) -> usize {
        self.hasher.hash_one(host) as usize % SHARDS
    }

    fn pools(&self, host: &str) -> Option<&Vec<Arc<Pool>>> {
        self.shards[self.shard_of(host)].get(host)
    }

    /// Finds the pool for a request: the exact host first, then wildcards from the most specific;
    /// within a host the longest path that covers the request's. Both arguments are folded
    /// ([`super::uri`]).
    pub fn lookup(&self, host: &str, path: &str) -> Option<&Arc<Pool>> {
        let within = |host: &str| {
            self.pools(host)?
                .iter()
                .find(|pool| covers(&pool.name.path, path))
        };
        if let Some(pool) = within(host) {
            return Some(pool);
        }
        if self.wildcards == 0 {
            return None;
        }
        let mut rest = host;
        let mut wildcard = String::with_capacity(host.len() + 2);
        while let Some((_, parent)) = rest.split_once('.') {
            wildcard.clear();
            wildcard.push_str("*.");
            wildcard.push_str(parent);
            if let Some(pool) = within(&wildcard) {
                return Some(pool);
            }
            rest = parent;
        }
        None
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.shards
            .iter()
            .flat_map(|shard| shard.values())
            .flatten()
    }

    /// Names with at least one endpoint.
    pub fn count(&self) -> usize {
        self.iter().filter(|pool| !pool.members.is_empty()).count()
    }

    /// Replaces, adds or (with `None`) removes the pool of a name.
    fn put(&mut self, name: &RouteName, pool: Option<Pool>) {
        let shard = self.shard_of(&name.host);
        let shard = Arc::make_mut(&mut self.shards[shard]);
        let pools = shard.entry(name.host.as_str().into()).or_default();
        let before = pools.len();
        pools.retain(|pool| pool.name.path != name.path);
        if let Some(pool) = pool {
            pools.push(Arc::new(pool));
            pools.sort_by_key(|pool| std::cmp::Reverse(pool.name.path.len()));
        }
        let after = pools.len();
        if after == 0 {
            shard.remove(name.host.as_str());
        }
        if name.host.starts_with("*.") {
            self.wildcards = self.wildcards + after - before;
        }
    }

    fn get(&self, name: &RouteName) -> Option<&Arc<Pool>> {
        self.pools(&name.host)?
            .iter()
            .find(|pool| pool.name.path == name.path)
    }
}

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
    /// Unregistrations that carry a time, so that an older registration cannot undo them.
    graves: HashMap<(RouteName, Address), Grave>,
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
        Pool {
            name: name.clone(),
            members,
            turn,
            service: url.and_then(|url| self.service(&url)),
            emptied,
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
                emptied: None,
            }),
        });
        self.services.retain(|_, known| known.strong_count() > 0);
        self.services.insert(text.into(), Arc::downgrade(&service));
        Some(service)
    }

    /// Adds or refreshes the endpoint under each of its names.
    pub fn register(&mut self, announcement: &Announcement, now: Millis) -> Changed {
        let mut changed = Changed::default();
        let mut endpoint: Option<Arc<Endpoint>> = None;
        // An endpoint already known under any of the names is the same target: share it.
        for name in &announcement.names {
            let known = self.table.get(name).and_then(|pool| {
                pool.members
                    .iter()
                    .find(|member| member.endpoint.is_same(&announcement.identity))
            });
            if let Some(member) = known {
                endpoint = Some(member.endpoint.clone());
                break;
            }
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
                    members.remove(place);
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
            return announcement.updated_at_ns <= grave.updated_at_ns;
        }
        grave.instance_id.is_some()
            && grave.instance_id == announcement.identity.instance_id
            && now.saturating_sub(grave.since) < SHORT_GRAVE
    }

    /// Removes the endpoint from each of the names. A name that loses its last endpoint is forgotten,
    /// its owner said so; unless a successor is expected.
    pub fn unregister(&mut self, announcement: &Announcement, now: Millis) -> Changed {
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
                if pool.members.is_empty() && !announcement.returns {
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
            let mut members = pool.members.clone();
            members.remove(place);
            changed.removed += 1;
            let turn = pool.turn.clone();
            let emptied = (members.is_empty() && announcement.returns).then_some(now);
            let known = !members.is_empty() || emptied.is_some();
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
        // One over TLS proves who it is whenever it is asked: it goes when it cannot (contract §3 row 3).
        let is_stale = |member: &Arc<Member>| {
            member.endpoint.identity.tls.is_none()
                && now.saturating_sub(member.seen()) > member.stale_after(stale_after)
        };
        let is_over = |pool: &Pool| {
            pool.emptied
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
            let emptied = members.is_empty().then_some(now);
            let turn = pool.turn.clone();
            let rest = self.pool(&name, members, turn, emptied);
            self.table.put(&name, Some(rest));
        }
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
            let emptied = members.is_empty().then_some(now);
            let rest = self.pool(&pool.name, members, pool.turn.clone(), emptied);
            self.table.put(&pool.name, Some(rest));
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
        }
    }
}

/// Whether a message of time `message` says less than what is known from `known` (0: no time).
fn older(message: u64, known: u64) -> bool {
    message != 0 && known != 0 && message < known
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
