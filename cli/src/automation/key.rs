//! `yard key`: the datastore. A value that must stay secret is better not on a command line: without
//! one, `key set` reads it from the terminal unseen, or from standard input.

use super::input;
use super::resource::{Length, Noun, text};
use crate::client::Automation;
use crate::failure::Outcome;
use crate::output::Output;
use crate::prompt;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::time::Duration;

const NOUN: Noun<5> = Noun {
    one: "key",
    many: "keys",
    path: "/keys",
    columns: [
        ("key", "name"),
        ("value", "value"),
        ("scope", "scope"),
        ("user", "user"),
        ("expires", "expire_timestamp"),
    ],
};

#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scope {
    /// Everybody's
    System,
    /// One user's own
    User,
}

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Scope::System => "system",
            Scope::User => "user",
        }
    }
}

#[derive(Debug, Args)]
struct Whose {
    /// Whose keys
    #[arg(long, value_enum, default_value_t = Scope::System)]
    scope: Scope,
    /// Another user's (administrators)
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

impl Whose {
    fn query(&self) -> Vec<(&str, &str)> {
        let mut query = vec![("scope", self.scope.name())];
        query.extend(self.user.as_deref().map(|user| ("user", user)));
        query
    }
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// List keys
    List {
        /// Only those that begin so
        #[arg(long)]
        prefix: Option<String>,
        /// Only those of one scope
        #[arg(long, value_enum)]
        scope: Option<Scope>,
        /// Another user's (administrators)
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        /// Show secrets in the clear (administrators)
        #[arg(long)]
        decrypt: bool,
        #[command(flatten)]
        length: Length,
    },
    /// Print a value
    Get {
        /// Name of the key
        key: String,
        /// Show a secret in the clear (administrators)
        #[arg(long)]
        decrypt: bool,
        #[command(flatten)]
        whose: Whose,
    },
    /// Set a value
    Set {
        /// Name of the key
        key: String,
        /// The value; without one it is read from standard input
        #[arg(allow_hyphen_values = true)]
        value: Option<String>,
        /// Forget it after this long, for instance 1h
        #[arg(long, value_name = "SPAN", value_parser = input::span)]
        ttl: Option<Duration>,
        /// Keep it encrypted
        #[arg(long)]
        encrypt: bool,
        #[command(flatten)]
        whose: Whose,
    },
    /// Delete keys
    Delete {
        /// Names of keys
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
        #[command(flatten)]
        whose: Whose,
    },
}

pub async fn run(args: KeyArgs, api: &Automation, out: &Output) -> Outcome {
    match args.command {
        KeyCommand::List {
            prefix,
            scope,
            user,
            decrypt,
            length,
        } => {
            let filters = [
                ("prefix", prefix.as_deref()),
                ("scope", Some(scope.map_or("all", Scope::name))),
                ("user", user.as_deref()),
                ("decrypt", decrypt.then_some("true")),
            ];
            NOUN.list(api, out, &filters, &length).await
        }
        KeyCommand::Get {
            key,
            decrypt,
            whose,
        } => {
            let mut query = whose.query();
            if decrypt {
                query.push(("decrypt", "true"));
            }
            let found: Value = api
                .get(&NOUN.address(&key), &query)
                .await
                .map_err(|failure| NOUN.missing(&key, failure))?;
            out.show(&found, |found| text(found, "value").unwrap_or_default())
        }
        KeyCommand::Set {
            key,
            value,
            ttl,
            encrypt,
            whose,
        } => {
            let value = match value {
                Some(value) => value,
                None => prompt::secret(&format!("Value of {key}: "))?,
            };
            let mut request = json!({ "name": key, "value": value, "scope": whose.scope.name() });
            if let Some(user) = &whose.user {
                request["user"] = json!(user);
            }
            if let Some(ttl) = ttl {
                request["ttl"] = json!(ttl.as_secs());
            }
            if encrypt {
                request["secret"] = json!(true);
            }
            let set = NOUN
                .replace(api, &key, &request)
                .await
                .map_err(|failure| failure.doing(format!("set the key {key}")))?;
            out.show(&set, |_| format!("{key} is set"))
        }
        KeyCommand::Delete { keys, whose } => NOUN.delete(api, out, &keys, &whose.query()).await,
    }
}
