//! The agents of a cluster from outside: what runs under one, and its violent end.

use crate::Cluster;
use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Killing goes on for so long: what is killed may have begun something.
const KILLED_WITHIN: Duration = Duration::from_secs(60);

/// The machine of this agent is gone: the agent first, so that it tells nobody, then all it ran.
pub fn kill_with_containers(cluster: &Cluster, agent: &str) -> anyhow::Result<()> {
    cluster.kill(agent)?;
    let begun = Instant::now();
    loop {
        let living = processes(cluster, agent)?;
        if living.is_empty() {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < KILLED_WITHIN,
            "processes of {agent} do not end: {living:?}"
        );
        for pid in living {
            // It may have ended since.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// What runs in the agent's control groups, and the supervisors of its containers.
pub fn processes(cluster: &Cluster, agent: &str) -> anyhow::Result<Vec<i32>> {
    let bootstrap = cluster.bootstrap(agent)?;
    let parent = bootstrap["settings"]["cgroup_parent"]
        .as_str()
        .context("an agent has a control group")?
        .trim_start_matches('/');
    let root = Path::new("/sys/fs/cgroup");
    let mut found = BTreeSet::new();
    let hierarchies = entries(root).into_iter().chain([root.to_path_buf()]);
    for hierarchy in hierarchies {
        descend(&hierarchy.join(parent), &mut found);
    }
    let own = format!("{}/{agent}/", cluster.home.display());
    for process in entries(Path::new("/proc")) {
        let Some(pid) = process
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok())
        else {
            continue;
        };
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if line.contains("stackyard-supervisor") && line.contains(&own) {
            found.insert(pid);
        }
    }
    found.retain(|pid| lives(*pid));
    Ok(found.into_iter().collect())
}

fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

fn descend(folder: &Path, found: &mut BTreeSet<i32>) {
    let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for entry in entries(folder) {
        if entry.is_dir() {
            descend(&entry, found);
        }
    }
}

/// Those of them that run this program.
pub fn running(cluster: &Cluster, agent: &str, program: &str) -> anyhow::Result<Vec<i32>> {
    let mut found = processes(cluster, agent)?;
    found.retain(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim_end() == program)
    });
    Ok(found)
}
