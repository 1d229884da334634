//! Lets web processes fall asleep that nobody asks for, and wakes those that somebody does ask for.
//!
//! That one sleeps is a row: its wanted instances count as none, and whoever plans (the dispatcher, the health manager)
//! plans for none. Its names lead to its sleep meanwhile: the leader registers them with the routers as those of a process
//! to be woken (`yard_wakes`), before its instances are stopped and until one runs again. A router that gets a request
//! holds it and repeats `yard.router.wake`; a wish is answered by the row alone, so that it does not matter how often it comes.
//!
//! What a newcomer gets wrong: when an app was asked for last is known from the routers' reports, and from nothing else. While
//! one of them is not heard, or this controller has not listened for as long, nothing falls asleep.

use super::{Shared, clock};
use crate::api::announce;
use crate::domain::sleep::{self, Sleepy, Step};
use crate::domain::traffic::Policy;
use crate::store::apps::App;
use crate::store::audit_events::{self, By, On};
use crate::store::facts::{self, Kind};
use crate::store::processes::Process;
use crate::store::sleepers::{self, Sleeper};
use crate::store::{StoreError, platform_events, routes};
use daemon::{Received, Shutdown};
use proto::bus::catalogue;
use proto::bus::health::InstanceState;
use proto::bus::router::Registration;
use proto::bus::stream::WakeProcess;
use proto::ids::ProcessGuid;
use proto::ports;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(1);
/// Names of sleepers are read again this often.
const NAMES_AGAIN: Duration = Duration::from_secs(5);
/// A process that woke up and has no instance after this long leads to nothing any more.
const STARTING: Duration = Duration::from_secs(120);
/// Wishes that wait to be looked at.
const MOST: usize = 10_000;

/// What routers were told of a process that sleeps, or did a moment ago.
struct Told {
    uris: Vec<String>,
    read_at: Duration,
    said_at: Duration,
    /// Since when it is to have instances again.
    awake_since: Option<Duration>,
}

type AllTold = BTreeMap<String, Told>;

/// Routers repeat it until somebody leads.
pub(super) fn wished(shared: &Arc<Shared>, received: Received<WakeProcess>) {
    if shared.epoch.borrow().is_none() {
        return received.pass_over("another controller leads");
    }
    let mut state = shared.state();
    if state.wished.len() >= MOST {
        drop(state);
        return received.pass_over("too many at once");
    }
    state.wished.insert(received.message.process.clone());
    drop(state);
    shared.wishes.notify_one();
}

pub(super) async fn watch(shared: Arc<Shared>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut routers = shared
        .bus
        .subscribe(&catalogue::router_start().filter())
        .await?;
    let mut told = AllTold::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shared.wishes.notified() => {}
            router = routers.next() => {
                anyhow::ensure!(router.is_some(), "the subscription to routers ended");
                told.values_mut().for_each(|told| told.said_at = Duration::ZERO);
            }
            () = shutdown.cancelled() => return Ok(()),
        }
        let wished = std::mem::take(&mut shared.state().wished);
        let epoch = *shared.epoch.borrow();
        let Some(epoch) = epoch.filter(|_| shared.connected()) else {
            // Whoever leads tells the routers; what nobody repeats grows stale there.
            told.clear();
            continue;
        };
        if let Err(error) = round(&shared, epoch, &wished, &mut told).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "sleeping apps could not be looked after; it is tried again"
            );
        }
    }
}

async fn round(
    shared: &Shared,
    epoch: i64,
    wished: &BTreeSet<String>,
    told: &mut AllTold,
) -> Result<(), StoreError> {
    let mut all = read(shared).await?;
    let policy = Policy::read(&shared.settings());
    let mut written = false;
    for one in &all {
        match sleep::step(&seen(shared, one, wished, &policy)) {
            Step::Stay => {}
            Step::Sleep { because } => {
                // First: there is no moment in which its names lead nowhere.
                tell(shared, one, told).await?;
                write(shared, epoch, one, true, &because).await?;
                written = true;
            }
            Step::Wake { because } => {
                if one.runs {
                    // A new leader may not have: requests are held until an instance is there.
                    tell(shared, one, told).await?;
                }
                write(shared, epoch, one, false, because).await?;
                written = true;
            }
        }
    }
    if written {
        all = read(shared).await?;
    }
    tell_all(shared, &all, told).await
}

async fn read(shared: &Shared) -> Result<Vec<Sleeper>, StoreError> {
    let mut reader = shared.store.read().await?;
    sleepers::all(&mut reader).await
}

fn seen(shared: &Shared, one: &Sleeper, wished: &BTreeSet<String>, policy: &Policy) -> Sleepy {
    let now = shared.clock.now();
    let quiet_since = {
        let state = shared.state();
        let listens_since = state.picture.connected_since;
        listens_since.and_then(|since| state.traffic.quiet_since(&one.app, since, now, policy))
    };
    let age = clock::unix_micros().saturating_sub(one.updated_at);
    Sleepy {
        runs: one.runs,
        deploying: one.deploying,
        asleep: one.asleep_since.is_some(),
        changed: one.asleep_since.is_some_and(|since| one.updated_at > since),
        asked_for: wished.contains(&one.process),
        sleep_after: Duration::from_secs(
            u64::try_from(one.sleep_after_seconds).unwrap_or(u64::MAX),
        ),
        unchanged_for: Duration::from_micros(u64::try_from(age).unwrap_or_default()),
        quiet_for: quiet_since.map(|since| now.saturating_sub(since)),
    }
}

