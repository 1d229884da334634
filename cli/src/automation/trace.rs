//! `yard trace`: what came of what.

use super::resource::{Length, Noun, text};
use crate::client::Automation;
use crate::failure::Outcome;
use crate::output::{Output, human, table};
use clap::{Args, Subcommand};
use serde_json::Value;

const NOUN: Noun<3> = Noun {
    one: "trace",
    many: "traces",
    path: "/traces",
    columns: [
        ("trace", "id"),
        ("tag", "trace_tag"),
        ("started", "start_timestamp"),
    ],
};

#[derive(Debug, Args)]
pub struct TraceArgs {
    #[command(subcommand)]
    command: TraceCommand,
}

#[derive(Debug, Subcommand)]
enum TraceCommand {
    /// List traces
    List {
        /// Only those with this tag
        #[arg(long)]
        tag: Option<String>,
        /// Only those of this execution
        #[arg(long)]
        execution: Option<String>,
        /// Only those of this rule
        #[arg(long)]
        rule: Option<String>,
        #[command(flatten)]
        length: Length,
    },
    /// Show a trace: what happened, what matched, what ran
    Show {
        /// Id of the trace
        trace: String,
    },
}

pub async fn run(args: TraceArgs, api: &Automation, out: &Output) -> Outcome {
    match args.command {
        TraceCommand::List {
            tag,
            execution,
            rule,
            length,
        } => {
            let filters = [
                ("trace_tag", tag.as_deref()),
                ("execution", execution.as_deref()),
                ("rule", rule.as_deref()),
            ];
            NOUN.list(api, out, &filters, &length).await
        }
        TraceCommand::Show { trace } => {
            let trace = NOUN.get(api, &trace).await?;
            out.show(&trace, describe)
        }
    }
}

/// The parts of a trace in the order in which they came to it.
fn describe(trace: &Value) -> String {
    let mut parts = Vec::new();
    for (kind, list) in [
        ("trigger", "trigger_instances"),
        ("rule", "rules"),
        ("execution", "action_executions"),
    ] {
        for part in trace[list].as_array().into_iter().flatten() {
            let time = text(part, "updated_at").unwrap_or_default();
            let shown = human::parse_time(&time).map_or(time.clone(), human::moment);
            let cause = match (text(part, "caused_by.type"), text(part, "caused_by.id")) {
                (Some(kind), Some(id)) => format!("{kind} {id}"),
                _ => String::new(),
            };
            parts.push((
                time,
                [
                    shown,
                    kind.to_string(),
                    text(part, "ref").unwrap_or_default(),
                    text(part, "object_id").unwrap_or_default(),
                    cause,
                ],
            ));
        }
    }
    parts.sort();
    let head = table::fields(&[
        ("trace", text(trace, "id").unwrap_or_default()),
        ("tag", text(trace, "trace_tag").unwrap_or_default()),
    ]);
    let parts = table::table(
        ["time", "what", "name", "id", "caused by"],
        parts.into_iter().map(|(_, row)| row),
        "nothing belongs to it",
    );
    format!("{head}\n{parts}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_trace_reads_from_cause_to_effect() {
        let text = describe(&json!({ "id": "1", "trace_tag": "t",
            "action_executions": [{ "object_id": "e", "ref": "core.local", "updated_at": "2026-03-04T05:06:09.000000Z", "caused_by": { "type": "rule", "id": "r" } }],
            "rules": [{ "object_id": "r", "ref": "a.b", "updated_at": "2026-03-04T05:06:08.000000Z" }],
            "trigger_instances": [{ "object_id": "i", "ref": "core.x", "updated_at": "2026-03-04T05:06:07.000000Z" }] }));
        let order: Vec<&str> = text
            .lines()
            .skip(4)
            .filter_map(|line| line.split_whitespace().nth(2))
            .collect();
        assert_eq!(order, ["trigger", "rule", "execution"], "{text}");
        assert!(text.contains("rule r"), "{text}");
    }
}
