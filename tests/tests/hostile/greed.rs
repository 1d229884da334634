//! Apps that misbehave: they fork, fill, eat, flap, flood and leave daemons behind.

use crate::support::{Yard, groups, resident_megabytes};
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tests::leftovers::processes;
use tests::{Cluster, eventually};

pub async fn a_fork_bomb_is_contained(yard: &Yard) -> anyhow::Result<()> {
    // Memory enough for all of them: the limit that is reached is that of processes.
    yard.server("bomb", &["--memory", "1G"]).await?;
    let host = yard.cluster.host("bomb");
    let instance = yard.instance("bomb").await?;
    let answer = yard.cluster.body(&host, "/fork").await?;
    let children: u64 = answer
        .split(' ')
        .next()
        .unwrap_or_default()
        .parse()
        .with_context(|| answer.clone())?;
    ensure!(
        (16..=512).contains(&children) && answer.contains("temporarily unavailable"),
        "{answer}"
    );
    yard.neighbour_is_well().await?;
    yard.delete("bomb").await?;
    yard.sandbox_gone(&instance).await?;

    // The classic one, which never stops trying.
    let folder = yard.app(
        "shellbomb",
        &[(
            "Procfile",
            "web: bomb() { bomb | bomb & }; bomb; sleep 600\n",
        )],
    );
    yard.push(
        "shellbomb",
        &folder,
        &["--buildpack", "binary", "-u", "process"],
    )
    .await?;
    let instance = yard.instance("shellbomb").await?;
    let sandbox = yard.sandbox(&instance).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    yard.neighbour_is_well().await?;
    let start = Instant::now();
    yard.delete("shellbomb").await?;
    // It may have crashed by itself, then its sandbox is kept; but nothing runs in it.
    eventually(
        "its processes are gone",
        Duration::from_secs(10),
        || async {
            for group in groups(&sandbox) {
                let procs = std::fs::read_to_string(Path::new(&group).join("cgroup.procs"));
                let count = procs.map_or(0, |procs| procs.lines().count());
                ensure!(count <= 2, "{count} processes in {group}");
            }
            Ok(())
        },
    )
    .await?;
    ensure!(
        start.elapsed() < Duration::from_secs(15),
        "gone after {:?}",
        start.elapsed()
    );
    yard.neighbour_is_well().await
}

pub async fn a_full_disk_is_the_apps_own(yard: &Yard) -> anyhow::Result<()> {
    yard.server("filler", &[]).await?;
    let host = yard.cluster.host("filler");
    let answer = yard.cluster.body(&host, "/fill").await?;
    let megabytes: u64 = answer
        .split(' ')
        .next()
        .unwrap_or_default()
        .parse()
        .with_context(|| answer.clone())?;
    ensure!(
        // Somewhat more than asked for, because the file system's own records take their share.
        (56..=76).contains(&megabytes) && answer.contains("No space left on device"),
        "{answer}"
    );
    yard.cluster
        .body(&host, "/")
        .await
        .context("it still answers")?;
    yard.neighbour_is_well().await?;
    yard.delete("filler").await
}

