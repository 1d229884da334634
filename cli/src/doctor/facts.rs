//! What can be seen of this machine. Nothing is changed by looking.

use super::check::TOOLS;
use crate::caller::Caller;
use crate::cluster::home;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the cluster is to be like.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub home: PathBuf,
    pub bind: String,
    pub port: u16,
    /// The port is taken by this very cluster.
    pub runs_already: bool,
    /// Its programs are built on this machine.
    pub from_source: bool,
}

/// Whether daemons of the cluster in `home` live: they outlive their node, and hold its port.
pub fn daemons_live(home: &Path) -> bool {
    // Their command lines have the real path.
    let home = fs::canonicalize(home).unwrap_or_else(|_| home.to_path_buf());
    let mark = home.join("node/bootstrap");
    let mark = mark.as_os_str().as_encoded_bytes();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .iter()
                .all(u8::is_ascii_digit)
        })
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .any(|command| {
            command
                .split(|byte| *byte == 0)
                .any(|word| word.starts_with(mark))
        })
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortState {
    Free,
    Taken,
    /// For another reason than being taken.
    Refused(String),
}

/// The compiler, as far as it can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rust {
    Missing,
    Found { version: (u32, u32), path: PathBuf },
    Broken { path: PathBuf, why: String },
}

#[derive(Debug, Clone)]
pub struct Facts {
    pub root: bool,
    pub stackyard: Result<PathBuf, String>,
    pub programs: BTreeMap<&'static str, PathBuf>,
    /// None: there is no Python to ask.
    pub python_venv: Option<bool>,
    pub rust: Rust,
    pub kernel: (u32, u32),
    pub overlayfs: bool,
    /// None: the kernel has none.
    pub user_namespaces: Option<u64>,
    pub loop_devices: bool,
    pub cgroup_controllers: BTreeSet<String>,
    pub cgroup_kind: &'static str,
    pub port: PortState,
    pub ip_forward: Option<bool>,
    /// Chains that drop what is forwarded.
    pub forward_drops: Vec<String>,
    pub inotify: BTreeMap<&'static str, u64>,
    /// Bytes.
    pub disk_free: Option<u64>,
    /// Bytes.
    pub memory_available: Option<u64>,
}

pub fn gather(wanted: &Wanted, caller: &Caller) -> Facts {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let (cgroup_kind, cgroup_controllers) = cgroups(&mounts, &|folder| {
        fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default()
    });
    Facts {
        root: nix::unistd::Uid::effective().is_root(),
        stackyard: home::find_stackyard().map_err(|failure| failure.what),
        programs: TOOLS
            .iter()
            .filter_map(|tool| Some((tool.program, find(tool.program)?)))
            .collect(),
        python_venv: python_venv(),
        rust: rust(caller),
        kernel: nix::sys::utsname::uname()
            .map(|name| version(&name.release().to_string_lossy()))
            .unwrap_or_default(),
        overlayfs: fs::read_to_string("/proc/filesystems")
            .unwrap_or_default()
            .lines()
            .any(|line| line.trim_start_matches("nodev").trim() == "overlay"),
        user_namespaces: number(Path::new("/proc/sys/user/max_user_namespaces"))
            .filter(|_| Path::new("/proc/self/ns/user").exists()),
        loop_devices: Path::new("/dev/loop-control").exists(),
        cgroup_controllers,
        cgroup_kind,
        port: port(&wanted.bind, wanted.port),
        ip_forward: number(Path::new("/proc/sys/net/ipv4/ip_forward")).map(|value| value != 0),
        forward_drops: forward_drops(),
        inotify: [
            "max_user_instances",
            "max_user_watches",
            "max_queued_events",
        ]
        .into_iter()
        .filter_map(|name| Some((name, number(&Path::new("/proc/sys/fs/inotify").join(name))?)))
        .collect(),
        disk_free: disk_free(&wanted.home),
        memory_available: fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| memory_available(&text)),
    }
}

/// Runtimes must be the machine's own under /usr: containers see no others.
fn find(program: &'static str) -> Option<PathBuf> {
    match program {
        "python3" | "node" | "npm" => {
            Some(PathBuf::from("/usr/bin").join(program)).filter(|path| home::is_executable(path))
        }
        _ => home::on_path(program),
    }
}

