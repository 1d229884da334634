//! Control groups, versions 1 and 2: where a sandbox's files are and how to read them.
//!
//! Version 1 has a tree per controller (`/sys/fs/cgroup/memory/…`), version 2 one tree. A hybrid
//! machine mounts both; there the controllers are in version 1, which is what counts. What is
//! written and read where is tested on made-up trees, because a machine has one version only.
//!
//! What a newcomer gets wrong: in version 2 a controller works in a group only if the group above
//! hands it down (`cgroup.subtree_control`), and a group that hands controllers down may hold no
//! processes of its own, except the real root. [`prepare`] finds out before the first sandbox.
//!
//! "Out of memory" is read from the counter of kills, not from an event descriptor (which counts
//! too much) and not from `failcnt` (which stays 0 when the kernel kills).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
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
/// What limits and measures a sandbox.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// The range of processor shares in version 1.
const FEWEST_SHARES: u64 = 2;
const MOST_SHARES: u64 = 262_144;
/// What a process of the usual niceness weighs beside groups: in shares, and in version 2's own unit.
const SHARES_OF_A_PROCESS: u64 = 1024;
const WEIGHT_OF_A_PROCESS: u64 = 100;
const MOST_WEIGHT: u64 = 10_000;
/// What limits a part of a sandbox ([`Group::below`]).
const BELOW: [&str; 2] = ["memory", "pids"];

/// Why no sandbox of this machine could be limited.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error(
        "control groups (version {version}) lack {}: boot with cgroup_enable=memory, or hand them to the container that the agent runs in",
        missing.join(", ")
    )]
    Missing {
        version: u8,
        missing: Vec<&'static str>,
    },
    #[error(
        "{} does not hand down {controller} (a group that hands controllers down may hold no processes, except the machine's root: in a container, move them to a group of their own first)",
        file.display()
    )]
    NotHandedDown {
        controller: &'static str,
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the control group {} cannot be made", folder.display())]
    NotMade {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Which version holds the controllers on this machine.
pub fn detect() -> Version {
    detect_at(Path::new(ROOT))
}

fn detect_at(root: &Path) -> Version {
    if root.join("cgroup.controllers").exists() {
        Version::Two
    } else {
        Version::One
    }
}

/// Makes sure that sandboxes below the group `parent` can be limited.
pub fn prepare(parent: &str) -> Result<(), Unusable> {
    prepare_at(Path::new(ROOT), parent)
}

fn prepare_at(root: &Path, parent: &str) -> Result<(), Unusable> {
    let version = detect_at(root);
    let missing: Vec<&'static str> = match version {
        Version::One => CONTROLLERS
            .into_iter()
            .filter(|controller| !root.join(controller).is_dir())
            .collect(),
        Version::Two => {
            let there = std::fs::read_to_string(root.join("cgroup.controllers"));
            let there = there.unwrap_or_default();
            CONTROLLERS
                .into_iter()
                .filter(|controller| !lists(&there, controller))
                .collect()
        }
    };
    if !missing.is_empty() {
        let version = match version {
            Version::One => 1,
            Version::Two => 2,
        };
        return Err(Unusable::Missing { version, missing });
    }
    match version {
        // There every group has every controller of its tree.
        Version::One => Ok(()),
        Version::Two => hand_down(root, parent),
    }
}

/// Hands the controllers down from the root to the groups below `parent`, which is made.
fn hand_down(root: &Path, parent: &str) -> Result<(), Unusable> {
    let mut folder = root.to_path_buf();
    let parts = parent.split('/').filter(|part| !part.is_empty());
    for part in std::iter::once("").chain(parts) {
        if !part.is_empty() {
            folder.push(part);
            match std::fs::create_dir(&folder) {
                Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Unusable::NotMade { folder, source });
                }
                _ => {}
            }
        }
        let file = folder.join("cgroup.subtree_control");
        let enabled = std::fs::read_to_string(&file).unwrap_or_default();
        for controller in CONTROLLERS {
            if lists(&enabled, controller) {
                continue;
            }
            // One at a time: the kernel takes all of a line or nothing, and would not say which.
            if let Err(source) = std::fs::write(&file, format!("+{controller}")) {
                return Err(Unusable::NotHandedDown {
                    controller,
                    file,
                    source,
                });
            }
        }
    }
    Ok(())
}

