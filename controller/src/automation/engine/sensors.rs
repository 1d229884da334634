//! Sensors at the leader: each that is switched on runs on exactly one agent.
//!
//! ```text
//!   rows ────┐
//!   reports ─┼─► plan ─► place (row: agent, generation + 1) ─► RunSensor, again until it is reported
//!   clock ───┘       ├─► stop what runs where it should not
//!                    ├─► SensorToken before the one it has runs out ([`sensor_tokens`])
//!                    └─► SensorTrigger for triggers that came, changed or went
//! ```
//!
//! A placement is a row before it is an order; its generation grows with every move, and an agent refuses
//! older ones, so two agents never keep the same placement. An agent that is only cut off runs its
//! sensor on until it hears that it is to stop: triggers may then come twice, never not at all.
//!
//! Partition providers other than `default` are not supported: placement is the leader's.

use super::dispatch::{self, CONTENT};
use super::sensor_plan::{Place, Step, Wanted, plan};
use super::sensor_tokens;
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::automation::ops::callers::{SENSORS_GUID, SENSORS_NAME, sensor_token_owner};
use crate::automation::ops::executions::SYSTEM_USER;
use crate::automation::ops::fire::{Happened, fire};
use crate::automation::ops::resources::present;
use crate::domain::times::rfc3339_micros;
use crate::ops::now;
use crate::store::Json;
use crate::store::automation::packs;
use crate::store::automation::sensor_triggers::{self, SensorTriggers};
use crate::store::automation::sensor_types::SensorType;
use crate::store::automation::tokens;
use crate::store::automation::triggers::Trigger;
use crate::store::query::Filter;
use proto::bus::automation::{
    AutomationReport, RunSensor, SensorReport, SensorTrigger, StopSensor,
};
use proto::bus::catalogue;
use proto::ids::DeaId;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Between two looks: reports come every few seconds.
const PERIOD: Duration = Duration::from_secs(1);
/// Memory of a sensor.
const MEMORY_MB: u64 = 256;

/// What the leader remembers of its orders.
#[derive(Debug, Default)]
pub struct Sensors {
    looked_at: Option<Instant>,
    /// When agents could be heard for the first time in this term.
    hearing_since: Option<Instant>,
    sent: BTreeMap<String, Sent>,
    offers: sensor_tokens::Offers,
    /// Sensors that no agent has room for, as last told.
    homeless: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    generation: i64,
    first: Instant,
    last: Instant,
}

/// Sees to it that every sensor runs where it should.
pub async fn look(automation: &Automation, sensors: &mut Sensors) -> Result<(), Fault> {
    let at = Instant::now();
    if sensors
        .looked_at
        .is_some_and(|last| at.saturating_duration_since(last) < PERIOD)
    {
        return Ok(());
    }
    sensors.looked_at = Some(at);
    let since = *sensors.hearing_since.get_or_insert(at);
    let rows = all(automation).await?;
    sensors
        .sent
        .retain(|sensor, _| rows.iter().any(|row| row.reference == *sensor));
    let agents: BTreeMap<DeaId, Place> = automation
        .agents
        .known()
        .into_iter()
        .filter_map(|dea| {
            let report = automation.agents.report_of(&dea)?;
            let place = Place {
                runs: report
                    .sensors
                    .iter()
                    .map(|one| (one.sensor.clone(), one.generation))
                    .collect(),
                draining: report.draining,
            };
            Some((dea, place))
        })
        .collect();
    let settled = at.saturating_duration_since(since) > automation.agent_lost_after();
    let tokens = sensor_tokens::ends(automation).await?;
    let wanted: Vec<Wanted> = rows
        .iter()
        .map(|row| as_wanted(sensors, &tokens, row, at))
        .collect();
    let mut homeless = BTreeSet::new();
    for step in plan(&wanted, &agents, settled) {
        if let Step::Homeless { sensor } = &step {
            homeless.insert(sensor.clone());
            if !sensors.homeless.contains(sensor) {
                tracing::warn!(sensor, "no agent can run a sensor");
            }
            continue;
        }
        let what = format!("{step:?}");
        if let Err(fault) = carry_out(automation, sensors, step).await {
            // The next look plans it again.
            tracing::warn!(
                step = what,
                error = &fault as &dyn std::error::Error,
                "a sensor could not be seen to"
            );
        }
    }
    metrics::gauge!("automation_sensors_homeless").set(homeless.len() as f64);
    sensors.homeless = homeless;
    tell_triggers(automation, &agents).await
}

