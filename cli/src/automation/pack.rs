//! `yard pack`: packs from the index, from git and from folders of the cluster. A folder of this
//! machine is pushed: [`super::upload`].

use super::follow::{self, Follow};
use super::input;
use super::parameters::Signature;
use super::resource::{self, Length, Noun, text};
use crate::client::{Automation, segment};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Output, table};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Duration;

const NOUN: Noun<4> = Noun {
    one: "pack",
    many: "packs",
    path: "/packs",
    columns: [
        ("pack", "ref"),
        ("version", "version"),
        ("author", "author"),
        ("description", "description"),
    ],
};

#[derive(Debug, Args)]
pub struct PackArgs {
    #[command(subcommand)]
    command: PackCommand,
}

#[derive(Debug, Subcommand)]
enum PackCommand {
    /// List the packs that are installed
    List {
        #[command(flatten)]
        length: Length,
    },
    /// Show a pack, installed or in the index
    Show {
        /// Name of the pack
        pack: String,
    },
    /// Install or upgrade packs
    #[command(after_help = "Examples:
  yard pack install github                                  from the index
  yard pack install github=2.1.1                            a version of it
  yard pack install https://git.example.org/pack.git        from git
  yard pack install file:///srv/packs/web                   a folder of the cluster's machine
A folder of this machine is pushed: `yard push FOLDER`.")]
    Install {
        /// Names of the index, addresses, or folders of the cluster's machine
        #[arg(required = true, value_name = "PACK")]
        packs: Vec<String>,
        /// Install even if it says that it does not fit
        #[arg(long)]
        force: bool,
        /// Leave out the packs it depends on
        #[arg(long)]
        skip_dependencies: bool,
        /// Wait at most this long
        #[arg(long, value_name = "SPAN", value_parser = input::span, default_value = "15m")]
        timeout: Duration,
    },
    /// Remove packs with everything in them
    Remove {
        /// Names of packs
        #[arg(required = true, value_name = "PACK")]
        packs: Vec<String>,
        /// Wait at most this long
        #[arg(long, value_name = "SPAN", value_parser = input::span, default_value = "5m")]
        timeout: Duration,
    },
    /// Read the files of installed packs again
    Register {
        /// Only these packs
        #[arg(value_name = "PACK")]
        packs: Vec<String>,
        /// Only these kinds, for instance actions,rules
        #[arg(long, value_delimiter = ',', value_name = "KIND")]
        types: Vec<String>,
    },
    /// Show or change a pack's configuration
    #[command(after_help = "Examples:
  yard pack config web                       what is set, and what can be
  yard pack config web url=http://x token=@token.txt
  yard pack config web --unset token
Secrets are kept encrypted and shown as ********.")]
    Config {
        /// Name of the pack
        pack: String,
        /// Values to set
        #[arg(value_name = "NAME=VALUE")]
        values: Vec<String>,
        /// Set exactly what this file says, JSON or YAML; - is standard input
        #[arg(long, value_name = "FILE", conflicts_with_all = ["values", "unset"])]
        file: Option<String>,
        /// Take a value out; may be repeated
        #[arg(long, value_name = "NAME")]
        unset: Vec<String>,
    },
    /// Search the index
    Search {
        /// Words of its name or description
        words: String,
    },
}

pub async fn run(args: PackArgs, api: &Automation, out: &Output) -> Outcome {
    match args.command {
        PackCommand::List { length } => NOUN.list(api, out, &[], &length).await,
        PackCommand::Show { pack } => show(api, out, &pack).await,
        PackCommand::Install {
            packs,
            force,
            skip_dependencies,
            timeout,
        } => {
            let packs = packs
                .iter()
                .map(|pack| source(pack))
                .collect::<Outcome<Vec<&str>>>()?;
            let request =
                json!({ "packs": packs, "force": force, "skip_dependencies": skip_dependencies });
            out.say(format!("Installing {}", packs.join(", ")))?;
            let accepted: Value = api.post("/packs/install", &request).await?;
            let execution = finish(api, out, &accepted, timeout, "install").await?;
            installed(api, out, &execution).await
        }
        PackCommand::Remove { packs, timeout } => {
            for pack in &packs {
                NOUN.get(api, pack).await?;
            }
            out.say(format!("Removing {}", packs.join(", ")))?;
            let accepted: Value = api
                .post("/packs/uninstall", &json!({ "packs": packs }))
                .await?;
            finish(api, out, &accepted, timeout, "remove").await?;
            out.show(&json!({ "removed": packs }), |_| {
                format!("{} is removed", packs.join(", "))
            })
        }
        PackCommand::Register { packs, types } => register(api, out, &packs, &types).await,
        PackCommand::Config {
            pack,
            values,
            file,
            unset,
        } => config(api, out, &pack, &values, file.as_deref(), &unset).await,
        PackCommand::Search { words } => search(api, out, &words).await,
    }
}

