//! The platform as a source of triggers: an app crashes, a rule sees it, an action does something
//! that can be seen.

use anyhow::{Context, bail, ensure};
use serde_json::json;
use std::time::Duration;
use tests::runner::{Tally, run};
use tests::{Cluster, eventually, tests};

/// Lives long enough to count as up, and ends with a status nobody else has.
const FLAPPING: &str = r#"
import http.server, os, threading
threading.Timer(2, lambda: os._exit(37)).start()
http.server.HTTPServer(("0.0.0.0", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"#;

async fn an_app_that_flaps_sets_a_key_by_a_rule(cluster: &Cluster) -> anyhow::Result<()> {
    let rule = json!({
        "name": "note_crashes", "pack": "default", "enabled": true,
        "description": "Notes which app crashed, and how.",
        "trigger": { "type": "yard.app.crashed", "parameters": {} },
        "criteria": { "trigger.app.name": { "type": "equals", "pattern": "flapping" } },
        "action": { "ref": "core.local", "parameters": {
            "cmd": "curl -fsS -X PUT -H \"X-Auth-Token: $ST2_ACTION_AUTH_TOKEN\" -H 'Content-Type: application/json' \
                -d '{\"name\": \"crashed\", \"value\": \"{{ trigger.app.name }} {{ trigger.exit_status }}\"}' $ST2_ACTION_API_URL/keys/crashed",
        } },
    });
    let file = cluster.root().join("note_crashes.json");
    std::fs::write(&file, rule.to_string())?;
    cluster
        .ok(["rule", "create", &file.display().to_string()])
        .await?;
    let folder = cluster.root().join("apps/flapping");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("server.py"), FLAPPING)?;
    std::fs::write(folder.join("Procfile"), "web: exec python3 -u server.py\n")?;
    // It may crash before the push saw it up; that is what it is for.
    let pushed = cluster
        .yard([
            "push",
            "flapping",
            "--path",
            &folder.display().to_string(),
            "--memory",
            "64M",
        ])
        .await?;
    ensure!(
        pushed.status == 0 || pushed.status == 5,
        "{}{}",
        pushed.stdout,
        pushed.stderr
    );
    let noted = eventually("the crash is noted", Duration::from_secs(60), || async {
        let key = cluster.yard(["key", "get", "crashed"]).await?;
        if key.stdout.trim() != "flapping 37" {
            let ran = cluster.yard(["execution", "show", "last"]).await?;
            bail!("{}{}; last ran: {}", key.stdout, key.stderr, ran.stdout);
        }
        Ok(())
    })
    .await;
    let deleted = cluster.ok(["delete", "flapping", "--force"]).await;
    noted?;
    deleted?;
    cluster
        .ok(["rule", "delete", "default.note_crashes"])
        .await
        .map(drop)
}

async fn a_flapping_app_is_told_as_such(cluster: &Cluster) -> anyhow::Result<()> {
    let flapped = eventually("yard.app.flapping", Duration::from_secs(30), || async {
        let happened = cluster
            .ok([
                "trigger",
                "instances",
                "--trigger",
                "yard.app.crashed",
                "--json",
            ])
            .await?
            .json()?;
        let id = happened[0]["id"]
            .as_str()
            .context("an instance of yard.app.crashed")?;
        cluster
            .ok(["trigger", "instances", id, "--json"])
            .await?
            .json()
    })
    .await?;
    ensure!(
        flapped["payload"]["app"]["name"] == "flapping" && flapped["payload"]["exit_status"] == 37,
        "{flapped:#}"
    );
    Ok(())
}

pub async fn all(cluster: &Cluster, tally: &mut Tally) {
    run(
        cluster,
        tests![
            an_app_that_flaps_sets_a_key_by_a_rule,
            a_flapping_app_is_told_as_such
        ],
        tally,
    )
    .await;
}
