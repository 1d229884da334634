//! `yard inquiry`: questions that executions ask.

use super::input;
use super::parameters::{self, Signature};
use super::resource::{Length, Noun};
use crate::client::Automation;
use crate::failure::Outcome;
use crate::output::Output;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const NOUN: Noun<5> = Noun {
    one: "inquiry",
    many: "inquiries",
    path: "/inquiries",
    columns: [
        ("inquiry", "id"),
        ("route", "route"),
        ("users", "users"),
        ("roles", "roles"),
        ("minutes", "ttl"),
    ],
};

#[derive(Debug, Args)]
pub struct InquiryArgs {
    #[command(subcommand)]
    command: InquiryCommand,
}

#[derive(Debug, Subcommand)]
enum InquiryCommand {
    /// List questions without an answer
    List {
        #[command(flatten)]
        length: Length,
    },
    /// Show a question and what an answer must hold
    Show {
        /// Id of the inquiry
        inquiry: String,
    },
    /// Answer
    #[command(after_help = "Example:
  yard inquiry respond 5f1e6a7b8c9d0e1f2a3b4c5d continue=true")]
    Respond {
        /// Id of the inquiry
        inquiry: String,
        /// Values: `NAME=VALUE`
        #[arg(value_name = "NAME=VALUE")]
        values: Vec<String>,
        /// File with the answer, JSON or YAML; - is standard input
        #[arg(long, value_name = "FILE")]
        response: Option<String>,
    },
}

pub async fn run(args: InquiryArgs, api: &Automation, out: &Output) -> Outcome {
    match args.command {
        InquiryCommand::List { length } => NOUN.list(api, out, &[], &length).await,
        InquiryCommand::Show { inquiry } => NOUN.show(api, out, &inquiry).await,
        InquiryCommand::Respond {
            inquiry,
            values,
            response,
        } => {
            let question = NOUN.get(api, &inquiry).await?;
            let mut answer = match &response {
                Some(file) => input::mapping(file)?,
                None => serde_json::Map::new(),
            };
            let typed = match question["schema"]["properties"].as_object() {
                Some(properties) => Signature::of_properties(properties).read(
                    &values,
                    response.is_none(),
                    input::text_of,
                ),
                None => parameters::free(&values, input::text_of),
            };
            answer.extend(typed.map_err(|faults| {
                input::usage(&faults)
                    .doing(format!("answer the inquiry {inquiry}"))
                    .fix(format!("`yard inquiry show {inquiry}`"))
            })?);
            let request = json!({ "id": inquiry, "response": answer });
            let answered: Value = NOUN
                .replace(api, &inquiry, &request)
                .await
                .map_err(|failure| failure.doing(format!("answer the inquiry {inquiry}")))?;
            out.show(&answered, |_| format!("{inquiry} is answered"))
        }
    }
}
