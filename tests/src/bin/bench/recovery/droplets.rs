//! A droplet that is there: from the command that starts its app to the first answer.

use super::server::{Watcher, folder};
use crate::goal::{Goal, Measured, Reach};
use crate::statistics::median;
use anyhow::ensure;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use tests::Cluster;
use tests::cluster::told;

const ROUNDS: usize = 7;
const MEGABYTE: usize = 1_000_000;

pub async fn measure(cluster: &Cluster) -> anyhow::Result<Goal> {
    let source = folder(cluster, "prebuilt", 10 * MEGABYTE)?;
    let path = source.display().to_string();
    let droplet = cluster.root().join("prebuilt.tgz");
    let file = droplet.display().to_string();
    let push = ["--path", &path, "--memory", "64M"];
    let words = ["push", "prebuilt"];
    cluster.ok(words.iter().chain(&push)).await?;
    cluster
        .ok(["droplet", "download", "prebuilt", "--output", &file])
        .await?;
    cluster.ok(["delete", "prebuilt", "--force"]).await?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let app = format!("prebuilt-{round}");
        renew(cluster, &droplet)?;
        let words = ["push", &app, "--no-start"];
        cluster.ok(words.iter().chain(&push)).await?;
        cluster.ok(["droplet", "upload", &app, &file]).await?;
        let watcher = Watcher::new(cluster, &app)?;
        let begun = Instant::now();
        let starting = cluster.ok(["start", &app]);
        let answered = watcher.until("an answer", begun, async |watcher| {
            Ok(watcher.ask().await.is_some())
        });
        let (started, answered) = tokio::join!(starting, answered);
        started?;
        times.push(answered?);
        cluster.ok(["delete", &app, "--force"]).await?;
    }
    Ok(Goal {
        what: "a droplet of 10 MB that no agent has yet, from `yard start` to the first answer through the router".into(),
        reach: Reach::BelowMilliseconds(500.0),
        measured: Ok(Measured {
            yardstick: String::new(),
            ours: format!("{:.0} ms", median(&times)),
            rounds: times,
        }),
    })
}

/// Makes another droplet of it, which no agent has.
fn renew(cluster: &Cluster, droplet: &Path) -> anyhow::Result<()> {
    let folder = cluster.root().join("droplet");
    std::fs::create_dir_all(&folder)?;
    let tar = |words: &[&str]| {
        let mut command = Command::new("tar");
        command.args(words).arg(droplet).arg("-C").arg(&folder);
        command
    };
    told(&mut tar(&["-xzf"]))?;
    let ballast: Vec<u8> = (0..10 * MEGABYTE).map(|_| rand::random()).collect();
    std::fs::write(folder.join("app/ballast"), ballast)?;
    told(tar(&["-czf"]).arg("."))?;
    let size = std::fs::metadata(droplet)?.len();
    ensure!(size >= 10 * MEGABYTE as u64, "{size} bytes only");
    Ok(())
}
