//! How long a crash is felt by those who ask.

use super::server;
use crate::figure::Figure;
use anyhow::ensure;
use std::time::{Duration, Instant};
use tests::{Cluster, eventually};

pub async fn measure(cluster: &Cluster, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    let folder = server(cluster)?.display().to_string();
    let (mut answering, mut rerouted) = (Vec::new(), Vec::new());
    for round in 0..3 {
        // A new app each round: an app that crashes often is restarted with growing delays.
        let one = format!("crash{round}");
        cluster
            .ok(["push", &one, "--path", &folder, "--memory", "64M"])
            .await?;
        let host = cluster.host(&one);
        cluster.body(&host, "/").await?;
        let _ = cluster.get(&host, "/crash").await;
        let start = Instant::now();
        eventually("an answer", Duration::from_secs(20), || async {
            cluster.body(&host, "/").await
        })
        .await?;
        answering.push(start.elapsed().as_secs_f64() * 1000.0);

        cluster.ok(["scale", &one, "--instances", "2"]).await?;
        eventually("both instances", Duration::from_secs(20), || async {
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..10 {
                seen.insert(cluster.body(&host, "/").await?);
            }
            ensure!(seen.len() == 2, "{seen:?}");
            Ok(())
        })
        .await?;
        let _ = cluster.get(&host, "/crash").await;
        let start = Instant::now();
        // Rerouted: twenty answers in a row without a failure, counted from the first of them.
        let mut since = start;
        let mut row = 0;
        while row < 20 {
            match cluster.body(&host, "/").await {
                Ok(_) => row += 1,
                Err(_) => {
                    row = 0;
                    since = Instant::now();
                }
            }
            ensure!(
                start.elapsed() < Duration::from_secs(20),
                "no twenty answers in a row"
            );
        }
        rerouted.push((since - start).as_secs_f64() * 1000.0);
        cluster.ok(["delete", &one, "--force"]).await?;
    }
    figures.push(Figure {
        what: "crash of the only instance to the next answer",
        values: answering,
        unit: "ms",
        aim: "1000 ms",
    });
    figures.push(Figure {
        what: "crash of one of two instances to no more failed requests",
        values: rerouted,
        unit: "ms",
        aim: "–",
    });
    Ok(())
}
