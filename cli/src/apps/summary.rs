//! `yard app`: everything about one app on one page.

use super::find;
use super::watch::{self, Look};
use crate::client::{AppUrl, Client, resolves_to};
use crate::failure::{Code, Outcome};
use crate::output::{Color, Output, human, table};
use crate::targets::Store;
use clap::Args;
use proto::api::{App, Deployment, Droplet, InstanceStats, Page, Process, Route};
use serde::Serialize;
use std::net::IpAddr;
use time::OffsetDateTime;

#[derive(Debug, Args)]
pub struct AppArgs {
    /// The app
    app: String,
    /// Print its guid only
    #[arg(long)]
    guid: bool,
}

/// How many instances run of how many that should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Count {
    pub running: u32,
    pub wanted: u32,
}

impl Count {
    pub fn of(looks: &[Look]) -> Count {
        Count {
            running: looks.iter().map(Look::running).sum(),
            wanted: looks.iter().map(|look| look.wanted).sum(),
        }
    }
}

/// Where an app answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    pub urls: Vec<String>,
    /// A line for the shell that reaches the first, if it answers requests.
    pub curl: Option<String>,
}

pub async fn places(client: &Client, app: &App) -> Outcome<Places> {
    let routes: Vec<Route> = client
        .list(&format!("/v3/apps/{}/routes", app.guid), &[])
        .await?;
    let urls: Vec<AppUrl> = routes
        .iter()
        .map(|route| AppUrl::of(&client.target().api, route))
        .collect();
    let curl = match urls.first() {
        Some(url) => {
            let address = client.address();
            url.curl(resolves_to(url.host(), address).await, address)
        }
        None => None,
    };
    Ok(Places {
        urls: urls.into_iter().map(|url| url.url).collect(),
        curl,
    })
}

#[derive(Debug, Serialize)]
struct Summary {
    name: String,
    guid: String,
    state: String,
    urls: Vec<String>,
    stack: Option<String>,
    buildpacks: Vec<String>,
    droplet: Option<String>,
    staged_at: Option<String>,
    deployment: Option<String>,
    processes: Vec<ProcessSummary>,
}

#[derive(Debug, Serialize)]
struct ProcessSummary {
    #[serde(rename = "type")]
    kind: String,
    guid: String,
    command: Option<String>,
    memory_in_mb: u64,
    disk_in_mb: u64,
    health_check: String,
    sleep_after_in_seconds: Option<u64>,
    asleep_since: Option<String>,
    running: u32,
    wanted: u32,
    instances: Vec<InstanceSummary>,
}

#[derive(Debug, Serialize)]
struct InstanceSummary {
    index: u32,
    guid: String,
    state: String,
    since: Option<String>,
    /// Share of one core.
    cpu: Option<f64>,
    memory_bytes: Option<u64>,
    memory_quota_bytes: Option<u64>,
    disk_bytes: Option<u64>,
    disk_quota_bytes: Option<u64>,
    host: String,
    details: Option<String>,
}

pub async fn run(args: AppArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    if args.guid {
        return out.show(&serde_json::json!({ "guid": app.guid }), |_| {
            app.guid.clone()
        });
    }
    show(&client, out, &app).await
}

/// Shows the page; `app` says which, not in which state.
pub async fn show(client: &Client, out: &Output, app: &App) -> Outcome {
    let app: App = client.get(&format!("/v3/apps/{}", app.guid), &[]).await?;
    let summary = gather(client, &app, OffsetDateTime::now_utc()).await?;
    out.show(&summary, |summary| {
        render(summary, out, OffsetDateTime::now_utc())
    })
}

