//! What goes into a report, gathered from the machine, the node, the daemons and the API. Whatever
//! cannot be had is told in the report itself: it is wanted most when something is broken.

use crate::caller::Caller;
use crate::client::Client;
use crate::cluster::{home, socket};
use crate::doctor;
use crate::failure::Outcome;
use crate::targets::Store;
use proto::api::{AdminCommand, ClusterStatus, ConfigHistory, ConfigTree, Page};
use proto::config::{KEYS, Kind};
use proto::node::{ClusterFile, NodeRequest, NodeStatus};
use serde::Serialize;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Of each log, this much of its end.
const LOG_END: u64 = 2 << 20;
const ASK: Duration = Duration::from_secs(5);

/// Files by name, as they are before secrets are taken out.
#[derive(Debug, Default)]
pub struct Gathered {
    pub files: Vec<(String, String)>,
    /// What is missing, and why.
    pub missing: Vec<String>,
}

impl Gathered {
    fn add(&mut self, name: &str, text: impl Into<String>) {
        self.files.push((name.to_string(), text.into()));
    }

    fn document(&mut self, name: &str, document: &impl Serialize) {
        match serde_json::to_string_pretty(document) {
            Ok(text) => self.add(name, text + "\n"),
            Err(error) => self.missing.push(format!("{name}: {error}")),
        }
    }

    fn answer<T: Serialize>(&mut self, name: &str, answer: Outcome<T>) {
        match answer {
            Ok(document) => self.document(name, &document),
            Err(failure) => self.missing.push(format!("{name}: {}", failure.what)),
        }
    }
}

pub async fn gather(home: &Path, cluster: &ClusterFile, caller: &Caller, store: Store) -> Gathered {
    let mut gathered = Gathered::default();
    let node = socket::ask(&home::socket_of(cluster), &NodeRequest::Status, ASK).await;
    let status: Option<NodeStatus> = match node {
        Ok(Some(status)) => Some(status),
        Ok(None) => {
            gathered.missing.push("node.json: no node runs".to_string());
            None
        }
        Err(failure) => {
            gathered
                .missing
                .push(format!("node.json: {}", failure.what));
            None
        }
    };
    machine(&mut gathered);
    let wanted = doctor::Wanted {
        home: home.to_path_buf(),
        bind: cluster.bind.clone(),
        port: cluster.port,
        runs_already: status.is_some() || doctor::daemons_live(home),
        from_source: false,
    };
    gathered.document("doctor.json", &doctor::examine(&wanted, caller));
    if let Some(status) = &status {
        gathered.document("node.json", status);
        daemons(&mut gathered, home, status).await;
    }
    api(&mut gathered, store).await;
    own_files(&mut gathered, home);
    logs(&mut gathered, home);
    gathered
}

/// Versions of what the cluster stands on, and how full the machine is.
fn machine(gathered: &mut Gathered) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let version = |program: Option<PathBuf>, argument: &str| {
        let output = std::process::Command::new(program?)
            .arg(argument)
            .stdin(std::process::Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_string();
        Some(text)
    };
    let name = read("/etc/os-release")
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME=").map(String::from));
    gathered.document(
        "versions.json",
        &json!({
            "yard": env!("CARGO_PKG_VERSION"),
            "stackyard": version(home::find_stackyard().ok(), "--version"),
            "nats-server": version(home::on_path("nats-server"), "--version"),
            "etcd": version(home::on_path("etcd"), "--version"),
            "runc": version(home::on_path("runc"), "--version"),
            "nft": version(home::on_path("nft"), "--version"),
            "kernel": read("/proc/sys/kernel/osrelease").trim(),
            "system": name,
        }),
    );
    let text: String = [
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/cgroups",
        "/proc/mounts",
    ]
    .iter()
    .map(|path| format!("== {path}\n{}\n", read(path)))
    .collect();
    gathered.add("machine.txt", text);
}

/// What each daemon says of itself.
async fn daemons(gathered: &mut Gathered, home: &Path, status: &NodeStatus) {
    let Ok(http) = reqwest::Client::builder().no_proxy().timeout(ASK).build() else {
        return;
    };
    let login = fs::read_to_string(home.join("node/secrets.json"))
        .ok()
        .and_then(|text| serde_json::from_str::<Value>(&text).ok())
        .and_then(|secrets| secrets["status"].as_str().map(String::from));
    for component in &status.components {
        let Some(admin) = &component.admin else {
            continue;
        };
        for (page, end) in [("readyz", "json"), ("metrics", "txt"), ("varz", "json")] {
            let name = format!("daemons/{}/{page}.{end}", component.name);
            let request = http
                .get(format!("{admin}/{page}"))
                .basic_auth("status", login.as_deref());
            let answer = async { request.send().await?.text().await };
            match answer.await {
                Ok(text) => gathered.add(&name, text),
                Err(error) => gathered.missing.push(format!("{name}: {error}")),
            }
        }
    }
}

