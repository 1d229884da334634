//! `yard policy`.

use super::input;
use super::resource::{Length, Noun};
use crate::client::Automation;
use crate::failure::Outcome;
use crate::output::Output;
use clap::{Args, Subcommand};

const NOUN: Noun<4> = Noun {
    one: "policy",
    many: "policies",
    path: "/policies",
    columns: [
        ("policy", "ref"),
        ("on", "resource_ref"),
        ("type", "policy_type"),
        ("enabled", "enabled"),
    ],
};

#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// List policies
    List {
        /// Only those of this pack
        #[arg(short = 'p', long)]
        pack: Option<String>,
        #[command(flatten)]
        length: Length,
    },
    /// Show a policy
    Show {
        /// Reference of the policy: `PACK.NAME`
        policy: String,
    },
    /// Create a policy from a YAML or JSON file; - is standard input
    Create {
        /// File with the document; `-`: standard input
        file: String,
    },
    /// Delete policies
    Delete {
        /// References of policies: `PACK.NAME`
        #[arg(required = true, value_name = "POLICY")]
        policies: Vec<String>,
    },
}

pub async fn run(args: PolicyArgs, api: &Automation, out: &Output) -> Outcome {
    match args.command {
        PolicyCommand::List { pack, length } => {
            NOUN.list(api, out, &[("pack", pack.as_deref())], &length)
                .await
        }
        PolicyCommand::Show { policy } => NOUN.show(api, out, &policy).await,
        PolicyCommand::Create { file } => NOUN.create(api, out, &input::document(&file)?).await,
        PolicyCommand::Delete { policies } => NOUN.delete(api, out, &policies, &[]).await,
    }
}
