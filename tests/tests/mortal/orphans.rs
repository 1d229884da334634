//! After everything that happened before: no blob is left that no row names.

use crate::rows;
use crate::world::{SOON, World};
use anyhow::ensure;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tests::eventually;

/// What the files of a folder of the blob store may be named by.
const NAMED: [(&str, &str); 4] = [
    (
        "packages",
        "SELECT sha256 FROM packages WHERE sha256 IS NOT NULL",
    ),
    ("droplets", "SELECT sha256 FROM droplets"),
    ("uploads", "SELECT guid FROM builds WHERE state = 'STAGING'"),
    ("caches", "SELECT guid FROM apps"),
];

pub async fn no_orphan_is_left(world: &World) -> anyhow::Result<()> {
    let (cluster, blobs) = (&world.cluster, world.cluster.home.join("blobs"));
    // What a controller leaves that dies while it receives, and between a blob and its row.
    for (folder, name) in [
        ("incoming", "half#1"),
        ("droplets", "nobody"),
        ("uploads", "gone"),
    ] {
        std::fs::create_dir_all(blobs.join(folder))?;
        let file = std::fs::File::create(blobs.join(folder).join(name))?;
        file.set_modified(SystemTime::now() - Duration::from_secs(60))?;
    }
    let before = files(&blobs).len();
    for (key, value) in [
        ("controller/blobs/unnamed_retention", "10s"),
        ("controller/blobs/sweep_period", "1s"),
    ] {
        cluster.ok(["config", "set", key, value]).await?;
    }
    eventually("every blob has its row", SOON, || async {
        for (folder, sql) in NAMED {
            let named: BTreeSet<String> = rows::texts(&world.database.store, sql)
                .await?
                .into_iter()
                .collect();
            for file in files(&blobs.join(folder)) {
                let key = file.strip_prefix(blobs.join(folder))?.display().to_string();
                ensure!(
                    named.iter().any(|name| key.starts_with(name)),
                    "{folder}/{key} is an orphan"
                );
            }
        }
        let half = files(&blobs.join("incoming"));
        ensure!(half.is_empty(), "half uploads: {half:?}");
        Ok(())
    })
    .await?;
    let left = files(&blobs).len();
    ensure!(left > 0, "the steady app's droplet is gone");
    // What still runs can be had again.
    cluster.ok(["restart", crate::world::STEADY]).await?;
    world.settled(crate::world::STEADY, 2).await?;
    world.note(
        "clean-up of blobs",
        format!("{before} files before, {left} after, 0 of them without a row"),
    );
    Ok(())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
