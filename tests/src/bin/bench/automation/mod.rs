//! Automation against yardsticks: what a rule's action takes to begin ([`reaction`]), how many
//! executions a whole cluster takes in and carries out ([`requests`]), and how much the parts do in
//! a second ([`parts`]).

mod parts;
mod pipe;
mod reaction;
mod requests;

use crate::goal::Goal;
use crate::yardsticks::{nats, postgres};
use anyhow::ensure;
use std::time::Duration;
use tests::automation::Api;
use tests::{Cluster, eventually};

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const STAGED_WITHIN: Duration = Duration::from_secs(300);

/// The goals of parts that are measured alone, without a cluster.
pub async fn parts() -> anyhow::Result<Vec<Goal>> {
    parts::measure().await
}

/// Waits until the libraries that all packs may import are staged, or cannot be: every sandbox is replaced
/// then, with what a measurement has made in it.
async fn libraries_are_settled(cluster: &Cluster) -> anyhow::Result<()> {
    let log = cluster.home.join("logs/controller-1.log");
    let said = [
        "the libraries that all packs may import are staged",
        "the libraries of all packs are not staged",
    ];
    eventually(
        "the libraries of all packs are staged",
        STAGED_WITHIN,
        async || {
            let text = std::fs::read_to_string(&log)?;
            ensure!(
                said.iter().any(|words| text.contains(words)),
                "the log of the controller does not say so"
            );
            Ok(())
        },
    )
    .await
}

/// The goals of a whole cluster; or only those of the way from an event to its action.
pub async fn whole(cluster: &Cluster, only_reaction: bool) -> anyhow::Result<Vec<Goal>> {
    libraries_are_settled(cluster).await?;
    let bus = nats::Server::start(None).await?;
    let database = postgres::Server::start().await?;
    let database = database.as_ref().map_err(String::as_str);
    let api = Api::log_in(cluster, ANSWER_WITHIN).await?;
    let mut goals = reaction::measure(cluster, &api, &bus, database).await?;
    if !only_reaction {
        goals.push(requests::measure(cluster, &api, database).await?);
    }
    Ok(goals)
}
