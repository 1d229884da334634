//! The first whole: real apps on a real cluster of one machine, pushed, answered, crashed, scaled,
//! configured and brought back, with real containers.

#![expect(
    clippy::print_stdout,
    reason = "a program of the harness speaks to its user"
)]

mod calls;
mod mishaps;
mod ports;
mod pushes;
mod refusals;
mod route_terms;
mod sleep;

use anyhow::{Context, bail, ensure};
use calls::*;
use mishaps::*;
use ports::*;
use pushes::*;
use refusals::*;
use route_terms::*;
use sleep::*;
use std::path::Path;
use std::time::Duration;
use tests::apps::*;
use tests::runner::{run_and_clean, suite, with_cluster};
use tests::{Cluster, eventually, tests};

async fn a_static_app_answers_within_its_push(cluster: &Cluster) -> anyhow::Result<()> {
    let push = cluster
        .ok([
            "push",
            "hello",
            "--path",
            &sample("static"),
            "--no-manifest",
        ])
        .await?;
    ensure!(
        push.stdout.contains("curl"),
        "the push ends with a curl line: {}",
        push.stdout
    );
    ensure!(
        push.stdout.contains(&cluster.host("hello")),
        "the push ends with the URL: {}",
        push.stdout
    );
    let body = cluster.body(&cluster.host("hello"), "/").await?;
    ensure!(
        body.contains("<html") || body.contains("<!DOCTYPE") || body.contains("<!doctype"),
        "{body}"
    );
    Ok(())
}

async fn a_python_app_with_a_dependency_answers(cluster: &Cluster) -> anyhow::Result<()> {
    cluster
        .ok([
            "push",
            "snake",
            "--path",
            &sample("python"),
            "--no-manifest",
        ])
        .await?;
    cluster.body(&cluster.host("snake"), "/").await.map(drop)
}

async fn a_node_app_with_a_dependency_answers(cluster: &Cluster) -> anyhow::Result<()> {
    cluster
        .ok(["push", "noodle", "--path", &sample("node"), "--no-manifest"])
        .await?;
    cluster.body(&cluster.host("noodle"), "/").await.map(drop)
}

async fn a_binary_app_answers(cluster: &Cluster) -> anyhow::Result<()> {
    cluster
        .ok(["push", "bin", "--path", &sample("binary"), "--no-manifest"])
        .await?;
    cluster.body(&cluster.host("bin"), "/").await.map(drop)
}

async fn a_worker_without_route_runs_and_logs(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = sample("worker");
    cluster
        .yard_in(Path::new(&folder), ["push"])
        .await?
        .success()?;
    let name = std::fs::read_to_string(Path::new(&folder).join("manifest.yml"))?
        .lines()
        .find_map(|line| {
            line.trim()
                .trim_start_matches("- ")
                .strip_prefix("name:")
                .map(|name| name.trim().to_string())
        })
        .context("the worker's manifest names it")?;
    eventually("a line of the worker", Duration::from_secs(10), || async {
        let logs = cluster.ok(["logs", &name, "--recent"]).await?;
        if logs.stdout.contains("APP/PROC/") {
            Ok(())
        } else {
            bail!("{}", logs.stdout)
        }
    })
    .await?;
    cluster.ok(["delete", &name, "--force"]).await.map(drop)
}

async fn an_app_scales_to_five_and_back(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "five");
    push(cluster, "five", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    cluster.ok(["scale", "five", "--instances", "5"]).await?;
    wait_running(cluster, "five", 5, Duration::from_secs(20)).await?;
    let host = cluster.host("five");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        seen.insert(cluster.body(&host, "/").await?.trim().to_string());
    }
    ensure!(seen.len() == 5, "all five instances get requests: {seen:?}");
    cluster.ok(["scale", "five", "--instances", "2"]).await?;
    wait_running(cluster, "five", 2, Duration::from_secs(20)).await
}

async fn a_wrong_setting_is_refused(cluster: &Cluster) -> anyhow::Result<()> {
    let refused = cluster
        .yard(["config", "set", "router/limits/max_attempts", "many"])
        .await?;
    ensure!(
        refused.status != 0 && refused.stderr.contains("whole number from 1 to 20"),
        "{}",
        refused.stderr
    );
    let unknown = cluster
        .yard(["config", "set", "router/nothing", "1"])
        .await?;
    ensure!(unknown.status != 0, "an unknown key is refused");
    let listed = cluster.ok(["config", "list", "--json"]).await?.json()?;
    ensure!(listed.to_string().contains("router/access_log/enabled"));
    Ok(())
}

async fn logs_are_live_and_recent(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "chatty");
    push(cluster, "chatty", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let output = cluster.root().join("live.txt");
    let mut command = cluster.command(&cluster.root());
    command
        .args(["logs", "chatty"])
        .stdout(std::fs::File::create(&output)?)
        .stderr(std::process::Stdio::null());
    let mut live = command.spawn()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.get(&cluster.host("chatty"), "/hello-live").await?;
    let seen = eventually(
        "the line in the live stream",
        Duration::from_secs(3),
        || async {
            ensure!(std::fs::read_to_string(&output)?.contains("/hello-live"));
            Ok(())
        },
    )
    .await;
    live.kill()?;
    live.wait()?;
    seen?;
    let recent = cluster.ok(["logs", "chatty", "--recent"]).await?;
    ensure!(
        recent.stdout.contains("/hello-live") && recent.stdout.contains("STG"),
        "{}",
        recent.stdout
    );
    Ok(())
}

