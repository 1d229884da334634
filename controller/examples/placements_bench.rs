//! How many instances a second a controller places from end to end, on 1,000 agents: an app is scaled, each instance
//! is decided on, sent to its agent, and its reason recorded. Needs `nats-server` and `etcd`.
//!
//!     cargo run --release -p controller --example placements_bench -- [--json]
//!
//! Yardstick: the same records written through the same store by callers that each wait for theirs to be on disk
//! (those of a moment share a commit). Both take turns; `--json` prints one object, for programs.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement"
)]

#[path = "../tests/world/mod.rs"]
mod world;

use controller::store::Store;
use controller::store::decisions::{self, Decision};
use daemon::Bus;
use futures_util::StreamExt;
use proto::bus::catalogue;
use proto::bus::dea::{Advertisement, PlacementProperties};
use proto::bus::health::Heartbeat;
use proto::ids::DeaId;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use world::{World, eventually};

const AGENTS: usize = 1000;
const ZONES: usize = 3;
const ROUNDS: usize = 5;
/// Instances of a round, and records of the yardstick.
const COUNT: usize = 5000;
/// Callers of the yardstick at a time.
const CALLERS: usize = 64;
const AGENT_MB: u64 = 64 * 1024;
const INSTANCE_MB: i64 = 64;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if !world::has_servers("placements_bench") {
        return;
    }
    let world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    let bus = world.connect("tool").await;
    announce(&bus).await;
    let mut starts = starts(&world).await;
    let (mut yardstick, mut ours) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        yardstick.push(COUNT as f64 / records(&world.store, round).await);
        let app = format!("app-{round}");
        world.app(&app, 0, INSTANCE_MB).await;
        runtime.nudge();
        announce(&bus).await;
        let change = |process: &mut controller::store::processes::Process| {
            process.instances = COUNT as i64;
        };
        let begun = Instant::now();
        world.change(&app, change).await;
        runtime.nudge();
        for _ in 0..COUNT {
            starts.next().await.unwrap();
        }
        eventually("every reason is on record", async || {
            let mut reader = world.store.read().await.unwrap();
            let known = decisions::of_app(&mut reader, &app, COUNT as i64 + 1).await;
            let known = known.unwrap().len();
            (known == COUNT).then_some(()).ok_or(known.to_string())
        })
        .await;
        ours.push(COUNT as f64 / begun.elapsed().as_secs_f64());
        world.change(&app, |process| process.instances = 0).await;
        runtime.nudge();
    }
    let document = json!({ "yardstick_per_s": yardstick, "ours_per_s": ours });
    match std::env::args().any(|word| word == "--json") {
        true => println!("{document}"),
        false => println!("{document:#}"),
    }
}

fn agent(number: usize) -> DeaId {
    DeaId::new(format!("dea-{number}")).unwrap()
}

/// Every agent tells what it has, and that it runs nothing.
async fn announce(bus: &Bus) {
    for number in 0..AGENTS {
        let ad = Advertisement {
            id: agent(number),
            stacks: vec!["host".to_string()],
            available_memory: AGENT_MB,
            available_disk: AGENT_MB * 8,
            app_id_to_count: BTreeMap::new(),
            placement_properties: PlacementProperties {
                zone: format!("zone-{}", number % ZONES),
            },
            url: None,
            yard_total_memory: Some(AGENT_MB),
            yard_total_disk: Some(AGENT_MB * 8),
        };
        bus.publish(&catalogue::dea_advertise(), &ad).await.unwrap();
        let beat = Heartbeat {
            dea: agent(number),
            droplets: Vec::new(),
            yard_complete: Some(true),
            yard_period: Some(10.0),
            yard_zone: None,
            yard_tasks: None,
        };
        bus.publish(&catalogue::dea_heartbeat(), &beat)
            .await
            .unwrap();
    }
    bus.flush().await.unwrap();
}

/// Every command to start, to whichever agent.
async fn starts(world: &World) -> async_nats::Subscriber {
    let config = world.bus_of("tool");
    let options = async_nats::ConnectOptions::with_user_and_password(config.user, config.password)
        .subscription_capacity(COUNT * 2);
    let client = options.connect(&config.servers[0]).await.unwrap();
    let starts = client.subscribe("dea.*.start").await.unwrap();
    client.flush().await.unwrap();
    starts
}

/// Writes the records of so many placements, each by a caller that waits for it; seconds that it took.
async fn records(store: &Store, round: usize) -> f64 {
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let caller = || async {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= COUNT {
                return;
            }
            let mut tx = store.write("a yardstick").await.unwrap();
            decisions::record(&mut tx, &[record(round, number)])
                .await
                .unwrap();
            tx.commit().await.unwrap();
        }
    };
    futures_util::future::join_all((0..CALLERS).map(|_| caller())).await;
    begun.elapsed().as_secs_f64()
}

fn record(round: usize, number: usize) -> Decision {
    Decision {
        guid: format!("yardstick-{round}-{number}"),
        app_guid: format!("yardstick-{round}"),
        process_guid: format!("yardstick-{round}"),
        process_type: "web".to_string(),
        version: "v".to_string(),
        instance_index: number as i64,
        instance: Some(format!("{number:032x}")),
        dea: Some(format!("dea-{}", number % AGENTS)),
        kind: decisions::STARTED.to_string(),
        because: "it is wanted and nothing is seen of it".to_string(),
        placement: Some("1000 of 1000 agents have room".to_string()),
        created_at: world::now(),
    }
}
