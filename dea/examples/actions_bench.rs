//! How many shell actions an agent carries out on one core, what one costs and how long it takes to begin:
//! the real agent in a process of its own, real runc, a real bus; beside a loop that only spawns `sh`.
//!
//! The agent and its sandboxes have one core, and so has the loop in its turn; whoever asks and the bus have
//! the others. The two alternate, so that what else the machine does meets both. CPU is that of the agent's
//! process and of its sandboxes (theirs is what their control group counted). The first instruction is seen
//! by a reader of a named pipe that the action writes to: its wake-up is in the time.
//!
//!     cargo build --release -p dea -p dea-shim --examples --bins
//!     STACKYARD_PROGRAMS=target/release target/release/examples/actions_bench [--json] [--python] [actions] [rounds]
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

use daemon::{Bootstrap, Sockets};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use proto::bus::automation::{ActionEnd, ActionExited, PackContent, RunAction};
use proto::bus::stream::Ack;
use proto::bus::{Payload, catalogue};
use proto::ids::DeaId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use world::World;

/// Actions under way at the same time when their number per second is measured.
const AT_ONCE: usize = 16;
/// Actions of which the beginning is timed, one after the other.
const TIMED: usize = 200;
const WITHIN: Duration = Duration::from_secs(60);
/// The core of the agent, and of the loop.
const CORE: usize = 0;

struct Asked {
    actions: usize,
    rounds: usize,
    json: bool,
    python: bool,
}

/// What one round showed of one side.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: f64,
    cpu_ms: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [agent, bootstrap] = arguments.as_slice()
        && agent == "agent"
    {
        return run_agent(Path::new(bootstrap));
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let mut numbers = arguments
        .iter()
        .filter_map(|argument| argument.parse().ok());
    let asked = Asked {
        actions: numbers.next().unwrap_or(1000),
        rounds: numbers.next().unwrap_or(5),
        json: has("--json"),
        python: has("--python"),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    pin((0..cores).filter(|core| cores == 1 || *core != CORE));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure(asked));
}

fn pin(cores: impl Iterator<Item = usize>) {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(core).expect("a core");
    }
    sched_setaffinity(Pid::from_raw(0), &set).expect("pinned");
}

/// The agent's own process, as the executable of the cluster starts it.
fn run_agent(bootstrap: &Path) {
    pin(std::iter::once(CORE));
    let text = std::fs::read_to_string(bootstrap).expect("read");
    let bootstrap: Bootstrap = serde_json::from_str(&text).expect("a bootstrap");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime
        .block_on(daemon::run(bootstrap, Sockets::none(), dea::start))
        .expect("the agent ends in order");
}

struct Agent {
    process: Child,
    log: PathBuf,
}

impl Agent {
    fn start(world: &World) -> Agent {
        let folder = world.agent_folder();
        let (bootstrap, log) = (folder.join("bootstrap.json"), folder.join("agent.log"));
        std::fs::write(&bootstrap, world.bootstrap().to_string()).expect("written");
        let process = Command::new(std::env::current_exe().expect("a path"))
            .args([Path::new("agent"), &bootstrap])
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("made"))
            .spawn()
            .expect("it starts");
        Agent { process, log }
    }

    fn cpu(&self) -> Duration {
        let tasks = format!("/proc/{}/task", self.process.id());
        let ran_for = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        let threads = std::fs::read_dir(tasks).expect("it runs").flatten();
        Duration::from_nanos(threads.filter_map(ran_for).sum())
    }

    fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("small"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signalled");
        let status = self.process.wait().expect("waited for");
        assert!(
            status.success(),
            "the agent's log is {}",
            self.log.display()
        );
    }
}

/// CPU of all sandboxes of the agent, those that are gone too.
fn sandboxes_cpu(world: &World) -> Duration {
    let parent = world.told("cgroup_parent");
    let one = format!("/sys/fs/cgroup/cpuacct{parent}/cpuacct.usage");
    if let Ok(text) = std::fs::read_to_string(one) {
        return Duration::from_nanos(text.trim().parse().expect("a number"));
    }
    let text = std::fs::read_to_string(format!("/sys/fs/cgroup{parent}/cpu.stat")).expect("read");
    let used = text
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "));
    Duration::from_micros(used.and_then(|text| text.parse().ok()).expect("a number"))
}

