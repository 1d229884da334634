//! What apps may expect: health checks, their environment and the processes of a Procfile.

use crate::support::{SERVER, Yard, shown};
use anyhow::{Context, ensure};
use serde_json::json;
use std::time::Duration;
use tests::eventually;

pub async fn health_checks_by_http_and_by_process(yard: &Yard) -> anyhow::Result<()> {
    let folder = yard.app(
        "checked",
        &[
            ("server.py", SERVER),
            ("Procfile", "web: exec python3 -u server.py\n"),
            (
                "manifest.yml",
                "applications:\n- name: checked\n  memory: 64M\n  buildpacks: [binary]\n  health-check-type: http\n  health-check-http-endpoint: /healthz\n  health-check-interval: 1\n",
            ),
        ],
    );
    yard.cluster.yard_in(&folder, ["push"]).await?.success()?;
    let host = yard.cluster.host("checked");
    let first = yard.instance("checked").await?;
    yard.cluster.body(&host, "/sicken").await?;
    // Meanwhile: a process that listens nowhere is healthy if nobody asks for more.
    let folder = yard.app("quiet", &[("Procfile", "web: exec sleep 600\n")]);
    yard.push(
        "quiet",
        &folder,
        &["--buildpack", "binary", "-u", "process", "--no-route"],
    )
    .await?
    .success()?;
    yard.delete("quiet").await?;
    let events = eventually("a new instance", Duration::from_secs(20), || async {
        let instance = yard.instance("checked").await?;
        ensure!(instance != first, "still the sick one");
        yard.cluster.body(&host, "/healthz").await?;
        Ok(yard.cluster.ok(["events", "checked"]).await?.stdout)
    })
    .await?;
    ensure!(events.contains("health check"), "{events}");
    yard.neighbour_is_well().await?;
    yard.delete("checked").await?;
    // The crashed one is kept for a while, for who wants to look at it.
    Ok(())
}

pub async fn odd_environment_arrives_intact(yard: &Yard) -> anyhow::Result<()> {
    let odd = "two\nlines, \"double\" 'single' `back` $HOME \\n \u{1F40D} ü =\ttab ";
    let folder = yard.app(
        "odd",
        &[
            ("server.py", SERVER),
            ("Procfile", "web: exec python3 -u server.py\n"),
        ],
    );
    yard.push("odd", &folder, &["--buildpack", "binary", "--no-start"])
        .await?
        .success()?;
    yard.cluster.ok(["set-env", "odd", "ODD", odd]).await?;
    yard.cluster.ok(["start", "odd"]).await?;
    let seen = yard
        .cluster
        .body(&yard.cluster.host("odd"), "/env/ODD")
        .await?;
    ensure!(seen == odd, "{seen:?} is not {odd:?}");
    let refused = yard.cluster.yard(["set-env", "odd", "PORT", "1"]).await?;
    ensure!(
        refused.status != 0 && shown(&refused).contains("PORT"),
        "{}",
        shown(&refused)
    );
    yard.delete("odd").await
}

pub async fn a_worker_of_a_procfile_is_scaled(yard: &Yard) -> anyhow::Result<()> {
    let folder = yard.app(
        "team",
        &[
            ("server.py", SERVER),
            (
                "Procfile",
                "web: exec python3 -u server.py\nworker: while true; do echo at work; sleep 1; done\n",
            ),
        ],
    );
    yard.push("team", &folder, &["--buildpack", "binary"])
        .await?
        .success()?;
    ensure!(
        yard.instances("team", "worker").await?.is_empty(),
        "a worker begins with none"
    );
    yard.cluster
        .ok(["scale", "team", "--process", "worker", "--instances", "1"])
        .await?;
    eventually("the worker's lines", Duration::from_secs(10), || async {
        let recent = yard.cluster.ok(["logs", "team", "--recent"]).await?.stdout;
        ensure!(
            recent.contains("APP/PROC/WORKER") && recent.contains("at work"),
            "{recent}"
        );
        Ok(())
    })
    .await?;
    let instances = yard.instances("team", "worker").await?;
    ensure!(
        json!(instances).to_string().contains("RUNNING"),
        "{instances:?}"
    );
    // More than any agent has: said, with what is needed and what the best has.
    let output = yard
        .cluster
        .yard([
            "scale",
            "team",
            "--process",
            "worker",
            "--memory",
            "900G",
            "--force",
            "--timeout",
            "20",
        ])
        .await?;
    let text = shown(&output);
    ensure!(
        output.status != 0 && text.contains("memory") && text.contains("dea-1"),
        "{text}"
    );
    yard.cluster
        .body(&yard.cluster.host("team"), "/")
        .await
        .context("its web process still answers")?;
    yard.neighbour_is_well().await?;
    yard.delete("team").await
}
