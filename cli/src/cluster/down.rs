//! `yard down` and `yard destroy`.
//!
//! The node stops its daemons in order and answers when nothing of them is left. If the node
//! itself is dead, or dies of being asked, its daemons may live on: then `stackyard node --stop-only`
//! ends them and clears away, without starting anything first. Whether anything may be left tells
//! the run folder, which a node removes last.

use super::{home, socket, up};
use crate::caller::Caller;
use crate::doctor;
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Output, progress};
use crate::prompt;
use crate::targets::Store;
use clap::Args;
use nix::unistd::Uid;
use proto::node::{NodePhase, NodeRequest};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
pub enum Stopped {
    /// No cluster was ever started here.
    NoCluster,
    Components(Vec<String>),
    /// There is one, and nothing of it runs.
    NotRunning,
    /// The node was dead; what it left was taken away.
    Leftovers,
}

/// How long the node may take to say how it is.
const ANSWER: Duration = Duration::from_secs(5);

pub async fn down(args: DownArgs, out: &Output) -> Outcome {
    let home = home::resolve(args.home.as_deref())?;
    let stopped = stop(&home, out, Duration::from_secs(args.timeout.max(1))).await?;
    let names = match &stopped {
        Stopped::Components(names) => names.clone(),
        Stopped::NoCluster | Stopped::NotRunning | Stopped::Leftovers => Vec::new(),
    };
    let document = json!({ "home": home, "stopped": names, "was_running": matches!(stopped, Stopped::Components(_)) });
    out.show(&document, |_| match &stopped {
        Stopped::NoCluster => format!("there is no cluster in {}", home.display()),
        Stopped::Components(names) => format!(
            "stopped: {}\ndata stays in {}; `sudo yard up` brings the same apps back",
            names.join(", "),
            home.display()
        ),
        Stopped::NotRunning => format!("the cluster in {} was not running", home.display()),
        Stopped::Leftovers => format!(
            "the node in {} was dead; what it left is stopped and cleared away",
            home.display()
        ),
    })
}

pub async fn destroy(args: DestroyArgs, out: &Output, caller: Caller) -> Outcome {
    let home = home::resolve(args.home.as_deref())?;
    let Some(cluster) = home::read_cluster(&home)? else {
        return Err(Failure::new(
            Code::NotFound,
            format!("there is no cluster in {}", home.display()),
        )
        .fix("give its folder with --home"));
    };
    need_root()?;
    if cluster.joined.is_some() {
        out.warn(format!(
            "the cluster goes on to list this machine until somebody takes it out there: `yard node remove {}`",
            cluster.machine
        ));
    }
    if !args.yes
        && !prompt::confirm(&format!(
            "Stop the cluster {} and remove all of its data in {}?",
            cluster.id,
            home.display()
        ))?
    {
        return Err(Failure::failed("nothing was destroyed"));
    }
    stop(&home, out, Duration::from_secs(args.timeout.max(1))).await?;
    let strangers = remove(&home)?;
    let api = home::api_of(&cluster);
    let store = Store::of(caller);
    if store
        .read()
        .is_ok_and(|targets| targets.targets.contains_key(&api))
    {
        store.update(|targets| {
            targets.targets.remove(&api);
            if targets.current.as_deref() == Some(&api) {
                targets.current = None;
            }
        })?;
    }
    out.show(
        &json!({ "home": home, "cluster": cluster.id, "destroyed": true, "left": strangers }),
        |_| {
            let gone = format!(
                "the cluster {} and its data in {} are gone",
                cluster.id,
                home.display()
            );
            if strangers.is_empty() {
                gone
            } else {
                format!(
                    "{gone}; not of the cluster, and still there: {}",
                    strangers.join(", ")
                )
            }
        },
    )
}

/// What a cluster keeps in its home: these, and numbered folders of its roles (`dea-2`).
const KEPT: &[&str] = &[
    "admin-password",
    "blobs",
    "certificate-keys",
    "certificates",
    "client-authorities",
    "cluster.json",
    "collector",
    "controller",
    "dea",
    "etcd",
    "health-manager",
    "logs",
    "nats",
    "node",
    "route-service-keys",
    "router",
    "ssh-host-key",
    "ssh-host-key.fingerprint",
    "ssh-proxy",
    "stager",
    "trust",
];

