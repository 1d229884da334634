//! What was promised against what came of it: every acknowledged call of a hook has one trigger instance,
//! one execution and an end, and no effect was had twice.

use crate::World;
use crate::effects;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tests::eventually;

/// What a load was told.
#[derive(Debug, Default)]
pub struct Promised {
    pub acknowledged: BTreeSet<String>,
    /// Sent, and not answered so that anybody could rely on it.
    pub unknown: BTreeSet<String>,
    /// Times that a call was put off with the word when to come back.
    pub put_off: u64,
    pub last_failure: Option<String>,
}

/// What came of it.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    pub acknowledged: usize,
    pub unknown: usize,
    /// Of those that were not acknowledged.
    pub recorded_all_the_same: usize,
    pub ends: BTreeMap<String, usize>,
}

impl Outcome {
    pub fn line(&self) -> String {
        let ends: Vec<String> = self
            .ends
            .iter()
            .map(|(status, count)| format!("{count} {status}"))
            .collect();
        format!(
            "{} acknowledged, {} unanswered ({} of them recorded); {}",
            self.acknowledged,
            self.unknown,
            self.recorded_all_the_same,
            ends.join(", ")
        )
    }
}

/// Whether the effects of the executions are to be counted as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effects {
    Counted,
    None,
}

const FINAL: [&str; 5] = ["succeeded", "failed", "timeout", "abandoned", "canceled"];

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

/// Waits until everything of a hook has an end.
pub async fn ended(world: &World, hook: &str, within: Duration) -> anyhow::Result<()> {
    let open = [
        "triggerinstances?trigger=core.st2.webhook&status=pending".to_string(),
        format!(
            "executions?rule=default.{hook}&status=requested,scheduled,delayed,running,canceling,pending&include_attributes=id,status,log"
        ),
    ];
    eventually("everything has an end", within, || async {
        for path in &open {
            let listed = world.api.get(&format!("{path}&limit=1")).await;
            let is_empty = listed.as_ref().is_ok_and(|list| list == &json!([]));
            if !is_empty {
                // The wait must not be a load of its own.
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            ensure!(is_empty, "{path}: {listed:?}");
        }
        Ok(())
    })
    .await
}

/// Settles the account of a hook of which everything has an end.
pub async fn balance(
    world: &World,
    hook: &str,
    promised: &Promised,
    effects: Effects,
) -> anyhow::Result<Outcome> {
    let rule = format!("default.{hook}");
    let instances = instances(world, hook).await?;
    for (id, found) in &instances {
        for (_, status) in found {
            ensure!(status == "processed", "{id} is {status}");
        }
    }
    for id in &promised.acknowledged {
        let count = instances.get(id).map_or(0, Vec::len);
        ensure!(
            count == 1,
            "{id} was acknowledged and has {count} trigger instances"
        );
    }
    for (id, found) in &instances {
        ensure!(found.len() == 1, "{id} has {} instances", found.len());
        ensure!(
            promised.acknowledged.contains(id) || promised.unknown.contains(id),
            "nobody sent {id}"
        );
    }

    let path =
        format!("executions?rule={rule}&include_attributes=id,status,trigger_instance,context");
    let executions = world.api.all(&path).await?;
    let mut of_instance: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for execution in &executions {
        let instance = text(&execution["context"]["trigger_instance"]["id"]);
        of_instance.entry(instance).or_default().push(execution);
        let status = text(&execution["status"]);
        ensure!(FINAL.contains(&status.as_str()), "no end: {execution}");
        *ends.entry(status).or_default() += 1;
    }
    let hits = match effects {
        Effects::Counted => effects::counted(&world.cluster).await?,
        Effects::None => BTreeMap::new(),
    };
    for (id, found) in &instances {
        let (instance, _) = found.first().context("an instance")?;
        let of_it = of_instance.remove(instance).unwrap_or_default();
        ensure!(
            of_it.len() == 1,
            "the rule ran {} times for {id}: {of_it:?}",
            of_it.len()
        );
        if effects == Effects::Counted {
            let status = text(&of_it[0]["status"]);
            let count = hits.get(id).copied().unwrap_or(0);
            let fits = match status.as_str() {
                "succeeded" => count == 1,
                _ => count <= 1,
            };
            ensure!(fits, "{id}: {status}, and its effect was had {count} times");
        }
    }
    ensure!(
        of_instance.is_empty(),
        "executions without an instance: {of_instance:?}"
    );
    for id in hits.keys().filter(|id| id.starts_with(&format!("{hook}-"))) {
        ensure!(
            instances.contains_key(id),
            "{id} had an effect and was never recorded"
        );
    }
    enforced_once(world, &rule, instances.len()).await?;
    if let Some(failed) = executions.iter().find(|one| one["status"] == "failed") {
        let shown = world
            .api
            .get(&format!("executions/{}", text(&failed["id"])))
            .await?;
        anyhow::bail!(
            "{ends:?}; one that failed: {} {}",
            shown["result"],
            shown["log"]
        );
    }
    Ok(Outcome {
        acknowledged: promised.acknowledged.len(),
        unknown: promised.unknown.len(),
        recorded_all_the_same: instances
            .keys()
            .filter(|id| promised.unknown.contains(*id))
            .count(),
        ends,
    })
}

/// The instances of a hook by the id in their payload: their own ids and states.
async fn instances(
    world: &World,
    hook: &str,
) -> anyhow::Result<BTreeMap<String, Vec<(String, String)>>> {
    let mark = format!("{hook}-");
    let mut found: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let path = "triggerinstances?trigger=core.st2.webhook&include_attributes=id,status,payload";
    for one in world.api.all(path).await? {
        let id = text(&one["payload"]["body"]["id"]);
        if id.starts_with(&mark) {
            found
                .entry(id)
                .or_default()
                .push((text(&one["id"]), text(&one["status"])));
        }
    }
    Ok(found)
}

async fn enforced_once(world: &World, rule: &str, instances: usize) -> anyhow::Result<()> {
    let listed = world
        .api
        .all(&format!("ruleenforcements?rule_ref={rule}"))
        .await?;
    let distinct: BTreeSet<String> = listed
        .iter()
        .map(|one| text(&one["trigger_instance_id"]))
        .collect();
    ensure!(
        listed.len() == instances && distinct.len() == instances,
        "{} enforcements of {} instances for {instances}",
        listed.len(),
        distinct.len()
    );
    if let Some(failed) = listed.iter().find(|one| one["status"] != "succeeded") {
        anyhow::bail!("a rule was not enforced: {failed}");
    }
    Ok(())
}