fn lists(line: &str, word: &str) -> bool {
    line.split_whitespace().any(|listed| listed == word)
}

impl Group {
    /// `path` is absolute in the hierarchy, e.g. `/stackyard-c0ffee12-1/web-3`.
    pub fn new(path: &str) -> Group {
        Group::at(Path::new(ROOT), path)
    }

    fn at(root: &Path, path: &str) -> Group {
        Group {
            version: detect_at(root),
            root: root.to_path_buf(),
            path: path.trim_matches('/').to_owned(),
        }
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
                let swap = "memory.memsw.limit_in_bytes";
                let has_swap = self.file("memory", swap).exists();
                match self.write("memory", "memory.limit_in_bytes", &value) {
                    // It may not be above the one with swap: to raise both, that comes first.
                    Err(_) if has_swap => {
                        self.write("memory", swap, &value)?;
                        self.write("memory", "memory.limit_in_bytes", &value)?;
                    }
                    Ok(()) if has_swap => self.write("memory", swap, &value)?,
                    outcome => outcome?,
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

    /// A group below this one for some of its processes, made if it is not there. `None` where that
    /// cannot be: in version 2 a group that holds processes has no groups with controllers below it.
    pub fn below(&self, name: &str) -> io::Result<Option<Group>> {
        if self.version == Version::Two {
            return Ok(None);
        }
        let group = Group {
            path: format!("{}/{name}", self.path),
            ..self.clone()
        };
        for controller in BELOW {
            match std::fs::create_dir(group.file(controller, "")) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    let path = group.file(controller, "");
                    return Err(io::Error::new(
                        error.kind(),
                        format!("make {}: {error}", path.display()),
                    ));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(Some(group))
    }

    /// Moves a process into this group, which is one made by [`Group::below`]. Memory it has already
    /// stays on the account of the group it came from.
    pub fn attach(&self, pid: i32) -> io::Result<()> {
        BELOW
            .into_iter()
            .try_for_each(|controller| self.write(controller, "cgroup.procs", &pid.to_string()))
    }

    /// Processes of this group itself, by their numbers on the host.
    pub fn members(&self) -> io::Result<Vec<i32>> {
        let text = self.read("pids", "cgroup.procs")?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Limits processes and threads, the init included. Both versions name the file alike.
    pub fn limit_processes(&self, most: u64) -> io::Result<()> {
        self.write("pids", "pids.max", &most.to_string())
    }

    /// The share of the processors when they are short, in the unit of version 1 (1024 is the usual one).
    pub fn share_processor(&self, shares: u64) -> io::Result<()> {
        let shares = shares.clamp(FEWEST_SHARES, MOST_SHARES);
        match self.version {
            Version::One => self.write("cpu", "cpu.shares", &shares.to_string()),
            // As OCI runtimes translate it: 2 to 262,144 become 1 to 10,000.
            Version::Two => {
                let weight = 1 + (shares - FEWEST_SHARES) * 9999 / (MOST_SHARES - FEWEST_SHARES);
                self.write("cpu", "cpu.weight", &weight.to_string())
            }
        }
    }

    /// The weight of so many processes beside the processes of the machine. The group is made if it is not there.
    pub fn weigh_as_processes(&self, count: u64) -> io::Result<()> {
        match self.version {
            Version::One => {
                std::fs::create_dir_all(self.file("cpu", ""))?;
                self.share_processor(SHARES_OF_A_PROCESS.saturating_mul(count))
            }
            Version::Two => {
                let weight = (WEIGHT_OF_A_PROCESS * count).min(MOST_WEIGHT);
                self.write("cpu", "cpu.weight", &weight.to_string())
            }
        }
    }

    /// Runs only when no group beside it wants to, or no more; then with these shares, which the kernel forgets
    /// meanwhile. Kernels before 5.15 cannot (`NotFound`).
    pub fn yield_processor(&self, yields: bool, shares: u64) -> io::Result<()> {
        self.write("cpu", "cpu.idle", if yields { "1" } else { "0" })?;
        match yields {
            true => Ok(()),
            false => self.share_processor(shares),
        }
    }

    /// How many processes the kernel has killed for want of memory.
    pub fn memory_kills(&self) -> io::Result<u64> {
        Ok(kills_in(&self.read("memory", self.kills_file())?))
    }

    fn kills_file(&self) -> &'static str {
        match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        }
    }

    /// The most memory ever in use. Version 2 has no way to forget the runtime's own start, so there
    /// a small application shows that.
    pub fn peak_memory(&self) -> io::Result<u64> {
        let name = match self.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        number(&self.read("memory", name)?)
    }

    /// Memory in use that the kernel could not simply take back.
    pub fn memory(&self) -> io::Result<u64> {
        let inactive = match self.version {
            Version::One => "total_inactive_file",
            Version::Two => "inactive_file",
        };
        let used = self.charged()?;
        let stat = self.read("memory", "memory.stat")?;
        Ok(used.saturating_sub(keyed(&stat, inactive).unwrap_or(0)))
    }

    /// Memory on its account, caches too.
    pub fn charged(&self) -> io::Result<u64> {
        number(&self.read("memory", self.charged_file())?)
    }

    fn charged_file(&self) -> &'static str {
        match self.version {
            Version::One => "memory.usage_in_bytes",
            Version::Two => "memory.current",
        }
    }

    /// What is asked of its memory again and again.
    pub fn watch_memory(&self) -> io::Result<MemoryWatch> {
        Ok(MemoryWatch {
            kills: File::open(self.file("memory", self.kills_file()))?,
            charged: File::open(self.file("memory", self.charged_file()))?,
        })
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

    /// Kills every process of the group and of those below it, its first one too.
    pub fn kill(&self) -> io::Result<()> {
        if self.version == Version::Two && self.file("", "cgroup.kill").exists() {
            return self.write("", "cgroup.kill", "1");
        }
        let own = self.file("pids", "");
        for folder in folders_below(&own).into_iter().chain([own]) {
            let text = match std::fs::read_to_string(folder.join("cgroup.procs")) {
                // A group below may go at any time.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read?,
            };
            for pid in text.lines().filter_map(|line| line.parse::<i32>().ok()) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
        Ok(())
    }

    /// Removes the group's folders, and those below, where they exist and are empty; the first
    /// failure is returned after all have been tried.
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
            for folder in folders_below(&folder).into_iter().chain([folder]) {
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
        }
        outcome
    }
}

/// Two figures of a group whose files stay open: to find and open one costs ten times what reading it does.
#[derive(Debug)]
pub struct MemoryWatch {
    kills: File,
    charged: File,
}

impl MemoryWatch {
    /// As [`Group::memory_kills`].
    pub fn kills(&self) -> io::Result<u64> {
        read_again(&self.kills, |text| Ok(kills_in(text)))
    }

    /// As [`Group::charged`].
    pub fn charged(&self) -> io::Result<u64> {
        read_again(&self.charged, number)
    }
}

/// Reads from the beginning, where the kernel makes the text anew. Such files are short.
fn read_again<T>(file: &File, understand: impl Fn(&str) -> io::Result<T>) -> io::Result<T> {
    let mut buffer = [0; 512];
    let length = file.read_at(&mut buffer, 0)?;
    let text = std::str::from_utf8(&buffer[..length]).map_err(io::Error::other)?;
    understand(text)
}

fn kills_in(text: &str) -> u64 {
    keyed(text, "oom_kill").unwrap_or(0)
}

/// The groups directly below; they have none themselves.
fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok())
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
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
    use std::sync::atomic::{AtomicU32, Ordering};

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

