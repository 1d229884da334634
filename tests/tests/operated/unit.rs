//! The unit of systemd: it is one that systemd understands, and what it starts brings everything back after
//! a reboot.

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tests::apps::*;
use tests::runner::skipped;
use tests::{Cluster, cluster::programs, eventually};

const APP: &str = "returning";
const SOON: Duration = Duration::from_secs(60);

pub async fn a_unit_brings_everything_back_after_a_reboot(cluster: &Cluster) -> anyhow::Result<()> {
    let home = cluster.home.display().to_string();
    let printed = cluster.ok(["node", "unit", "--home", &home]).await?.stdout;
    verify(cluster, &printed)?;
    push(cluster, APP, &server(cluster, APP), &["--memory", "32M"])
        .await?
        .success()?;
    // A role that was added is one of the machine's from then on.
    cluster
        .ok(["node", "role", "add", "machine-1", "health-manager"])
        .await?;

    let file = cluster.cluster_file()?;
    switch_off(&home, &file.id).await?;
    ensure!(
        !Path::new(&file.run_folder).exists(),
        "{} is there after a reboot",
        file.run_folder
    );
    ensure!(cluster.node_status().is_err(), "a node answers");

    let line = printed
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .context("the unit starts something")?;
    // Paths of tests hold nothing that a shell reads otherwise than systemd.
    let started = Command::new("/bin/sh")
        .arg("-c")
        .arg(format!(
            "exec setsid --fork {line} </dev/null >>'{home}/logs/node.log' 2>&1"
        ))
        .status()?;
    ensure!(started.success(), "{started}");
    eventually("all that ran runs again", SOON, || async {
        let status = cluster.node_status()?;
        let well = status.components.iter().all(|part| part.state.is_well());
        ensure!(well && status.components.len() == 10, "{status:?}");
        Ok(())
    })
    .await?;
    eventually("the app answers again", SOON, || async {
        let answer = cluster.get(&cluster.host(APP), "/").await?;
        ensure!(answer.status() == 200, "{}", answer.status());
        Ok(())
    })
    .await?;
    cluster
        .ok(["node", "role", "remove", "machine-1", "health-manager"])
        .await?;
    cluster.ok(["delete", APP, "--force"]).await.map(drop)
}

fn verify(cluster: &Cluster, text: &str) -> anyhow::Result<()> {
    let file = cluster.root().join("stackyard-test.service");
    std::fs::write(&file, text)?;
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(&file)
        .output();
    let output = match verified {
        Ok(output) => output,
        Err(error) => {
            skipped(
                "a_unit_brings_everything_back_after_a_reboot: systemd-analyze verify",
                &format!("systemd-analyze does not run here: {error}"),
            );
            return Ok(());
        }
    };
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && !told.contains("stackyard-test.service"),
        "{told}\n{text}"
    );
    Ok(())
}

/// What a machine loses when its power is cut: every process, and all that only the kernel knew.
async fn switch_off(home: &str, cluster: &str) -> anyhow::Result<()> {
    eventually("every process is dead", SOON, || async {
        let living = processes(home, &format!("stackyard-{cluster}-"))?;
        for pid in &living {
            // It may be gone meanwhile.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        ensure!(living.is_empty(), "{living:?}");
        Ok(())
    })
    .await?;
    // Mounts, control groups, interfaces, firewall tables, loop devices: with no process there, the
    // clean-up finds nobody to stop.
    let cleared = Command::new(programs().join("stackyard"))
        .args(["node", "--stop-only", "--home", home])
        .output()?;
    if !cleared.status.success() {
        bail!("{}", String::from_utf8_lossy(&cleared.stderr));
    }
    Ok(())
}

/// Those that have the home in their command line, and those in the cluster's control groups.
fn processes(home: &str, group: &str) -> anyhow::Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let read = |name: &str| {
            let bytes = std::fs::read(entry.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let is_dead = read("stat")
            .rsplit_once(')')
            .is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']));
        let is_ours = read("cmdline").contains(home) || read("cgroup").contains(group);
        if is_ours && !is_dead && pid != std::process::id() as i32 {
            found.push(pid);
        }
    }
    Ok(found)
}
