//! `start`, `stop`, `restart`, `restage`, `delete`.

use super::watch::{self, Deployed, Watch};
use super::{find, staging, summary};
use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use crate::output::Output;
use crate::prompt;
use crate::targets::Store;
use clap::{Args, ValueEnum};
use proto::api::{App, Deployment, Package, Page, Route};
use serde_json::json;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct OneApp {
    /// The app
    pub app: String,
}

#[derive(Debug, Args)]
pub struct StartArgs {
    /// The app
    app: String,
    /// Seconds to wait until the app is up
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum How {
    /// New instances are started before old ones are stopped
    Rolling,
    /// The same, with a pause after the first, or at the given percents
    Canary,
    /// Stop, then start
    Restart,
}

/// In which steps instances are replaced.
#[derive(Debug, Default, Args)]
pub struct Steps {
    /// How the running instances are replaced
    #[arg(long, value_enum)]
    strategy: Option<How>,
    /// Where a canary pauses, in percent of the instances, for instance 20,60 (default: after the first instance)
    #[arg(long, value_name = "PERCENTS", value_delimiter = ',')]
    canary_steps: Vec<u32>,
}

/// What replaces what runs; nothing is named: the same, started anew.
#[derive(Debug, Default, Clone, Copy)]
pub struct Replacement<'a> {
    pub droplet: Option<&'a str>,
    pub revision: Option<&'a str>,
}

#[derive(Debug, Args)]
pub struct ReplaceArgs {
    /// The app
    app: String,
    #[command(flatten)]
    how: Steps,
    /// Seconds to wait until the app is up
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The app
    app: String,
    /// Do not ask
    #[arg(short = 'f', long)]
    force: bool,
    /// Delete its routes too, those that lead nowhere else
    #[arg(short = 'r', long)]
    routes: bool,
}

pub async fn start(args: StartArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    let within = Duration::from_secs(args.timeout.max(1));
    if app.relationships.current_droplet.guid().is_none() {
        // Pushed with --no-start and never staged, or its staging failed.
        let package = newest_package(&client, &app).await?;
        let staged = staging::stage(&client, out, &app, &package).await?;
        assign(&client, &app, &staged.droplet.guid).await?;
    }
    let watch = Watch::begin(&client, out, &app).await;
    if app.state != "STARTED" {
        out.say(format!("Starting {}", app.name))?;
    }
    act(&client, &app, "start").await?;
    let looks = watch.until_up(within).await?;
    summary::started(&client, out, &app, &looks).await
}

pub async fn stop(args: OneApp, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    act(&client, &app, "stop").await?;
    let document = json!({ "name": app.name, "guid": app.guid, "state": "STOPPED" });
    out.show(&document, |_| format!("{} is stopped", app.name))
}

pub async fn restart(args: ReplaceArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    let how = if app.state == "STARTED" {
        args.how.strategy.unwrap_or(How::Restart)
    } else {
        How::Restart
    };
    let within = Duration::from_secs(args.timeout.max(1));
    let steps = args.how.with(how)?;
    replace(&client, out, &app, steps, None, within).await
}

pub async fn restage(args: ReplaceArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    let package = newest_package(&client, &app).await?;
    let staged = staging::stage(&client, out, &app, &package).await?;
    let runs = app.state == "STARTED" && app.relationships.current_droplet.guid().is_some();
    let how = if runs {
        args.how.strategy.unwrap_or(How::Rolling)
    } else {
        How::Restart
    };
    let within = Duration::from_secs(args.timeout.max(1));
    let (steps, droplet) = (args.how.with(how)?, &staged.droplet.guid);
    replace(&client, out, &app, steps, Some(droplet), within).await
}

pub async fn delete(args: DeleteArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let Some(app) = find::app_if_any(&client, &args.app).await? else {
        // Wanted and found gone: done, as the Cloud Foundry client has it.
        let document = json!({ "name": args.app, "deleted": false, "routes": [] });
        return out.show(&document, |_| format!("there is no app {}", args.app));
    };
    if !args.force && !prompt::confirm(&format!("Delete the app {}?", app.name))? {
        return Err(Failure::failed(format!(
            "the app {} was not deleted",
            app.name
        )));
    }
    let routes: Vec<Route> = if args.routes {
        client
            .list(&format!("/v3/apps/{}/routes", app.guid), &[])
            .await?
    } else {
        Vec::new()
    };
    let reply = client
        .delete(&format!("/v3/apps/{}", app.guid), &[])
        .await?;
    client
        .finish(&reply, Duration::from_secs(120))
        .await
        .map_err(|failure| failure.doing(format!("delete the app {}", app.name)))?;
    let mut gone = Vec::new();
    for route in routes {
        if route
            .destinations
            .iter()
            .all(|destination| destination.app.guid == app.guid)
        {
            let doing = |failure: Failure| failure.doing(format!("delete the route {}", route.url));
            let reply = client
                .delete(&format!("/v3/routes/{}", route.guid), &[])
                .await
                .map_err(doing)?;
            client
                .finish(&reply, Duration::from_secs(60))
                .await
                .map_err(doing)?;
            gone.push(route.url.clone());
        }
    }
    let document = json!({ "name": app.name, "guid": app.guid, "deleted": true, "routes": gone });
    out.show(&document, |_| match gone.is_empty() {
        true => format!("{} is deleted", app.name),
        false => format!(
            "{} is deleted, and its routes: {}",
            app.name,
            gone.join(", ")
        ),
    })
}

