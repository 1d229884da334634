//! Executions that clients ask for over HTTP, through the router of a whole cluster, until the last
//! of them has ended.

use crate::goal::{Goal, Measured, Reach};
use crate::statistics::median;
use crate::yardsticks::postgres;
use anyhow::{Context, ensure};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tests::automation::Api;
use tests::{Cluster, eventually};
use tokio::process::Command;

const ROUNDS: usize = 3;
/// Clients that ask at the same time, each with a connection of its own.
const CLIENTS: &str = "64";
/// For how long they ask.
const SECONDS: &str = "4";
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// Inserts of the yardstick between two rounds.
const INSERTS: usize = 5000;

pub async fn measure(
    cluster: &Cluster,
    api: &Api,
    database: Result<&postgres::Server, &str>,
) -> anyhow::Result<Goal> {
    let script = script(cluster, api)?;
    let (mut inserts, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        if let Ok(database) = database {
            inserts.push(database.inserts_per_second(INSERTS)?);
        }
        let begun = Instant::now();
        let asked = load(api, &script).await?;
        eventually("the end of all executions", ENDS_WITHIN, || async {
            let waiting = "executions?limit=1&include_attributes=status&status=requested,scheduled,running,delayed";
            let left = api.get(waiting).await?;
            ensure!(left == json!([]), "{left}");
            Ok(())
        })
        .await?;
        ours.push(asked / begun.elapsed().as_secs_f64());
    }
    let measured = Measured {
        yardstick: format!("{:.0}/s", median(&inserts)),
        ours: format!("{:.0}/s", median(&ours)),
        rounds: ours
            .iter()
            .zip(&inserts)
            .map(|(ours, inserts)| ours / inserts)
            .collect(),
    };
    Ok(Goal {
        what: "`core.noop` executions per second over HTTP, 64 clients, whole cluster, to the last end".into(),
        reach: Reach::AtLeast(0.5),
        measured: database.map(|_| measured).map_err(str::to_string),
    })
}

fn script(cluster: &Cluster, api: &Api) -> anyhow::Result<PathBuf> {
    let mut text = format!(
        "wrk.method = \"POST\"\nwrk.body = [[{}]]\n",
        json!({"action": "core.noop"})
    );
    for (name, value) in api.headers() {
        text.push_str(&format!("wrk.headers[\"{name}\"] = \"{value}\"\n"));
    }
    let path = cluster.root().join("executions.lua");
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Asks as fast as the answers come; how many there were. All must be good ones.
async fn load(api: &Api, script: &Path) -> anyhow::Result<f64> {
    let output = Command::new("wrk")
        .args(["-t", "1", "-c", CLIENTS, "-d", SECONDS, "-s"])
        .arg(script)
        .arg(api.url("executions"))
        .stdin(Stdio::null())
        .output()
        .await
        .context("starting wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "wrk: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
        .with_context(|| format!("wrk does not say how many requests it made: {text}"))
}
