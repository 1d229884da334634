//! `yard node list` and `yard node role`: the machines of the cluster, and what each is to run.
//!
//! A role is written in the cluster store, and the machine's node makes it so. The commands wait for that: what
//! was added works when they end, and what was removed is emptied and gone.

use super::status;
use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use crate::output::table::{Cell, fields, table};
use crate::output::{Color, Output, human, progress};
use clap::{Args, Subcommand};
use proto::api::{NodeList, RoleChanges, SeenAgent, SeenDaemon, SeenNode};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often a waiting command looks.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub enum RoleCommand {
    /// The roles of each machine, and the daemons that have them
    List,
    /// Give a machine a role, or more daemons of it; its node starts them at once
    Add(Change),
    /// Take daemons of a role from a machine: they are emptied first, then they stop
    Remove {
        #[command(flatten)]
        change: Change,
        /// Even the last one of the cluster
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub struct Change {
    /// For instance machine-1; `yard node list` shows all
    machine: String,
    /// One of controller, router, dea, health-manager, stager, collector, ssh-proxy
    #[arg(value_parser = role)]
    role: String,
    /// How many daemons
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Do not wait until it is so
    #[arg(long)]
    no_wait: bool,
    /// Seconds to wait
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 900,
        conflicts_with = "no_wait"
    )]
    timeout: u64,
}

fn role(text: &str) -> Result<String, proto::roles::Refused> {
    proto::roles::parse(text).map(|role| role.name().to_string())
}

#[derive(Debug, Serialize)]
struct Listed {
    machines: Vec<SeenNode>,
    agents: Vec<SeenAgent>,
}

/// What one machine has of one role.
#[derive(Debug, Serialize)]
struct Held {
    machine: String,
    role: String,
    count: u32,
    daemons: Vec<SeenDaemon>,
}

/// What a change came to.
#[derive(Debug, Serialize)]
struct Changed {
    machine: String,
    role: String,
    /// How many the machine is to have now.
    count: u32,
    /// It is so.
    done: bool,
    daemons: Vec<SeenDaemon>,
}

pub async fn list(client: &Client, out: &Output, agents: Vec<SeenAgent>) -> Outcome {
    let machines = machines(client).await?;
    out.show(&Listed { machines, agents }, |listed| {
        let header = ["machine", "state", "roles", "daemons", "host", "seen"];
        let rows = listed.machines.iter().map(|node| row(node, out));
        let mut text = table(header, rows, "no machines");
        for node in &listed.machines {
            if let Some(problem) = &node.problem {
                text.push_str(&format!("{}: {problem}\n", node.machine));
            }
        }
        text.push('\n');
        text.push_str(&status::agents(listed.agents.iter(), out));
        text
    })
}

async fn machines(client: &Client) -> Outcome<Vec<SeenNode>> {
    let list: NodeList = client.get("/yard/v1/nodes", &[]).await?;
    Ok(list.resources)
}

/// None: there is no such machine.
pub async fn find(client: &Client, machine: &str) -> Outcome<Option<SeenNode>> {
    let all = machines(client).await?;
    Ok(all.into_iter().find(|node| node.machine == machine))
}

fn row(node: &SeenNode, out: &Output) -> [Cell; 6] {
    let color = match node.state.as_str() {
        "running" if node.problem.is_none() => Color::Good,
        "silent" | "stopped" => Color::Bad,
        _ => Color::Careful,
    };
    let ready = node
        .daemons
        .iter()
        .filter(|daemon| daemon.state == "ready")
        .count();
    let seen = node
        .seen_seconds_ago
        .map(|ago| format!("{} ago", human::span(ago as u64)));
    [
        node.machine.as_str().into(),
        Cell::painted(out, color, node.state.as_str()),
        in_words(&node.roles).into(),
        format!("{ready} of {} ready", node.daemons.len()).into(),
        node.host.as_str().into(),
        seen.unwrap_or_else(|| "never".to_string()).into(),
    ]
}

