//! How long an agent takes to start an instance from its pool, beside what is left when a prepared container is only
//! given its orders; and without its pool, beside the pieces of a start alone, put together without an agent.
//!
//! The real agent with real runc and a real bus. An instance's start is the agent's own measure
//! (`dea_instance_start_seconds`): from its command to the news that its process runs, droplet mounted and
//! everything noted. The first yardstick ends with the same news, and begins when a container of the same kind is
//! given its orders; the other one is in `bare`. They take turns. Processor time is that of everybody: the agent,
//! supervisors, runtimes, and what runs inside.
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

mod bare;
#[path = "../tests/world/mod.rs"]
mod world;
#[path = "../tests/yard/mod.rs"]
mod yard;

use bare::{Account, Pieces};
use proto::bus::health::InstanceState;
use std::time::{Duration, Instant};
use world::World;
use yard::Yard;

const WITHIN: Duration = Duration::from_secs(60);
const DISK_MB: u64 = 64;
/// More than what waits in the pool is prepared for, so that it is made when it is wanted.
const MANY_FILES: u64 = 20_000;
/// By then the program that was started waits; its own processor time is in the account, here and there.
const SETTLED: Duration = Duration::from_millis(50);
const LOOK: Duration = Duration::from_millis(20);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let mut numbers = arguments
        .iter()
        .filter_map(|argument| argument.parse().ok());
    let starts = numbers.next().unwrap_or(5);
    let rounds = numbers.next().unwrap_or(7);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure(starts, rounds, json));
}

async fn measure(starts: usize, rounds: usize, json: bool) {
    // Before any process is started.
    let account = nix::unistd::geteuid().is_root().then(Account::open);
    if let Some(world) = World::start("starts").await
        && let Some(yard) = Yard::start("starts").await
        && let Some(account) = &account
    {
        let taken = take_turns(world, yard, account, starts, rounds).await;
        taken.tell(json);
    }
}

/// In milliseconds; each the median of a round.
#[derive(Default)]
struct Taken {
    orders: Vec<f64>,
    exits: Vec<f64>,
    pooled: Vec<f64>,
    bare: Vec<f64>,
    bare_cpu: Vec<f64>,
    cold: Vec<f64>,
    cold_cpu: Vec<f64>,
}

async fn take_turns(
    world: World,
    yard: Yard,
    account: &Account,
    starts: usize,
    rounds: usize,
) -> Taken {
    let sha1 = world.droplet(&[("run", "")]);
    let mut bench = Bench {
        agent: Agent::of(&world),
        world,
        sha1,
        count: 0,
    };
    // The droplet comes, and the pool sees which disks are wanted.
    for _ in 0..8 {
        bench.start(Way::Usual).await;
    }
    let pieces = bench.pieces().await;
    let mut taken = Taken::default();
    for _ in 0..rounds {
        let [mut order, mut exit, mut pooled] = [const { Vec::new() }; 3];
        let [mut bare, mut bare_cpu, mut cold, mut cold_cpu] = [const { Vec::new() }; 4];
        for _ in 0..starts {
            bench.count += 1;
            let (began, ended) = give_orders(&yard, bench.count).await;
            order.push(began);
            exit.push(ended);
            bench.full_pool().await;
            let (took, from_pool) = bench.start(Way::Usual).await;
            assert!(from_pool, "the pool was full and not used");
            pooled.push(took);
            bench.full_pool().await;
            let (took, cpu) = bench.start_bare(&pieces, account);
            bare.push(took);
            bare_cpu.push(cpu);
            bench.full_pool().await;
            let (took, cpu) = bench.start_cold(account).await;
            cold.push(took);
            cold_cpu.push(cpu);
        }
        for (all, round) in [
            (&mut taken.orders, order),
            (&mut taken.exits, exit),
            (&mut taken.pooled, pooled),
            (&mut taken.bare, bare),
            (&mut taken.bare_cpu, bare_cpu),
            (&mut taken.cold, cold),
            (&mut taken.cold_cpu, cold_cpu),
        ] {
            all.push(median(&round));
        }
    }
    yard.finish().await;
    bench.world.finish().await;
    taken
}

