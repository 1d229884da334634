//! `yard trigger`: what can happen, what did happen, and making it happen.

use super::input;
use super::resource::{Length, Noun};
use crate::client::Automation;
use crate::failure::Outcome;
use crate::output::Output;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const NOUN: Noun<2> = Noun {
    one: "trigger",
    many: "triggers",
    path: "/triggertypes",
    columns: [("trigger", "ref"), ("description", "description")],
};

const INSTANCES: Noun<4> = Noun {
    one: "trigger instance",
    many: "trigger instances",
    path: "/triggerinstances",
    columns: [
        ("trigger instance", "id"),
        ("trigger", "trigger"),
        ("time", "occurrence_time"),
        ("status", "status"),
    ],
};

#[derive(Debug, Args)]
pub struct TriggerArgs {
    #[command(subcommand)]
    command: TriggerCommand,
}

#[derive(Debug, Subcommand)]
enum TriggerCommand {
    /// List the types of triggers
    List {
        /// Only those of this pack
        #[arg(short = 'p', long)]
        pack: Option<String>,
        #[command(flatten)]
        length: Length,
    },
    /// Show a type of trigger: its parameters and what its payload holds
    Show {
        /// Reference of the trigger: `PACK.NAME`
        trigger: String,
    },
    /// List what happened, or show one of it
    Instances {
        /// Show this one with its payload
        #[arg(conflicts_with_all = ["trigger", "status"])]
        instance: Option<String>,
        /// Only those of this trigger
        #[arg(long)]
        trigger: Option<String>,
        /// Only those with this status, for instance processed
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        length: Length,
    },
    /// Make a trigger happen
    #[command(after_help = "Example:
  yard trigger fire web.visited name=Ada count=3")]
    Fire {
        /// Reference of the trigger: `PACK.NAME`
        trigger: String,
        /// The payload
        #[arg(value_name = "NAME=VALUE")]
        values: Vec<String>,
        /// File with the payload, JSON or YAML; - is standard input
        #[arg(long, value_name = "FILE")]
        payload: Option<String>,
    },
}

pub async fn run(args: TriggerArgs, api: &Automation, out: &Output) -> Outcome {
    match args.command {
        TriggerCommand::List { pack, length } => {
            NOUN.list(api, out, &[("pack", pack.as_deref())], &length)
                .await
        }
        TriggerCommand::Show { trigger } => NOUN.show(api, out, &trigger).await,
        TriggerCommand::Instances {
            instance: Some(id), ..
        } => {
            let instance = api
                .get::<Value>(&INSTANCES.address(&id), &[])
                .await
                .map_err(|failure| {
                    INSTANCES
                        .missing(&id, failure)
                        .fix("`yard trigger instances`")
                })?;
            out.show(&instance, super::resource::document)
        }
        TriggerCommand::Instances {
            instance: None,
            trigger,
            status,
            length,
        } => {
            let filters = [
                ("trigger", trigger.as_deref()),
                ("status", status.as_deref()),
            ];
            INSTANCES.list(api, out, &filters, &length).await
        }
        TriggerCommand::Fire {
            trigger,
            values,
            payload,
        } => {
            let payload = input::payload(payload.as_deref(), &values)?;
            let request = json!({ "trigger": trigger, "payload": payload });
            let answer: Value = api
                .post("/webhooks/st2", &request)
                .await
                .map_err(|failure| NOUN.missing(&trigger, failure))?;
            out.show(&answer, |_| {
                format!("{trigger} is accepted; `yard trigger instances --trigger {trigger}` shows what becomes of it")
            })
        }
    }
}