/// `controller, dea 3, router 2`
fn in_words(roles: &BTreeMap<String, u32>) -> String {
    let words = roles.iter().map(|(role, count)| match count {
        1 => role.clone(),
        _ => format!("{role} {count}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

pub fn describe(node: &SeenNode, out: &Output) -> String {
    let mut rows = vec![
        ("machine", node.machine.clone()),
        ("state", node.state.clone()),
        ("host", node.host.clone()),
        ("version", node.version.clone()),
        ("roles", in_words(&node.roles)),
    ];
    if let Some(problem) = &node.problem {
        rows.push(("problem", problem.clone()));
    }
    format!("{}\n{}", fields(&rows), daemons(node.daemons.iter(), out))
}

fn daemons<'a>(daemons: impl Iterator<Item = &'a SeenDaemon>, out: &Output) -> String {
    let rows = daemons.map(|daemon| -> [Cell; 5] {
        let color = match daemon.state.as_str() {
            "ready" => Color::Good,
            "waiting" | "starting" | "leaving" => Color::Careful,
            _ => Color::Bad,
        };
        [
            daemon.name.as_str().into(),
            Cell::painted(out, color, daemon.state.as_str()),
            human::span(daemon.up_seconds.max(0.0) as u64).into(),
            daemon.restarts.to_string().into(),
            daemon.detail.as_str().into(),
        ]
    });
    table(
        ["daemon", "state", "up", "restarts", "detail"],
        rows,
        "no daemons",
    )
}

pub async fn role_command(client: &Client, out: &Output, command: RoleCommand) -> Outcome {
    match command {
        RoleCommand::List => list_roles(client, out).await,
        RoleCommand::Add(change) => {
            let changes = RoleChanges {
                add: BTreeMap::from([(change.role.clone(), change.count)]),
                ..RoleChanges::default()
            };
            apply(client, out, &change, changes).await
        }
        RoleCommand::Remove { change, force } => {
            let changes = RoleChanges {
                remove: BTreeMap::from([(change.role.clone(), change.count)]),
                force,
                ..RoleChanges::default()
            };
            apply(client, out, &change, changes).await
        }
    }
}

async fn list_roles(client: &Client, out: &Output) -> Outcome {
    let held: Vec<Held> = machines(client)
        .await?
        .iter()
        .flat_map(|node| {
            node.roles.iter().map(|(role, count)| Held {
                machine: node.machine.clone(),
                role: role.clone(),
                count: *count,
                daemons: with_role(node, role),
            })
        })
        .collect();
    out.show(&held, |held| {
        let rows = held.iter().map(|held| {
            let names: Vec<&str> = held
                .daemons
                .iter()
                .map(|daemon| daemon.name.as_str())
                .collect();
            [
                held.machine.clone(),
                held.role.clone(),
                held.count.to_string(),
                names.join(", "),
            ]
        });
        table(["machine", "role", "count", "daemons"], rows, "no roles")
    })
}

fn with_role(node: &SeenNode, role: &str) -> Vec<SeenDaemon> {
    let daemons = node.daemons.iter().filter(|daemon| daemon.role == role);
    daemons.cloned().collect()
}

async fn apply(client: &Client, out: &Output, change: &Change, changes: RoleChanges) -> Outcome {
    let Change { machine, role, .. } = change;
    let path = format!("/yard/v1/nodes/{machine}/roles");
    let mut node: SeenNode = client
        .post(&path, &changes)
        .await
        .map_err(|failure| match failure.code {
            Code::NotFound => {
                Failure::new(Code::NotFound, format!("there is no machine {machine}"))
                    .fix("`yard node list` shows all")
            }
            _ => failure,
        })?;
    let count = node.roles.get(role).copied().unwrap_or_default();
    if !change.no_wait {
        node = until_so(client, out, change, count).await?;
    }
    let changed = Changed {
        machine: machine.clone(),
        role: role.clone(),
        count,
        done: is_so(&node, role, count),
        daemons: with_role(&node, role),
    };
    out.show(&changed, |changed| {
        let names: Vec<&str> = changed
            .daemons
            .iter()
            .map(|daemon| daemon.name.as_str())
            .collect();
        match (changed.done, names.is_empty()) {
            (true, true) => format!("{machine} has the role {role} no more\n"),
            (true, false) => format!("{machine} has {}\n", names.join(", ")),
            (false, _) => format!(
                "{machine} is to have {}; `yard node list` shows how far it is\n",
                human::count(count as usize, role)
            ),
        }
    })
}

/// As many daemons of the role as there are to be, and all of them work.
fn is_so(node: &SeenNode, role: &str, count: u32) -> bool {
    let daemons = with_role(node, role);
    daemons.len() == count as usize && daemons.iter().all(|daemon| daemon.state == "ready")
}

async fn until_so(client: &Client, out: &Output, change: &Change, count: u32) -> Outcome<SeenNode> {
    let Change { machine, role, .. } = change;
    let bar = progress::spinner(out, format!("{machine}: {role}"));
    let deadline = Instant::now() + Duration::from_secs(change.timeout);
    loop {
        // One that goes may be the one that answers; another does then.
        let seen = find(client, machine).await;
        let told = match seen {
            Ok(Some(node)) if is_so(&node, role, count) => return Ok(node),
            Ok(Some(node)) => what_is_missing(&node, role),
            Ok(None) => return Err(Failure::failed(format!("{machine} is gone"))),
            Err(failure) => failure.what,
        };
        if Instant::now() > deadline {
            let what = format!("{machine} has not yet the role {role} {count} times: {told}");
            return Err(Failure::new(Code::TimedOut, what).fix(format!(
                "`yard node inspect {machine}`, and the logs of its node"
            )));
        }
        bar.set_message(format!("{machine}: {told}"));
        tokio::time::sleep(LOOK).await;
    }
}

fn what_is_missing(node: &SeenNode, role: &str) -> String {
    let waiting = with_role(node, role)
        .into_iter()
        .filter(|daemon| daemon.state != "ready");
    let mut told: Vec<String> = waiting
        .map(|daemon| match daemon.detail.is_empty() {
            true => format!("{} is {}", daemon.name, daemon.state),
            false => format!("{} is {}: {}", daemon.name, daemon.state, daemon.detail),
        })
        .collect();
    told.extend(node.problem.clone());
    if told.is_empty() {
        return "its node has not begun".to_string();
    }
    told.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(states: &[(&str, &str)]) -> SeenNode {
        let daemons = states.iter().map(|(name, state)| SeenDaemon {
            name: name.to_string(),
            role: "dea".into(),
            state: state.to_string(),
            ..SeenDaemon::default()
        });
        SeenNode {
            daemons: daemons.collect(),
            ..SeenNode::default()
        }
    }

    #[test]
    fn a_role_is_there_when_all_of_it_works_and_what_left_is_gone() {
        let two = node(&[("dea-1", "ready"), ("dea-2", "ready")]);
        assert!(is_so(&two, "dea", 2) && !is_so(&two, "dea", 3) && !is_so(&two, "dea", 1));
        let starting = node(&[("dea-1", "ready"), ("dea-2", "starting")]);
        assert!(!is_so(&starting, "dea", 2));
        assert_eq!(what_is_missing(&starting, "dea"), "dea-2 is starting");
        let leaving = node(&[("dea-1", "ready"), ("dea-2", "leaving")]);
        assert!(!is_so(&leaving, "dea", 1));
    }

    #[test]
    fn roles_are_told_in_words() {
        let roles = BTreeMap::from([("dea".to_string(), 3), ("router".to_string(), 1)]);
        assert_eq!(in_words(&roles), "dea 3, router");
        assert!(role("cook").is_err());
    }
}