fn is_ours(name: &str) -> bool {
    let stem = match name.rsplit_once('-') {
        Some((stem, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => stem,
        Some(_) | None => name,
    };
    KEPT.contains(&stem)
}

/// Removes what the cluster kept in the folder, and the folder if nothing else is in it: a home may
/// have been put where somebody keeps other things. Gives back what stays.
pub fn remove(home: &Path) -> Outcome<Vec<String>> {
    let failed =
        |error: std::io::Error| Failure::failed(format!("remove {}: {error}", home.display()));
    let mut strangers = Vec::new();
    for entry in fs::read_dir(home).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, name) = (
            entry.path(),
            entry.file_name().to_string_lossy().into_owned(),
        );
        if !is_ours(&name) {
            strangers.push(name);
            continue;
        }
        let removed = if path.symlink_metadata().map_err(failed)?.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(|error| {
            Failure::failed(format!("remove {}: {error}", path.display()))
                .fix("`mount | grep stackyard` may show what is in the way")
        })?;
    }
    strangers.sort();
    if !strangers.is_empty() {
        return Ok(strangers);
    }
    match fs::remove_dir(home) {
        Ok(()) => Ok(strangers),
        // A mount point cannot be removed, and need not be: it is empty.
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Ok(strangers),
        Err(error) => Err(failed(error)),
    }
}

pub fn need_root() -> Outcome {
    if Uid::effective().is_root() {
        Ok(())
    } else {
        Err(Failure::new(Code::NotAllowed, "only root may stop a cluster").fix("put sudo in front"))
    }
}

pub async fn stop(home: &Path, out: &Output, within: Duration) -> Outcome<Stopped> {
    let Some(cluster) = home::read_cluster(home)? else {
        return Ok(Stopped::NoCluster);
    };
    need_root()?;
    let path = home::socket_of(&cluster);
    let deadline = Instant::now() + within;
    let before = socket::ask(&path, &NodeRequest::Status, ANSWER).await?;
    let _bar = progress::spinner(out, "stopping");
    let mut stopped = Stopped::NotRunning;
    if let Some(before) = before {
        stop_node(&path, deadline).await?;
        let names = before.components.into_iter();
        stopped = Stopped::Components(names.map(|component| component.name).collect());
    }
    if Path::new(&cluster.run_folder).exists() || doctor::daemons_live(home) {
        clear_away(home, deadline).await?;
        if stopped == Stopped::NotRunning {
            stopped = Stopped::Leftovers;
        }
    }
    Ok(stopped)
}

async fn stop_node(path: &Path, deadline: Instant) -> Outcome {
    let pid = socket::pid(path).await;
    let left = deadline.saturating_duration_since(Instant::now());
    // No answer: it died meanwhile. What it left is looked for later.
    if let Some(status) = socket::ask(path, &NodeRequest::Stop, left).await? {
        let why = |phase: NodePhase| format!("it is {}", format!("{phase:?}").to_lowercase());
        match (status.phase, status.refused.or(status.error)) {
            (NodePhase::Stopped, None) => {}
            (NodePhase::Stopped, Some(error)) => {
                return Err(Failure::failed(format!(
                    "the cluster is stopped, but not all of it could be removed: {error}"
                )));
            }
            (phase, error) => {
                return Err(Failure::failed(format!(
                    "the node did not stop: {}",
                    error.unwrap_or_else(|| why(phase))
                )));
            }
        }
    }
    gone(pid, deadline).await
}

/// Stops and removes what a dead node left.
async fn clear_away(home: &Path, deadline: Instant) -> Outcome {
    let stackyard = home::find_stackyard()?;
    let mut child = up::start(&["--stop-only".to_string()], home, &stackyard)?;
    loop {
        match child.try_wait() {
            Ok(Some(exit)) if exit.success() => return Ok(()),
            Ok(Some(exit)) => {
                let what = format!("what a dead node left could not be cleared away ({exit})");
                return Err(up::node_failed(home, &what, None));
            }
            Ok(None) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(None) | Err(_) => {
                return Err(Failure::new(
                    Code::TimedOut,
                    "what a dead node left is still being cleared away",
                )
                .fix("`sudo yard down` again, with a larger --timeout"));
            }
        }
    }
}

/// The node answers, or closes its socket, and ends after that: only then is nothing left.
async fn gone(pid: Option<u32>, deadline: Instant) -> Outcome {
    while pid.is_some_and(socket::lives) {
        if Instant::now() >= deadline {
            return Err(Failure::new(
                Code::TimedOut,
                "the node said that all is stopped, but it does not end",
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_cluster_keeps_is_removed_from_its_home() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = folder.path().join("home");
        fs::create_dir_all(home.join("dea-2/droplets")).expect("a folder");
        fs::create_dir_all(home.join("photos")).expect("a folder");
        fs::write(home.join("cluster.json"), "{}").expect("a file");
        fs::write(home.join("notes-1"), "mine").expect("a file");
        assert_eq!(
            remove(&home).ok(),
            Some(vec!["notes-1".to_string(), "photos".to_string()])
        );
        assert!(home.join("photos").exists() && !home.join("dea-2").exists());
        fs::remove_dir(home.join("photos")).expect("a folder");
        fs::remove_file(home.join("notes-1")).expect("a file");
        assert_eq!(remove(&home).ok(), Some(Vec::new()));
        assert!(!home.exists());
    }
}
