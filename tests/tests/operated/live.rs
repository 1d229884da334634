//! The configuration acts on what runs. Each check changes a value, sees another behaviour within a
//! second of the command's end, and changes it back. What is seen is what an operator would see:
//! lines, answers, offers and messages; no value is read back.

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use proto::bus::catalogue;
use std::time::{Duration, Instant};
use tests::apps::*;
use tests::{Cluster, eventually};

/// What is promised.
const A_SECOND: Duration = Duration::from_secs(1);
/// What looking may take on a busy machine, on top of that.
const LOOKING: Duration = Duration::from_millis(500);
const WITHIN: Duration = A_SECOND.saturating_add(LOOKING);

async fn set(cluster: &Cluster, key: &str, value: &str) -> anyhow::Result<()> {
    cluster.ok(["config", "set", key, value]).await.map(drop)
}

async fn unset(cluster: &Cluster, key: &str) -> anyhow::Result<()> {
    cluster.ok(["config", "unset", key]).await.map(drop)
}

/// Runs a check between a change and its end, which comes also if the check fails.
async fn with<T>(
    cluster: &Cluster,
    key: &str,
    value: &str,
    check: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    set(cluster, key, value).await?;
    let outcome = check.await;
    unset(cluster, key).await?;
    outcome.with_context(|| format!("{key} is {value}"))
}

pub async fn the_log_level_follows_the_configuration(cluster: &Cluster) -> anyhow::Result<()> {
    const KEY: &str = "cluster/log/level";
    let count = |component: &str, mark: &str| cluster.log(component).matches(mark).count();
    // The health manager tells each reading of the desired state at debug: let it read often.
    const READ: &str = "the desired state was read";
    let debug_lines = || count("health-manager-1", READ);
    with(cluster, "health-manager/desired/refresh", "1s", async {
        ensure!(debug_lines() == 0, "debug lines at the level info");
        with(cluster, KEY, "debug", async {
            eventually("every process changed its level", WITHIN, || async {
                for component in [
                    "controller-1",
                    "router-1",
                    "dea-1",
                    "health-manager-1",
                    "stager-1",
                    "collector-1",
                    "ssh-proxy-1",
                    "node",
                ] {
                    ensure!(
                        count(component, "level=debug") > 0,
                        "{component} still has its old level"
                    );
                }
                Ok(())
            })
            .await?;
            // One more second, until it reads again.
            eventually("debug lines", WITHIN + A_SECOND, || async {
                ensure!(debug_lines() > 0, "none");
                Ok(())
            })
            .await
        })
        .await?;
        // Back at info they end, while the readings go on.
        let readings = async || -> anyhow::Result<u64> {
            let varz = cluster.varz("health-manager-1").await?;
            varz["desired_fetches"].as_u64().context("desired_fetches")
        };
        tokio::time::sleep(WITHIN).await;
        let (lines, read) = (debug_lines(), readings().await?);
        eventually("two more readings", Duration::from_secs(5), || async {
            let now = readings().await?;
            ensure!(now >= read + 2, "{read}, then {now}");
            Ok(())
        })
        .await?;
        ensure!(debug_lines() == lines, "debug lines after their end");
        Ok(())
    })
    .await
}

pub async fn the_limits_of_the_router_follow_the_configuration(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let folder = server(cluster, "limits");
    push(cluster, "limits", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let host = cluster.host("limits");
    // Each with a connection of its own: a limit on headers is read when a connection comes.
    let status = async |path: &str, bytes: usize| -> anyhow::Result<u16> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let response = client
            .get(format!("http://127.0.0.1:{}{path}", cluster.port))
            .header("Host", &host)
            .header("X-Ballast", "x".repeat(bytes))
            .timeout(Duration::from_secs(10))
            .send()
            .await?;
        Ok(response.status().as_u16())
    };
    let answers = async |wanted: u16| {
        eventually(&format!("the answer {wanted}"), WITHIN, || async {
            let got = status("/", 32 * 1024).await?;
            ensure!(got == wanted, "{got}");
            Ok(())
        })
        .await
    };
    answers(200).await?;
    with(
        cluster,
        "router/limits/max_header_bytes",
        "16KiB",
        answers(431),
    )
    .await?;
    answers(200).await?;

    // One request that takes three seconds, and another one beside it.
    let beside = async || {
        let (slow, quick) = tokio::join!(status("/slow", 0), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            status("/", 0).await
        });
        anyhow::Ok((slow?, quick?))
    };
    let both = with(
        cluster,
        "router/limits/max_connections_per_endpoint",
        "1",
        async {
            tokio::time::sleep(A_SECOND).await;
            beside().await
        },
    )
    .await?;
    ensure!(both == (200, 503), "with a limit of one request: {both:?}");
    tokio::time::sleep(A_SECOND).await;
    let both = beside().await?;
    ensure!(both == (200, 200), "without a limit: {both:?}");
    cluster.ok(["delete", "limits", "--force"]).await.map(drop)
}

pub async fn the_access_log_follows_the_configuration(cluster: &Cluster) -> anyhow::Result<()> {
    let log = cluster.home.join("router/access.log");
    let api = cluster.host("api");
    // A request whose line is looked for as long as lines may take to be written.
    let is_logged = async |mark: &str| -> anyhow::Result<bool> {
        cluster.get(&api, &format!("/{mark}")).await?;
        let seen = eventually(mark, Duration::from_secs(1), || async {
            ensure!(
                std::fs::read_to_string(&log)
                    .unwrap_or_default()
                    .contains(mark)
            );
            Ok(())
        });
        Ok(seen.await.is_ok())
    };
    ensure!(is_logged("while-it-is-on").await?, "a line at first");
    with(cluster, "router/access_log/enabled", "false", async {
        tokio::time::sleep(A_SECOND).await;
        ensure!(!is_logged("while-it-is-off").await?, "a line while off");
        Ok(())
    })
    .await?;
    tokio::time::sleep(A_SECOND).await;
    ensure!(is_logged("while-it-is-on-again").await?, "a line again");
    ensure!(
        !std::fs::read_to_string(&log)?.contains("while-it-is-off"),
        "what was left out does not come later"
    );
    Ok(())
}

