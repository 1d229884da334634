//! One-off tasks of an app, as an operator runs them: what they print, how they end, and that each does,
//! whatever dies or is full.

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;
use tests::apps::*;
use tests::{Cluster, eventually};

const APP: &str = "chores";
/// For what takes moments on an idle machine.
const LONG: Duration = Duration::from_secs(60);

/// The app, pushed once for all of these checks, and stopped: tasks need no instance.
async fn chores(cluster: &Cluster) -> anyhow::Result<()> {
    if cluster.yard(["app", APP, "--json"]).await?.status == 0 {
        return Ok(());
    }
    let folder = server(cluster, APP);
    push(cluster, APP, &folder, &["--memory", "64M", "--no-start"])
        .await?
        .success()
        .map(drop)
}

async fn task(cluster: &Cluster, number: u64) -> anyhow::Result<Value> {
    let number = number.to_string();
    cluster
        .ok(["task", "show", APP, &number, "--json"])
        .await?
        .json()
}

async fn newest(cluster: &Cluster) -> anyhow::Result<Option<Value>> {
    let tasks = cluster.ok(["tasks", APP, "--json"]).await?.json()?;
    Ok(tasks.as_array().and_then(|tasks| tasks.first()).cloned())
}

/// Runs one without waiting for its end; its number.
async fn detached(cluster: &Cluster, options: &[&str], command: &str) -> anyhow::Result<u64> {
    let mut words = vec!["run", APP, "--detach", "--json"];
    words.extend(options);
    words.extend(["--", command]);
    let task = cluster.ok(words).await?.json()?;
    task["sequence_id"].as_u64().context("its number")
}

/// What the log keeps of the tasks of this name.
async fn lines_of(cluster: &Cluster, name: &str) -> anyhow::Result<String> {
    let source = format!("APP/TASK/{name}");
    let shown = cluster.ok(["logs", APP, "--recent", "--source", &source]);
    Ok(shown.await?.stdout)
}

async fn comes_to(cluster: &Cluster, number: u64, state: &str) -> anyhow::Result<Value> {
    eventually(&format!("task {number} is {state}"), LONG, || async {
        let task = task(cluster, number).await?;
        ensure!(task["state"] == state, "{task}");
        Ok(task)
    })
    .await
}

pub async fn a_task_prints_and_exits_as_its_command_does(cluster: &Cluster) -> anyhow::Result<()> {
    chores(cluster).await?;
    let ran = cluster
        .yard([
            "run",
            APP,
            "--name",
            "first",
            "--",
            "echo to out; echo to err >&2; echo home $HOME; exit 3",
        ])
        .await?;
    ensure!(
        ran.status == 3,
        "{} {} {}",
        ran.status,
        ran.stdout,
        ran.stderr
    );
    ensure!(
        ran.stdout == "to out\nhome /home/vcap/app\n",
        "{:?}",
        ran.stdout
    );
    ensure!(ran.stderr.contains("to err\n"), "{:?}", ran.stderr);
    ensure!(
        ran.stderr.contains("exited with status 3"),
        "{:?}",
        ran.stderr
    );

    let lines = lines_of(cluster, "first").await?;
    ensure!(
        lines.contains("OUT to out") && lines.contains("ERR to err"),
        "{lines:?}"
    );

    // All of a thousand lines, the last ones too; words reach the program as they are.
    let script = "for n in $(seq 1000); do echo \"line $n of $1\"; done";
    let ran = cluster
        .ok(["run", APP, "--", "bash", "-c", script, "-", "two  words"])
        .await?;
    ensure!(
        ran.stdout.lines().count() == 1000,
        "{}",
        ran.stdout.lines().count()
    );
    ensure!(
        ran.stdout.ends_with("line 1000 of two  words\n"),
        "the last line"
    );

    let ran = cluster.ok(["run", APP, "--json", "--", "env"]).await?;
    let document = ran.json()?;
    ensure!(document["state"] == "SUCCEEDED", "{document}");
    ensure!(document["result"]["yard_exit_status"] == 0, "{document}");
    ensure!(ran.stderr.contains("VCAP_APPLICATION={"), "{}", ran.stderr);
    ensure!(
        !ran.stderr.contains("\nPORT="),
        "nobody asks it anything: {}",
        ran.stderr
    );

    let listed = cluster.ok(["tasks", APP]).await?.stdout;
    ensure!(listed.contains("exited with status 3"), "{listed}");
    let rules = cluster
        .ok([
            "trigger",
            "instances",
            "--trigger",
            "yard.task.finished",
            "--json",
        ])
        .await?
        .json()?;
    ensure!(
        rules.as_array().is_some_and(|told| !told.is_empty()),
        "rules are told: {rules}"
    );
    Ok(())
}

