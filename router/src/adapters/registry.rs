//! The writer of the route table: one task that owns it, reads registrations from the bus, prunes,
//! publishes snapshots and keeps the file.
//!
//! The bus away is no reason to forget anybody: pruning stops, and on return every endpoint's clock
//! starts anew, because nobody could have registered in between (contract §3 row 4).

use super::backends::Backends;
use super::clock::Clock;
use super::condemned::Condemned;
use super::failures::Failures;
use super::sleepers::Sleepers;
use super::table_file;
use super::trust::Trust;
use crate::domain::announcement::Announcement;
use crate::domain::policy::{Isolation, Policy as Settings};
use crate::domain::table::{Changed, Registry, Table};
use arc_swap::ArcSwap;
use daemon::{Bus, ComponentId, Received, Shutdown, Subscription};
use futures_util::FutureExt;
use metrics::Counter;
use proto::bus::catalogue;
use proto::bus::router::{Registration, RouterStart};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Most messages taken before a snapshot is published.
const BATCH: usize = 1000;
/// How often the filling table is looked at.
const FILL_LOOK: Duration = Duration::from_millis(10);
/// Agents answer `router.start` well within this.
const FILL_ANSWER: Duration = Duration::from_millis(150);
/// No registration for so long: that was all.
const FILL_QUIET: Duration = Duration::from_millis(50);
/// Longest wait for a whole table.
const FILL_LONGEST: Duration = Duration::from_secs(1);
/// Shortest time between two writes of the file; after one that took long, as many times what it took.
const SAVE_EVERY: Duration = Duration::from_secs(2);
const SAVE_SHARE: u32 = 50;
/// Whoever was slower to come back to the bus than we missed `router.start`: it is said twice.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(2);
/// Shortest interval at which clients may register, told to them.
const MINIMUM_REGISTER_INTERVAL: u64 = 5;

pub struct Keeper {
    pub bus: Bus,
    pub component: ComponentId,
    pub hosts: Vec<String>,
    pub registry: Arc<tokio::sync::Mutex<Registry>>,
    pub table: Arc<ArcSwap<Table>>,
    /// The routes that have ports are others now.
    pub ports_changed: Arc<Notify>,
    /// Who waits for a change of the table.
    pub sleepers: Arc<Sleepers>,
    pub policy: Arc<ArcSwap<Settings>>,
    /// The policy is another one now.
    pub policy_changed: Arc<Notify>,
    /// Of each thread.
    pub backends: Vec<Arc<Backends>>,
    pub trust: Arc<Trust>,
    pub condemned: Arc<Condemned>,
    pub failures: Arc<Failures>,
    pub clock: Clock,
    pub file: PathBuf,
    pub counts: Arc<RegistryCounts>,
}

/// What the registry counts, for `/varz`.
pub struct RegistryCounts {
    pub registrations: AtomicU64,
    pub unregistrations: AtomicU64,
    pub rejected: AtomicU64,
    pub pruned: AtomicU64,
    /// On the router's clock; 0 before the first.
    pub last_update: AtomicU64,
    register_metric: Counter,
    unregister_metric: Counter,
}

impl Default for RegistryCounts {
    fn default() -> RegistryCounts {
        let messages = |action| metrics::counter!("registry_message", "action" => action);
        RegistryCounts {
            registrations: AtomicU64::new(0),
            unregistrations: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            pruned: AtomicU64::new(0),
            last_update: AtomicU64::new(0),
            register_metric: messages("register"),
            unregister_metric: messages("unregister"),
        }
    }
}

/// The two subjects in the order in which they are to be applied.
enum Event {
    Unregister(Option<Received<Registration>>),
    Register(Option<Received<Registration>>),
    Condemned(Vec<u64>),
    Sweep,
    Save,
    Saved,
    AnnounceAgain,
    Policy,
    Bus,
    Draining,
}

impl Keeper {
    fn greeting(&self) -> RouterStart {
        RouterStart {
            id: self.component.to_string(),
            hosts: self.hosts.clone(),
            minimum_register_interval_in_seconds: MINIMUM_REGISTER_INTERVAL,
            prune_threshold_in_seconds: (self.policy.load().stale_after / 1000).max(1),
        }
    }

