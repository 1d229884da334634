//! What a cluster costs that has nothing to do.

use crate::figure::Figure;
use std::time::Duration;
use tests::Cluster;
use tests::inside::pss_kib;

/// CPU and memory of our daemons with nothing to do, over ten seconds.
pub async fn measure(cluster: &Cluster, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    tokio::time::sleep(Duration::from_secs(3)).await;
    let status = cluster.node_status()?;
    let ours: Vec<u32> = status
        .components
        .iter()
        .filter(|component| component.name != "nats" && component.name != "etcd")
        .filter_map(|component| component.pid)
        .collect();
    let ticks = || {
        ours.iter()
            .map(|pid| cpu_ticks(*pid).unwrap_or(0))
            .sum::<u64>()
    };
    let before = ticks();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let used = (ticks() - before) as f64 / 100.0 / 10.0 * 100.0;
    let memory = ours
        .iter()
        .map(|pid| pss_kib(*pid).unwrap_or(0))
        .sum::<u64>() as f64
        / 1024.0;
    figures.push(Figure {
        what: "idle CPU of our daemons together, share of one core",
        values: vec![used],
        unit: "%",
        aim: "–",
    });
    figures.push(Figure {
        what: "memory of our daemons together (PSS)",
        values: vec![memory],
        unit: "MiB",
        aim: "–",
    });
    Ok(())
}

fn cpu_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}
