//! Waiting until an app is up, or is known not to come up.
//!
//! What counts is decided by [`verdict`], a pure function over one look at the cluster. Looking
//! alone is not enough: an app that dies at once is started again at once, so a look may find it
//! STARTING for ever. The crashes that happened since we began to wait are counted from the audit
//! events too.

use super::room::{self, Patience, Want};
use crate::apps::find;
use crate::client::{Client, Pace};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Color, Output, human, progress};
use indicatif::ProgressBar;
use proto::api::{App, AuditEvent, Deployment, InstanceStats, Page, ProcessStats};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// Crashes of one process, none of its instances running, after which waiting is pointless.
const CRASHES_ENOUGH: usize = 3;

/// One look at a process.
#[derive(Debug, Clone, Default)]
pub struct Look {
    pub kind: String,
    pub wanted: u32,
    pub instances: Vec<InstanceStats>,
}

impl Look {
    pub fn running(&self) -> u32 {
        let running = self
            .instances
            .iter()
            .filter(|instance| instance.state == "RUNNING")
            .count();
        u32::try_from(running).unwrap_or(u32::MAX)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every process that should run has an instance that does.
    Up,
    Waiting {
        running: u32,
        wanted: u32,
    },
    Down {
        why: String,
    },
}

/// A crash since we began to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    pub why: String,
}

pub fn verdict(looks: &[Look], crashes: &[Crash]) -> Verdict {
    let active = || looks.iter().filter(|look| look.wanted > 0);
    for look in active() {
        if !look.instances.is_empty()
            && look
                .instances
                .iter()
                .all(|instance| instance.state == "CRASHED")
        {
            let why = look
                .instances
                .iter()
                .find_map(|instance| instance.details.clone().filter(|text| !text.is_empty()));
            let why = why
                .or_else(|| crashes.first().map(|crash| crash.why.clone()))
                .unwrap_or_else(|| "no reason was given".into());
            return Verdict::Down { why };
        }
    }
    let up = |look: &Look| {
        let routable = look
            .instances
            .iter()
            .any(|instance| instance.state == "RUNNING" && instance.routable != Some(false));
        look.running() > 0 && (look.kind != "web" || routable)
    };
    if active().all(up) {
        return Verdict::Up;
    }
    if crashes.len() >= CRASHES_ENOUGH && active().any(|look| look.running() == 0) {
        return Verdict::Down {
            why: crashes[0].why.clone(),
        };
    }
    Verdict::Waiting {
        running: active().map(Look::running).sum(),
        wanted: active().map(|look| look.wanted).sum(),
    }
}

/// How waiting for a deployment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployed {
    Whole,
    /// It waits for somebody to continue it.
    Paused,
}

/// Why waiting ended without success.
enum End {
    /// The app is to blame: its last log lines explain more.
    Down(String),
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> End {
        End::Failed(failure)
    }
}

fn totals(looks: &[Look]) -> (u32, u32) {
    (
        looks.iter().map(Look::running).sum(),
        looks.iter().map(|look| look.wanted).sum(),
    )
}

/// Remembers the crashes there were before.
pub struct Watch<'a> {
    client: &'a Client,
    out: &'a Output,
    app: &'a App,
    old_crashes: BTreeSet<String>,
}