async fn all(automation: &Automation) -> Result<Vec<SensorType>, Fault> {
    let mut reader = automation.ops.store.read().await?;
    let order = Filter::new().order_by("reference", "reference", false);
    Ok(SensorType::fetch(&mut reader, order, "read the sensors").await?)
}

fn as_wanted(
    sensors: &Sensors,
    tokens: &sensor_tokens::Ends,
    row: &SensorType,
    at: Instant,
) -> Wanted {
    let sent = sensors
        .sent
        .get(&row.reference)
        .filter(|sent| sent.generation == row.generation);
    let end = tokens.get(&sensor_token_owner(&row.reference, row.generation));
    Wanted {
        sensor: row.reference.clone(),
        enabled: row.enabled,
        dea: row.dea.clone().and_then(|dea| DeaId::new(dea).ok()),
        generation: row.generation,
        first_sent: sent.map(|sent| at.saturating_duration_since(sent.first)),
        last_sent: sent.map(|sent| at.saturating_duration_since(sent.last)),
        token: sensor_tokens::age(end.copied(), now()),
    }
}

async fn carry_out(
    automation: &Automation,
    sensors: &mut Sensors,
    step: Step,
) -> Result<(), Fault> {
    match step {
        Step::Place {
            sensor,
            on,
            because,
        } => {
            let Some(row) = moved(automation, &sensor, Some(&on)).await? else {
                return Ok(());
            };
            tracing::info!(sensor, agent = %on, generation = row.generation, because, "a sensor is placed");
            metrics::counter!("automation_sensors_placed_total").increment(1);
            log(automation, &sensor, format!("Placed on {on}: {because}"));
            send(automation, sensors, &row, &on).await
        }
        Step::Release { sensor } => {
            moved(automation, &sensor, None).await?;
            tracing::info!(sensor, "a sensor is switched off");
            Ok(())
        }
        Step::Renew {
            sensor,
            on,
            generation,
        } => {
            sensors.offers.offer(automation, sensor, on, generation);
            Ok(())
        }
        Step::Send { sensor, to } => {
            let mut reader = automation.ops.store.read().await?;
            let row = SensorType::find(&mut reader, &sensor).await?;
            drop(reader);
            match row {
                Some(row) => send(automation, sensors, &row, &to).await,
                None => Ok(()),
            }
        }
        Step::Stop {
            sensor,
            on,
            generation,
        } => {
            let Some(bus) = &automation.bus else {
                return Ok(());
            };
            tracing::info!(sensor, agent = %on, generation, "a sensor is told to stop");
            bus.publish(
                &catalogue::dea_sensor_stop(&on),
                &StopSensor { sensor, generation },
            )
            .await
            .map_err(Fault::internal("telling an agent to stop a sensor"))
        }
        // Told where it is planned.
        Step::Homeless { .. } => Ok(()),
    }
}

/// Writes where a sensor runs. None: it is gone, or was switched off or on meanwhile.
async fn moved(
    automation: &Automation,
    sensor: &str,
    on: Option<&DeaId>,
) -> Result<Option<SensorType>, Fault> {
    let mut round = automation.round("place a sensor").await?;
    let at = round.now();
    let Some(mut row) = SensorType::find(round.connection(), sensor).await? else {
        return Ok(None);
    };
    if row.enabled != on.is_some() {
        return Ok(None);
    }
    let before = row.generation;
    row.dea = on.map(ToString::to_string);
    row.generation += 1;
    row.update(round.connection(), at).await?;
    // The token of the placement that is over.
    tokens::delete_of_execution(round.connection(), &sensor_token_owner(sensor, before)).await?;
    round.finish().await?;
    Ok(Some(row))
}

async fn triggers_of(
    automation: &Automation,
    row: &SensorType,
) -> Result<BTreeMap<String, Value>, Fault> {
    let types: Vec<String> = row.document["trigger_types"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|kind| kind.as_str().map(str::to_string))
        .collect();
    let filter = Filter::new().any("type_ref", &types);
    let mut reader = automation.ops.store.read().await?;
    let rows = Trigger::fetch(&mut reader, filter, "triggers of a sensor").await?;
    Ok(rows
        .iter()
        .map(|trigger| (trigger.reference.clone(), present(trigger)))
        .collect())
}