impl Taken {
    fn tell(&self, json: bool) {
        let ratios = |ours: &[f64], yardstick: &[f64]| -> Vec<f64> {
            ours.iter().zip(yardstick).map(|(o, y)| o / y).collect()
        };
        let pooled = ratios(&self.pooled, &self.orders);
        let cold = ratios(&self.cold, &self.bare);
        let cpu = ratios(&self.cold_cpu, &self.bare_cpu);
        if json {
            println!(
                "{}",
                serde_json::json!({
                    "orders_ms": median(&self.orders), "orders_to_exit_ms": median(&self.exits),
                    "from_pool_ms": median(&self.pooled), "ratios": pooled,
                    "bare_ms": median(&self.bare), "cold_ms": median(&self.cold), "cold_ratios": cold,
                    "bare_cpu_ms": median(&self.bare_cpu), "cold_cpu_ms": median(&self.cold_cpu),
                    "cold_cpu_ratios": cpu,
                })
            );
            return;
        }
        println!(
            "orders to a prepared container, taken up: {:.2} ms, ended: {:.2} ms",
            median(&self.orders),
            median(&self.exits)
        );
        println!("start from the pool: {:.2} ms", median(&self.pooled));
        println!("ratio of each round: {pooled:.2?}");
        println!(
            "the pieces of a start: {:.1} ms, {:.1} ms of processor time",
            median(&self.bare),
            median(&self.bare_cpu)
        );
        println!(
            "start without the pool: {:.1} ms, {:.1} ms of processor time",
            median(&self.cold),
            median(&self.cold_cpu)
        );
        println!("ratio of each round: {cold:.2?}, of processor time: {cpu:.2?}");
    }
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From the pool, if one waits there.
    Usual,
    Cold,
}

/// What an instance's start came to.
struct Begun {
    id: String,
    took: f64,
    from_pool: bool,
    cpu: f64,
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

    /// What a bare start needs, from an instance that runs for a moment.
    async fn pieces(&mut self) -> Pieces {
        let Begun { id, .. } = self.begin(Way::Cold, None).await;
        let sandbox = self.world.agent_folder().join("sandboxes").join(&id);
        let droplet = self.world.agent_folder().join("droplets").join(&self.sha1);
        let pieces = Pieces::of(&sandbox, &droplet);
        self.end(&id).await;
        pieces
    }

    /// How long the pieces take alone, and the processor time of all who had a part in it.
    fn start_bare(&mut self, pieces: &Pieces, account: &Account) -> (f64, f64) {
        self.count += 1;
        // Of the first there is no group yet.
        let spent = || account.milliseconds() + cpu(&pieces.parent);
        let before = spent();
        let begun = Instant::now();
        let bare = pieces.start(self.count);
        let took = milliseconds(begun);
        std::thread::sleep(SETTLED);
        let after = spent();
        drop(bare);
        (took, after - before)
    }

    /// The agent's measure of a start without the pool, and the processor time of all who had a part in it.
    async fn start_cold(&mut self, account: &Account) -> (f64, f64) {
        let begun = self.begin(Way::Cold, Some(account)).await;
        assert!(
            !begun.from_pool,
            "the pool had one with more files than it makes them with"
        );
        self.end(&begun.id).await;
        (begun.took, begun.cpu)
    }

    /// Starts an instance and ends it: the agent's measure, and whether it came from the pool.
    async fn start(&mut self, way: Way) -> (f64, bool) {
        let begun = self.begin(way, None).await;
        self.end(&begun.id).await;
        (begun.took, begun.from_pool)
    }

    async fn begin(&mut self, way: Way, account: Option<&Account>) -> Begun {
        let parent = self.world.told("cgroup_parent");
        let spent = || account.map_or(0.0, |account| account.milliseconds() + cpu(&parent));
        self.count += 1;
        let id = format!("s{}", self.count);
        let mut message = self.world.start_message(&id, &self.sha1, bare::COMMAND);
        message.limits.disk = DISK_MB;
        if way == Way::Cold {
            message.limits.fds = MANY_FILES;
        }
        message.yard_health_check = None;
        message.uris = vec![];
        let sum = "dea_instance_start_seconds_sum";
        let taken = "dea_pool_taken_total{kind=\"instance\"}";
        let before = (self.agent.metric(sum).await, self.agent.metric(taken).await);
        let cpu = spent();
        self.world.order(&message).await;
        self.world.state(&id, InstanceState::Running).await;
        if account.is_some() {
            tokio::time::sleep(SETTLED).await;
        }
        let cpu = spent() - cpu;
        let after = (self.agent.metric(sum).await, self.agent.metric(taken).await);
        Begun {
            id,
            took: (after.0 - before.0) * 1000.0,
            from_pool: after.1 > before.1,
            cpu,
        }
    }

    async fn end(&self, id: &str) {
        self.world.order_stop(id).await;
        self.world.exited(id).await;
        self.world.forget_seen();
    }
}

/// Milliseconds of processor time of all containers below this group.
fn cpu(parent: &str) -> f64 {
    let spent = dea_shim::cgroup::Group::new(parent).cpu_seconds();
    spent.unwrap_or(0.0) * 1000.0
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
