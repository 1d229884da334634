//! What an app ran with and can run again: `revisions`, `rollback`, `deployment`, `droplet`, `manifest`, `copy-source`.

use super::lifecycle::{self, Replacement};
use super::watch::Watch;
use super::{find, staging, summary, watch};
use crate::client::{Bits, Client};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Color, Output, human, table};
use crate::targets::Store;
use clap::{Args, Subcommand};
use proto::api::{App, Deployment, Droplet, Package, Revision};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use time::OffsetDateTime;

/// Until the cluster has looked through a droplet.
const UPLOADED_WITHIN: Duration = Duration::from_secs(600);

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The app
    app: String,
    /// The revision to go back to (default: the newest before the one that runs)
    #[arg(long, value_name = "REVISION")]
    to: Option<u64>,
    #[command(flatten)]
    how: lifecycle::Steps,
    /// Seconds to wait until the app is up
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

#[derive(Debug, Args)]
pub struct DeploymentArgs {
    #[command(subcommand)]
    command: DeploymentCommand,
}

#[derive(Debug, Subcommand)]
enum DeploymentCommand {
    /// List the deployments of an app, the newest first
    List(lifecycle::OneApp),
    /// Have a canary that pauses go on, to its next stop or to its end
    Continue(GoOn),
    /// Take back the deployment that runs: the instances from before get their number again
    Cancel(GoOn),
}