/// Whoever asks for actions and is told their ends.
struct Asker {
    world: World,
    dea: DeaId,
    content: PackContent,
    waiting: Arc<Mutex<BTreeMap<String, oneshot::Sender<ActionExited>>>>,
    next: AtomicU32,
}

impl Asker {
    async fn new(world: World) -> Asker {
        let options =
            async_nats::ConnectOptions::with_user_and_password("tool".into(), "secret".into());
        let client = options.connect(world.bus_address()).await.expect("a bus");
        let waiting: Arc<Mutex<BTreeMap<String, oneshot::Sender<ActionExited>>>> = Arc::default();
        let ends = waiting.clone();
        let mut told = client
            .subscribe("yard.action.exited")
            .await
            .expect("subscribed");
        client.flush().await.expect("flushed");
        tokio::spawn(async move {
            while let Some(message) = told.next().await {
                let reply = message.reply.expect("it wants an answer");
                let answer = Ack { ok: true }.encode();
                client.publish(reply, answer.into()).await.expect("sent");
                let exited = ActionExited::decode(&message.payload).expect("an end");
                let waiting = ends.lock().unwrap().remove(&exited.execution);
                if let Some(waiting) = waiting {
                    let _ = waiting.send(exited);
                }
            }
        });
        let files = [("actions/nothing.py", NOTHING)];
        Asker {
            content: world.pack("bench", &files),
            world,
            dea: DeaId::new("dea-1").expect("an id"),
            waiting,
            next: AtomicU32::new(0),
        }
    }

    async fn run(&self, orders: &Value) -> ActionExited {
        let execution = format!("e{}", self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap()
            .insert(execution.clone(), sender);
        let action = RunAction {
            execution,
            attempt: 1,
            action: "bench.action".into(),
            content: Some(self.content.clone()),
            orders: orders.to_string().into_bytes(),
            timeout_ms: 30_000,
            memory_mb: 128,
            output_limit: 1 << 20,
            inline_limit: 64 << 10,
            epoch: 5,
            ..RunAction::default()
        };
        let topic = catalogue::dea_action_run(&self.dea);
        let asked = self.world.bus.request(&topic, &action, WITHIN);
        let reply: proto::bus::automation::RunActionReply = asked.await.expect("an answer");
        assert!(reply.accepted, "{reply:?}");
        let ended = tokio::time::timeout(WITHIN, receiver).await;
        let exited = ended.expect("its end in time").expect("its end");
        assert_eq!(
            (exited.end(), exited.exit_status),
            (ActionEnd::Exited, 0),
            "{exited:?}"
        );
        exited
    }

    /// Many of them, some at once.
    async fn burst(&self, agent: &Agent, orders: &Value, count: usize) -> Rate {
        let cpu = || agent.cpu() + sandboxes_cpu(&self.world);
        let (begun, cpu_before) = (Instant::now(), cpu());
        let mut running: FuturesUnordered<_> = (0..AT_ONCE).map(|_| self.run(orders)).collect();
        let mut asked = running.len();
        while running.next().await.is_some() {
            if asked < count {
                running.push(self.run(orders));
                asked += 1;
            }
        }
        rate(asked, begun.elapsed(), cpu() - cpu_before)
    }
}

const NOTHING: &str = r#"
from st2common.runners.base_action import Action

class Nothing(Action):
    def run(self):
        return True
"#;

fn shell(command: &str) -> Value {
    let env = json!({"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/vcap"});
    json!({"kind": "shell", "command": command, "env": env, "cwd": "/home/vcap"})
}

fn python() -> Value {
    json!({"kind": "python", "file": "/opt/stackyard/pack/content/actions/nothing.py", "pack": "bench",
           "parameters": {}, "cwd": "/opt/stackyard/pack/content"})
}

fn rate(count: usize, took: Duration, cpu: Duration) -> Rate {
    Rate {
        per_second: count as f64 / took.as_secs_f64(),
        cpu_ms: cpu.as_secs_f64() * 1000.0 / count as f64,
    }
}

/// The yardstick: programs started and waited for one after the other, on the agent's core.
fn spawn_loop(program: &'static [&'static str], count: usize) -> (Rate, Vec<f64>) {
    let looping = std::thread::spawn(move || {
        pin(std::iter::once(CORE));
        let children = || {
            let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage");
            let own = getrusage(UsageWho::RUSAGE_THREAD).expect("usage");
            let times = [
                usage.user_time(),
                usage.system_time(),
                own.user_time(),
                own.system_time(),
            ];
            Duration::from_micros(
                times
                    .iter()
                    .map(|time| time.num_microseconds() as u64)
                    .sum(),
            )
        };
        let mut times = Vec::new();
        let (begun, cpu_before) = (Instant::now(), children());
        for _ in 0..count {
            let one = Instant::now();
            let status = Command::new(program[0]).args(&program[1..]).status();
            assert!(status.expect("it starts").success());
            times.push(one.elapsed().as_secs_f64() * 1000.0);
        }
        (rate(count, begun.elapsed(), children() - cpu_before), times)
    });
    looping.join().expect("no panic")
}

