//! `yard apps`: one line for each app of the space.

use crate::client::{AppUrl, Client};
use crate::failure::Outcome;
use crate::output::table::{Cell, table};
use crate::output::{Color, Output};
use crate::targets::Store;
use proto::api::{App, Process, Route};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Serialize)]
struct Line {
    name: String,
    guid: String,
    state: String,
    processes: Vec<ProcessLine>,
    urls: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ProcessLine {
    #[serde(rename = "type")]
    kind: String,
    running: u32,
    wanted: u32,
}

pub async fn run(out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let space = client.space()?.clone();
    let apps: Vec<App> = client
        .list(
            "/v3/apps",
            &[
                ("space_guids", &space.guid),
                ("order_by", "name"),
                ("per_page", "5000"),
            ],
        )
        .await?;
    let query = [
        ("space_guids", space.guid.as_str()),
        ("embed", "process_instances"),
        ("per_page", "5000"),
    ];
    let processes: Vec<Process> = client.list("/v3/processes", &query).await?;
    let routes: Vec<Route> = client
        .list(
            "/v3/routes",
            &[("space_guids", &space.guid), ("per_page", "5000")],
        )
        .await?;
    let lines = join(apps, processes, &routes, &client.target().api);
    let empty = format!(
        "no apps in the space {}; `yard push FOLDER` makes one",
        space.name
    );
    out.show(&lines, |lines| {
        table(
            ["name", "state", "processes", "urls"],
            lines.iter().map(|line| row(line, out)),
            &empty,
        )
    })
}

fn join(apps: Vec<App>, processes: Vec<Process>, routes: &[Route], api: &str) -> Vec<Line> {
    let mut by_app: BTreeMap<String, Vec<ProcessLine>> = BTreeMap::new();
    for process in processes {
        let Some(app) = process.relationships.app.guid() else {
            continue;
        };
        let instances = process.process_instances.unwrap_or_default();
        let running = instances
            .iter()
            .filter(|instance| instance.state == "RUNNING")
            .count();
        let line = ProcessLine {
            kind: process.kind,
            running: u32::try_from(running).unwrap_or(u32::MAX),
            wanted: process.instances,
        };
        by_app.entry(app.to_string()).or_default().push(line);
    }
    apps.into_iter()
        .map(|app| {
            let leads_here = |route: &&Route| {
                route
                    .destinations
                    .iter()
                    .any(|destination| destination.app.guid == app.guid)
            };
            Line {
                urls: routes
                    .iter()
                    .filter(leads_here)
                    .map(|route| AppUrl::of(api, route).url)
                    .collect(),
                processes: by_app.remove(&app.guid).unwrap_or_default(),
                name: app.name,
                guid: app.guid,
                state: app.state,
            }
        })
        .collect()
}

fn row(line: &Line, out: &Output) -> [Cell; 4] {
    let started = line.state == "STARTED";
    let short = started
        && line
            .processes
            .iter()
            .any(|process| process.running < process.wanted);
    let color = match (started, short) {
        (true, false) => Color::Good,
        (true, true) => Color::Careful,
        (false, _) => Color::Quiet,
    };
    // Types nobody scaled up say nothing.
    let shown = line
        .processes
        .iter()
        .filter(|process| process.wanted > 0 || process.running > 0 || process.kind == "web");
    // While a deployment goes on there are two of a type: `web 2/2 + 1/1`.
    let mut by_kind: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for process in shown {
        let count = format!("{}/{}", process.running, process.wanted);
        by_kind.entry(&process.kind).or_default().push(count);
    }
    let processes = by_kind
        .iter()
        .map(|(kind, counts)| format!("{kind} {}", counts.join(" + ")))
        .collect::<Vec<_>>()
        .join(", ");
    [
        line.name.as_str().into(),
        Cell::painted(out, color, line.state.to_lowercase()),
        processes.into(),
        line.urls.join(", ").into(),
    ]
}
