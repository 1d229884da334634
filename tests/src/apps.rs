//! What suites share: pushing, and an app whose behaviour its requests decide.

use crate::{Cluster, Output, eventually};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub fn sample(name: &str) -> String {
    crate::cluster::source_root()
        .join("samples")
        .join(name)
        .display()
        .to_string()
}

/// Writes an app of a few files into a folder of this run.
pub fn app(cluster: &Cluster, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = cluster.root().join("apps").join(name);
    for (file, text) in files {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().expect("a file has a folder"))
            .expect("the run's folder is writable");
        std::fs::write(path, text).expect("the run's folder is writable");
    }
    folder
}

pub async fn push(
    cluster: &Cluster,
    name: &str,
    folder: &Path,
    more: &[&str],
) -> anyhow::Result<Output> {
    let folder = folder.display().to_string();
    let mut arguments = vec!["push", name, "--path", &folder];
    arguments.extend(more);
    cluster.yard(arguments).await
}

/// A small server whose behaviour its requests decide.
pub const SERVER: &str = r#"
import http.server, os, signal, sys, threading, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/crash": os._exit(7)
        if self.path == "/slow": time.sleep(3)
        if self.path == "/eat":
            hold = []
            while True: hold.append(bytearray(16 << 20))
        body = ("%s %s\n" % (os.environ.get("RELEASE", "one"), os.environ["CF_INSTANCE_INDEX"])).encode()
        if self.path.startswith("/env/"): body = (os.environ.get(self.path[5:], "-") + "\n").encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *arguments): print("request", self.path, flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"#;

pub fn server(cluster: &Cluster, name: &str) -> PathBuf {
    app(
        cluster,
        name,
        &[
            ("server.py", SERVER),
            ("Procfile", "web: exec python3 -u server.py\n"),
        ],
    )
}

/// Deletes every app: those of the tests before leave no room on a small disk for a staging.
pub async fn delete_apps(cluster: &Cluster) -> anyhow::Result<()> {
    let apps = cluster.ok(["apps", "--json"]).await?.json()?;
    let apps = apps.as_array().context("a list")?;
    for app in apps {
        let name = app["name"].as_str().context("each has a name")?;
        cluster.ok(["delete", name, "--force", "--routes"]).await?;
    }
    Ok(())
}

pub async fn running(cluster: &Cluster, name: &str) -> anyhow::Result<usize> {
    let shown = cluster.ok(["app", name, "--json"]).await?.json()?;
    let text = shown.to_string();
    Ok(text.matches("\"RUNNING\"").count())
}

pub async fn wait_running(
    cluster: &Cluster,
    name: &str,
    count: usize,
    within: Duration,
) -> anyhow::Result<()> {
    eventually(
        &format!("{count} running instances of {name}"),
        within,
        || async {
            let have = running(cluster, name).await?;
            if have == count {
                Ok(())
            } else {
                bail!("{have} run")
            }
        },
    )
    .await
}
