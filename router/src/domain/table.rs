//! The route table: names → pools of endpoints.
//!
//! **Problem.** Every request looks here, every registration (each instance, every 20 s) writes
//! here. Lookups must take no lock; registrations that change nothing must cost nothing.
//!
//! **Approach.** A [`Table`] is a value: a tree of shared pools. The one writer changes its own copy
//! (only the branches above what changed since the last snapshot are copied) and publishes clones as snapshots. What
//! changes all the time (last seen, set aside, in flight) lives in atomics of what all
//! snapshots share, so a repeated registration publishes nothing.
//!
//! **What a newcomer gets wrong.**
//! - "Last seen" belongs to the pair of name and endpoint: an instance that stops registering one of
//!   its names must lose that name only.
//! - The same `host:port` may come back as another instance. It is then another [`Endpoint`], with
//!   fresh counters and connections, and a late unregistration of the old one must not hit it.

mod registry;
mod tenants;
mod tree;

pub use registry::{Changed, Registry};

use super::balance::{Algorithm, stable_hash};
use super::identity::{HashBy, Identity};
use super::route_rules::Enforced;
use super::route_service::ServiceUrl;
use super::tally::Tally;
use super::uri::{RouteName, covers};
use proto::ports::Port;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use tree::Node;

/// Milliseconds on the router's own clock, which never goes back.
pub type Millis = u64;

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
    in_flight: AtomicU32,
    /// Set aside until then.
    set_aside_until: AtomicU64,
}

impl Endpoint {
    pub fn new(number: u64, identity: Identity) -> Endpoint {
        let weight = match identity.instance_id() {
            Some(instance) => stable_hash(instance.as_bytes()),
            None => stable_hash(identity.at().to_string().as_bytes()),
        };
        Endpoint {
            number,
            weight,
            identity,
            in_flight: AtomicU32::new(0),
            set_aside_until: AtomicU64::new(0),
        }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed) as usize
    }

    pub fn is_set_aside(&self, now: Millis) -> bool {
        self.set_aside_until.load(Ordering::Relaxed) > now
    }

    /// How long it still is; 0: it is not.
    pub fn set_aside_for(&self, now: Millis) -> Millis {
        self.set_aside_until
            .load(Ordering::Relaxed)
            .saturating_sub(now)
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
        self.identity.tags().get("component")
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

/// An endpoint under one name. Its times are the writer's: it changes those of the pool that is in the table.
#[derive(Debug)]
pub struct Member {
    pub endpoint: Arc<Endpoint>,
    /// What it answers under this name counts here. Members of the same app share it.
    pub tally: Arc<Tally>,
    seen: AtomicU64,
    updated_at_ns: AtomicU64,
}

impl Clone for Member {
    fn clone(&self) -> Member {
        Member {
            endpoint: self.endpoint.clone(),
            tally: self.tally.clone(),
            seen: AtomicU64::new(self.seen()),
            updated_at_ns: AtomicU64::new(self.updated_at_ns()),
        }
    }
}

impl Member {
    pub fn seen(&self) -> Millis {
        self.seen.load(Ordering::Relaxed)
    }

    fn updated_at_ns(&self) -> u64 {
        self.updated_at_ns.load(Ordering::Relaxed)
    }

    /// It was not registered again when it should have been: its agent may be gone.
    pub fn is_overdue(&self, now: Millis, overdue_after: Millis) -> bool {
        now.saturating_sub(self.seen()) > overdue_after
    }

    /// The time after which it is stale, given the router's own threshold.
    pub fn stale_after(&self, default: Millis) -> Millis {
        self.endpoint
            .identity
            .stale_after()
            .map_or(default, |own| own.min(default))
    }
}

/// The endpoints of one name.
#[derive(Debug)]
pub struct Pool {
    pub name: RouteName,
    pub members: Box<[Member]>,
    turn: AtomicUsize,
    /// The newest registration says how its instances are chosen. (So that requests need not look at it.)
    says_how: bool,
    /// Where its requests go first.
    pub service: Option<Arc<Service>>,
    /// What its owner set for its requests.
    pub rules: Option<Arc<Enforced>>,
    /// When it lost its last endpoint without anybody asking for it.
    emptied: Option<Millis>,
    /// Whom a request wakes while there is no endpoint.
    sleeper: Option<Arc<Sleeper>>,
}

/// A process that sleeps: it has no instances until somebody asks for it.
#[derive(Debug)]
pub struct Sleeper {
    pub process: Box<str>,
    seen: AtomicU64,
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

    /// When it lost its last endpoint without anybody asking for it.
    pub fn emptied(&self) -> Option<Millis> {
        self.emptied
    }

    /// Whom a request wakes: there is no endpoint because the process sleeps.
    pub fn sleeper(&self) -> Option<&Arc<Sleeper>> {
        self.sleeper.as_ref().filter(|_| self.members.is_empty())
    }

    /// What the newest registration of the name asks for.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.newest()?.algorithm()
    }

    /// The header whose value chooses the instance, if so.
    pub fn hash(&self) -> Option<&HashBy> {
        self.newest()?.hash()
    }

    /// Who says how instances are chosen, if anybody does.
    fn newest(&self) -> Option<&Identity> {
        let newest = self.members.last().filter(|_| self.says_how)?;
        Some(&newest.endpoint.identity)
    }

    /// Whoever looks at it most likely wants its members, and their tally. In a large table they are in no cache: asked for
    /// here, before it is known whether this is the pool, they come while its name does, not one after the other.
    fn expect_use(&self) {
        if let Some(member) = self.members.first() {
            std::hint::black_box(member.tally.expect_use());
        }
    }

    pub fn find_instance(&self, id: &str) -> Option<&Member> {
        self.find(|identity| identity.instance_id() == Some(id))
    }

    pub fn find_index(&self, app: &str, index: &str) -> Option<&Member> {
        self.find(|identity| {
            identity.app() == Some(app) && identity.instance_index() == Some(index)
        })
    }

    pub fn find_process_index(&self, process: &str, index: Option<&str>) -> Option<&Member> {
        self.find(|identity| {
            identity.tags().get("process_id") == Some(process)
                && index.is_none_or(|index| identity.instance_index() == Some(index))
        })
    }

    /// Where the member is that has the identity's address.
    fn place_of(&self, identity: &Identity) -> Option<usize> {
        let mut members = self.members.iter();
        members.position(|member| member.endpoint.identity.at() == identity.at())
    }

    /// A member for each tally: those of the same app share it.
    fn tallied(&self) -> impl Iterator<Item = &Member> {
        let first = |place: usize, tally: &Arc<Tally>| {
            let mut before = self.members[..place].iter();
            !before.any(|member| Arc::ptr_eq(&member.tally, tally))
        };
        let members = self.members.iter().enumerate();
        members
            .filter(move |(place, member)| first(*place, &member.tally))
            .map(|(_, member)| member)
    }

    /// A new one, with nothing but them.
    fn of(name: RouteName, members: Box<[Member]>) -> Pool {
        let says_how = members.last().is_some_and(|newest| {
            let identity = &newest.endpoint.identity;
            identity.algorithm().is_some() || identity.hash().is_some()
        });
        Pool {
            name,
            members,
            turn: AtomicUsize::new(0),
            says_how,
            service: None,
            rules: None,
            emptied: None,
            sleeper: None,
        }
    }

    fn find(&self, wanted: impl Fn(&Identity) -> bool) -> Option<&Member> {
        self.members
            .iter()
            .find(|member| wanted(&member.endpoint.identity))
    }
}

