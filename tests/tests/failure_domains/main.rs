//! Three agents on one machine, each a failure domain: one is lost, cut off, restarted, emptied, and
//! whoever uses an app notices as little as can be.

#![expect(
    clippy::print_stdout,
    reason = "a program of the harness speaks to its user"
)]

mod agents;
mod drains;
mod losses;

use agents::*;
use anyhow::{Context, ensure};
use drains::*;
use losses::*;
use std::collections::BTreeSet;
use tests::apps::{push, server};
use tests::runner::{run, suite, with_cluster_of};
use tests::{Cluster, Options, tests};

async fn each_agent_has_a_zone_and_everything_of_its_own(cluster: &Cluster) -> anyhow::Result<()> {
    wait_all_ready(cluster).await?;
    let mut zones = BTreeSet::new();
    for agent in AGENTS {
        zones.insert(seen(cluster, agent).await?.zone);
    }
    ensure!(zones.len() == 3, "{zones:?}");
    let bootstraps = AGENTS
        .map(|agent| cluster.bootstrap(agent))
        .into_iter()
        .collect::<anyhow::Result<Vec<_>>>()?;
    for pointer in [
        "/folder",
        "/admin/address",
        "/bus/user",
        "/bus/password",
        "/store/password",
        "/settings/address",
        "/settings/subnet",
        "/settings/interface_prefix",
        "/settings/nft_table",
        "/settings/cgroup_parent",
        "/settings/uid_base",
    ] {
        let values: BTreeSet<String> = bootstraps
            .iter()
            .map(|bootstrap| {
                let value = bootstrap.pointer(pointer);
                value.map(ToString::to_string).unwrap_or_default()
            })
            .collect();
        ensure!(values.len() == 3, "{pointer} is shared: {values:?}");
    }
    Ok(())
}

async fn instances_spread_over_the_zones(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "spread");
    push(
        cluster,
        "spread",
        &folder,
        &["--memory", "64M", "--instances", "3"],
    )
    .await?
    .success()?;
    for instances in [3, 6] {
        cluster
            .ok(["scale", "spread", "--instances", &instances.to_string()])
            .await?;
        let places = wait_settled(cluster, &AGENTS, "spread", instances).await?;
        for agent in AGENTS {
            let here = places.iter().filter(|place| place.agent == agent).count() as u64;
            ensure!(here == instances / 3, "{agent} has {here}: {places:?}");
        }
    }
    cluster.ok(["delete", "spread", "--force"]).await.map(drop)
}

async fn the_number_of_agents_changes_with_the_next_up(cluster: &Cluster) -> anyhow::Result<()> {
    prepare(cluster).await?;
    let file = cluster.cluster_file()?;
    for (number, agents) in [("1", &AGENTS[..1]), ("3", &AGENTS[..])] {
        cluster.down().await?;
        let left = cluster.leftovers(&file);
        ensure!(left.is_empty(), "left behind: {}", left.join("\n"));
        let mut arguments = cluster.up_arguments();
        let at = arguments
            .iter()
            .position(|word| word == "--deas")
            .context("`yard up` is told a number")?;
        arguments[at + 1] = number.to_string();
        for _ in 0..2 {
            cluster.ok(&arguments).await?;
            let names: Vec<String> = cluster
                .node_status()?
                .components
                .into_iter()
                .filter(|component| component.role == "dea")
                .map(|component| component.name)
                .collect();
            ensure!(names == agents, "{names:?}");
        }
        wait_settled(cluster, agents, STEADY, 3).await?;
    }
    Ok(())
}

fn main() {
    suite("failure domains", async |tally| {
        let options = Options {
            deas: 3,
            ..Options::default()
        };
        with_cluster_of(options, tally, async |cluster, tally| {
            let tests = tests![
                each_agent_has_a_zone_and_everything_of_its_own,
                instances_spread_over_the_zones,
                an_agent_lost_with_its_containers_is_replaced,
                an_agent_that_is_cut_off_serves_on_and_its_extras_stop_last,
                an_agent_that_restarts_finds_its_own_again,
                a_drain_moves_everything_and_no_request_fails,
                sensors_and_the_sandboxes_of_packs_move_too,
                a_signal_empties_an_agent_until_it_starts_anew,
                a_drain_without_room_elsewhere_is_bounded,
                the_number_of_agents_changes_with_the_next_up,
            ];
            run(&cluster, tests, tally).await;
            cluster
        })
        .await;
    });
}
