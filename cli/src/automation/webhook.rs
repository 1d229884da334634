//! `yard webhook`.

use super::input;
use super::resource::{Length, Noun};
use crate::client::Automation;
use crate::failure::{Code, Outcome};
use crate::output::Output;
use clap::{Args, Subcommand};
use serde_json::Value;

const NOUN: Noun<3> = Noun {
    one: "webhook",
    many: "webhooks",
    path: "/webhooks",
    columns: [
        ("webhook", "parameters.url"),
        ("type", "type"),
        ("description", "description"),
    ],
};

#[derive(Debug, Args)]
pub struct WebhookArgs {
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Debug, Subcommand)]
enum WebhookCommand {
    /// List webhooks: those that enabled rules wait for
    List {
        #[command(flatten)]
        length: Length,
    },
    /// Send something to a webhook
    #[command(after_help = "Example:
  yard webhook post visitors name=Ada")]
    Post {
        /// Name of the webhook
        webhook: String,
        /// What to send
        #[arg(value_name = "NAME=VALUE")]
        values: Vec<String>,
        /// File with what to send, JSON or YAML; - is standard input
        #[arg(long, value_name = "FILE")]
        payload: Option<String>,
    },
}

pub async fn run(args: WebhookArgs, api: &Automation, out: &Output) -> Outcome {
    match args.command {
        WebhookCommand::List { length } => {
            NOUN.list(api, out, &[], &length).await?;
            if !out.json {
                out.say(out.paint(
                    crate::output::Color::Quiet,
                    format!("POST {}/api/v1/webhooks/WEBHOOK", api.base()),
                ))?;
            }
            Ok(())
        }
        WebhookCommand::Post {
            webhook,
            values,
            payload,
        } => {
            let payload = input::payload(payload.as_deref(), &values)?;
            // A webhook's name may be a path.
            let path = format!("{}/{}", NOUN.path, webhook.trim_matches('/'));
            let answer: Value = api.post(&path, &payload).await.map_err(|failure| {
                let missing = failure.code == Code::NotFound;
                let failure = failure.doing(format!("post to the webhook {webhook}"));
                match missing {
                    true => failure
                        .fix("`yard webhook list`; a webhook is there while a rule waits for it"),
                    false => failure,
                }
            })?;
            out.show(&answer, |_| format!("{webhook} took it"))
        }
    }
}
