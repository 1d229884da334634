//! Stagings that fail, fill their disk or hang.

use crate::support::{Yard, shown};
use anyhow::ensure;
use std::time::Duration;
use tests::eventually;
use tests::leftovers::processes;

pub async fn a_failing_setup_shows_its_last_lines(yard: &Yard) -> anyhow::Result<()> {
    let folder = yard.app(
        "broken",
        &[
            ("requirements.txt", "./part\n"),
            (
                "part/pyproject.toml",
                "[build-system]\nrequires = []\nbuild-backend = \"broken\"\nbackend-path = [\".\"]\n",
            ),
            ("part/broken.py", "raise SystemExit('the part is broken on purpose')\n"),
            ("app.py", "print(1)\n"),
        ],
    );
    let output = yard.push("broken", &folder, &[]).await?;
    let text = shown(&output);
    ensure!(
        output.status == 6 && text.contains("the part is broken on purpose"),
        "{text}"
    );
    ensure!(
        output.stderr.contains("supply") && output.stderr.contains("status 1"),
        "step and status are told: {text}"
    );
    yard.neighbour_is_well().await?;
    yard.delete("broken").await
}

pub async fn a_staging_that_fills_its_disk_says_so(yard: &Yard) -> anyhow::Result<()> {
    let folder = yard.app(
        "stuffed",
        &[
            (
                "package.json",
                r#"{"name":"stuffed","version":"1.0.0","scripts":{"build":"dd if=/dev/zero of=big bs=1M count=400"}}"#,
            ),
            ("Procfile", "web: sleep 600\n"),
        ],
    );
    let output = yard.push("stuffed", &folder, &["-b", "nodejs"]).await?;
    let text = shown(&output);
    ensure!(
        output.status == 6 && (text.contains("No space left") || text.contains("ran out of disk")),
        "{text}"
    );
    ensure!(text.contains("disk"), "the limit is named: {text}");
    yard.delete("stuffed").await
}

pub async fn a_staging_that_hangs_is_ended(yard: &Yard) -> anyhow::Result<()> {
    let mark = format!("sleep 97{}", yard.cluster.port);
    let folder = yard.app(
        "hanging",
        &[
            (
                "package.json",
                &format!(
                    r#"{{"name":"hanging","version":"1.0.0","scripts":{{"preinstall":"trap '' TERM; {mark}; {mark}"}}}}"#
                ),
            ),
            ("Procfile", "web: sleep 600\n"),
        ],
    );
    let output = yard.push("hanging", &folder, &["-b", "nodejs"]).await?;
    let text = shown(&output);
    ensure!(
        output.status == 6 && text.contains("StagingTimeExpired"),
        "{text}"
    );
    ensure!(
        output.took < Duration::from_secs(20),
        "it took {:?}",
        output.took
    );
    eventually("nothing is left of it", Duration::from_secs(10), || async {
        let left = processes(&mark);
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await?;
    yard.neighbour_is_well().await?;
    yard.delete("hanging").await
}
