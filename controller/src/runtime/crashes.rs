//! A crash becomes an audit event, once, whoever is told and however often.
//!
//! `droplet.exited` is repeated until a controller answers. The event's guid is made of the
//! instance's id, so a second report finds it already there.

use super::{Shared, clock};
use crate::domain::observed::describe;
use crate::store::audit_events::AuditEvent;
use crate::store::{Json, StoreError, apps, processes, spaces};
use daemon::Received;
use proto::bus::health::{ExitReason, Exited};
use proto::bus::staging::Acknowledged;
use tracing::warn;

pub(super) async fn record(shared: &Shared, received: Received<Exited>) {
    let exit = &received.message;
    let recorded = match exit.reason {
        ExitReason::Crashed => write(shared, exit).await,
        ExitReason::Stopped | ExitReason::DeaShutdown | ExitReason::DeaEvacuation => Ok(()),
    };
    if let Err(error) = recorded {
        warn!(error = &error as &dyn std::error::Error, instance = %exit.instance, "a crash could not be recorded; the agent tells it again");
        return;
    }
    if let Err(error) = received.respond(&Acknowledged { ok: true }).await {
        warn!(error = &error as &dyn std::error::Error, instance = %exit.instance, "an exit could not be acknowledged");
    }
}

async fn write(shared: &Shared, exit: &Exited) -> Result<(), StoreError> {
    let guid = format!("crash-{}", exit.instance);
    let mut tx = shared.store.write("record a crash").await?;
    if AuditEvent::find(&mut tx, &guid).await?.is_some() {
        return Ok(());
    }
    // Deleted meanwhile: nobody to tell.
    let Some(process) = processes::Process::find(&mut tx, exit.droplet.as_str()).await? else {
        return Ok(());
    };
    let Some(app) = apps::App::find(&mut tx, &process.app_guid).await? else {
        return Ok(());
    };
    let space = spaces::Space::find(&mut tx, &app.space_guid).await?;
    let event = AuditEvent {
        guid,
        kind: "audit.app.process.crash".to_string(),
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
            "reason": "CRASHED",
            "version": exit.version,
        })),
        space_guid: Some(app.space_guid.clone()),
        organization_guid: space.map(|space| space.organization_guid),
        created_at: clock::unix_micros(),
    };
    match event.insert(&mut tx).await {
        Ok(()) => tx.commit().await,
        // Another controller was told at the same moment.
        Err(StoreError::Taken { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
