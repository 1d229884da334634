//! `yard push --plan`: says what a push would change, and changes nothing.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests::Cluster;
use tests::apps::*;

const APP: &str = "planned";

async fn plan(cluster: &Cluster, words: &[&str]) -> anyhow::Result<Value> {
    let words = ["push", "--plan", "--json"].iter().chain(words);
    let document = cluster
        .ok(words.copied().collect::<Vec<_>>())
        .await?
        .json()?;
    let apps = document["apps"].as_array().context("apps")?;
    ensure!(apps.len() == 1, "{document:#}");
    Ok(apps[0].clone())
}

/// All that a push could have left behind.
async fn state(cluster: &Cluster) -> anyhow::Result<Value> {
    let mut state = Vec::new();
    for words in [vec!["apps"], vec!["routes"], vec!["events", "-n", "500"]] {
        let words = words.into_iter().chain(["--json"]);
        state.push(cluster.ok(words.collect::<Vec<_>>()).await?.json()?);
    }
    // How many of it run is not the push's.
    for app in state[0].as_array_mut().context("apps")? {
        app["processes"] = Value::Null;
    }
    Ok(json!(state))
}

pub async fn a_plan_tells_what_a_push_would_change_and_changes_nothing(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let folder = server(cluster, APP);
    let path = folder.display().to_string();
    let before = state(cluster).await?;
    let first = plan(cluster, &[APP, "-p", &path, "-m", "64M"]).await?;
    ensure!(
        first["action"] == "create" && first["guid"].is_null() && first["strategy"] == "start",
        "{first:#}"
    );
    ensure!(first["files"]["total"] == 2, "{first:#}");
    ensure!(first["upload"]["bytes"].as_u64() > Some(0), "{first:#}");
    ensure!(state(cluster).await? == before, "the plan had an effect");

    push(cluster, APP, &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let same = plan(cluster, &[APP, "-p", &path, "-m", "64M"]).await?;
    for none in [
        "changes",
        "files/new",
        "files/changed",
        "files/removed",
        "routes/added",
    ] {
        let found = same.pointer(&format!("/{none}"));
        ensure!(found == Some(&json!([])), "{none}: {same:#}");
    }
    ensure!(
        same["action"] == "update" && same["strategy"] == "rolling",
        "{same:#}"
    );

    let before = state(cluster).await?;
    std::fs::write(folder.join("server.py"), format!("{SERVER}\n# edited\n"))?;
    std::fs::write(folder.join("added.txt"), "x")?;
    let manifest = folder.join("manifest.yml");
    std::fs::write(
        &manifest,
        format!("applications:\n- name: {APP}\n  memory: 128M\n  env: {{TOKEN: hidden-value}}\n"),
    )?;
    let manifest = manifest.display().to_string();
    let changed = plan(cluster, &["-f", &manifest, "--strategy", "restart"]).await?;
    let shown = cluster
        .ok(["push", "--plan", "-f", &manifest])
        .await?
        .stdout;
    std::fs::remove_file(folder.join("manifest.yml"))?;
    std::fs::remove_file(folder.join("added.txt"))?;
    std::fs::write(folder.join("server.py"), SERVER)?;
    ensure!(
        changed["files"]["new"] == json!(["added.txt"]),
        "{changed:#}"
    );
    ensure!(
        changed["files"]["changed"] == json!(["server.py"]),
        "{changed:#}"
    );
    ensure!(changed["strategy"] == "restart", "{changed:#}");
    let memory = json!({"what": "memory of web", "op": "replace", "was": "64M", "becomes": "128M"});
    let variable = json!({"what": "variable TOKEN", "op": "add"});
    let changes = changed["changes"].as_array().context("changes")?;
    ensure!(
        changes.contains(&memory) && changes.contains(&variable),
        "{changed:#}"
    );
    ensure!(
        !format!("{changed}{shown}").contains("hidden-value"),
        "a value is told: {shown}"
    );
    for part in [
        "64M -> 128M",
        "1 new, 1 changed, 0 removed",
        "Nothing was changed",
    ] {
        ensure!(shown.contains(part), "no {part:?} in {shown}");
    }
    ensure!(state(cluster).await? == before, "the plan had an effect");
    cluster.ok(["delete", APP, "--force"]).await.map(drop)
}
