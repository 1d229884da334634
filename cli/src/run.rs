//! `yard run`: an action of a pack, or, with `--`, a command with an app's droplet.

use crate::automation::run::{self as action, How};
use crate::client::Automation;
use crate::failure::Outcome;
use crate::output::Output;
use crate::targets::Store;
use crate::tasks::run::{self as task, TaskOptions};
use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = format!("{}\n{TASKS}", action::EXAMPLES))]
pub struct RunArgs {
    /// The action, for instance core.local; with `--` an app
    #[arg(value_name = "ACTION|APP")]
    target: String,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    task: TaskOptions,
    /// A command to run as a task of the app: one word is a command line, several are a program and its arguments
    #[arg(last = true, conflicts_with_all = ["parameters", "detached", "delay", "tail", "trace_tag", "timeout"])]
    command: Vec<String>,
}

const TASKS: &str = "Tasks of apps:
  yard run shop -- rake db:migrate        with the droplet and the environment of the app shop
  yard run shop -m 1G -- 'psql $DATABASE_URL < dump.sql'
  yard run shop --name nightly --detach -- ./report.sh
Output is shown as it comes; exits with what the command exits with. An interrupt cancels the task.";

pub async fn run(args: RunArgs, out: &Output, store: Store) -> Outcome {
    if args.command.is_empty() {
        let api = Automation::open(store)?;
        return action::run(&args.target, &args.how, &api, out).await;
    }
    task::run(&args.target, &args.task, &args.command, out, store).await
}
