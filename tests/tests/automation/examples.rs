//! The example rules of the pack `yard`, as they are shipped and enabled: what happens to an app ends in
//! something its users see.

use anyhow::{bail, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use tests::apps::{app, push, running, wait_running};
use tests::runner::{Tally, run};
use tests::{Cluster, Load, eventually, tests};

const SOON: Duration = Duration::from_secs(60);
/// A rule's action may wait for its sandbox and for a deployment.
const IN_TIME: Duration = Duration::from_secs(120);

/// Shortens what takes minutes in real life.
const SETTINGS: [(&str, &str); 5] = [
    ("router/traffic/period", "1s"),
    ("controller/traffic/window", "5s"),
    ("controller/traffic/min_requests", "5"),
    ("health-manager/crash/immediate_restarts", "1"),
    ("health-manager/crash/first_delay", "500ms"),
];

/// Keeps what it is sent, and shows it.
const PAGER: &str = r#"
import http.server, os
PAGES = []
class Pager(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        PAGES.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.answer("")
    def do_GET(self):
        self.answer("\n".join(PAGES))
    def answer(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Pager).serve_forever()
"#;

/// Lives long enough to count as up.
const FLAPPING: &str = r#"
import http.server, os, threading
threading.Timer(2, lambda: os._exit(37)).start()
http.server.HTTPServer(("0.0.0.0", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"#;

/// Its version is in its files, so that an older droplet is an older version.
fn versioned(status: u16, text: &str) -> String {
    format!(
        r#"
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response({status})
        self.send_header("Content-Length", "{length}")
        self.end_headers()
        self.wfile.write(b"{text}\n")
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"#,
        length = text.len() + 1
    )
}

fn folder(cluster: &Cluster, name: &str, server: &str) -> PathBuf {
    app(
        cluster,
        name,
        &[
            ("server.py", server),
            ("Procfile", "web: exec python3 -u server.py\n"),
        ],
    )
}

/// With the rule enabled; it is disabled again however the rest ends.
async fn with_rule<F>(cluster: &Cluster, rule: &str, body: F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    cluster.ok(["rule", "enable", rule]).await?;
    let done = body.await;
    let ran = cluster.yard(["execution", "show", "last"]).await?;
    cluster.ok(["rule", "disable", rule]).await?;
    done.map_err(|error| error.context(format!("the last execution: {}", ran.stdout)))
}

/// Payloads of a trigger's newest instances that are about the app.
async fn told(cluster: &Cluster, trigger: &str, app: &str) -> anyhow::Result<Vec<Value>> {
    let words = ["trigger", "instances", "--trigger", trigger, "--json"];
    let instances = cluster.ok(words).await?.json()?;
    let mut payloads = Vec::new();
    for instance in instances.as_array().into_iter().flatten() {
        let id = instance["id"].as_str().unwrap_or_default();
        let words = ["trigger", "instances", id, "--json"];
        let payload = cluster.ok(words).await?.json()?["payload"].take();
        if payload["app"]["name"] == app {
            payloads.push(payload);
        }
    }
    Ok(payloads)
}

async fn who_is_on_duty_is_told_of_an_app_that_flaps(cluster: &Cluster) -> anyhow::Result<()> {
    let pager = folder(cluster, "pager", PAGER);
    push(cluster, "pager", &pager, &["--memory", "64M"])
        .await?
        .success()?;
    let address = format!("http://{}:{}/", cluster.host("pager"), cluster.port);
    cluster.ok(["key", "set", "pager_url", &address]).await?;
    with_rule(cluster, "yard.page_on_flapping", async {
        let flapping = folder(cluster, "fluttering", FLAPPING);
        let pushed = push(cluster, "fluttering", &flapping, &["--memory", "64M"]).await?;
        // It may crash before the push saw it up; that is what it is for.
        ensure!(
            pushed.status == 0 || pushed.status == 5,
            "{}{}",
            pushed.stdout,
            pushed.stderr
        );
        eventually("a page", IN_TIME, || async {
            let pages = cluster.body(&cluster.host("pager"), "/").await?;
            ensure!(
                pages.contains("fluttering in ") && pages.contains("times (instance 0 of web)"),
                "{pages:?}"
            );
            Ok(())
        })
        .await
    })
    .await?;
    cluster.ok(["delete", "fluttering", "--force"]).await?;
    cluster.ok(["delete", "pager", "--force"]).await?;
    cluster.ok(["key", "delete", "pager_url"]).await.map(drop)
}

async fn a_version_that_answers_errors_is_rolled_back(cluster: &Cluster) -> anyhow::Result<()> {
    let good = folder(cluster, "shop-good", &versioned(200, "good"));
    let bad = folder(cluster, "shop-bad", &versioned(500, "bad"));
    push(cluster, "shop", &good, &["--memory", "64M"])
        .await?
        .success()?;
    ensure!(cluster.body(&cluster.host("shop"), "/").await? == "good\n");
    with_rule(cluster, "yard.roll_back_on_errors", async {
        let load = Load::start(cluster, &cluster.host("shop"), "/", 1);
        let rolled_back = async {
            push(cluster, "shop", &bad, &["--memory", "64M"]).await?;
            eventually("errors", SOON, || async {
                ensure!(load.failed() > 0, "{} answers, no error", load.answered());
                Ok(())
            })
            .await?;
            eventually("the version before", IN_TIME, || async {
                let (failed, answered) = (load.failed(), load.answered());
                for _ in 0..20 {
                    let body = cluster.body(&cluster.host("shop"), "/").await?;
                    ensure!(
                        body == "good\n",
                        "{body:?}, {failed} failed, {answered} did not"
                    );
                }
                Ok(())
            })
            .await
        }
        .await;
        load.stop().await;
        rolled_back?;
        let errors = told(cluster, "yard.route.errors", "shop").await?;
        ensure!(errors.len() == 1, "told once: {errors:?}");
        ensure!(
            errors[0]["host"] == cluster.host("shop").as_str()
                && errors[0]["rate"].as_f64().is_some_and(|rate| rate > 0.1)
                && errors[0]["organization"]["name"].is_string(),
            "{errors:?}"
        );
        Ok(())
    })
    .await?;
    cluster.ok(["delete", "shop", "--force"]).await.map(drop)
}

async fn an_app_under_load_gets_more_instances(cluster: &Cluster) -> anyhow::Result<()> {
    let calm = folder(cluster, "busy", &versioned(200, "busy"));
    push(cluster, "busy", &calm, &["--memory", "64M"])
        .await?
        .success()?;
    wait_running(cluster, "busy", 1, SOON).await?;
    cluster.ok(["key", "set", "scaled_apps", "^busy$"]).await?;
    with_rule(cluster, "yard.scale_on_request_rate", async {
        let load = Load::start(cluster, &cluster.host("busy"), "/", 1);
        let grown = eventually("more instances", IN_TIME, || async {
            match running(cluster, "busy").await? {
                0 | 1 => bail!("{} requests were answered", load.answered()),
                more => Ok(more),
            }
        })
        .await;
        load.stop().await;
        grown?;
        let rates = told(cluster, "yard.route.rate", "busy").await?;
        ensure!(
            rates
                .iter()
                .any(|rate| rate["requests_per_second"].as_f64() >= Some(1.0)),
            "{rates:?}"
        );
        // And it is told when the load is over.
        eventually("a rate of 0", SOON, || async {
            let rates = told(cluster, "yard.route.rate", "busy").await?;
            ensure!(
                rates.iter().any(|rate| rate["requests_per_second"] == 0.0),
                "{rates:?}"
            );
            Ok(())
        })
        .await
    })
    .await?;
    cluster.ok(["key", "delete", "scaled_apps"]).await?;
    cluster.ok(["delete", "busy", "--force"]).await.map(drop)
}

async fn windows_are_shortened(cluster: &Cluster) -> anyhow::Result<()> {
    for (key, value) in SETTINGS {
        cluster.ok(["config", "set", key, value]).await?;
    }
    Ok(())
}

async fn windows_are_as_before(cluster: &Cluster) -> anyhow::Result<()> {
    for (key, _) in SETTINGS {
        cluster.ok(["config", "unset", key]).await?;
    }
    Ok(())
}

pub async fn all(cluster: &Cluster, tally: &mut Tally) {
    if let Err(error) = windows_are_shortened(cluster).await {
        tally.failed += 1;
        println!("test windows_are_shortened ... FAILED\n    {error:#}");
        return;
    }
    run(
        cluster,
        tests![
            who_is_on_duty_is_told_of_an_app_that_flaps,
            a_version_that_answers_errors_is_rolled_back,
            an_app_under_load_gets_more_instances
        ],
        tally,
    )
    .await;
    if let Err(error) = windows_are_as_before(cluster).await {
        tally.failed += 1;
        println!("test windows_are_as_before ... FAILED\n    {error:#}");
    }
}
