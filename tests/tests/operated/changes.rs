//! What administrators do with the configuration, seen by what it does: a value for one component
//! only, a change taken back, a value that needs a restart; and the report that may be passed on.

use anyhow::{Context, ensure};
use proto::node::ComponentState;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tests::apps::*;
use tests::{Cluster, eventually};

const SOON: Duration = Duration::from_secs(30);

fn lines(cluster: &Cluster, component: &str, mark: &str) -> usize {
    cluster.log(component).matches(mark).count()
}

pub async fn a_value_of_one_component_changes_only_that_one(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    const DEBUG: &str = "level=debug";
    // The health manager tells each reading of the desired state at debug.
    const READ: &str = "the desired state was read";
    cluster
        .ok(["config", "set", "health-manager/desired/refresh", "1s"])
        .await?;
    let before = (
        lines(cluster, "health-manager-1", READ),
        lines(cluster, "router-1", DEBUG),
        lines(cluster, "dea-1", DEBUG),
    );
    cluster
        .ok([
            "config",
            "set",
            "cluster/log/level",
            "debug",
            "--component",
            "health-manager-1",
        ])
        .await?;
    eventually("debug lines of the health manager", SOON, || async {
        let now = lines(cluster, "health-manager-1", READ);
        ensure!(now >= before.0 + 3, "{now}");
        Ok(())
    })
    .await?;
    // The others have had the same hint, and say nothing at debug.
    for (component, before) in [("router-1", before.1), ("dea-1", before.2)] {
        let now = lines(cluster, component, DEBUG);
        ensure!(
            now == before,
            "{component} tells {} lines at debug",
            now - before
        );
    }
    let shown = cluster
        .ok(["config", "get", "cluster/log/level", "--json"])
        .await?
        .json()?;
    ensure!(
        shown["value"] == "info" && shown["overrides"][0]["component"] == "health-manager-1",
        "{shown}"
    );
    cluster
        .ok([
            "config",
            "unset",
            "cluster/log/level",
            "--component",
            "health-manager-1",
        ])
        .await?;
    // Readings go on, without a line.
    let fetches = async || -> anyhow::Result<u64> {
        let varz = cluster.varz("health-manager-1").await?;
        varz["desired_fetches"].as_u64().context("desired_fetches")
    };
    eventually("two readings without a line", SOON, || async {
        let (told, read) = (lines(cluster, "health-manager-1", READ), fetches().await?);
        eventually("two readings", SOON, || async {
            let now = fetches().await?;
            ensure!(now >= read + 2, "{read}, then {now}");
            Ok(())
        })
        .await?;
        let now = lines(cluster, "health-manager-1", READ);
        ensure!(now == told, "{} lines", now - told);
        Ok(())
    })
    .await?;
    cluster
        .ok(["config", "unset", "health-manager/desired/refresh"])
        .await
        .map(drop)
}

pub async fn a_value_of_the_machine_lies_between_the_clusters_and_a_components(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    const KEY: &str = "dea/overcommit/memory";
    const OF_ALL: &[&str] = &[];
    const OF_MACHINE: &[&str] = &["--machine", "machine-1"];
    const OF_AGENT: &[&str] = &["--component", "dea-1"];
    let offered = async || -> anyhow::Result<u64> {
        let status = cluster.ok(["status", "--json"]).await?.json()?;
        let agent = &status["cluster"]["agents"][0];
        agent["total_memory_in_mb"].as_u64().context("its memory")
    };
    let memory = offered().await?;
    // What is told of the agent, and what it does.
    let becomes = async |times: u64, from: &str| {
        let words = ["config", "get", KEY, "--json"];
        let told = cluster.ok(words.iter().chain(OF_AGENT)).await?.json()?;
        ensure!(
            told["in_force"].as_f64() == Some(times as f64) && told["from"] == from,
            "{told}"
        );
        eventually(
            &format!("{times} times the memory is offered"),
            SOON,
            || async {
                let now = offered().await?;
                ensure!(now.abs_diff(memory * times) <= times, "{now} MB");
                Ok(())
            },
        )
        .await
    };
    becomes(1, "default").await?;
    let steps = [
        (OF_ALL, "2", "cluster"),
        (OF_MACHINE, "3", "machine machine-1"),
        (OF_AGENT, "4", "dea-1"),
    ];
    for (whose, value, from) in steps {
        let words = ["config", "set", KEY, value];
        cluster.ok(words.iter().chain(whose)).await?;
        becomes(value.parse()?, from).await?;
    }
    let words = ["config", "set", KEY, "1", "--dry-run", "--json"];
    for (whose, is_concerned) in [(OF_ALL, false), (OF_MACHINE, false), (OF_AGENT, true)] {
        let planned = cluster.ok(words.iter().chain(whose)).await?.json()?;
        let concerned = planned["changes"][0]["concerned"].to_string();
        ensure!(concerned.contains("dea-1") == is_concerned, "{planned}");
    }
    let whole = cluster
        .ok(["config", "list", "dea/overcommit"])
        .await?
        .stdout;
    ensure!(whole.contains("machine machine-1"), "{whole}");
    for (whose, times, from) in [
        (OF_AGENT, 3, "machine machine-1"),
        (OF_MACHINE, 2, "cluster"),
        (OF_ALL, 1, "default"),
    ] {
        let words = ["config", "unset", KEY];
        cluster.ok(words.iter().chain(whose)).await?;
        becomes(times, from).await?;
    }
    let words = ["config", "set", KEY, "2", "--machine", "machine-9"];
    let nowhere = cluster.yard(words).await?;
    ensure!(
        nowhere.status != 0 && nowhere.stderr.contains("no machine machine-9"),
        "{nowhere:?}"
    );
    Ok(())
}

