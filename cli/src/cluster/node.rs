//! `yard node`: the machines of the cluster and their roles ([`super::machines`]), its agents, and emptying
//! one before its machine is worked on.
//!
//! An agent that is being emptied takes no work. What it has starts elsewhere first and stops only then,
//! so that nobody who uses an app notices; what is not moved when its time is over stops all the same.

use super::join::{self, JoinArgs, LeaveArgs, RemoveArgs, TokenArgs};
use super::machines::{self, RoleCommand};
use super::status;
use super::unit::{self, UnitArgs};
use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use crate::output::table::{Cell, fields, table};
use crate::output::{Output, human, progress};
use crate::targets::Store;
use clap::{Args, Subcommand};
use proto::api::{AgentDrain, AuditEvent, ClusterStatus, Page, SeenAgent};
use reqwest::Method;
use serde::Serialize;
use std::time::Duration;

/// How often a waiting `drain` looks.
const LOOK: Duration = Duration::from_millis(250);
/// How long the last stops may take when the time of a drain is over.
const LAST_STOPS: f64 = 60.0;
const EVENTS: &str = "20";

#[derive(Debug, Args)]
pub struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    #[command(flatten)]
    Asking(AskingCommand),
    /// The unit of systemd that brings the cluster of this machine back after a reboot
    Unit(UnitArgs),
    /// Print a token by which one more machine can join; on the cluster's first machine
    Token(TokenArgs),
    /// Make this machine one of a cluster, with a token of its first machine
    Join(JoinArgs),
    /// Empty this machine, and take it out of the cluster that it joined
    Leave(LeaveArgs),
    /// Take a machine that joined out of the cluster; on its first machine
    Remove(RemoveArgs),
}

/// Those that ask the cluster.
#[derive(Debug, Subcommand)]
enum AskingCommand {
    /// The machines with their roles and daemons, and the agents with what they have free
    List,
    /// One machine with its daemons, or one agent; and what was done to it
    Inspect {
        /// For instance machine-1, or the agent dea-1; `yard node list` shows all
        name: String,
    },
    /// What machines are to run
    Role {
        #[command(subcommand)]
        command: RoleCommand,
    },
    /// Empty an agent: it takes no more work, and what it has is moved elsewhere without a gap
    Drain {
        /// For instance dea-1; `yard node list` shows all
        agent: String,
        /// Do not wait until it is empty
        #[arg(long)]
        no_wait: bool,
    },
    /// Let an agent that was emptied take work again
    Undrain {
        /// For instance dea-1; `yard node list` shows all
        agent: String,
    },
}

#[derive(Debug, Serialize)]
struct Inspected<T> {
    #[serde(flatten)]
    seen: T,
    events: Vec<AuditEvent>,
}

pub async fn run(args: NodeArgs, out: &Output, store: Store) -> Outcome {
    let command = match args.command {
        NodeCommand::Unit(args) => return unit::run(&args, out),
        NodeCommand::Token(args) => return join::token(args, out).await,
        NodeCommand::Join(args) => return join::join(args, out).await,
        NodeCommand::Leave(args) => return join::leave(args, out).await,
        NodeCommand::Remove(args) => return join::remove(args, out).await,
        NodeCommand::Asking(command) => command,
    };
    let client = Client::open(store)?;
    match command {
        AskingCommand::List => machines::list(&client, out, agents(&client).await?).await,
        AskingCommand::Inspect { name } => inspect(&client, out, &name).await,
        AskingCommand::Role { command } => machines::role_command(&client, out, command).await,
        AskingCommand::Drain { agent, no_wait } => drain(&client, out, &agent, no_wait).await,
        AskingCommand::Undrain { agent } => {
            let path = drain_path(&agent);
            client
                .delete(&path, &[])
                .await
                .map_err(|failure| explained(failure, &agent))?;
            let document = serde_json::json!({ "id": agent, "takes_work": true });
            out.show(&document, |_| format!("{agent} takes work again\n"))
        }
    }
}

async fn agents(client: &Client) -> Outcome<Vec<SeenAgent>> {
    let status: ClusterStatus = client.get("/yard/v1/status", &[]).await?;
    Ok(status.agents)
}