/// The other parts of the yardstick of latency: a message from one client to another, and a synced append.
async fn hop_and_sync(world: &World, count: usize) -> (Vec<f64>, Vec<f64>) {
    let connect = || {
        let options =
            async_nats::ConnectOptions::with_user_and_password("tool".into(), "secret".into());
        options.connect(world.bus_address())
    };
    let (sender, receiver) = (
        connect().await.expect("a bus"),
        connect().await.expect("a bus"),
    );
    let mut heard = receiver.subscribe("bench.hop").await.expect("subscribed");
    // Its own message tells that the server has taken the subscription: what is sent before is lost.
    let own = receiver.publish("bench.hop", "".into()).await;
    own.expect("sent");
    heard.next().await.expect("heard");
    let file = std::fs::File::create(world.agent_folder().join("synced")).expect("made");
    let (mut hops, mut syncs) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let begun = Instant::now();
        sender
            .publish("bench.hop", vec![0; 300].into())
            .await
            .expect("sent");
        sender.flush().await.expect("flushed");
        heard.next().await.expect("heard");
        hops.push(begun.elapsed().as_secs_f64() * 1000.0);
        let begun = Instant::now();
        std::io::Write::write_all(&mut &file, &[0; 300]).expect("written");
        file.sync_data().expect("synced");
        syncs.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    (hops, syncs)
}