fn python_venv() -> Option<bool> {
    find("python3")?;
    let status = Command::new("/usr/bin/python3")
        .args(["-c", "import venv, ensurepip"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    Some(status.is_ok_and(|status| status.success()))
}

/// The caller's own: sudo resets the PATH, and rustup installs into the home of a user.
fn rust(caller: &Caller) -> Rust {
    use std::os::unix::process::CommandExt;
    let of_user = caller.home.join(".cargo/bin/cargo");
    let Some(path) =
        home::on_path("cargo").or_else(|| Some(of_user).filter(|path| home::is_executable(path)))
    else {
        return Rust::Missing;
    };
    let mut command = Command::new(&path);
    command
        .arg("--version")
        .env("HOME", &caller.home)
        .current_dir("/")
        .stdin(Stdio::null());
    if let Some((uid, gid)) = caller.owner {
        // What lies in a user's home is not run as root.
        command.uid(uid).gid(gid);
    }
    let broken = |why: String| Rust::Broken {
        path: path.clone(),
        why,
    };
    match command.output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            match rust_version(&text) {
                Some(version) => Rust::Found { version, path },
                None => broken(format!("it answers {:?}", text.trim())),
            }
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            broken(text.lines().next().unwrap_or("it fails").to_string())
        }
        Err(error) => broken(error.to_string()),
    }
}

/// `1.94` of `cargo 1.94.0-nightly (0123abcd 2026-01-01)`.
fn rust_version(text: &str) -> Option<(u32, u32)> {
    let number = text.strip_prefix("cargo ")?.split_whitespace().next()?;
    Some(version(number)).filter(|version| *version != (0, 0))
}

