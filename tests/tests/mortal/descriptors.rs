//! Every daemon is out of file descriptors for a while, during a push. None of them ends, and afterwards all work
//! as before.

use crate::world::{SOON, World};
use anyhow::{Context, ensure};
use std::process::Command;
use std::time::Duration;
use tests::apps::push;
use tests::eventually;

const DAEMONS: [&str; 10] = [
    "controller-1",
    "controller-2",
    "router-1",
    "router-2",
    "stager-1",
    "stager-2",
    "health-manager-1",
    "health-manager-2",
    "collector-1",
    "dea-1",
];
const HELD: Duration = Duration::from_secs(2);

/// How many descriptors a process may have.
fn limit(pid: i32, soft: &str) -> anyhow::Result<()> {
    let status = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={soft}:")])
        .status()
        .context("running prlimit")?;
    ensure!(status.success(), "prlimit of {pid}: {status}");
    Ok(())
}

fn soft_limit(pid: i32) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = text.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    Ok(soft.context("a limit of open files")?.to_string())
}

pub async fn descriptors_may_run_out(world: &World) -> anyhow::Result<()> {
    let cluster = &world.cluster;
    world.all_ready().await?;
    let mut before = Vec::new();
    for daemon in DAEMONS {
        let pid = cluster.pid(daemon)?;
        before.push((daemon, pid, soft_limit(pid)?));
    }
    let folder = world.page("cramped", "cramped", 1 << 20);
    let holding = async {
        for (_, pid, _) in &before {
            // Those it has stay; there are no further ones.
            limit(*pid, "3")?;
        }
        tokio::time::sleep(HELD).await;
        before
            .iter()
            .try_for_each(|(_, pid, soft)| limit(*pid, soft))
    };
    let pushing = push(cluster, "cramped", &folder, &["--memory", "32M"]);
    let (held, pushed) = tokio::join!(holding, pushing);
    held?;
    let pushed = pushed?;
    ensure!(
        pushed.status == 0 || !pushed.stderr.trim().is_empty(),
        "no reason: {pushed:?}"
    );
    eventually("a push works", SOON, || async {
        push(cluster, "cramped", &folder, &["--memory", "32M"])
            .await?
            .success()
            .map(drop)
    })
    .await?;
    world.all_ready().await?;
    for (daemon, pid, _) in &before {
        ensure!(cluster.pid(daemon)? == *pid, "{daemon} was restarted");
    }
    let told = cluster
        .log("router-1")
        .contains("a client could not be accepted");
    ensure!(told, "the router tells that it could not accept a client");
    cluster.ok(["delete", "cramped", "--force"]).await?;
    world.note(
        "descriptors run out",
        format!(
            "{} daemons for {} s, 0 of them restarted; a push meanwhile: {}",
            before.len(),
            HELD.as_secs(),
            match pushed.status {
                0 => "done",
                _ => pushed.stderr.lines().next().unwrap_or_default(),
            }
        ),
    );
    Ok(())
}
