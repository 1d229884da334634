//! The bus is away for long: what runs goes on, nothing is forgotten or replaced, pushes are refused with the
//! reason, and all is as before soon after it is back.

use crate::world::{SOON, STEADY, World};
use anyhow::{Context, ensure};
use std::time::{Duration, Instant};
use tests::apps::push;
use tests::{Load, eventually};

const NORMAL_WITHIN: Duration = Duration::from_secs(30);

pub async fn the_bus_may_be_away(world: &World) -> anyhow::Result<()> {
    let cluster = &world.cluster;
    world.all_ready().await?;
    let before = world.settled(STEADY, 2).await?;
    let pruned_before = pruned(world).await?;
    let load = Load::start(cluster, &cluster.host(STEADY), "/", 2);
    // Without its file nats-server ends at once, as often as it is started.
    let file = cluster.home.join("nats/nats.conf");
    let aside = cluster.home.join("nats/aside");
    std::fs::rename(&file, &aside).context("taking the file of nats-server away")?;
    let begun = Instant::now();
    let outage = async {
        cluster.kill("nats")?;
        let mut refusals = Vec::new();
        while begun.elapsed() < world.amounts.bus_away {
            refusals.push(refused(world).await?);
            ensure!(world.instances(STEADY).await? == before, "it kills nothing");
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        anyhow::Ok(refusals)
    };
    let outage = outage.await;
    std::fs::rename(&aside, &file).context("giving it back")?;
    let away = begun.elapsed();
    let back = Instant::now();
    let refusals = outage?;
    let folder = world.page("after", "after", 16);
    eventually("a push works again", SOON, || async {
        push(cluster, "after", &folder, &["--memory", "32M"])
            .await?
            .success()
            .map(drop)
    })
    .await?;
    world.all_ready().await?;
    let normal = back.elapsed();
    let seen = load.stop().await;
    seen.without_failure(100)?;
    ensure!(normal < NORMAL_WITHIN, "normal only after {normal:?}");
    // Long enough for anybody who would have drawn a wrong conclusion.
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(
        world.settled(STEADY, 2).await? == before,
        "the same instances as before"
    );
    let pruned = pruned(world).await?;
    ensure!(pruned == pruned_before, "routes were pruned: {pruned:?}");
    for app in ["after", "refused"] {
        cluster.ok(["delete", app, "--force"]).await?;
    }
    let slowest = refusals.iter().max().copied().unwrap_or_default();
    world.note(
        "bus away",
        format!(
            "for {} s; {} requests to an app, {} failed; 0 routes pruned, 0 instances replaced; {} pushes refused, the slowest after {:.1} s; \
             a push worked {:.1} s after its return",
            away.as_secs(),
            seen.answered,
            seen.failures.len(),
            refusals.len(),
            slowest.as_secs_f64(),
            normal.as_secs_f64()
        ),
    );
    Ok(())
}

/// A push while the bus is away; how long it took to be told so.
async fn refused(world: &World) -> anyhow::Result<Duration> {
    let folder = world.page("refused", "refused", 16);
    let pushed = push(
        &world.cluster,
        "refused",
        &folder,
        &["--memory", "32M", "--no-route"],
    )
    .await?;
    ensure!(
        pushed.status != 0 && pushed.stderr.contains("the message bus is away"),
        "{pushed:?}"
    );
    let within = world.amounts.refused_within;
    ensure!(pushed.took < within, "only after {:?}", pushed.took);
    Ok(pushed.took)
}

/// Registrations that each router has pruned.
async fn pruned(world: &World) -> anyhow::Result<Vec<u64>> {
    let mut all = Vec::new();
    for router in ["router-1", "router-2"] {
        let varz = world.cluster.varz(router).await?;
        let pruned = varz["routes_pruned"].as_u64();
        all.push(pruned.with_context(|| format!("routes_pruned of {router}"))?);
    }
    Ok(all)
}