/// `6.1` of `6.1.0-18-amd64`.
pub fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Both versions may be mounted at once, each with some of the controllers.
fn cgroups(
    mounts: &str,
    controllers_of: &dyn Fn(&Path) -> String,
) -> (&'static str, BTreeSet<String>) {
    const KNOWN: [&str; 3] = ["memory", "pids", "cpu"];
    let mut found = BTreeSet::new();
    let (mut first, mut second) = (false, false);
    for line in mounts.lines() {
        let mut fields = line.split_whitespace().skip(1);
        let (Some(folder), Some(kind), Some(options)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if kind == "cgroup" {
            let here: Vec<&str> = options
                .split(',')
                .filter(|option| KNOWN.contains(option))
                .collect();
            first |= !here.is_empty();
            found.extend(here.into_iter().map(String::from));
        } else if kind == "cgroup2" {
            let text = controllers_of(Path::new(folder));
            let here: Vec<&str> = text
                .split_whitespace()
                .filter(|name| KNOWN.contains(name))
                .collect();
            second |= !here.is_empty();
            found.extend(here.into_iter().map(String::from));
        }
    }
    let kind = match (first, second) {
        (true, true) => "v1 and v2",
        (true, false) => "v1",
        (false, true) => "v2",
        (false, false) => "none",
    };
    (kind, found)
}

fn port(bind: &str, port: u16) -> PortState {
    let Ok(address) = bind.parse::<std::net::IpAddr>() else {
        return PortState::Refused(format!("{bind} is no address"));
    };
    match TcpListener::bind(SocketAddr::new(address, port)) {
        Ok(_) => PortState::Free,
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => PortState::Taken,
        Err(error) => PortState::Refused(error.to_string()),
    }
}

fn forward_drops() -> Vec<String> {
    let output = |program: &str, arguments: &[&str]| {
        let path = home::on_path(program)?;
        let output = Command::new(path)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let mut drops = output("nft", &["-j", "list", "chains"])
        .map(|text| dropping_chains(&text))
        .unwrap_or_default();
    let legacy = output("iptables-legacy", &["-S", "FORWARD"]).unwrap_or_default();
    if legacy_drops(&legacy) {
        drops.push("iptables-legacy FORWARD".to_string());
    }
    drops
}

/// Whether `iptables-legacy -S FORWARD` shows that what no rule accepts is dropped.
fn legacy_drops(rules: &str) -> bool {
    rules.lines().any(|line| line.trim() == "-P FORWARD DROP")
}

/// Base chains on the forward hook whose policy is drop.
fn dropping_chains(json: &str) -> Vec<String> {
    let Ok(document) = serde_json::from_str::<serde_json::Value>(json) else {
        return Vec::new();
    };
    let text = |chain: &serde_json::Value, key: &str| {
        chain
            .get(key)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
            .to_string()
    };
    let objects = document
        .get("nftables")
        .and_then(|list| list.as_array())
        .cloned()
        .unwrap_or_default();
    objects
        .iter()
        .filter_map(|object| object.get("chain"))
        .filter(|chain| text(chain, "hook") == "forward" && text(chain, "policy") == "drop")
        .map(|chain| {
            format!(
                "{} {} {}",
                text(chain, "family"),
                text(chain, "table"),
                text(chain, "name")
            )
        })
        .collect()
}

/// Of the folder, or the nearest one above it that exists.
fn disk_free(folder: &Path) -> Option<u64> {
    let existing = folder.ancestors().find(|folder| folder.exists())?;
    let stats = nix::sys::statvfs::statvfs(existing).ok()?;
    Some(stats.blocks_available() * stats.fragment_size())
}

fn memory_available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find(|line| line.starts_with("MemAvailable:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions() {
        assert_eq!(version("6.1.0-18-amd64"), (6, 1));
        assert_eq!(version("5.15.153.1-microsoft-standard-WSL2"), (5, 15));
        assert_eq!(version("strange"), (0, 0));
    }

    #[test]
    fn controllers_of_both_versions_count() {
        let hybrid = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let (kind, found) = cgroups(hybrid, &|_| "memory io".to_string());
        assert_eq!(kind, "v1 and v2");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            ["cpu", "memory", "pids"]
        );
        let (kind, found) = cgroups("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", &|_| {
            "cpu memory pids\n".to_string()
        });
        assert_eq!((kind, found.len()), ("v2", 3));
        assert_eq!(cgroups("", &|_| String::new()).0, "none");
    }

    #[test]
    fn dropping_chains_are_named() {
        let json = r#"{"nftables":[{"metainfo":{}},{"chain":{"family":"ip","table":"filter","name":"FORWARD","hook":"forward","policy":"drop"}},
            {"chain":{"family":"ip","table":"filter","name":"INPUT","hook":"input","policy":"drop"}},{"chain":{"family":"ip","table":"x","name":"y"}}]}"#;
        assert_eq!(dropping_chains(json), ["ip filter FORWARD"]);
        assert_eq!(dropping_chains("no json"), Vec::<String>::new());
    }

    #[test]
    fn a_legacy_firewall_that_drops_is_seen() {
        let docker = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n";
        assert!(legacy_drops(docker));
        assert!(!legacy_drops("-P FORWARD ACCEPT\n-A FORWARD -j DROP\n"));
        assert!(!legacy_drops(""));
    }

    #[test]
    fn the_version_of_rust() {
        assert_eq!(
            rust_version("cargo 1.94.1 (0123abcd 2026-01-01)\n"),
            Some((1, 94))
        );
        assert_eq!(rust_version("cargo 1.97.0-nightly (0123 x)"), Some((1, 97)));
        assert_eq!(rust_version("error: no default toolchain"), None);
        assert_eq!(rust_version("cargo soon"), None);
    }

    #[test]
    fn a_port_is_free_taken_or_refused() {
        let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let taken = holder.local_addr().expect("its address").port();
        assert_eq!(port("127.0.0.1", taken), PortState::Taken);
        assert_eq!(port("127.0.0.1", 0), PortState::Free, "any free one");
        // An address that no machine has, of the range for documentation.
        assert!(matches!(port("192.0.2.1", taken), PortState::Refused(_)));
        assert!(matches!(port("nowhere", taken), PortState::Refused(_)));
    }

    #[test]
    fn available_memory() {
        assert_eq!(
            memory_available("MemTotal: 10 kB\nMemAvailable:    2048 kB\n"),
            Some(2 << 20)
        );
        assert_eq!(memory_available(""), None);
    }
}
