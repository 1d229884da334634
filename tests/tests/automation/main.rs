//! Automation as users of StackStorm meet it: the unmodified command `st2` and unmodified packs
//! against a whole cluster, and the verbs of `yard`.
//!
//! Without the package index nothing here means much, so the tests that need it are skipped by
//! name and loudly; the verbs of `yard` are tested all the same. Packs of the Exchange come from
//! `$STACKYARD_TEST_PACKS` (a folder of packs) or by git from where they are published.

#![expect(clippy::print_stdout, reason = "a test runner speaks to its user")]

mod client;
mod commands;
mod examples;
mod exchange;
mod packs;
mod platform;
mod rules;
mod runs;
mod services;
mod talk;
mod verbs;

use client::{Client, Missing};
use tests::Cluster;
use tests::runner::{Tally, suite, with_cluster};

/// A cluster and the client that talks to it.
pub struct World {
    pub cluster: Cluster,
    pub client: Client,
}

async fn prepare(cluster: Cluster, tally: &mut Tally) -> Result<World, Cluster> {
    let mut client = match Client::install(&cluster).await {
        Ok(client) => client,
        Err(Missing::Unreachable(why)) => {
            println!(
                "SKIPPED every test that uses st2client {}: {why}",
                client::VERSION
            );
            return Err(cluster);
        }
        Err(Missing::Failed(error)) => {
            tally.note("st2client_is_installed", Err(error));
            return Err(cluster);
        }
    };
    let logged_in = client.log_in(&cluster).await;
    if tally.note("st2_auth_gives_a_token", logged_in) {
        Ok(World { cluster, client })
    } else {
        Err(cluster)
    }
}

fn main() {
    suite("automation", async |tally| {
        with_cluster(tally, async |cluster, tally| {
            let cluster = match prepare(cluster, tally).await {
                Ok(world) => {
                    packs::install(&world, tally).await;
                    runs::all(&world, tally).await;
                    rules::all(&world, tally).await;
                    talk::all(&world, tally).await;
                    // After the others, so that there is something to list of everything.
                    commands::all(&world, tally).await;
                    exchange::all(&world, tally).await;
                    packs::remove(&world, tally).await;
                    world.cluster
                }
                Err(cluster) => cluster,
            };
            verbs::all(&cluster, tally).await;
            platform::all(&cluster, tally).await;
            services::all(&cluster, tally).await;
            examples::all(&cluster, tally).await;
            cluster
        })
        .await;
    });
}
