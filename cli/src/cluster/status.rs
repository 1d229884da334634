//! `yard status`: the cluster as its API sees it and, on its machine, as its node sees it.

use super::node::in_words;
use super::{home, socket};
use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use crate::output::table::{Cell, fields, table};
use crate::output::{Color, Output, human};
use crate::targets::Store;
use clap::Args;
use proto::api::{ClusterStatus, SeenAgent};
use proto::node::{ComponentState, ComponentStatus, NodeRequest, NodeStatus};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use time::OffsetDateTime;

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where a cluster of this machine keeps its state (default: $YARD_HOME, else /var/lib/stackyard)
    #[arg(long)]
    home: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Whole {
    api: Option<String>,
    /// Everything is ready, as far as can be seen.
    healthy: bool,
    /// The name of this machine, where it joined the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    joined_as: Option<String>,
    cluster: Option<ClusterStatus>,
    node: Option<NodeStatus>,
    /// Why a part is missing.
    problems: Vec<String>,
}

pub async fn run(args: StatusArgs, out: &Output, store: Store) -> Outcome {
    let mut problems = Vec::new();
    let (node, joined_as) = match node(args.home.as_deref()).await {
        Ok(Some((node, joined_as))) => (Some(node), joined_as),
        Ok(None) => (None, None),
        Err(failure) => {
            problems.push(format!("node: {}", failure.what));
            (None, None)
        }
    };
    let (api, cluster, failure) = match Client::open(store) {
        Ok(client) => match client.get::<ClusterStatus>("/yard/v1/status", &[]).await {
            Ok(status) => (Some(client.target().api.clone()), Some(status), None),
            Err(failure) => (Some(client.target().api.clone()), None, Some(failure)),
        },
        Err(failure) => (None, None, Some(failure)),
    };
    if let Some(failure) = failure {
        if node.is_none() {
            return Err(failure);
        }
        problems.push(match joined_as {
            None => format!("API: {}", failure.what),
            // Nobody needs to log in there, and the names of the cluster need not be known.
            Some(_) => format!(
                "of the other machines nothing can be told here: {}",
                failure.what
            ),
        });
    }
    let healthy = (joined_as.is_some()
        || problems.iter().all(|problem| problem.starts_with("node:")))
        && node.as_ref().is_none_or(|node| {
            node.components
                .iter()
                .all(|component| component.state.is_well())
        })
        && cluster
            .as_ref()
            .is_none_or(|cluster| cluster.agents.iter().any(|agent| agent.state == "ready"));
    let whole = Whole {
        api,
        healthy,
        joined_as,
        cluster,
        node,
        problems,
    };
    out.show(&whole, |whole| {
        render(whole, out, OffsetDateTime::now_utc())
    })?;
    if whole.healthy {
        Ok(())
    } else {
        let what = match (&whole.joined_as, &whole.cluster) {
            (Some(_), None) => "this machine is not healthy",
            _ => "the cluster is not healthy",
        };
        Err(Failure::failed(what))
    }
}

/// None: this machine has no cluster. With the name of the machine, if it joined one.
async fn node(given: Option<&std::path::Path>) -> Outcome<Option<(NodeStatus, Option<String>)>> {
    let home = home::resolve(given)?;
    match home::read_cluster(&home)? {
        Some(cluster) => {
            let status = socket::ask(
                &home::socket_of(&cluster),
                &NodeRequest::Status,
                Duration::from_secs(5),
            )
            .await?;
            let status = status.ok_or_else(|| {
                Failure::new(
                    Code::Unreachable,
                    format!("the cluster in {} is not running", home.display()),
                )
            })?;
            let joined_as = cluster.joined.is_some().then_some(cluster.machine);
            Ok(Some((status, joined_as)))
        }
        None => Ok(None),
    }
}

