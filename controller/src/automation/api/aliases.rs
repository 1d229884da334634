//! `actionalias` and `aliasexecution`: commands of chat (contract §1.4, §10).

use super::extract::{Body, Caller};
use super::listing::Asked;
use super::resources::{self, COMMON};
use super::{Answer, created, ok};
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::automation::ops::aliases::Command;
use crate::automation::ops::resources::present;
use crate::store::automation::action_aliases::ActionAlias;
use automation::aliases::HelpQuery;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<Automation> {
    resources::written::<ActionAlias>("/actionalias", &COMMON)
        .route("/actionalias/match", post(find))
        .route("/actionalias/help", get(help))
        .route("/aliasexecution", post(run))
        .route("/aliasexecution/match_and_execute", post(find_and_run))
}

#[derive(Debug, Deserialize)]
struct Find {
    command: String,
}

async fn find(
    State(automation): State<Automation>,
    caller: Caller,
    Body(body): Body<Find>,
) -> Answer {
    let found = automation.match_alias(&caller, &body.command).await?;
    Ok(ok(json!({
        "actionalias": present(&found.row),
        "display": found.display,
        "representation": found.format,
    })))
}

async fn help(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    let number = |name: &str| {
        let number = asked.number(name)?.unwrap_or(0);
        usize::try_from(number)
            .map_err(|_| Fault::Invalid(format!("Query parameter \"{name}\" must not be negative")))
    };
    let query = HelpQuery {
        filter: asked.text("filter").unwrap_or_default(),
        pack: asked.text("pack").unwrap_or_default(),
        limit: number("limit")?,
        offset: number("offset")?,
    };
    Ok(ok(automation.alias_help(&caller, &query).await?))
}

#[derive(Debug, Deserialize)]
struct Given {
    command: String,
    /// Name and format of the alias, where the chat bot has chosen it.
    name: Option<String>,
    format: Option<String>,
    user: Option<String>,
    source_channel: Option<String>,
    source_context: Option<Value>,
    notification_channel: Option<String>,
    notification_route: Option<String>,
}

impl Given {
    fn command(self) -> Command {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        Command {
            text: self.command,
            user: self.user.unwrap_or_default(),
            source_channel: self.source_channel,
            source_context: self.source_context.filter(|one| !one.is_null()),
            notification_channel: filled(self.notification_channel),
            notification_route: filled(self.notification_route),
        }
    }
}

async fn run(
    State(automation): State<Automation>,
    caller: Caller,
    asked: Asked,
    Body(given): Body<Given>,
) -> Answer {
    let show_secrets = super::shows_secrets(&caller, &asked)?;
    let (Some(name), Some(format)) = (given.name.clone(), given.format.clone()) else {
        return Err(Fault::Invalid(
            "The body must name the alias (\"name\") and its pattern (\"format\"); match_and_execute finds them.".into(),
        ));
    };
    let reading = automation.alias_with_format(&name, &format).await?;
    let mut answers = automation
        .run_alias(&caller, &reading, &given.command(), show_secrets)
        .await?;
    Ok(created(answers.pop().unwrap_or_default()))
}

async fn find_and_run(
    State(automation): State<Automation>,
    caller: Caller,
    asked: Asked,
    Body(given): Body<Given>,
) -> Answer {
    let show_secrets = super::shows_secrets(&caller, &asked)?;
    let reading = automation.match_alias(&caller, &given.command).await?;
    let answers = automation
        .run_alias(&caller, &reading, &given.command(), show_secrets)
        .await?;
    Ok(created(json!({ "results": answers })))
}
