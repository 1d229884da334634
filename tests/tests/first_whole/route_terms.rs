//! What a route is told to do with its requests, by the API: the agent passes it on, the router does it.

use anyhow::{bail, ensure};
use std::time::Duration;
use tests::apps::{app, push};
use tests::{Cluster, eventually};

/// How long what was told may take until every router does it.
const SOON: Duration = Duration::from_secs(30);

/// Says which of the guard's headers reached it, and a long text to who asks for it.
const SHOP: &str = r#"
import http.server, os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        seen = [name for name in ("X-Guard", "X-CF-Proxy-Signature", "X-CF-Forwarded-Url") if name in self.headers]
        body = ("shop saw %s\n" % " ".join(seen)).encode() * (1 if self.path != "/long" else 500)
        self.send_response(200); self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// A route service: keeps out who asks for /denied, sends everybody else on.
const GUARD: &str = r#"
import http.client, http.server, os, signal, urllib.parse
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        url = urllib.parse.urlsplit(self.headers.get("X-CF-Forwarded-Url", ""))
        if not url.hostname or url.path == "/denied":
            status, body = 403, b"the guard says no\n"
        else:
            sent = {name: self.headers[name] for name in ("X-CF-Forwarded-Url", "X-CF-Proxy-Signature", "X-CF-Proxy-Metadata")}
            onward = http.client.HTTPConnection(url.hostname, url.port, timeout=20)
            onward.request("GET", url.path or "/", headers={"X-Guard": "seen", "Host": url.netloc, **sent})
            answer = onward.getresponse()
            status, body = answer.status, answer.read()
        self.send_response(status); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"#;

const PROCFILE: (&str, &str) = ("Procfile", "web: exec python3 -u server.py\n");

async fn pushed(cluster: &Cluster, name: &str, server: &str) -> anyhow::Result<()> {
    let folder = app(cluster, name, &[("server.py", server), PROCFILE]);
    let pushed = push(cluster, name, &folder, &["--memory", "64M"]).await?;
    pushed.success().map(drop)
}

async fn says(cluster: &Cluster, what: &str) -> anyhow::Result<()> {
    let body = cluster.body(&cluster.host("shop"), "/").await?;
    ensure!(body == format!("shop saw {what}\n"), "{body}");
    Ok(())
}

async fn answers(cluster: &Cluster, path: &str, status: u16, error: &str) -> anyhow::Result<()> {
    let answer = cluster.get(&cluster.host("shop"), path).await?;
    let told = answer.headers().get("x-cf-routererror");
    let told = told.map_or(String::new(), |told| {
        String::from_utf8_lossy(told.as_bytes()).into_owned()
    });
    if answer.status().as_u16() != status || told != error {
        bail!("{} {told:?}", answer.status());
    }
    Ok(())
}

pub async fn a_route_service_sees_requests_before_the_app_does(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    pushed(cluster, "shop", SHOP).await?;
    pushed(cluster, "guard", GUARD).await?;
    let (shop, guard) = (cluster.host("shop"), cluster.host("guard"));
    says(cluster, "").await?;
    // It is an app of the cluster: routers ask its instances, whatever its name means elsewhere.
    let url = format!("https://{guard}/in");
    cluster
        .ok(["service", "create", "watch", "--route-service", &url])
        .await?;
    cluster
        .ok(["service", "bind-route", "watch", &shop])
        .await?;
    eventually("the guard sees requests", SOON, || says(cluster, "X-Guard")).await?;
    answers(cluster, "/denied", 403, "").await?;
    // An instance that comes later is guarded too.
    cluster
        .ok(["restart", "shop", "--strategy", "rolling"])
        .await?;
    for _ in 0..20 {
        says(cluster, "X-Guard").await?;
    }
    // A guard that is gone lets nobody past.
    cluster.ok(["stop", "guard"]).await?;
    eventually("nobody gets past", SOON, || async {
        let answer = cluster.get(&shop, "/").await?;
        let status = answer.status().as_u16();
        ensure!(status >= 500, "{status}: {}", answer.text().await?);
        Ok(())
    })
    .await?;
    cluster
        .ok(["service", "unbind-route", "watch", &shop])
        .await?;
    eventually("the app alone", SOON, || says(cluster, "")).await?;
    cluster.ok(["service", "delete", "watch", "-f"]).await?;
    cluster.ok(["delete", "guard", "--force"]).await?;
    cluster.ok(["delete", "shop", "--force"]).await.map(drop)
}

pub async fn a_route_keeps_the_limits_its_owner_sets(cluster: &Cluster) -> anyhow::Result<()> {
    pushed(cluster, "shop", SHOP).await?;
    let shop = cluster.host("shop");
    let refused = cluster
        .yard(["update-route", &shop, "--option", "rate_limit=lots"])
        .await?;
    ensure!(
        refused.status != 0 && refused.stderr.contains("100/s"),
        "{}",
        refused.stderr
    );
    cluster
        .ok(["update-route", &shop, "--option", "rate_limit=3/h"])
        .await?;
    eventually("a limit of the rate", SOON, || {
        answers(cluster, "/", 429, "route_rate_limit")
    })
    .await?;
    let packed = [
        "--remove-option",
        "rate_limit",
        "--option",
        "compression=gzip",
    ];
    cluster
        .ok(["update-route", &shop].into_iter().chain(packed))
        .await?;
    eventually("packed answers", SOON, || async {
        let answer = reqwest::Client::new()
            .get(format!("http://127.0.0.1:{}/long", cluster.port))
            .header("Host", &shop)
            .header("Accept-Encoding", "gzip")
            .timeout(SOON)
            .send()
            .await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let length = answer.bytes().await?.len();
        ensure!(
            status == 200
                && headers
                    .get("content-encoding")
                    .is_some_and(|it| it == "gzip")
                && length < 1000,
            "{status} {headers:?} {length}"
        );
        Ok(())
    })
    .await?;
    cluster.ok(["delete", "shop", "--force"]).await.map(drop)
}