fn render(whole: &Whole, out: &Output, now: OffsetDateTime) -> String {
    let verdict = if whole.healthy {
        out.paint(Color::Good, "healthy")
    } else {
        out.paint(Color::Bad, "not healthy")
    };
    let mut rows = match (&whole.joined_as, &whole.cluster) {
        (Some(machine), None) => vec![("machine", format!("{machine}, {verdict}"))],
        _ => vec![("cluster", verdict)],
    };
    if let Some(api) = &whole.api {
        rows.push(("api", api.clone()));
    }
    if let Some(leader) = whole
        .cluster
        .as_ref()
        .and_then(|cluster| cluster.leader.as_ref())
    {
        rows.push((
            "leader",
            format!("{} (epoch {})", leader.name, leader.epoch),
        ));
    }
    let mut text = fields(&rows);
    match (&whole.node, &whole.cluster) {
        (Some(node), _) => {
            let header = ["component", "state", "pid", "up", "restarts", "detail"];
            text.push('\n');
            text.push_str(&table(
                header,
                node.components
                    .iter()
                    .map(|component| component_row(component, out, now)),
                "no components",
            ));
        }
        (None, Some(cluster)) => {
            let rows = cluster.components.iter().map(|component| {
                [
                    component.name.clone(),
                    component.role.clone(),
                    component.uptime.clone(),
                ]
            });
            text.push('\n');
            text.push_str(&table(["component", "role", "up"], rows, "no components"));
        }
        (None, None) => {}
    }
    if let Some(cluster) = &whole.cluster {
        text.push('\n');
        text.push_str(&agents(cluster.agents.iter(), out));
        for agent in &cluster.agents {
            if let Some(drain) = &agent.drain {
                text.push_str(&format!("{} is emptied: {}\n", agent.id, in_words(drain)));
            }
        }
        for component in &cluster.components {
            for problem in &component.problems {
                text.push_str(&format!("{}: {problem}\n", component.name));
            }
        }
        // Of agents that are emptied the lines above say more.
        for waiting in cluster.waiting.iter().filter(|it| it.kind != "drain") {
            let name = if waiting.name.is_empty() {
                &waiting.guid
            } else {
                &waiting.name
            };
            text.push_str(&format!(
                "waiting for {}: {} {name}: {}\n",
                human::span(waiting.since.max(0.0) as u64),
                waiting.kind,
                waiting.because
            ));
        }
    }
    if let Some(error) = whole.node.as_ref().and_then(|node| node.error.as_ref()) {
        text.push_str(&format!("node: {error}\n"));
    }
    for problem in &whole.problems {
        text.push_str(&format!("{problem}\n"));
    }
    text
}

/// The agents, a row each.
pub fn agents<'a>(agents: impl Iterator<Item = &'a SeenAgent>, out: &Output) -> String {
    let header = [
        "agent",
        "state",
        "instances",
        "free memory",
        "free disk",
        "zone",
        "seen",
    ];
    table(
        header,
        agents.map(|agent| agent_row(agent, out)),
        "no agents",
    )
}

fn component_row(component: &ComponentStatus, out: &Output, now: OffsetDateTime) -> [Cell; 6] {
    let color = match component.state {
        ComponentState::Ready => Color::Good,
        ComponentState::Waiting | ComponentState::Starting | ComponentState::Leaving => {
            Color::Careful
        }
        ComponentState::Unready | ComponentState::Restarting | ComponentState::Stopped => {
            Color::Bad
        }
    };
    let up = now.unix_timestamp() as f64 - component.since;
    let up = if component.pid.is_some() && up >= 0.0 {
        human::span(up as u64)
    } else {
        String::new()
    };
    [
        component.name.as_str().into(),
        Cell::painted(out, color, format!("{:?}", component.state).to_lowercase()),
        component
            .pid
            .map(|pid| pid.to_string())
            .unwrap_or_default()
            .into(),
        up.into(),
        component.restarts.to_string().into(),
        component.detail.as_str().into(),
    ]
}

fn agent_row(agent: &SeenAgent, out: &Output) -> [Cell; 7] {
    let color = match agent.state.as_str() {
        "ready" => Color::Good,
        "draining" | "drained" | "leaving" => Color::Careful,
        _ => Color::Bad,
    };
    let of = |free: u64, total: Option<u64>| match total {
        Some(total) => format!("{} of {}", human::megabytes(free), human::megabytes(total)),
        None => human::megabytes(free),
    };
    [
        agent.id.as_str().into(),
        Cell::painted(out, color, agent.state.as_str()),
        agent.instances.to_string().into(),
        of(agent.available_memory_in_mb, agent.total_memory_in_mb).into(),
        of(agent.available_disk_in_mb, agent.total_disk_in_mb).into(),
        agent.zone.as_str().into(),
        format!(
            "{} ago",
            human::span(agent.seen_seconds_ago.max(0.0) as u64)
        )
        .into(),
    ]
}
