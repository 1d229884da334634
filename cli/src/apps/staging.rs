//! Staging a package and showing its log lines while it goes on.

use crate::client::{Client, LogItem, LogStream, Pace};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Output, human};
use proto::api::{App, Build, Droplet};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The server ends a staging long before; this only bounds our own wait.
const WITHIN: Duration = Duration::from_secs(3600);
/// How long the stream must be quiet after a build before its lines count as complete. A failed
/// one is worth waiting for its last words.
const QUIET_AFTER_SUCCESS: Duration = Duration::from_millis(60);
const QUIET_AFTER_FAILURE: Duration = Duration::from_millis(400);

/// What came of it.
#[derive(Debug)]
pub struct Staged {
    pub droplet: Droplet,
    pub took: Duration,
}

/// Builds a droplet of a package. Prints what the staging prints.
pub async fn stage(client: &Client, out: &Output, app: &App, package: &str) -> Outcome<Staged> {
    let started = Instant::now();
    out.say("Staging")?;
    let mut lines = open_lines(client, out, app).await;
    let build: Build = client
        .post("/v3/builds", &json!({ "package": { "guid": package } }))
        .await
        .map_err(|failure| failure.doing(format!("stage the app {}", app.name)))?;
    let build = follow(client, out, build, &mut lines).await?;
    if build.state != "STAGED" {
        if lines.is_none() {
            show_recent(client, out, app).await?;
        }
        let why = build.error.unwrap_or_else(|| "no reason was given".into());
        let failure = Failure::new(
            Code::StagingFailed,
            format!("staging {} failed: {why}", app.name),
        );
        return Err(failure.fix(format!(
            "`yard logs {} --recent` shows all of its lines",
            app.name
        )));
    }
    let droplet = build.droplet.ok_or_else(|| {
        Failure::failed(format!(
            "the build {} is staged but has no droplet",
            build.guid
        ))
    })?;
    let droplet: Droplet = client
        .get(&format!("/v3/droplets/{}", droplet.guid), &[])
        .await?;
    let took = started.elapsed();
    out.say(format!("Staged in {}{}", human::took(took), by(&droplet)))?;
    Ok(Staged { droplet, took })
}

fn by(droplet: &Droplet) -> String {
    let names: Vec<&str> = droplet
        .buildpacks
        .iter()
        .map(|buildpack| buildpack.name.as_str())
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" with {}", names.join(", "))
    }
}

/// Waits for the end of the build; lines are printed as they come.
async fn follow(
    client: &Client,
    out: &Output,
    mut build: Build,
    lines: &mut Option<LogStream>,
) -> Outcome<Build> {
    let path = format!("/v3/builds/{}", build.guid);
    let deadline = Instant::now() + WITHIN;
    let mut pace = Pace::new();
    let mut poll_at = Instant::now() + pace.step();
    while build.state == "STAGING" {
        if Instant::now() >= deadline {
            return Err(Failure::new(
                Code::TimedOut,
                format!(
                    "the build {} is not over after {}",
                    build.guid,
                    human::took(WITHIN)
                ),
            ));
        }
        // Either a line or the time to look again; a lost stream leaves only the looking.
        match tokio::time::timeout_at(poll_at, next_line(lines)).await {
            Ok(item) => show(out, item)?,
            Err(_) => {
                build = client.get(&path, &[]).await?;
                poll_at = Instant::now() + pace.step();
            }
        }
    }
    // The reason is known; the lines that explain it may still be on their way.
    let quiet = if build.state == "STAGED" {
        QUIET_AFTER_SUCCESS
    } else {
        QUIET_AFTER_FAILURE
    };
    while lines.is_some() {
        match timeout(quiet, next_line(lines)).await {
            Ok(item) => show(out, item)?,
            Err(_) => break,
        }
    }
    Ok(build)
}

async fn next_line(lines: &mut Option<LogStream>) -> Option<LogItem> {
    let Some(stream) = lines else {
        return std::future::pending().await;
    };
    let item = stream.next().await;
    if item.is_none() {
        *lines = None;
    }
    item
}

fn show(out: &Output, item: Option<LogItem>) -> Outcome {
    match item {
        Some(LogItem::Line(line)) if line.source_type == proto::log::SOURCE_STAGING => {
            out.say(format!("   {}", line.text))
        }
        Some(LogItem::Lost(loss)) => {
            out.say(format!("   ({} lines lost in {})", loss.lines, loss.place))
        }
        _ => Ok(()),
    }
}

async fn open_lines(client: &Client, out: &Output, app: &App) -> Option<LogStream> {
    match timeout(Duration::from_secs(3), client.log_stream(&app.guid, 0)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(failure)) => {
            out.warn(format!(
                "the log lines of this staging cannot be shown: {failure}"
            ));
            None
        }
        Err(_) => {
            out.warn(
                "the log lines of this staging cannot be shown: the log server does not answer",
            );
            None
        }
    }
}

async fn show_recent(client: &Client, out: &Output, app: &App) -> Outcome {
    let lines = client.recent_logs(&app.guid, 200).await.unwrap_or_default();
    for line in lines
        .iter()
        .filter(|line| line.source_type == proto::log::SOURCE_STAGING)
    {
        out.say(format!("   {}", line.text))?;
    }
    Ok(())
}