pub async fn a_task_is_cancelled_by_command_and_by_interrupt(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    chores(cluster).await?;
    let number = detached(cluster, &[], "sleep 600").await?;
    comes_to(cluster, number, "RUNNING").await?;
    cluster
        .ok(["task", "cancel", APP, &number.to_string()])
        .await?;
    let ended = comes_to(cluster, number, "FAILED").await?;
    ensure!(
        ended["result"]["failure_reason"] == "task was cancelled",
        "{ended}"
    );
    let again = cluster
        .yard(["task", "cancel", APP, &number.to_string()])
        .await?;
    ensure!(again.status == 1, "{} {}", again.status, again.stderr);
    ensure!(
        again.stderr.contains("cannot be canceled"),
        "{}",
        again.stderr
    );

    let mut command = cluster.command(&cluster.root());
    let child = command
        .args(["run", APP, "--name", "interrupted", "--", "sleep 600"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let running = eventually("it runs", LONG, || async {
        match newest(cluster).await? {
            Some(task) if task["name"] == "interrupted" && task["state"] == "RUNNING" => Ok(task),
            other => bail!("{other:?}"),
        }
    })
    .await?;
    kill(pid, Signal::SIGINT)?;
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await??;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(130),
        "{:?} {told}",
        output.status
    );
    ensure!(told.contains("is being cancelled"), "{told}");
    let number = running["sequence_id"].as_u64().context("its number")?;
    comes_to(cluster, number, "FAILED").await.map(drop)
}

pub async fn a_task_outlives_its_agent_and_the_controller(cluster: &Cluster) -> anyhow::Result<()> {
    chores(cluster).await?;
    let number = detached(
        cluster,
        &["--name", "patient"],
        "echo begun; sleep 20; echo went; exit 5",
    )
    .await?;
    // Its agent has accepted it before it begins.
    eventually("its first line", LONG, || async {
        let lines = lines_of(cluster, "patient").await?;
        ensure!(lines.contains("OUT begun"), "{lines:?}");
        Ok(())
    })
    .await?;
    for component in ["dea-1", "controller-1"] {
        let pid = cluster.kill(component)?;
        cluster.wait_restarted(component, pid).await?;
    }
    let ended = eventually("it ended", LONG, || async {
        let task = task(cluster, number).await?;
        ensure!(task["state"] == "FAILED", "{task}");
        Ok(task)
    })
    .await?;
    ensure!(
        ended["result"]["failure_reason"] == "exited with status 5",
        "{ended}"
    );
    ensure!(ended["result"]["yard_exit_status"] == 5, "{ended}");
    let lines = lines_of(cluster, "patient").await?;
    ensure!(
        lines.matches("OUT went").count() == 1,
        "it ran once: {lines}"
    );
    Ok(())
}

pub async fn a_greedy_task_is_told_from_others(cluster: &Cluster) -> anyhow::Result<()> {
    chores(cluster).await?;
    let ran = cluster
        .yard([
            "run",
            APP,
            "--memory",
            "64M",
            "--",
            "exec python3 -c 'held = [bytearray(8 << 20) for _ in range(1000)]'",
        ])
        .await?;
    ensure!(
        ran.status == 137,
        "{} {} {}",
        ran.status,
        ran.stdout,
        ran.stderr
    );
    ensure!(ran.stderr.contains("64 MB"), "{}", ran.stderr);
    Ok(())
}

pub async fn a_task_without_room_waits_for_it(cluster: &Cluster) -> anyhow::Result<()> {
    chores(cluster).await?;
    let status = cluster.ok(["status", "--json"]).await?.json()?;
    let agent = &status["cluster"]["agents"][0];
    let total = agent["total_memory_in_mb"].as_u64().context("its memory")?;
    // More than half: two never fit at once.
    let half = format!("{}M", total / 2 + 1);
    let never = cluster
        .yard([
            "run",
            APP,
            "--memory",
            &format!("{}M", total * 2),
            "--",
            "true",
        ])
        .await?;
    ensure!(
        never.stderr.contains("more than any agent could ever give"),
        "{}",
        never.stderr
    );

    let holder = detached(cluster, &["--memory", &half], "sleep 600").await?;
    comes_to(cluster, holder, "RUNNING").await?;
    let number = detached(cluster, &["--memory", &half], "exit 0").await?;
    let waiting = eventually("its reason", LONG, || async {
        let task = task(cluster, number).await?;
        ensure!(task["yard_waits_for"].is_string(), "{task}");
        Ok(task)
    })
    .await?;
    ensure!(waiting["state"] == "PENDING", "{waiting}");
    let why = waiting["yard_waits_for"].as_str().unwrap_or_default();
    ensure!(why.contains("MB memory; the best agent"), "{why}");
    let status = cluster.ok(["status", "--json"]).await?.json()?;
    let told = status.pointer("/cluster/waiting").and_then(Value::as_array);
    let told = told.and_then(|all| all.iter().find(|one| one["kind"] == "task"));
    let told = told.with_context(|| format!("{status:#}"))?;
    ensure!(
        told["because"]
            .as_str()
            .is_some_and(|it| it.contains("MB memory; the best agent")),
        "{told}"
    );
    cluster
        .ok(["task", "cancel", APP, &holder.to_string()])
        .await?;
    comes_to(cluster, number, "SUCCEEDED").await?;

    // Its app goes, and it with it.
    let holder = detached(cluster, &["--memory", &half], "sleep 600").await?;
    comes_to(cluster, holder, "RUNNING").await?;
    cluster.ok(["delete", APP, "--force"]).await?;
    eventually("nothing of it runs", LONG, || async {
        let varz = cluster.varz("dea-1").await?;
        ensure!(varz["tasks"] == 0, "{varz}");
        Ok(())
    })
    .await
}
