//! The working half of automation: one loop at the leader that turns rows into work.
//!
//! ```text
//!   deadline passed ─┐
//!   rows changed ────┼─► duties: events ─► timers ─► rules ─► executions ─► sensors ─► clean-up
//!   clock ───────────┘                       │  ▲
//!                     yard.dea.{id}.action.run  yard.action.exited, yard.automation.report
//! ```
//!
//! A row says itself when it must be looked at (`deadline`); a wake-up carries no meaning. Reports of agents
//! are handled by whichever controller hears them, each in its own transaction ([`reports`]).

pub mod agents;
pub mod dispatch;
mod platform;
pub mod reports;
pub mod retention;
pub mod round;
pub mod rules;
mod sensor_plan;
mod sensor_tokens;
mod sensors;
mod timers;

use super::Automation;
use crate::automation::ops::Fault;
use crate::ops::now;
use crate::store::automation::executions;
use daemon::{Deps, Shutdown};
use std::time::{Duration, Instant};

/// The clock of the loop.
const TICK: Duration = Duration::from_millis(500);
/// Executions looked at in one transaction.
const BATCH: i64 = 200;
/// Batches that are placed before the other duties have their turn.
const PLACINGS: usize = 5;
/// The gauge of what waits for an agent counts no further.
const COUNTED: i64 = 10_000;
/// After a round that failed; doubles while they keep failing.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Begins to listen to agents, and to act when this controller leads.
pub async fn start(automation: &Automation, deps: &Deps) {
    reports::listen(automation, deps).await;
    deps.tasks.keep("automation", automation, run);
    deps.tasks.keep(
        "libraries-of-packs",
        automation,
        Automation::keep_base_environment,
    );
}

async fn run(automation: Automation, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut epoch = automation.epoch.clone();
    let mut wait = FIRST_WAIT;
    let mut connected_since: Option<Instant> = None;
    let mut term = Term::default();
    loop {
        tokio::select! {
            () = automation.wake.notified() => {}
            () = tokio::time::sleep(TICK) => {}
            changed = epoch.changed() => changed?,
            () = shutdown.draining() => return Ok(()),
        }
        if epoch.borrow_and_update().is_none() {
            term = Term::default();
            continue;
        }
        let now = Instant::now();
        let connected = automation.is_connected();
        match (connected, connected_since) {
            (true, None) => {
                // What was silent while nobody could be heard is not lost.
                automation.agents.freshen(now);
                connected_since = Some(now);
            }
            (false, Some(_)) => connected_since = None,
            _ => {}
        }
        match duties(&automation, &mut term, connected).await {
            Ok(()) => wait = FIRST_WAIT,
            Err(error) => {
                metrics::counter!("automation_rounds_failed_total").increment(1);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a round of automation failed and is begun anew"
                );
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = shutdown.draining() => return Ok(()),
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

/// A leader's term: what it keeps between its rounds, which rows can replace at any time.
#[derive(Default)]
pub struct Term {
    registered: bool,
    timers: timers::Timers,
    sensors: sensors::Sensors,
}

/// Everything the leader owes, once. `connected`: whether agents can be heard.
pub async fn duties(
    automation: &Automation,
    term: &mut Term,
    connected: bool,
) -> Result<(), Fault> {
    if !term.registered {
        automation.register_builtin().await?;
        term.registered = true;
    }
    if connected {
        let lost_after = automation.agent_lost_after();
        for agent in automation.agents.take_lost(Instant::now(), lost_after) {
            reports::agent_lost(automation, &agent).await?;
        }
    }
    // One that fails does not hold up the others.
    let events = platform::look(automation).await;
    let timers = timers::look(automation, &mut term.timers).await;
    let keys = automation.expire_keys().await;
    let rules = rules::look(automation).await.map(|more| {
        if more {
            // The others have their turn first.
            automation.wake.notify_one();
        }
    });
    let executions = look_at_executions(automation).await;
    let placed = place_waiting(automation, connected).await;
    let sensors = if connected {
        sensors::look(automation, &mut term.sensors).await
    } else {
        // Who is silent while nobody can be heard is not lost.
        term.sensors = sensors::Sensors::default();
        Ok(())
    };
    events
        .and(timers)
        .and(keys)
        .and(rules)
        .and(executions)
        .and(placed)
        .and(sensors)
}

/// Executions whose time has come, batch by batch until none is left.
async fn look_at_executions(automation: &Automation) -> Result<(), Fault> {
    loop {
        let mut reader = automation.ops.store.read().await?;
        if !executions::any_overdue(&mut reader, now()).await? {
            return Ok(());
        }
        drop(reader);
        let mut round = automation.round("look at executions").await?;
        let at = round.now();
        let rows = executions::overdue(round.connection(), at, BATCH).await?;
        round.look(rows).await?;
        round.finish().await?;
    }
}

/// Executions that found no agent with room when they were let in, oldest first, as far as there is room now.
async fn place_waiting(automation: &Automation, connected: bool) -> Result<(), Fault> {
    if !connected {
        return Ok(());
    }
    for _ in 0..PLACINGS {
        let mut reader = automation.ops.store.read().await?;
        let waiting = executions::count_unplaced(&mut reader, COUNTED).await?;
        drop(reader);
        metrics::gauge!("automation_unplaced_executions").set(waiting as f64);
        let room = automation
            .agents
            .room(Instant::now(), automation.placement_limits());
        if waiting == 0 || room == 0 {
            return Ok(());
        }
        let limit = i64::try_from(room).unwrap_or(BATCH).min(BATCH);
        let mut round = automation.round("place executions").await?;
        let rows = executions::unplaced(round.connection(), limit).await?;
        round.look(rows).await?;
        round.finish().await?;
    }
    Ok(())
}