pub async fn the_memory_on_offer_follows_the_configuration(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let offered = async || -> anyhow::Result<u64> {
        let status = cluster.ok(["status", "--json"]).await?.json()?;
        status["cluster"]["agents"][0]["total_memory_in_mb"]
            .as_u64()
            .with_context(|| format!("an agent's memory: {status}"))
    };
    let becomes = async |what: &str, wanted: u64| {
        eventually(what, WITHIN, || async {
            let now = offered().await?;
            ensure!(now.abs_diff(wanted) <= 1, "{now} MB, not {wanted}");
            Ok(())
        })
        .await
    };
    let before = offered().await?;
    with(
        cluster,
        "dea/overcommit/memory",
        "2.5",
        becomes("two and a half times the memory", before * 5 / 2),
    )
    .await?;
    becomes("the memory of before", before).await
}

pub async fn the_times_of_the_health_manager_follow_the_configuration(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let varz = async |field: &str| -> anyhow::Result<serde_json::Value> {
        Ok(cluster.varz("health-manager-1").await?[field].clone())
    };
    let readings = async || varz("desired_fetches").await?.as_u64().context("a number");
    // By default once a minute; changes elsewhere may have it read one time more.
    let begun = readings().await?;
    with(cluster, "health-manager/desired/refresh", "1s", async {
        eventually("a reading a second", WITHIN + 3 * A_SECOND, || async {
            let now = readings().await?;
            ensure!(now >= begun + 3, "{begun}, then {now}");
            Ok(())
        })
        .await
    })
    .await?;
    // A desired state that is older than it may be holds every plan, and is told.
    const STALE: &str = "the desired state is too old";
    let is_held = async || anyhow::Ok(varz("held").await?.get(STALE).is_some());
    eventually(
        "a desired state of three seconds",
        Duration::from_secs(30),
        || async {
            let age = varz("desired_age_seconds").await?;
            ensure!(age.as_u64() >= Some(3), "{age}");
            Ok(())
        },
    )
    .await?;
    ensure!(!is_held().await?, "it is young enough by default");
    with(cluster, "health-manager/desired/stale_after", "2s", async {
        eventually("plans are held", WITHIN, || async {
            ensure!(is_held().await?, "{}", varz("held").await?);
            Ok(())
        })
        .await
    })
    .await?;
    eventually("plans are made again", WITHIN, || async {
        ensure!(!is_held().await?, "{}", varz("held").await?);
        Ok(())
    })
    .await?;
    // A crash that is not answered at once, but after the delay that was set.
    let folder = server(cluster, "delayed");
    push(cluster, "delayed", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let host = cluster.host("delayed");
    let down_for = async || -> anyhow::Result<Duration> {
        let _ = cluster.get(&host, "/crash").await;
        let start = Instant::now();
        eventually("an answer again", Duration::from_secs(10), || async {
            cluster.body(&host, "/").await
        })
        .await?;
        Ok(start.elapsed())
    };
    set(cluster, "health-manager/crash/first_delay", "3s").await?;
    let late = with(
        cluster,
        "health-manager/crash/immediate_restarts",
        "0",
        async {
            tokio::time::sleep(A_SECOND).await;
            down_for().await
        },
    )
    .await;
    unset(cluster, "health-manager/crash/first_delay").await?;
    let late = late?;
    ensure!(
        late > Duration::from_millis(2500),
        "back after {late:?}, with a delay of 3 s"
    );
    tokio::time::sleep(A_SECOND).await;
    let soon = down_for().await?;
    ensure!(soon < A_SECOND, "back after {soon:?}, without a delay");
    cluster.ok(["delete", "delayed", "--force"]).await.map(drop)
}

pub async fn the_heartbeat_follows_the_configuration(cluster: &Cluster) -> anyhow::Result<()> {
    // Who may hear heartbeats.
    let bus = cluster.bus("health-manager-1").await?;
    let mut beats = bus
        .subscribe(catalogue::dea_heartbeat().subject().to_string())
        .await?;
    bus.flush().await?;
    // The regular ones, that tell everything; changes of single instances are told between them.
    let mut count = async |within: Duration| {
        let mut heard = 0;
        let end = tokio::time::Instant::now() + within;
        while let Ok(Some(message)) = tokio::time::timeout_at(end, beats.next()).await {
            let beat: serde_json::Value =
                serde_json::from_slice(&message.payload).unwrap_or_default();
            heard += usize::from(beat["yard_complete"] == true);
        }
        heard
    };
    let before = count(2 * A_SECOND).await;
    ensure!(before <= 1, "{before} heartbeats in 2 s, at one in 10 s");
    let heard = with(cluster, "dea/heartbeat/period", "200ms", async {
        // What came while the value was being set does not count.
        count(A_SECOND).await;
        Ok(count(2 * A_SECOND).await)
    })
    .await?;
    ensure!(
        (7..=12).contains(&heard),
        "{heard} heartbeats in 2 s, at five a second"
    );
    count(A_SECOND).await;
    let after = count(2 * A_SECOND).await;
    ensure!(
        after <= 1,
        "{after} heartbeats in 2 s, at one in 10 s again"
    );
    Ok(())
}
