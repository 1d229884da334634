//! What may befall the machine under a cluster: disks without room, clocks that jump. Nothing ends, what runs goes on,
//! whoever uses the cluster is told why something does not work, and all works again without a restart.

#![expect(
    clippy::print_stdout,
    reason = "a program of the harness speaks to its user"
)]

mod clocks;
mod disks;
mod world;

use clocks::*;
use disks::*;
use std::rc::Rc;
use tests::runner::{run, suite, with_cluster_of};
use tests::{Options, tests};
use world::World;

fn main() {
    suite("mishaps of the machine", async |tally| {
        let (disks, clock) =
            match Disks::make().and_then(|disks| Ok((Rc::new(disks), Clock::find()?))) {
                Ok(made) => made,
                Err(error) => {
                    tally.note("disks_and_a_clock_are_made", Err(error));
                    return;
                }
            };
        let options = Options {
            elsewhere: disks.folders(),
            environment: clock.environment(),
            ..Options::default()
        };
        with_cluster_of(options, tally, async |cluster, tally| {
            let world = World {
                cluster,
                disks: disks.clone(),
                clock,
            };
            if let Err(error) = world.prepare().await {
                tally.note("the_world_is_prepared", Err(error));
                return world.leave();
            }
            run(
                &world,
                tests![
                    a_controller_without_disk_refuses_what_is_new_and_tells_why,
                    an_agent_without_disk_serves_on_and_tells_why,
                    clocks_jump_and_nothing_is_taken_for_dead,
                ],
                tally,
            )
            .await;
            world.leave()
        })
        .await;
    });
}
