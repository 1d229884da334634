//! Inside an app: shells, commands, files and copies, by `yard` and by the OpenSSH client; who may go in, and
//! what is kept of a crashed instance.

mod openssh;
mod rights;
mod yard;

use openssh::*;
use rights::*;
use tests::apps::{push, server};
use tests::runner::{run, suite, with_cluster};
use tests::tests;
use yard::*;

/// The app that is looked into.
pub const APP: &str = "looked-into";

fn main() {
    suite("inside an app", async |tally| {
        with_cluster(tally, async |cluster, tally| {
            let folder = server(&cluster, APP);
            let pushed = push(
                &cluster,
                APP,
                &folder,
                &["--memory", "64M", "--instances", "2"],
            );
            let pushed = pushed.await.and_then(|output| output.success());
            if tally.note("an_app_is_pushed", pushed.map(drop)) {
                let tests = tests![
                    a_command_runs_as_the_app_and_its_status_comes_back,
                    what_a_command_leaves_behind_ends_with_it,
                    a_shell_has_the_terminal,
                    every_instance_is_asked,
                    files_are_listed_and_shown,
                    files_and_folders_are_copied_both_ways,
                    openssh_runs_a_command_and_carries_much,
                    openssh_has_a_terminal,
                    openssh_forwards_a_port,
                    scp_copies_files_both_ways,
                    a_code_is_good_once,
                    a_crashed_instance_can_be_looked_into,
                    a_switch_and_a_role_decide,
                ];
                run(&cluster, tests, tally).await;
            }
            cluster
        })
        .await;
    });
}