async fn send(
    automation: &Automation,
    sensors: &mut Sensors,
    row: &SensorType,
    to: &DeaId,
) -> Result<(), Fault> {
    let at = Instant::now();
    // Also when it fails: the next try is not sooner.
    let sent = sensors
        .sent
        .entry(row.reference.clone())
        .and_modify(|sent| {
            if sent.generation != row.generation {
                (sent.generation, sent.first) = (row.generation, at);
            }
            sent.last = at;
        })
        .or_insert(Sent {
            generation: row.generation,
            first: at,
            last: at,
        });
    debug_assert_eq!(sent.generation, row.generation);
    let Some(bus) = &automation.bus else {
        return Ok(());
    };
    automation
        .service_account(SENSORS_GUID, SENSORS_NAME)
        .await?;
    let mut reader = automation.ops.store.read().await?;
    let standing = packs::standing(&mut reader, &row.pack).await?;
    let standing = standing.as_ref();
    let content = dispatch::content(automation, &mut reader, &row.pack, standing).await?;
    let config = automation
        .config_as_of(&mut reader, &row.pack, standing, SYSTEM_USER)
        .await?;
    drop(reader);
    let triggers = triggers_of(automation, row).await?;
    let token = sensor_tokens::first(automation, &row.reference, row.generation).await?;
    let document = &row.document;
    let entry_point = document["entry_point"].as_str().unwrap_or_default();
    let orders = json!({
        "pack": row.pack,
        "file": format!("{CONTENT}/sensors/{entry_point}"),
        "class_name": document["class_name"].as_str().unwrap_or(&row.name),
        "config": *config,
        "poll_interval": document["poll_interval"],
        "triggers": triggers.values().collect::<Vec<_>>(),
        "path": [format!("{CONTENT}/lib"), format!("{CONTENT}/sensors/lib")],
        "api_url": format!("{}/api/v1", automation.public_url),
        "token": token.text,
    });
    let mut round = automation.round("note the triggers of a sensor").await?;
    let told = SensorTriggers {
        sensor: row.reference.clone(),
        generation: row.generation,
        triggers: Json(triggers),
    };
    sensor_triggers::put(round.connection(), &told).await?;
    round.finish().await?;
    let message = RunSensor {
        sensor: row.reference.clone(),
        generation: row.generation,
        content: Some(content),
        orders: orders.to_string().into_bytes(),
        memory_mb: MEMORY_MB,
        epoch: automation.epoch.borrow().unwrap_or_default(),
    };
    bus.publish(&catalogue::dea_sensor_run(to), &message)
        .await
        .map_err(Fault::internal("ordering an agent to run a sensor"))
}

/// What came, changed or went: change, trigger.
fn changes<'a>(
    before: &'a BTreeMap<String, Value>,
    after: &'a BTreeMap<String, Value>,
) -> Vec<(&'static str, &'a Value)> {
    let mut found = Vec::new();
    for (reference, trigger) in after {
        match before.get(reference) {
            None => found.push(("create", trigger)),
            Some(known) if known != trigger => found.push(("update", trigger)),
            Some(_) => {}
        }
    }
    for (reference, trigger) in before {
        if !after.contains_key(reference) {
            found.push(("delete", trigger));
        }
    }
    found
}

/// Tells running sensors of triggers that came, changed or went.
async fn tell_triggers(
    automation: &Automation,
    agents: &BTreeMap<DeaId, Place>,
) -> Result<(), Fault> {
    let Some(bus) = &automation.bus else {
        return Ok(());
    };
    for row in all(automation).await? {
        let Some(dea) = row.dea.clone().and_then(|dea| DeaId::new(dea).ok()) else {
            continue;
        };
        let runs = agents
            .get(&dea)
            .is_some_and(|place| place.runs.get(&row.reference) == Some(&row.generation));
        if !runs {
            continue;
        }
        let mut reader = automation.ops.store.read().await?;
        let told = SensorTriggers::find(&mut reader, &row.reference).await?;
        drop(reader);
        let Some(told) = told.filter(|told| told.generation == row.generation) else {
            continue;
        };
        let now = triggers_of(automation, &row).await?;
        let news = changes(&told.triggers, &now);
        if news.is_empty() {
            continue;
        }
        for (change, trigger) in news {
            let message = SensorTrigger {
                sensor: row.reference.clone(),
                change: change.to_string(),
                trigger: trigger.to_string().into_bytes(),
            };
            bus.publish(&catalogue::dea_sensor_trigger(&dea), &message)
                .await
                .map_err(Fault::internal("telling a sensor of a trigger"))?;
        }
        // After the messages: one told twice is better than one never told.
        let mut round = automation.round("note the triggers of a sensor").await?;
        let told = SensorTriggers {
            triggers: Json(now),
            ..told
        };
        sensor_triggers::put(round.connection(), &told).await?;
        round.finish().await?;
    }
    Ok(())
}