#[derive(Debug, Args)]
struct GoOn {
    /// The app
    app: String,
    /// Seconds to wait until it pauses again or is over
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

#[derive(Debug, Args)]
pub struct DropletArgs {
    #[command(subcommand)]
    command: DropletCommand,
}

#[derive(Debug, Subcommand)]
enum DropletCommand {
    /// List the droplets of an app, the newest first
    List(lifecycle::OneApp),
    /// Save a droplet as a file
    Download {
        /// The app
        app: String,
        /// Its guid (default: the droplet of the next start)
        #[arg(long, value_name = "GUID")]
        droplet: Option<String>,
        /// File to write (default: APP.tgz)
        #[arg(short = 'o', long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Give an app a droplet of a file, in place of staging one; it takes effect with the next start
    Upload {
        /// The app
        app: String,
        /// The droplet, a gzipped tar as `download` writes it
        file: PathBuf,
    },
    /// Choose the droplet of the next start
    Use {
        /// The app
        app: String,
        /// Its guid
        droplet: String,
    },
}

#[derive(Debug, Args)]
pub struct CopyArgs {
    /// The app whose newest package is copied
    from: String,
    /// The app that gets it; it is staged and replaces what runs
    to: String,
    /// Copy only: neither stage nor restart
    #[arg(long)]
    no_restart: bool,
    /// Seconds to wait until the app is up
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

/// A revision, and whether instances run it.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    revision: Revision,
    deployed: bool,
}

async fn revisions_of(client: &Client, app: &App) -> Outcome<Vec<Shown>> {
    let path = format!("/v3/apps/{}/revisions", app.guid);
    let all: Vec<Revision> = client.list(&path, &[("order_by", "-version")]).await?;
    let running: Vec<Revision> = client.list(&format!("{path}/deployed"), &[]).await?;
    let running: BTreeSet<String> = running.into_iter().map(|one| one.guid).collect();
    let shown = all.into_iter().map(|revision| Shown {
        deployed: running.contains(&revision.guid),
        revision,
    });
    Ok(shown.collect())
}

pub async fn revisions(args: lifecycle::OneApp, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    let shown = revisions_of(&client, &app).await?;
    out.show(&shown, |shown| {
        let now = OffsetDateTime::now_utc();
        table::table(
            ["revision", "made", "runs", "what is new"],
            shown.iter().map(|one| {
                let deployable = match one.revision.deployable {
                    true => one.revision.description.clone(),
                    false => format!("{} (its droplet is gone)", one.revision.description),
                };
                let runs = if one.deployed { "yes" } else { "" };
                [
                    table::Cell::from(one.revision.version.to_string()),
                    human::ago(&one.revision.created_at, now).into(),
                    table::Cell::painted(out, Color::Good, runs),
                    deployable.into(),
                ]
            }),
            &format!("{} was never started: it has no revisions", app.name),
        )
    })
}

/// The one that was asked for, or the newest before what runs.
fn choose(shown: &[Shown], to: Option<u64>) -> Option<&Shown> {
    match to {
        Some(version) => shown.iter().find(|one| one.revision.version == version),
        None => {
            let running = shown.iter().filter(|one| one.deployed);
            let newest = running.map(|one| one.revision.version).max()?;
            let before = |one: &&Shown| one.revision.deployable && one.revision.version < newest;
            shown
                .iter()
                .filter(before)
                .max_by_key(|one| one.revision.version)
        }
    }
}

pub async fn rollback(args: RollbackArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    let shown = revisions_of(&client, &app).await?;
    let Some(chosen) = choose(&shown, args.to) else {
        let what = match args.to {
            Some(version) => format!("the app {} has no revision {version}", app.name),
            None => format!("there is nothing before what {} runs", app.name),
        };
        return Err(Failure::new(Code::NotFound, what)
            .fix(format!("`yard revisions {}` lists them", app.name)));
    };
    out.say(format!(
        "Going back to revision {} of {}",
        chosen.revision.version, app.name
    ))?;
    let replacement = Replacement {
        revision: Some(&chosen.revision.guid),
        ..Replacement::default()
    };
    let within = Duration::from_secs(args.timeout.max(1));
    lifecycle::in_steps(&client, out, &app, replacement, &args.how, within).await
}

pub async fn deployment(args: DeploymentArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    match args.command {
        DeploymentCommand::List(args) => deployments(&client, out, &args.app).await,
        DeploymentCommand::Continue(args) => {
            let (app, running) = running(&client, &args.app).await?;
            let watch = Watch::begin(&client, out, &app).await;
            let path = format!("/v3/deployments/{}/actions/continue", running.guid);
            client.act(&path).await?;
            out.say(format!("{} goes on", app.name))?;
            let within = Duration::from_secs(args.timeout.max(1));
            let done = watch.until_deployed(&running, within).await?;
            lifecycle::tell_of_steps(&client, out, &app, done).await
        }
        DeploymentCommand::Cancel(args) => {
            let (app, running) = running(&client, &args.app).await?;
            client
                .act(&format!("/v3/deployments/{}/actions/cancel", running.guid))
                .await?;
            out.say(format!("Taking back the deployment of {}", app.name))?;
            let within = Duration::from_secs(args.timeout.max(1));
            watch::until_over(&client, out, &running, within).await?;
            summary::show(&client, out, &app).await
        }
    }
}

async fn running(client: &Client, name: &str) -> Outcome<(App, Deployment)> {
    let app = find::app(client, name).await?;
    let query = [
        ("app_guids", app.guid.as_str()),
        ("status_values", "ACTIVE"),
    ];
    let found: Vec<Deployment> = client.list("/v3/deployments", &query).await?;
    match found.into_iter().next_back() {
        Some(deployment) => Ok((app, deployment)),
        None => Err(Failure::new(
            Code::NotFound,
            format!("no deployment of {} runs", app.name),
        )),
    }
}

async fn deployments(client: &Client, out: &Output, name: &str) -> Outcome {
    let app = find::app(client, name).await?;
    let query = [
        ("app_guids", app.guid.as_str()),
        ("order_by", "-created_at"),
    ];
    let all: Vec<Deployment> = client.list("/v3/deployments", &query).await?;
    out.show(&all, |all| {
        let now = OffsetDateTime::now_utc();
        table::table(
            ["begun", "strategy", "state", "revision", "why"],
            all.iter().map(|one| {
                let state = match &one.status.canary {
                    Some(canary) if one.status.value == "ACTIVE" => format!(
                        "{} (stop {} of {})",
                        one.status.reason.to_lowercase(),
                        canary.steps.current,
                        canary.steps.total
                    ),
                    _ => one.status.reason.to_lowercase(),
                };
                let color = match one.status.reason.as_str() {
                    "DEPLOYED" => Color::Good,
                    "CANCELED" | "CANCELING" => Color::Bad,
                    _ => Color::Careful,
                };
                let revision = one.revision.as_ref();
                [
                    table::Cell::from(human::ago(&one.created_at, now)),
                    one.strategy.as_str().into(),
                    table::Cell::painted(out, color, state),
                    revision
                        .map(|revision| revision.version.to_string())
                        .unwrap_or_default()
                        .into(),
                    one.status.details.error.clone().unwrap_or_default().into(),
                ]
            }),
            &format!("nothing of {} was ever replaced in steps", app.name),
        )
    })
}

pub async fn droplet(args: DropletArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    match args.command {
        DropletCommand::List(args) => droplets(&client, out, &args.app).await,
        DropletCommand::Download {
            app,
            droplet,
            output,
        } => {
            let app = find::app(&client, &app).await?;
            let guid = match droplet {
                Some(guid) => guid,
                None => current(&app)?,
            };
            let file = output.unwrap_or_else(|| PathBuf::from(format!("{}.tgz", app.name)));
            let path = format!("/v3/droplets/{guid}/download");
            let size = client.download(&path, &file).await?;
            let document = json!({"droplet": guid, "file": file, "size_in_bytes": size});
            out.show(&document, |_| {
                format!("{} holds {}", file.display(), human::bytes(size))
            })
        }
        DropletCommand::Upload { app, file } => upload(&client, out, &app, &file).await,
        DropletCommand::Use { app, droplet } => {
            let app = find::app(&client, &app).await?;
            lifecycle::assign(&client, &app, &droplet).await?;
            let document = json!({"name": app.name, "droplet": droplet});
            out.show(&document, |_| {
                format!(
                    "{} takes it up with the next start; `yard restart {0} --strategy rolling`",
                    app.name
                )
            })
        }
    }
}

fn current(app: &App) -> Outcome<String> {
    let droplet = app.relationships.current_droplet.guid();
    droplet.map(str::to_string).ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("the app {} has no droplet yet", app.name),
        )
        .fix(format!("`yard push {}`", app.name))
    })
}

