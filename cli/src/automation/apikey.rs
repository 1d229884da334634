//! `yard apikey`: credentials of programs.

use super::input;
use super::parameters;
use super::resource::{Length, Noun, text};
use crate::client::Automation;
use crate::failure::Outcome;
use crate::output::Output;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const NOUN: Noun<5> = Noun {
    one: "apikey",
    many: "API keys",
    path: "/apikeys",
    columns: [
        ("key", "id"),
        ("user", "user"),
        ("enabled", "enabled"),
        ("created", "created_at"),
        ("metadata", "metadata"),
    ],
};

#[derive(Debug, Args)]
pub struct ApikeyArgs {
    #[command(subcommand)]
    command: ApikeyCommand,
}

#[derive(Debug, Subcommand)]
enum ApikeyCommand {
    /// Create a key and print it; it is never shown again
    Create {
        /// Whose rights it has (default: yours)
        #[arg(short = 'u', long)]
        user: Option<String>,
        /// What it is for
        #[arg(value_name = "NAME=VALUE")]
        metadata: Vec<String>,
    },
    /// List keys, without what they are
    List {
        /// Only those of this user
        #[arg(short = 'u', long)]
        user: Option<String>,
        #[command(flatten)]
        length: Length,
    },
    /// Delete keys
    Delete {
        /// Names of keys
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
}

pub async fn run(args: ApikeyArgs, api: &Automation, out: &Output) -> Outcome {
    match args.command {
        ApikeyCommand::Create { user, metadata } => {
            let metadata = parameters::free(&metadata, input::text_of)
                .map_err(|faults| input::usage(&faults))?;
            let mut request = json!({ "metadata": metadata });
            if let Some(user) = user {
                request["user"] = json!(user);
            }
            let created: Value = api
                .post(NOUN.path, &request)
                .await
                .map_err(|failure| failure.doing("create an API key"))?;
            // The key alone, so that KEY=$(yard apikey create) works.
            out.show(&created, |created| text(created, "key").unwrap_or_default())
        }
        ApikeyCommand::List { user, length } => {
            NOUN.list(api, out, &[("user", user.as_deref())], &length)
                .await
        }
        ApikeyCommand::Delete { keys } => NOUN.delete(api, out, &keys, &[]).await,
    }
}
