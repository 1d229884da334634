//! The leader's loop: facts and rows in, commands out.
//!
//! A round reads everything it needs anew, plans, acts, and moves the cursor last: whatever stops
//! it half way, the next round sees the same facts and the changed world. Rounds that have nothing
//! to do cost one small statement.

use super::commands::{carry_out, clear_away, tell_health_manager, tell_names};
use super::{Shared, clock, decisions, rolling, staging, tasks};
use crate::domain::dispatch::{Action, Desired, Sight};
use crate::domain::picture::{Asked, REQUEST_PATIENCE};
use crate::store::StoreError;
use crate::store::desired::{self, DesiredRow};
use crate::store::facts::{self, Fact, Kind};
use daemon::{BusError, Shutdown};
use proto::bus::catalogue;
use proto::bus::health::HealthRequest;
use proto::bus::stream::FactsAdvanced;
use proto::ids::ProcessGuid;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tracing::{debug, info, warn};

/// The consumer of facts that acts on them.
const CONSUMER: &str = "dispatch";
/// Everything is planned again at least this often.
const FULL_ROUND: Duration = Duration::from_secs(5);
/// The clock of the loop; facts are looked for each time.
const TICK: Duration = Duration::from_secs(1);
/// While a deployment runs, or not every agent was heard, time itself changes the plan.
const FINE_TICK: Duration = Duration::from_millis(200);
/// After a round that failed; doubles while they keep failing.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Facts read in one round.
const FACTS: i64 = 1000;
/// Facts every consumer has read are kept this long, for people.
const KEEP_FACTS: Duration = Duration::from_secs(86_400);
/// What was decided about instances is told for this long.
const KEEP_DECISIONS: Duration = Duration::from_secs(7 * 86_400);