impl<'a> Watch<'a> {
    /// Call before the start.
    pub async fn begin(client: &'a Client, out: &'a Output, app: &'a App) -> Watch<'a> {
        let old_crashes = crash_events(client, app)
            .await
            .into_iter()
            .map(|event| event.guid)
            .collect();
        Watch {
            client,
            out,
            app,
            old_crashes,
        }
    }

    /// Waits until each process has a running instance.
    pub async fn until_up(&self, within: Duration) -> Outcome<Vec<Look>> {
        self.until(within, false).await
    }

    /// Waits until every wanted instance runs, and no other.
    pub async fn until_full(&self, within: Duration) -> Outcome<Vec<Look>> {
        self.until(within, true).await
    }

    async fn until(&self, within: Duration, full: bool) -> Outcome<Vec<Look>> {
        let bar = progress::spinner(self.out, "starting");
        let result = self.poll(within, full, &bar).await;
        bar.finish_and_clear();
        match result {
            Err(End::Down(what)) => Err(self.down(what).await),
            Err(End::Failed(failure)) => Err(failure),
            Ok(looks) => Ok(looks),
        }
    }

    async fn poll(
        &self,
        within: Duration,
        full: bool,
        bar: &ProgressBar,
    ) -> Result<Vec<Look>, End> {
        let name = &self.app.name;
        let started = Instant::now();
        let mut pace = Pace::new();
        let mut crashes = Vec::new();
        let mut asked = Instant::now();
        let mut patience = Patience::default();
        loop {
            let looks = look(self.client, self.app).await?;
            if asked.elapsed() >= Duration::from_secs(1) {
                crashes = self.new_crashes().await;
                asked = Instant::now();
            }
            let (running, wanted) = totals(&looks);
            match verdict(&looks, &crashes) {
                Verdict::Up if !full || looks.iter().all(|look| look.running() == look.wanted) => {
                    return Ok(looks);
                }
                Verdict::Down { why } => {
                    return Err(End::Down(format!("the app {name} crashed: {why}")));
                }
                Verdict::Up | Verdict::Waiting { .. } => {}
            }
            let want = waiting_reason(&looks).map(Want::read);
            if let Some(news) = patience.look(want.as_ref(), running, started.elapsed()) {
                bar.suspend(|| self.out.say(format!("  waiting: {news}")))?;
            }
            if let Some(want) = patience.lost() {
                return Err(room::no_room(name, &want, running, wanted).into());
            }
            if started.elapsed() >= within {
                let why = looks
                    .iter()
                    .flat_map(|look| &look.instances)
                    .find_map(|instance| instance.details.clone());
                let why = why
                    .filter(|text| !text.is_empty())
                    .map(|text| format!(": {text}"))
                    .unwrap_or_default();
                let seconds = within.as_secs();
                return Err(End::Down(format!(
                    "the app {name} did not start within {seconds}s ({running} of {wanted} running){why}"
                )));
            }
            bar.set_message(format!("{running} of {wanted} running"));
            tokio::time::sleep(pace.step()).await;
        }
    }

    /// Waits until a deployment is over, or pauses.
    pub async fn until_deployed(
        &self,
        deployment: &Deployment,
        within: Duration,
    ) -> Outcome<Deployed> {
        let bar = progress::spinner(self.out, "replacing");
        let result = self.poll_deployment(deployment, within, &bar).await;
        bar.finish_and_clear();
        match result {
            Err(End::Down(what)) => Err(self.down(what).await),
            Err(End::Failed(failure)) => Err(failure),
            Ok(done) => Ok(done),
        }
    }

    async fn poll_deployment(
        &self,
        deployment: &Deployment,
        within: Duration,
        bar: &ProgressBar,
    ) -> Result<Deployed, End> {
        let name = &self.app.name;
        let started = Instant::now();
        let path = format!("/v3/deployments/{}", deployment.guid);
        let mut pace = Pace::new();
        let mut looked = Instant::now();
        let mut shown = 0;
        let mut patience = Patience::default();
        loop {
            let seen: Deployment = self.client.get(&path, &[]).await?;
            if seen.status.value == "FINALIZED" {
                return match seen.status.reason.as_str() {
                    "DEPLOYED" => Ok(Deployed::Whole),
                    "SUPERSEDED" => {
                        Err(Failure::failed(format!("another push of {name} took over")).into())
                    }
                    reason => {
                        let why = seen
                            .status
                            .details
                            .error
                            .unwrap_or_else(|| reason.to_lowercase());
                        let old = self.what_is_left().await;
                        Err(End::Down(format!(
                            "the new version of {name} was taken back, {old}: {why}"
                        )))
                    }
                };
            }
            if seen.status.reason == "PAUSED" {
                return Ok(Deployed::Paused);
            }
            // Taken back already: how long the old instances take to be there again is no news.
            if seen.status.reason == "CANCELING"
                && let Some(why) = seen.status.details.error
            {
                let old = self.what_is_left().await;
                return Err(End::Down(format!(
                    "the new version of {name} is taken back, {old}: {why}"
                )));
            }
            if started.elapsed() >= within {
                // The user was told that it failed: so it must not succeed behind his back.
                let _ = self.client.act(&format!("{path}/actions/cancel")).await;
                return Err(End::Down(format!(
                    "the deployment of {name} was not done within {}s and is taken back",
                    within.as_secs()
                )));
            }
            if looked.elapsed() >= Duration::from_secs(1) {
                let looks = self.new_instances(&seen).await;
                let running = looks.iter().map(|look| look.running() as usize).sum();
                if running > shown {
                    shown = running;
                    bar.suspend(|| {
                        self.out
                            .say(format!("  {} up", human::count(running, "new instance")))
                    })?;
                }
                let want = waiting_reason(&looks).map(Want::read);
                let up = u32::try_from(running).unwrap_or(u32::MAX);
                if let Some(news) = patience.look(want.as_ref(), up, started.elapsed()) {
                    bar.suspend(|| self.out.say(format!("  waiting: {news}")))?;
                }
                // A full cluster may get room; the controller takes the deployment back if not.
                if let Some(Want::Never(why)) = patience.lost() {
                    self.client.act(&format!("{path}/actions/cancel")).await?;
                    let old = self.what_is_left().await;
                    return Err(room::no_room_to_replace(name, old, &why).into());
                }
                looked = Instant::now();
            }
            tokio::time::sleep(pace.step()).await;
        }
    }

    /// What is to be said of the old version when the new one is taken back.
    async fn what_is_left(&self) -> &'static str {
        match look(self.client, self.app).await {
            Ok(looks) if totals(&looks).0 == 0 => "and nothing of it runs",
            _ => "the old one keeps running",
        }
    }

