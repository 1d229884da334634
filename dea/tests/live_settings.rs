//! A changed setting acts on the instances that are there, within a second: a real agent, bus, store
//! and containers.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../daemon/tests/servers/mod.rs"]
mod servers;
mod world;

use daemon::Cluster;
use proto::bus::automation::{PackContent, RunAction, RunActionReply};
use proto::bus::catalogue;
use proto::bus::health::InstanceState;
use proto::ids::DeaId;
use servers::{Etcd, has};
use std::path::Path;
use std::time::{Duration, Instant};
use world::{Seen, World};

/// From the write to the effect; the effects themselves (a kill, a removal) take part of it.
const PROMPTLY: Duration = Duration::from_secs(3);

async fn set(cluster: &Cluster, key: &str, value: &str) {
    let schema = proto::config::Key::find(key).unwrap();
    let stored = schema.parse(value).unwrap().to_json().to_string();
    let path = format!("{}{key}", proto::config::PREFIX);
    let written = cluster.compare_and_set(&path, None, &stored).await;
    written.unwrap().unwrap();
}

async fn promptly(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < PROMPTLY,
            "{what}: not within {PROMPTLY:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    eprintln!("{what}: {:?}", begun.elapsed());
}

/// Sandboxes of this agent that wait in its pool.
fn prepared(world: &World) -> usize {
    let sandboxes = std::fs::read_dir(world.agent_folder().join("sandboxes")).unwrap();
    let names = sandboxes.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("ready-")).count()
}

fn says(world: &World, words: &str) -> bool {
    let seen = world.all_seen();
    seen.iter()
        .any(|seen| matches!(seen, Seen::Line(_, text) if text.contains(words)))
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_settings_act_on_instances_that_are_there() {
    if !has("live settings", "etcd") {
        return;
    }
    let etcd = Etcd::start();
    let store = serde_json::json!({"endpoints": [etcd.endpoint()], "user": "", "password": ""});
    let started = World::with("live settings", |bootstrap| bootstrap["store"] = store).await;
    let Some(world) = started else { return };
    let cluster = Cluster::connect(&etcd.config("")).await.unwrap();
    cluster.reachable().wait_for(|there| *there).await.unwrap();
    // Sandboxes that waited in the pool have names of their own; the instances below are looked for by theirs.
    promptly("sandboxes are prepared", || prepared(&world) == 2).await;
    set(&cluster, "dea/pool/instances", "0").await;
    promptly("what was prepared goes", || prepared(&world) == 0).await;
    let sha1 = world.droplet(&[("app/x", "")]);
    let worker = |instance: &str, command: &str| {
        let mut start = world.start_message(instance, &sha1, command);
        start.uris.clear();
        start
    };

    world.order(&worker("crashed", "exit 3")).await;
    world.exited("crashed").await;
    let kept = world.agent_folder().join("sandboxes/crashed");
    assert!(kept.is_dir(), "it is kept for an hour");
    set(&cluster, "dea/instance/crash_retention", "100ms").await;
    promptly("what crashed goes", || !kept.exists()).await;

    world.order(&worker("worker", "exec sleep 1000")).await;
    world.state("worker", InstanceState::Running).await;
    let group = world.told("cgroup_parent").trim_matches('/').to_owned() + "/worker/pids.max";
    let limit = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
        .map(|root| Path::new(root).join(&group))
        .into_iter()
        .find(|file| file.exists())
        .unwrap();
    assert_eq!(std::fs::read_to_string(&limit).unwrap(), "512\n");
    set(&cluster, "dea/instance/max_pids", "100").await;
    promptly("the limit of processes changes", || {
        std::fs::read_to_string(&limit).unwrap() == "100\n"
    })
    .await;

    let deaf = "trap '' TERM; while :; do sleep 0.1; done";
    world.order(&worker("deaf", deaf)).await;
    world.state("deaf", InstanceState::Running).await;
    world.order_stop("deaf").await;
    world
        .eventually("it is stopping", |_| says(&world, "Stopping instance"))
        .await;
    set(&cluster, "dea/instance/stop_grace", "100ms").await;
    promptly("who ignores TERM is killed", || {
        says(&world, "did not stop in time")
    })
    .await;

    set(&cluster, "dea/pack/memory_mb", "128").await;
    let action = RunAction {
        execution: "a1".into(),
        attempt: 1,
        content: Some(PackContent {
            pack: "core".into(),
            ..PackContent::default()
        }),
        orders: br#"{"kind": "shell", "command": "true"}"#.to_vec(),
        ..RunAction::default()
    };
    let topic = catalogue::dea_action_run(&DeaId::new("dea-1").unwrap());
    let reply: RunActionReply = world
        .bus
        .request(&topic, &action, Duration::from_secs(5))
        .await
        .unwrap();
    assert!(reply.accepted, "{reply:?}");
    world
        .eventually("its end", |seen| matches!(seen, Seen::Action(_)))
        .await;
    let packs =
        |seen: &Seen, count| matches!(seen, Seen::Report(report) if report.packs.len() == count);
    world.eventually("a warm pack", |seen| packs(seen, 1)).await;
    world.forget_seen();
    set(&cluster, "dea/pack/idle", "1s").await;
    world
        .eventually("the idle pack goes", |seen| packs(seen, 0))
        .await;

    let mut mute = world.start_message("mute", &sha1, "exec sleep 1000");
    mute.health_check_timeout = None;
    world.order(&mute).await;
    world
        .eventually("it is starting", |_| says(&world, "Starting app instance"))
        .await;
    set(&cluster, "dea/instance/start_timeout", "1s").await;
    promptly("who never listens is given up", || {
        world.all_seen().iter().any(|seen| {
            matches!(seen, Seen::Exited(it) if it.instance.as_str() == "mute"
                && it.exit_description.contains("(1 s)"))
        })
    })
    .await;
    world.finish().await;
}