pub async fn a_memory_hog_is_backed_off(yard: &Yard) -> anyhow::Result<()> {
    let folder = yard.app(
        "hog",
        &[
            (
                "hog.py",
                "import time\ntime.sleep(0.3)\nhold = []\nwhile True: hold.append(bytearray(b'x') * (4 << 20))\n",
            ),
            ("Procfile", "web: exec python3 hog.py\n"),
        ],
    );
    let output = yard
        .push("hog", &folder, &["--buildpack", "binary", "-u", "process"])
        .await?;
    let _ = output;
    let crashes = || async {
        let events = yard.cluster.ok(["events", "hog", "--json"]).await?.stdout;
        anyhow::Ok(events.matches("process.crash").count())
    };
    // One start and three restarts at once; the next is due 30 s later.
    eventually("four crashes", Duration::from_secs(15), || async {
        let count = crashes().await?;
        if count < 4 {
            let instances = yard.instances("hog", "web").await?;
            let recent = yard.cluster.ok(["logs", "hog", "--recent"]).await?.stdout;
            bail!("{count} crashes, {}\n{recent}", json!(instances));
        }
        Ok(())
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let count = crashes().await?;
    ensure!(count == 4, "{count} crashes: no back-off");
    let instances = yard.instances("hog", "web").await?;
    let text = json!(instances).to_string();
    ensure!(
        text.contains("CRASHED") && text.contains("out of memory"),
        "{text}"
    );
    let page = yard.cluster.ok(["app", "hog"]).await?.stdout;
    ensure!(
        page.contains("crashed") && page.contains("out of memory"),
        "{page}"
    );
    yard.neighbour_is_well().await?;
    yard.delete("hog").await
}

pub async fn a_flapping_app_is_restarted_later_and_later(yard: &Yard) -> anyhow::Result<()> {
    yard.cluster
        .ok(["config", "set", "health-manager/crash/first_delay", "3s"])
        .await?;
    let folder = yard.app("flapper", &[("Procfile", "web: sleep 0.2; exit 9\n")]);
    yard.push(
        "flapper",
        &folder,
        &["--buildpack", "binary", "-u", "process"],
    )
    .await?;
    let seen = eventually("five crashes", Duration::from_secs(20), || async {
        let events = yard.cluster.ok(["events", "flapper", "--json"]).await?;
        let count = events.stdout.matches("process.crash").count();
        ensure!(count >= 5, "{count}: {}", events.stdout);
        Ok(events.stdout)
    })
    .await;
    yard.cluster
        .ok(["config", "unset", "health-manager/crash/first_delay"])
        .await?;
    let seen: Value = serde_json::from_str(&seen?)?;
    ensure!(
        seen.to_string().contains("status 9"),
        "the exit status is told: {seen}"
    );
    yard.neighbour_is_well().await?;
    yard.delete("flapper").await
}

pub async fn daemons_left_behind_by_an_app_go_with_it(yard: &Yard) -> anyhow::Result<()> {
    let mark = format!("sleep 98{}", yard.cluster.port);
    let folder = yard.app(
        "forker",
        &[(
            "Procfile",
            &format!("web: (setsid sh -c '{mark} & {mark} & exit 0' &); sleep 1; exit 0\n"),
        )],
    );
    yard.push(
        "forker",
        &folder,
        &["--buildpack", "binary", "-u", "process"],
    )
    .await?;
    eventually("the exit is told", Duration::from_secs(15), || async {
        let events = yard.cluster.ok(["events", "forker"]).await?.stdout;
        ensure!(events.contains("status 0"), "{events}");
        Ok(())
    })
    .await?;
    yard.neighbour_is_well().await?;
    yard.delete("forker").await?;
    eventually("its daemons are gone", Duration::from_secs(10), || async {
        let left = processes(&mark);
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

pub async fn a_flood_of_log_lines_is_cut_and_counted(yard: &Yard) -> anyhow::Result<()> {
    yard.server("flood", &[]).await?;
    let agent = yard.cluster.pid("dea-1")?;
    let before = resident_megabytes(agent)?;
    let collector = yard.cluster.pid("collector-1")?;
    let output = yard.cluster.root().join("flood.txt");
    let mut command = yard.cluster.command(&yard.cluster.root());
    command
        .args(["logs", "flood", "--json"])
        .stdout(std::fs::File::create(&output)?)
        .stderr(std::process::Stdio::null());
    let mut live = command.spawn()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let flood = async {
        let start = Instant::now();
        yard.cluster
            .body(&yard.cluster.host("flood"), "/flood")
            .await?;
        anyhow::Ok(start.elapsed())
    };
    let mut most = before;
    tokio::pin!(flood);
    let took = loop {
        tokio::select! {
            took = &mut flood => break took?,
            () = tokio::time::sleep(Duration::from_millis(50)) => most = most.max(resident_megabytes(agent)?),
        }
    };
    println!(
        "    100 MB of lines in {} ms, agent {before} MB, at most {most} MB",
        took.as_millis()
    );
    // Whoever looks on gets every line, or is told how many are missing.
    let counted = eventually(
        "each line is there or counted",
        Duration::from_secs(10),
        || async {
            let text = std::fs::read_to_string(&output)?;
            ensure!(
                text.contains("the flood is over"),
                "the last line is missing"
            );
            let (mut lines, mut lost) = (0, 0);
            for line in text.lines() {
                if line.contains("yyyyyyyy") {
                    lines += 1;
                } else if line.contains("\"lost\"") {
                    let item: Value = serde_json::from_str(line)?;
                    lost += item["lost"]["lines"]
                        .as_u64()
                        .with_context(|| line.to_string())?;
                }
            }
            ensure!(lost > 0, "no word of lost lines; {lines} came");
            ensure!(
                lines + lost == 100_000,
                "{lines} lines came, {lost} are said to be lost"
            );
            Ok((lines, lost))
        },
    )
    .await;
    live.kill()?;
    live.wait()?;
    let (lines, lost) = match counted {
        Ok(counted) => counted,
        Err(error) => bail!("{error:#}; {}", losses(&yard.cluster).await?),
    };
    println!("    {lines} lines came, {lost} were lost and counted");
    ensure!(
        most < before + 80,
        "the agent grew from {before} to {most} MB"
    );
    let size = resident_megabytes(collector)?;
    ensure!(size < 300, "the collector has {size} MB");
    yard.neighbour_is_well().await?;
    yard.delete("flood").await
}

/// What the daemons on a line's way say of lines and messages that were lost, to tell where.
async fn losses(cluster: &Cluster) -> anyhow::Result<String> {
    let mut told = Vec::new();
    for component in ["dea-1", "collector-1", "router-1"] {
        let metrics = cluster.status_text(component, "/metrics").await?;
        let losses = metrics.lines().filter(|line| {
            line.starts_with("log_lines_lost_total") || line.starts_with("bus_slow_consumer_total")
        });
        told.extend(losses.map(|line| format!("{component}: {line}")));
    }
    Ok(told.join(", "))
}
