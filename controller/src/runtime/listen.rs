//! What the controller hears on the bus. Each subject has its own task, so that none waits behind
//! another; handlers only change the picture in memory or start a unit of work.

use super::state::State;
use super::{Shared, completed, crashes, sleepers, traffic};
use crate::store::facts;
use daemon::{Received, Shutdown};
use proto::bus::catalogue::{self, QUEUE_CONTROLLERS, QUEUE_CRASHES};
use proto::bus::dea::{Advertisement, Hello, Shutdown as AgentShutdown};
use proto::bus::health::{BulkCredentials, ExitReason, Exited, HealthRequest, Heartbeat};
use proto::bus::staging::StagingCompleted;
use proto::bus::{Empty, Filter, Payload};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// Why a message is left to be told again.
const TOO_MANY: &str = "too many at once";
/// How often silence is looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// Begins to listen to everything. The subscriptions are on the connection before the agents are asked
/// to show up, so that no answer is missed.
pub(super) async fn start(shared: &Arc<Shared>) {
    follow(
        shared,
        "hear-advertisements",
        catalogue::dea_advertise().filter(),
        advertised,
    )
    .await;
    follow(
        shared,
        "hear-hellos",
        catalogue::dea_hello().filter(),
        hello,
    )
    .await;
    follow(
        shared,
        "hear-shutdowns",
        catalogue::dea_shutdown().filter(),
        leaving,
    )
    .await;
    follow(
        shared,
        "hear-heartbeats",
        catalogue::dea_heartbeat().filter(),
        heartbeat,
    )
    .await;
    follow(
        shared,
        "hear-exits",
        catalogue::droplet_exited().filter(),
        exited,
    )
    .await;
    follow(
        shared,
        "record-exits",
        catalogue::droplet_exited().shared(QUEUE_CRASHES),
        record_exit,
    )
    .await;
    follow(
        shared,
        "hear-health-requests",
        catalogue::hm_requests().shared(QUEUE_CONTROLLERS),
        health_request,
    )
    .await;
    follow(
        shared,
        "tell-bulk-credentials",
        catalogue::bulk_credentials().shared(QUEUE_CONTROLLERS),
        bulk_credentials,
    )
    .await;
    follow(
        shared,
        "hear-stagings",
        catalogue::staging_completed().shared(QUEUE_CONTROLLERS),
        staging_completed,
    )
    .await;
    follow(
        shared,
        "hear-traffic",
        catalogue::router_traffic().filter(),
        traffic::heard,
    )
    .await;
    follow(
        shared,
        "hear-wakes",
        catalogue::router_wake().filter(),
        sleepers::wished,
    )
    .await;
    shared.tasks.keep("sweep-agents", shared, sweep);
}

async fn follow<M: Payload>(
    shared: &Arc<Shared>,
    name: &'static str,
    filter: Filter<M>,
    handle: fn(&Arc<Shared>, Received<M>),
) {
    let listening = shared.clone();
    daemon::follow(&shared.bus, &shared.tasks, name, filter, move |message| {
        handle(&listening, message)
    })
    .await;
}

fn advertised(shared: &Arc<Shared>, received: Received<Advertisement>) {
    let (now, fresh) = (shared.clock.now(), shared.advertisement_ttl());
    let mut state = shared.state();
    let matters = state.picture.advertised(received.message, now, fresh) || state.tasks.waiting;
    drop(state);
    if matters {
        shared.seen();
    }
}

fn hello(shared: &Arc<Shared>, received: Received<Hello>) {
    let mut state = shared.state();
    state.picture.came_up(&received.message.id);
    state.resend_uris = true;
    drop(state);
    info!(dea = %received.message.id, "an agent came up");
    shared.seen();
}

fn leaving(shared: &Arc<Shared>, received: Received<AgentShutdown>) {
    let goodbye = received.message;
    let (now, dea) = (shared.clock.now(), goodbye.id.clone());
    let mut state = shared.state();
    let is_news = state.picture.leaving(goodbye, now);
    drop(state);
    if is_news {
        info!(%dea, "an agent takes no more work");
    }
}

fn heartbeat(shared: &Arc<Shared>, received: Received<Heartbeat>) {
    let now = shared.clock.now();
    let beat = received.message;
    let mut state = shared.state();
    let news = state.picture.beat(&beat, now);
    if let Some(tasks) = beat.yard_tasks {
        state
            .tasks
            .told(&beat.dea, tasks.into_iter().collect(), now);
    }
    drop(state);
    if news {
        shared.seen();
    }
}

fn exited(shared: &Arc<Shared>, received: Received<Exited>) {
    let now = shared.clock.now();
    shared.state().picture.exited(&received.message, now);
    shared.seen();
}

/// One of the controllers records a crash and acknowledges.
fn record_exit(shared: &Arc<Shared>, received: Received<Exited>) {
    match received.message.reason {
        ExitReason::Crashed => metrics::counter!("controller_crashes_total").increment(1),
        ExitReason::Stopped | ExitReason::DeaShutdown | ExitReason::DeaEvacuation => {}
    }
    // Too many at once: unanswered, so told again.
    let Ok(permit) = shared.reports.clone().try_acquire_owned() else {
        return received.pass_over(TOO_MANY);
    };
    let shared = shared.clone();
    shared.tasks.clone().spawn_once("record-exit", async move {
        crashes::record(&shared, received).await;
        drop(permit);
    });
}