/// Why a round ended early. The next one begins anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    #[error("a round of the dispatcher could not use the store")]
    Store(#[from] StoreError),
    #[error("a round of the dispatcher could not use the bus")]
    Bus(#[from] BusError),
}

/// What a term of leadership remembers between rounds.
struct Term {
    epoch: i64,
    last_full: Option<Duration>,
    /// A deployment runs.
    deploying: bool,
    /// Since when every agent has been heard, in Unix microseconds.
    warm_since: Option<i64>,
    pruned_at: Duration,
}

pub(super) async fn run(shared: Arc<Shared>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut epoch = shared.epoch.clone();
    let mut advanced = shared
        .bus
        .subscribe(&catalogue::facts_advanced().filter())
        .await?;
    let mut term: Option<Term> = None;
    let mut wait = FIRST_WAIT;
    loop {
        let fine = term
            .as_ref()
            .is_some_and(|term| term.deploying || term.warm_since.is_none());
        let pause = if fine { FINE_TICK } else { TICK };
        tokio::select! {
            () = shared.wake.notified() => {}
            message = advanced.next() => if message.is_none() { anyhow::bail!("the subscription to facts ended") },
            () = tokio::time::sleep(pause) => {}
            changed = epoch.changed() => changed?,
            () = shutdown.draining() => return Ok(()),
        }
        let held = *epoch.borrow_and_update();
        if held != term.as_ref().map(|term| term.epoch) {
            shared.state().forget_term();
            term = match held {
                Some(epoch) => begin(&shared, epoch).await,
                None => None,
            };
        }
        let Some(term) = &mut term else { continue };
        // While the bus is away what is seen ages without anybody's fault: nothing is planned. Only
        // builds are taken up, so that they fail with that reason instead of waiting.
        let done = if shared.connected() {
            round(&shared, term).await
        } else {
            staging::take_up(&shared, term.epoch).await
        };
        match done {
            Ok(()) => wait = FIRST_WAIT,
            Err(error) => {
                metrics::counter!("controller_rounds_failed_total").increment(1);
                warn!(
                    error = &error as &dyn std::error::Error,
                    "a round failed and is begun anew"
                );
                shared.dirty.store(true, Ordering::Release);
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = shutdown.draining() => return Ok(()),
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

/// Raises the fence, so that a former leader writes nothing any more.
async fn begin(shared: &Shared, epoch: i64) -> Option<Term> {
    let fenced = async {
        let tx = shared.write_as_leader("begin to lead", epoch).await?;
        tx.commit().await
    };
    match fenced.await {
        Ok(()) => {
            info!(epoch, "this controller leads");
            Some(Term {
                epoch,
                last_full: None,
                deploying: false,
                warm_since: None,
                pruned_at: Duration::ZERO,
            })
        }
        Err(error) => {
            warn!(
                epoch,
                error = &error as &dyn std::error::Error,
                "this controller cannot begin to lead"
            );
            None
        }
    }
}

async fn round(shared: &Arc<Shared>, term: &mut Term) -> Result<(), RoundError> {
    let now = shared.clock.now();
    let full = term
        .last_full
        .is_none_or(|at| now.saturating_sub(at) >= FULL_ROUND);
    let dirty = shared.dirty.swap(false, Ordering::AcqRel);
    let mut reader = shared.store.read().await?;
    let cursor = facts::cursor(&mut reader, CONSUMER).await?;
    let facts = facts::after(&mut reader, cursor, FACTS).await?;
    if facts.is_empty() && !full && !dirty && !term.deploying && term.warm_since.is_some() {
        return Ok(());
    }
    metrics::counter!("controller_rounds_total").increment(1);
    let rows: BTreeMap<ProcessGuid, DesiredRow> = desired::all(&mut reader)
        .await?
        .into_iter()
        .map(|row| (row.process.clone(), row))
        .collect();
    drop(reader);

    let (actions, warm) = decide(shared, &rows, &facts);
    let was_warm = term.warm_since.is_some();
    term.warm_since = if warm {
        term.warm_since.or_else(|| Some(clock::unix_micros()))
    } else {
        None
    };
    let full = full || (warm && !was_warm);
    let carried_out = carry_out(shared, term.epoch, &rows, actions).await;
    decisions::record(shared, term.epoch).await?;
    carried_out?;
    tell_names(shared, term.epoch, &rows, &facts).await?;
    clear_away(shared, term.epoch, &facts).await?;
    tell_health_manager(shared, &facts).await?;
    if full || facts.iter().any(|fact| fact.kind == Kind::BuildRequested) {
        staging::take_up(shared, term.epoch).await?;
    }
    tasks::clear_away(shared, &facts).await?;
    let task_waits = dirty && shared.state().tasks.waiting;
    if full || task_waits || tasks::concern(&facts) {
        tasks::take_up(shared, term.epoch).await?;
    }
    // What is not seen counts as not running: deployments wait until it would be seen.
    if let Some(warm_since) = term.warm_since
        && (full
            || term.deploying
            || facts
                .iter()
                .any(|fact| fact.kind == Kind::DeploymentChanged))
    {
        term.deploying = rolling::drive(shared, term.epoch, warm_since).await?;
    }
    if let Some(last) = facts.last() {
        let mut tx = shared
            .write_as_leader("move the dispatcher's cursor", term.epoch)
            .await?;
        facts::advance(&mut tx, CONSUMER, last.sequence).await?;
        if now.saturating_sub(term.pruned_at) > Duration::from_secs(3600) {
            let keep = i64::try_from(KEEP_FACTS.as_micros()).unwrap_or(i64::MAX);
            facts::prune(&mut tx, clock::unix_micros() - keep).await?;
            let keep = i64::try_from(KEEP_DECISIONS.as_micros()).unwrap_or(i64::MAX);
            crate::store::decisions::prune(&mut tx, clock::unix_micros() - keep).await?;
            term.pruned_at = now;
        }
        tx.commit().await?;
        if i64::try_from(facts.len()).unwrap_or(FACTS) >= FACTS {
            shared.wake.notify_one();
        }
    }
    if full {
        term.last_full = Some(now);
    }
    Ok(())
}

/// Everything that is decided from the picture in memory, without waiting. Also says whether
/// every agent was heard.
fn decide(
    shared: &Shared,
    rows: &BTreeMap<ProcessGuid, DesiredRow>,
    facts: &[Fact],
) -> (Vec<Action>, bool) {
    let now = shared.clock.now();
    let wanted: BTreeMap<ProcessGuid, Desired> = rows
        .iter()
        .map(|(process, row)| {
            let desired = Desired {
                version: row.version.clone(),
                instances: row.instances,
                run: row.runs(),
                asleep: row.asleep,
                untried: row.untried,
            };
            (process.clone(), desired)
        })
        .collect();
    let asked = asked(facts);
    let mut state = shared.state();
    let sight = Sight {
        now,
        warm: state.picture.is_warm(now, shared.advertisement_ttl()),
        fresh: shared.lost_after(),
    };
    let decided = state.picture.decide(&wanted, asked, sight);
    drop(state);
    for (launch, because) in &decided.never_arrived {
        warn!(process = %launch.process, index = launch.index, dea = %launch.dea, because, "a start never arrived and is planned anew");
        metrics::counter!("controller_starts_lost_total").increment(1);
        if let Some(row) = rows.get(&launch.process) {
            decisions::never_arrived(shared, row, launch, because);
        }
    }
    for (process, reason) in &decided.ignored {
        shared.bus.ignored(
            &catalogue::hm_requests(),
            "the health manager",
            "not so as seen here",
            format_args!("process {process}: {reason}"),
        );
    }
    (decided.actions, sight.warm)
}

/// What facts ask for beside the rows.
fn asked(facts: &[Fact]) -> Asked {
    let mut asked = Asked::default();
    for fact in facts {
        match fact.kind {
            Kind::HealthRequested => {
                let age = clock::unix_micros().saturating_sub(fact.created_at);
                let recent = u64::try_from(age)
                    .is_ok_and(|age| Duration::from_micros(age) < REQUEST_PATIENCE);
                if let (true, Ok(request)) = (
                    recent,
                    serde_json::from_value::<HealthRequest>(fact.payload.clone()),
                ) {
                    asked.handed_on.push(request);
                }
            }
            Kind::InstanceRestartRequested => {
                let index = fact
                    .payload
                    .get("index")
                    .and_then(serde_json::Value::as_u64)
                    .and_then(|index| u32::try_from(index).ok());
                if let (Ok(process), Some(index)) = (ProcessGuid::new(fact.object.clone()), index) {
                    asked.restarts.push((process, index));
                }
            }
            Kind::ProcessChanged
            | Kind::ProcessRemoved
            | Kind::RoutesChanged
            | Kind::AppDeleted
            | Kind::BuildRequested
            | Kind::DeploymentChanged
            | Kind::TaskChanged
            | Kind::TaskRemoved
            | Kind::PlatformEvent
            | Kind::Unknown => {}
        }
    }
    asked
}

/// After commits, tells the other controllers how far the log of facts has grown.
pub(super) async fn announce_facts(shared: Arc<Shared>, shutdown: Shutdown) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = shared.committed.notified() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let newest = async {
            let mut reader = shared.store.read().await?;
            facts::newest(&mut reader).await
        };
        match newest.await {
            Ok(sequence) => {
                if let Err(error) = shared
                    .bus
                    .publish(&catalogue::facts_advanced(), &FactsAdvanced { sequence })
                    .await
                {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "the growth of the facts was not told"
                    );
                }
            }
            Err(error) => debug!(
                error = &error as &dyn std::error::Error,
                "the newest fact could not be read"
            ),
        }
    }
}
