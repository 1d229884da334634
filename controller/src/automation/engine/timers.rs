//! Timers at the leader: triggers whose time has come become trigger instances.
//!
//! A timer's row says when it is due next; firing and moving that time on are one transaction, and the
//! instance's source is the timer and the planned time, so nothing fires twice. What was missed while nobody
//! led is made up for once, if it is no older than the grace (`automation/timers/misfire_grace`). A clock that
//! jumps ahead is such a time; after one that is set back the next times are reckoned anew, or timers would be silent
//! until it is again as late as it was.

use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::automation::ops::fire::{Happened, fire};
use crate::store::automation::rules;
use crate::store::automation::triggers::{self, Trigger};
use crate::store::sql::Connection;
use automation::timers::{self, Timer};

/// Timers in one transaction.
const BATCH: i64 = 200;

/// What the leader remembers between its rounds.
#[derive(Debug, Default)]
pub struct Timers {
    /// The zone that the times were reckoned in; None: not yet looked at.
    zone: Option<String>,
    /// When it looked last, by the wall clock.
    looked_at: i64,
}

/// A clock that is slowly brought in line never goes back by as much, in microseconds.
const SET_BACK: i64 = 1_000_000;

/// Milliseconds of the engine's clock as microseconds of the store's.
fn micros(millis: i64) -> i64 {
    millis.saturating_mul(1000)
}

/// Fires what is due.
pub async fn look(automation: &Automation, known: &mut Timers) -> Result<(), Fault> {
    let name = automation.ops.settings().text("automation/timers/timezone");
    if known.zone.as_ref() != Some(&name) {
        if timers::zone(&name).is_err() {
            tracing::error!(
                zone = name,
                "automation/timers/timezone is no time zone: UTC takes its place"
            );
        }
        reckon_anew(automation, &name).await?;
        known.zone = Some(name.clone());
    }
    let now = crate::ops::now();
    if now < known.looked_at - SET_BACK {
        tracing::warn!("the clock was set back: the next times of timers are reckoned anew");
        reckon_anew(automation, &name).await?;
    }
    known.looked_at = now;
    loop {
        let now = crate::ops::now();
        let due = triggers::due(&mut *automation.ops.store.read().await?, now, 1).await?;
        if due.is_empty() {
            return Ok(());
        }
        let mut round = automation.round("fire timers").await?;
        let at = round.now();
        for row in triggers::due(round.connection(), at, BATCH).await? {
            tick(automation, round.connection(), row, &name, at).await?;
        }
        round.finish().await?;
    }
}

/// The timer of a trigger; None: its parameters make none any more, which is logged.
fn timer(row: &Trigger, zone: &str) -> Option<Timer> {
    let zone = timers::zone(zone).or_else(|_| timers::zone("UTC")).ok()?;
    Timer::parse(&row.type_ref, &row.parameters, &zone)
        .inspect_err(
            |error| tracing::error!(trigger = row.reference, %error, "a timer never fires"),
        )
        .ok()
}

/// Another zone moves what has not come yet.
async fn reckon_anew(automation: &Automation, zone: &str) -> Result<(), Fault> {
    let mut round = automation.round("reckon timers anew").await?;
    let at = round.now();
    for mut row in triggers::waiting(round.connection(), at).await? {
        let next = timer(&row, zone)
            .and_then(|timer| timer.next(row.created_at / 1000, at / 1000))
            .map(micros);
        if next != row.next_fire_at {
            row.next_fire_at = next;
            row.update(round.connection(), at).await?;
        }
    }
    round.finish().await
}

async fn tick(
    automation: &Automation,
    connection: &mut Connection,
    mut row: Trigger,
    zone: &str,
    now: i64,
) -> Result<(), Fault> {
    let planned = row.next_fire_at.unwrap_or(now) / 1000;
    let grace = automation
        .ops
        .settings()
        .duration("automation/timers/misfire_grace");
    let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    let Some(timer) = timer(&row, zone) else {
        row.next_fire_at = None;
        return Ok(row.update(connection, now).await?);
    };
    let anchor = row.created_at / 1000;
    // Everything before the planned time has been dealt with. A timer that was just made has its first time yet
    // to come: it is planned for when it was made only to be looked at.
    let passed = if planned == anchor {
        anchor
    } else {
        planned - 1
    };
    let due = timer.due(anchor, passed, now / 1000, grace);
    if due.skipped > 0 {
        metrics::counter!("automation_timers_skipped_total").increment(due.skipped);
        tracing::warn!(
            timer = row.reference,
            skipped = due.skipped,
            "times of a timer passed while nobody could fire it"
        );
    }
    if let Some(firing) = due.fire
        && rules::any_enabled(connection, &row.reference).await?
    {
        let mut happened =
            Happened::new(&row.reference, timers::payload(&row.parameters, now / 1000));
        happened.trigger_type = &row.type_ref;
        happened.source = Some(format!("timer:{}:{}", row.id, firing.scheduled_at));
        fire(connection, &happened, now).await?;
        metrics::counter!("automation_timers_fired_total").increment(1);
    }
    row.next_fire_at = due.next.map(micros);
    Ok(row.update(connection, now).await?)
}
