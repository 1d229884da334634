//! Removing a sandbox, whatever state it is in: running, half made, or left by an agent that
//! died. Every step is tried, a missing thing is fine, and what could not be removed is reported
//! with the first cause, so that the caller can come again.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use dea_shim::cgroup::Group;
use dea_shim::protocol::Request;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sys::netlink::Netlink;
use tokio::process::Command;

use super::control::Control;
use super::program::{nft, run};
use super::record::{Places, Record, places};
use super::{EngineConfig, SandboxError, firewall};

const QUIT_WITHIN: Duration = Duration::from_secs(12);
const DELETE_WITHIN: Duration = Duration::from_secs(20);
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// Removes everything of the sandbox `id`; `record` tells of its interface and port.
pub async fn remove(
    config: &EngineConfig,
    id: &str,
    record: Option<&Record>,
) -> Result<(), SandboxError> {
    let places = places(config, id);
    end_processes(config, id, &places).await;
    let mut outcome = Ok(());
    let mut note = |result: Result<(), SandboxError>| {
        if outcome.is_ok() {
            outcome = result;
        }
    };
    if let Some(port) = record.and_then(|record| record.host_port) {
        // Not there if the preparation failed early.
        let _ = nft(&firewall::close_port(config, port)).await;
    }
    note(remove_group(&places.cgroup).await);
    if let Some(record) = record {
        let interface = record.interface(config);
        let places = places.clone();
        let removed = tokio::task::spawn_blocking(move || {
            delete_link(&interface).and(unmount_and_erase(&places))
        });
        note(removed.await.unwrap_or_else(|_| unfinished("remove files")));
    } else {
        let places = places.clone();
        let removed = tokio::task::spawn_blocking(move || unmount_and_erase(&places));
        note(removed.await.unwrap_or_else(|_| unfinished("remove files")));
    }
    outcome
}

fn unfinished(operation: &str) -> Result<(), SandboxError> {
    Err(SandboxError::System {
        operation: operation.to_owned(),
        source: io::Error::other("the work was abandoned"),
    })
}

/// Ends the supervisor and the container, politely or not.
async fn end_processes(config: &EngineConfig, id: &str, places: &Places) {
    let quit = async {
        let mut control = Control::connect(id, &places.socket).await?;
        control.ask(&Request::Quit, "quit", QUIT_WITHIN).await
    };
    if quit.await.is_err()
        && let Some(supervisor) = lock_holder(&places.lock)
    {
        // Without its supervisor the init ends by itself.
        let _ = kill(supervisor, Signal::SIGKILL);
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

/// The process that holds the supervisor's lock: a pid in a locked file is that of a living
/// supervisor, so it cannot be a stranger's.
fn lock_holder(path: &Path) -> Option<Pid> {
    let file = fs::File::open(path).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((_, Errno::EWOULDBLOCK)) => {
            let text = fs::read_to_string(path).ok()?;
            text.trim().parse().ok().map(Pid::from_raw)
        }
        _ => None,
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
