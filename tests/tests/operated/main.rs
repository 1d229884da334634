//! The cluster operated: started and stopped, with what it does to the machine put back; used by
//! another user through sudo; configured while it runs; and every command of `yard` in the form that
//! programs read.

mod buildpacks;
mod changes;
mod live;
mod machine;
mod plan;
mod roles;
mod tasks;
mod unit;
mod users;
mod verbs;
mod why;

use buildpacks::*;
use changes::*;
use live::*;
use machine::*;
use plan::*;
use roles::*;
use tasks::*;
use tests::runner::{run, suite, with_cluster};
use tests::tests;
use unit::*;
use users::*;
use verbs::*;
use why::*;

fn main() {
    suite("the cluster operated", async |tally| {
        // Those with clusters of their own, in a network of their own: no other may run meanwhile.
        let tests = tests![
            the_machine_is_left_as_it_was_found,
            a_cluster_that_stops_takes_nothing_from_one_whose_node_is_dead,
        ];
        run(&(), tests, tally).await;
        with_cluster(tally, async |cluster, tally| {
            let tests = tests![
                the_log_level_follows_the_configuration,
                the_limits_of_the_router_follow_the_configuration,
                the_access_log_follows_the_configuration,
                the_memory_on_offer_follows_the_configuration,
                the_times_of_the_health_manager_follow_the_configuration,
                the_heartbeat_follows_the_configuration,
                a_task_prints_and_exits_as_its_command_does,
                a_task_is_cancelled_by_command_and_by_interrupt,
                a_task_outlives_its_agent_and_the_controller,
                a_greedy_task_is_told_from_others,
                a_task_without_room_waits_for_it,
                what_happened_to_an_app_is_led_back_to_its_causes,
                a_plan_tells_what_a_push_would_change_and_changes_nothing,
                apps_bring_their_buildpacks_and_operators_upload_them,
                a_value_of_one_component_changes_only_that_one,
                a_value_of_the_machine_lies_between_the_clusters_and_a_components,
                a_change_is_taken_back,
                a_value_that_needs_a_restart_restarts_one_daemon_at_a_time,
                a_router_is_added_and_finishes_its_requests_before_it_goes,
                an_agent_is_added_and_emptied_before_it_goes,
                what_would_hurt_is_refused_with_the_reason,
                up_writes_roles_too,
                a_node_finishes_what_another_began,
                a_unit_brings_everything_back_after_a_reboot,
                a_report_holds_no_secret,
                a_second_user_is_logged_in_through_sudo,
                every_command_prints_one_document,
                streams_print_one_document_a_line_and_end_with_their_reader,
                what_fails_is_a_document_with_its_exit_code,
            ];
            run(&cluster, tests, tally).await;
            cluster
        })
        .await;
    });
}
