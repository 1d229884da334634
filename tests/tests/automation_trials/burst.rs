//! Ten thousand trigger instances at once: the controller's memory stays in bounds, whoever calls is told to
//! come back later while too much waits, and in the end everything was processed. And more shell actions at
//! once than an agent takes: those it has no room for wait, and none fails for that.

use crate::account::{Effects, balance, ended};
use crate::api::Posted;
use crate::load;
use crate::{Trial, World};
use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tests::Cluster;
use tests::inside::pss_kib;

const BURST: u64 = 10_000;
const MOST_PENDING: &str = "1000";
/// What the burst may add to the controller's memory, with what SQLite keeps of its pages. docs/trials.md
/// says how much it was.
const MOST_MEMORY_MIB: u64 = 192;
/// Shell actions at once in a short run, where the agent is given few at a time.
const FEW: (u64, &str) = (150, "20");
/// In a long one: more than an agent would take of one pack, with the setting as it comes.
const MANY: (u64, &str) = (700, "128");
const PROCESSED_WITHIN: Duration = Duration::from_secs(300);

fn pss_mib(pid: i32) -> Option<u64> {
    Some(pss_kib(pid)? / 1024)
}

/// Watches the memory of a process until it is told to stop: the greatest value.
struct Watch {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    watcher: tokio::task::JoinHandle<()>,
}

impl Watch {
    fn start(pid: i32) -> Watch {
        let (stop, peak) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, greatest) = (stop.clone(), peak.clone());
        let watcher = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                if let Some(now) = pss_mib(pid) {
                    greatest.fetch_max(now, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Watch {
            stop,
            peak,
            watcher,
        }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.watcher.await;
        self.peak.load(Ordering::Relaxed)
    }
}

/// A value of the controller's `/metrics`.
async fn metric(cluster: &Cluster, name: &str) -> anyhow::Result<f64> {
    let text = cluster.status_text("controller-1", "/metrics").await?;
    let value = text
        .lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.split_whitespace().last()?.parse::<f64>().ok())
        .sum();
    Ok(value)
}

/// While nobody leads nothing is judged: calls are acknowledged up to the bound, then put off.
async fn fill_until_put_off(world: &World, hook: &str) -> anyhow::Result<load::Fill> {
    let pid = Pid::from_raw(world.cluster.pid("etcd")?);
    kill(pid, Signal::SIGSTOP)?;
    let filled = load::fill(&world.api, hook, 16, Duration::from_secs(90)).await;
    let seen = async {
        let pending = metric(&world.cluster, "automation_pending_instances").await?;
        let refused = metric(&world.cluster, "automation_webhooks_refused_total").await?;
        anyhow::Ok((pending, refused))
    }
    .await;
    kill(pid, Signal::SIGCONT)?;
    let (pending, refused) = seen?;
    let bound: f64 = MOST_PENDING.parse()?;
    ensure!(pending > bound, "the gauge says {pending}");
    ensure!(refused >= 1.0, "the counter says {refused}");
    let filled = filled?;
    match &filled.refusal {
        Posted::PutOff(pause, _) if !pause.is_zero() => Ok(filled),
        other => bail!("put off without a word when to come back: {other:?}"),
    }
}

pub async fn a_burst_is_taken_in_and_put_off_in_bounded_memory(
    world: &World,
) -> anyhow::Result<()> {
    let hook = "burst";
    // A new one: what its heap kept of earlier trials would hide what the burst takes.
    let old = world.cluster.kill("controller-1")?;
    world.cluster.wait_restarted("controller-1", old).await?;
    // It has read the settings once it answers this, and follows them from then on.
    world.cluster.ok(["config", "list"]).await?;
    world.api.rule(hook, "core.noop", json!({})).await?;
    for (key, value) in [
        ("automation/webhook/rate", "100000"),
        ("automation/rules/max_pending", MOST_PENDING),
    ] {
        world.cluster.ok(["config", "set", key, value]).await?;
    }
    let pid = world.cluster.pid("controller-1")?;
    let before = pss_mib(pid).context("the controller's memory")?;
    let watch = Watch::start(pid);
    let begun = Instant::now();
    let filled = fill_until_put_off(world, hook).await?;
    let mut promised = filled.promised;
    let missing = BURST.saturating_sub(promised.acknowledged.len() as u64);
    let rest = filled.next..filled.next + missing;
    let rest = load::burst(&world.api, hook, rest, 32).await;
    let taken_in = begun.elapsed();
    promised.acknowledged.extend(rest.acknowledged);
    promised.unknown.extend(rest.unknown);
    promised.put_off += rest.put_off;
    let ended = ended(world, hook, PROCESSED_WITHIN).await;
    let took = begun.elapsed();
    let peak = watch.stop().await;
    ended?;
    let same = world.cluster.pid("controller-1")?;
    let outcome = balance(world, hook, &promised, Effects::None).await?;
    ensure!(same == pid, "the controller was replaced in the middle");
    ensure!(
        outcome.unknown == 0,
        "{} calls had no clear answer: {:?}",
        outcome.unknown,
        promised.last_failure
    );
    // (On a busy machine more may come in before any is put off.)
    ensure!(outcome.acknowledged as u64 >= BURST, "{}", outcome.line());
    let line = format!(
        "{}; put off {} times; taken in after {} s, all ended after {} s; memory of the controller {before} MiB before, {peak} MiB at most",
        outcome.line(),
        promised.put_off,
        taken_in.as_secs(),
        took.as_secs(),
    );
    println!("    {line}");
    ensure!(
        peak.saturating_sub(before) < MOST_MEMORY_MIB,
        "the burst took {} MiB",
        peak.saturating_sub(before)
    );
    world.note(Trial {
        name: "10,000 trigger instances at once",
        line,
    });
    Ok(())
}

/// The greatest value of a metric until `done`.
async fn greatest(cluster: &Cluster, name: &str, done: impl Future<Output = ()>) -> f64 {
    let mut greatest = 0.0_f64;
    let watch = async {
        loop {
            if let Ok(value) = metric(cluster, name).await {
                greatest = greatest.max(value);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = done => {}
        () = watch => {}
    }
    greatest
}

pub async fn more_actions_than_an_agent_takes_wait_for_room(world: &World) -> anyhow::Result<()> {
    let hook = "crowd";
    world
        .api
        .rule(hook, "core.local", json!({ "cmd": "sleep 1" }))
        .await?;
    let (crowd, each) = if world.rounds > 1 { MANY } else { FEW };
    for (key, value) in [
        ("automation/webhook/rate", "100000"),
        ("automation/executions/per_agent", each),
    ] {
        world.cluster.ok(["config", "set", key, value]).await?;
    }
    let begun = Instant::now();
    let promised = load::burst(&world.api, hook, 0..crowd, 32).await;
    let mut settled = Ok(());
    let waited = greatest(&world.cluster, "automation_unplaced_executions", async {
        settled = ended(world, hook, PROCESSED_WITHIN).await;
    })
    .await;
    settled?;
    let took = begun.elapsed();
    let outcome = balance(world, hook, &promised, Effects::None).await?;
    let line = format!(
        "{}; {each} at a time, up to {waited} waited for room; all ended after {} s",
        outcome.line(),
        took.as_secs()
    );
    println!("    {line}");
    ensure!(waited > 0.0, "nothing waited for room");
    ensure!(
        outcome.ends.get("succeeded").copied() == usize::try_from(crowd).ok(),
        "{}",
        outcome.line()
    );
    world.note(Trial {
        name: "shell actions of 1 s, all at once, one agent",
        line,
    });
    Ok(())
}
