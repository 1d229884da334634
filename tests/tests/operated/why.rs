//! Why an app is as it is, asked after it crashed and after nobody had room for it; and what waits then.

use anyhow::{Context, ensure};
use serde_json::Value;
use std::time::Duration;
use tests::apps::*;
use tests::{Cluster, eventually};

const APP: &str = "explained";
/// For what takes moments on an idle machine.
const LONG: Duration = Duration::from_secs(60);

/// The newest outcome of this kind, once there is one.
async fn outcome(cluster: &Cluster, kind: &str) -> anyhow::Result<Value> {
    eventually(&format!("{kind} is told"), LONG, || async {
        let why = cluster.ok(["why", APP, "--json"]).await?.json()?;
        let outcomes = why["outcomes"].as_array().context("outcomes")?;
        let found = outcomes.iter().find(|outcome| outcome["kind"] == kind);
        found.cloned().with_context(|| format!("{why:#}"))
    })
    .await
}

/// The first cause of that kind.
fn cause<'a>(outcome: &'a Value, kind: &str) -> anyhow::Result<&'a str> {
    let causes = outcome["causes"].as_array().context("causes")?;
    let found = causes.iter().find(|cause| cause["kind"] == kind);
    let text = found.and_then(|cause| cause["text"].as_str());
    text.with_context(|| format!("no {kind} in {outcome:#}"))
}

/// What `yard status` says waits.
async fn waiting(cluster: &Cluster) -> anyhow::Result<Vec<Value>> {
    // Without an agent that takes work the cluster is not healthy, and the command says so.
    let status = cluster.yard(["status", "--json"]).await?.json()?;
    let waiting = status.pointer("/cluster/waiting").and_then(Value::as_array);
    waiting.cloned().context("what waits")
}

pub async fn what_happened_to_an_app_is_led_back_to_its_causes(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let folder = server(cluster, APP);
    push(cluster, APP, &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let started = outcome(cluster, "started").await?;
    ensure!(
        cause(&started, "act")?.contains("started the app"),
        "{started:#}"
    );
    ensure!(
        cause(&started, "package")?.contains("uploaded"),
        "{started:#}"
    );
    ensure!(started["agent"] == "dea-1", "{started:#}");

    let _ = cluster.get(&cluster.host(APP), "/eat").await;
    let restarted = outcome(cluster, "restarted").await?;
    let crash = cause(&restarted, "crash")?;
    ensure!(
        crash.to_lowercase().contains("out of memory") && crash.contains("137"),
        "{crash}"
    );
    ensure!(
        cause(&restarted, "act")?.contains("started the app"),
        "{restarted:#}"
    );
    let placed = restarted["placement"].as_str().unwrap_or_default();
    ensure!(placed.contains("dea-1 has"), "{restarted:#}");
    wait_running(cluster, APP, 1, LONG).await?;

    // The only agent is emptied: its instance cannot go anywhere.
    cluster.ok(["node", "drain", "dea-1", "--no-wait"]).await?;
    let waits = outcome(cluster, "not_placed").await;
    let told = cluster.ok(["why", APP]).await;
    let status = waiting(cluster).await;
    cluster.ok(["node", "undrain", "dea-1"]).await?;
    let waits = waits?;
    ensure!(
        cause(&waits, "agent_drained")? == "its agent dea-1 is emptied: admin asked for it",
        "{waits:#}"
    );
    let refused = waits["placement"].as_str().unwrap_or_default();
    ensure!(refused.contains("no agent takes work"), "{waits:#}");
    let status = status?;
    let found = |kind: &str| status.iter().find(|one| one["kind"] == kind);
    let instance = found("instance").with_context(|| format!("{status:#?}"))?;
    ensure!(
        instance["name"] == APP
            && instance["because"]
                .as_str()
                .is_some_and(|because| because.contains("no agent takes work")),
        "{instance:#}"
    );
    let told = told?.stdout;
    for part in [
        "instance 0 of web could not be placed",
        "no agent because no agent takes work",
    ] {
        ensure!(told.contains(part), "no {part:?} in {told}");
    }
    cluster.ok(["delete", APP, "--force"]).await.map(drop)
}
