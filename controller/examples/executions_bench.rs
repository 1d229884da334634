//! How many executions a second one controller takes in and carries out, on SQLite: actions that do nothing,
//! so that what is measured is the record. Needs `nats-server` and `etcd`.
//!
//!     cargo run --release -p controller --example executions_bench [executions]

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement"
)]

#[path = "../tests/automation_client/mod.rs"]
mod automation_client;
#[path = "../tests/world/mod.rs"]
mod cluster;
#[path = "../tests/databases/mod.rs"]
mod databases;
#[path = "../tests/automation/world.rs"]
mod world;

use controller::automation::ids::new_id;
use controller::automation::ops::executions::Wanted;
use controller::store::automation::executions::{self, Execution};
use controller::store::query::Filter;
use serde_json::json;
use std::time::{Duration, Instant};
use world::World;

/// Clients that ask at the same time.
const CLIENTS: usize = 64;
/// Rows of the list whose first page is timed.
const ROWS: usize = 100_000;

async fn succeeded(world: &World) -> u64 {
    let filter = Filter::new().equals("status", "succeeded");
    let mut reader = world.cluster.store.read().await.unwrap();
    filter.count(&mut reader, "executions").await.unwrap()
}

async fn until(world: &World, count: usize) {
    while succeeded(world).await < count as u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn tell(what: &str, count: usize, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{what}: {count} in {seconds:.2} s, {:.0}/s",
        count as f64 / seconds
    );
}

/// All accepted in one transaction: what the engine does alone.
async fn engine(world: &World, count: usize) {
    let automation = &world.node.automation;
    let mut tx = world.cluster.store.write("measure").await.unwrap();
    for _ in 0..count {
        let wanted = Wanted {
            action: "check.noop".into(),
            username: "admin".into(),
            ..Wanted::default()
        };
        automation.accept(&mut tx, wanted).await.unwrap();
    }
    tx.commit().await.unwrap();
    let begun = Instant::now();
    automation.nudge();
    until(world, count).await;
    tell("engine alone, from accepted to succeeded", count, begun);
}

/// Requests of many clients, each a transaction of its own, while the engine works.
async fn requests(world: &World, count: usize) {
    let admin = world.admin().await;
    let before = succeeded(world).await as usize;
    let begun = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let admin = admin.clone();
            tokio::spawn(async move {
                for _ in 0..count / CLIENTS {
                    admin.run("check.noop", json!({})).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let asked = count / CLIENTS * CLIENTS;
    tell(
        &format!("accepted over the API, {CLIENTS} clients"),
        asked,
        begun,
    );
    until(world, before + asked).await;
    tell("  until the last has succeeded", asked, begun);
}

/// The first page of a long list, as `st2 execution list` asks for it.
async fn list(world: &World) {
    let filter = Filter::new().equals("status", "succeeded").window(1, 0);
    let mut tx = world.cluster.store.write("measure").await.unwrap();
    let rows = Execution::fetch(&mut tx, filter, "measure").await.unwrap();
    let mut row = rows.into_iter().next().unwrap();
    row.result = Some("x".repeat(4096));
    for number in 0..ROWS {
        row.id = new_id();
        row.liveaction_id = new_id();
        row.started_at += number as i64;
        row.insert(&mut tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    let client = world.user("reader", &["observer"]).await;
    for query in [
        "limit=50&parent=null&sort_desc=True&include_attributes=id,action.ref,context.user,status,start_timestamp,end_timestamp",
        "limit=50&status=succeeded&user=admin",
        "limit=100",
    ] {
        let path = format!("/v1/executions/?{query}");
        client.get(&path).await.expect(200);
        let begun = Instant::now();
        let reply = client.get(&path).await;
        let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
        let total = reply.header("x-total-count").unwrap();
        println!("first page of {total}: {milliseconds:.1} ms for {query}");
    }
    let mut reader = world.cluster.store.read().await.unwrap();
    let begun = Instant::now();
    executions::overdue(&mut reader, cluster::now(), 200)
        .await
        .unwrap();
    println!(
        "what is overdue: {:.1} ms",
        begun.elapsed().as_secs_f64() * 1000.0
    );
}

#[tokio::main]
async fn main() {
    let count = std::env::args()
        .nth(1)
        .map_or(2000, |text| text.parse().expect("a number of executions"));
    let Some(world) = World::start("executions_bench").await else {
        return;
    };
    world.action("noop", "noop", json!({}), json!({})).await;
    engine(&world, count).await;
    requests(&world, count).await;
    list(&world).await;
}
