//! Removing a sandbox, whatever state it is in: running, half made, or left by an agent that
//! died. Every step is tried, a missing thing is fine, and what could not be removed is reported
//! with the first cause, so that the caller can come again.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use dea_shim::cgroup::Group;
use dea_shim::protocol::Request;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, getpgrp};
use sys::netlink::Netlink;
use tokio::process::Command;

use super::control::Control;
use super::program::run;
use super::record::{Places, Record, places};
use super::{EngineConfig, SandboxError, chain, firewall};

/// A supervisor that holds its lock listens after this, or is stuck.
const LISTENING_WITHIN: Duration = Duration::from_secs(5);
const QUIT_WITHIN: Duration = Duration::from_secs(12);
const ATTEMPTS: usize = 3;
const DELETE_WITHIN: Duration = Duration::from_secs(20);
const EMPTY_WITHIN: Duration = Duration::from_secs(3);

/// Removes everything of the sandbox `id`; `record` tells of its interface and port.
///
/// Tried more than once: a supervisor that was just starting may make a file while its folder is
/// being erased.
pub async fn remove(
    config: &EngineConfig,
    id: &str,
    record: Option<&Record>,
) -> Result<(), SandboxError> {
    let mut outcome = remove_once(config, id, record).await;
    for _ in 0..ATTEMPTS {
        if outcome.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        outcome = remove_once(config, id, record).await;
    }
    outcome
}

async fn remove_once(
    config: &EngineConfig,
    id: &str,
    record: Option<&Record>,
) -> Result<(), SandboxError> {
    let places = places(config, id);
    end_processes(config, id, &places).await;
    if let Some(port) = record.and_then(|record| record.host_port)
        && let Err(error) = firewall::close_port(config, port).await
    {
        tracing::warn!(sandbox = id, error = %chain(&error), "a port could not be closed");
    }
    let group = remove_group(&places.cgroup).await;
    let interface = record.map(|record| record.interface(config));
    let files = tokio::task::spawn_blocking(move || {
        let link = interface.map_or(Ok(()), |interface| delete_link(&interface));
        // Erased in any case, only then the link's failure counts.
        unmount_and_erase(&places).and(link)
    });
    let files = files.await.unwrap_or_else(|_| {
        Err(SandboxError::System {
            operation: "remove files".to_owned(),
            source: io::Error::other("the work was abandoned"),
        })
    });
    group.and(files)
}

/// Ends the supervisor and the container, politely or not.
async fn end_processes(config: &EngineConfig, id: &str, places: &Places) {
    let deadline = Instant::now() + LISTENING_WITHIN;
    while ask_to_quit(id, places).await.is_err() && locked(&places.lock) {
        // A supervisor that is still starting does not listen yet.
        if Instant::now() > deadline {
            kill_supervisor(&places.lock);
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let _ = Group::new(&places.cgroup).kill();
    if places.runtime_root.join(id).exists() {
        let mut command = Command::new(&config.runtime);
        command
            .arg("--root")
            .arg(&places.runtime_root)
            .args(["delete", "--force", id]);
        if let Err(error) = run("the runtime", command, "", DELETE_WITHIN).await {
            tracing::warn!(sandbox = id, error = %error, "the runtime could not delete a container");
            let _ = fs::remove_dir_all(places.runtime_root.join(id));
        }
    }
}

async fn ask_to_quit(id: &str, places: &Places) -> Result<(), SandboxError> {
    let mut control = Control::connect(id, &places.socket).await?;
    let quit = control.ask(&Request::Quit, "quit", QUIT_WITHIN).await;
    quit.map(drop)
}

/// Whether a supervisor holds its lock.
fn locked(path: &Path) -> bool {
    fs::File::open(path)
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

/// A pid in a locked file is that of a living supervisor, so it cannot be a stranger's. Its group
/// is killed with it: the runtime may be at work. Without its supervisor the init ends by itself.
fn kill_supervisor(path: &Path) {
    let pid = fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .map(Pid::from_raw);
    if let Some(pid) = pid
        && locked(path)
    {
        match getpgid(Some(pid)) {
            Ok(group) if group != getpgrp() => {
                let _ = kill(Pid::from_raw(-group.as_raw()), Signal::SIGKILL);
            }
            _ => {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
}

/// A group can be removed when its last process has been taken in, which may take a moment.
async fn remove_group(path: &str) -> Result<(), SandboxError> {
    let group = Group::new(path);
    let deadline = tokio::time::Instant::now() + EMPTY_WITHIN;
    loop {
        match group.remove() {
            Ok(()) => return Ok(()),
            Err(source) if tokio::time::Instant::now() > deadline => {
                return Err(SandboxError::System {
                    operation: "remove the control group".to_owned(),
                    source,
                });
            }
            Err(_) => {
                let _ = group.kill();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

fn delete_link(interface: &str) -> Result<(), SandboxError> {
    Netlink::open()
        .and_then(|mut netlink| netlink.delete_link(interface))
        .map_err(|source| SandboxError::System {
            operation: format!("delete link {interface}"),
            source,
        })
}

fn unmount_and_erase(places: &Places) -> Result<(), SandboxError> {
    for mount in [&places.scratch.join("lower"), &places.disk] {
        match umount2(mount, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => return Err(SandboxError::file("unmount", mount)(error.into())),
        }
    }
    for folder in [&places.run, &places.folder] {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(SandboxError::file("remove", folder)(error));
            }
            _ => {}
        }
    }
    Ok(())
}
