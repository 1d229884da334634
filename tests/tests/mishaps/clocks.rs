//! The wall clock of all daemons jumps a day ahead, and to a day before, while an app is used: by a preloaded library
//! (Debian's package `faketime`) that leaves the counting clock alone. Bus and store, which are Go programs and ask
//! the kernel itself, keep theirs.

use crate::world::{SOON, STEADY, World};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::runner::skipped;
use tests::{Load, eventually};

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
const DAY: f64 = 86_400.0;
const DAEMONS: [&str; 7] = [
    "collector-1",
    "controller-1",
    "dea-1",
    "health-manager-1",
    "router-1",
    "ssh-proxy-1",
    "stager-1",
];
/// Longer than anybody waits who would take a silent agent, or a silent instance, for lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// The clock that the daemons read.
pub struct Clock {
    library: Option<PathBuf>,
    folder: tempfile::TempDir,
}

impl Clock {
    pub fn find() -> anyhow::Result<Clock> {
        let architecture = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let library = Path::new(&architecture).join(LIBRARY);
        let clock = Clock {
            library: library.exists().then_some(library),
            folder: tempfile::tempdir()?,
        };
        clock.set(0)?;
        Ok(clock)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// So many seconds before the machine's own clock.
    fn set(&self, seconds: i64) -> anyhow::Result<()> {
        let beside = self.folder.path().join("new");
        std::fs::write(&beside, format!("{seconds:+}\n"))?;
        Ok(std::fs::rename(beside, self.file())?)
    }

    /// As the machine's own.
    pub fn set_right(&self) {
        let _ = self.set(0);
    }

    /// What makes a daemon read it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let Some(library) = &self.library else {
            return Vec::new();
        };
        [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_string()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_string()),
            ("NO_FAKE_STAT", "1".to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect()
    }
}

/// How often timers fired.
async fn fired(world: &World) -> anyhow::Result<u64> {
    let metrics = world
        .cluster
        .status_text("controller-1", "/metrics")
        .await?;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("automation_timers_fired_total "));
    Ok(line.context("timers fired")?.trim().parse()?)
}

async fn timer(world: &World) -> anyhow::Result<()> {
    let rule = json!({
        "name": "each_second", "pack": "default", "enabled": true,
        "trigger": { "type": "core.st2.IntervalTimer", "parameters": { "unit": "seconds", "delta": 1 } },
        "criteria": {},
        "action": { "ref": "core.noop", "parameters": {} },
    });
    let file = world.cluster.root().join("each_second.json");
    std::fs::write(&file, rule.to_string())?;
    let file = file.display().to_string();
    world.cluster.ok(["rule", "create", &file]).await?;
    goes_on(world).await
}

/// Waits until the timer fires.
async fn goes_on(world: &World) -> anyhow::Result<()> {
    let before = fired(world).await.unwrap_or_default();
    eventually("the timer fires", SOON, || async {
        let now = fired(world).await?;
        ensure!(now > before, "{now} times");
        Ok(())
    })
    .await
}

/// Each daemon told of a jump by so many seconds.
async fn all_told(world: &World, seconds: f64) -> anyhow::Result<()> {
    let what = format!("every daemon tells that its clock jumped by {seconds} s");
    eventually(&what, SOON, || async {
        let told = world.told("yard.clock.jumped").await?;
        let by = |one: &&Value| {
            one["seconds"]
                .as_f64()
                .is_some_and(|by| (by - seconds).abs() < 60.0)
        };
        let heard: BTreeSet<&str> = told
            .iter()
            .filter(by)
            .filter_map(|one| one["component"].as_str())
            .collect();
        ensure!(heard == BTreeSet::from(DAEMONS), "{heard:?} of {told:?}");
        Ok(())
    })
    .await
}

pub async fn clocks_jump_and_nothing_is_taken_for_dead(world: &World) -> anyhow::Result<()> {
    let cluster = &world.cluster;
    if world.clock.library.is_none() {
        skipped(
            "clocks_jump_and_nothing_is_taken_for_dead",
            "the package faketime is not installed",
        );
        return Ok(());
    }
    for (key, value) in [
        ("dea/heartbeat/period", "1s"),
        ("dea/register/period", "1s"),
        ("router/prune/stale_after", "5s"),
        ("router/prune/sweep", "1s"),
        ("health-manager/agent/lost_after", "5s"),
    ] {
        cluster.ok(["config", "set", key, value]).await?;
    }
    world.all_ready().await?;
    timer(world).await?;
    let (before, instances) = (world.processes()?, world.instances(STEADY).await?);
    ensure!(instances.len() == 1, "{instances:?}");
    let old_token = world.access_token()?;
    let load = Load::start(cluster, &cluster.host(STEADY), "/", 1);
    for (offset, jump) in [(DAY, DAY), (-DAY, -2.0 * DAY)] {
        let (begun, count) = (Instant::now(), fired(world).await?);
        world.clock.set(offset as i64)?;
        all_told(world, jump).await?;
        if offset > 0.0 {
            let refused = world.greet(&old_token).await?;
            ensure!(refused == 401, "an old token is answered with {refused}");
        }
        // Long enough for anybody who would have drawn a wrong conclusion.
        tokio::time::sleep(LOST_AFTER + Duration::from_secs(2)).await;
        world.pushes("jumped", &["--memory", "32M"]).await?;
        goes_on(world).await?;
        let more = fired(world).await? - count;
        // One more at each jump may be made up for.
        let most = begun.elapsed().as_secs() + 3;
        ensure!(more <= most, "the timer fired {more} times in {most} s");
        let after = world.instances(STEADY).await?;
        ensure!(after == instances, "{instances:?} became {after:?}");
        println!(
            "    by {jump} s: told by {} daemons; the timer fired {more} times in {most} s",
            DAEMONS.len()
        );
    }
    load.stop().await.without_failure(30)?;
    world.all_ready().await?;
    let after = world.processes()?;
    ensure!(before == after, "{before:?} {after:?}");
    let told = world.cluster.log("controller-1");
    ensure!(told.contains("the clock of this machine jumped"), "{told}");
    world.clock.set(0)?;
    cluster
        .ok(["rule", "delete", "default.each_second"])
        .await
        .map(drop)
}