async fn api(gathered: &mut Gathered, store: Store) {
    let client = match Client::open(store) {
        Ok(client) => client,
        Err(failure) => {
            let why = format!("what the API says: {}", failure.what);
            gathered.missing.push(why);
            return;
        }
    };
    let status: Outcome<ClusterStatus> = client.get("/yard/v1/status", &[]).await;
    gathered.answer("status.json", status);
    let tree: Outcome<ConfigTree> = client.get("/yard/v1/config/export", &[]).await;
    gathered.answer("config.json", tree.map(without_environments));
    let newest = [("per_page", "500")];
    let history: Outcome<ConfigHistory> = client.get("/yard/v1/config/history", &newest).await;
    let history = history.map(|mut history| {
        let steps = history
            .resources
            .iter_mut()
            .flat_map(|entry| &mut entry.changes);
        for step in steps.filter(|step| is_environment(&step.path)) {
            step.was = hidden(&step.was);
            step.is = hidden(&step.is);
        }
        history
    });
    gathered.answer("config-history.json", history);
    let commands: Outcome<Page<AdminCommand>> = client.get("/yard/v1/history", &newest).await;
    gathered.answer("history.json", commands.map(|page| page.resources));
}

fn is_environment(path: &str) -> bool {
    KEYS.iter()
        .any(|key| key.path == path && key.kind == Kind::Environment)
}

fn hidden(value: &Value) -> Value {
    if value.is_null() {
        Value::Null
    } else {
        super::scrub::REMOVED.into()
    }
}

/// Environments hold passwords that no file tells.
fn without_environments(mut tree: ConfigTree) -> ConfigTree {
    let of_components = tree.components.values_mut();
    for values in std::iter::once(&mut tree.cluster).chain(of_components) {
        for (path, value) in values.iter_mut() {
            if is_environment(path) {
                *value = hidden(value);
            }
        }
    }
    tree
}

/// The cluster's own files that say how it is set up.
fn own_files(gathered: &mut Gathered, home: &Path) {
    let mut names: Vec<String> = [
        "cluster.json",
        "node/ports.json",
        "node/network.json",
        "node/processes.json",
        "nats/nats.conf",
        "etcd/etcd.yaml",
    ]
    .map(String::from)
    .to_vec();
    names.extend(
        files_in(&home.join("node/bootstrap"))
            .into_iter()
            .map(|name| format!("node/bootstrap/{name}")),
    );
    for name in names {
        match fs::read_to_string(home.join(&name)) {
            Ok(text) => gathered.add(&format!("files/{name}"), text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => gathered.missing.push(format!("files/{name}: {error}")),
        }
    }
    let listing: String = walkdir::WalkDir::new(home)
        .max_depth(3)
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok)
        .map(|entry| {
            let size = entry.metadata().map_or(0, |metadata| metadata.len());
            let path = entry.path().strip_prefix(home).unwrap_or(entry.path());
            format!("{size:>12}  {}\n", path.display())
        })
        .collect();
    gathered.add("files.txt", listing);
}

fn files_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn logs(gathered: &mut Gathered, home: &Path) {
    let of_parts = files_in(&home.join("logs"))
        .into_iter()
        .map(|name| (format!("logs/{name}"), PathBuf::from("logs").join(name)));
    let access = (
        "logs/router-access.log".to_string(),
        PathBuf::from("router/access.log"),
    );
    for (name, path) in of_parts.chain([access]) {
        match end_of(&home.join(path)) {
            Ok(text) => gathered.add(&name, text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => gathered.missing.push(format!("{name}: {error}")),
        }
    }
}

/// Whole lines only: half a secret at the cut would not be found.
fn end_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LOG_END);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LOG_END).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if from == 0 {
        return Ok(text);
    }
    let (_, whole) = text.split_once('\n').unwrap_or_default();
    Ok(whole.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_are_hidden_whole() {
        let mut tree = ConfigTree::default();
        let environment = json!({"PIP_INDEX_URL": "http://user:password@host"});
        tree.cluster
            .insert("staging/environment".into(), environment);
        tree.cluster
            .insert("cluster/log/level".into(), json!("debug"));
        let hidden = without_environments(tree);
        assert_eq!(hidden.cluster["staging/environment"], json!("[removed]"));
        assert_eq!(hidden.cluster["cluster/log/level"], json!("debug"));
    }

    #[test]
    fn the_end_of_a_long_log_begins_with_a_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let line = "x".repeat(99) + "\n";
        fs::write(&path, line.repeat(30_000)).expect("a log");
        let end = end_of(&path).expect("its end");
        assert!(
            end.len() < LOG_END as usize && end.starts_with(&line),
            "{}",
            end.len()
        );
        fs::write(&path, "short\n").expect("a log");
        assert_eq!(end_of(&path).expect("all of it"), "short\n");
    }
}
