//! How soon a changed setting is applied in every daemon: from the write to the moment in which the last of
//! eight followers has it. Needs `etcd`.
//!
//!     cargo run --release -p daemon --example settings_bench -- [--json]
//!
//! The yardstick is the store alone: from the same write to the event of a watch. Both take turns, some rounds;
//! `--json` prints one object, for programs.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement"
)]

#[path = "../tests/servers/mod.rs"]
mod servers;

use daemon::Cluster;
use proto::config::{Owner, PREFIX, Settings};
use serde_json::json;
use servers::Etcd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const DAEMONS: usize = 8;
const ROUNDS: usize = 5;
/// Changes in a round, of each.
const CHANGES: usize = 200;
const PLACE: &str = "/bench/value";
const KEY: &str = "router/limits/max_attempts";
const DEADLINE: Duration = Duration::from_secs(10);

struct Bench {
    client: etcd_client::Client,
    watched: etcd_client::WatchStream,
    followers: Vec<watch::Receiver<Arc<Settings>>>,
    number: i64,
}

impl Bench {
    /// Another value than the one before.
    fn next(&mut self) -> i64 {
        self.number = self.number % 20 + 1;
        self.number
    }

    /// From the write to the event.
    async fn yardstick(&mut self) -> f64 {
        let value = self.next().to_string();
        let mut client = self.client.clone();
        let begun = Instant::now();
        let (written, ()) = tokio::join!(
            client.put(PLACE, value.as_str(), None),
            event(&mut self.watched, &value)
        );
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        written.unwrap();
        took
    }

    /// From the write to the last follower.
    async fn ours(&mut self) -> f64 {
        let value = self.next();
        let mut client = self.client.clone();
        let begun = Instant::now();
        let written = client.put(format!("{PREFIX}{KEY}"), value.to_string(), None);
        let applied = self.followers.iter_mut().map(|follower| {
            tokio::time::timeout(
                DEADLINE,
                follower.wait_for(|settings| settings.integer(KEY) == value),
            )
        });
        let (written, applied) = tokio::join!(written, futures_util::future::join_all(applied));
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        written.unwrap();
        for one in applied {
            one.expect("every daemon has it in time").unwrap();
        }
        took
    }
}

/// Waits for the event of this value.
async fn event(watched: &mut etcd_client::WatchStream, value: &str) {
    loop {
        let message = tokio::time::timeout(DEADLINE, watched.message()).await;
        let message = message.expect("an event in time").unwrap();
        let message = message.expect("the watch goes on");
        let is_it = |event: &etcd_client::Event| {
            event
                .kv()
                .is_some_and(|pair| pair.value() == value.as_bytes())
        };
        if message.events().iter().any(is_it) {
            return;
        }
    }
}

fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let etcd = Etcd::start();
    let config = etcd.config("");
    let mut clusters = Vec::new();
    for number in 1..=DAEMONS {
        let name = format!("router-{number}");
        clusters.push(
            Cluster::connect_as(&config, vec![Owner::parse(&name).unwrap()])
                .await
                .unwrap(),
        );
    }
    for cluster in &clusters {
        let mut reachable = cluster.reachable();
        tokio::time::timeout(DEADLINE, reachable.wait_for(|there| *there))
            .await
            .expect("the store is there")
            .unwrap();
    }
    let client = etcd_client::Client::connect([etcd.endpoint()], None)
        .await
        .unwrap();
    // From the first revision on: nothing is missed while the watch opens.
    let all = etcd_client::WatchOptions::new().with_start_revision(1);
    let watched = client.clone().watch(PLACE, Some(all)).await.unwrap();
    let mut bench = Bench {
        client,
        watched,
        followers: clusters.iter().map(Cluster::settings).collect(),
        number: 0,
    };
    let (mut ratios, mut medians, mut slowest, mut yardsticks) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let (mut bare, mut applied) = (Vec::new(), Vec::new());
        for _ in 0..CHANGES {
            bare.push(bench.yardstick().await);
            applied.push(bench.ours().await);
        }
        let (bare, half) = (quantile(&mut bare, 0.5), quantile(&mut applied, 0.5));
        ratios.push(half / bare);
        yardsticks.push(bare);
        medians.push(half);
        slowest.push(quantile(&mut applied, 0.99));
    }
    if std::env::args().any(|argument| argument == "--json") {
        let document = json!({
            "ratios": ratios, "event_ms": yardsticks, "applied_ms": medians, "applied_p99_ms": slowest,
        });
        println!("{document}");
        return;
    }
    println!("put to watch event, median of each round: {yardsticks:.2?} ms");
    println!(
        "put to applied in {DAEMONS} daemons, median: {medians:.2?} ms, 99 %: {slowest:.2?} ms"
    );
    println!("ratio of the medians: {ratios:.2?}");
}
