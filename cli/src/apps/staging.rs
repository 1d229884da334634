//! Staging a package and showing its log lines while it goes on.

use crate::client::{Client, LogItem, LogStream, Pace};
use crate::failure::{Code, Failure, LAST_LINES, Outcome};
use crate::output::{Output, human};
use proto::api::{App, Build, Droplet};
use serde_json::json;
use std::collections::VecDeque;
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
    let build = begin(client, package)
        .await
        .map_err(|failure| failure.doing(format!("stage the app {}", app.name)))?;
    let mut said = Said::default();
    let build = follow(client, out, build, &mut lines, &mut said).await?;
    if build.state != "STAGED" {
        if lines.is_none() {
            said = Said::default();
            show_recent(client, out, app, &build, &mut said).await?;
        }
        let why = build.error.unwrap_or_else(|| "no reason was given".into());
        let failure = Failure::new(
            Code::StagingFailed,
            format!("staging {} failed: {why}", app.name),
        );
        return Err(failure.last_lines(said.step()).fix(format!(
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

/// Asks for a build of the package. An app has one at a time: one that is staging was asked for by the request
/// that broke.
async fn begin(client: &Client, package: &str) -> Outcome<Build> {
    let body = json!({ "package": { "guid": package } });
    let send = async || client.post::<_, Build>("/v3/builds", &body).await;
    let find = async || {
        let query = [("package_guids", package), ("states", "STAGING")];
        let staging: Vec<Build> = client.list("/v3/builds", &query).await?;
        Ok(staging.into_iter().next())
    };
    client.sent_once(send, find).await
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
    said: &mut Said,
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
            Ok(Some(item)) => show(out, item, said)?,
            Ok(None) => {}
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
            Ok(Some(item)) => show(out, item, said)?,
            Ok(None) | Err(_) => break,
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

fn show(out: &Output, item: LogItem, said: &mut Said) -> Outcome {
    match item {
        LogItem::Line(line) if line.source_type == proto::log::SOURCE_STAGING => {
            said.heard(&line.text);
            out.say(format!("   {}", line.text))
        }
        LogItem::Line(_) => Ok(()),
        LogItem::Lost(loss) => out.say(format!("   ({} lines lost in {})", loss.lines, loss.place)),
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

/// Shows the kept lines of a build that could not be followed.
async fn show_recent(
    client: &Client,
    out: &Output,
    app: &App,
    build: &Build,
    said: &mut Said,
) -> Outcome {
    let since = human::parse_time(&build.created_at)
        .map(|time| time.unix_timestamp_nanos())
        .unwrap_or_default();
    let lines = client.recent_logs(&app.guid, 200).await.unwrap_or_default();
    for line in lines.into_iter().filter(|line| {
        line.source_type == proto::log::SOURCE_STAGING && i128::from(line.timestamp) >= since
    }) {
        show(out, LogItem::Line(line), said)?;
    }
    Ok(())
}

/// What the step of a staging said that runs now: a step begins with an arrow.
#[derive(Debug, Default)]
struct Said {
    step: VecDeque<String>,
}

impl Said {
    fn heard(&mut self, line: &str) {
        if line.starts_with("----->") {
            self.step.clear();
        }
        // The end is told by the error itself.
        if line.starts_with("Staging failed") {
            return;
        }
        if self.step.len() == LAST_LINES {
            self.step.pop_front();
        }
        self.step.push_back(line.trim_end().to_string());
    }

    fn step(self) -> Vec<String> {
        self.step.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_failed_step_is_repeated() {
        let mut said = Said::default();
        for line in [
            "-----> Unpacking",
            "3 files",
            "-----> Running supply",
            "pip: no",
            "Staging failed: status 1",
        ] {
            said.heard(line);
        }
        assert_eq!(said.step(), ["-----> Running supply", "pip: no"]);
        let mut said = Said::default();
        for number in 0..50 {
            said.heard(&format!("line {number}"));
        }
        let step = said.step();
        assert_eq!((step.len(), step[19].as_str()), (LAST_LINES, "line 49"));
    }
}
