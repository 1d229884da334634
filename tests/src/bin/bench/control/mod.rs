//! What the control plane takes for a large cluster, against yardsticks: its parts alone, without containers.

use crate::examples::{number, numbers, run};
use crate::goal::{Goal, Measured, Reach};
use crate::statistics::{median, ratios};
use anyhow::Context;
use serde_json::Value;

/// What is measured runs on one core.
const CORE: usize = 0;

pub async fn measure() -> anyhow::Result<Vec<Goal>> {
    let controller = run("cluster_bench", &[], Some(CORE)).await?;
    let health_manager = run("heartbeats_bench", &[], Some(CORE)).await?;
    let placements = run("placements_bench", &[], None).await?;
    let mut goals = vec![
        rates(
            "instances placed per second on 1,000 agents, in memory",
            1.0,
            &controller["placements"],
        )?,
        rates(
            "instances placed per second from end to end (decided, sent, on record), 1,000 agents",
            0.3,
            &placements,
        )?,
    ];
    for (who, document) in [
        ("controller", &controller),
        ("health manager", &health_manager),
    ] {
        goals.extend(heartbeats(who, &document["heartbeats"])?);
    }
    Ok(goals)
}

fn rates(what: &str, least: f64, document: &Value) -> anyhow::Result<Goal> {
    let yardstick = numbers(document, "yardstick_per_s")?;
    let ours = numbers(document, "ours_per_s")?;
    Ok(Goal {
        what: what.into(),
        reach: Reach::AtLeast(least),
        measured: Ok(Measured {
            yardstick: format!("{:.0}/s", median(&yardstick)),
            ours: format!("{:.0}/s", median(&ours)),
            rounds: ratios(&ours, &yardstick),
        }),
    })
}

fn heartbeats(who: &str, document: &Value) -> anyhow::Result<Vec<Goal>> {
    let yardstick = numbers(document, "yardstick_ms")?;
    let ours = numbers(document, "ours_ms")?;
    let memory = number(document, "/memory_mb").context("the memory of a table")?;
    Ok(vec![
        Goal {
            what: format!("processor time of a round of heartbeats of 100,000 instances, {who}"),
            reach: Reach::AtMost(3.0),
            measured: Ok(Measured {
                yardstick: format!("{:.0} ms", median(&yardstick)),
                ours: format!("{:.0} ms", median(&ours)),
                rounds: ratios(&ours, &yardstick),
            }),
        },
        Goal {
            what: format!("memory of what they tell, {who}"),
            reach: Reach::BelowMegabytes(100.0),
            measured: Ok(Measured {
                yardstick: String::new(),
                ours: format!("{memory:.0} MB"),
                rounds: vec![memory],
            }),
        },
    ])
}
