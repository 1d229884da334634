//! New versions of an app that is busy: whoever asks it notices nothing.

use anyhow::{Context, ensure};
use std::path::Path;
use std::time::Duration;
use tests::apps::{app, push, wait_running};
use tests::barrage::{Barrage, Outcome, SERVER, Target};
use tests::{Cluster, eventually, trials};

const APP: &str = "rolling";
/// Requests a second.
const RATE: u32 = 500;
const SOCKETS: usize = 100;
const SIZE: [&str; 4] = ["--memory", "128M", "--instances", "2"];
const SOON: Duration = Duration::from_secs(60);

pub async fn new_versions_are_pushed_under_load_and_nothing_fails(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let long = std::env::var_os("STACKYARD_TRIALS").is_some();
    let pushes = if long { 20 } else { 3 };
    let folder = app(
        cluster,
        APP,
        &[
            ("server.py", SERVER),
            ("Procfile", "web: exec python3 -u server.py\n"),
        ],
    );
    pushed(cluster, &folder, 0).await?;
    wait_running(cluster, APP, 2, SOON).await?;
    let barrage = Barrage::start(Target {
        port: cluster.port,
        host: cluster.host(APP),
        rate: RATE,
        sockets: SOCKETS,
    });
    let outcome = async {
        for number in 1..=pushes {
            pushed(cluster, &folder, number).await?;
            alone(cluster, number).await?;
            if barrage.failed() > 0 {
                break;
            }
        }
        // What the last old instances still answer counts too.
        tokio::time::sleep(Duration::from_secs(3)).await;
        anyhow::Ok(())
    }
    .await;
    let seen = barrage.stop().await;
    println!("    {}", in_words(&seen, pushes));
    let behind = seen.fell_behind(RATE);
    if let Some(behind) = &behind {
        println!("    {behind}");
    }
    outcome?;
    seen.without_failure()?;
    ensure!(
        seen.versions.len() == pushes + 1,
        "each version answered: {:?}",
        seen.versions
    );
    ensure!(
        seen.opened >= SOCKETS as u64 * 2,
        "WebSockets followed: {}",
        seen.opened
    );
    if long {
        ensure!(behind.is_none(), "the load was not what it is to be");
        let text = format!(
            "{pushes} new versions of an app of two instances, pushed one after the other while it is asked {RATE} times a second, \
             whatever becomes of the requests before (one in 20 takes 1.5 s, another one is an upload that takes 0.2 s), and {SOCKETS} \
             WebSockets are open. What counts as failed, and why: tests/src/barrage.rs. {} processors, the clients among their users. \
             Profile: dev.",
            std::thread::available_parallelism().map_or(1, usize::from)
        );
        trials::write(
            "New versions under load",
            &text,
            &[("new versions", in_words(&seen, pushes))],
        )?;
    }
    cluster.ok(["delete", APP, "--force"]).await.map(drop)
}

async fn pushed(cluster: &Cluster, folder: &Path, number: usize) -> anyhow::Result<()> {
    std::fs::write(folder.join("version"), format!("v{number}"))?;
    let pushed = push(cluster, APP, folder, &SIZE).await?;
    pushed
        .success()
        .map(drop)
        .with_context(|| format!("push {number}"))
}

/// Only this version answers.
async fn alone(cluster: &Cluster, number: usize) -> anyhow::Result<()> {
    let begin = format!("v{number} ");
    let host = cluster.host(APP);
    eventually("the new version alone", SOON, || async {
        for _ in 0..10 {
            let body = cluster.body(&host, "/quick/alone").await?;
            ensure!(body.starts_with(&begin), "{body}");
        }
        Ok(())
    })
    .await
}

fn in_words(seen: &Outcome, pushes: usize) -> String {
    let failed = seen.failures.len();
    format!(
        "{pushes} pushes in {} s; {} requests ({} uploads, {} slow ones) on {} connections, {} WebSockets opened, {} echoes; {failed} \
         failed; p50 {} ms, p99 {} ms; the latest sent {} ms late",
        seen.lasted.as_secs(),
        seen.requests,
        seen.uploads,
        seen.slow,
        seen.connections,
        seen.opened,
        seen.echoes,
        seen.percentile(0.5).as_millis(),
        seen.percentile(0.99).as_millis(),
        seen.latest.as_millis()
    )
}
