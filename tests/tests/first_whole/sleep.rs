//! An app that nobody asks for sleeps, and the first request wakes it.

use anyhow::{Context, bail, ensure};
use std::time::{Duration, Instant};
use tests::apps::{push, running, server, wait_running};
use tests::{Cluster, eventually};

const APP: &str = "sleepy";
const SOON: Duration = Duration::from_secs(60);

async fn sleeps(cluster: &Cluster) -> anyhow::Result<()> {
    eventually("it sleeps", SOON, || async {
        let page = cluster.ok(["app", APP, "--json"]).await?.json()?;
        let web = &page["processes"][0];
        ensure!(!web["asleep_since"].is_null(), "{web}");
        Ok(())
    })
    .await?;
    // Until its instances are gone a request would find them.
    eventually("nothing of it runs", SOON, || async {
        let told = cluster
            .ok(["router", "routes", &cluster.host(APP), "--json"])
            .await?;
        ensure!(told.stdout.contains("\"asleep\""), "{}", told.stdout);
        Ok(())
    })
    .await
}

pub async fn an_app_nobody_asks_for_sleeps_until_it_is_asked_for(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let host = cluster.host(APP);
    let folder = server(cluster, APP);
    push(cluster, APP, &folder, &["--memory", "64M"])
        .await?
        .success()?;
    cluster
        .ok(["config", "set", "router/traffic/period", "500ms"])
        .await?;
    cluster.ok(["scale", APP, "--sleep-after", "3s"]).await?;
    // A request every second keeps it awake.
    for _ in 0..6 {
        cluster.body(&host, "/").await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    ensure!(running(cluster, APP).await? == 1, "it stays awake");
    sleeps(cluster).await?;
    let shown = cluster.ok(["app", APP]).await?.stdout;
    ensure!(shown.contains("asleep"), "{shown}");
    let why = cluster.ok(["why", APP]).await?.stdout;
    ensure!(why.contains("nobody asks for it"), "{why}");

    // The first request is held and answered.
    let begun = Instant::now();
    let body = cluster.body(&host, "/").await?;
    println!(
        "    the first answer from asleep: {:.2} s",
        begun.elapsed().as_secs_f64()
    );
    ensure!(body == "one 0\n", "{body}");
    let why = cluster.ok(["why", APP]).await?.stdout;
    ensure!(why.contains("a request came for it"), "{why}");

    many_at_once(cluster).await?;
    no_more_than_may_be_held(cluster).await?;

    // What is pushed runs, whatever was asleep.
    sleeps(cluster).await?;
    cluster.ok(["set-env", APP, "RELEASE", "two"]).await?;
    push(cluster, APP, &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let body = cluster.body(&host, "/").await?;
    ensure!(body == "two 0\n", "{body}");

    // Nobody can be made to wait at a port.
    let domain = format!("ports-of-{APP}.{}", cluster.domain);
    cluster
        .ok(["domain", "create", &domain, "--router-group", "default-tcp"])
        .await?;
    let refused = cluster.yard(["map-route", APP, &domain]).await?;
    ensure!(
        refused.status != 0 && refused.stderr.contains("--sleep-after never"),
        "{}",
        refused.stderr
    );
    cluster.ok(["scale", APP, "--sleep-after", "never"]).await?;
    cluster
        .ok(["config", "unset", "router/traffic/period"])
        .await?;
    cluster
        .ok(["delete", APP, "--force", "--routes"])
        .await
        .map(drop)
}

/// Many first requests start one instance; a controller that was killed has not forgotten who sleeps.
async fn many_at_once(cluster: &Cluster) -> anyhow::Result<()> {
    sleeps(cluster).await?;
    let killed = cluster.kill("controller-1")?;
    cluster.wait_restarted("controller-1", killed).await?;
    let host = cluster.host(APP);
    let all = (0..50).map(|_| cluster.body(&host, "/"));
    for body in futures_util::future::join_all(all).await {
        let body = body.context("one of many first requests")?;
        ensure!(body == "one 0\n", "{body}");
    }
    wait_running(cluster, APP, 1, SOON).await
}

async fn no_more_than_may_be_held(cluster: &Cluster) -> anyhow::Result<()> {
    sleeps(cluster).await?;
    cluster
        .ok(["config", "set", "router/sleepers/max_held", "2"])
        .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let host = cluster.host(APP);
    let all = (0..20).map(|_| cluster.get(&host, "/"));
    let (mut served, mut refused) = (0, 0);
    for answer in futures_util::future::join_all(all).await {
        let answer = answer?;
        let headers = answer.headers();
        match answer.status().as_u16() {
            200 => served += 1,
            503 if headers["x-cf-routererror"] == "too_many_held"
                && headers.contains_key("retry-after") =>
            {
                refused += 1;
            }
            status => bail!("{status}: {headers:?}"),
        }
    }
    ensure!(
        served >= 2 && refused > 0,
        "{served} served, {refused} refused"
    );
    cluster
        .ok(["config", "unset", "router/sleepers/max_held"])
        .await
        .map(drop)
}
