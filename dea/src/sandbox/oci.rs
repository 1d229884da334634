//! The runtime's configuration of a sandbox, as a pure function.
//!
//! The document is written as JSON in the runtime specification's own words (version 1.0), which
//! read better here than four hundred builder calls.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::SandboxLimits;
use super::allocation::UIDS;
use super::seccomp;

/// Fewer processes than this and the runtime itself cannot start.
pub(super) const FEWEST_PIDS: u64 = 32;

/// What the configuration depends on.
pub struct Bundle<'a> {
    pub root: &'a Path,
    pub init: &'a Path,
    pub hostname: &'a str,
    pub limits: SandboxLimits,
    pub uid_base: u32,
    pub cgroup: &'a str,
    pub cgroup_namespace: bool,
    /// Keep the out-of-memory killer off the init. Needs CAP_SYS_RESOURCE, which an agent in a
    /// container may lack; the application is the likelier victim anyway, see the init.
    pub protect_init: bool,
    /// Folders of the host that the stack shows: source and place.
    pub shown: &'a [(PathBuf, String)],
}

pub fn configuration(bundle: &Bundle<'_>) -> Value {
    let capabilities = json!(["CAP_SETUID", "CAP_SETGID", "CAP_KILL"]);
    let mapping = json!([{ "containerID": 0, "hostID": bundle.uid_base, "size": UIDS }]);
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "network", "user"];
    if bundle.cgroup_namespace {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<Value> = namespaces
        .into_iter()
        .map(|kind| json!({ "type": kind }))
        .collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["/.yard/init"],
            "env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                "inheritable": [], "ambient": []
            },
            "rlimits": [
                { "type": "RLIMIT_NOFILE", "hard": bundle.limits.fds, "soft": bundle.limits.fds },
                { "type": "RLIMIT_CORE", "hard": 0, "soft": 0 }
            ],
            "noNewPrivileges": true,
            "oomScoreAdj": if bundle.protect_init { -900 } else { 0 }
        },
        "root": { "path": bundle.root, "readonly": false },
        "hostname": bundle.hostname,
        "mounts": mounts(bundle),
        "linux": {
            "uidMappings": mapping,
            "gidMappings": mapping,
            "namespaces": namespaces,
            "cgroupsPath": bundle.cgroup,
            "resources": {
                "devices": [{ "allow": false, "access": "rwm" }],
                "pids": { "limit": bundle.limits.pids.max(FEWEST_PIDS) },
                "cpu": { "shares": bundle.limits.cpu_shares.max(2) }
            },
            "rootfsPropagation": "rprivate",
            "seccomp": seccomp::profile(),
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
                "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                "/sys/devices/virtual/powercap"
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
            ]
        }
    })
}

fn mounts(bundle: &Bundle<'_>) -> Vec<Value> {
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc",
                "options": ["nosuid", "noexec", "nodev"] }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"] }),
        json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] }),
        json!({ "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] }),
        json!({ "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"] }),
        json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"] }),
        json!({ "destination": "/.yard/init", "type": "bind", "source": bundle.init,
                "options": ["bind", "ro", "nosuid", "nodev"] }),
    ];
    for (source, destination) in bundle.shown {
        mounts.push(
            json!({ "destination": destination, "type": "bind", "source": source,
                            "options": ["rbind", "ro", "nosuid", "nodev"] }),
        );
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> SandboxLimits {
        SandboxLimits {
            memory_mb: 64,
            disk_mb: 64,
            cpu_shares: 1,
            pids: 1,
            fds: 1024,
        }
    }

    #[test]
    fn the_configuration_is_one_the_specification_knows() {
        let shown = [(PathBuf::from("/usr"), "/usr".to_owned())];
        let value = configuration(&Bundle {
            root: Path::new("/run/x/disk/root"),
            init: Path::new("/opt/init"),
            hostname: "web-1",
            limits: limits(),
            uid_base: 1_000_000,
            cgroup: "/yard/x",
            cgroup_namespace: true,
            protect_init: true,
            shown: &shown,
        });
        let spec: oci_spec::runtime::Spec = serde_json::from_value(value).unwrap();
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(
            linux.uid_mappings().as_ref().unwrap()[0].host_id(),
            1_000_000
        );
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), 7);
        assert!(linux.seccomp().is_some());
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.no_new_privileges(), Some(true));
    }
}