/// Writes that it sleeps or does not, with the reason, if nothing about it changed meanwhile.
async fn write(
    shared: &Shared,
    epoch: i64,
    one: &Sleeper,
    asleep: bool,
    because: &str,
) -> Result<(), StoreError> {
    let now = clock::unix_micros();
    let mut tx = shared
        .write_as_leader("put an app to sleep or wake it", epoch)
        .await?;
    let process = Process::find(&mut tx, &one.process).await?;
    let app = App::find(&mut tx, &one.app).await?;
    let (Some(mut process), Some(app)) = (process, app) else {
        return Ok(());
    };
    if process.updated_at.max(app.updated_at) != one.updated_at
        || process.asleep_since != one.asleep_since
    {
        return Ok(());
    }
    process.asleep_since = asleep.then_some(now);
    process.update(&mut tx, now).await?;
    let place = platform_events::place(&mut tx, &app).await?;
    let target = On {
        guid: &app.guid,
        kind: "app",
        name: &app.name,
        space: Some(&app.space_guid),
        organization: place.as_ref().map(|place| place.organization.guid.as_str()),
    };
    let kind = match asleep {
        true => "audit.app.process.sleep",
        false => "audit.app.process.wake",
    };
    let data =
        json!({"process_guid": process.guid, "process_type": process.kind, "because": because});
    audit_events::record(&mut tx, kind, By::SYSTEM, target, data, now).await?;
    facts::append(&mut tx, Kind::ProcessChanged, &process.guid, json!({}), now).await?;
    tx.commit().await?;
    tracing::info!(
        process = process.guid,
        app = app.name,
        asleep,
        because,
        "an app falls asleep or wakes up"
    );
    let line = match asleep {
        true => format!("The app falls asleep: {because}"),
        false => format!("The app wakes up: {because}"),
    };
    shared.log(&app.guid, proto::log::SOURCE_API, false, &line);
    shared.nudge();
    Ok(())
}

/// Tells the routers of all who sleep, and takes back the names of those who do not any more.
async fn tell_all(shared: &Shared, rows: &[Sleeper], told: &mut AllTold) -> Result<(), StoreError> {
    let now = shared.clock.now();
    for one in rows
        .iter()
        .filter(|one| one.runs && one.asleep_since.is_some())
    {
        tell(shared, one, told).await?;
    }
    let known: BTreeMap<&str, &Sleeper> =
        rows.iter().map(|one| (one.process.as_str(), one)).collect();
    let mut over = Vec::new();
    for (process, told) in told.iter_mut() {
        let one = known.get(process.as_str()).filter(|one| one.runs);
        match one {
            Some(one) if one.asleep_since.is_some() => told.awake_since = None,
            Some(_) => {
                let since = *told.awake_since.get_or_insert(now);
                if is_running(shared, process) || now.saturating_sub(since) > STARTING {
                    over.push((process.clone(), true));
                }
            }
            // Stopped, removed, or never to sleep again.
            None => over.push((process.clone(), false)),
        }
    }
    for (process, returns) in over {
        if let Some(told) = told.remove(&process) {
            say(shared, &process, &told.uris, Some(returns)).await;
        }
    }
    Ok(())
}

fn is_running(shared: &Shared, process: &str) -> bool {
    let Ok(process) = ProcessGuid::new(process) else {
        return false;
    };
    let state = shared.state();
    let mut instances = state.picture.observed.of_process(&process);
    // (One that is being stopped because the process fell asleep a moment ago is seen running too.)
    let stays = |id| !state.picture.ledger.is_stopping(id);
    instances.any(|one| one.state == InstanceState::Running && stays(&one.id))
}

/// Tells the routers that a process sleeps under its names, if it is time to.
async fn tell(shared: &Shared, one: &Sleeper, told: &mut AllTold) -> Result<(), StoreError> {
    let now = shared.clock.now();
    let period = shared.settings().duration("dea/register/period");
    let known = told.remove(&one.process);
    let mut next = match known {
        Some(known) if now.saturating_sub(known.read_at) < NAMES_AGAIN => known,
        known => {
            let names = {
                let mut reader = shared.store.read().await?;
                routes::names(&mut reader, &one.app, &one.kind).await?
            };
            let uris = names.uris.into_iter();
            let uris: Vec<String> = uris.filter(|uri| ports::parse_uri(uri).is_none()).collect();
            let before = known
                .as_ref()
                .map(|known| known.uris.clone())
                .unwrap_or_default();
            let (gone, new): (Vec<String>, bool) = (
                before
                    .iter()
                    .filter(|uri| !uris.contains(uri))
                    .cloned()
                    .collect(),
                uris.iter().any(|uri| !before.contains(uri)),
            );
            if !gone.is_empty() {
                say(shared, &one.process, &gone, Some(false)).await;
            }
            Told {
                uris,
                read_at: now,
                said_at: match known {
                    Some(known) if !new => known.said_at,
                    Some(_) | None => Duration::ZERO,
                },
                awake_since: None,
            }
        }
    };
    if next.said_at.is_zero() || now.saturating_sub(next.said_at) >= period {
        say(shared, &one.process, &next.uris, None).await;
        next.said_at = now;
    }
    told.insert(one.process.clone(), next);
    Ok(())
}

/// Registers the names, or takes them back: then with whether instances are to be expected.
async fn say(shared: &Shared, process: &str, uris: &[String], back: Option<bool>) {
    let Some(served) = announce::served("", &shared.config.advertise) else {
        return;
    };
    if uris.is_empty() {
        return;
    }
    let registration = Registration {
        uris: uris.to_vec(),
        yard_wakes: Some(process.to_string()),
        yard_returns: back.filter(|returns| *returns),
        ..served.registration(&shared.component)
    };
    let topic = match back {
        None => catalogue::router_register(),
        Some(_) => catalogue::router_unregister(),
    };
    if let Err(error) = shared.bus.publish(&topic, &registration).await {
        tracing::debug!(%error, process, "the routers could not be told of an app that sleeps");
    }
}