/// The leader checks it in its next round; another controller writes it down for the leader.
fn health_request(shared: &Arc<Shared>, received: Received<HealthRequest>) {
    metrics::counter!("controller_health_requests_total").increment(1);
    if shared.epoch.borrow().is_some() {
        let now = shared.clock.now();
        let (request, from) = received.open();
        let taken = shared.state().picture.ask(now, request);
        if !taken {
            from.pass_over(TOO_MANY);
            warn!(
                "too many requests of the health manager wait; one was dropped and will be repeated"
            );
        }
        shared.seen();
        return;
    }
    let Ok(permit) = shared.reports.clone().try_acquire_owned() else {
        return received.pass_over(TOO_MANY);
    };
    let shared = shared.clone();
    shared.tasks.clone().spawn_once("hand-on-health-request", async move {
        if let Err(error) = hand_on(&shared, &received.message).await {
            warn!(error = &error as &dyn std::error::Error, droplet = %received.message.droplet, "a request of the health manager could not be handed on");
        }
        drop(permit);
    });
}

async fn hand_on(shared: &Shared, request: &HealthRequest) -> Result<(), crate::store::StoreError> {
    // Texts and numbers only: it was JSON a moment ago.
    let payload = serde_json::to_value(request).unwrap_or_default();
    let mut tx = shared
        .store
        .write("hand on a request of the health manager")
        .await?;
    facts::append(
        &mut tx,
        facts::Kind::HealthRequested,
        request.droplet.as_str(),
        payload,
        super::clock::unix_micros(),
    )
    .await?;
    tx.commit().await?;
    shared.committed.notify_one();
    Ok(())
}

fn bulk_credentials(shared: &Arc<Shared>, received: Received<Empty>) {
    let Ok(permit) = shared.reports.clone().try_acquire_owned() else {
        return received.pass_over(TOO_MANY);
    };
    let shared = shared.clone();
    shared
        .tasks
        .clone()
        .spawn_once("tell-bulk-credentials", async move {
            let credentials = BulkCredentials {
                user: shared.config.bulk_user.clone(),
                password: shared.config.bulk_password.clone(),
                yard_url: Some(format!("http://{}", shared.config.advertise)),
            };
            if let Err(error) = received.respond(&credentials).await {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the bulk credentials could not be told"
                );
            }
            drop(permit);
        });
}

fn staging_completed(shared: &Arc<Shared>, received: Received<StagingCompleted>) {
    let Ok(permit) = shared.reports.clone().try_acquire_owned() else {
        return received.pass_over(TOO_MANY);
    };
    let shared = shared.clone();
    shared
        .tasks
        .clone()
        .spawn_once("commit-staging", async move {
            completed::handle(&shared, received).await;
            drop(permit);
        });
}

/// Looks for silence, and notices when the bus comes and goes.
async fn sweep(shared: Arc<Shared>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut bus = shared.bus.status();
    let mut tick = tokio::time::interval(SWEEP);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut was_connected = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            changed = bus.changed() => changed?,
            () = shutdown.cancelled() => return Ok(()),
        }
        let now = shared.clock.now();
        let status = bus.borrow_and_update().clone();
        let returned = status.connected
            && (!was_connected || shared.state().picture.connected_since.is_none());
        if returned {
            let mut state = shared.state();
            state.picture.bus_came(now);
            state.traffic.begin_anew(now);
            state.resend_uris = true;
        } else if !status.connected {
            shared.state().picture.bus_went();
        }
        was_connected = status.connected;
        if returned {
            // Agents advertise at once, so that placement knows them.
            if let Err(error) = shared.bus.publish(&catalogue::dea_locate(), &Empty).await {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the agents could not be asked to show up"
                );
            }
            shared.seen();
        }
        if status.connected {
            expire(&shared, now);
        }
    }
}

fn expire(shared: &Shared, now: Duration) {
    let lost_after = shared.lost_after();
    let mut state = shared.state();
    let lost = state.picture.sweep(now, lost_after);
    for agent in &lost {
        state.tasks.lost(&agent.dea);
    }
    gauges(&state);
    drop(state);
    for agent in &lost {
        warn!(dea = %agent.dea, silent_for = ?agent.silent_for, instances = agent.instances.len(), "an agent is lost");
        metrics::counter!("controller_agents_lost_total").increment(1);
    }
    if !lost.is_empty() {
        shared.seen();
    }
}

fn gauges(state: &State) {
    use proto::bus::health::InstanceState;
    let count = |what| state.picture.observed.count(what) as f64;
    metrics::gauge!("controller_instances", "state" => "running")
        .set(count(InstanceState::Running));
    metrics::gauge!("controller_instances", "state" => "starting")
        .set(count(InstanceState::Starting));
    metrics::gauge!("controller_instances", "state" => "crashed")
        .set(count(InstanceState::Crashed));
    metrics::gauge!("controller_processes_waiting").set(state.picture.waiting.len() as f64);
}
