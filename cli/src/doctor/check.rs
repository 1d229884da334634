//! From facts to findings. Pure.

use super::facts::{Facts, PortState, Rust, Wanted};
use crate::output::human;
use serde::Serialize;
use std::collections::BTreeSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// Worth knowing; nothing to do.
    Note,
    /// The cluster starts, but something of it will not work.
    Warning,
    /// The cluster cannot start.
    Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub name: &'static str,
    pub level: Level,
    pub what: String,
    pub fix: Option<String>,
    /// Debian package that brings what is missing.
    pub package: Option<&'static str>,
}

impl Finding {
    fn new(name: &'static str, level: Level, what: impl Into<String>) -> Finding {
        Finding {
            name,
            level,
            what: what.into(),
            fix: None,
            package: None,
        }
    }

    fn fix(mut self, fix: impl Into<String>) -> Finding {
        self.fix = Some(fix.into());
        self
    }
}

/// A program and the package that has it.
pub struct Tool {
    pub program: &'static str,
    pub package: &'static str,
    /// None: no cluster without it.
    pub only_for: Option<&'static str>,
}

const fn tool(
    program: &'static str,
    package: &'static str,
    only_for: Option<&'static str>,
) -> Tool {
    Tool {
        program,
        package,
        only_for,
    }
}

pub const TOOLS: &[Tool] = &[
    tool("nats-server", "nats-server", None),
    tool("etcd", "etcd-server", None),
    tool("runc", "runc", None),
    tool("nft", "nftables", None),
    tool("ip", "iproute2", None),
    tool("mkfs.ext4", "e2fsprogs", None),
    tool("nginx", "nginx-light", Some("static sites")),
    tool("python3", "python3", Some("Python apps")),
    tool("node", "nodejs", Some("Node.js apps")),
    tool("npm", "npm", Some("Node.js apps")),
];

/// Unprivileged mounts of a droplet into many user namespaces need this.
const IDMAPPED_MOUNTS: (u32, u32) = (5, 12);
/// ... and on overlayfs this.
const IDMAPPED_OVERLAY: (u32, u32) = (5, 19);
/// What the workspace asks for.
const RUST: &str = env!("CARGO_PKG_RUST_VERSION");
const MEBI: u64 = 1 << 20;
const GIBI: u64 = 1 << 30;

/// The command that installs everything missing, if anything is.
pub fn packages_line(findings: &[Finding]) -> Option<String> {
    let packages: BTreeSet<&str> = findings
        .iter()
        .filter_map(|finding| finding.package)
        .collect();
    if packages.is_empty() {
        None
    } else {
        Some(format!(
            "sudo apt-get install -y {}",
            packages.into_iter().collect::<Vec<_>>().join(" ")
        ))
    }
}

pub fn check(facts: &Facts, wanted: &Wanted) -> Vec<Finding> {
    let mut findings = vec![root(facts), stackyard(facts)];
    findings.extend(TOOLS.iter().map(|tool| program(facts, tool)));
    findings.push(virtual_environments(facts));
    findings.push(rust(facts, wanted));
    findings.extend(kernel(facts));
    findings.push(cgroups(facts));
    findings.push(port(facts, wanted));
    findings.push(forwarding(facts));
    findings.push(firewall(facts));
    findings.push(inotify(facts));
    findings.push(disk(facts, wanted));
    findings.push(memory(facts));
    findings
}

fn root(facts: &Facts) -> Finding {
    match facts.root {
        true => Finding::new("privilege", Level::Ok, "root"),
        false => Finding::new(
            "privilege",
            Level::Note,
            "not root; `yard up` will need it, and some checks could not look",
        )
        .fix("sudo yard doctor"),
    }
}

fn stackyard(facts: &Facts) -> Finding {
    match &facts.stackyard {
        Ok(path) => Finding::new("stackyard", Level::Ok, path.display().to_string()),
        Err(why) => Finding::new("stackyard", Level::Fault, why.clone())
            .fix("make build, or set YARD_STACKYARD"),
    }
}

fn program(facts: &Facts, tool: &Tool) -> Finding {
    if let Some(path) = facts.programs.get(tool.program) {
        return Finding::new(tool.program, Level::Ok, path.display().to_string());
    }
    let (level, what) = match tool.only_for {
        None => (Level::Fault, "not installed".to_string()),
        Some(apps) => (
            Level::Warning,
            format!("not installed: {apps} cannot be staged"),
        ),
    };
    Finding {
        package: Some(tool.package),
        ..Finding::new(tool.program, level, what)
            .fix(format!("sudo apt-get install {}", tool.package))
    }
}

