//! The command line.

use crate::apps::{environment, lifecycle, scale, summary, versions};
use crate::automation::AutomationCommand;
use crate::cluster::{down, node, status, up};
use crate::failure::EXIT_CODES;
use crate::{
    buildpacks, config, doctor, domains, events, history, inside, login, logs, push, quotas,
    report, routers, routes, run, services, tasks, why,
};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

#[derive(Debug, Parser)]
#[command(
    name = "yard",
    version,
    about = "Run apps and automation on a Stackyard cluster, and run the cluster",
    after_help = "`yard COMMAND --help` explains a command, `yard help exit-codes` what it may exit with.",
    after_long_help = EXIT_CODES,
    infer_subcommands = false,
    max_term_width = 110
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Print one JSON document on standard output, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Show the chain of causes of an error
    #[arg(long, global = true)]
    pub verbose: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a cluster on this machine
    Up(up::UpArgs),
    /// Stop the cluster of this machine; data stays
    Down(down::DownArgs),
    /// Stop the cluster of this machine and remove its data
    Destroy(down::DestroyArgs),
    /// Check whether this machine is ready for a cluster
    Doctor(doctor::DoctorArgs),
    /// Show the versions of client and cluster
    Version,
    /// Show how the cluster is
    Status(status::StatusArgs),
    /// Put what explains a fault of this cluster into one archive, without its secrets
    Report(report::ReportArgs),
    /// Push an app (upload, stage and start it, or replace the running one in steps) or a pack
    Push(Box<push::PushArgs>),
    /// List the apps of the space
    Apps,
    /// Show an app and its instances
    App(summary::AppArgs),
    /// Change the number or size of an app's instances
    Scale(scale::ScaleArgs),
    /// Start an app
    Start(lifecycle::StartArgs),
    /// Stop an app
    Stop(lifecycle::OneApp),
    /// Restart an app
    Restart(lifecycle::ReplaceArgs),
    /// Stage an app's newest package again and replace what runs
    Restage(lifecycle::ReplaceArgs),
    /// List what an app ran with, each time that changed
    Revisions(lifecycle::OneApp),
    /// Go back to a revision: its droplet, its variables, its start commands
    Rollback(versions::RollbackArgs),
    /// Show the deployments of an app, continue one that pauses, take one back
    Deployment(versions::DeploymentArgs),
    /// Show, save, upload and choose the droplets of an app
    Droplet(versions::DropletArgs),
    /// Print the manifest of an app as it is
    Manifest(lifecycle::OneApp),
    /// Give the source of an app to another
    CopySource(versions::CopyArgs),
    /// Delete an app
    Delete(lifecycle::DeleteArgs),
    /// Run an action and show its result; with `--` a command, as a task of an app
    Run(Box<run::RunArgs>),
    /// List the tasks of an app
    Tasks(tasks::TasksArgs),
    /// Show and cancel tasks
    Task(tasks::TaskArgs),
    /// Show an app's log lines, live or recent
    Logs(logs::LogsArgs),
    /// Show an app's environment
    Env(environment::EnvArgs),
    /// Set variables of an app's environment
    SetEnv(environment::SetArgs),
    /// Take variables out of an app's environment
    UnsetEnv(environment::UnsetArgs),
    /// Make a route lead to an app
    MapRoute(routes::MapArgs),
    /// Make a route lead to an app no more
    UnmapRoute(routes::RouteArgs),
    /// Change the options of a route: limits, balancing, packed answers
    UpdateRoute(routes::UpdateArgs),
    /// List the routes of the space
    Routes,
    /// Show and change the domains that routes are made of
    Domain(domains::DomainArgs),
    /// Open a shell in an instance, or run one command there
    Ssh(inside::shell::ShellArgs),
    /// Show a folder or a file of an instance
    Files(inside::files::FilesArgs),
    /// Copy files and folders from an instance or to it
    Cp(inside::copy::CopyArgs),
    /// Show what happened to an app
    Events(events::EventsArgs),
    /// Show what led to the last restarts, failures and placements of an app
    Why(why::WhyArgs),
    #[command(flatten)]
    Automation(AutomationCommand),
    /// Show and change the services of the space, bind apps to them
    Service(services::ServiceArgs),
    /// Show the agents of the cluster, empty one, take it back
    Node(node::NodeArgs),
    /// Show what the routers know of routes, and why
    Router(routers::RouterArgs),
    /// Show and change how much organizations and spaces may have
    Quota(quotas::QuotaArgs),
    /// Show and change the buildpacks that every app may use
    Buildpack(buildpacks::BuildpackArgs),
    /// Show and change the live configuration of the cluster
    Config(config::ConfigArgs),
    /// Show who ran which administrative command
    History(history::HistoryArgs),
    /// Log in to a cluster
    Login(login::LoginArgs),
    /// Log out
    Logout,
    /// Show or choose organization and space
    Target(login::TargetArgs),
    /// Print a script that completes commands in a shell
    Completions {
        /// For instance bash: yard completions bash > /etc/bash_completion.d/yard
        shell: Shell,
    },
    /// Explain the exit codes
    #[command(after_help = EXIT_CODES)]
    ExitCodes,
    #[command(hide = true)]
    InternalDetach(up::DetachArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// A sentence without its full stop, as all the others are.
    fn explained(what: &str, text: Option<&clap::builder::StyledStr>) {
        let text = text.map(ToString::to_string).unwrap_or_default();
        assert!(!text.is_empty(), "{what} is not explained");
        assert!(!text.ends_with('.'), "{what}: {text}");
        assert!(
            text.starts_with(|first: char| first.is_uppercase() || first == '`'),
            "{what}: {text}"
        );
    }

    fn all_explained(command: &clap::Command, path: &str) {
        explained(path, command.get_about());
        for argument in command.get_arguments().filter(|it| !it.is_hide_set()) {
            explained(
                &format!("{path} {}", argument.get_id()),
                argument.get_help(),
            );
        }
        for inner in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            all_explained(inner, &format!("{path} {}", inner.get_name()));
        }
    }

    #[test]
    fn every_command_and_every_argument_is_explained() {
        all_explained(&Cli::command(), "yard");
    }

    #[test]
    fn the_same_option_means_the_same_everywhere() {
        let command = Cli::command();
        let mut shorts = std::collections::BTreeMap::new();
        for inner in command.get_subcommands() {
            for argument in inner.get_arguments() {
                let (Some(short), Some(long)) = (argument.get_short(), argument.get_long()) else {
                    continue;
                };
                shorts
                    .entry(long.to_string())
                    .or_insert_with(std::collections::BTreeSet::new)
                    .insert(short);
            }
        }
        for (long, shorts) in shorts {
            assert_eq!(shorts.len(), 1, "--{long} has the short forms {shorts:?}");
        }
    }
}
