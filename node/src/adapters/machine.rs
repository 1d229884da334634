//! Kernel settings that sandboxes need: forwarding, and enough inotify for many apps.
//!
//! Changed only if too low, remembered in `/run/stackyard/machine.json`, and put back when the
//! last cluster of the machine stops. The folder `/run/stackyard/machine/` has one file for each
//! cluster that runs, with the node's process in it, so that "last" can be known after crashes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::files;
use super::layout::RUN;
use super::process::{self, Identity};

/// Path below `/proc/sys`, and the least value.
const WANTED: &[(&str, u64)] = &[
    ("net/ipv4/ip_forward", 1),
    ("fs/inotify/max_user_instances", 4096),
    ("fs/inotify/max_user_watches", 32768),
    ("fs/inotify/max_queued_events", 65536),
];

fn memory() -> PathBuf {
    Path::new(RUN).join("machine.json")
}

fn users() -> PathBuf {
    Path::new(RUN).join("machine")
}

/// Raises what is too low; what cannot be raised is said, not fatal: `yard doctor` explains it.
pub fn prepare(cluster: &str) -> Result<(), files::FileError> {
    files::folder(&users(), 0o755)?;
    if let Some(me) = process::identity(std::process::id()) {
        files::write_json(&users().join(cluster), &me, 0o644)?;
    }
    let mut before: BTreeMap<String, u64> = files::read_json(&memory())?.unwrap_or_default();
    for (name, least) in WANTED {
        let path = Path::new("/proc/sys").join(name);
        let Some(current) = fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
        else {
            warn!(setting = name, "a kernel setting cannot be read");
            continue;
        };
        if current >= *least {
            continue;
        }
        // Remembered before it is changed.
        before.entry((*name).to_string()).or_insert(current);
        files::write_json(&memory(), &before, 0o644)?;
        match fs::write(&path, least.to_string()) {
            Ok(()) => info!(
                setting = name,
                from = current,
                to = least,
                "a kernel setting was raised, it is put back when the last cluster stops"
            ),
            Err(error) => warn!(setting = name, %error, "a kernel setting cannot be raised"),
        }
    }
    Ok(())
}

/// Puts the values back if no other cluster runs.
pub fn restore(cluster: &str) {
    let _ = fs::remove_file(users().join(cluster));
    let others = fs::read_dir(users()).map(|entries| {
        entries.flatten().any(|entry| {
            files::read_json::<Identity>(&entry.path())
                .ok()
                .flatten()
                .is_some_and(|node| node.is_alive())
        })
    });
    if others.unwrap_or(false) {
        return;
    }
    let before: BTreeMap<String, u64> = files::read_json(&memory())
        .ok()
        .flatten()
        .unwrap_or_default();
    for (name, value) in before {
        // Only what was put there by us, not what somebody set since.
        let path = Path::new("/proc/sys").join(&name);
        let ours = WANTED
            .iter()
            .find(|(wanted, _)| *wanted == name)
            .map(|(_, least)| least.to_string());
        if fs::read_to_string(&path)
            .ok()
            .map(|text| text.trim().to_string())
            == ours
            && fs::write(&path, value.to_string()).is_ok()
        {
            info!(setting = %name, to = value, "a kernel setting was put back");
        }
    }
    let _ = fs::remove_file(memory());
    let _ = fs::remove_dir_all(users());
    // Only if empty.
    let _ = fs::remove_dir(RUN);
}