    /// Answers `router.greet`.
    pub async fn greet(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut greetings = self
            .bus
            .subscribe(&catalogue::router_greet().filter())
            .await?;
        loop {
            tokio::select! {
                greeting = greetings.next() => match greeting {
                    Some(greeting) if greeting.wants_reply() => {
                        if let Err(error) = greeting.respond(&self.greeting()).await {
                            tracing::debug!(%error, "a greeting could not be answered");
                        }
                    }
                    Some(_) => {}
                    None => anyhow::bail!("the subscription to router.greet ended"),
                },
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// Owns the table until the daemon drains.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut registry = self.registry.lock().await;
        let mut gone = self
            .bus
            .subscribe(&catalogue::router_unregister().filter())
            .await?;
        let mut come = self
            .bus
            .subscribe(&catalogue::router_register().filter())
            .await?;
        let mut status = self.bus.status();
        let mut connected = false;
        // Away and back between two looks is away all the same.
        let mut reconnects = 0;
        status.mark_changed();
        // (The last table may be one of other segments.)
        let mut isolation = Isolation::All;
        self.policy_changed.notify_one();
        let mut dirty = false;
        let mut again: Option<tokio::time::Instant> = None;
        let mut sweep = tokio::time::Instant::now() + self.policy.load().sweep;
        let mut save = tokio::time::Instant::now() + SAVE_EVERY;
        // Beside everything else: a large table takes a second.
        let mut saving: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
        let mut saving_since = tokio::time::Instant::now();
        loop {
            let is_saving = saving.is_some();
            let event = tokio::select! {
                biased;
                () = shutdown.draining() => Event::Draining,
                changed = status.changed() => { changed?; Event::Bus }
                () = self.policy_changed.notified() => Event::Policy,
                // Who says goodbye comes first: "gone, then back" must end with "there".
                message = gone.next() => Event::Unregister(message),
                message = come.next() => Event::Register(message),
                numbers = self.condemned.next() => Event::Condemned(numbers),
                () = tokio::time::sleep_until(sweep) => Event::Sweep,
                () = tokio::time::sleep_until(save), if dirty && !is_saving => Event::Save,
                () = async { match &mut saving { Some(saving) => saving.await, None => std::future::pending().await } } => Event::Saved,
                () = tokio::time::sleep_until(again.unwrap_or(save)), if again.is_some() => Event::AnnounceAgain,
            };
            let changed = match event {
                Event::Unregister(None) | Event::Register(None) => {
                    anyhow::bail!("a subscription to the bus ended")
                }
                Event::Unregister(Some(first)) => {
                    self.apply(&mut registry, Some(first), None, &mut gone, &mut come)
                }
                Event::Register(Some(first)) => {
                    self.apply(&mut registry, None, Some(first), &mut gone, &mut come)
                }
                Event::Condemned(numbers) => registry.remove(&numbers, self.clock.now()),
                Event::Policy => {
                    let policy = self.policy.load_full();
                    if policy.isolation == isolation {
                        Changed::default()
                    } else {
                        isolation = policy.isolation.clone();
                        let takes = |segment: Option<&str>| isolation.takes(segment);
                        let changed = registry.keep_taken(takes, self.clock.now());
                        tracing::info!(
                            removed = changed.removed,
                            "the isolation segments of this router changed"
                        );
                        // Those that are taken now come when they are asked for.
                        if connected {
                            self.announce().await;
                        }
                        changed
                    }
                }
                Event::Bus => {
                    let (now_connected, now_reconnects) = {
                        let status = status.borrow_and_update();
                        (status.connected, status.reconnects)
                    };
                    if now_connected && (!connected || now_reconnects != reconnects) {
                        registry.refresh_all(self.clock.now());
                        self.announce().await;
                        again = Some(tokio::time::Instant::now() + ANNOUNCE_AGAIN);
                    }
                    if connected && !now_connected {
                        tracing::warn!("the bus is away: routes are kept as they are");
                    }
                    connected = now_connected;
                    reconnects = now_reconnects;
                    Changed::default()
                }
                Event::Sweep => {
                    let policy = self.policy.load();
                    sweep = tokio::time::Instant::now() + policy.sweep;
                    let changed = if connected {
                        let every = policy.sweep.as_millis() as u64;
                        registry.sweep(self.clock.now(), every, policy.stale_after)
                    } else {
                        Changed::default()
                    };
                    self.after_sweep(&registry, changed);
                    changed
                }
                Event::AnnounceAgain => {
                    again = None;
                    if connected {
                        self.announce().await;
                    }
                    Changed::default()
                }
                Event::Save => {
                    dirty = false;
                    saving_since = tokio::time::Instant::now();
                    let (keeper, table) = (self.clone(), registry.snapshot());
                    saving = Some(Box::pin(async move { keeper.save(table).await }));
                    Changed::default()
                }
                Event::Saved => {
                    saving = None;
                    let rest = SAVE_EVERY.max(saving_since.elapsed() * SAVE_SHARE);
                    save = tokio::time::Instant::now() + rest;
                    Changed::default()
                }
                Event::Draining => {
                    if let Some(saving) = saving {
                        saving.await;
                    }
                    if dirty {
                        self.save(registry.snapshot()).await;
                    }
                    return Ok(());
                }
            };
            if changed.visible() {
                let table = registry.snapshot();
                // (Most changes are those of names.)
                let same_ports = Arc::ptr_eq(table.ports(), self.table.load().ports());
                self.table.store(Arc::new(table));
                if !same_ports {
                    self.ports_changed.notify_one();
                }
                self.sleepers.table_changed();
                if !dirty {
                    dirty = true;
                    save = save.max(tokio::time::Instant::now() + SAVE_EVERY);
                }
            }
        }
    }

    /// Waits until the table is likely whole: what changed since it was last saved is registered
    /// again within moments of `router.start`. Until then clients wait in the open socket, which is
    /// better than denying a name. Without a bus the last table must do.
    pub async fn fill(&self, shutdown: &Shutdown) {
        let begun = tokio::time::Instant::now();
        let mut quiet_since = begun;
        let mut seen = 0;
        let mut connected_since = None;
        loop {
            tokio::select! {
                () = shutdown.draining() => return,
                () = tokio::time::sleep(FILL_LOOK) => {}
            }
            let now = tokio::time::Instant::now();
            if self.bus.status().borrow().connected {
                connected_since.get_or_insert(now);
            }
            let registrations = self.counts.registrations.load(Ordering::Relaxed);
            if registrations != seen {
                seen = registrations;
                quiet_since = now;
            }
            let heard = connected_since.is_some_and(|since| now - since >= FILL_ANSWER);
            if (heard && now - quiet_since >= FILL_QUIET) || now - begun >= FILL_LONGEST {
                return;
            }
        }
    }

    async fn announce(&self) {
        if let Err(error) = self
            .bus
            .publish(&catalogue::router_start(), &self.greeting())
            .await
        {
            tracing::warn!(%error, "router.start could not be published");
        }
    }

    async fn save(&self, table: Table) {
        if let Err(error) = table_file::save(&self.file, table).await {
            tracing::warn!(error = %format!("{error:#}"), "the route table could not be kept on disk");
        }
    }

    fn after_sweep(&self, registry: &Registry, changed: Changed) {
        if changed.removed > 0 {
            tracing::warn!(
                endpoints = changed.removed,
                "stale registrations were pruned"
            );
            self.counts
                .pruned
                .fetch_add(changed.removed as u64, Ordering::Relaxed);
            metrics::counter!("routes_pruned").increment(changed.removed as u64);
        }
        let numbers = registry.numbers();
        for backends in &self.backends {
            backends.sweep(&numbers);
        }
        self.failures.sweep(self.clock.now());
        metrics::gauge!("total_routes").set(registry.table().count() as f64);
    }

    /// Applies a message and whatever else is waiting, so that a flood costs few snapshots.
    fn apply(
        &self,
        registry: &mut Registry,
        mut gone_now: Option<Received<Registration>>,
        mut come_now: Option<Received<Registration>>,
        gone: &mut Subscription<Registration>,
        come: &mut Subscription<Registration>,
    ) -> Changed {
        let mut changed = Changed::default();
        for _ in 0..BATCH {
            if gone_now.is_none() {
                gone_now = gone.next().now_or_never().flatten();
            }
            if let Some(message) = gone_now.take() {
                changed.add(self.unregister(registry, &message));
                continue;
            }
            if come_now.is_none() {
                come_now = come.next().now_or_never().flatten();
            }
            match come_now.take() {
                Some(message) => changed.add(self.register(registry, &message)),
                None => break,
            }
        }
        self.counts
            .last_update
            .store(self.clock.now(), Ordering::Relaxed);
        changed
    }

    fn register(&self, registry: &mut Registry, received: &Received<Registration>) -> Changed {
        self.counts.registrations.fetch_add(1, Ordering::Relaxed);
        self.counts.register_metric.increment(1);
        let Some(announcement) = self.announced(received) else {
            self.counts.rejected.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("registrations_rejected_total").increment(1);
            return Changed::default();
        };
        if announcement.invalid > 0 {
            tracing::debug!(endpoint = %announcement.identity.at(), invalid = announcement.invalid, "a registration has uris that name no route");
        }
        let segment = announcement.identity.isolation_segment();
        if !self.policy.load().isolation.takes(segment) {
            return Changed::default();
        }
        let changed = registry.register(&announcement, self.clock.now());
        if changed.added + changed.replaced > 0 {
            tracing::debug!(endpoint = %announcement.identity.at(), names = announcement.names.len(), "registered");
        }
        changed
    }

    fn unregister(&self, registry: &mut Registry, received: &Received<Registration>) -> Changed {
        self.counts.unregistrations.fetch_add(1, Ordering::Relaxed);
        self.counts.unregister_metric.increment(1);
        let Some(announcement) = self.announced(received) else {
            return Changed::default();
        };
        tracing::debug!(endpoint = %announcement.identity.at(), "unregistered");
        registry.unregister(&announcement, self.clock.now())
    }

    /// What a message announces; one that makes no sense is ignored with the reason.
    fn announced(&self, received: &Received<Registration>) -> Option<Announcement> {
        let message = &received.message;
        match Announcement::read(message, self.trust.is_there()) {
            Ok(announcement) => Some(announcement),
            Err(rejected) => {
                received.ignore(
                    "rejected",
                    format_args!(
                        "{} at {:?}: {rejected}",
                        message.uris.join(" "),
                        message.host
                    ),
                );
                None
            }
        }
    }
}

/// The table for `/routes`, in the form of Cloud Foundry's router (contract §3 row 34).
pub fn describe(table: &Table, stale_after: u64) -> serde_json::Value {
    let mut routes = serde_json::Map::new();
    for pool in table.iter() {
        let members = pool.members.iter().map(|member| {
            let identity = &member.endpoint.identity;
            serde_json::json!({
                "address": identity.at().to_string(),
                "protocol": identity.protocol(&pool.name),
                "tls": identity.tls().is_some(),
                "server_cert_domain_san": identity.tls().and_then(|tls| tls.registered.as_deref()),
                "ttl": member.stale_after(stale_after) / 1000,
                "tags": identity.tags().to_map(),
                "app": identity.app(),
                "private_instance_id": identity.instance_id(),
                "private_instance_index": identity.instance_index(),
                "route_service_url": identity.route_service(),
                "isolation_segment": identity.isolation_segment(),
                "availability_zone": identity.zone(),
                "load_balancing_algorithm": identity.algorithm().map(|algorithm| algorithm.name()),
                "in_flight": member.endpoint.in_flight(),
            })
        });
        routes.insert(pool.name.to_string(), members.collect());
    }
    routes.into()
}