fn virtual_environments(facts: &Facts) -> Finding {
    match facts.python_venv {
        Some(true) => Finding::new("python3-venv", Level::Ok, "present"),
        None => Finding::new(
            "python3-venv",
            Level::Note,
            "not looked at, as there is no /usr/bin/python3",
        ),
        Some(false) => Finding {
            package: Some("python3-venv"),
            ..Finding::new(
                "python3-venv",
                Level::Warning,
                "not installed: Python apps with requirements cannot be staged",
            )
            .fix("sudo apt-get install python3-venv")
        },
    }
}

/// A cluster runs without Rust; only who builds its programs here needs it.
fn rust(facts: &Facts, wanted: &Wanted) -> Finding {
    let what = match &facts.rust {
        Rust::Found { version, path } if *version >= super::facts::version(RUST) => {
            return Finding::new("rust", Level::Ok, path.display().to_string());
        }
        Rust::Found {
            version: (major, minor),
            ..
        } => format!("{major}.{minor} is too old, {RUST} or newer is needed"),
        Rust::Broken { path, why } => format!("{} does not work: {why}", path.display()),
        Rust::Missing => format!("not installed, {RUST} or newer is needed"),
    };
    let fix = match &facts.rust {
        Rust::Missing => {
            "install it with rustup (https://rustup.rs); Debian 12's packages are too old"
        }
        Rust::Found { .. } | Rust::Broken { .. } => "rustup update stable",
    };
    if wanted.from_source {
        Finding::new("rust", Level::Fault, what).fix(fix)
    } else {
        let what = format!("{what} to build from source; a cluster runs without it");
        Finding::new("rust", Level::Warning, what).fix(fix)
    }
}

fn kernel(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (major, minor) = facts.kernel;
    let version = format!("{major}.{minor}");
    findings.push(if facts.kernel >= IDMAPPED_OVERLAY {
        Finding::new("kernel", Level::Ok, version)
    } else if facts.kernel >= IDMAPPED_MOUNTS {
        Finding::new(
            "kernel",
            Level::Warning,
            format!(
                "{version} cannot idmap overlay mounts (5.19 can): the home must be on ext4 or xfs"
            ),
        )
        .fix("a newer kernel, for instance Debian 12's")
    } else {
        Finding::new(
            "kernel",
            Level::Fault,
            format!("{version} has no idmapped mounts, which containers need (5.12 has)"),
        )
        .fix("a newer kernel, for instance Debian 12's")
    });
    findings.push(match facts.overlayfs {
        true => Finding::new("overlayfs", Level::Ok, "present"),
        false => Finding::new(
            "overlayfs",
            Level::Warning,
            "not loaded, or not in this kernel",
        )
        .fix("sudo modprobe overlay"),
    });
    findings.push(match facts.user_namespaces {
        Some(0) => Finding::new("user namespaces", Level::Fault, "switched off")
            .fix("sudo sysctl -w user.max_user_namespaces=65536"),
        Some(number) => Finding::new("user namespaces", Level::Ok, format!("up to {number}")),
        None => Finding::new("user namespaces", Level::Fault, "this kernel has none")
            .fix("a kernel with CONFIG_USER_NS"),
    });
    findings.push(match facts.loop_devices {
        true => Finding::new("loop devices", Level::Ok, "present"),
        false => Finding::new(
            "loop devices",
            Level::Fault,
            "not there; the disk of each instance is one",
        )
        .fix("sudo modprobe loop"),
    });
    findings
}

fn cgroups(facts: &Facts) -> Finding {
    let missing: Vec<&str> = ["memory", "pids", "cpu"]
        .into_iter()
        .filter(|name| !facts.cgroup_controllers.contains(*name))
        .collect();
    if missing.is_empty() {
        return Finding::new(
            "cgroups",
            Level::Ok,
            format!("memory, pids, cpu ({})", facts.cgroup_kind),
        );
    }
    let what = format!(
        "no controller {}: instances cannot be limited",
        missing.join(", ")
    );
    Finding::new("cgroups", Level::Fault, what)
        .fix("mount them, or boot with cgroup_enable=memory (in a container: give it its cgroups)")
}

