//! `yard timer`: the timers that rules run on.

use super::resource::{Length, Noun};
use crate::client::Automation;
use crate::failure::Outcome;
use crate::output::Output;
use clap::{Args, Subcommand};

const NOUN: Noun<3> = Noun {
    one: "timer",
    many: "timers",
    path: "/timers",
    columns: [
        ("timer", "id"),
        ("type", "type"),
        ("parameters", "parameters"),
    ],
};

#[derive(Debug, Args)]
pub struct TimerArgs {
    #[command(subcommand)]
    command: TimerCommand,
}

#[derive(Debug, Subcommand)]
enum TimerCommand {
    /// List timers
    List {
        /// Only those of this type, for instance core.st2.CronTimer
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        #[command(flatten)]
        length: Length,
    },
}

pub async fn run(args: TimerArgs, api: &Automation, out: &Output) -> Outcome {
    let TimerCommand::List { kind, length } = args.command;
    NOUN.list(api, out, &[("timer_type", kind.as_deref())], &length)
        .await
}
