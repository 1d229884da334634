//! A crash becomes an audit event, once, whoever is told and however often.
//!
//! `droplet.exited` is repeated until a controller answers. The event's guid is made of the
//! instance's id, so a second report finds it already there.

use super::{Shared, clock};
use crate::domain::observed::describe;
use crate::domain::times::rfc3339_micros;
use crate::store::audit_events::AuditEvent;
use crate::store::query::Filter;
use crate::store::sql::Connection;
use crate::store::{Json, Store, StoreError, apps, platform_events, processes, spaces};
use automation::triggers::yard::{AppCrashed, AppFlapping, InstanceOutOfMemory};
use daemon::Received;
use proto::bus::health::{ExitReason, Exited, RecordedCrash};
use proto::bus::staging::Acknowledged;
use proto::ids::{InstanceId, ProcessGuid, Version};
use tracing::warn;

const KIND: &str = "audit.app.process.crash";
/// Most crashes told at once: the newest.
const MOST_TOLD: i64 = 20_000;
/// Crashes of one process looked through to count those of an index.
const MOST_COUNTED: i64 = 500;

pub(super) async fn record(shared: &Shared, received: Received<Exited>) {
    let exit = &received.message;
    let recorded = match exit.reason {
        ExitReason::Crashed => write(shared, exit).await,
        ExitReason::Stopped | ExitReason::DeaShutdown | ExitReason::DeaEvacuation => {
            Ok(Recorded::Now)
        }
    };
    match recorded {
        Ok(Recorded::Now) => {}
        Ok(Recorded::Before) => received.pass_over("came before"),
        Ok(Recorded::OfNobody) => received.ignore(
            "of no process",
            format_args!("instance {} of process {}", exit.instance, exit.droplet),
        ),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, instance = %exit.instance, "a crash could not be recorded; the agent tells it again");
            return;
        }
    }
    if let Err(error) = received.respond(&Acknowledged { ok: true }).await {
        warn!(error = &error as &dyn std::error::Error, instance = %exit.instance, "an exit could not be acknowledged");
    }
}

/// What is recorded since `since` (Unix microseconds), for health managers that begin.
pub(crate) async fn recorded(store: &Store, since: i64) -> Result<Vec<RecordedCrash>, StoreError> {
    let mut reader = store.read().await?;
    let filter = Filter::new()
        .equals("type", KIND)
        .compare("created_at", ">=", since)
        .order("created_at", true)
        .window(MOST_TOLD, 0);
    let events = AuditEvent::fetch(&mut reader, filter, "read recorded crashes").await?;
    Ok(events.iter().filter_map(read).collect())
}

/// A crash in an event's words; `None` for an event that lacks any of them.
fn read(event: &AuditEvent) -> Option<RecordedCrash> {
    let text = |name: &str| event.data.get(name)?.as_str();
    Some(RecordedCrash {
        droplet: ProcessGuid::new(event.actor_guid.as_str()).ok()?,
        version: Version::new(text("version")?).ok()?,
        instance: InstanceId::new(text("instance")?).ok()?,
        index: u32::try_from(event.data.get("index")?.as_u64()?).ok()?,
        at: event
            .data
            .get("crash_timestamp")
            .and_then(serde_json::Value::as_f64)
            .unwrap_or(event.created_at as f64 / 1e6),
        ran: event.data.get("ran").and_then(serde_json::Value::as_f64),
    })
}

/// Seconds the instance had been running when it crashed, as far as this controller saw it.
fn ran(shared: &Shared, exit: &Exited) -> Option<f64> {
    let now = shared.clock.now();
    let since = shared
        .state()
        .picture
        .observed
        .instance(&exit.instance)?
        .running_since?;
    // An exit is told again and again while nobody could write it down.
    let told_late = exit
        .crash_timestamp
        .map_or(0.0, |at| clock::unix_micros() as f64 / 1e6 - at);
    Some((now.saturating_sub(since).as_secs_f64() - told_late.max(0.0)).max(0.0))
}

/// What became of a crash that was told.
enum Recorded {
    Now,
    Before,
    /// Its process was deleted meanwhile, or never was: nobody to tell.
    OfNobody,
}

