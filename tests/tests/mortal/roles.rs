//! Two of each: both are there, they share the work, and one is enough.

use crate::api::Api;
use crate::world::{CONTROLLERS, SOON, STEADY, World};
use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use tests::apps::push;
use tests::eventually;

const STAGERS: [&str; 2] = ["stager-1", "stager-2"];
const HEALTH_MANAGERS: [&str; 2] = ["health-manager-1", "health-manager-2"];
const ROUTERS: [&str; 2] = ["router-1", "router-2"];

pub async fn two_of_each_share_work_or_stand_by(world: &World) -> anyhow::Result<()> {
    let cluster = &world.cluster;
    let status = cluster.ok(["status", "--json"]).await?.stdout;
    for pair in [CONTROLLERS, ROUTERS, STAGERS, HEALTH_MANAGERS] {
        for component in pair {
            ensure!(status.contains(component), "{component} in {status}");
        }
        let bootstraps = pair
            .map(|component| cluster.bootstrap(component))
            .into_iter()
            .collect::<anyhow::Result<Vec<_>>>()?;
        for pointer in [
            "/folder",
            "/admin/address",
            "/bus/user",
            "/bus/password",
            "/store/password",
        ] {
            let values: BTreeSet<String> = bootstraps
                .iter()
                .filter_map(|bootstrap| Some(bootstrap.pointer(pointer)?.to_string()))
                .collect();
            ensure!(values.len() == 2, "{pointer} is shared: {values:?}");
        }
    }
    for pair in [CONTROLLERS, HEALTH_MANAGERS] {
        world.leader(pair).await?;
        let mut leaders = 0;
        for component in pair {
            leaders += u32::from(cluster.varz(component).await?["leads"] == true);
        }
        ensure!(leaders <= 1, "both of {pair:?} lead");
    }
    // Either controller has the whole API, with one login.
    for controller in CONTROLLERS {
        let api = Api::of(world, controller).await?;
        api.app(STEADY).await.context(controller)?;
    }
    one_router_is_enough(world).await?;
    one_stager_and_one_health_manager_are_enough(world).await
}

/// A balancer in front would take the other one's port.
async fn one_router_is_enough(world: &World) -> anyhow::Result<()> {
    let cluster = &world.cluster;
    let host = cluster.host(STEADY);
    let [first, second] = [cluster.port, cluster.port + 1];
    let pid = cluster.pid(ROUTERS[0])?;
    for port in [first, second] {
        let answer = cluster.get_at(port, &host, "/").await?;
        ensure!(answer.status() == 200, "{port}: {}", answer.status());
    }
    world.signal(pid, Signal::SIGSTOP)?;
    let answered = async {
        for name in [STEADY, "api"] {
            let answer = cluster.get_at(second, &cluster.host(name), "/").await?;
            ensure!(answer.status() == 200, "{name}: {}", answer.status());
        }
        Ok(())
    };
    let answered = answered.await;
    world.signal(pid, Signal::SIGCONT)?;
    answered.context("one router stands still")
}

/// One of each is dead for a while; the others do the work of both.
async fn one_stager_and_one_health_manager_are_enough(world: &World) -> anyhow::Result<()> {
    let cluster = &world.cluster;
    let leader = world.leader(HEALTH_MANAGERS).await?;
    let delay = "node/restart/first_delay";
    cluster.ok(["config", "set", delay, "6s"]).await?;
    for component in [STAGERS[0], leader] {
        cluster.kill(component)?;
    }
    let folder = world.page("shared", "shared", 16);
    push(cluster, "shared", &folder, &["--memory", "32M"])
        .await?
        .success()
        .context("with one stager")?;
    let before = world.settled(STEADY, 2).await?;
    // The connection breaks: that is how one sees that it died.
    let _ = cluster.get(&cluster.host(STEADY), "/crash").await;
    eventually("a crashed instance is replaced", SOON, || async {
        let now = world.instances(STEADY).await?;
        ensure!(now.len() == 2 && now != before, "{before:?} {now:?}");
        Ok(())
    })
    .await
    .context("with one health manager")?;
    cluster.ok(["delete", "shared", "--force"]).await?;
    cluster.ok(["config", "unset", delay]).await?;
    world.all_ready().await?;
    world.settled(STEADY, 2).await.map(drop)
}
