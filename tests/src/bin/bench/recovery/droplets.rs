//! A droplet that was staged before: from the command that brings it to the first answer.

use super::server::{Watcher, folder};
use crate::goal::{Goal, Measured, Reach};
use crate::statistics::median;
use anyhow::ensure;
use std::time::Instant;
use tests::Cluster;

const ROUNDS: usize = 7;
const MEGABYTE: usize = 1_000_000;

pub async fn measure(cluster: &Cluster) -> anyhow::Result<Goal> {
    let source = folder(cluster, "prebuilt", 10 * MEGABYTE)?
        .display()
        .to_string();
    let droplet = cluster.root().join("prebuilt.tgz").display().to_string();
    cluster
        .ok(["push", "prebuilt", "--path", &source, "--memory", "64M"])
        .await?;
    cluster
        .ok(["droplet", "download", "prebuilt", "--output", &droplet])
        .await?;
    let size = std::fs::metadata(&droplet)?.len();
    ensure!(size >= 10 * MEGABYTE as u64, "{size} bytes only");
    cluster.ok(["delete", "prebuilt", "--force"]).await?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let app = format!("prebuilt-{round}");
        let watcher = Watcher::new(cluster, &app)?;
        let begun = Instant::now();
        let pushing = cluster.ok(["push", &app, "--droplet", &droplet, "--memory", "64M"]);
        let answered = watcher.until("an answer", begun, async |watcher| {
            Ok(watcher.ask().await.is_some())
        });
        let (pushed, answered) = tokio::join!(pushing, answered);
        pushed?;
        times.push(answered?);
        cluster.ok(["delete", &app, "--force"]).await?;
    }
    Ok(Goal {
        what: "a droplet of 10 MB that is there, from the command that pushes it to the first answer through the router".into(),
        reach: Reach::BelowMilliseconds(500.0),
        measured: Ok(Measured {
            yardstick: String::new(),
            ours: format!("{:.0} ms", median(&times)),
            rounds: times,
        }),
    })
}