fn port(facts: &Facts, wanted: &Wanted) -> Finding {
    let place = format!("{}:{}", wanted.bind, wanted.port);
    match &facts.port {
        PortState::Free => Finding::new("port", Level::Ok, format!("{place} is free")),
        PortState::Taken if wanted.runs_already => {
            Finding::new("port", Level::Ok, format!("{place} is this cluster's"))
        }
        PortState::Taken => Finding::new(
            "port",
            Level::Fault,
            format!("{place} is taken by another program"),
        )
        .fix(format!(
            "`ss -ltnp 'sport = :{}'` shows it; or choose another with --port",
            wanted.port
        )),
        PortState::Refused(why) => Finding::new(
            "port",
            Level::Fault,
            format!("{place} cannot be listened on: {why}"),
        )
        .fix("choose another with --bind or --port"),
    }
}

fn forwarding(facts: &Facts) -> Finding {
    match facts.ip_forward {
        Some(true) => Finding::new("ip_forward", Level::Ok, "on"),
        Some(false) => Finding::new(
            "ip_forward",
            Level::Note,
            "off; `yard up` switches it on, so that apps reach the outside, and `yard down` off again",
        ),
        None => Finding::new(
            "ip_forward",
            Level::Warning,
            "cannot be read; apps may not reach the outside",
        )
        .fix("sudo sysctl -w net.ipv4.ip_forward=1"),
    }
}

fn firewall(facts: &Facts) -> Finding {
    if facts.forward_drops.is_empty() {
        let what = if facts.root {
            "forwards"
        } else {
            "not looked at without root"
        };
        return Finding::new(
            "firewall",
            if facts.root { Level::Ok } else { Level::Note },
            what,
        );
    }
    let what = format!(
        "drops forwarded packets ({}): apps and stagings cannot reach the outside",
        facts.forward_drops.join(", ")
    );
    Finding::new("firewall", Level::Warning, what)
        .fix("sudo iptables -I FORWARD -i 'sy+' -j ACCEPT && sudo iptables -I FORWARD -o 'sy+' -j ACCEPT")
}

/// Of all containers together; the agent raises them, so they are told, not complained about.
fn inotify(facts: &Facts) -> Finding {
    const WANTED: [(&str, u64); 3] = [
        ("max_user_instances", 4096),
        ("max_user_watches", 32_768),
        ("max_queued_events", 65_536),
    ];
    let low: Vec<String> = WANTED
        .iter()
        .filter_map(|(name, wanted)| {
            let have = *facts.inotify.get(*name)?;
            (have < *wanted).then(|| format!("{name} {have}, wanted {wanted}"))
        })
        .collect();
    match (facts.inotify.is_empty(), low.is_empty()) {
        (true, _) => Finding::new(
            "inotify",
            Level::Warning,
            "limits cannot be read; file watching in apps may fail",
        ),
        (false, true) => Finding::new("inotify", Level::Ok, "limits are high enough"),
        (false, false) => Finding::new(
            "inotify",
            Level::Note,
            format!("low limits ({}); the agent raises them", low.join("; ")),
        ),
    }
}

fn disk(facts: &Facts, wanted: &Wanted) -> Finding {
    let place = wanted.home.display();
    match facts.disk_free {
        Some(free) if free < 512 * MEBI => Finding::new(
            "disk",
            Level::Fault,
            format!("only {} free for {place}", human::bytes(free)),
        )
        .fix("free some, or choose another folder with --home"),
        Some(free) if free < 4 * GIBI => Finding::new(
            "disk",
            Level::Warning,
            format!("only {} free for {place}: few apps fit", human::bytes(free)),
        )
        .fix("free some, or choose another folder with --home"),
        Some(free) => Finding::new(
            "disk",
            Level::Ok,
            format!("{} free for {place}", human::bytes(free)),
        ),
        None => Finding::new(
            "disk",
            Level::Warning,
            format!("the free space for {place} cannot be read"),
        ),
    }
}

