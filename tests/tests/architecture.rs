//! The shape of the workspace, held by a machine: which crate may depend on which, what pure code
//! may not touch, and where subjects and SQL may be written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The edges of the design: everything else is refused.
fn allowed() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let daemon = ["proto", "daemon"];
    BTreeMap::from([
        ("proto", BTreeSet::new()),
        ("sys", BTreeSet::new()),
        ("daemon", BTreeSet::from(["proto"])),
        ("automation", BTreeSet::new()),
        (
            "controller",
            BTreeSet::from(["proto", "daemon", "automation"]),
        ),
        ("router", BTreeSet::from(daemon)),
        ("health-manager", BTreeSet::from(daemon)),
        ("stager", BTreeSet::from(daemon)),
        ("collector", BTreeSet::from(daemon)),
        ("ssh-proxy", BTreeSet::from(daemon)),
        (
            "dea",
            BTreeSet::from(["proto", "daemon", "sys", "dea-shim"]),
        ),
        ("dea-shim", BTreeSet::from(["sys"])),
        (
            "node",
            BTreeSet::from([
                "proto",
                "daemon",
                "sys",
                "controller",
                "router",
                "dea",
                "health-manager",
                "stager",
                "collector",
                "ssh-proxy",
            ]),
        ),
        ("cli", BTreeSet::from(["proto", "automation"])),
        // The simulator runs the pure parts of some; the suite of certificates runs controllers and routers.
        (
            "tests",
            BTreeSet::from([
                "proto",
                "daemon",
                "automation",
                "controller",
                "dea",
                "health-manager",
                "router",
            ]),
        ),
    ])
}

#[test]
fn crates_depend_on_each_other_as_designed() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let members: BTreeSet<String> = metadata
        .packages
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let allowed = allowed();
    for package in &metadata.packages {
        let name = package.name.to_string();
        let may = allowed
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} is not in the map of the design"));
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| members.contains(&dependency.name))
        {
            assert!(
                may.contains(dependency.name.as_str()),
                "{name} may not depend on {}",
                dependency.name
            );
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != ".git" && name != "generated" && name != "node_modules" {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    sources(&root(), &mut found);
    assert!(found.len() > 50, "the sources were not found");
    found
}

/// The code of a file before its unit tests, without comment lines.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("a source file");
    text.split("#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn pure_code_does_no_io_and_reads_no_clock() {
    let forbidden = [
        "tokio::",
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "std::process::Command",
        "std::env::",
        "SystemTime::now",
        "Instant::now",
        "async_nats",
        "etcd_client",
        "rusqlite::",
        "sqlx::",
        "reqwest",
        "rand::rng",
        "thread_rng",
        "Uuid::new_v4",
        "OffsetDateTime::now",
        ".await",
    ];
    let mut checked = 0;
    for path in all_sources() {
        let pure = path.components().any(|part| part.as_os_str() == "domain")
            || path.starts_with(root().join("proto/src"))
            || path.starts_with(root().join("controller/automation/src"));
        if !pure {
            continue;
        }
        checked += 1;
        let code = code(&path);
        for word in forbidden {
            assert!(
                !code.contains(word),
                "{}: pure code uses {word}",
                path.display()
            );
        }
    }
    assert!(checked > 10, "only {checked} pure files were found");
}

/// An override is refused for components that do not read the key: who does is told with the key.
#[test]
fn keys_are_read_by_whom_the_schema_names() {
    let daemons = [
        "controller",
        "router",
        "dea",
        "health-manager",
        "stager",
        "collector",
        "ssh-proxy",
        "node",
    ];
    let mut readers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for daemon in daemons {
        let mut files = Vec::new();
        sources(&root().join(daemon).join("src"), &mut files);
        let is_test = |file: &PathBuf| file.ends_with("tests.rs");
        for file in files.iter().filter(|file| !is_test(file)) {
            let code = code(file);
            for key in proto::config::KEYS {
                if code.contains(&format!("\"{}\"", key.path)) {
                    readers.entry(key.path).or_default().insert(daemon);
                }
            }
        }
    }
    for key in proto::config::KEYS {
        let told: BTreeSet<&str> = key.readers().into_iter().collect();
        let found = readers.remove(key.path).unwrap_or_default();
        // What all daemons read stands in their common ground, or is told them by the node.
        if key.path.starts_with("cluster/") {
            continue;
        }
        let in_common = key.path == "dea/register/period";
        assert!(
            found.is_subset(&told) && (in_common || found == told),
            "{}: read by {found:?}, told {told:?}",
            key.path
        );
    }
}

#[test]
fn only_the_catalogue_writes_subjects() {
    let starts = [
        "\"dea.",
        "\"router.",
        "\"healthmanager.",
        "\"droplet.",
        "\"vcap.",
        "\"cloudcontroller",
        "\"yard.log",
        "\"yard.dea",
        "\"yard.task",
        "\"yard.staging",
        "\"yard.router",
    ];
    for path in all_sources() {
        let allowed =
            path.starts_with(root().join("proto")) || path.starts_with(root().join("tests"));
        // The tests of a crate may spell subjects: they play a stranger on the bus.
        if allowed || path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let code = code(&path);
        for start in starts {
            assert!(
                !code.contains(start),
                "{}: writes a subject ({start}…); only the catalogue may",
                path.display()
            );
        }
    }
}

#[test]
fn only_the_store_writes_sql() {
    for path in all_sources() {
        let in_store = path.starts_with(root().join("controller/src/store"));
        if in_store || !path.starts_with(root().join("controller/src")) {
            continue;
        }
        let code = code(&path);
        for word in ["sql::query", "sqlx::", "rusqlite::"] {
            assert!(
                !code.contains(word),
                "{}: SQL belongs into controller/src/store",
                path.display()
            );
        }
    }
}

#[test]
fn a_file_has_one_subject() {
    for path in all_sources() {
        let lines = std::fs::read_to_string(&path)
            .expect("a source file")
            .lines()
            .count();
        assert!(
            lines <= 900,
            "{} has {lines} lines: look for its second subject",
            path.display()
        );
    }
}

#[test]
fn unsafe_code_lives_in_sys() {
    for path in all_sources() {
        if path.starts_with(root().join("sys")) || path.starts_with(root().join("tests/tests")) {
            continue;
        }
        let code = code(&path);
        assert!(
            !code.contains("unsafe {") && !code.contains("unsafe fn"),
            "{}: unsafe code belongs into sys",
            path.display()
        );
    }
}
