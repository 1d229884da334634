//! The first whole: real apps on a real cluster of one machine, pushed, answered, crashed, scaled,
//! configured and brought back, with real containers.

#![expect(
    clippy::print_stdout,
    reason = "a program of the harness speaks to its user"
)]

use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::runner::{Tally, run};
use tests::{Cluster, Load, Options, eventually, tests};

fn sample(name: &str) -> String {
    tests::cluster::source_root()
        .join("samples")
        .join(name)
        .display()
        .to_string()
}

/// Writes an app of a few files into a folder of this run.
fn app(cluster: &Cluster, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = cluster.root().join("apps").join(name);
    for (file, text) in files {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().expect("a file has a folder"))
            .expect("the run's folder is writable");
        std::fs::write(path, text).expect("the run's folder is writable");
    }
    folder
}

async fn push(
    cluster: &Cluster,
    name: &str,
    folder: &Path,
    more: &[&str],
) -> anyhow::Result<tests::Output> {
    let folder = folder.display().to_string();
    let mut arguments = vec!["push", name, "--path", &folder];
    arguments.extend(more);
    cluster.yard(arguments).await
}

/// A small server whose behaviour its requests decide.
const SERVER: &str = r#"
import http.server, os, signal, sys, threading, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/crash": os._exit(7)
        if self.path == "/eat":
            hold = []
            while True: hold.append(bytearray(16 << 20))
        body = ("%s %s\n" % (os.environ.get("RELEASE", "one"), os.environ["CF_INSTANCE_INDEX"])).encode()
        if self.path.startswith("/env/"): body = (os.environ.get(self.path[5:], "-") + "\n").encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *arguments): print("request", self.path, flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"#;

fn server(cluster: &Cluster, name: &str) -> PathBuf {
    app(
        cluster,
        name,
        &[
            ("server.py", SERVER),
            ("Procfile", "web: exec python3 -u server.py\n"),
        ],
    )
}

async fn running(cluster: &Cluster, name: &str) -> anyhow::Result<usize> {
    let shown = cluster.ok(["app", name, "--json"]).await?.json()?;
    let text = shown.to_string();
    Ok(text.matches("\"RUNNING\"").count())
}

async fn wait_running(
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

async fn a_push_under_load_fails_no_request(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "rolling");
    push(
        cluster,
        "rolling",
        &folder,
        &["--memory", "64M", "--instances", "2"],
    )
    .await?
    .success()?;
    wait_running(cluster, "rolling", 2, Duration::from_secs(20)).await?;
    cluster.ok(["set-env", "rolling", "RELEASE", "two"]).await?;
    let load = Load::start(cluster, &cluster.host("rolling"), "/", 8);
    push(
        cluster,
        "rolling",
        &folder,
        &["--memory", "64M", "--instances", "2"],
    )
    .await?
    .success()?;
    eventually("the new version alone", Duration::from_secs(20), || async {
        for _ in 0..20 {
            let body = cluster.body(&cluster.host("rolling"), "/").await?;
            ensure!(body.starts_with("two"), "{body}");
        }
        Ok(())
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = load.stop().await;
    seen.without_failure(100)?;
    ensure!(
        seen.bodies.keys().any(|line| line.starts_with("one")),
        "the old version answered before"
    );
    Ok(())
}

async fn a_crashed_instance_is_back_within_a_second(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "crashing");
    push(cluster, "crashing", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let host = cluster.host("crashing");
    cluster.body(&host, "/").await?;
    let _ = cluster.get(&host, "/crash").await;
    let start = Instant::now();
    eventually(
        "an answer after the crash",
        Duration::from_secs(10),
        || async { cluster.body(&host, "/").await },
    )
    .await?;
    let took = start.elapsed();
    ensure!(took < Duration::from_millis(1500), "back after {took:?}");
    println!("    back after {} ms", took.as_millis());
    let events = cluster.ok(["events", "crashing"]).await?;
    ensure!(events.stdout.contains("crash"), "{}", events.stdout);
    ensure!(
        events.stdout.contains('7'),
        "the exit status is told: {}",
        events.stdout
    );
    Ok(())
}

async fn each_daemon_may_be_killed_under_load(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "steady");
    push(
        cluster,
        "steady",
        &folder,
        &["--memory", "64M", "--instances", "2"],
    )
    .await?
    .success()?;
    wait_running(cluster, "steady", 2, Duration::from_secs(20)).await?;
    let mut faults = Vec::new();
    for component in [
        "controller-1",
        "stager-1",
        "health-manager-1",
        "collector-1",
        "dea-1",
        "router-1",
    ] {
        let load = Load::start(cluster, &cluster.host("steady"), "/", 4);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let pid = cluster.kill(component)?;
        cluster.wait_restarted(component, pid).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let seen = load.stop().await;
        // A killed router takes the requests in flight with it: at most one of each client.
        let allowed = if component == "router-1" { 4 } else { 0 };
        if seen.failures.len() > allowed {
            faults.push(format!(
                "{component}: {} of {} failed, first {:?}",
                seen.failures.len(),
                seen.answered,
                seen.failures.first()
            ));
        }
        ensure!(
            seen.answered > 50,
            "{component}: only {} requests were answered",
            seen.answered
        );
    }
    ensure!(faults.is_empty(), "{}", faults.join("; "));
    wait_running(cluster, "steady", 2, Duration::from_secs(20)).await
}

async fn a_killed_node_harms_nobody_and_adopts_its_daemons(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let folder = server(cluster, "nodeless");
    push(cluster, "nodeless", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let pids = |status: proto::node::NodeStatus| {
        status
            .components
            .into_iter()
            .map(|component| (component.name, component.pid))
            .collect::<Vec<_>>()
    };
    let before = pids(cluster.node_status()?);
    let load = Load::start(cluster, &cluster.host("nodeless"), "/", 4);
    let node = tests::leftovers::node_process(&cluster.home.display().to_string())
        .context("the node has a process")?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(node),
        nix::sys::signal::Signal::SIGKILL,
    )?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.up().await?;
    let after = pids(cluster.node_status()?);
    ensure!(
        before == after,
        "the same processes go on: {before:?} {after:?}"
    );
    let killed = cluster.kill("router-1")?;
    cluster.wait_restarted("router-1", killed).await?;
    let seen = load.stop().await;
    ensure!(
        seen.failures.len() <= 4,
        "only what was in flight in the router breaks: {:?}",
        seen.failures
    );
    ensure!(seen.answered > 50, "only {} were answered", seen.answered);
    cluster
        .ok(["delete", "nodeless", "--force"])
        .await
        .map(drop)
}

async fn a_killed_agent_finds_its_instances_again(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "adopted");
    push(cluster, "adopted", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let before = cluster.ok(["app", "adopted", "--json"]).await?.json()?;
    let pid = cluster.kill("dea-1")?;
    cluster.wait_restarted("dea-1", pid).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = cluster.ok(["app", "adopted", "--json"]).await?.json()?;
    let guid = |value: &serde_json::Value| {
        value["processes"][0]["instances"][0]["guid"]
            .as_str()
            .map(str::to_string)
    };
    ensure!(guid(&before).is_some(), "the instance has a guid: {before}");
    ensure!(
        guid(&before) == guid(&after),
        "the same instance runs: {before} {after}"
    );
    // Its crash is still noticed by the agent that adopted it.
    let host = cluster.host("adopted");
    let _ = cluster.get(&host, "/crash").await;
    eventually(
        "an answer after the crash",
        Duration::from_secs(10),
        || async { cluster.body(&host, "/").await },
    )
    .await
    .map(drop)
}

async fn the_bus_may_be_away_for_thirty_seconds(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "busless");
    push(cluster, "busless", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let load = Load::start(cluster, &cluster.host("busless"), "/", 4);
    let pid = nix::unistd::Pid::from_raw(cluster.pid("nats")?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP)?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT)?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let seen = load.stop().await;
    seen.without_failure(1000)?;
    wait_running(cluster, "busless", 1, Duration::from_secs(20)).await?;
    // And the cluster works as before.
    push(cluster, "busless", &folder, &["--memory", "64M"])
        .await?
        .success()
        .map(drop)
}

async fn configuration_acts_live(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "config");
    push(cluster, "config", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let host = cluster.host("config");
    let log = cluster.home.join("router/access.log");
    let lines = || {
        std::fs::read_to_string(&log)
            .unwrap_or_default()
            .lines()
            .filter(|line| line.contains("/marked"))
            .count()
    };
    cluster.get(&host, "/marked").await?;
    eventually(
        "a line in the access log",
        Duration::from_secs(3),
        || async {
            ensure!(lines() == 1, "{} lines", lines());
            Ok(())
        },
    )
    .await?;
    cluster
        .ok(["config", "set", "router/access_log/enabled", "false"])
        .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.get(&host, "/marked").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(lines() == 1, "the access log is off within a second");
    cluster
        .ok(["config", "unset", "router/access_log/enabled"])
        .await?;
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

async fn a_failing_build_names_its_step_and_leaves_the_old_version(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let folder = server(cluster, "builds");
    push(cluster, "builds", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let broken = app(
        cluster,
        "builds-broken",
        &[
            ("requirements.txt", "no-such-package-of-anybody==1.0\n"),
            ("server.py", SERVER),
            ("Procfile", "web: python3 server.py\n"),
        ],
    );
    let failed = push(cluster, "builds", &broken, &["--memory", "64M"]).await?;
    ensure!(failed.status != 0, "the push fails");
    ensure!(
        failed.stderr.contains("no-such-package-of-anybody"),
        "its last lines are shown: {}",
        failed.stderr
    );
    cluster.body(&cluster.host("builds"), "/").await?;
    let none = app(cluster, "builds-none", &[("notes.txt", "nothing to run\n")]);
    let undetected = push(cluster, "undetected", &none, &[]).await?;
    ensure!(undetected.status != 0, "the push fails");
    ensure!(
        undetected.stderr.contains("--buildpack")
            || undetected.stdout.contains("--buildpack")
            || undetected.stderr.contains("-b "),
        "it says how to name one: {}{}",
        undetected.stdout,
        undetected.stderr
    );
    Ok(())
}

async fn apps_that_do_not_start_say_why(cluster: &Cluster) -> anyhow::Result<()> {
    let exits = app(
        cluster,
        "exits",
        &[("Procfile", "web: echo going down; exit 3\n")],
    );
    let output = push(cluster, "exits", &exits, &["--memory", "64M"]).await?;
    let shown = format!("{}{}", output.stdout, output.stderr);
    ensure!(
        output.status != 0 && shown.contains('3') && shown.contains("going down"),
        "status {}: {shown}",
        output.status
    );
    cluster.ok(["delete", "exits", "--force"]).await?;

    let deaf = app(cluster, "deaf", &[("Procfile", "web: sleep 1000\n")]);
    let output = push(
        cluster,
        "deaf",
        &deaf,
        &["--memory", "64M", "--start-timeout", "3"],
    )
    .await?;
    let shown = format!("{}{}", output.stdout, output.stderr);
    ensure!(
        output.status != 0 && shown.contains("health check"),
        "status {}: {shown}",
        output.status
    );
    cluster.ok(["delete", "deaf", "--force"]).await?;

    let big = server(cluster, "big");
    let output = push(cluster, "big", &big, &["--memory", "900G"]).await?;
    let shown = format!("{}{}", output.stdout, output.stderr);
    ensure!(
        output.status != 0 && shown.contains("memory") && shown.contains("dea-1"),
        "status {}: {shown}",
        output.status
    );
    cluster.ok(["delete", "big", "--force"]).await.map(drop)
}

async fn a_push_that_fails_leaves_the_old_version_whole(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "whole");
    push(cluster, "whole", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    cluster.ok(["set-env", "whole", "RELEASE", "two"]).await?;
    let failed = push(cluster, "whole", &folder, &["--memory", "900G"]).await?;
    ensure!(
        failed.status == 5 && failed.stderr.contains("921600"),
        "status {}: {}",
        failed.status,
        failed.stderr
    );
    let host = cluster.host("whole");
    let before = cluster.body(&host, "/").await?;
    ensure!(
        before.starts_with("one"),
        "the old version goes on: {before}"
    );
    // Its instance also comes back as the old version: with its memory and its environment.
    let _ = cluster.get(&host, "/crash").await;
    let after = eventually(
        "an answer after the crash",
        Duration::from_secs(10),
        || async { cluster.body(&host, "/").await },
    )
    .await?;
    ensure!(after == before, "the old version comes back: {after}");
    cluster.ok(["delete", "whole", "--force"]).await.map(drop)
}

async fn a_greedy_app_is_stopped_with_the_reason(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "greedy");
    push(cluster, "greedy", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let _ = cluster.get(&cluster.host("greedy"), "/eat").await;
    eventually(
        "the reason in the events",
        Duration::from_secs(10),
        || async {
            let events = cluster.ok(["events", "greedy"]).await?;
            ensure!(
                events.stdout.to_lowercase().contains("out of memory"),
                "{}",
                events.stdout
            );
            Ok(())
        },
    )
    .await?;
    cluster.ok(["delete", "greedy", "--force"]).await.map(drop)
}

async fn an_app_that_ignores_term_is_killed(cluster: &Cluster) -> anyhow::Result<()> {
    cluster
        .ok(["config", "set", "dea/instance/stop_grace", "2s"])
        .await?;
    let stubborn = app(
        cluster,
        "stubborn",
        &[
            (
                "Procfile",
                "web: trap '' TERM; python3 -u -m http.server $PORT\n",
            ),
            ("index.txt", "x"),
        ],
    );
    push(
        cluster,
        "stubborn",
        &stubborn,
        &["--memory", "64M", "--buildpack", "binary"],
    )
    .await?
    .success()?;
    cluster.ok(["stop", "stubborn"]).await?;
    wait_running(cluster, "stubborn", 0, Duration::from_secs(8)).await?;
    cluster
        .ok(["config", "unset", "dea/instance/stop_grace"])
        .await?;
    cluster
        .ok(["delete", "stubborn", "--force"])
        .await
        .map(drop)
}

async fn bad_input_is_refused_clearly(cluster: &Cluster) -> anyhow::Result<()> {
    let empty = cluster.root().join("apps/empty");
    std::fs::create_dir_all(&empty)?;
    let mut faults = Vec::new();
    let mut check = |what: &str, output: tests::Output, wanted: &[&str]| {
        let shown = format!("{}{}", output.stdout, output.stderr);
        if output.status == 0
            || !wanted
                .iter()
                .any(|word| shown.to_lowercase().contains(&word.to_lowercase()))
            || shown.contains("panicked")
        {
            faults.push(format!("{what}: status {}, {shown}", output.status));
        }
    };
    check(
        "an empty folder",
        push(cluster, "bad", &empty, &[]).await?,
        &["empty"],
    );
    check(
        "a missing folder",
        push(cluster, "bad", Path::new("/nowhere/at/all"), &[]).await?,
        &["/nowhere/at/all"],
    );
    let outside = app(cluster, "outside", &[("index.html", "x")]);
    let _ = std::os::unix::fs::symlink("/etc/passwd", outside.join("secret"));
    check(
        "a link out of the app",
        push(cluster, "bad", &outside, &[]).await?,
        &["secret"],
    );
    let unknown = app(
        cluster,
        "unknown-key",
        &[
            ("index.html", "x"),
            (
                "manifest.yml",
                "applications:\n- name: bad\n  memroy: 64M\n",
            ),
        ],
    );
    check(
        "an unknown manifest key",
        cluster.yard_in(&unknown, ["push"]).await?,
        &["memroy"],
    );
    let wrong = app(
        cluster,
        "wrong-type",
        &[
            ("index.html", "x"),
            (
                "manifest.yml",
                "applications:\n- name: bad\n  instances: many\n",
            ),
        ],
    );
    check(
        "a wrong type in the manifest",
        cluster.yard_in(&wrong, ["push"]).await?,
        &["instances"],
    );
    check(
        "an unknown app",
        cluster.yard(["app", "not-there"]).await?,
        &["not-there"],
    );
    let password = cluster.root().join("wrong-password");
    std::fs::write(&password, "wrong\n")?;
    let api = format!("http://api.{}:{}", cluster.domain, cluster.port);
    let login = cluster
        .command(&cluster.root())
        .env("YARD_CONFIG_HOME", cluster.root().join("other-login"))
        .args([
            "login",
            &api,
            "--username",
            "admin",
            "--connect",
            "127.0.0.1",
            "--password-file",
            &password.display().to_string(),
        ])
        .output()?;
    let shown = String::from_utf8_lossy(&login.stderr).into_owned();
    check(
        "a wrong password",
        tests::Output {
            status: login.status.code().unwrap_or(-1),
            stdout: String::new(),
            stderr: shown,
            took: Duration::ZERO,
        },
        &["password", "credentials"],
    );
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
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

async fn two_clusters_run_side_by_side(cluster: &Cluster) -> anyhow::Result<()> {
    let other = Cluster::start(Options::default()).await?;
    let tried = async {
        for (each, text) in [(cluster, "first"), (&other, "second")] {
            let folder = app(each, "side", &[("index.html", text)]);
            push(each, "side", &folder, &["--memory", "64M"])
                .await?
                .success()?;
        }
        for (each, text) in [(cluster, "first"), (&other, "second")] {
            let body = each.body(&each.host("side"), "/").await?;
            ensure!(body.contains(text), "{body}");
        }
        anyhow::Ok(())
    }
    .await;
    other.destroy().await?;
    tried?;
    // Taking one down leaves the other as it was.
    cluster.body(&cluster.host("side"), "/").await?;
    cluster.ok(["delete", "side", "--force"]).await.map(drop)
}

async fn down_leaves_nothing_and_up_brings_the_same_apps_back(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let folder = server(cluster, "durable");
    push(cluster, "durable", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let file = cluster.cluster_file()?;
    cluster.down().await?;
    let left = tests::leftovers::find(&file, &cluster.home.display().to_string());
    ensure!(left.is_empty(), "left behind: {}", left.join("\n"));
    cluster.up().await?;
    let again = cluster.up().await?;
    ensure!(
        again.took < Duration::from_secs(10),
        "a second up has nothing to do: {:?}",
        again.took
    );
    eventually("the app of before", Duration::from_secs(30), || async {
        cluster.body(&cluster.host("durable"), "/").await
    })
    .await
    .map(drop)
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut tally = Tally::default();
    runtime.block_on(async {
        println!("\nrunning the first whole");
        let cluster = match Cluster::start(Options::default()).await {
            Ok(cluster) => cluster,
            Err(error) => {
                println!("test the_cluster_comes_up ... FAILED\n    {error:#}");
                tally.failed += 1;
                return;
            }
        };
        run(
            &cluster,
            tests![
                a_static_app_answers_within_its_push,
                a_binary_app_answers,
                a_python_app_with_a_dependency_answers,
                a_node_app_with_a_dependency_answers,
                a_worker_without_route_runs_and_logs,
                an_app_scales_to_five_and_back,
                a_push_under_load_fails_no_request,
                a_crashed_instance_is_back_within_a_second,
                a_killed_agent_finds_its_instances_again,
                each_daemon_may_be_killed_under_load,
                a_killed_node_harms_nobody_and_adopts_its_daemons,
                the_bus_may_be_away_for_thirty_seconds,
                configuration_acts_live,
                logs_are_live_and_recent,
                environment_and_routes_change,
                a_failing_build_names_its_step_and_leaves_the_old_version,
                apps_that_do_not_start_say_why,
                a_push_that_fails_leaves_the_old_version_whole,
                a_greedy_app_is_stopped_with_the_reason,
                an_app_that_ignores_term_is_killed,
                bad_input_is_refused_clearly,
                a_sandbox_cannot_reach_the_cluster,
                two_clusters_run_side_by_side,
                down_leaves_nothing_and_up_brings_the_same_apps_back,
            ],
            &mut tally,
        )
        .await;
        if tally.failed > 0 {
            cluster.print_logs();
        }
        match cluster.destroy().await {
            Ok(()) => {
                tally.passed += 1;
                println!("test destroy_leaves_nothing ... ok");
            }
            Err(error) => {
                tally.failed += 1;
                println!("test destroy_leaves_nothing ... FAILED\n    {error:#}");
            }
        }
    });
    tally.print();
    if tally.failed > 0 {
        std::process::exit(1);
    }
}
