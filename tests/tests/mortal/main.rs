//! Every daemon may die at any time. Two controllers, routers, stagers and health managers on one machine
//! and one PostgreSQL; they are killed, suspended and cut off while apps are pushed and used.
//!
//! `make test` does each thing a few times; `make trials` (`STACKYARD_TRIALS=ROUNDS`) does it as often as the
//! counts in docs/trials.md say, and writes them there. Moments come from a seed, which is printed;
//! `STACKYARD_SEED` repeats one.

#![expect(clippy::print_stdout, reason = "a test runner speaks to its user")]
#![expect(clippy::disallowed_methods, reason = "a harness has no supervisor")]

mod api;
mod bus;
#[path = "../../../controller/tests/databases/mod.rs"]
mod databases;
mod descriptors;
mod leader;
mod orphans;
mod pushes;
mod roles;
mod rows;
mod servers;
mod world;

use bus::*;
use descriptors::*;
use leader::*;
use orphans::*;
use pushes::*;
use roles::*;
use servers::*;
use tests::runner::{Tally, run, skipped};
use tests::tests;
use world::{Amounts, World};

/// A number of the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let seed = number("STACKYARD_SEED").unwrap_or_else(rand::random);
    let amounts = match number("STACKYARD_TRIALS") {
        None => Amounts::SHORT,
        Some(rounds) => Amounts::long(u32::try_from(rounds).unwrap_or(1).max(1)),
    };
    let mut tally = Tally::default();
    runtime.block_on(async {
        println!("\nrunning daemons that die, STACKYARD_SEED={seed}");
        let Some(database) = databases::Database::postgres().await else {
            skipped(
                "daemons that die",
                "initdb is not installed: several controllers need PostgreSQL",
            );
            return;
        };
        let world = match World::start(database, seed, amounts).await {
            Ok(world) => world,
            Err(error) => {
                tally.note("the_cluster_comes_up", Err(error));
                return;
            }
        };
        run(
            &world,
            tests![
                two_of_each_share_work_or_stand_by,
                a_push_ends_at_whatever_step_controllers_die,
                a_leader_that_stood_still_writes_nothing,
                etcd_and_nats_restart_under_pushes_and_load,
                the_bus_may_be_away,
                descriptors_may_run_out,
                no_orphan_is_left,
            ],
            &mut tally,
        )
        .await;
        if tally.failed > 0 {
            world.cluster.print_logs();
        } else if amounts.are_long() && tally.filtered == 0 {
            tally.note("the_counts_are_written", world.write_report());
        }
        let World {
            cluster, database, ..
        } = world;
        tally.note("destroy_leaves_nothing", cluster.destroy().await);
        drop(database);
    });
    tally.print();
    if tally.failed > 0 {
        std::process::exit(1);
    }
}
