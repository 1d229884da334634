//! How long an agent takes to start an instance from its pool and without one, beside what is left when a
//! prepared container is only given its orders.
//!
//! The real agent with real runc and a real bus. An instance's start is the agent's own measure
//! (`dea_instance_start_seconds`): from its command to the news that its process runs, droplet mounted and
//! everything noted. The yardstick ends with the same news, and begins when a container of the same kind is given
//! its orders. They take turns.
//!
//!     cargo build --release -p dea -p dea-shim --examples --bins
//!     STACKYARD_PROGRAMS=target/release target/release/examples/starts_bench [--json] [starts] [rounds]
//!
//! Needs root, `runc`, `nft`, `nats-server`. Without them it says so and measures nothing.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement"
)]

#[path = "../tests/world/mod.rs"]
mod world;
#[path = "../tests/yard/mod.rs"]
mod yard;

use proto::bus::health::InstanceState;
use std::time::{Duration, Instant};
use world::World;
use yard::Yard;

const WITHIN: Duration = Duration::from_secs(60);
const DISK_MB: u64 = 64;
const RARE_DISK_MB: u64 = 65;
const LOOK: Duration = Duration::from_millis(20);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let mut numbers = arguments
        .iter()
        .filter_map(|argument| argument.parse().ok());
    let starts = numbers.next().unwrap_or(10);
    let rounds = numbers.next().unwrap_or(7);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure(starts, rounds, json));
}

async fn measure(starts: usize, rounds: usize, json: bool) {
    let Some(world) = World::start("starts").await else {
        return;
    };
    let Some(yard) = Yard::start("starts").await else {
        return;
    };
    let sha1 = world.droplet(&[("run", "")]);
    let mut bench = Bench {
        agent: Agent::of(&world),
        world,
        sha1,
        count: 0,
    };
    // The droplet comes, and the pool sees which disks are wanted.
    for _ in 0..8 {
        bench.start().await;
    }
    // The first of a size has its template made, once for all.
    bench.start_with_disk(RARE_DISK_MB).await;
    let (mut orders, mut exits, mut ready, mut cold) = (vec![], vec![], vec![], vec![]);
    for _ in 0..rounds {
        let (mut order, mut exit, mut pooled) = (vec![], vec![], vec![]);
        for number in 0..starts {
            let (began, ended) = give_orders(&yard, number).await;
            order.push(began);
            exit.push(ended);
            bench.full_pool().await;
            let (took, from_pool) = bench.start().await;
            assert!(from_pool, "the pool was full and not used");
            pooled.push(took);
        }
        orders.push(median(&order));
        exits.push(median(&exit));
        ready.push(median(&pooled));
        // Too few of these are wanted for one to wait.
        let (took, from_pool) = bench.start_with_disk(RARE_DISK_MB).await;
        assert!(
            !from_pool,
            "the pool had one of a disk that is rarely wanted"
        );
        cold.push(took);
    }
    let ratios: Vec<f64> = ready
        .iter()
        .zip(&orders)
        .map(|(ours, y)| ours / y)
        .collect();
    if json {
        println!(
            "{}",
            serde_json::json!({
                "orders_ms": median(&orders), "orders_to_exit_ms": median(&exits),
                "from_pool_ms": median(&ready), "cold_ms": median(&cold), "ratios": ratios,
            })
        );
    } else {
        println!(
            "orders to a prepared container, taken up: {:.2} ms, ended: {:.2} ms",
            median(&orders),
            median(&exits)
        );
        println!("start from the pool: {:.2} ms", median(&ready));
        println!("start without: {:.2} ms", median(&cold));
        println!("ratio of each round: {ratios:.2?}");
    }
    yard.finish().await;
    bench.world.finish().await;
}

/// Of a container that was just prepared: until its process runs, and until its end is known.
async fn give_orders(yard: &Yard, number: usize) -> (f64, f64) {
    let sandbox = yard.prepare(&format!("y{number}")).await;
    let mut events = sandbox.events().await.unwrap();
    let mut orders = yard::shell("");
    orders.argv = vec!["/bin/true".to_string()];
    tokio::time::sleep(LOOK).await;
    let begun = Instant::now();
    sandbox.order(orders).await.unwrap();
    let running = milliseconds(begun);
    yard::collect(&mut events).await;
    let ended = milliseconds(begun);
    sandbox.destroy().await.unwrap();
    (running, ended)
}

/// The agent's own figures.
struct Agent {
    client: reqwest::Client,
    address: String,
    password: String,
}

impl Agent {
    fn of(world: &World) -> Agent {
        let admin = &world.bootstrap()["admin"];
        Agent {
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            address: admin["address"].as_str().unwrap().to_string(),
            password: admin["password"].as_str().unwrap().to_string(),
        }
    }

    /// The value of the first line that begins so.
    async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.address);
        let asked = self
            .client
            .get(url)
            .basic_auth("status", Some(&self.password));
        let text = asked.send().await.unwrap().text().await.unwrap();
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_whitespace().last()?.parse().ok())
            .unwrap_or(0.0)
    }
}

struct Bench {
    agent: Agent,
    world: World,
    sha1: String,
    count: usize,
}

impl Bench {
    async fn full_pool(&self) {
        let begun = Instant::now();
        while self
            .agent
            .metric("dea_pool_prepared{kind=\"instance\"}")
            .await
            < 2.0
        {
            assert!(begun.elapsed() < WITHIN, "the pool does not fill");
            tokio::time::sleep(LOOK).await;
        }
        // The last one was made a moment ago: let the machine come to rest.
        tokio::time::sleep(LOOK * 5).await;
    }

    async fn start(&mut self) -> (f64, bool) {
        self.start_with_disk(DISK_MB).await
    }

    /// Starts an instance and ends it: the agent's measure, and whether it came from the pool.
    async fn start_with_disk(&mut self, disk_mb: u64) -> (f64, bool) {
        self.count += 1;
        let id = format!("s{}", self.count);
        let mut message = self.world.start_message(&id, &self.sha1, "exec sleep 1000");
        message.limits.disk = disk_mb;
        message.yard_health_check = None;
        message.uris = vec![];
        let sum = "dea_instance_start_seconds_sum";
        let taken = "dea_pool_taken_total{kind=\"instance\"}";
        let before = (self.agent.metric(sum).await, self.agent.metric(taken).await);
        self.world.order(&message).await;
        self.world.state(&id, InstanceState::Running).await;
        let after = (self.agent.metric(sum).await, self.agent.metric(taken).await);
        self.world.order_stop(&id).await;
        self.world.exited(&id).await;
        self.world.forget_seen();
        ((after.0 - before.0) * 1000.0, after.1 > before.1)
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count => values[count / 2],
    }
}