async fn environment_and_routes_change(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "changing");
    push(cluster, "changing", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    cluster
        .ok(["set-env", "changing", "GREETING", "hello there"])
        .await?;
    cluster.ok(["restart", "changing"]).await?;
    let body = cluster
        .body(&cluster.host("changing"), "/env/GREETING")
        .await?;
    ensure!(body.trim() == "hello there", "{body}");
    cluster
        .ok([
            "map-route",
            "changing",
            &cluster.domain,
            "--hostname",
            "other",
        ])
        .await?;
    eventually("the new name", Duration::from_secs(3), || async {
        cluster.body(&cluster.host("other"), "/").await
    })
    .await?;
    cluster
        .ok([
            "unmap-route",
            "changing",
            &cluster.domain,
            "--hostname",
            "other",
        ])
        .await?;
    eventually("the name is gone", Duration::from_secs(3), || async {
        let status = cluster.get(&cluster.host("other"), "/").await?.status();
        ensure!(status == 404, "{status}");
        Ok(())
    })
    .await?;
    cluster.ok(["stop", "changing"]).await?;
    eventually(
        "a stopped app does not answer",
        Duration::from_secs(15),
        || async {
            let status = cluster.get(&cluster.host("changing"), "/").await?.status();
            ensure!(status == 404 || status == 503, "{status}");
            Ok(())
        },
    )
    .await?;
    cluster.ok(["start", "changing"]).await?;
    cluster.body(&cluster.host("changing"), "/").await?;
    let taken = cluster
        .yard(["map-route", "changing", "nowhere.example"])
        .await?;
    ensure!(
        taken.status != 0 && taken.stderr.contains("nowhere.example"),
        "{}",
        taken.stderr
    );
    Ok(())
}

async fn a_sandbox_cannot_reach_the_cluster(cluster: &Cluster) -> anyhow::Result<()> {
    let ports = std::fs::read_to_string(cluster.home.join("node/ports.json"))?;
    let script = format!(
        r#"
import http.server, json, os, signal, socket, threading, urllib.request
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ports = [value for value in json.loads('''{ports}''').values() if isinstance(value, int)]
def reachable(host, port):
    try:
        socket.create_connection((host, port), 0.5).close(); return True
    except OSError: return False
gateway = os.popen("awk '/nameserver/ {{print $2}}' /etc/resolv.conf").read().split()[0]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = [(host, port) for port in ports for host in ("127.0.0.1", gateway) if reachable(host, port)]
        router = reachable("{domain}", {port})
        body = json.dumps({{"found": found, "router": router, "asked": len(ports)}}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
http.server.HTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"#,
        domain = cluster.domain,
        port = cluster.port,
    );
    let folder = app(
        cluster,
        "spy",
        &[
            ("server.py", script.as_str()),
            ("Procfile", "web: exec python3 -u server.py\n"),
        ],
    );
    push(cluster, "spy", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let body = cluster.body(&cluster.host("spy"), "/").await?;
    let seen: serde_json::Value = serde_json::from_str(&body)?;
    ensure!(
        seen["asked"].as_u64().is_some_and(|asked| asked >= 3),
        "the ports of the cluster are known: {body}"
    );
    ensure!(
        seen["found"].as_array().is_some_and(Vec::is_empty),
        "reachable from inside: {body}"
    );
    ensure!(
        seen["router"] == true,
        "the router is reachable by name from inside: {body}"
    );
    cluster.ok(["delete", "spy", "--force"]).await.map(drop)
}

fn main() {
    suite("the first whole", async |tally| {
        with_cluster(tally, async |cluster, tally| {
            let tests = tests![
                a_static_app_answers_within_its_push,
                a_binary_app_answers,
                a_python_app_with_a_dependency_answers,
                a_node_app_with_a_dependency_answers,
                a_worker_without_route_runs_and_logs,
                an_app_scales_to_five_and_back,
                new_versions_are_pushed_under_load_and_nothing_fails,
                a_crashed_instance_is_back_within_a_second,
                a_killed_agent_finds_its_instances_again,
                each_daemon_may_be_killed_under_load,
                a_killed_node_harms_nobody_and_adopts_its_daemons,
                the_bus_may_be_away_for_thirty_seconds,
                a_wrong_setting_is_refused,
                logs_are_live_and_recent,
                environment_and_routes_change,
                an_app_is_called_in_http2_where_its_route_says_so,
                an_app_has_ports_for_protocols_of_its_own,
                a_route_service_sees_requests_before_the_app_does,
                a_route_keeps_the_limits_its_owner_sets,
                an_app_nobody_asks_for_sleeps_until_it_is_asked_for,
                a_failing_build_names_its_step_and_leaves_the_old_version,
                apps_that_do_not_start_say_why,
                a_push_that_fails_leaves_the_old_version_whole,
                a_greedy_app_is_stopped_with_the_reason,
                an_app_that_ignores_term_is_killed,
                bad_input_is_refused_clearly,
                a_sandbox_cannot_reach_the_cluster,
                two_clusters_run_side_by_side,
                down_leaves_nothing_and_up_brings_the_same_apps_back,
            ];
            run_and_clean(&cluster, tests, tally, delete_apps).await;
            cluster
        })
        .await;
    });
}
