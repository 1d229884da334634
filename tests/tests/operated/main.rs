//! The cluster operated: started and stopped, with what it does to the machine put back; used by
//! another user through sudo; configured while it runs; and every command of `yard` in the form that
//! programs read.

#![expect(
    clippy::print_stdout,
    reason = "a program of the harness speaks to its user"
)]

mod live;
mod machine;
mod users;
mod verbs;

use live::*;
use machine::*;
use tests::runner::{Tally, run};
use tests::{Cluster, Options, tests};
use users::*;
use verbs::*;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut tally = Tally::default();
    runtime.block_on(async {
        println!("\nrunning the cluster operated");
        // Those with clusters of their own, in a network of their own: no other may run meanwhile.
        run(
            &(),
            tests![
                the_machine_is_left_as_it_was_found,
                a_cluster_that_stops_takes_nothing_from_one_whose_node_is_dead,
            ],
            &mut tally,
        )
        .await;
        let cluster = match Cluster::start(Options::default()).await {
            Ok(cluster) => cluster,
            Err(error) => {
                println!("test the_cluster_comes_up ... FAILED\n    {error:#}");
                tally.failed += 1;
                return;
            }
        };
        run(
            &cluster,
            tests![
                the_log_level_follows_the_configuration,
                the_limits_of_the_router_follow_the_configuration,
                the_access_log_follows_the_configuration,
                the_memory_on_offer_follows_the_configuration,
                the_times_of_the_health_manager_follow_the_configuration,
                the_heartbeat_follows_the_configuration,
                a_second_user_is_logged_in_through_sudo,
                every_command_prints_one_document,
                streams_print_one_document_a_line_and_end_with_their_reader,
                what_fails_is_a_document_with_its_exit_code,
            ],
            &mut tally,
        )
        .await;
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
