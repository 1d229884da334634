//! `env`, `set-env`, `unset-env`.

use super::find;
use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use crate::output::Output;
use crate::targets::Store;
use clap::Args;
use proto::api::{AppEnvironment, EnvironmentVariables};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Debug, Args)]
pub struct EnvArgs {
    /// The app
    app: String,
}

#[derive(Debug, Args)]
pub struct SetArgs {
    /// The app
    app: String,
    /// NAME VALUE, or any number of NAME=VALUE
    #[arg(
        required = true,
        allow_hyphen_values = true,
        value_name = "NAME VALUE | NAME=VALUE"
    )]
    variables: Vec<String>,
}

#[derive(Debug, Args)]
pub struct UnsetArgs {
    /// The app
    app: String,
    /// Variables to take away
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Changed {
    app: String,
    environment: BTreeMap<String, Option<String>>,
}

pub async fn show(args: EnvArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    let environment: AppEnvironment = client
        .get(&format!("/v3/apps/{}/env", app.guid), &[])
        .await?;
    out.show(&environment, render)
}

fn render(environment: &AppEnvironment) -> String {
    let mut text = String::new();
    for (title, variables) in [
        ("Set for this app", &environment.environment_variables),
        ("Given by the cluster", &environment.application_env_json),
        ("Services", &environment.system_env_json),
        ("Of every running app", &environment.running_env_json),
        ("Of every staging", &environment.staging_env_json),
    ] {
        if variables.is_empty() && title != "Set for this app" {
            continue;
        }
        text.push_str(&format!("{title}:\n"));
        if variables.is_empty() {
            text.push_str("  nothing; `yard set-env APP NAME VALUE` sets a variable\n");
        }
        for (name, value) in variables {
            match value {
                Value::String(value) => text.push_str(&format!("  {name}={value}\n")),
                other => {
                    let pretty = serde_json::to_string_pretty(other).unwrap_or_default();
                    text.push_str(&format!("  {name}: {}\n", pretty.replace('\n', "\n  ")));
                }
            }
        }
    }
    text
}

impl SetArgs {
    /// Values may begin with a hyphen, so an option behind them arrives as one of them. Takes a
    /// `--json` out; says whether there was one.
    pub fn take_json(&mut self) -> bool {
        let behind = matches!(self.variables.split_last(), Some((last, words)) if last == "--json" && parse(words).is_ok());
        if behind {
            self.variables.pop();
        }
        behind
    }
}

pub async fn set(args: SetArgs, out: &Output, store: Store) -> Outcome {
    let variables = parse(&args.variables).map_err(Failure::usage)?;
    change(&args.app, variables, out, store).await
}

pub async fn unset(args: UnsetArgs, out: &Output, store: Store) -> Outcome {
    change(
        &args.app,
        args.names.into_iter().map(|name| (name, None)).collect(),
        out,
        store,
    )
    .await
}

async fn change(
    name: &str,
    var: BTreeMap<String, Option<String>>,
    out: &Output,
    store: Store,
) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, name).await?;
    let path = format!("/v3/apps/{}/environment_variables", app.guid);
    if var.values().all(Option::is_none) {
        let present: EnvironmentVariables = client.get(&path, &[]).await?;
        if let Some(missing) = var.keys().find(|name| !present.var.contains_key(*name)) {
            return Err(Failure::new(
                Code::NotFound,
                format!("the app {} has no variable {missing}", app.name),
            )
            .fix(format!("`yard env {}`", app.name)));
        }
    }
    let reply = client
        .patch(&path, &EnvironmentVariables { var: var.clone() })
        .await
        .map_err(|failure| failure.doing(format!("change the environment of {}", app.name)))?;
    let now: EnvironmentVariables = reply.json(&path)?;
    let changed = Changed {
        app: app.name.clone(),
        environment: now.var,
    };
    out.show(&changed, |_| {
        let names: Vec<&str> = var.keys().map(String::as_str).collect();
        let verb = if var.values().all(Option::is_none) {
            "unset"
        } else {
            "set"
        };
        format!(
            "{verb} {} for {}; `yard restart {} --strategy rolling` makes it take effect",
            names.join(", "),
            app.name,
            app.name
        )
    })
}

/// `NAME VALUE` (as the Cloud Foundry client has it) or `NAME=VALUE …`.
fn parse(words: &[String]) -> Result<BTreeMap<String, Option<String>>, String> {
    if let [name, value] = words
        && !name.contains('=')
    {
        return Ok(BTreeMap::from([(name.clone(), Some(value.clone()))]));
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Ok((name.to_string(), Some(value.to_string())))
            }
            _ => Err(format!(
                "{word:?} is no variable: write NAME VALUE, or NAME=VALUE"
            )),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_behind_the_variables_is_an_option() {
        let take = |words: &[&str]| {
            let mut args = SetArgs {
                app: "shop".into(),
                variables: words.iter().map(|word| word.to_string()).collect(),
            };
            (args.take_json(), args.variables.len())
        };
        assert_eq!(take(&["A", "b", "--json"]), (true, 2));
        assert_eq!(take(&["A=b", "--json"]), (true, 1));
        assert_eq!(take(&["A", "--json"]), (false, 2), "it is the value");
        assert_eq!(take(&["A", "b"]), (false, 2));
    }

    #[test]
    fn variables_in_both_ways_of_writing() {
        let parse = |words: &[&str]| {
            parse(
                &words
                    .iter()
                    .map(|word| word.to_string())
                    .collect::<Vec<_>>(),
            )
        };
        let one = |name: &str, value: &str| (name.to_string(), Some(value.to_string()));
        assert_eq!(parse(&["A", "b=c"]), Ok(BTreeMap::from([one("A", "b=c")])));
        assert_eq!(
            parse(&["A=b", "C=d=e"]),
            Ok(BTreeMap::from([one("A", "b"), one("C", "d=e")]))
        );
        assert!(parse(&["A"]).is_err());
        assert!(parse(&["A", "b", "c"]).is_err());
    }
}