impl Steps {
    /// Settled: `how` is what happens.
    fn with(self, how: How) -> Outcome<Steps> {
        if !self.canary_steps.is_empty() && how != How::Canary {
            return Err(Failure::usage(
                "--canary-steps are those of --strategy canary",
            ));
        }
        Ok(Steps {
            strategy: Some(how),
            ..self
        })
    }
}

impl How {
    /// As a deployment has it; None: it is none.
    pub fn strategy(self) -> Option<&'static str> {
        match self {
            How::Rolling => Some("rolling"),
            How::Canary => Some("canary"),
            How::Restart => None,
        }
    }
}

/// What a deployment is asked for with.
pub fn deployment(
    app: &App,
    strategy: &str,
    canary_steps: &[u32],
    by: Replacement<'_>,
) -> serde_json::Value {
    let mut body = json!({
        "strategy": strategy,
        "relationships": { "app": { "data": { "guid": app.guid } } },
    });
    if !canary_steps.is_empty() {
        let steps: Vec<_> = canary_steps
            .iter()
            .map(|weight| json!({ "instance_weight": weight }))
            .collect();
        body["options"] = json!({ "canary": { "steps": steps } });
    }
    for (field, guid) in [("droplet", by.droplet), ("revision", by.revision)] {
        if let Some(guid) = guid {
            body[field] = json!({ "guid": guid });
        }
    }
    body
}

/// Replaces what runs: by another droplet, or by the same one started anew.
async fn replace(
    client: &Client,
    out: &Output,
    app: &App,
    how: Steps,
    droplet: Option<&str>,
    within: Duration,
) -> Outcome {
    if how.strategy != Some(How::Restart) {
        let replacement = Replacement {
            droplet,
            ..Replacement::default()
        };
        return in_steps(client, out, app, replacement, &how, within).await;
    }
    let watch = Watch::begin(client, out, app).await;
    if let Some(droplet) = droplet {
        assign(client, app, droplet).await?;
    }
    out.say(format!("Restarting {}", app.name))?;
    act(client, app, "restart").await?;
    let looks = watch.until_up(within).await?;
    summary::started(client, out, app, &looks).await
}

/// A droplet for an app: in steps where it runs.
pub async fn replace_by(
    client: &Client,
    out: &Output,
    app: &App,
    droplet: &str,
    within: Duration,
) -> Outcome {
    let runs = app.state == "STARTED" && app.relationships.current_droplet.guid().is_some();
    let steps = Steps {
        strategy: Some(if runs { How::Rolling } else { How::Restart }),
        ..Steps::default()
    };
    replace(client, out, app, steps, Some(droplet), within).await
}

/// Replaces what runs by a deployment.
pub async fn in_steps(
    client: &Client,
    out: &Output,
    app: &App,
    by: Replacement<'_>,
    how: &Steps,
    within: Duration,
) -> Outcome {
    let Some(strategy) = how.strategy.unwrap_or(How::Rolling).strategy() else {
        return Err(Failure::usage(
            "--strategy restart does not go back to a revision: rolling and canary do",
        ));
    };
    let watch = Watch::begin(client, out, app).await;
    out.say("Replacing the running instances in steps")?;
    let body = deployment(app, strategy, &how.canary_steps, by);
    let deployment: Deployment = client
        .post("/v3/deployments", &body)
        .await
        .map_err(|failure| failure.doing(format!("replace the app {}", app.name)))?;
    let done = watch.until_deployed(&deployment, within).await?;
    tell_of_steps(client, out, app, done).await
}

/// What is to be done when a deployment pauses.
pub fn paused(app: &App) -> String {
    format!(
        "The deployment of {0} pauses: `yard deployment continue {0}`, or `yard deployment cancel {0}`",
        app.name
    )
}

/// The app as it is when its deployment is done, or pauses.
pub async fn tell_of_steps(client: &Client, out: &Output, app: &App, done: Deployed) -> Outcome {
    let looks = watch::look(client, app).await?;
    if done == Deployed::Paused {
        out.say(paused(app))?;
        return summary::show(client, out, app).await;
    }
    summary::started(client, out, app, &looks).await
}

pub async fn act(client: &Client, app: &App, action: &str) -> Outcome {
    client
        .act(&format!("/v3/apps/{}/actions/{action}", app.guid))
        .await
        .map_err(|failure| failure.doing(format!("{action} the app {}", app.name)))?;
    Ok(())
}

pub async fn assign(client: &Client, app: &App, droplet: &str) -> Outcome {
    client
        .patch(
            &format!("/v3/apps/{}/relationships/current_droplet", app.guid),
            &json!({ "data": { "guid": droplet } }),
        )
        .await
        .map_err(|failure| failure.doing(format!("give the app {} its new droplet", app.name)))?;
    Ok(())
}

pub async fn newest_package(client: &Client, app: &App) -> Outcome<String> {
    let query = [
        ("app_guids", app.guid.as_str()),
        ("states", "READY"),
        ("order_by", "-created_at"),
        ("per_page", "1"),
        ("page", "1"),
    ];
    let page: Page<Package> = client.get("/v3/packages", &query).await?;
    match page.resources.into_iter().next() {
        Some(package) => Ok(package.guid),
        None => Err(Failure::new(
            Code::Failed,
            format!("nothing was uploaded for the app {} yet", app.name),
        )
        .fix(format!("`yard push {}`", app.name))),
    }
}