async fn one(client: &Client, name: &str) -> Outcome<SeenAgent> {
    agents(client)
        .await?
        .into_iter()
        .find(|agent| agent.id == name)
        .ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Failure {
    Failure::new(Code::NotFound, format!("there is no agent {name}"))
        .fix("`yard node list` shows all")
}

fn explained(failure: Failure, agent: &str) -> Failure {
    match failure.code {
        Code::NotFound => unknown(agent),
        _ => failure,
    }
}

fn drain_path(agent: &str) -> String {
    format!("/yard/v1/agents/{agent}/drain")
}

async fn inspect(client: &Client, out: &Output, name: &str) -> Outcome {
    let machine = machines::find(client, name).await?;
    let agent = match machine {
        Some(_) => None,
        None => Some(one(client, name).await.map_err(|failure| {
            match failure.code {
                Code::NotFound => Failure::new(
                    Code::NotFound,
                    format!("there is no machine and no agent {name}"),
                )
                .fix("`yard node list` shows all"),
                _ => failure,
            }
        })?),
    };
    let query = [
        ("target_guids", name),
        ("order_by", "-created_at"),
        ("per_page", EVENTS),
    ];
    let page: Page<AuditEvent> = client.get("/v3/audit_events", &query).await?;
    let events = page.resources;
    if let Some(seen) = machine {
        return out.show(&Inspected { seen, events }, |inspected| {
            let text = machines::describe(&inspected.seen, out);
            format!("{text}\n{}", told(&inspected.events))
        });
    }
    let Some(seen) = agent else {
        return Err(unknown(name));
    };
    out.show(&Inspected { seen, events }, |inspected| {
        let text = describe(&inspected.seen, out);
        format!("{text}\n{}", told(&inspected.events))
    })
}

fn describe(agent: &SeenAgent, out: &Output) -> String {
    let mut rows = vec![("stacks", agent.stacks.join(", "))];
    if let Some(drain) = &agent.drain {
        rows.push(("drain", in_words(drain)));
    }
    let mut text = status::agents(std::iter::once(agent), out);
    text.push('\n');
    text.push_str(&fields(&rows));
    text
}

fn told(events: &[AuditEvent]) -> String {
    let events = events.iter().map(|event| -> [Cell; 3] {
        let time =
            human::parse_time(&event.created_at).map_or(event.created_at.clone(), human::moment);
        [
            time.into(),
            event.kind.as_str().into(),
            event.actor.name.as_str().into(),
        ]
    });
    table(["time", "event", "actor"], events, "no events")
}

pub fn in_words(drain: &AgentDrain) -> String {
    let begun = human::span(drain.begun_seconds_ago.max(0.0) as u64);
    if drain.left == 0 {
        return format!("empty; began {begun} ago");
    }
    let ends = human::span(drain.ends_in_seconds.max(0.0) as u64);
    format!(
        "{} left; began {begun} ago, the rest is stopped in {ends}",
        drain.left
    )
}

async fn drain(client: &Client, out: &Output, name: &str, no_wait: bool) -> Outcome {
    let reply = client
        .send(Method::PUT, &drain_path(name), &serde_json::json!({}))
        .await
        .map_err(|failure| explained(failure, name))?;
    let mut state: AgentDrain = reply.json("/yard/v1/agents")?;
    if !no_wait {
        state = until_empty(client, out, name, state).await?;
    }
    let document = serde_json::json!({ "id": name, "drained": state.left == 0, "drain": state });
    out.show(&document, |_| {
        if state.left == 0 {
            format!("{name} is empty and takes no work; `yard node undrain {name}` takes it back\n")
        } else {
            format!("{name} is being emptied: {}\n", in_words(&state))
        }
    })
}

/// The cluster keeps the bound; this only looks.
async fn until_empty(
    client: &Client,
    out: &Output,
    name: &str,
    mut state: AgentDrain,
) -> Outcome<AgentDrain> {
    let bar = progress::spinner(out, format!("emptying {name}"));
    let patience = Duration::from_secs_f64(state.ends_in_seconds.max(0.0) + LAST_STOPS);
    let began = std::time::Instant::now();
    while state.left > 0 {
        if began.elapsed() > patience {
            return Err(Failure::new(
                Code::TimedOut,
                format!("{name} still has {} of what it had", state.left),
            )
            .fix(format!("`yard node inspect {name}`")));
        }
        bar.set_message(format!("emptying {name}: {}", in_words(&state)));
        tokio::time::sleep(LOOK).await;
        state = one(client, name).await?.drain.ok_or_else(|| {
            Failure::failed(format!("{name} takes work again: its drain was taken back"))
        })?;
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_says_what_is_left_and_when_it_ends() {
        let mut drain = AgentDrain {
            left: 3,
            begun_seconds_ago: 5.2,
            ends_in_seconds: 594.8,
        };
        assert_eq!(
            in_words(&drain),
            "3 left; began 5s ago, the rest is stopped in 9m54s"
        );
        drain.left = 0;
        assert!(in_words(&drain).starts_with("empty"));
    }
}
