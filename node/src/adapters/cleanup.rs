//! What may be left of a cluster after all its parts have ended, and removing it.
//!
//! A part that ends in order leaves nothing; this is for those that were killed. Each kind of
//! leftover is looked for by a name that only this cluster uses.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;
use tracing::{debug, warn};

use super::layout::{self, interface_prefix};
use super::process;

/// Where the leftovers of a cluster would be.
pub struct Traces {
    pub cluster: String,
    pub home: PathBuf,
    pub run: PathBuf,
}

/// What an agent calls its cgroup and its nftables table.
pub fn cgroup_parent(cluster: &str, dea: u32) -> String {
    format!("/stackyard-{cluster}-{dea}")
}

pub fn nft_table(cluster: &str, dea: u32) -> String {
    format!("stackyard_{cluster}_{dea}")
}

impl Traces {
    /// Removes everything; gives what could not be removed, for people. Blocking.
    pub fn remove(&self) -> Vec<String> {
        let mut left = Vec::new();
        self.end_processes(&mut left);
        self.unmount(&mut left);
        self.remove_cgroups(&mut left);
        self.remove_interfaces(&mut left);
        self.remove_tables(&mut left);
        self.detach_loops();
        if let Err(error) = fs::remove_dir_all(&self.run)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            left.push(format!("the folder {}: {error}", self.run.display()));
        }
        left
    }

    /// Containers' processes by their cgroup, their supervisors by a command line that names a file
    /// of the cluster.
    fn end_processes(&self, left: &mut Vec<String>) {
        let begun = Instant::now();
        loop {
            let living: Vec<u32> = self.processes();
            if living.is_empty() {
                return;
            }
            if begun.elapsed() > Duration::from_secs(5) {
                left.push(format!("processes {living:?}"));
                return;
            }
            debug!(?living, "processes of a stopped cluster are killed");
            for pid in living {
                if let Some(identity) = process::identity(pid) {
                    identity.signal(Signal::SIGKILL);
                }
            }
            pause(Duration::from_millis(50));
        }
    }

    fn processes(&self) -> Vec<u32> {
        let mut found: Vec<u32> = self
            .cgroups()
            .iter()
            .flat_map(|folder| cgroup_processes(folder))
            .collect();
        found.extend(process::all().into_iter().filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| self.is_supervisor(&line))
                && process::is_own(*pid)
        }));
        found.retain(|pid| {
            *pid != std::process::id()
                && process::identity(*pid).is_some_and(|identity| identity.is_alive())
        });
        found
    }

    fn is_supervisor(&self, line: &[u8]) -> bool {
        let mut words = line
            .split(|byte| *byte == 0)
            .map(|word| Path::new(OsStr::from_bytes(word)));
        words
            .next()
            .is_some_and(|program| program.ends_with("stackyard-supervisor"))
            && words.any(|word| word.starts_with(&self.home) || word.starts_with(&self.run))
    }

    fn unmount(&self, left: &mut Vec<String>) {
        let run = self.run.display().to_string();
        let home = self.home.display().to_string();
        let below = |point: &String| {
            point.starts_with(&format!("{run}/")) || point.starts_with(&format!("{home}/"))
        };
        // Later mounts lie on earlier ones.
        for point in mount_points().into_iter().rev().filter(below) {
            if let Err(error) = umount2(Path::new(&point), MntFlags::MNT_DETACH) {
                left.push(format!("the mount {point}: {error}"));
            }
        }
    }

    /// Our cgroups in every hierarchy, children before parents.
    fn cgroups(&self) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let mut hierarchies = vec![root.to_path_buf()];
        hierarchies.extend(
            fs::read_dir(root)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.is_dir() && !path.is_symlink()),
        );
        let prefix = format!("stackyard-{}-", self.cluster);
        let mut found = Vec::new();
        for hierarchy in hierarchies {
            for entry in fs::read_dir(&hierarchy).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(&prefix) {
                    descend(&entry.path(), &mut found);
                }
            }
        }
        found
    }

    fn remove_cgroups(&self, left: &mut Vec<String>) {
        for folder in self.cgroups() {
            // The kernel may need a moment after the last process of it ended.
            let begun = Instant::now();
            while let Err(error) = fs::remove_dir(&folder) {
                if error.kind() == std::io::ErrorKind::NotFound {
                    break;
                }
                if begun.elapsed() > Duration::from_secs(2) {
                    left.push(format!("the cgroup {}: {error}", folder.display()));
                    break;
                }
                pause(Duration::from_millis(20));
            }
        }
    }

    fn remove_interfaces(&self, left: &mut Vec<String>) {
        let prefix = interface_prefix(&self.cluster);
        let names = || -> Vec<String> {
            let mut names = layout::interfaces();
            names.retain(|name| name.starts_with(&prefix));
            names
        };
        for name in names() {
            run("ip", &["link", "delete", &name]);
        }
        let stay = names();
        if !stay.is_empty() {
            left.push(format!("network interfaces {stay:?}"));
        }
    }

    fn remove_tables(&self, left: &mut Vec<String>) {
        let prefix = format!("stackyard_{}_", self.cluster);
        let tables = || -> Vec<(String, String)> {
            let listed = run("nft", &["list", "tables"]).unwrap_or_default();
            listed
                .lines()
                .filter_map(|line| {
                    let mut words = line.split_whitespace().skip(1);
                    Some((words.next()?.to_string(), words.next()?.to_string()))
                })
                .filter(|(_, name)| name.starts_with(&prefix))
                .collect()
        };
        for (family, name) in tables() {
            run("nft", &["delete", "table", &family, &name]);
        }
        let stay = tables();
        if !stay.is_empty() {
            left.push(format!("nftables tables {stay:?}"));
        }
    }

    /// Disk images of sandboxes still attached to a loop device.
    fn detach_loops(&self) {
        for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let file =
                fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
            if name.starts_with("loop")
                && Path::new(file.trim().trim_end_matches(" (deleted)")).starts_with(&self.home)
            {
                run("losetup", &["-d", &format!("/dev/{name}")]);
            }
        }
    }
}