async fn write(shared: &Shared, exit: &Exited) -> Result<Recorded, StoreError> {
    let guid = format!("crash-{}", exit.instance);
    let ran = ran(shared, exit);
    let mut tx = shared.store.write("record a crash").await?;
    if AuditEvent::find(&mut tx, &guid).await?.is_some() {
        return Ok(Recorded::Before);
    }
    let Some(process) = processes::Process::find(&mut tx, exit.droplet.as_str()).await? else {
        return Ok(Recorded::OfNobody);
    };
    let Some(app) = apps::App::find(&mut tx, &process.app_guid).await? else {
        return Ok(Recorded::OfNobody);
    };
    let space = spaces::Space::find(&mut tx, &app.space_guid).await?;
    let event = AuditEvent {
        guid,
        kind: KIND.to_string(),
        actor_guid: process.guid.clone(),
        actor_type: "process".to_string(),
        actor_name: process.kind.clone(),
        target_guid: app.guid.clone(),
        target_type: "app".to_string(),
        target_name: app.name.clone(),
        data: Json(serde_json::json!({
            "instance": exit.instance,
            "index": exit.index,
            "cell_id": exit.yard_dea,
            "exit_description": describe(exit),
            "exit_status": exit.exit_status,
            "signal": exit.yard_signal,
            "out_of_memory": exit.yard_out_of_memory,
            "phase": exit.yard_phase,
            "crash_timestamp": exit.crash_timestamp,
            "ran": ran,
            "reason": "CRASHED",
            "version": exit.version,
        })),
        space_guid: Some(app.space_guid.clone()),
        organization_guid: space.map(|space| space.organization_guid),
        created_at: clock::unix_micros(),
    };
    match event.insert(&mut tx).await {
        Ok(()) => {
            tell_rules(shared, &mut tx, &process, &app, exit, event.created_at).await?;
            tx.commit().await?;
            Ok(Recorded::Now)
        }
        // Another controller was told at the same moment.
        Err(StoreError::Taken { .. }) => Ok(Recorded::Before),
        Err(error) => Err(error),
    }
}

/// Crashes of an index one after the other, the newest included: one that ran long enough before it crashed
/// begins a new count, as the health manager counts.
async fn in_a_row(
    connection: &mut Connection,
    process: &str,
    index: u32,
    reset_after: f64,
) -> Result<u32, StoreError> {
    let filter = Filter::new()
        .equals("type", KIND)
        .equals("actor_guid", process)
        .order("created_at", true)
        .window(MOST_COUNTED, 0);
    let events = AuditEvent::fetch(connection, filter, "count crashes of an instance").await?;
    let mut count = 0;
    for crash in events.iter().filter_map(read) {
        if crash.index != index {
            continue;
        }
        count += 1;
        if crash.ran.is_some_and(|seconds| seconds >= reset_after) {
            break;
        }
    }
    Ok(count)
}

async fn tell_rules(
    shared: &Shared,
    connection: &mut Connection,
    process: &processes::Process,
    app: &apps::App,
    exit: &Exited,
    now: i64,
) -> Result<(), StoreError> {
    let Some(place) = platform_events::place(connection, app).await? else {
        return Ok(());
    };
    let settings = shared.settings();
    let reset_after = settings.duration("health-manager/crash/reset_after");
    let count = in_a_row(
        connection,
        &process.guid,
        exit.index,
        reset_after.as_secs_f64(),
    )
    .await?;
    let at = rfc3339_micros(now);
    let node = exit.yard_dea.as_ref().map(ToString::to_string);
    if exit.yard_out_of_memory == Some(true) {
        let event = InstanceOutOfMemory {
            at: at.clone(),
            place: place.clone(),
            process_type: process.kind.clone(),
            index: exit.index,
            instance: exit.instance.to_string(),
            node: node.clone(),
            memory_limit_mb: u64::try_from(process.memory_mb).unwrap_or_default(),
        };
        platform_events::tell(connection, event, &app.guid, now).await?;
    }
    let event = AppCrashed {
        at: at.clone(),
        place: place.clone(),
        process_type: process.kind.clone(),
        index: exit.index,
        instance: exit.instance.to_string(),
        node,
        // Told as 128 + signal where a signal ended it.
        exit_status: Some(match &exit.yard_signal {
            Some(_) if exit.exit_status > 128 => 128 - exit.exit_status,
            _ => exit.exit_status,
        }),
        reason: describe(exit),
        crash_count: count,
    };
    platform_events::tell(connection, event, &app.guid, now).await?;
    let at_once = u32::try_from(settings.integer("health-manager/crash/immediate_restarts"));
    let Some(late) = count
        .checked_sub(at_once.unwrap_or_default())
        .filter(|late| *late > 0)
    else {
        return Ok(());
    };
    let first = settings.duration("health-manager/crash/first_delay");
    let longest = settings.duration("health-manager/crash/max_delay");
    let delay = first
        .saturating_mul(1_u32.checked_shl(late - 1).unwrap_or(u32::MAX))
        .min(longest);
    let next = now.saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX));
    let event = AppFlapping {
        at,
        place,
        process_type: process.kind.clone(),
        index: exit.index,
        crash_count: count,
        next_start_at: Some(rfc3339_micros(next)),
    };
    platform_events::tell(connection, event, &app.guid, now).await
}
