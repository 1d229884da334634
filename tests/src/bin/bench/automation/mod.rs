//! Automation against yardsticks: what a rule's action takes to begin ([`reaction`]), and how much
//! the parts do in a second ([`parts`]).

mod api;
mod examples;
mod parts;
mod pipe;
mod reaction;

use crate::goal::Goal;
use crate::yardsticks::{nats, postgres};
use tests::Cluster;

/// The goals of parts that are measured alone, without a cluster.
pub async fn parts() -> anyhow::Result<Vec<Goal>> {
    parts::measure().await
}

/// The goals of a whole cluster.
pub async fn reaction(cluster: &Cluster) -> anyhow::Result<Vec<Goal>> {
    let bus = nats::Server::start(None).await?;
    let database = postgres::Server::start().await?;
    reaction::measure(cluster, &bus, database.as_ref().map_err(String::as_str)).await
}
