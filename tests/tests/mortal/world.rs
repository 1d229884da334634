//! The cluster of this suite, its database, and what was counted.

use crate::databases::Database;
use crate::rows;
use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::node::ComponentState;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tests::apps::{app, push, server};
use tests::{Cluster, Options, eventually};

pub const CONTROLLERS: [&str; 2] = ["controller-1", "controller-2"];
/// For whatever should come soon, on a slow and busy machine.
pub const SOON: Duration = Duration::from_secs(60);
/// Of leadership, in this suite.
pub const LEASE: Duration = Duration::from_secs(3);
/// An app of a few instances that runs all the time.
pub const STEADY: &str = "steady";

/// How often, and how long, each thing is done.
#[derive(Debug, Clone, Copy)]
pub struct Amounts {
    /// 0: the short form.
    pub rounds: u32,
    pub kills: Kills,
    pub standstills: u32,
    pub restarts: u32,
    pub bus_away: Duration,
    /// What a push may take to be refused while the bus is away, the command's own start and upload included.
    pub refused_within: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kills {
    /// At so many steps, one kill each.
    Steps(usize),
    /// At every step, so often.
    Each(u32),
}

impl Amounts {
    pub const SHORT: Amounts = Amounts {
        rounds: 0,
        kills: Kills::Steps(2),
        standstills: 1,
        restarts: 2,
        bus_away: Duration::from_secs(11),
        // On a machine that is slow and busy with other tests.
        refused_within: Duration::from_secs(20),
    };

    /// Ten rounds are what was promised.
    pub fn long(rounds: u32) -> Amounts {
        Amounts {
            rounds,
            kills: Kills::Each(rounds),
            standstills: rounds * 10,
            restarts: rounds * 5,
            bus_away: Duration::from_secs(60) * rounds,
            refused_within: Duration::from_secs(5),
        }
    }

    pub fn are_long(&self) -> bool {
        self.rounds > 0
    }
}

pub struct World {
    pub cluster: Cluster,
    pub database: Database,
    pub seed: u64,
    pub amounts: Amounts,
    counts: Mutex<Vec<(&'static str, String)>>,
}

impl World {
    pub async fn start(database: Database, seed: u64, amounts: Amounts) -> anyhow::Result<World> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("database-url");
        std::fs::write(&file, &database.url)?;
        rows::watch_leaders(&database.store).await?;
        let cluster = Cluster::start(Options {
            copies: 2,
            database_file: Some(file),
            ..Options::default()
        })
        .await?;
        let world = World {
            cluster,
            database,
            seed,
            amounts,
            counts: Mutex::default(),
        };
        match world.prepare().await {
            Ok(()) => Ok(world),
            Err(error) => {
                world.cluster.print_logs();
                world.cluster.destroy().await?;
                Err(error)
            }
        }
    }

    async fn prepare(&self) -> anyhow::Result<()> {
        for (key, value) in [
            // A part that is killed often is to come back all the same.
            ("node/restart/max_delay", "1s"),
            ("cluster/leadership/lease", "3s"),
            // What is waited for too short would be pruned, killed and replaced all the sooner.
            ("dea/heartbeat/period", "1s"),
            ("dea/register/period", "1s"),
            ("router/prune/stale_after", "5s"),
            ("router/prune/sweep", "1s"),
            ("health-manager/agent/lost_after", "5s"),
            // Little room is enough, whatever else fills the machine's disk.
            ("staging/disk", "512MiB"),
            ("controller/apps/default_disk", "64MiB"),
            // A leader that takes over does not know what its predecessor wanted next.
            ("health-manager/missing/grace", "2s"),
        ] {
            self.cluster.ok(["config", "set", key, value]).await?;
        }
        let folder = server(&self.cluster, STEADY);
        let more = ["--memory", "64M", "--instances", "2"];
        push(&self.cluster, STEADY, &folder, &more)
            .await?
            .success()?;
        Ok(())
    }

    pub fn dice(&self, salt: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_add(salt))
    }

    fn counts(&self) -> MutexGuard<'_, Vec<(&'static str, String)>> {
        self.counts.lock().expect("no holder panics")
    }

    /// Shows what was counted, and keeps it for the report.
    pub fn note(&self, trial: &'static str, line: String) {
        println!("    {line}");
        self.counts().push((trial, line));
    }

    /// The part of docs/trials.md that is about this.
    pub fn write_report(&self) -> anyhow::Result<()> {
        tests::trials::write(
            "Daemons that die",
            &format!(
                "Two controllers, routers, stagers and health managers on one machine and one PostgreSQL, with a lease of leadership of {} s. \
                 A push counts as failed only with a reason for its user; it was then pushed again, and that had to work. {} rounds, seed {}. Profile: dev.",
                LEASE.as_secs(),
                self.amounts.rounds,
                self.seed
            ),
            &self.counts(),
        )
    }

    /// Waits until the whole cluster is ready.
    pub async fn all_ready(&self) -> anyhow::Result<()> {
        eventually("every component is ready", SOON, || async {
            let status = self.cluster.node_status()?;
            let waiting = status
                .components
                .iter()
                .find(|one| one.state != ComponentState::Ready || one.pid.is_none());
            match waiting {
                Some(one) => bail!("{one:?}"),
                None => Ok(()),
            }
        })
        .await
    }

    /// Whoever of these says that it leads.
    pub async fn leader(&self, of: [&'static str; 2]) -> anyhow::Result<&'static str> {
        eventually("somebody leads", SOON, || async {
            for component in of {
                let told = self.cluster.varz(component).await;
                if told.is_ok_and(|varz| varz["leads"] == true) {
                    return Ok(component);
                }
            }
            bail!("nobody of {of:?} leads")
        })
        .await
    }

    pub fn signal(&self, pid: i32, signal: Signal) -> anyhow::Result<()> {
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("{signal} to {pid}")),
        }
    }

    /// A small app that answers with this text.
    pub fn page(&self, name: &str, text: &str, bytes: usize) -> PathBuf {
        let filling: String = (0..bytes / 16)
            .map(|_| format!("{:016x}", rand::random::<u64>()))
            .collect();
        let files = [("index.html", text), ("filling.txt", filling.as_str())];
        app(&self.cluster, name, &files)
    }

    /// The instances of an app on the one agent that have not ended, by their ids.
    pub async fn instances(&self, app: &str) -> anyhow::Result<Vec<(String, u64)>> {
        let text = self.cluster.status_text("dea-1", "/instances").await?;
        let document: serde_json::Value = serde_json::from_str(&text)?;
        let all = document["instances"].as_array().context("instances")?;
        let living = all
            .iter()
            .filter(|one| one["stats"]["name"] == app && one["state"] != "CRASHED");
        let mut found: Vec<(String, u64)> = living
            .map(|one| {
                let id = one["instance"].as_str().unwrap_or_default().to_string();
                (id, one["index"].as_u64().unwrap_or_default())
            })
            .collect();
        found.sort_by_key(|(_, index)| *index);
        Ok(found)
    }

    /// Waits until exactly one instance of each index lives.
    pub async fn settled(&self, app: &str, instances: u64) -> anyhow::Result<Vec<(String, u64)>> {
        let what = format!("{instances} instances of {app}, each once");
        eventually(&what, SOON, || async {
            let found = self.instances(app).await?;
            let indices: Vec<u64> = found.iter().map(|(_, index)| *index).collect();
            ensure!(indices == (0..instances).collect::<Vec<_>>(), "{found:?}");
            Ok(found)
        })
        .await
    }
}
