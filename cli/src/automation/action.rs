//! `yard action`.

use super::resource::{Length, Noun};
use super::run::{self, RunArgs};
use crate::client::Automation;
use crate::failure::Outcome;
use crate::output::{Output, table};
use clap::{Args, Subcommand};
use serde_json::Value;

pub const NOUN: Noun<3> = Noun {
    one: "action",
    many: "actions",
    path: "/actions",
    columns: [
        ("action", "ref"),
        ("runner", "runner_type"),
        ("description", "description"),
    ],
};

#[derive(Debug, Args)]
pub struct ActionArgs {
    #[command(subcommand)]
    command: ActionCommand,
}

#[derive(Debug, Subcommand)]
enum ActionCommand {
    /// List actions
    List {
        /// Only those of this pack
        #[arg(short = 'p', long)]
        pack: Option<String>,
        #[command(flatten)]
        length: Length,
    },
    /// Explain an action and its parameters
    Show {
        /// Reference of the action: `PACK.NAME`
        action: String,
    },
    /// Run an action; the same as `yard run`
    Run(RunArgs),
    /// Let an action be run
    Enable {
        /// Reference of the action: `PACK.NAME`
        action: String,
    },
    /// Let an action be run no more
    Disable {
        /// Reference of the action: `PACK.NAME`
        action: String,
    },
}

pub async fn run(args: ActionArgs, api: &Automation, out: &Output) -> Outcome {
    match args.command {
        ActionCommand::List { pack, length } => {
            let filters = [("pack", pack.as_deref())];
            NOUN.list(api, out, &filters, &length).await
        }
        ActionCommand::Show { action } => show(api, out, &action).await,
        ActionCommand::Run(args) => run::run(&args.action, &args.how, api, out).await,
        ActionCommand::Enable { action } => NOUN.enable(api, out, &action, true).await,
        ActionCommand::Disable { action } => NOUN.enable(api, out, &action, false).await,
    }
}

async fn show(api: &Automation, out: &Output, reference: &str) -> Outcome {
    let action = NOUN.get(api, reference).await?;
    out.show(&action, explain)
}

/// What it is, then its parameters as a table: those by position first, then the required ones.
fn explain(action: &Value) -> String {
    let mut head = action.clone();
    let parameters = head
        .as_object_mut()
        .and_then(|fields| fields.remove("parameters"))
        .unwrap_or(Value::Null);
    let mut rows: Vec<(i64, bool, [String; 4])> = parameters
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, schema)| schema["immutable"] != true)
        .map(|(name, schema)| {
            let required = schema["required"] == true && schema.get("default").is_none();
            let position = schema["position"].as_i64().unwrap_or(i64::MAX);
            (position, !required, row(name, schema, required))
        })
        .collect();
    rows.sort();
    let mut text = super::resource::document(&head);
    text.push('\n');
    text.push_str(&table::table(
        ["parameter", "type", "default", "meaning"],
        rows.into_iter().map(|(_, _, row)| row),
        "It takes no parameters of its own; `yard run` knows those of its runner too.",
    ));
    text
}

fn row(name: &str, schema: &Value, required: bool) -> [String; 4] {
    let kind = match &schema["type"] {
        Value::String(kind) => kind.clone(),
        Value::Null => "any".to_string(),
        other => other.to_string(),
    };
    let default = match schema.get("default") {
        _ if required => "(required)".to_string(),
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let mut meaning = schema["description"]
        .as_str()
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    if let Some(choices) = schema["enum"].as_array() {
        let choices: Vec<String> = choices
            .iter()
            .map(|choice| choice.as_str().map_or(choice.to_string(), str::to_string))
            .collect();
        meaning.push_str(&format!(" ({})", choices.join(", ")));
    }
    [name.to_string(), kind, default, meaning]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_by_position_come_first_and_fixed_ones_not_at_all() {
        let text = explain(&json!({ "ref": "a.b", "parameters": {
            "aim": { "type": "string", "enum": ["x", "y"], "default": "x" },
            "zone": { "type": "string", "required": true },
            "where": { "type": "string", "position": 0 },
            "fixed": { "immutable": true },
        } }));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("ref: a.b"), "{text}");
        let order: Vec<&str> = lines[3..]
            .iter()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(order, ["where", "zone", "aim"], "{text}");
        assert!(
            text.contains("(required)") && text.contains("(x, y)"),
            "{text}"
        );
    }
}