    /// A made-up tree: files with their content, below a root that goes with the returned value.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Tree {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let process = std::process::id();
            let root = std::env::temp_dir().join(format!("cgroup-{name}-{process}-{number}"));
            let tree = Tree(root);
            for (path, content) in files {
                let path = tree.0.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            tree
        }

        fn read(&self, path: &str) -> String {
            std::fs::read_to_string(self.0.join(path)).unwrap_or_default()
        }

        fn group(&self) -> Group {
            Group::at(&self.0, "/yard/web-1")
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn one() -> Tree {
        Tree::new(
            "one",
            &[
                (
                    "memory/yard/web-1/memory.limit_in_bytes",
                    "9223372036854771712\n",
                ),
                (
                    "memory/yard/web-1/memory.memsw.limit_in_bytes",
                    "9223372036854771712\n",
                ),
                ("memory/yard/web-1/memory.max_usage_in_bytes", "7000\n"),
                ("memory/yard/web-1/memory.usage_in_bytes", "5000\n"),
                (
                    "memory/yard/web-1/memory.stat",
                    "inactive_file 1\ntotal_inactive_file 2000\n",
                ),
                (
                    "memory/yard/web-1/memory.oom_control",
                    "under_oom 0\noom_kill 2\n",
                ),
                ("cpuacct/yard/web-1/cpuacct.usage", "2500000000\n"),
                ("cpu/yard/web-1/cpu.shares", "32\n"),
                ("pids/yard/web-1/pids.current", "4\n"),
                ("pids/yard/web-1/pids.max", "512\n"),
            ],
        )
    }

    fn two() -> Tree {
        Tree::new(
            "two",
            &[
                ("cgroup.controllers", "cpuset cpu io memory hugetlb pids\n"),
                ("cgroup.subtree_control", "memory\n"),
                ("yard/web-1/memory.max", "max\n"),
                ("yard/web-1/memory.swap.max", "max\n"),
                ("yard/web-1/memory.current", "5000\n"),
                ("yard/web-1/memory.peak", "7000\n"),
                ("yard/web-1/memory.stat", "anon 1\ninactive_file 2000\n"),
                (
                    "yard/web-1/memory.events",
                    "max 41\noom 3\noom_kill 2\noom_group_kill 9\n",
                ),
                ("yard/web-1/cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
                ("yard/web-1/pids.current", "4\n"),
                ("yard/web-1/pids.max", "512\n"),
                ("yard/web-1/cgroup.kill", ""),
            ],
        )
    }

    #[test]
    fn both_versions_are_read_alike() {
        for (tree, version) in [(one(), Version::One), (two(), Version::Two)] {
            let group = tree.group();
            assert_eq!(group.version, version);
            assert_eq!(group.memory().unwrap(), 3000, "{version:?}");
            assert_eq!(group.peak_memory().unwrap(), 7000, "{version:?}");
            assert_eq!(group.memory_kills().unwrap(), 2, "{version:?}");
            assert_eq!(group.cpu_seconds().unwrap(), 2.5, "{version:?}");
            assert_eq!(group.processes().unwrap(), 4, "{version:?}");
        }
    }

    #[test]
    fn limits_are_written_where_each_version_has_them() {
        let tree = one();
        tree.group().limit_memory(64 << 20).unwrap();
        tree.group().limit_processes(100).unwrap();
        tree.group().share_processor(1024).unwrap();
        for (file, content) in [
            ("cpu/yard/web-1/cpu.shares", "1024"),
            ("memory/yard/web-1/memory.limit_in_bytes", "67108864"),
            ("memory/yard/web-1/memory.memsw.limit_in_bytes", "67108864"),
            ("memory/yard/web-1/memory.max_usage_in_bytes", "0"),
            ("pids/yard/web-1/pids.max", "100"),
        ] {
            assert_eq!(tree.read(file), content, "{file}");
        }
        let tree = two();
        tree.group().limit_memory(64 << 20).unwrap();
        tree.group().limit_processes(100).unwrap();
        tree.group().share_processor(1024).unwrap();
        for (file, content) in [
            ("yard/web-1/cpu.weight", "39"),
            ("yard/web-1/memory.max", "67108864"),
            ("yard/web-1/memory.swap.max", "0"),
            ("yard/web-1/pids.max", "100"),
        ] {
            assert_eq!(tree.read(file), content, "{file}");
        }
    }

    #[test]
    fn who_yields_gets_its_shares_back_after() {
        for (tree, idle, shares, expected) in [
            (
                one(),
                "cpu/yard/web-1/cpu.idle",
                "cpu/yard/web-1/cpu.shares",
                "64",
            ),
            (two(), "yard/web-1/cpu.idle", "yard/web-1/cpu.weight", "3"),
        ] {
            let group = tree.group();
            group.yield_processor(true, 64).unwrap();
            assert_eq!(tree.read(idle), "1");
            assert_ne!(tree.read(shares), expected);
            group.yield_processor(false, 64).unwrap();
            assert_eq!(tree.read(idle), "0");
            assert_eq!(tree.read(shares), expected);
        }
    }

    #[test]
    fn instances_together_weigh_as_processes_do() {
        let tree = one();
        Group::at(&tree.0, "/new").weigh_as_processes(2).unwrap();
        assert_eq!(tree.read("cpu/new/cpu.shares"), "2048");
        let tree = two();
        for (count, weight) in [(2, "200"), (1000, "10000")] {
            tree.group().weigh_as_processes(count).unwrap();
            assert_eq!(tree.read("yard/web-1/cpu.weight"), weight);
        }
    }

    #[test]
    fn a_part_of_a_sandbox_gets_a_group_where_the_version_has_such() {
        let tree = one();
        let below = tree.group().below("worker-7").unwrap().unwrap();
        below.attach(42).unwrap();
        below.limit_processes(9).unwrap();
        for controller in BELOW {
            let file = format!("{controller}/yard/web-1/worker-7/cgroup.procs");
            assert_eq!(tree.read(&file), "42", "{controller}");
        }
        assert_eq!(tree.read("pids/yard/web-1/worker-7/pids.max"), "9");
        assert_eq!(below.members().unwrap(), [42]);
        assert!(tree.group().below("worker-7").unwrap().is_some(), "again");
        assert!(two().group().below("worker-7").unwrap().is_none());
    }

    #[test]
    fn a_kernel_without_swap_accounting_is_no_error() {
        for (tree, file) in [
            (one(), "memory/yard/web-1/memory.memsw.limit_in_bytes"),
            (two(), "yard/web-1/memory.swap.max"),
        ] {
            std::fs::remove_file(tree.0.join(file)).unwrap();
            tree.group().limit_memory(1 << 20).unwrap();
            assert!(!tree.0.join(file).exists());
        }
    }

    #[test]
    fn version_two_kills_by_one_word_and_both_versions_remove_every_folder() {
        let tree = two();
        tree.group().kill().unwrap();
        assert_eq!(tree.read("yard/web-1/cgroup.kill"), "1");
        // The files of a real group go with its folder; here they would hold it.
        for (tree, folders) in [
            (
                Tree::new("rm-one", &[("memory/keep", ""), ("pids/keep", "")]),
                ["memory/yard/web-1", "pids/yard/web-1"].as_slice(),
            ),
            (
                Tree::new("rm-two", &[("cgroup.controllers", "")]),
                ["yard/web-1"].as_slice(),
            ),
        ] {
            for folder in folders {
                std::fs::create_dir_all(tree.0.join(folder)).unwrap();
            }
            tree.group().remove().unwrap();
            for folder in folders {
                assert!(!tree.0.join(folder).exists(), "{folder}");
            }
            tree.group().remove().unwrap();
            std::fs::create_dir_all(tree.0.join(folders[0]).join("below")).unwrap();
            tree.group().remove().unwrap();
            std::fs::create_dir_all(tree.0.join(folders[0]).join("below/it")).unwrap();
            let error = tree.group().remove().unwrap_err().to_string();
            assert!(error.contains(folders[0]), "{error}");
        }
    }

    #[test]
    fn version_two_hands_the_controllers_down_to_the_sandboxes() {
        let tree = two();
        prepare_at(&tree.0, "/yard/dea-1").unwrap();
        // A real file keeps what is enabled; a made-up one keeps the last word, which is the one of
        // these that was not enabled before.
        for file in ["cgroup.subtree_control", "yard/cgroup.subtree_control"] {
            assert_eq!(tree.read(file), "+cpu", "{file}");
        }
        assert_eq!(tree.read("yard/dea-1/cgroup.subtree_control"), "+cpu");
    }

    #[test]
    fn what_is_missing_is_named() {
        let tree = Tree::new("no-pids", &[("cgroup.controllers", "cpuset cpu memory\n")]);
        let text = prepare_at(&tree.0, "/yard").unwrap_err().to_string();
        assert!(
            text.contains("version 2") && text.contains("lack pids:"),
            "{text}"
        );
        let tree = Tree::new("no-memory", &[("cpu/x", ""), ("pids/x", "")]);
        let text = prepare_at(&tree.0, "/yard").unwrap_err().to_string();
        assert!(
            text.contains("version 1") && text.contains("lack memory:"),
            "{text}"
        );
        let tree = Tree::new(
            "closed",
            &[
                ("cgroup.controllers", "cpu memory pids"),
                ("cgroup.subtree_control/x", ""),
            ],
        );
        let text = prepare_at(&tree.0, "/yard").unwrap_err().to_string();
        assert!(
            text.contains("cgroup.subtree_control does not hand down memory"),
            "{text}"
        );
    }

    #[test]
    fn numbers_are_read_with_their_newline() {
        assert_eq!(number("4096\n").unwrap(), 4096);
        assert!(number("max\n").is_err());
    }
}
