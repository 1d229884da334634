//! What cannot work is refused, taken back or stopped, and says why.

use anyhow::ensure;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::apps::*;
use tests::leftovers::processes;
use tests::{Cluster, eventually};

pub async fn a_failing_build_names_its_step_and_leaves_the_old_version(
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

pub async fn apps_that_do_not_start_say_why(cluster: &Cluster) -> anyhow::Result<()> {
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
    // Refused before anything was made.
    let apps = cluster.ok(["apps"]).await?;
    ensure!(!apps.stdout.contains("big"), "{}", apps.stdout);
    Ok(())
}

pub async fn a_push_that_fails_leaves_the_old_version_whole(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let folder = server(cluster, "whole");
    push(cluster, "whole", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    cluster.ok(["set-env", "whole", "RELEASE", "two"]).await?;
    let failed = push(cluster, "whole", &folder, &["--memory", "900G"]).await?;
    ensure!(
        failed.status == 1 && failed.stderr.contains("921600"),
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

pub async fn a_greedy_app_is_stopped_with_the_reason(cluster: &Cluster) -> anyhow::Result<()> {
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

pub async fn an_app_that_ignores_term_is_killed(cluster: &Cluster) -> anyhow::Result<()> {
    const GRACE: Duration = Duration::from_secs(2);
    cluster
        .ok(["config", "set", "dea/instance/stop_grace", "2s"])
        .await?;
    // Its directory is in its command line: so its process is found among all.
    let mark = format!("stubborn-{}", cluster.port);
    let stubborn = app(
        cluster,
        "stubborn",
        &[
            (
                "Procfile",
                &format!(
                    "web: trap '' TERM; mkdir {mark}; exec python3 -m http.server -d {mark} $PORT\n"
                ),
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
    let lives = || !processes(&format!("-d {mark}")).is_empty();
    ensure!(lives(), "its process is seen");
    cluster.ok(["stop", "stubborn"]).await?;
    let told = Instant::now();
    eventually("its end", Duration::from_secs(10), || async {
        ensure!(!lives(), "it lives");
        Ok(())
    })
    .await?;
    let took = told.elapsed();
    ensure!(
        took >= GRACE,
        "it was to have its grace, and ended after {took:?}"
    );
    cluster
        .ok(["config", "unset", "dea/instance/stop_grace"])
        .await?;
    cluster
        .ok(["delete", "stubborn", "--force"])
        .await
        .map(drop)
}

pub async fn bad_input_is_refused_clearly(cluster: &Cluster) -> anyhow::Result<()> {
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
