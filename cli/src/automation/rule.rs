//! `yard rule`: rules, and why they match or do not.

use super::input;
use super::resource::{self, Length, Noun, text};
use crate::client::Automation;
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Color, Output, human, table};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use time::OffsetDateTime;

const NOUN: Noun<5> = Noun {
    one: "rule",
    many: "rules",
    path: "/rules",
    columns: [
        ("rule", "ref"),
        ("on", "trigger.type"),
        ("runs", "action.ref"),
        ("enabled", "enabled"),
        ("description", "description"),
    ],
};

#[derive(Debug, Args)]
pub struct RuleArgs {
    #[command(subcommand)]
    command: RuleCommand,
}

#[derive(Debug, Subcommand)]
enum RuleCommand {
    /// List rules
    List {
        /// Only those of this pack
        #[arg(short = 'p', long)]
        pack: Option<String>,
        /// Only those on this trigger
        #[arg(long)]
        trigger: Option<String>,
        /// Only those that run this action
        #[arg(long)]
        action: Option<String>,
        #[command(flatten)]
        length: Length,
    },
    /// Show a rule
    Show {
        /// Reference of the rule: `PACK.NAME`
        rule: String,
    },
    /// Create a rule from a YAML or JSON file; - is standard input
    Create {
        /// File with the document; `-`: standard input
        file: String,
    },
    /// Replace a rule by what a file says
    Update {
        /// Reference of the rule: `PACK.NAME`
        rule: String,
        /// File with the document; `-`: standard input
        file: String,
    },
    /// Delete rules
    Delete {
        /// References of rules: `PACK.NAME`
        #[arg(required = true, value_name = "RULE")]
        rules: Vec<String>,
    },
    /// Let a rule act
    Enable {
        /// Reference of the rule: `PACK.NAME`
        rule: String,
    },
    /// Let a rule act no more; its timer stops, its webhook closes
    Disable {
        /// Reference of the rule: `PACK.NAME`
        rule: String,
    },
    /// Say whether a rule would match, criterion by criterion; nothing is run
    #[command(after_help = "Examples:
  yard rule test --rule rules/greet.yaml --payload visitor.json
  yard rule test --rule web.greet --instance 5f1e6a7b8c9d0e1f2a3b4c5d
  yard rule test --rule web.greet --last 7d     against what happened in the last 7 days
Exits with 1 if the rule does not match (with --last: if nothing matches).")]
    Test(TestArgs),
}