/// The table. `clone` is cheap: it shares.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pools: Node,
    hasher: RandomState,
    /// Longest wildcard chain worth walking is decided by the host itself; this only skips the walk.
    wildcards: usize,
    /// The routes that have a port to themselves.
    ports: Arc<Ports>,
}

/// By port, in the order in which they came: the first has it. (That there are others is a fault of whoever gave the
/// port out, or the time in which it changes hands.)
pub type Ports = BTreeMap<Port, Vec<Arc<Pool>>>;

impl Table {
    /// Finds the pool for a request: the exact host first, then wildcards from the most specific;
    /// within a host the longest path that covers the request's. Both arguments are folded
    /// ([`super::uri`]).
    pub fn lookup(&self, host: &str, path: &str) -> Option<&Arc<Pool>> {
        let within = |host: &str| {
            let mut pools = self.pools.of(self.hasher.hash_one(host), host);
            let (_, pool) = pools.find(|(prefix, _)| covers(prefix, path))?;
            Some(pool)
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

    /// Who has the port.
    pub fn at_port(&self, port: Port) -> Option<&Arc<Pool>> {
        self.ports.get(&port)?.first()
    }

    /// All routes that have ports.
    pub fn ports(&self) -> &Arc<Ports> {
        &self.ports
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.iter()
    }

    /// A member for each tally, with its route.
    pub fn tallied(&self) -> impl Iterator<Item = (&RouteName, &Member)> {
        self.iter()
            .flat_map(|pool| pool.tallied().map(|member| (&pool.name, member)))
    }

    /// Names with at least one endpoint.
    pub fn count(&self) -> usize {
        self.iter().filter(|pool| !pool.members.is_empty()).count()
    }

    /// Replaces, adds or (with `None`) removes the pool of a name.
    fn put(&mut self, name: &RouteName, pool: Option<Pool>) {
        let pool = pool.map(Arc::new);
        if let Some(port) = name.port() {
            self.put_at_port(port, name, pool.clone());
        }
        let (is, hash) = (pool.is_some(), self.hasher.hash_one(name.host()));
        let was = self.pools.put(hash, name, pool);
        if name.host().starts_with("*.") {
            self.wildcards = self.wildcards + usize::from(is) - usize::from(was);
        }
    }

    fn put_at_port(&mut self, port: Port, name: &RouteName, pool: Option<Arc<Pool>>) {
        let ports = Arc::make_mut(&mut self.ports);
        let pools = ports.entry(port).or_default();
        let place = pools.iter().position(|known| known.name == *name);
        match (place, pool) {
            (Some(place), Some(pool)) => pools[place] = pool,
            (Some(place), None) => {
                pools.remove(place);
            }
            (None, Some(pool)) => pools.push(pool),
            (None, None) => {}
        }
        if pools.is_empty() {
            ports.remove(&port);
        }
    }

    fn get(&self, name: &RouteName) -> Option<&Arc<Pool>> {
        let (host, path) = name.parts();
        let mut pools = self.pools.of(self.hasher.hash_one(host), host);
        let (_, pool) = pools.find(|(known, _)| *known == path)?;
        Some(pool)
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