async fn gather(client: &Client, app: &App, now: OffsetDateTime) -> Outcome<Summary> {
    let places = places(client, app).await?;
    let droplet = match client
        .get::<Droplet>(&format!("/v3/apps/{}/droplets/current", app.guid), &[])
        .await
    {
        Ok(droplet) => Some(droplet),
        Err(failure) if failure.code == Code::NotFound => None,
        Err(failure) => return Err(failure),
    };
    let query = [
        ("app_guids", app.guid.as_str()),
        ("status_values", "ACTIVE"),
        ("per_page", "1"),
        ("page", "1"),
    ];
    let deployments: Page<Deployment> = client.get("/v3/deployments", &query).await?;
    let mut processes = Vec::new();
    for process in find::processes(client, app).await? {
        let address = format!("/v3/processes/{}", process.guid);
        let stats: proto::api::ProcessStats = client.get(&format!("{address}/stats"), &[]).await?;
        // Lists hide the command.
        let process: proto::api::Process = client.get(&address, &[]).await?;
        processes.push(process_summary(process, stats.resources, now));
    }
    Ok(Summary {
        name: app.name.clone(),
        guid: app.guid.clone(),
        state: app.state.clone(),
        urls: places.urls,
        stack: app.lifecycle.data.stack.clone(),
        buildpacks: match &droplet {
            Some(droplet) => droplet
                .buildpacks
                .iter()
                .map(|buildpack| buildpack.name.clone())
                .collect(),
            None => app.lifecycle.data.buildpacks.clone().unwrap_or_default(),
        },
        staged_at: droplet.as_ref().map(|droplet| droplet.created_at.clone()),
        droplet: droplet.map(|droplet| droplet.guid),
        deployment: deployments
            .resources
            .first()
            .map(|deployment| deployment.status.reason.clone()),
        processes,
    })
}

fn process_summary(
    process: Process,
    stats: Vec<InstanceStats>,
    now: OffsetDateTime,
) -> ProcessSummary {
    let look = Look {
        kind: process.kind,
        wanted: process.instances,
        instances: stats,
    };
    ProcessSummary {
        running: look.running(),
        wanted: match process.yard_asleep_since {
            Some(_) => 0,
            None => look.wanted,
        },
        kind: look.kind,
        guid: process.guid,
        command: process.command,
        memory_in_mb: process.memory_in_mb,
        disk_in_mb: process.disk_in_mb,
        health_check: process.health_check.kind,
        sleep_after_in_seconds: process.yard_sleep_after_in_seconds,
        asleep_since: process.yard_asleep_since,
        instances: look
            .instances
            .into_iter()
            .map(|stats| instance_summary(stats, now))
            .collect(),
    }
}

fn instance_summary(stats: InstanceStats, now: OffsetDateTime) -> InstanceSummary {
    let up = i64::try_from(stats.uptime).unwrap_or(i64::MAX);
    let since = (stats.state != "DOWN")
        .then(|| now.checked_sub(time::Duration::seconds(up)))
        .flatten();
    InstanceSummary {
        index: stats.index,
        guid: stats.instance_guid,
        state: stats.state,
        since: since.map(human::rfc3339),
        cpu: stats.usage.cpu,
        memory_bytes: stats.usage.mem,
        memory_quota_bytes: stats.mem_quota,
        disk_bytes: stats.usage.disk,
        disk_quota_bytes: stats.disk_quota,
        host: stats.host,
        details: stats.details.filter(|text| !text.is_empty()),
    }
}

fn render(summary: &Summary, out: &Output, now: OffsetDateTime) -> String {
    let or_none = |text: String| {
        if text.is_empty() {
            "none".to_string()
        } else {
            text
        }
    };
    let mut rows = vec![
        ("name", summary.name.clone()),
        ("state", summary.state.to_lowercase()),
        ("urls", or_none(summary.urls.join(", "))),
        ("buildpacks", or_none(summary.buildpacks.join(", "))),
        ("stack", summary.stack.clone().unwrap_or_default()),
    ];
    let staged = summary
        .staged_at
        .as_deref()
        .map_or("never".to_string(), |at| human::ago(at, now));
    rows.push(("staged", staged));
    if let Some(reason) = &summary.deployment {
        rows.push(("deployment", reason.to_lowercase()));
    }
    let mut text = table::fields(&rows);
    for process in &summary.processes {
        let command = process
            .command
            .as_deref()
            .map(|command| format!(", {command}"))
            .unwrap_or_default();
        text.push_str(&format!(
            "\n{}: {}/{}, {} memory, {} disk, health by {}{command}\n",
            out.paint(Color::Strong, &process.kind),
            process.running,
            process.wanted,
            human::megabytes(process.memory_in_mb),
            human::megabytes(process.disk_in_mb),
            process.health_check,
        ));
        if let Some(since) = &process.asleep_since {
            text.push_str(&format!(
                "asleep, since {}: the next request starts it\n",
                human::ago(since, now)
            ));
            continue;
        }
        let rows = process
            .instances
            .iter()
            .map(|instance| row(instance, out, now));
        text.push_str(&table::table(
            ["#", "state", "since", "cpu", "memory", "disk", "details"],
            rows,
            "no instances",
        ));
    }
    text
}