/// Times from the request to what the action writes first, in milliseconds.
async fn beginnings(asker: &Asker) -> Vec<f64> {
    asker
        .run(&shell("rm -f /tmp/first; mkfifo -m 666 /tmp/first"))
        .await;
    let group = format!(
        "/sys/fs/cgroup/cpuacct{}",
        asker.world.told("cgroup_parent")
    );
    let folders = std::fs::read_dir(group)
        .expect("the agent's group")
        .flatten();
    let members = folders
        .filter_map(|folder| std::fs::read_to_string(folder.path().join("cgroup.procs")).ok());
    let pipe = members
        .flat_map(|text| text.lines().map(str::to_string).collect::<Vec<_>>())
        .map(|pid| PathBuf::from(format!("/proc/{pid}/root/tmp/first")))
        .find(|path| path.exists())
        .expect("the pipe of the sandbox");
    // Held open for writing too, so that the end of one action is not the end of the pipe.
    let pipe = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(pipe)
        .expect("opened");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(pipe).lines();
        while let Some(Ok(_)) = lines.next() {
            if sender.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    let orders = shell("echo > /tmp/first");
    let mut times = Vec::new();
    for _ in 0..TIMED {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let begun = Instant::now();
        asker.run(&orders).await;
        let first = receiver.recv_timeout(WITHIN).expect("it wrote");
        times.push((first - begun).as_secs_f64() * 1000.0);
    }
    // One more lets the reader end: nobody takes what it says.
    drop(receiver);
    asker.run(&orders).await;
    times
}

/// The value below which this share of them is.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

fn median_of(rates: &[Rate], of: fn(&Rate) -> f64) -> f64 {
    quantile(&rates.iter().map(of).collect::<Vec<_>>(), 0.5)
}

async fn measure(asked: Asked) {
    let Some(world) = World::empty("actions_bench", |_| {}).await else {
        return;
    };
    let mut adverts = {
        let options =
            async_nats::ConnectOptions::with_user_and_password("tool".into(), "secret".into());
        let client = options.connect(world.bus_address()).await.expect("a bus");
        let adverts = client.subscribe("dea.advertise").await.expect("subscribed");
        client.flush().await.expect("flushed");
        adverts
    };
    let agent = Agent::start(&world);
    let up = tokio::time::timeout(WITHIN, adverts.next()).await;
    up.expect("the agent comes up").expect("it advertises");
    let asker = Asker::new(world).await;
    let (orders, yardstick): (Value, &'static [&'static str]) = if asked.python {
        (python(), &["/usr/bin/python3", "-c", "import json,yaml"])
    } else {
        (shell("true"), &["/bin/sh", "-c", "true"])
    };
    asker.run(&orders).await;
    asker.burst(&agent, &orders, asked.actions / 4).await;
    let (mut loops, mut actions, mut spawns) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..asked.rounds {
        let (looped, times) = spawn_loop(yardstick, (asked.actions / 4).max(1));
        loops.push(looped);
        spawns.extend(times);
        actions.push(asker.burst(&agent, &orders, asked.actions).await);
    }
    let first = beginnings(&asker).await;
    let (hops, syncs) = hop_and_sync(&asker.world, TIMED).await;
    let ratios: Vec<f64> = actions
        .iter()
        .zip(&loops)
        .map(|(ours, bare)| ours.per_second / bare.per_second)
        .collect();
    let cpu_ratios: Vec<f64> = actions
        .iter()
        .zip(&loops)
        .map(|(ours, bare)| bare.cpu_ms / ours.cpu_ms)
        .collect();
    let result = json!({
        "kind": if asked.python { "python" } else { "shell" },
        "actions_per_second": median_of(&actions, |rate| rate.per_second),
        "action_cpu_ms": median_of(&actions, |rate| rate.cpu_ms),
        "spawns_per_second": median_of(&loops, |rate| rate.per_second),
        "spawn_cpu_ms": median_of(&loops, |rate| rate.cpu_ms),
        "ratio": quantile(&ratios, 0.5),
        "cpu_ratio": quantile(&cpu_ratios, 0.5),
        "first_instruction_ms": {"p50": quantile(&first, 0.5), "p99": quantile(&first, 0.99)},
        "yardstick_ms": {"hop": quantile(&hops, 0.5), "synced_append": quantile(&syncs, 0.5),
                         "spawn": quantile(&spawns, 0.5)},
    });
    agent.stop();
    asker.world.finish().await;
    if asked.json {
        println!("{result}");
        return;
    }
    let number = |path: &str| {
        result
            .pointer(path)
            .and_then(Value::as_f64)
            .unwrap_or(f64::NAN)
    };
    println!(
        "{} actions: {:.0}/s on one core, {:.2} ms of CPU each",
        result["kind"].as_str().unwrap_or_default(),
        number("/actions_per_second"),
        number("/action_cpu_ms")
    );
    println!(
        "bare spawns:   {:.0}/s on one core, {:.2} ms of CPU each; actions reach {:.2} of them, by CPU {:.2}",
        number("/spawns_per_second"),
        number("/spawn_cpu_ms"),
        number("/ratio"),
        number("/cpu_ratio")
    );
    let yardstick = number("/yardstick_ms/hop")
        + number("/yardstick_ms/synced_append")
        + number("/yardstick_ms/spawn");
    println!(
        "from the request to the first instruction: p50 {:.2} ms, p99 {:.2} ms; a hop, a synced append and a spawn: {yardstick:.2} ms",
        number("/first_instruction_ms/p50"),
        number("/first_instruction_ms/p99")
    );
}
