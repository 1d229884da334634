//! Hostile input and hostile apps against a real cluster: apps that fork, fill, eat, flood and
//! flap; packages that try to get out; stagings that hang; garbage on the bus; clients that abuse
//! HTTP. Each gets a clear reason or a clean recovery, and all the while a neighbour app answers:
//! one load runs from the first test to the last and may not see a single failure.
//!
//! Tests run in lanes beside one another, because most of the time of each is waiting. What changes a
//! setting that others depend on has a phase of its own.

#![expect(
    clippy::print_stdout,
    reason = "a program of the harness speaks to its user"
)]

mod bus;
mod containment;
mod expectations;
mod greed;
mod http;
mod routes;
mod staging;
mod support;
mod uploads;

use bus::garbage_on_the_bus_is_counted_and_harms_nobody;
use containment::apps_that_misbehave_are_stopped_and_their_neighbour_answers_on;
use expectations::{
    a_worker_of_a_procfile_is_scaled, health_checks_by_http_and_by_process,
    odd_environment_arrives_intact,
};
use greed::{
    a_flapping_app_is_restarted_later_and_later, a_flood_of_log_lines_is_cut_and_counted,
    a_fork_bomb_is_contained, a_full_disk_is_the_apps_own, a_memory_hog_is_backed_off,
    daemons_left_behind_by_an_app_go_with_it,
};
use http::{ambiguous_framing_is_refused, large_bodies_sockets_and_kept_connections_pass};
use routes::taken_and_invalid_routes_are_refused;
use staging::{
    a_failing_setup_shows_its_last_lines, a_staging_that_fills_its_disk_says_so,
    a_staging_that_hangs_is_ended,
};
use std::time::{Duration, Instant};
use support::{SERVER, Yard};
use tests::runner::{Tally, Test, run, suite, with_cluster};
use tests::{Cluster, Load, tests};
use uploads::packages_that_lead_out_are_refused;

/// Runs each list in order, the lists beside one another.
async fn lanes(yard: &Yard, lanes: Vec<Vec<Test<Yard>>>, tally: &mut Tally) {
    let mut tallies = vec![Tally::default(); lanes.len()];
    futures_util::future::join_all(
        lanes
            .into_iter()
            .zip(&mut tallies)
            .map(|(lane, tally)| run(yard, lane, tally)),
    )
    .await;
    for lane in tallies {
        tally.passed += lane.passed;
        tally.failed += lane.failed;
        tally.filtered += lane.filtered;
    }
}

async fn attack(yard: &Yard, tally: &mut Tally) {
    lanes(
        yard,
        vec![
            tests![
                a_memory_hog_is_backed_off,
                a_flapping_app_is_restarted_later_and_later,
                a_fork_bomb_is_contained,
                a_flood_of_log_lines_is_cut_and_counted,
            ],
            tests![
                health_checks_by_http_and_by_process,
                ambiguous_framing_is_refused,
                large_bodies_sockets_and_kept_connections_pass,
                odd_environment_arrives_intact,
            ],
            tests![
                packages_that_lead_out_are_refused,
                taken_and_invalid_routes_are_refused,
                a_worker_of_a_procfile_is_scaled,
                daemons_left_behind_by_an_app_go_with_it,
                a_failing_setup_shows_its_last_lines,
                a_full_disk_is_the_apps_own,
            ],
        ],
        tally,
    )
    .await;
    for (key, value) in [("staging/timeout", "8s"), ("staging/disk", "64MiB")] {
        if let Err(error) = yard.cluster.ok(["config", "set", key, value]).await {
            println!("setting {key} ... FAILED\n    {error:#}");
            tally.failed += 1;
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    lanes(
        yard,
        vec![
            tests![a_staging_that_fills_its_disk_says_so],
            tests![a_staging_that_hangs_is_ended],
        ],
        tally,
    )
    .await;
    for key in ["staging/timeout", "staging/disk"] {
        let _ = yard.cluster.ok(["config", "unset", key]).await;
    }
    run(
        yard,
        tests![
            // Alone: what it measures is not to be the others' doing.
            apps_that_misbehave_are_stopped_and_their_neighbour_answers_on,
            garbage_on_the_bus_is_counted_and_harms_nobody,
        ],
        tally,
    )
    .await;
}

async fn neighbour(cluster: Cluster) -> Result<Yard, (Cluster, anyhow::Error)> {
    let folder = cluster.root().join("apps/neighbour");
    let prepared = async {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("server.py"), SERVER)?;
        std::fs::write(folder.join("Procfile"), "web: exec python3 -u server.py\n")?;
        let path = folder.display().to_string();
        cluster
            .ok([
                "push",
                "neighbour",
                "--path",
                &path,
                "--memory",
                // A share of the processors that is enough for what it is asked.
                "512M",
                "-b",
                "binary",
            ])
            .await
    }
    .await;
    match prepared {
        Ok(_) => {
            let neighbour = Load::start(&cluster, &cluster.host("neighbour"), "/", 1);
            Ok(Yard { cluster, neighbour })
        }
        Err(error) => Err((cluster, error)),
    }
}

fn main() {
    suite("hostile apps and input", async |tally| {
        let start = Instant::now();
        with_cluster(tally, async |cluster, tally| {
            match neighbour(cluster).await {
                Ok(yard) => {
                    attack(&yard, tally).await;
                    let seen = yard.neighbour.stop().await;
                    println!(
                        "    the neighbour gave {} answers, the slowest after {} ms",
                        seen.answered,
                        seen.slowest.as_millis()
                    );
                    tally.note("the_neighbour_never_noticed", seen.without_failure(50));
                    yard.cluster
                }
                Err((cluster, error)) => {
                    tally.note("the_neighbour_is_pushed", Err(error));
                    cluster
                }
            }
        })
        .await;
        println!("    all in {:.0} s", start.elapsed().as_secs_f64());
    });
}