pub async fn a_change_is_taken_back(cluster: &Cluster) -> anyhow::Result<()> {
    const KEY: &str = "dea/overcommit/memory";
    let becomes = async |wanted: u64| {
        eventually(&format!("{wanted} MB on offer"), SOON, || async {
            let status = cluster.ok(["status", "--json"]).await?.json()?;
            let now = status["cluster"]["agents"][0]["total_memory_in_mb"]
                .as_u64()
                .context("an agent's memory")?;
            ensure!(now.abs_diff(wanted) <= 1, "{now} MB");
            Ok(())
        })
        .await
    };
    let status = cluster.ok(["status", "--json"]).await?.json()?;
    let memory = status["cluster"]["agents"][0]["total_memory_in_mb"]
        .as_u64()
        .context("an agent's memory")?;
    let planned = cluster
        .ok(["config", "set", KEY, "2", "--dry-run", "--json"])
        .await?
        .json()?;
    ensure!(
        planned["revision"].is_null() && planned["changes"][0]["concerned"][0] == "dea-1",
        "{planned}"
    );
    cluster.ok(["config", "set", KEY, "2"]).await?;
    becomes(memory * 2).await?;
    cluster.ok(["config", "rollback", KEY]).await?;
    becomes(memory).await?;
    // The same by a file.
    let export = cluster.ok(["config", "export"]).await?.stdout;
    let file = cluster.root().join("config.yaml");
    std::fs::write(&file, &export)?;
    let file = file.display().to_string();
    cluster.ok(["config", "set", KEY, "3"]).await?;
    becomes(memory * 3).await?;
    cluster.ok(["config", "import", &file]).await?;
    becomes(memory).await
}

pub async fn a_value_that_needs_a_restart_restarts_one_daemon_at_a_time(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    const KEY: &str = "cluster/daemon/threads";
    let folder = server(cluster, "steady");
    push(cluster, "steady", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let instance = async || -> anyhow::Result<String> {
        let app = cluster.ok(["app", "steady", "--json"]).await?.json()?;
        let guid = app["processes"][0]["instances"][0]["guid"].as_str();
        Ok(guid.with_context(|| app.to_string())?.to_string())
    };
    let before = instance().await?;
    let daemons = |cluster: &Cluster| -> anyhow::Result<BTreeMap<String, (u32, bool)>> {
        let status = cluster.node_status()?;
        let daemons = status
            .components
            .into_iter()
            .filter(|one| one.admin.is_some());
        Ok(daemons
            .map(|one| {
                let ready = one.state == ComponentState::Ready;
                (one.name, (one.pid.unwrap_or_default(), ready))
            })
            .collect())
    };
    let old = daemons(cluster)?;
    ensure!(old.values().all(|(_, ready)| *ready), "{old:?}");
    cluster.ok(["config", "set", KEY, "2"]).await?;
    let has_two = |pid: u32| {
        std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
            let environment = String::from_utf8_lossy(&environment).into_owned();
            environment
                .split('\0')
                .any(|one| one == "TOKIO_WORKER_THREADS=2")
        })
    };
    let most_down = AtomicUsize::new(0);
    eventually("every daemon has two threads", 6 * SOON, || async {
        let now = daemons(cluster)?;
        let unready: Vec<&String> = now
            .iter()
            .filter(|(_, (_, ready))| !ready)
            .map(|(name, _)| name)
            .collect();
        most_down.fetch_max(unready.len(), Ordering::Relaxed);
        let old_ones = now.values().filter(|(pid, _)| !has_two(*pid)).count();
        ensure!(
            unready.is_empty() && old_ones == 0,
            "{old_ones} of {}",
            now.len()
        );
        Ok(())
    })
    .await?;
    let most_down = most_down.into_inner();
    ensure!(most_down <= 1, "{most_down} daemons were down at once");
    for (name, (pid, _)) in daemons(cluster)? {
        ensure!(old[&name].0 != pid, "{name} was not restarted");
    }
    eventually("the app answers", SOON, || async {
        cluster.body(&cluster.host("steady"), "/").await
    })
    .await?;
    eventually("the same instance", SOON, || async {
        let now = instance().await?;
        ensure!(now == before, "{now}, not {before}");
        Ok(())
    })
    .await?;
    cluster.ok(["config", "unset", KEY]).await?;
    eventually("every daemon is as before", 6 * SOON, || async {
        let now = daemons(cluster)?;
        let changed = now.values().filter(|(pid, _)| has_two(*pid)).count();
        ensure!(
            changed == 0 && now.values().all(|(_, ready)| *ready),
            "{changed} of {}",
            now.len()
        );
        Ok(())
    })
    .await?;
    cluster.ok(["delete", "steady", "--force"]).await.map(drop)
}

