//! A service that a user provides, from its credentials to the app that uses them; and a rule that hears of it.

use anyhow::{Context, ensure};
use serde_json::json;
use std::time::Duration;
use tests::apps::*;
use tests::runner::{Tally, run};
use tests::{Cluster, eventually, tests};

const APP: &str = "customer";
const SERVICE: &str = "customer-db";
const URI: &str = "postgresql://customer@10.255.0.9/db";
/// Nowhere but where the app reads it.
const SECRET: &str = "sesame-of-the-customers";

/// Says what its environment and the files of its services are.
const SHOWING: &str = r#"
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kind, _, name = self.path[1:].partition("/")
        text = os.environ.get(name, "-")
        if kind == "file":
            path = os.path.join(os.environ["SERVICE_BINDING_ROOT"], name)
            seen = os.stat(path)
            text = "%o %d %s" % (seen.st_mode & 0o777, seen.st_uid, open(path).read())
        body = text.encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"#;

async fn rule(cluster: &Cluster) -> anyhow::Result<()> {
    let rule = json!({
        "name": "note_bound", "pack": "default", "enabled": true,
        "trigger": { "type": "yard.service.bound", "parameters": {} },
        "criteria": { "trigger.service.name": { "type": "equals", "pattern": SERVICE } },
        "action": { "ref": "core.local", "parameters": { "cmd": "echo {{ trigger.app.name }} has {{ trigger.service.name }}" } },
    });
    let file = cluster.root().join("note_bound.json");
    std::fs::write(&file, rule.to_string())?;
    let file = file.display().to_string();
    cluster.ok(["rule", "create", &file]).await.map(drop)
}

/// What the newest run of the rule's action says of itself.
async fn newest_run(cluster: &Cluster) -> anyhow::Result<String> {
    let runs = ["execution", "list", "--action", "core.local", "--json"];
    let runs = cluster.ok(runs).await?.json()?;
    let id = runs[0]["id"].as_str().context("none ran")?;
    let shown = cluster.ok(["execution", "show", id, "--json"]).await?;
    Ok(shown.stdout)
}

async fn shown(cluster: &Cluster, path: &str) -> anyhow::Result<String> {
    cluster.body(&cluster.host(APP), path).await
}

async fn variable(cluster: &Cluster, name: &str) -> anyhow::Result<String> {
    shown(cluster, &format!("/env/{name}")).await
}

/// Programs on this machine that show it in their arguments.
fn told_on_command_lines() -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(SECRET) {
            found.push(line);
        }
    }
    Ok(found)
}

async fn an_app_gets_what_it_is_bound_to_and_a_rule_hears_of_it(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let files = [
        ("server.py", SHOWING),
        ("Procfile", "web: exec python3 -u server.py\n"),
    ];
    let folder = app(cluster, APP, &files);
    push(cluster, APP, &folder, &["--memory", "64M"])
        .await?
        .success()?;
    rule(cluster).await?;
    let file = cluster.root().join("customer-db.json");
    let credentials = json!({"uri": URI, "password": SECRET});
    std::fs::write(&file, credentials.to_string())?;
    let at = format!("@{}", file.display());
    cluster
        .ok(["service", "create", SERVICE, "--credentials", &at])
        .await?;
    cluster.ok(["service", "bind", SERVICE, APP]).await?;
    let expected = format!("{APP} has {SERVICE}");
    eventually("the rule ran", Duration::from_secs(60), || async {
        let newest = newest_run(cluster).await?;
        ensure!(newest.contains(&expected), "{newest}");
        ensure!(!newest.contains(SECRET), "rules are told the credentials");
        Ok(())
    })
    .await?;
    let before = variable(cluster, "DATABASE_URL").await?;
    ensure!(before == "-", "in force before a restart: {before}");

    cluster.ok(["restart", APP]).await?;
    let within = Duration::from_secs(60);
    eventually("the new instance answers", within, || async {
        let url = variable(cluster, "DATABASE_URL").await?;
        ensure!(url == "postgres://customer@10.255.0.9/db", "{url}");
        Ok(())
    })
    .await?;
    let services = variable(cluster, "VCAP_SERVICES").await?;
    let services: serde_json::Value = serde_json::from_str(&services)?;
    let bound = &services["user-provided"][0];
    ensure!(
        bound["credentials"] == credentials && bound["name"] == SERVICE,
        "{bound}"
    );
    let told = told_on_command_lines()?;
    ensure!(told.is_empty(), "{told:?}");

    let by_name = variable(cluster, "STACKATO_SERVICES").await?;
    let by_name: serde_json::Value = serde_json::from_str(&by_name)?;
    ensure!(by_name[SERVICE] == credentials, "not by its name");
    let look = format!(
        "cd $SERVICE_BINDING_ROOT/{SERVICE} && echo $(cat type) $(cat uri) $(stat -c '%a %u' password)"
    );
    let ran = cluster.ok(["run", APP, "--", &look]).await?;
    ensure!(
        ran.stdout == format!("postgresql {URI} 400 2000\n"),
        "{:?}",
        ran.stdout
    );
    let file = shown(cluster, &format!("/file/{SERVICE}/password")).await?;
    ensure!(file == format!("400 2000 {SECRET}"), "{file}");

    let listed = cluster.ok(["service", "list", "--json"]).await?.json()?;
    let apps = listed[0]["apps"].as_array().context("apps")?;
    ensure!(apps.len() == 1 && apps[0]["app"] == APP, "{listed}");
    for component in ["controller-1", "dea-1", "stager-1", "router-1"] {
        ensure!(
            !cluster.log(component).contains(SECRET),
            "the log of {component} tells it"
        );
    }
    cluster.ok(["delete", APP, "--force"]).await?;
    cluster.ok(["service", "delete", SERVICE, "-f"]).await?;
    let deleted = cluster.ok(["rule", "delete", "default.note_bound"]).await;
    deleted.map(drop)
}

pub async fn all(cluster: &Cluster, tally: &mut Tally) {
    let tests = tests![an_app_gets_what_it_is_bound_to_and_a_rule_hears_of_it];
    run(cluster, tests, tally).await;
}