/// What the cluster can install from. A path of this machine is a slip: the cluster would look
/// for it on its own.
fn source(pack: &str) -> Outcome<&str> {
    let path = pack.starts_with(['.', '/', '~']);
    if path || (pack.contains('/') && Path::new(pack).is_dir()) {
        return Err(Failure::usage(format!(
            "{pack} is a folder; only names, git addresses and file:// folders of the cluster's machine are installed"
        ))
        .fix(format!("`yard push {pack}`")));
    }
    Ok(pack)
}

async fn show(api: &Automation, out: &Output, pack: &str) -> Outcome {
    match NOUN.get(api, pack).await {
        Ok(found) => out.show(&found, resource::document),
        Err(failure) if failure.code == Code::NotFound => {
            let found: Value = api
                .post("/packs/index/search", &json!({ "pack": pack }))
                .await?;
            if !found.is_object() {
                return Err(failure.fix("`yard pack search WORD`"));
            }
            out.show(&found, |found| {
                format!(
                    "{}\nIt is in the index, not installed: `yard pack install {pack}`\n",
                    resource::document(found).trim_end()
                )
            })
        }
        Err(failure) => Err(failure),
    }
}

/// Follows what was accepted (`{execution_id}`) to its end; its failure is that of the operation.
pub async fn finish(
    api: &Automation,
    out: &Output,
    accepted: &Value,
    within: Duration,
    operation: &str,
) -> Outcome<Value> {
    let id = text(accepted, "execution_id").ok_or_else(|| {
        Failure::failed(format!(
            "the cluster did not say what became of the {operation}"
        ))
    })?;
    let follow = Follow {
        tail: false,
        steps: true,
        within: Some(within),
    };
    let execution = follow::to_rest(api, out, &id, &follow).await?;
    match follow::verdict(&execution) {
        Ok(()) => Ok(execution),
        Err(failure) => Err(failure
            .doing(format!("{operation} (execution {id})"))
            .last_lines(follow::last_words(&execution))),
    }
}

/// Shows the packs that an installation left, and what it warned of.
pub async fn installed(api: &Automation, out: &Output, execution: &Value) -> Outcome {
    let output = &execution["result"]["output"];
    for warning in output["warning_list"].as_array().into_iter().flatten() {
        out.warn(warning.as_str().map_or(warning.to_string(), str::to_string));
    }
    let mut packs = Vec::new();
    for name in output["packs_list"].as_array().into_iter().flatten() {
        packs.push(NOUN.get(api, name.as_str().unwrap_or_default()).await?);
    }
    out.show(&packs, |packs| {
        table::table(
            ["pack", "version", "description"],
            packs.iter().map(|pack| {
                ["ref", "version", "description"].map(|place| {
                    let text = text(pack, place).unwrap_or_default();
                    text.split_whitespace().collect::<Vec<_>>().join(" ")
                })
            }),
            "nothing was installed",
        )
    })
}

async fn register(api: &Automation, out: &Output, packs: &[String], types: &[String]) -> Outcome {
    let mut request = Map::new();
    if !packs.is_empty() {
        request.insert("packs".into(), json!(packs));
    }
    if !types.is_empty() {
        request.insert("types".into(), json!(types));
    }
    let counts: Value = api
        .post("/packs/register", &request)
        .await
        .map_err(|failure| failure.doing("register packs"))?;
    out.show(&counts, |counts| {
        table::table(
            ["registered", "count"],
            counts
                .as_object()
                .into_iter()
                .flatten()
                .map(|(kind, count)| [kind.clone(), count.to_string()]),
            "nothing was registered",
        )
    })
}

