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
mod talk;
mod verbs;

use client::{Client, Missing};
use tests::runner::Tally;
use tests::{Cluster, Options};

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
            tally.failed += 1;
            println!("test st2client_is_installed ... FAILED\n    {error:#}");
            return Err(cluster);
        }
    };
    match client.log_in(&cluster).await {
        Ok(()) => {
            tally.passed += 1;
            println!("test st2_auth_gives_a_token ... ok");
            Ok(World { cluster, client })
        }
        Err(error) => {
            tally.failed += 1;
            println!("test st2_auth_gives_a_token ... FAILED\n    {error:#}");
            Err(cluster)
        }
    }
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut tally = Tally::default();
    runtime.block_on(async {
        println!("\nrunning automation");
        let cluster = match Cluster::start(Options::default()).await {
            Ok(cluster) => cluster,
            Err(error) => {
                println!("test the_cluster_comes_up ... FAILED\n    {error:#}");
                tally.failed += 1;
                return;
            }
        };
        let cluster = match prepare(cluster, &mut tally).await {
            Ok(world) => {
                packs::install(&world, &mut tally).await;
                runs::all(&world, &mut tally).await;
                rules::all(&world, &mut tally).await;
                talk::all(&world, &mut tally).await;
                // After the others, so that there is something to list of everything.
                commands::all(&world, &mut tally).await;
                exchange::all(&world, &mut tally).await;
                packs::remove(&world, &mut tally).await;
                world.cluster
            }
            Err(cluster) => cluster,
        };
        verbs::all(&cluster, &mut tally).await;
        platform::all(&cluster, &mut tally).await;
        examples::all(&cluster, &mut tally).await;
        if tally.failed > 0 {
            cluster.print_logs();
        }
        match cluster.destroy().await {
            Ok(()) => {
                tally.passed += 1;
                println!("test destroy_leaves_nothing ... ok");
            }
            Err(error) => {
                tally.failed += 1;
                println!("test destroy_leaves_nothing ... FAILED\n    {error:#}");
            }
        }
    });
    tally.print();
    if tally.failed > 0 {
        std::process::exit(1);
    }
}
