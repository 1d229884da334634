//! etcd and nats-server are restarted again and again while apps are pushed, scaled and used.

use crate::world::{SOON, STEADY, World};
use anyhow::{Context, ensure};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tests::apps::push;
use tests::{Load, eventually};

/// Pushes that went on meanwhile.
#[derive(Debug, Default)]
struct Pushes {
    done: u32,
    refused: Vec<String>,
}

pub async fn etcd_and_nats_restart_under_pushes_and_load(world: &World) -> anyhow::Result<()> {
    let cluster = &world.cluster;
    world.all_ready().await?;
    let load = Load::start(cluster, &cluster.host(STEADY), "/", 4);
    let over = AtomicBool::new(false);
    let restarting = async {
        let restarted = restarts(world).await;
        over.store(true, Ordering::Relaxed);
        restarted
    };
    let (restarted, pushed) = tokio::join!(restarting, pushes(world, &over));
    let (scaled, pushed) = (restarted?, pushed?);
    let seen = load.stop().await;
    seen.without_failure(100)?;
    cluster.ok(["scale", STEADY, "--instances", "2"]).await?;
    world.settled(STEADY, 2).await?;
    cluster.ok(["delete", "busy", "--force"]).await?;
    world.note(
        "etcd and nats-server restarted",
        format!(
            "{} times each; {} requests to an app, {} failed; {} pushes done, {} refused with a reason; {scaled} changes of its size, all followed",
            world.amounts.restarts,
            seen.answered,
            seen.failures.len(),
            pushed.done,
            pushed.refused.len()
        ),
    );
    for reason in &pushed.refused {
        println!("    refused: {reason}");
    }
    Ok(())
}

/// Each is killed in turn, and between the two a user says something that must not be lost.
async fn restarts(world: &World) -> anyhow::Result<u32> {
    let cluster = &world.cluster;
    let mut scaled = 0;
    for round in 0..world.amounts.restarts {
        for server in ["etcd", "nats"] {
            let pid = cluster.kill(server)?;
            scaled += 1;
            let instances = 1 + u64::from((round + scaled) % 3);
            cluster
                .ok(["scale", STEADY, "--instances", &instances.to_string()])
                .await
                .with_context(|| format!("while {server} restarts"))?;
            cluster.wait_restarted(server, pid).await?;
            world.settled(STEADY, instances).await?;
        }
    }
    Ok(scaled)
}

/// One push after the other: a done one is served, any other has a reason.
async fn pushes(world: &World, over: &AtomicBool) -> anyhow::Result<Pushes> {
    let cluster = &world.cluster;
    let host = cluster.host("busy");
    let mut pushes = Pushes::default();
    let mut number = 0;
    while !over.load(Ordering::Relaxed) || pushes.done == 0 {
        number += 1;
        let text = format!("busy {number}");
        let folder = world.page("busy", &text, 16);
        let pushed = push(cluster, "busy", &folder, &["--memory", "32M"]).await?;
        if pushed.status == 0 {
            eventually("what was pushed is served", SOON, || async {
                let body = cluster.body(&host, "/").await?;
                ensure!(body == text, "{body}");
                Ok(())
            })
            .await?;
            pushes.done += 1;
        } else {
            let reason = pushed.stderr.lines().next().unwrap_or_default();
            ensure!(!reason.trim().is_empty(), "no reason: {pushed:?}");
            pushes.refused.push(reason.to_string());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(pushes)
}
