//! `yard alias`: what can be said in a chat.

use super::follow::{self, Follow};
use super::resource::{Length, Noun, document, text};
use super::run::{self};
use crate::client::Automation;
use crate::failure::{Code, Failure, Outcome};
use crate::output::Output;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const NOUN: Noun<4> = Noun {
    one: "alias",
    many: "aliases",
    path: "/actionalias",
    columns: [
        ("alias", "ref"),
        ("runs", "action_ref"),
        ("enabled", "enabled"),
        ("description", "description"),
    ],
};

#[derive(Debug, Args)]
pub struct AliasArgs {
    #[command(subcommand)]
    command: AliasCommand,
}

#[derive(Debug, Subcommand)]
enum AliasCommand {
    /// List aliases
    List {
        /// Only those of this pack
        #[arg(short = 'p', long)]
        pack: Option<String>,
        #[command(flatten)]
        length: Length,
    },
    /// Say which alias a text means; nothing is run
    Match {
        /// The words of the command
        #[arg(required = true, value_name = "WORD")]
        words: Vec<String>,
    },
    /// Run what a text means
    #[command(after_help = "Example:
  yard alias run greet Ada")]
    Run {
        /// The words of the command
        #[arg(required = true, value_name = "WORD")]
        words: Vec<String>,
        /// Do not wait for the end
        #[arg(long = "async")]
        detached: bool,
    },
}

pub async fn run(args: AliasArgs, api: &Automation, out: &Output) -> Outcome {
    match args.command {
        AliasCommand::List { pack, length } => {
            NOUN.list(api, out, &[("pack", pack.as_deref())], &length)
                .await
        }
        AliasCommand::Match { words } => {
            let command = words.join(" ");
            let found: Value = api
                .post("/actionalias/match", &json!({ "command": command }))
                .await
                .map_err(no_match)?;
            out.show(&found, |found| {
                format!(
                    "matches: {}\n{}",
                    text(found, "representation").unwrap_or_default(),
                    document(&found["actionalias"])
                )
            })
        }
        AliasCommand::Run { words, detached } => {
            let started = start(api, &words.join(" "), None).await?;
            if detached {
                return out.show(&started, |started| {
                    started.iter().map(acknowledgement).collect()
                });
            }
            let follow = Follow {
                tail: false,
                steps: true,
                within: None,
            };
            let mut ended = Vec::new();
            for one in &started {
                if !out.json {
                    out.say(acknowledgement(one).trim_end())?;
                }
                let id = text(one, "execution.id").unwrap_or_default();
                ended.push(follow::to_rest(api, out, &id, &follow).await?);
            }
            match ended.as_slice() {
                [only] => run::show_end(out, only, false),
                several => {
                    out.show(&several, |several| {
                        several
                            .iter()
                            .map(|one| follow::result_text(out, one, false))
                            .collect()
                    })?;
                    several.iter().try_for_each(follow::verdict)
                }
            }
        }
    }
}

/// Runs what a text means: one execution, or several where the alias takes several matches.
pub async fn start(api: &Automation, command: &str, route: Option<&str>) -> Outcome<Vec<Value>> {
    let mut request = json!({ "command": command, "user": "", "source_channel": "cli" });
    if let Some(route) = route {
        request["notification_route"] = json!(route);
    }
    let answer: Value = api
        .post("/aliasexecution/match_and_execute", &request)
        .await
        .map_err(no_match)?;
    Ok(answer["results"].as_array().cloned().unwrap_or_default())
}

fn no_match(failure: Failure) -> Failure {
    match failure.code {
        Code::Failed | Code::NotFound => failure.fix("`yard alias list` shows what can be said"),
        _ => failure,
    }
}

/// What the chat says first: the alias's own words, or those of the cluster.
pub fn acknowledgement(started: &Value) -> String {
    let id = text(started, "execution.id").unwrap_or_default();
    let message = text(started, "message").filter(|message| !message.is_empty());
    format!("{}\n", message.unwrap_or_else(|| format!("execution {id}")))
}