async fn droplets(client: &Client, out: &Output, name: &str) -> Outcome {
    let app = find::app(client, name).await?;
    let path = format!("/v3/apps/{}/droplets", app.guid);
    let all: Vec<Droplet> = client.list(&path, &[("order_by", "-created_at")]).await?;
    let chosen = app.relationships.current_droplet.guid();
    out.show(&all, |all| {
        let now = OffsetDateTime::now_utc();
        table::table(
            ["droplet", "made", "state", "", "by"],
            all.iter().map(|one| {
                let is_chosen = chosen == Some(one.guid.as_str());
                let by: Vec<&str> = one
                    .buildpacks
                    .iter()
                    .map(|used| used.name.as_str())
                    .collect();
                [
                    one.guid.clone(),
                    human::ago(&one.created_at, now),
                    one.state.to_lowercase().replace('_', " "),
                    if is_chosen { "current" } else { "" }.to_string(),
                    by.join(", "),
                ]
            }),
            &format!("nothing was staged for {}", app.name),
        )
    })
}

async fn upload(client: &Client, out: &Output, name: &str, file: &std::path::Path) -> Outcome {
    let app = find::app(client, name).await?;
    let size = std::fs::metadata(file)
        .map_err(|error| Failure::usage(format!("read {}", file.display())).because(error))?
        .len();
    let body = json!({"relationships": {"app": {"data": {"guid": app.guid}}}});
    let made: Droplet = client.post("/v3/droplets", &body).await?;
    let shown = file.file_name().unwrap_or_default().to_string_lossy();
    let bits = Bits {
        archive: file,
        name: &shown,
        size,
    };
    let path = format!("/v3/droplets/{}/upload", made.guid);
    client
        .upload_alone(out, &path, bits, UPLOADED_WITHIN)
        .await?;
    lifecycle::assign(client, &app, &made.guid).await?;
    let document = json!({"name": app.name, "droplet": made.guid});
    out.show(&document, |_| {
        let next = match app.state.as_str() {
            "STARTED" => format!("`yard restart {} --strategy rolling`", app.name),
            _ => format!("`yard start {}`", app.name),
        };
        format!("{} takes it up with the next start; {next}", app.name)
    })
}

pub async fn manifest(args: lifecycle::OneApp, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    let path = format!("/v3/apps/{}/manifest", app.guid);
    let text = client.text(&path).await?;
    out.show(&json!({"name": app.name, "manifest": text}), |_| {
        text.clone()
    })
}

pub async fn copy_source(args: CopyArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let (from, to) = (
        find::app(&client, &args.from).await?,
        find::app(&client, &args.to).await?,
    );
    let source = lifecycle::newest_package(&client, &from).await?;
    let body = json!({"relationships": {"app": {"data": {"guid": to.guid}}}});
    let path = format!("/v3/packages?source_guid={source}");
    let copy: Package = client.post(&path, &body).await?;
    if args.no_restart {
        let document = json!({"from": from.name, "to": to.name, "package": copy.guid});
        return out.show(&document, |_| {
            format!(
                "{0} has the source of {1}; `yard restage {0}`",
                to.name, from.name
            )
        });
    }
    let staged = staging::stage(&client, out, &to, &copy.guid).await?;
    let within = Duration::from_secs(args.timeout.max(1));
    lifecycle::replace_by(&client, out, &to, &staged.droplet.guid, within).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(version: u64, deployed: bool, deployable: bool) -> Shown {
        let revision = serde_json::from_value(json!({
            "guid": version.to_string(), "version": version, "droplet": {"guid": "d"}, "description": "",
            "deployable": deployable, "relationships": {"app": {"data": null}}, "created_at": "", "updated_at": "",
        }));
        Shown {
            revision: revision.unwrap(),
            deployed,
        }
    }

    #[test]
    fn back_means_before_what_runs_unless_a_revision_is_named() {
        let all = [
            shown(5, false, true),
            shown(4, true, true),
            shown(3, false, false),
            shown(2, false, true),
        ];
        let version = |to| choose(&all, to).map(|one| one.revision.version);
        assert_eq!(version(None), Some(2), "3 has lost its droplet, 5 is newer");
        assert_eq!(version(Some(3)), Some(3), "the cluster says why not");
        assert_eq!(version(Some(9)), None);
        assert!(choose(&[shown(1, true, true)], None).is_none());
        assert!(choose(&[shown(1, false, true)], None).is_none());
    }
}
