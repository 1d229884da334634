//! Trials of automation's reliability on a whole cluster: parts are killed under load, and afterwards the
//! account must balance. What was acknowledged has exactly one trigger instance, one execution and an end,
//! and what it did it did once.
//!
//! `make test` runs each trial for some seconds; `make trials` (`STACKYARD_TRIALS=ROUNDS`) runs them as many
//! times over and writes docs/trials.md. The moments are those of a seed, which is printed;
//! `STACKYARD_SEED` repeats one.

#![expect(clippy::print_stdout, reason = "a test runner speaks to its user")]
#![expect(clippy::disallowed_methods, reason = "a harness has no supervisor")]

mod account;
mod api;
mod burst;
mod effects;
mod load;
mod mishaps;
mod report;

use api::Api;
use burst::*;
use mishaps::*;
use std::sync::Mutex;
use tests::runner::{Tally, run};
use tests::{Cluster, Options, tests};

/// What a trial found.
#[derive(Debug, Clone)]
pub struct Trial {
    pub name: &'static str,
    pub line: String,
}

/// A cluster, who calls its hooks, and what was found so far.
pub struct World {
    pub cluster: Cluster,
    pub api: Api,
    pub seed: u64,
    /// How often each mishap is repeated.
    pub rounds: u32,
    trials: Mutex<Vec<Trial>>,
}

impl World {
    async fn start(seed: u64, rounds: u32) -> anyhow::Result<World> {
        let cluster = Cluster::start(Options::default()).await?;
        let prepared = async {
            // A part that is killed often is to come back all the same.
            cluster
                .ok(["config", "set", "node/restart/max_delay", "1s"])
                .await?;
            effects::start(&cluster).await?;
            Api::log_in(&cluster).await
        }
        .await;
        match prepared {
            Ok(api) => Ok(World {
                cluster,
                api,
                seed,
                rounds,
                trials: Mutex::default(),
            }),
            Err(error) => {
                cluster.print_logs();
                cluster.destroy().await?;
                Err(error)
            }
        }
    }

    pub fn note(&self, trial: Trial) {
        self.trials.lock().expect("no holder panics").push(trial);
    }
}

/// A number of the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let seed = number("STACKYARD_SEED").unwrap_or_else(rand::random);
    let rounds = number("STACKYARD_TRIALS").and_then(|rounds| u32::try_from(rounds).ok());
    let mut tally = Tally::default();
    runtime.block_on(async {
        println!("\nrunning trials of automation, STACKYARD_SEED={seed}");
        let world = match World::start(seed, rounds.unwrap_or(1).max(1)).await {
            Ok(world) => world,
            Err(error) => {
                println!("test the_cluster_comes_up ... FAILED\n    {error:#}");
                tally.failed += 1;
                return;
            }
        };
        run(
            &world,
            tests![
                the_controller_may_be_killed,
                the_agent_may_be_killed,
                the_bus_may_be_killed,
                the_cluster_store_may_be_killed,
                the_leader_may_stand_still,
                more_actions_than_an_agent_takes_wait_for_room,
                a_burst_is_taken_in_and_put_off_in_bounded_memory,
            ],
            &mut tally,
        )
        .await;
        if tally.failed > 0 {
            world.cluster.print_logs();
        } else if rounds.is_some() && tally.filtered == 0 {
            let trials = world.trials.lock().expect("no holder panics");
            if let Err(error) = report::write(&trials, seed, world.rounds) {
                println!("docs/trials.md was not written: {error}");
                tally.failed += 1;
            }
        }
        match world.cluster.destroy().await {
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