    /// The instances of the new version; none where they cannot be read.
    async fn new_instances(&self, deployment: &Deployment) -> Vec<Look> {
        let mut looks = Vec::new();
        for process in &deployment.new_processes {
            let stats = self
                .client
                .get::<ProcessStats>(&format!("/v3/processes/{}/stats", process.guid), &[])
                .await
                .unwrap_or_default();
            looks.push(Look {
                kind: process.kind.clone(),
                wanted: 0,
                instances: stats.resources,
            });
        }
        looks
    }

    /// The failure of a start, with the last log lines of the app.
    async fn down(&self, what: String) -> Failure {
        // They only help: without them the failure is told all the same.
        let lines = self.last_lines().await.unwrap_or_default();
        Failure::new(Code::AppDown, what)
            .last_lines(lines)
            .fix(format!(
                "`yard logs {0} --recent`, `yard events {0}`",
                self.app.name
            ))
    }

    async fn last_lines(&self) -> Outcome<Vec<String>> {
        // The collector gets lines in batches: the last words of the app are on their way.
        tokio::time::sleep(Duration::from_millis(250)).await;
        let lines = self.client.recent_logs(&self.app.guid, 200).await?;
        let plain = Output {
            color: false,
            ..*self.out
        };
        Ok(lines
            .iter()
            .filter(|line| line.source_type != proto::log::SOURCE_STAGING)
            .map(|line| crate::logs::render(line, &plain).trim().to_string())
            .collect())
    }

    async fn new_crashes(&self) -> Vec<Crash> {
        let events = crash_events(self.client, self.app).await;
        events
            .into_iter()
            .filter(|event| !self.old_crashes.contains(&event.guid))
            .map(|event| Crash {
                why: crash_reason(&event),
            })
            .collect()
    }
}

/// Waits until a deployment is over, however it ends.
pub async fn until_over(
    client: &Client,
    out: &Output,
    deployment: &Deployment,
    within: Duration,
) -> Outcome {
    let bar = progress::spinner(out, "taking back");
    let path = format!("/v3/deployments/{}", deployment.guid);
    let (started, mut pace) = (Instant::now(), Pace::new());
    loop {
        let seen: Deployment = client.get(&path, &[]).await?;
        if seen.status.value == "FINALIZED" {
            bar.finish_and_clear();
            return Ok(());
        }
        if started.elapsed() >= within {
            bar.finish_and_clear();
            return Err(Failure::failed(format!(
                "the deployment was not taken back within {}s: it goes on being taken back",
                within.as_secs()
            )));
        }
        tokio::time::sleep(pace.step()).await;
    }
}

/// Why nothing runs yet, where an instance says so (no agent has room, for example).
fn waiting_reason(looks: &[Look]) -> Option<&str> {
    looks
        .iter()
        .flat_map(|look| &look.instances)
        .filter(|instance| instance.state == "DOWN")
        .filter_map(|instance| instance.details.as_deref())
        .find(|text| !text.is_empty())
}