fn descend(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            descend(&entry.path(), found);
        }
    }
    found.push(folder.to_path_buf());
}

fn cgroup_processes(folder: &Path) -> Vec<u32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect()
}

/// In the order they were mounted; `\040` and the like stand for spaces.
fn mount_points() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let number = (*byte == b'\\').then(|| after.get(..3)).flatten();
        let number = number
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match number {
            Some(number) => {
                bytes.push(number);
                rest = &after[3..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Runs a tool; its output, `None` if it failed. Leftovers that stay are found by looking again.
fn run(tool: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(process::which(tool)?)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        warn!(tool, ?arguments, error = %String::from_utf8_lossy(&output.stderr).trim(), "a tool failed while cleaning up");
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// This file runs on a blocking thread, after everything else has ended.
fn pause(time: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a blocking thread; the kernel gives no event to wait for"
    )]
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_back_as_they_are() {
        assert_eq!(unescape("/a\\040b"), "/a b");
        assert_eq!(unescape("/plain"), "/plain");
        assert_eq!(unescape("/end\\"), "/end\\");
        assert!(mount_points().iter().any(|point| point == "/"));
    }

    #[test]
    fn supervisors_are_known_by_the_files_they_work_for() {
        let traces = Traces {
            cluster: "c0ffee12".to_string(),
            home: "/srv/yard".into(),
            run: "/run/stackyard/c0ffee12".into(),
        };
        for (line, ours) in [
            (
                "/usr/lib/stackyard-supervisor\0/srv/yard/dea-1/sandboxes/x/spec.json\0",
                true,
            ),
            ("stackyard-supervisor\0/run/stackyard/c0ffee12/x\0", true),
            ("stackyard-supervisor\0/srv/yard-2/dea-1/spec.json\0", false),
            (
                "/usr/bin/less\0/srv/yard/dea-1/sandboxes/x/spec.json\0",
                false,
            ),
            ("stackyard-supervisor\0", false),
        ] {
            assert_eq!(traces.is_supervisor(line.as_bytes()), ours, "{line:?}");
        }
    }

    #[test]
    fn a_cluster_that_left_nothing_needs_no_cleaning() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        fs::create_dir_all(run.join("x")).unwrap();
        let traces = Traces {
            cluster: "ffffffff".to_string(),
            home: folder.path().join("home"),
            run: run.clone(),
        };
        let names: Vec<String> = traces
            .remove()
            .into_iter()
            .filter(|what| !what.contains("nftables") && !what.contains("interfaces"))
            .collect();
        assert!(names.is_empty(), "{names:?}");
        assert!(!run.exists());
    }
}
