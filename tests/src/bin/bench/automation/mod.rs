//! Automation against yardsticks: what a rule's action takes to begin ([`reaction`]), how many
//! executions a whole cluster takes in and carries out ([`requests`]), and how much the parts do in
//! a second ([`parts`]).

mod examples;
mod parts;
mod pipe;
mod reaction;
mod requests;

use crate::goal::Goal;
use crate::yardsticks::{nats, postgres};
use std::time::Duration;
use tests::Cluster;
use tests::automation::Api;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The goals of parts that are measured alone, without a cluster.
pub async fn parts() -> anyhow::Result<Vec<Goal>> {
    parts::measure().await
}

/// The goals of a whole cluster.
pub async fn whole(cluster: &Cluster) -> anyhow::Result<Vec<Goal>> {
    let bus = nats::Server::start(None).await?;
    let database = postgres::Server::start().await?;
    let database = database.as_ref().map_err(String::as_str);
    let api = Api::log_in(cluster, ANSWER_WITHIN).await?;
    let mut goals = reaction::measure(cluster, &api, &bus, database).await?;
    goals.push(requests::measure(cluster, &api, database).await?);
    Ok(goals)
}
