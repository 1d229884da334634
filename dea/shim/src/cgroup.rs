//! Control groups, versions 1 and 2: where a sandbox's files are and how to read them.
//!
//! Version 1 has a tree per controller (`/sys/fs/cgroup/memory/…`), version 2 one tree. A hybrid
//! machine mounts both; there the controllers are in version 1, which is what counts. The files
//! of version 2 were not seen on the machine where this was written: their parsers are tested on
//! text in the documented format.
//!
//! "Out of memory" is read from the counter of kills, not from an event descriptor (which counts
//! too much) and not from `failcnt` (which stays 0 when the kernel kills).

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    One,
    Two,
}

/// One sandbox's group.
#[derive(Debug, Clone)]
pub struct Group {
    version: Version,
    root: PathBuf,
    path: String,
}

const ROOT: &str = "/sys/fs/cgroup";

/// Which version holds the controllers on this machine.
pub fn detect() -> Version {
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        Version::Two
    } else {
        Version::One
    }
}

impl Group {
    /// `path` is absolute in the hierarchy, e.g. `/stackyard-c0ffee12-1/web-3`.
    pub fn new(path: &str) -> Group {
        Group {
            version: detect(),
            root: PathBuf::from(ROOT),
            path: path.trim_matches('/').to_owned(),
        }
    }

    pub fn version(&self) -> Version {
        self.version
    }

    fn file(&self, controller: &str, name: &str) -> PathBuf {
        match self.version {
            Version::One => self.root.join(controller).join(&self.path).join(name),
            Version::Two => self.root.join(&self.path).join(name),
        }
    }

    fn read(&self, controller: &str, name: &str) -> io::Result<String> {
        std::fs::read_to_string(self.file(controller, name))
    }

    fn write(&self, controller: &str, name: &str, value: &str) -> io::Result<()> {
        let path = self.file(controller, name);
        std::fs::write(&path, value).map_err(|error| {
            io::Error::new(error.kind(), format!("write {}: {error}", path.display()))
        })
    }

    /// Limits memory, swap included. Done once the init waits: the runtime's own start needs more
    /// memory than a small application is given.
    pub fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        let value = bytes.to_string();
        match self.version {
            Version::One => {
                self.write("memory", "memory.limit_in_bytes", &value)?;
                let swap = "memory.memsw.limit_in_bytes";
                if self.file("memory", swap).exists() {
                    self.write("memory", swap, &value)?;
                }
                // The highest use so far was the runtime's.
                self.write("memory", "memory.max_usage_in_bytes", "0")
            }
            Version::Two => {
                self.write("memory", "memory.max", &value)?;
                if self.file("memory", "memory.swap.max").exists() {
                    self.write("memory", "memory.swap.max", "0")?;
                }
                Ok(())
            }
        }
    }

    /// How many processes the kernel has killed for want of memory.
    pub fn memory_kills(&self) -> io::Result<u64> {
        let text = match self.version {
            Version::One => self.read("memory", "memory.oom_control")?,
            Version::Two => self.read("memory", "memory.events")?,
        };
        Ok(keyed(&text, "oom_kill").unwrap_or(0))
    }

    pub fn peak_memory(&self) -> io::Result<u64> {
        let name = match self.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        number(&self.read("memory", name)?)
    }

    /// Memory in use that the kernel could not simply take back.
    pub fn memory(&self) -> io::Result<u64> {
        let (usage, inactive) = match self.version {
            Version::One => ("memory.usage_in_bytes", "total_inactive_file"),
            Version::Two => ("memory.current", "inactive_file"),
        };
        let used = number(&self.read("memory", usage)?)?;
        let stat = self.read("memory", "memory.stat")?;
        Ok(used.saturating_sub(keyed(&stat, inactive).unwrap_or(0)))
    }

    pub fn cpu_seconds(&self) -> io::Result<f64> {
        match self.version {
            Version::One => Ok(number(&self.read("cpuacct", "cpuacct.usage")?)? as f64 / 1e9),
            Version::Two => {
                let text = self.read("cpu", "cpu.stat")?;
                Ok(keyed(&text, "usage_usec").unwrap_or(0) as f64 / 1e6)
            }
        }
    }

    pub fn processes(&self) -> io::Result<u64> {
        number(&self.read("pids", "pids.current")?)
    }

    /// Kills every process of the group, its first one too.
    pub fn kill(&self) -> io::Result<()> {
        if self.version == Version::Two && self.file("", "cgroup.kill").exists() {
            return self.write("", "cgroup.kill", "1");
        }
        let text = self.read("pids", "cgroup.procs")?;
        for pid in text.lines().filter_map(|line| line.parse::<i32>().ok()) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        Ok(())
    }

    /// Removes the group's folders where they exist and are empty; the first failure is returned
    /// after all have been tried.
    pub fn remove(&self) -> io::Result<()> {
        let folders: Vec<PathBuf> = match self.version {
            Version::Two => vec![self.root.join(&self.path)],
            Version::One => std::fs::read_dir(&self.root)?
                .filter_map(|entry| entry.ok())
                .map(|entry| entry.path().join(&self.path))
                .filter(|folder| folder.is_dir())
                .collect(),
        };
        let mut outcome = Ok(());
        for folder in folders {
            match std::fs::remove_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound && outcome.is_ok() => {
                    outcome = Err(io::Error::new(
                        error.kind(),
                        format!("remove {}: {error}", folder.display()),
                    ));
                }
                _ => {}
            }
        }
        outcome
    }
}

fn number(text: &str) -> io::Result<u64> {
    text.trim()
        .parse()
        .map_err(|_| io::Error::other(format!("{:?} is not a number", text.trim())))
}

/// The number after `key` in lines of `key number`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_both_versions() {
        // Captured on a 6.18 kernel with version 1.
        let one = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        assert_eq!(keyed(one, "oom_kill"), Some(2));
        // The documented format of version 2; `oom_group_kill` must not be taken for it.
        let two = "low 0\nhigh 0\nmax 41\noom 3\noom_group_kill 9\noom_kill 1\n";
        assert_eq!(keyed(two, "oom_kill"), Some(1));
        assert_eq!(keyed(two, "missing"), None);
    }

    #[test]
    fn files_are_where_each_version_has_them() {
        let mut group = Group::new("/yard/web-1");
        group.version = Version::One;
        assert_eq!(
            group.file("memory", "memory.stat"),
            Path::new("/sys/fs/cgroup/memory/yard/web-1/memory.stat")
        );
        group.version = Version::Two;
        assert_eq!(
            group.file("memory", "memory.stat"),
            Path::new("/sys/fs/cgroup/yard/web-1/memory.stat")
        );
    }

    #[test]
    fn numbers_are_read_with_their_newline() {
        assert_eq!(number("4096\n").unwrap(), 4096);
        assert!(number("max\n").is_err());
    }
}
