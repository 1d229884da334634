//! What a user waits for: a page pushed for the first time, and again.

use crate::figure::Figure;
use anyhow::ensure;
use std::time::{Duration, Instant};
use tests::{Cluster, eventually};

pub async fn measure(cluster: &Cluster, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let folder = cluster.root().join("apps/page");
    std::fs::create_dir_all(&folder)?;
    for round in 0..3 {
        let name = format!("page{round}");
        for (values, text) in [(&mut first, "one"), (&mut second, "two")] {
            std::fs::write(
                folder.join("index.html"),
                format!("<!doctype html><p>{text} {round}</p>"),
            )?;
            let start = Instant::now();
            cluster
                .ok([
                    "push",
                    &name,
                    "--path",
                    &folder.display().to_string(),
                    "--memory",
                    "64M",
                ])
                .await?;
            eventually("the pushed page", Duration::from_secs(20), || async {
                let body = cluster.body(&cluster.host(&name), "/").await?;
                ensure!(body.contains(text), "{body}");
                Ok(())
            })
            .await?;
            values.push(start.elapsed().as_secs_f64());
        }
    }
    figures.push(Figure {
        what: "first push of a static app, command to answer",
        values: first,
        unit: "s",
        aim: "8 s",
    });
    figures.push(Figure {
        what: "second push of the same app, command to answer of the new version",
        values: second,
        unit: "s",
        aim: "3 s",
    });
    Ok(())
}
