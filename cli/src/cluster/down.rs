//! `yard down` and `yard destroy`.
//!
//! The node stops its daemons in order and answers when nothing of them is left. If the node
//! itself is dead, its daemons may live on: then `stackyard node --stop-only` takes over what it
//! left and stops that.

use super::{home, socket};
use crate::caller::Caller;
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Output, progress};
use crate::prompt;
use crate::targets::Store;
use clap::Args;
use nix::unistd::Uid;
use proto::node::{ClusterFile, NodeRequest};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

#[derive(Debug, Args)]
pub struct DownArgs {
    /// Where the cluster keeps its state (default: $YARD_HOME, else /var/lib/stackyard)
    #[arg(long)]
    home: Option<PathBuf>,
    /// Seconds to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

#[derive(Debug, Args)]
pub struct DestroyArgs {
    /// Where the cluster keeps its state (default: $YARD_HOME, else /var/lib/stackyard)
    #[arg(long)]
    home: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Seconds to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

/// What was there to stop.
#[derive(Debug, PartialEq, Eq)]
enum Stopped {
    /// No cluster was ever started here.
    NoCluster,
    Components(Vec<String>),
    /// The node was dead; what it left was taken away.
    Leftovers,
}

pub async fn down(args: DownArgs, out: &Output) -> Outcome {
    let home = home::resolve(args.home.as_deref())?;
    let stopped = stop(&home, out, Duration::from_secs(args.timeout.max(1))).await?;
    let names = match &stopped {
        Stopped::Components(names) => names.clone(),
        Stopped::NoCluster | Stopped::Leftovers => Vec::new(),
    };
    let document = json!({ "home": home, "stopped": names, "was_running": matches!(stopped, Stopped::Components(_)) });
    out.show(&document, |_| match &stopped {
        Stopped::NoCluster => format!("there is no cluster in {}", home.display()),
        Stopped::Components(names) => format!("stopped: {}\ndata stays in {}; `sudo yard up` brings the same apps back", names.join(", "), home.display()),
        Stopped::Leftovers => format!("nothing runs in {}; what a dead node may have left is cleared away", home.display()),
    })
}

pub async fn destroy(args: DestroyArgs, out: &Output, caller: Caller) -> Outcome {
    let home = home::resolve(args.home.as_deref())?;
    let Some(cluster) = home::read_cluster(&home)? else {
        return Err(Failure::new(Code::NotFound, format!("there is no cluster in {}", home.display())).fix("give its folder with --home"));
    };
    need_root()?;
    if !args.yes && !prompt::confirm(&format!("Stop the cluster {} and remove all of its data in {}?", cluster.id, home.display()))? {
        return Err(Failure::failed("nothing was destroyed"));
    }
    stop(&home, out, Duration::from_secs(args.timeout.max(1))).await?;
    remove(&home)?;
    let api = home::api_of(&cluster);
    let store = Store::of(caller);
    if store.read().is_ok_and(|targets| targets.targets.contains_key(&api)) {
        store.update(|targets| {
            targets.targets.remove(&api);
            if targets.current.as_deref() == Some(&api) {
                targets.current = None;
            }
        })?;
    }
    out.show(&json!({ "home": home, "cluster": cluster.id, "destroyed": true }), |_| format!("the cluster {} and its data in {} are gone", cluster.id, home.display()))
}

/// Removes what is in the folder, then the folder, unless it is a mount point or somebody's home.
fn remove(home: &Path) -> Outcome {
    let failed = |error: std::io::Error| Failure::failed(format!("remove {}: {error}", home.display()));
    for entry in fs::read_dir(home).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let removed = if path.symlink_metadata().map_err(failed)?.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|error| Failure::failed(format!("remove {}: {error}", path.display())).fix("`mount | grep stackyard` may show what is in the way"))?;
    }
    match fs::remove_dir(home) {
        Ok(()) => Ok(()),
        // A mount point cannot be removed, and need not be: it is empty.
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn need_root() -> Outcome {
    if Uid::effective().is_root() { Ok(()) } else { Err(Failure::new(Code::NotAllowed, "only root may stop a cluster").fix("put sudo in front")) }
}

async fn stop(home: &Path, out: &Output, within: Duration) -> Outcome<Stopped> {
    let Some(cluster) = home::read_cluster(home)? else { return Ok(Stopped::NoCluster) };
    need_root()?;
    let path = home::socket_of(&cluster);
    let Some(before) = socket::ask(&path, &NodeRequest::Status, Duration::from_secs(5)).await? else {
        return clear(home, out, within).await;
    };
    let bar = progress::spinner(out, "stopping");
    let answer = socket::ask(&path, &NodeRequest::Stop, within).await;
    bar.finish_and_clear();
    answer?;
    gone(&cluster, within).await?;
    Ok(Stopped::Components(before.components.into_iter().map(|component| component.name).collect()))
}

/// The node answered; its process ends right after.
async fn gone(cluster: &ClusterFile, within: Duration) -> Outcome {
    let path = home::socket_of(cluster);
    let deadline = tokio::time::Instant::now() + within;
    while socket::ask(&path, &NodeRequest::Status, Duration::from_secs(5)).await.unwrap_or(None).is_some() {
        if tokio::time::Instant::now() >= deadline {
            return Err(Failure::new(Code::TimedOut, "the node said that all is stopped, but it does not end"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn clear(home: &Path, out: &Output, within: Duration) -> Outcome<Stopped> {
    let stackyard = home::find_stackyard()?;
    let bar = progress::spinner(out, "clearing away what a dead node left");
    let child = tokio::process::Command::from(Command::new(&stackyard))
        .args(["node", "--stop-only", "--home"])
        .arg(home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Failure::failed(format!("start {}: {error}", stackyard.display())))?;
    let result = tokio::time::timeout(within, child.wait_with_output()).await;
    bar.finish_and_clear();
    match result {
        Ok(Ok(output)) if output.status.success() => Ok(Stopped::Leftovers),
        Ok(Ok(output)) => {
            let text = String::from_utf8_lossy(&output.stderr);
            let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_string();
            Err(Failure::failed(format!("clear away what a dead node left: {} {last}", output.status)).because(text.into_owned()))
        }
        Ok(Err(error)) => Err(Failure::failed("clear away what a dead node left").because(error)),
        Err(_) => Err(Failure::new(Code::TimedOut, format!("clearing away what a dead node left took longer than {}s", within.as_secs()))),
    }
}