/// The reason in an `app.crash` or `audit.app.process.crash` event.
pub fn crash_reason(event: &AuditEvent) -> String {
    let text = |key: &str| {
        event
            .data
            .get(key)
            .and_then(|value| value.as_str())
            .filter(|text| !text.is_empty())
            .map(str::to_string)
    };
    text("exit_description")
        .or_else(|| text("reason"))
        .unwrap_or_else(|| "no reason was given".into())
}

/// The newest crashes, newest first; none if they cannot be read, for they only help.
async fn crash_events(client: &Client, app: &App) -> Vec<AuditEvent> {
    let query = [
        ("target_guids", app.guid.as_str()),
        ("types", "audit.app.process.crash"),
        ("order_by", "-created_at"),
        ("per_page", "20"),
        ("page", "1"),
    ];
    let page: Outcome<Page<AuditEvent>> = client.get("/v3/audit_events", &query).await;
    page.map(|page| page.resources).unwrap_or_default()
}

/// One look at every process of the app.
pub async fn look(client: &Client, app: &App) -> Outcome<Vec<Look>> {
    let mut looks = Vec::new();
    for process in find::processes(client, app).await? {
        let stats: ProcessStats = client
            .get(&format!("/v3/processes/{}/stats", process.guid), &[])
            .await?;
        looks.push(Look {
            kind: process.kind,
            wanted: process.instances,
            instances: stats.resources,
        });
    }
    Ok(looks)
}

/// `2 of 3 instances running`, coloured.
pub fn describe(out: &Output, looks: &[Look]) -> String {
    let (running, wanted) = totals(looks);
    let color = if running >= wanted {
        Color::Good
    } else {
        Color::Careful
    };
    out.paint(color, format!("{running} of {wanted} running"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(kind: &str, wanted: u32, states: &[&str]) -> Look {
        let instances = states
            .iter()
            .map(|state| InstanceStats {
                state: state.to_string(),
                ..InstanceStats::default()
            })
            .collect();
        Look {
            kind: kind.into(),
            wanted,
            instances,
        }
    }

    fn crashes(number: usize) -> Vec<Crash> {
        vec![
            Crash {
                why: "exit status 1".into()
            };
            number
        ]
    }

    #[test]
    fn one_running_instance_of_each_process_is_enough() {
        assert_eq!(
            verdict(&[look("web", 3, &["RUNNING", "STARTING", "DOWN"])], &[]),
            Verdict::Up
        );
        assert_eq!(
            verdict(
                &[
                    look("web", 1, &["RUNNING"]),
                    look("worker", 1, &["STARTING"])
                ],
                &[]
            ),
            Verdict::Waiting {
                running: 1,
                wanted: 2
            }
        );
        assert_eq!(
            verdict(&[look("web", 0, &[])], &[]),
            Verdict::Up,
            "nothing is wanted"
        );
    }

    #[test]
    fn a_web_process_must_have_its_route() {
        let mut web = look("web", 1, &["RUNNING"]);
        web.instances[0].routable = Some(false);
        assert_eq!(
            verdict(&[web.clone()], &[]),
            Verdict::Waiting {
                running: 1,
                wanted: 1
            }
        );
        web.instances[0].routable = Some(true);
        assert_eq!(verdict(&[web], &[]), Verdict::Up);
    }

    #[test]
    fn crashed_everywhere_is_down() {
        let mut web = look("web", 2, &["CRASHED", "CRASHED"]);
        web.instances[1].details = Some("out of memory".into());
        assert_eq!(
            verdict(&[web], &[]),
            Verdict::Down {
                why: "out of memory".into()
            }
        );
        assert!(matches!(
            verdict(&[look("web", 2, &["CRASHED", "STARTING"])], &[]),
            Verdict::Waiting { .. }
        ));
    }

    #[test]
    fn an_app_that_dies_and_is_started_again_for_ever_is_down() {
        let starting = [look("web", 1, &["STARTING"])];
        assert!(matches!(
            verdict(&starting, &crashes(2)),
            Verdict::Waiting { .. }
        ));
        assert_eq!(
            verdict(&starting, &crashes(3)),
            Verdict::Down {
                why: "exit status 1".into()
            }
        );
        assert_eq!(
            verdict(&[look("web", 2, &["RUNNING", "STARTING"])], &crashes(5)),
            Verdict::Up
        );
    }
}
