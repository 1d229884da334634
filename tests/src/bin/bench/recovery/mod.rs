//! What comes back after something died, and how soon: on whole clusters, with an app that listens at once.

mod crashes;
mod droplets;
mod losses;
mod server;

use crate::goal::Goal;
use tests::{Cluster, Options};

pub async fn measure() -> anyhow::Result<Vec<Goal>> {
    let mut goals = on_a_cluster(async |cluster| {
        let mut goals = vec![droplets::measure(cluster).await?];
        goals.extend(crashes::measure(cluster).await?);
        Ok(goals)
    })
    .await?;
    goals.extend(on_a_cluster(losses::measure).await?);
    Ok(goals)
}

async fn on_a_cluster(
    measure: impl AsyncFnOnce(&Cluster) -> anyhow::Result<Vec<Goal>>,
) -> anyhow::Result<Vec<Goal>> {
    let cluster = Cluster::start(Options::default()).await?;
    let measured = measure(&cluster).await;
    if measured.is_err() {
        cluster.print_logs();
    }
    cluster.destroy().await?;
    measured
}
