//! The leading controller stands still for twice its lease, while users change what they want. Another one
//! leads meanwhile; when the first goes on it writes nothing in a leader's name and starts nothing.

use crate::api::Api;
use crate::rows;
use crate::world::{CONTROLLERS, LEASE, SOON, STEADY, World};
use anyhow::{Context, ensure};
use futures_util::StreamExt;
use nix::sys::signal::Signal;
use proto::bus::catalogue;
use proto::ids::DeaId;
use rand::Rng;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::eventually;

/// The commands that the agent heard, in the order of the bus.
struct Heard {
    epochs: Arc<Mutex<Vec<i64>>>,
    listening: Vec<tokio::task::JoinHandle<()>>,
}

impl Heard {
    async fn start(world: &World) -> anyhow::Result<Heard> {
        let bus = world.cluster.bus("dea-1").await?;
        let epochs = Arc::new(Mutex::new(Vec::new()));
        let dea = DeaId::new("dea-1")?;
        let mut listening = Vec::new();
        for subject in [
            catalogue::dea_start_instance(&dea).subject().to_string(),
            catalogue::dea_stop().subject().to_string(),
            catalogue::dea_update().subject().to_string(),
        ] {
            let mut commands = bus.subscribe(subject).await?;
            let epochs = epochs.clone();
            listening.push(tokio::spawn(async move {
                while let Some(command) = commands.next().await {
                    let document: Value =
                        serde_json::from_slice(&command.payload).unwrap_or_default();
                    if let Some(epoch) = document["yard_epoch"].as_i64() {
                        epochs.lock().expect("no holder panics").push(epoch);
                    }
                }
            }));
        }
        bus.flush().await?;
        Ok(Heard { epochs, listening })
    }

    /// How many, and how many of a leader when a later one had been heard.
    fn counted(&self) -> (usize, usize) {
        let epochs = self.epochs.lock().expect("no holder panics");
        let mut newest = 0;
        let mut stale = 0;
        for epoch in epochs.iter() {
            stale += usize::from(*epoch < newest);
            newest = newest.max(*epoch);
        }
        (epochs.len(), stale)
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        for task in &self.listening {
            task.abort();
        }
    }
}

/// Scales an app up and down through whichever controller answers, until told to stop; the number that was
/// acknowledged last is what there is to be.
struct Users {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<u64>,
}

impl Users {
    async fn start(world: &World, seed: u64) -> anyhow::Result<Users> {
        let mut apis = Vec::new();
        for controller in CONTROLLERS {
            apis.push(Api::of(world, controller).await?);
        }
        let app = apis[0].app(STEADY).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut dice = world.dice(seed);
        let (stopped, counted) = (stop.clone(), acknowledged.clone());
        let task = tokio::spawn(async move {
            let mut turn = 0;
            loop {
                let ends = stopped.load(Ordering::Relaxed);
                let wanted = if ends { 2 } else { dice.random_range(1..=3) };
                turn += 1;
                let scaling = apis[turn % apis.len()].scale(&app, wanted);
                // One that stands still is given up soon; what came of it nobody knows.
                let done = tokio::time::timeout(Duration::from_secs(2), scaling).await;
                if matches!(done, Ok(Ok(()))) {
                    counted.fetch_add(1, Ordering::Relaxed);
                    if ends {
                        return counted.load(Ordering::Relaxed);
                    }
                }
                tokio::time::sleep(Duration::from_millis(dice.random_range(20..200))).await;
            }
        });
        Ok(Users {
            stop,
            acknowledged,
            task,
        })
    }

    /// The last word is two instances.
    async fn stop(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.task.await?)
    }
}

pub async fn a_leader_that_stood_still_writes_nothing(world: &World) -> anyhow::Result<()> {
    let (cluster, store) = (&world.cluster, &world.database.store);
    let mut dice = world.dice(2);
    let heard = Heard::start(world).await?;
    let refused_before = refused(world).await?;
    let users = Users::start(world, 3).await?;
    let mut handovers = 0;
    for _ in 0..world.amounts.standstills {
        let leader = world.leader(CONTROLLERS).await?;
        let pid = cluster.pid(leader)?;
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..700))).await;
        let before = users.acknowledged.load(Ordering::Relaxed);
        world.signal(pid, Signal::SIGSTOP)?;
        let away = async {
            tokio::time::sleep(LEASE * 2).await;
            let other = CONTROLLERS.into_iter().find(|one| *one != leader);
            let other = other.context("there are two")?;
            eventually("the other one leads, and users are heard", SOON, || async {
                let leads = cluster.varz(other).await?["leads"] == true;
                ensure!(leads, "{other} does not lead");
                let now = users.acknowledged.load(Ordering::Relaxed);
                ensure!(now > before, "no change of a user was acknowledged");
                Ok(())
            })
            .await
        };
        let away = away.await;
        world.signal(pid, Signal::SIGCONT)?;
        away?;
        ensure!(cluster.pid(leader)? == pid, "it is the same process");
        handovers += 1;
    }
    let acknowledged = users.stop().await?;
    world.all_ready().await?;
    world.settled(STEADY, 2).await?;
    let writes = rows::leader_writes(store).await?;
    ensure!(writes.epochs > i64::from(handovers), "{writes:?}");
    ensure!(writes.stale == 0, "{writes:?}");
    ensure!(
        rows::refuses_the_past(store).await?,
        "the fence lets an older leader pass"
    );
    let (commands, stale) = heard.counted();
    let refused = refused(world).await? - refused_before;
    ensure!(
        stale <= refused,
        "{stale} commands of an older leader were heard, {refused} were refused"
    );
    world.note(
        "leader suspended for twice its lease",
        format!(
            "{handovers} times; {} transactions of leaders in {} terms, {} of them stale; {acknowledged} changes of users; \
             {commands} commands to the agent, {stale} of an older leader and refused",
            writes.all, writes.epochs, writes.stale
        ),
    );
    Ok(())
}

/// Commands that the agent refused because a later leader had been heard. Not from its log, which tells only some of
/// those that come in a row.
async fn refused(world: &World) -> anyhow::Result<usize> {
    let text = world.cluster.status_text("dea-1", "/metrics").await?;
    let ignored = text.lines().filter(|line| {
        line.starts_with("bus_ignored_total") && line.contains("reason=\"outdated\"")
    });
    let counts = ignored.filter_map(|line| line.split_whitespace().last()?.parse::<usize>().ok());
    Ok(counts.sum())
}