fn log(automation: &Automation, sensor: &str, text: String) {
    (automation.ops.live.log)(sensor, text);
}

/// The exit status in an agent's words, if they name one.
fn exit_code(text: &str) -> Option<i64> {
    let (_, rest) = text.lines().next()?.split_once("status ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Notices in an agent's report that processes of sensors began or ended.
pub async fn hear(
    automation: &Automation,
    before: Option<&AutomationReport>,
    report: &AutomationReport,
) -> Result<(), Fault> {
    let known = |sensor: &str| -> Option<&SensorReport> {
        before?.sensors.iter().find(|one| one.sensor == sensor)
    };
    for one in &report.sensors {
        let last = known(&one.sensor).filter(|last| last.generation == one.generation);
        let ended = last.is_some_and(|last| last.restarts < one.restarts)
            || (last.is_some_and(|last| last.state == "running") && one.state == "waiting");
        if let Some(last) = last.filter(|_| ended) {
            exited(automation, one, last).await?;
        }
        let spawned = one.state == "running"
            && one.pid != 0
            && last.is_none_or(|last| last.pid != one.pid || last.state != "running");
        if spawned {
            let payload = json!({
                "id": one.sensor,
                "timestamp": now() / 1_000_000,
                "pid": one.pid,
                "cmd": format!("python3 -m yard_sensor {}", one.sensor),
            });
            let source = format!(
                "sensor:{}:{}:{}:{}:spawn",
                one.sensor, one.generation, one.restarts, one.pid
            );
            tell(automation, "core.st2.sensor.process_spawn", payload, source).await?;
        }
    }
    Ok(())
}

async fn exited(
    automation: &Automation,
    one: &SensorReport,
    last: &SensorReport,
) -> Result<(), Fault> {
    tracing::warn!(
        sensor = one.sensor,
        agent_says = one.last_exit,
        restarts = one.restarts,
        "a sensor ended and is started again"
    );
    metrics::counter!("automation_sensor_exits_total").increment(1);
    let at = rfc3339_micros(now());
    log(
        automation,
        &one.sensor,
        format!("Ended at {at} and is started again: {}", one.last_exit),
    );
    let payload = json!({
        "id": one.sensor,
        "timestamp": now() / 1_000_000,
        "pid": last.pid,
        "exit_code": exit_code(&one.last_exit),
    });
    // Agents may count a restart at the end of a life or at the next begin: either way it was this life.
    let source = format!(
        "sensor:{}:{}:{}:exit",
        one.sensor, one.generation, last.restarts
    );
    tell(automation, "core.st2.sensor.process_exit", payload, source).await
}

async fn tell(
    automation: &Automation,
    trigger: &str,
    payload: Value,
    source: String,
) -> Result<(), Fault> {
    let mut happened = Happened::new(trigger, payload);
    happened.source = Some(source);
    let mut round = automation.round("tell of a sensor's process").await?;
    let at = round.now();
    fire(round.connection(), &happened, at).await?;
    round.finish().await?;
    automation.wake.notify_one();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_are_compared_by_reference() {
        let of = |pairs: &[(&str, i64)]| -> BTreeMap<String, Value> {
            pairs
                .iter()
                .map(|(name, value)| (name.to_string(), json!(value)))
                .collect()
        };
        let (before, after) = (
            of(&[("a", 1), ("b", 1), ("c", 1)]),
            of(&[("a", 1), ("b", 2), ("d", 1)]),
        );
        let found: Vec<&str> = changes(&before, &after)
            .iter()
            .map(|(change, _)| *change)
            .collect();
        assert_eq!(found, ["update", "create", "delete"]);
    }

    #[test]
    fn an_exit_status_is_read_from_words() {
        assert_eq!(exit_code("exited with status 2\nTraceback"), Some(2));
        assert_eq!(exit_code("ended by signal SIGKILL"), None);
    }
}