/// Every secret that the cluster's files and the login hold, read by their names.
fn secrets(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
    };
    let of_node: BTreeMap<String, String> =
        serde_json::from_str(&read(&cluster.home.join("node/secrets.json"))?)?;
    let mut secrets: Vec<String> = of_node.into_values().collect();
    secrets.push(read(&cluster.home.join("admin-password"))?);
    for key in ["token.key", "blob.key", "automation.key"] {
        secrets.push(read(&cluster.home.join("controller").join(key))?);
    }
    let login: serde_json::Value =
        serde_json::from_str(&read(&cluster.root().join("login/config.json"))?)?;
    for target in login["targets"].as_object().context("targets")?.values() {
        for token in ["access_token", "refresh_token"] {
            secrets.push(target[token].as_str().context("a token")?.to_string());
        }
    }
    let secrets: Vec<String> = secrets.iter().map(|one| one.trim().to_string()).collect();
    ensure!(secrets.iter().all(|one| one.len() >= 8), "a short secret");
    Ok(secrets)
}

pub async fn a_report_holds_no_secret(cluster: &Cluster) -> anyhow::Result<()> {
    const PLANTED: [&str; 2] = ["of-the-package-index", "of-a-query-1234"];
    let environment = format!(
        "{{\"PIP_INDEX_URL\":\"http://ada:{}@index.example/simple\"}}",
        PLANTED[0]
    );
    cluster
        .ok(["config", "set", "staging/environment", &environment])
        .await?;
    let path = format!("/v3/info?access_token={}", PLANTED[1]);
    cluster.get(&cluster.host("api"), &path).await?;
    eventually("the request is logged", SOON, || async {
        let log = std::fs::read_to_string(cluster.home.join("router/access.log"))?;
        ensure!(log.contains(PLANTED[1]), "not yet");
        Ok(())
    })
    .await?;
    let archive = cluster.root().join("report.tar.gz");
    let file = archive.display().to_string();
    let told = cluster
        .ok(["report", "--output", &file, "--json"])
        .await?
        .json()?;
    cluster
        .ok(["config", "unset", "staging/environment"])
        .await?;
    ensure!(told["missing"] == serde_json::json!([]), "{told}");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&archive)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "{mode:o}");

    let folder = cluster.root().join("report");
    std::fs::create_dir_all(&folder)?;
    let status = std::process::Command::new("tar")
        .args(["-xzf", &file, "--strip-components=1", "-C"])
        .arg(&folder)
        .status()?;
    ensure!(status.success(), "tar: {status}");
    let read = |name: &str| {
        std::fs::read_to_string(folder.join(name)).with_context(|| format!("no {name}"))
    };
    let mut forbidden = secrets(cluster)?;
    forbidden.extend(PLANTED.map(String::from));
    let names: Vec<&str> = told["contains"]
        .as_array()
        .context("contains")?
        .iter()
        .filter_map(|name| name.as_str())
        .collect();
    for name in &names {
        let text = read(name)?;
        for secret in &forbidden {
            ensure!(
                !text.contains(secret.as_str()),
                "{name} holds the secret that begins with {}",
                &secret[..3]
            );
        }
    }
    // What it is for is in it.
    for name in [
        "README.txt",
        "versions.json",
        "doctor.json",
        "node.json",
        "status.json",
        "config.json",
        "history.json",
        "files/nats/nats.conf",
        "logs/controller-1.log",
        "logs/dea-1.log",
        "logs/node.log",
        "logs/router-access.log",
        "daemons/router-1/varz.json",
    ] {
        ensure!(
            names.contains(&name) && !read(name)?.is_empty(),
            "{name} is not in it"
        );
    }
    ensure!(read("config.json")?.contains("staging/environment"));
    ensure!(read("logs/router-access.log")?.contains("access_token=[removed]"));
    Ok(())
}
