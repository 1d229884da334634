//! `yard execution`: what ran, what runs.

use super::follow::{self, Follow};
use super::resource::{Length, Noun, text};
use super::run::{self, How};
use crate::client::{Automation, segment};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Output, human, table};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use time::OffsetDateTime;

pub const NOUN: Noun<5> = Noun {
    one: "execution",
    many: "executions",
    path: "/executions",
    columns: [
        ("execution", "id"),
        ("action", "action.ref"),
        ("user", "context.user"),
        ("status", "status"),
        ("started", "start_timestamp"),
    ],
};

#[derive(Debug, Args)]
pub struct ExecutionArgs {
    #[command(subcommand)]
    command: ExecutionCommand,
}

#[derive(Debug, Subcommand)]
enum ExecutionCommand {
    /// List executions, newest first
    List {
        /// Only those of this action
        #[arg(long)]
        action: Option<String>,
        /// Only those with this status, for instance running
        #[arg(long)]
        status: Option<String>,
        /// Only those of this user
        #[arg(long)]
        user: Option<String>,
        /// Only those of this rule
        #[arg(long)]
        rule: Option<String>,
        /// Steps of workflows too
        #[arg(long)]
        steps: bool,
        #[command(flatten)]
        length: Length,
    },
    /// Show an execution and its result; `last` is the newest
    Show {
        /// Id of an execution, or `last`
        execution: String,
    },
    /// End executions, with every process they started
    Cancel {
        /// Ids of executions, or `last`
        #[arg(required = true, value_name = "EXECUTION")]
        executions: Vec<String>,
    },
    /// Run again, with the same parameters or some of them changed
    Rerun {
        /// Id of an execution, or `last`
        execution: String,
        #[command(flatten)]
        how: How,
    },
    /// Show what an execution wrote
    Output {
        /// Id of an execution, or `last`
        execution: String,
        /// Show what it writes until it ends; exits as `yard run` does
        #[arg(long)]
        follow: bool,
        /// Only stdout or stderr
        #[arg(long = "type", value_name = "TYPE", conflicts_with = "follow")]
        kind: Option<String>,
    },
}

pub async fn run(args: ExecutionArgs, api: &Automation, out: &Output) -> Outcome {
    match args.command {
        ExecutionCommand::List {
            action,
            status,
            user,
            rule,
            steps,
            length,
        } => {
            let filters = [
                ("action", action.as_deref()),
                ("status", status.as_deref()),
                ("user", user.as_deref()),
                ("rule", rule.as_deref()),
                ("parent", (!steps).then_some("null")),
                ("sort_desc", Some("True")),
                (
                    "include_attributes",
                    Some(
                        "id,action.ref,context.user,status,start_timestamp,end_timestamp,elapsed_seconds",
                    ),
                ),
            ];
            NOUN.list(api, out, &filters, &length).await
        }
        ExecutionCommand::Show { execution } => {
            let execution = get(api, &execution).await?;
            out.show(&execution, |execution| describe(out, execution))
        }
        ExecutionCommand::Cancel { executions } => cancel(api, out, &executions).await,
        ExecutionCommand::Rerun { execution, how } => run::again(api, out, &execution, &how).await,
        ExecutionCommand::Output {
            execution,
            follow,
            kind,
        } => output(api, out, &execution, follow, kind.as_deref()).await,
    }
}

/// An execution by its id; `last` is the newest.
pub async fn get(api: &Automation, id: &str) -> Outcome<Value> {
    if id != "last" {
        return NOUN.get(api, id).await;
    }
    let query = [("limit", "1"), ("parent", "null"), ("sort_desc", "True")];
    let newest = api.list::<Value>(NOUN.path, &query).await?;
    let newest = newest.resources.into_iter().next().ok_or_else(|| {
        Failure::new(Code::NotFound, "nothing was run yet").fix("`yard run core.local cmd=date`")
    })?;
    NOUN.get(api, &text(&newest, "id").unwrap_or_default())
        .await
}

fn describe(out: &Output, execution: &Value) -> String {
    let mut rows = Vec::new();
    let mut put = |name, value: Option<String>| {
        if let Some(value) = value {
            rows.push((name, value));
        }
    };
    let moment = |place| {
        text(execution, place).map(|time| {
            human::parse_time(&time).map_or(time.clone(), |parsed| {
                format!(
                    "{} ({})",
                    human::moment(parsed),
                    human::ago(&time, OffsetDateTime::now_utc())
                )
            })
        })
    };
    put("execution", text(execution, "id"));
    put("user", text(execution, "context.user"));
    put("rule", text(execution, "rule.ref"));
    put("trigger instance", text(execution, "trigger_instance.id"));
    put("parent", text(execution, "parent"));
    put("started", moment("start_timestamp"));
    put("ended", moment("end_timestamp"));
    let parameters = &execution["parameters"];
    put(
        "parameters",
        parameters
            .as_object()
            .filter(|fields| !fields.is_empty())
            .map(|_| parameters.to_string()),
    );
    format!(
        "{}{}",
        table::fields(&rows),
        follow::result_text(out, execution, false)
    )
}

async fn cancel(api: &Automation, out: &Output, ids: &[String]) -> Outcome {
    let mut canceled = Vec::new();
    for id in ids {
        let id = match id.as_str() {
            "last" => text(&get(api, id).await?, "id").unwrap_or_default(),
            id => id.to_string(),
        };
        let answer: Value = api
            .delete(&NOUN.address(&id), &[])
            .await
            .map_err(|failure| NOUN.missing(&id, failure))?
            .json(NOUN.path)?;
        // What ended already is answered with 200 and a text.
        if let Some(reason) = text(&answer, "faultstring") {
            return Err(Failure::failed(format!(
                "cancel the execution {id}: {reason}"
            )));
        }
        canceled.push(json!({ "id": id, "status": answer["status"] }));
    }
    out.show(&canceled, |canceled| {
        canceled
            .iter()
            .map(|one| {
                format!(
                    "{} is {}\n",
                    text(one, "id").unwrap_or_default(),
                    text(one, "status").unwrap_or_default()
                )
            })
            .collect()
    })
}

async fn output(
    api: &Automation,
    out: &Output,
    id: &str,
    follow: bool,
    kind: Option<&str>,
) -> Outcome {
    let execution = get(api, id).await?;
    let id = text(&execution, "id").unwrap_or_else(|| id.to_string());
    if follow {
        follow::output_to_end(api, out, &id).await?;
        let follow = Follow {
            tail: false,
            steps: false,
            within: None,
        };
        let execution = follow::to_rest(api, out, &id, &follow).await?;
        return run::show_end(out, &execution, true);
    }
    let query: Vec<(&str, &str)> = kind.map(|kind| ("output_type", kind)).into_iter().collect();
    let output = api
        .text(&format!("/executions/{}/output", segment(&id)), &query)
        .await?;
    out.show(&json!({ "id": id, "output": output }), |_| output.clone())
}