async fn config(
    api: &Automation,
    out: &Output,
    pack: &str,
    words: &[String],
    file: Option<&str>,
    unset: &[String],
) -> Outcome {
    NOUN.get(api, pack).await?;
    let schema = optional(api, &format!("/config_schemas/{}", segment(pack))).await?;
    let path = format!("/configs/{}", segment(pack));
    let attributes = schema["attributes"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let there = optional(api, &path).await?;
    let mut values = there["values"].as_object().cloned().unwrap_or_default();
    if words.is_empty() && file.is_none() && unset.is_empty() {
        let document = json!({ "pack": pack, "values": values, "schema": attributes });
        return out.show(&document, |_| config_text(&attributes, &values));
    }
    if let Some(file) = file {
        values = input::mapping(file)?;
    }
    for name in unset {
        if values.remove(name).is_none() {
            return Err(Failure::new(
                Code::NotFound,
                format!("{name} is not set in the configuration of {pack}"),
            )
            .fix(format!("`yard pack config {pack}`")));
        }
    }
    let signature = Signature::of_properties(&attributes);
    // Masked secrets go back as they came: the cluster takes them for unchanged.
    values.extend(
        signature
            .read(words, false, input::text_of)
            .map_err(|faults| {
                input::usage(&faults)
                    .doing(format!("configure the pack {pack}"))
                    .fix(format!(
                        "`yard pack config {pack}`; it knows {}",
                        signature.names()
                    ))
            })?,
    );
    let set: Value = api
        .put(&path, &values)
        .await
        .map_err(|failure| failure.doing(format!("configure the pack {pack}")))?;
    out.show(&set, |_| format!("{pack} is configured"))
}

/// A document that need not be there.
async fn optional(api: &Automation, path: &str) -> Outcome<Value> {
    match api.get(path, &[]).await {
        Err(failure) if failure.code == Code::NotFound => Ok(Value::Null),
        other => other,
    }
}

fn config_text(attributes: &Map<String, Value>, values: &Map<String, Value>) -> String {
    let show = |value: Option<&Value>| match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let known = attributes.iter().map(|(name, schema)| {
        let set = match values.get(name) {
            None if schema["required"] == true && schema.get("default").is_none() => {
                "(missing)".to_string()
            }
            value => show(value),
        };
        [
            name.clone(),
            set,
            show(schema.get("default")),
            text(schema, "description").unwrap_or_default(),
        ]
    });
    let unknown = values
        .iter()
        .filter(|(name, _)| !attributes.contains_key(*name))
        .map(|(name, value)| {
            [
                name.clone(),
                show(Some(value)),
                String::new(),
                String::new(),
            ]
        });
    table::table(
        ["name", "value", "default", "meaning"],
        known.chain(unknown),
        "This pack has nothing to configure.",
    )
}

async fn search(api: &Automation, out: &Output, words: &str) -> Outcome {
    let found: Value = api
        .post("/packs/index/search", &json!({ "query": words }))
        .await
        .map_err(|failure| failure.doing("search the index"))?;
    let found: Vec<Value> = match found {
        Value::Array(found) => found,
        _ => Vec::new(),
    };
    out.show(&found, |found| {
        table::table(
            ["pack", "version", "description"],
            found.iter().map(|pack| {
                [
                    text(pack, "ref").or_else(|| text(pack, "name")),
                    text(pack, "version"),
                    text(pack, "description"),
                ]
                .map(|text| text.unwrap_or_default())
            }),
            "nothing like it is in the index",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_this_machine_are_to_be_pushed() {
        for pack in [
            "github",
            "github=1.0.0",
            "https://h/x.git",
            "file:///srv/x",
            "git@h:x/y.git",
        ] {
            assert!(source(pack).is_ok(), "{pack}");
        }
        for pack in ["./web", "/srv/web", "src/automation"] {
            let failure = source(pack).expect_err("a folder");
            assert_eq!(
                failure.fix.as_deref(),
                Some(format!("`yard push {pack}`").as_str())
            );
        }
    }

    #[test]
    fn what_is_missing_in_a_configuration_is_said() {
        let attributes = json!({ "url": { "required": true, "description": "Where" }, "retries": { "default": 3 } });
        let values = json!({ "old": 1 });
        let text = config_text(
            attributes.as_object().expect("an object"),
            values.as_object().expect("an object"),
        );
        assert_eq!(
            text,
            "name     value      default  meaning\nretries             3\nurl      (missing)           Where\nold      1\n"
        );
    }
}