fn row(instance: &InstanceSummary, out: &Output, now: OffsetDateTime) -> [table::Cell; 7] {
    let color = match instance.state.as_str() {
        "RUNNING" => Color::Good,
        "CRASHED" => Color::Bad,
        _ => Color::Careful,
    };
    let of = |used: Option<u64>, quota: Option<u64>| match (used, quota) {
        (Some(used), Some(quota)) => format!("{} of {}", human::bytes(used), human::bytes(quota)),
        (None, Some(quota)) => format!("of {}", human::bytes(quota)),
        (Some(used), None) => human::bytes(used),
        (None, None) => String::new(),
    };
    let since = instance
        .since
        .as_deref()
        .map(|since| human::ago(since, now))
        .unwrap_or_default();
    [
        format!("#{}", instance.index).into(),
        table::Cell::painted(out, color, instance.state.to_lowercase()),
        since.into(),
        instance
            .cpu
            .map(|cpu| format!("{:.1}%", cpu * 100.0))
            .unwrap_or_default()
            .into(),
        of(instance.memory_bytes, instance.memory_quota_bytes).into(),
        of(instance.disk_bytes, instance.disk_quota_bytes).into(),
        instance.details.clone().unwrap_or_default().into(),
    ]
}

/// After a start: the page, or in the words of the caller.
pub async fn started(client: &Client, out: &Output, app: &App, looks: &[Look]) -> Outcome {
    if !out.json {
        out.say(format!(
            "{} is up, {}",
            out.paint(Color::Strong, &app.name),
            watch::describe(out, looks)
        ))?;
    }
    show(client, out, app).await
}

impl Client {
    /// The stored address of the cluster's router.
    pub fn address(&self) -> Option<IpAddr> {
        crate::client::address_of(self.target().connect.as_deref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::api::InstanceUsage;
    use time::macros::datetime;

    #[test]
    fn a_page_shows_each_instance() {
        let now = datetime!(2026-03-04 05:06:07 UTC);
        let stats = vec![
            InstanceStats {
                state: "RUNNING".into(),
                uptime: 67,
                mem_quota: Some(256 << 20),
                disk_quota: Some(1 << 30),
                usage: InstanceUsage {
                    cpu: Some(0.123),
                    mem: Some(32 << 20),
                    disk: Some(5 << 20),
                    ..InstanceUsage::default()
                },
                ..InstanceStats::default()
            },
            InstanceStats {
                index: 1,
                state: "CRASHED".into(),
                details: Some("exit status 1".into()),
                ..InstanceStats::default()
            },
        ];
        let process = Process {
            guid: "g".into(),
            kind: "web".into(),
            command: Some("./run".into()),
            user: None,
            instances: 2,
            memory_in_mb: 256,
            disk_in_mb: 1024,
            log_rate_limit_in_bytes_per_second: None,
            health_check: proto::api::HealthCheck {
                kind: "port".into(),
                ..Default::default()
            },
            readiness_health_check: Default::default(),
            version: None,
            created_at: String::new(),
            updated_at: String::new(),
            metadata: Default::default(),
            relationships: Default::default(),
            process_instances: None,
            yard_sleep_after_in_seconds: None,
            yard_asleep_since: None,
            links: Default::default(),
        };
        let summary = Summary {
            name: "shop".into(),
            guid: "g".into(),
            state: "STARTED".into(),
            urls: vec!["http://shop.yard.internal:8080/".into()],
            stack: Some("host".into()),
            buildpacks: vec!["python".into()],
            droplet: None,
            staged_at: None,
            deployment: None,
            processes: vec![process_summary(process, stats, now)],
        };
        let text = render(
            &summary,
            &Output {
                json: false,
                color: false,
                live: false,
            },
            now,
        );
        assert!(
            text.contains("web: 1/2, 256M memory, 1G disk, health by port, ./run\n"),
            "{text}"
        );
        assert!(
            text.contains("#0  running  1m07s ago  12.3%  32M of 256M  5M of 1G\n"),
            "{text}"
        );
        assert!(text.contains("exit status 1"), "{text}");
    }
}
