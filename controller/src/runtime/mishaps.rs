//! Tells rules what befalls the machines of the cluster: disks without room, clocks that jump.
//!
//! Components remember it until they end and answer with it when they are asked who is there; the leader asks
//! by the clock and records what is news. A database without room refuses that, and then it is news until there is
//! room: nothing is lost, it is told late.

use super::{Shared, clock, components};
use crate::domain::mishaps::{News, Told, What};
use crate::domain::times::rfc3339_micros;
use crate::store::audit_events::{self, AuditEvent, By, On};
use crate::store::query::Filter;
use crate::store::{StoreError, platform_events};
use automation::triggers::yard::{ClockJumped, DiskLow, DiskRecovered, PlatformEvent};
use daemon::Shutdown;
use std::sync::Arc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(3);
/// Records of a kind that are looked through for one that tells the same: a clock that was set back makes the newest
/// ones look old.
const LOOKED_THROUGH: i64 = 32;

pub(super) async fn watch(shared: Arc<Shared>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut told: Option<(i64, Told)> = None;
    let mut complained = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let Some(epoch) = *shared.epoch.borrow() else {
            told = None;
            continue;
        };
        let answers = components::ask(&shared).await;
        let (of, memory) = told.get_or_insert_with(|| (epoch, Told::default()));
        if *of != epoch {
            (*of, *memory) = (epoch, Told::default());
        }
        for news in memory.news(&answers) {
            match record(&shared, epoch, &news).await {
                Ok(()) => {
                    memory.note(&news);
                    complained = false;
                }
                Err(error) => {
                    if !complained {
                        tracing::warn!(
                            component = news.component,
                            error = &error as &dyn std::error::Error,
                            "a mishap was not recorded; it is tried again"
                        );
                    }
                    complained = true;
                    break;
                }
            }
        }
    }
}

/// Unix seconds as the API writes times.
fn time(unix: f64) -> String {
    rfc3339_micros((unix * 1e6).round() as i64)
}

/// What audit events call it, the object it is about, and the event.
fn event(news: &News, at: i64) -> (&'static str, String, PlatformEvent) {
    let (at, component) = (rfc3339_micros(at), news.component.clone());
    match &news.what {
        What::DiskLow {
            folder,
            free_bytes,
            total_bytes,
            since,
        } => {
            let event = DiskLow {
                at,
                component,
                folder: folder.clone(),
                free_bytes: *free_bytes,
                total_bytes: *total_bytes,
                since: time(*since),
            };
            let object = format!("{}:{folder}", news.component);
            ("component.disk_low", object, event.into())
        }
        What::DiskRecovered { folder, since } => {
            let event = DiskRecovered {
                at,
                component,
                folder: folder.clone(),
                since: time(*since),
            };
            let object = format!("{}:{folder}", news.component);
            ("component.disk_recovered", object, event.into())
        }
        What::ClockJumped {
            at: jumped,
            seconds,
        } => {
            let event = ClockJumped {
                at,
                component,
                seconds: *seconds,
                jumped_at: time(*jumped),
            };
            (
                "component.clock_jumped",
                news.component.clone(),
                event.into(),
            )
        }
    }
}

/// Once, whatever leader records it: the component's own time of it is its name.
async fn record(shared: &Shared, epoch: i64, news: &News) -> Result<(), StoreError> {
    let now = clock::unix_micros();
    let (kind, object, event) = event(news, now);
    let data = event.payload();
    let mut tx = shared.write_as_leader("record a mishap", epoch).await?;
    let filter = Filter::new()
        .equals("type", kind)
        .equals("target_guid", &object)
        .order_by("created_at", "guid", true)
        .window(LOOKED_THROUGH, 0);
    let known = AuditEvent::fetch(&mut tx, filter, "find what was told of a mishap").await?;
    let same = |name: &str| known.iter().any(|one| one.data[name] == data[name]);
    let name = match news.what {
        What::DiskLow { .. } | What::DiskRecovered { .. } => "since",
        What::ClockJumped { .. } => "jumped_at",
    };
    if same(name) {
        return Ok(());
    }
    let target = On::component(&news.component, &object);
    audit_events::record(&mut tx, kind, By::SYSTEM, target, data, now).await?;
    platform_events::tell(&mut tx, event, &object, now).await?;
    tx.commit().await?;
    shared.committed.notify_one();
    Ok(())
}
