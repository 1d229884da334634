//! Staging a package and showing its log lines while it goes on.

use crate::client::{Client, LogItem, LogStream, Pace};
use crate::failure::{Code, Failure, LAST_LINES, Outcome};
use crate::output::{Output, human};
use proto::api::{App, Build, Droplet};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The server ends a staging long before; this only bounds our own wait.
const WITHIN: Duration = Duration::from_secs(3600);
/// How long the stream must be quiet after a build before its lines count as complete. A failed
/// one is worth waiting for its last words.
const QUIET_AFTER_SUCCESS: Duration = Duration::from_millis(60);
const QUIET_AFTER_FAILURE: Duration = Duration::from_millis(400);
/// How long a line waits for others that were told before it. Daemons send theirs each 100 ms.
const HELD_FOR: Duration = Duration::from_millis(150);

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
    let streamed = lines.is_some();
    let mut said = Said::default();
    let build = follow(client, out, build, &mut lines, &mut said).await?;
    if build.state != "STAGED" {
        if !streamed {
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
    let mut order = InOrder::default();
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
        let wake_at = order
            .due()
            .map_or(poll_at, |due| poll_at.min(Instant::from_std(due)));
        match tokio::time::timeout_at(wake_at, next_line(lines)).await {
            Ok(item) => order.take(item, Instant::now().into_std()),
            Err(_) if wake_at < poll_at => {}
            Err(_) => {
                build = client.get(&path, &[]).await?;
                poll_at = Instant::now() + pace.step();
            }
        }
        for item in order.ripe(Instant::now().into_std()) {
            show(out, item, said)?;
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
            Ok(item) => order.take(item, Instant::now().into_std()),
            Err(_) => break,
        }
    }
    for item in order.rest() {
        show(out, item, said)?;
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

/// Lines come from several daemons in batches: each is held for a moment, so that those told
/// earlier by another stand before it.
#[derive(Debug, Default)]
struct InOrder {
    /// By time told and order of arrival; with the time of arrival.
    held: BTreeMap<(i64, u64), (std::time::Instant, LogItem)>,
    arrived: u64,
}

impl InOrder {
    fn take(&mut self, item: Option<LogItem>, now: std::time::Instant) {
        let Some(item) = item else { return };
        let told = match &item {
            LogItem::Line(line) => line.timestamp,
            // Behind what is held already.
            LogItem::Lost(_) => self
                .held
                .last_key_value()
                .map_or(i64::MIN, |(key, _)| key.0),
        };
        self.arrived += 1;
        self.held.insert((told, self.arrived), (now, item));
    }

    /// When the next one was held long enough.
    fn due(&self) -> Option<std::time::Instant> {
        self.held.values().map(|(at, _)| *at + HELD_FOR).min()
    }

    /// Those held long enough, and all that stand before them.
    fn ripe(&mut self, now: std::time::Instant) -> Vec<LogItem> {
        let last = self
            .held
            .iter()
            .rfind(|(_, (at, _))| *at + HELD_FOR <= now)
            .map(|(key, _)| *key);
        match last {
            Some((told, number)) => {
                let later = self.held.split_off(&(told, number + 1));
                let ripe = std::mem::replace(&mut self.held, later);
                ripe.into_values().map(|(_, item)| item).collect()
            }
            None => Vec::new(),
        }
    }

    fn rest(self) -> Vec<LogItem> {
        self.held.into_values().map(|(_, item)| item).collect()
    }
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
    fn lines_are_shown_in_the_order_they_were_told() {
        let line = |timestamp: i64, text: &str| {
            Some(LogItem::Line(proto::api::LogLine {
                timestamp,
                source_type: "STG".into(),
                instance: "0".into(),
                stderr: false,
                text: text.into(),
            }))
        };
        let texts = |items: Vec<LogItem>| -> Vec<String> {
            items
                .into_iter()
                .map(|item| match item {
                    LogItem::Line(line) => line.text,
                    LogItem::Lost(_) => "lost".into(),
                })
                .collect()
        };
        let start = std::time::Instant::now();
        let mut order = InOrder::default();
        order.take(line(30, "complete"), start);
        assert!(order.ripe(start + HELD_FOR / 2).is_empty());
        order.take(line(10, "unpacking"), start + HELD_FOR / 2);
        order.take(line(10, "2 files"), start + HELD_FOR / 2);
        order.take(line(40, "later"), start + HELD_FOR / 2);
        assert_eq!(
            texts(order.ripe(start + HELD_FOR)),
            ["unpacking", "2 files", "complete"]
        );
        assert_eq!(order.due(), Some(start + HELD_FOR / 2 + HELD_FOR));
        assert_eq!(texts(order.rest()), ["later"]);
    }

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