#[derive(Debug, Args)]
struct TestArgs {
    /// File with a rule, or the name of one
    #[arg(long, value_name = "FILE|RULE")]
    rule: String,
    #[command(flatten)]
    against: Against,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Against {
    /// A trigger instance that happened (`yard trigger instances`)
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// File with a payload; - is standard input
    #[arg(long, value_name = "FILE")]
    payload: Option<String>,
    /// All recorded trigger instances of this span, for instance 7d
    #[arg(long, value_name = "SPAN", value_parser = input::span)]
    last: Option<Duration>,
}

pub async fn run(args: RuleArgs, api: &Automation, out: &Output) -> Outcome {
    match args.command {
        RuleCommand::List {
            pack,
            trigger,
            action,
            length,
        } => {
            let filters = [
                ("pack", pack.as_deref()),
                ("trigger", trigger.as_deref()),
                ("action", action.as_deref()),
            ];
            NOUN.list(api, out, &filters, &length).await
        }
        RuleCommand::Show { rule } => NOUN.show(api, out, &rule).await,
        RuleCommand::Create { file } => NOUN.create(api, out, &input::document(&file)?).await,
        RuleCommand::Update { rule, file } => {
            let mut wanted = Value::Object(input::mapping(&file)?);
            let there = NOUN.get(api, &rule).await?;
            wanted["id"] = there["id"].clone();
            let changed = NOUN
                .replace(api, &rule, &wanted)
                .await
                .map_err(|failure| failure.doing(format!("change the rule {rule}")))?;
            out.show(&changed, |_| format!("{rule} is changed"))
        }
        RuleCommand::Delete { rules } => NOUN.delete(api, out, &rules, &[]).await,
        RuleCommand::Enable { rule } => NOUN.enable(api, out, &rule, true).await,
        RuleCommand::Disable { rule } => NOUN.enable(api, out, &rule, false).await,
        RuleCommand::Test(args) => test(args, api, out).await,
    }
}

async fn test(args: TestArgs, api: &Automation, out: &Output) -> Outcome {
    let rule = match Path::new(&args.rule).is_file() || args.rule == "-" {
        true => input::document(&args.rule)?,
        false => Value::String(args.rule.clone()),
    };
    if let Some(last) = args.against.last {
        let from = human::rfc3339(OffsetDateTime::now_utc() - last);
        let request = json!({ "rule": rule, "from": from });
        let replay: Value = api
            .post("/rules/replay", &request)
            .await
            .map_err(|failure| explained(failure, &args.rule))?;
        out.show(&replay, |replay| replay_text(out, replay))?;
        return match replay["matched"].as_u64() {
            Some(0) => Err(Failure::failed(format!(
                "{} matches nothing that happened in that time",
                args.rule
            ))),
            _ => Ok(()),
        };
    }
    let request = match (&args.against.instance, &args.against.payload) {
        (Some(instance), _) => json!({ "rule": rule, "trigger_instance": instance }),
        (None, Some(file)) => json!({ "rule": rule, "payload": input::document(file)? }),
        (None, None) => return Err(Failure::usage("give --instance, --payload or --last")),
    };
    let verdict: Value = api
        .post("/rules/test", &request)
        .await
        .map_err(|failure| explained(failure, &args.rule))?;
    out.show(&verdict, |verdict| verdict_text(out, verdict))?;
    match verdict["matched"].as_bool() {
        Some(true) => Ok(()),
        _ => Err(Failure::failed(format!("{} does not match", args.rule))),
    }
}

fn explained(failure: Failure, rule: &str) -> Failure {
    let missing = failure.code == Code::NotFound;
    let failure = failure.doing(format!("test the rule {rule}"));
    if missing {
        return failure.fix("`yard rule list`, `yard trigger instances`, or a file that exists");
    }
    failure
}

/// One line for each criterion: whether it held, what it wants, what there was.
fn verdict_text(out: &Output, verdict: &Value) -> String {
    let matched = verdict["matched"] == true;
    let mut shown = String::new();
    for reason in verdict["reasons"].as_array().into_iter().flatten() {
        let held = reason["matched"] == true;
        let mark = match held {
            true => out.paint(Color::Good, "holds"),
            false => out.paint(Color::Bad, "fails"),
        };
        let was = match &reason["value"] {
            Value::Null => "nothing there".to_string(),
            value => format!("it is {value}"),
        };
        shown.push_str(&format!(
            "  {mark}  {} {} {}: {}\n",
            text(reason, "key").unwrap_or_default(),
            text(reason, "operator").unwrap_or_default(),
            reason["pattern"],
            text(reason, "failure").unwrap_or(was)
        ));
    }
    if let Some(note) = text(verdict, "note") {
        shown.push_str(&format!("  {note}\n"));
    }
    for failure in verdict["failures"].as_array().into_iter().flatten() {
        shown.push_str(&format!("  {}\n", failure.as_str().unwrap_or_default()));
    }
    if let Some(failure) = text(verdict, "parameters_failure") {
        shown.push_str(&format!(
            "  The action's parameters cannot be rendered: {failure}\n"
        ));
    }
    if matched && !verdict["parameters"].is_null() {
        shown.push_str("The action would get:\n");
        for line in resource::yaml(&verdict["parameters"]).lines() {
            shown.push_str(&format!("  {line}\n"));
        }
    }
    shown.push_str(match matched {
        true => "The rule matches.\n",
        false => "The rule does not match.\n",
    });
    shown
}

/// The first instances that match, with what the action would get, and the count of all.
fn replay_text(out: &Output, replay: &Value) -> String {
    let matches = replay["first_matches"].as_array().into_iter().flatten();
    let rows = matches.map(|instance| {
        let time = text(instance, "occurrence_time").unwrap_or_default();
        let time = human::parse_time(&time).map_or(time.clone(), human::moment);
        let gets = match text(instance, "failure") {
            Some(failure) => table::Cell::painted(out, Color::Bad, failure),
            None => table::Cell::from(instance["parameters"].to_string()),
        };
        [
            table::Cell::from(text(instance, "trigger_instance").unwrap_or_default()),
            table::Cell::from(time),
            gets,
        ]
    });
    let mut shown = table::table(
        ["trigger instance", "time", "the action would get"],
        rows,
        "nothing matches",
    );
    for failure in replay["first_failures"].as_array().into_iter().flatten() {
        let failure = failure.as_str().unwrap_or_default();
        shown.push_str(&format!("{}\n", out.paint(Color::Bad, failure)));
    }
    shown.push_str(&format!(
        "{} of {} match",
        replay["matched"], replay["instances"]
    ));
    if replay["failed"].as_u64() > Some(0) {
        shown.push_str(&format!(", {} could not be evaluated", replay["failed"]));
    }
    if replay["more"] == true {
        shown.push_str("; there were more than were looked at");
    }
    shown.push('\n');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_criterion_says_what_there_was() {
        let plain = Output {
            json: false,
            color: false,
            live: false,
        };
        let verdict = json!({ "matched": false, "note": null, "failures": [], "reasons": [
            { "key": "trigger.body.name", "operator": "exists", "pattern": null, "value": "Ada", "matched": true, "failure": null },
            { "key": "trigger.n", "operator": "gt", "pattern": 3, "value": null, "matched": false, "failure": null },
            { "key": "trigger.m", "operator": "gt", "pattern": 3, "value": "x", "matched": false, "failure": "text is no number" },
        ] });
        let text = verdict_text(&plain, &verdict);
        assert_eq!(
            text,
            "  holds  trigger.body.name exists null: it is \"Ada\"\n  fails  trigger.n gt 3: nothing there\n  fails  trigger.m gt 3: text is no number\nThe rule does not match.\n"
        );
    }

    #[test]
    fn a_replay_counts_and_shows_what_would_be_run() {
        let plain = Output {
            json: false,
            color: false,
            live: false,
        };
        let replay = json!({ "instances": 3, "matched": 1, "not_matched": 1, "failed": 1, "more": true,
            "first_matches": [{ "trigger_instance": "a", "occurrence_time": "2026-03-04T05:06:07.000000Z", "parameters": { "name": "Ada" } }],
            "first_failures": ["trigger.n is no number"] });
        assert_eq!(
            replay_text(&plain, &replay),
            "trigger instance  time                  the action would get\n\
             a                 2026-03-04 05:06:07Z  {\"name\":\"Ada\"}\n\
             trigger.n is no number\n\
             1 of 3 match, 1 could not be evaluated; there were more than were looked at\n"
        );
    }
}
