//! Kernel settings that sandboxes need: forwarding, and enough inotify for many apps.
//!
//! Changed only if too low, remembered in `/run/stackyard/machine.json`, and put back when the
//! last cluster of the machine stops. The folder `/run/stackyard/machine/` has one file for each
//! cluster that runs, with the node's process and the home in it, so that "last" can be known after
//! crashes: a cluster whose node was killed still has its daemons and its apps. Whoever looks who
//! is there and acts on it holds a lock, or one cluster could stop while another one starts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
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

/// A cluster that needs the settings.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct User {
    #[serde(flatten)]
    node: Identity,
    home: PathBuf,
}

impl User {
    fn is_there(&self) -> bool {
        self.node.is_alive() || process::any_below(&self.home.join("node/bootstrap"))
    }
}

/// Nobody holds it for longer than it takes to write some small files. The last cluster takes the
/// file away: a lock on a file that is no longer there excludes nobody and is taken anew. Where
/// there can be none we go on without: the settings matter more than the race.
fn lock() -> Option<Flock<fs::File>> {
    let path = Path::new(RUN).join("machine.lock");
    for _ in 0..100 {
        files::folder(Path::new(RUN), 0o755).ok()?;
        let Ok(file) = fs::File::create(&path) else {
            continue;
        };
        let lock = Flock::lock(file, FlockArg::LockExclusive).ok()?;
        let held = lock.metadata().map(|file| (file.dev(), file.ino())).ok();
        let there = fs::metadata(&path).map(|file| (file.dev(), file.ino()));
        if there.ok() == held {
            return Some(lock);
        }
    }
    None
}

/// Raises what is too low; what cannot be raised is said, not fatal: `yard doctor` explains it.
pub fn prepare(cluster: &str, home: &Path) -> Result<(), files::FileError> {
    let _lock = lock();
    files::folder(&users(), 0o755)?;
    if let Some(node) = process::identity(std::process::id()) {
        let user = User {
            node,
            home: home.to_path_buf(),
        };
        files::write_json(&users().join(cluster), &user, 0o644)?;
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
    let _lock = lock();
    let _ = fs::remove_file(users().join(cluster));
    let others = fs::read_dir(users()).map(|entries| {
        entries.flatten().any(|entry| {
            files::read_json::<User>(&entry.path())
                .ok()
                .flatten()
                .is_some_and(|user| user.is_there())
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
    let _ = fs::remove_file(Path::new(RUN).join("machine.lock"));
    // Only if empty.
    let _ = fs::remove_dir(RUN);
}