fn memory(facts: &Facts) -> Finding {
    match facts.memory_available {
        Some(free) if free < 256 * MEBI => Finding::new(
            "memory",
            Level::Fault,
            format!("only {} available", human::bytes(free)),
        )
        .fix("stop something, or use a larger machine"),
        Some(free) if free < GIBI => Finding::new(
            "memory",
            Level::Warning,
            format!(
                "only {} available: stagings take 1G each",
                human::bytes(free)
            ),
        )
        .fix("`yard config set staging/memory 512MiB` later, or a larger machine"),
        Some(free) => Finding::new(
            "memory",
            Level::Ok,
            format!("{} available", human::bytes(free)),
        ),
        None => Finding::new("memory", Level::Warning, "cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    fn good() -> Facts {
        Facts {
            root: true,
            stackyard: Ok(PathBuf::from("/opt/stackyard")),
            programs: TOOLS
                .iter()
                .map(|tool| (tool.program, PathBuf::from("/usr/bin").join(tool.program)))
                .collect(),
            python_venv: Some(true),
            rust: Rust::Found {
                version: (1, 99),
                path: PathBuf::from("/root/.cargo/bin/cargo"),
            },
            kernel: (6, 1),
            overlayfs: true,
            user_namespaces: Some(1000),
            loop_devices: true,
            cgroup_controllers: ["memory", "pids", "cpu"].map(String::from).into(),
            cgroup_kind: "v2",
            port: PortState::Free,
            ip_forward: Some(true),
            forward_drops: Vec::new(),
            inotify: BTreeMap::from([
                ("max_user_instances", 5000),
                ("max_user_watches", 50_000),
                ("max_queued_events", 70_000),
            ]),
            disk_free: Some(100 * GIBI),
            memory_available: Some(8 * GIBI),
        }
    }

    fn wanted() -> Wanted {
        Wanted {
            home: "/var/lib/stackyard".into(),
            bind: "127.0.0.1".into(),
            port: 8080,
            runs_already: false,
            from_source: false,
        }
    }

    fn worst(change: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Level)> {
        let mut facts = good();
        change(&mut facts);
        let bad = check(&facts, &wanted())
            .into_iter()
            .filter(|finding| finding.level != Level::Ok);
        bad.map(|finding| (finding.name, finding.level)).collect()
    }

    /// The one finding of this name.
    fn found(name: &str, facts: &Facts, wanted: &Wanted) -> Finding {
        let mut of_name: Vec<Finding> = check(facts, wanted)
            .into_iter()
            .filter(|finding| finding.name == name)
            .collect();
        assert_eq!(of_name.len(), 1, "{name}: {of_name:?}");
        of_name.remove(0)
    }

    #[test]
    fn a_good_machine_has_nothing_to_mend() {
        assert_eq!(worst(|_| {}), []);
    }

    #[test]
    fn each_fault_is_found() {
        assert_eq!(
            worst(|facts| drop(facts.programs.remove("runc"))),
            [("runc", Level::Fault)]
        );
        assert_eq!(
            worst(|facts| drop(facts.programs.remove("npm"))),
            [("npm", Level::Warning)]
        );
        assert_eq!(
            worst(|facts| facts.python_venv = Some(false)),
            [("python3-venv", Level::Warning)]
        );
        assert_eq!(
            worst(|facts| facts.root = false),
            [("privilege", Level::Note), ("firewall", Level::Note)]
        );
        assert_eq!(
            worst(|facts| facts.kernel = (5, 10)),
            [("kernel", Level::Fault)]
        );
        assert_eq!(
            worst(|facts| facts.kernel = (5, 15)),
            [("kernel", Level::Warning)]
        );
        assert_eq!(
            worst(|facts| facts.overlayfs = false),
            [("overlayfs", Level::Warning)]
        );
        assert_eq!(
            worst(|facts| facts.user_namespaces = Some(0)),
            [("user namespaces", Level::Fault)]
        );
        assert_eq!(
            worst(|facts| facts.loop_devices = false),
            [("loop devices", Level::Fault)]
        );
        assert_eq!(
            worst(|facts| facts.cgroup_controllers.retain(|name| name != "pids")),
            [("cgroups", Level::Fault)]
        );
        assert_eq!(
            worst(|facts| facts.port = PortState::Taken),
            [("port", Level::Fault)]
        );
        assert_eq!(
            worst(|facts| facts.ip_forward = Some(false)),
            [("ip_forward", Level::Note)]
        );
        assert_eq!(
            worst(|facts| facts.forward_drops = vec!["ip filter FORWARD".into()]),
            [("firewall", Level::Warning)]
        );
        assert_eq!(
            worst(|facts| facts.inotify.extend([("max_user_instances", 128)])),
            [("inotify", Level::Note)]
        );
        assert_eq!(
            worst(|facts| facts.inotify.clear()),
            [("inotify", Level::Warning)]
        );
        assert_eq!(
            worst(|facts| facts.user_namespaces = None),
            [("user namespaces", Level::Fault)]
        );
        assert_eq!(
            worst(|facts| facts.port = PortState::Refused("no such address".into())),
            [("port", Level::Fault)]
        );
        assert_eq!(
            worst(|facts| facts.ip_forward = None),
            [("ip_forward", Level::Warning)]
        );
        assert_eq!(
            worst(|facts| facts.python_venv = None),
            [("python3-venv", Level::Note)]
        );
        assert_eq!(
            worst(|facts| facts.disk_free = Some(100 * MEBI)),
            [("disk", Level::Fault)]
        );
        assert_eq!(
            worst(|facts| facts.memory_available = Some(500 * MEBI)),
            [("memory", Level::Warning)]
        );
        assert_eq!(
            worst(|facts| facts.stackyard = Err("none".into())),
            [("stackyard", Level::Fault)]
        );
    }

    #[test]
    fn every_program_that_is_missing_is_named_with_its_package() {
        for tool in TOOLS {
            let mut facts = good();
            facts.programs.remove(tool.program);
            let finding = found(tool.program, &facts, &wanted());
            let level = match tool.only_for {
                None => Level::Fault,
                Some(_) => Level::Warning,
            };
            assert_eq!(finding.level, level, "{}", tool.program);
            assert_eq!(finding.package, Some(tool.package));
            assert!(
                finding
                    .fix
                    .is_some_and(|fix| fix.ends_with(&format!("apt-get install {}", tool.package)))
            );
        }
    }

    #[test]
    fn rust_is_needed_for_building_only() {
        let old = Rust::Found {
            version: (1, 63),
            path: "/usr/bin/cargo".into(),
        };
        let broken = Rust::Broken {
            path: "/root/.cargo/bin/cargo".into(),
            why: "no default toolchain".into(),
        };
        for (rust, says) in [
            (Rust::Missing, "not installed"),
            (old, "1.63 is too old"),
            (broken, "no default toolchain"),
        ] {
            let facts = Facts { rust, ..good() };
            let running = found("rust", &facts, &wanted());
            assert_eq!(running.level, Level::Warning);
            assert!(
                running.what.contains(says) && running.what.contains("runs without it"),
                "{}",
                running.what
            );
            let building = Wanted {
                from_source: true,
                ..wanted()
            };
            let finding = found("rust", &facts, &building);
            assert_eq!(finding.level, Level::Fault);
            assert!(
                finding.what.contains(says) && finding.fix.is_some(),
                "{finding:?}"
            );
        }
        let needed = Facts {
            rust: Rust::Found {
                version: super::super::facts::version(RUST),
                path: "/usr/bin/cargo".into(),
            },
            ..good()
        };
        assert_eq!(found("rust", &needed, &wanted()).level, Level::Ok);
    }

    #[test]
    fn the_clusters_own_port_is_no_fault() {
        let facts = Facts {
            port: PortState::Taken,
            ..good()
        };
        let findings = check(
            &facts,
            &Wanted {
                runs_already: true,
                ..wanted()
            },
        );
        assert!(findings.iter().all(|finding| finding.level == Level::Ok));
    }

    #[test]
    fn one_line_installs_all_that_is_missing() {
        let mut facts = good();
        facts.programs.remove("runc");
        facts.programs.remove("etcd");
        assert_eq!(
            packages_line(&check(&facts, &wanted())).as_deref(),
            Some("sudo apt-get install -y etcd-server runc")
        );
        assert_eq!(packages_line(&check(&good(), &wanted())), None);
    }

    #[test]
    fn every_fault_says_what_to_do() {
        let nothing = Facts {
            root: false,
            stackyard: Err("none".into()),
            programs: BTreeMap::new(),
            python_venv: Some(false),
            rust: Rust::Missing,
            kernel: (4, 0),
            overlayfs: false,
            user_namespaces: None,
            loop_devices: false,
            cgroup_controllers: Default::default(),
            cgroup_kind: "none",
            port: PortState::Refused("no such address".into()),
            ip_forward: None,
            forward_drops: vec!["x".into()],
            inotify: BTreeMap::new(),
            disk_free: Some(0),
            memory_available: Some(0),
        };
        for finding in check(&nothing, &wanted()) {
            assert!(
                finding.level != Level::Fault || finding.fix.is_some(),
                "{} has no fix",
                finding.name
            );
        }
    }
}
