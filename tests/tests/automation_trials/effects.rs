//! What actions do that can be counted from outside: each tells an app its id, once.
//!
//! The app is reached through the router, which no trial of this suite kills, by its address and not by its
//! name: names inside sandboxes are answered by the agent, which some trials do kill.

use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::time::Duration;
use tests::apps::{app, push};
use tests::{Cluster, eventually};

const APP: &str = "counter";

const COUNTER: &str = r#"
import http.server, json, os, signal, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
counts, lock = {}, threading.Lock()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with lock:
            if self.path.startswith("/hit/"):
                name = self.path[5:]
                counts[name] = counts.get(name, 0) + 1
            body = json.dumps(counts if self.path == "/hits" else {}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"#;

pub async fn start(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = app(
        cluster,
        APP,
        &[
            ("server.py", COUNTER),
            ("Procfile", "web: exec python3 -u server.py\n"),
        ],
    );
    push(cluster, APP, &folder, &["--memory", "128M"])
        .await?
        .success()?;
    eventually("the counter answers", Duration::from_secs(30), || async {
        cluster.body(&cluster.host(APP), "/hits").await.map(drop)
    })
    .await
}

/// A shell command that tells the counter of the id in the payload, and takes some time about it.
pub fn command(cluster: &Cluster) -> String {
    format!(
        "gateway=$(awk '/nameserver/ {{print $2; exit}}' /etc/resolv.conf); \
         curl -sSf -m 30 -o /dev/null -H 'Host: {host}:{port}' \
         http://$gateway:{port}/hit/{{{{ trigger.body.id }}}} && sleep 0.2",
        host = cluster.host(APP),
        port = cluster.port,
    )
}

/// How often each id was told.
pub async fn counted(cluster: &Cluster) -> anyhow::Result<BTreeMap<String, u64>> {
    let body = cluster.body(&cluster.host(APP), "/hits").await?;
    let counts: BTreeMap<String, u64> =
        serde_json::from_str(&body).with_context(|| format!("the counter said {body}"))?;
    ensure!(
        counts.values().all(|count| *count > 0),
        "a count is of something"
    );
    Ok(counts)
}
