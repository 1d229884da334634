//! Several machines: `yard node token` and `yard node remove` on the cluster's first one, `yard node join` and
//! `yard node leave` on the others.
//!
//! All of them talk to the node of the machine they are called on; what machines say to each other is the nodes' matter.

use super::{down, home, socket, up};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Output, human, progress};
use clap::Args;
use proto::config::value::parse_duration;
use proto::join::Token;
use proto::node::{ClusterFile, NodeRequest, NodeStatus};
use serde_json::json;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a node may take for what its cluster store is asked for.
const ANSWER: Duration = Duration::from_secs(90);
const LONGEST_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug, Args)]
pub struct TokenArgs {
    /// Where the cluster keeps its state (default: $YARD_HOME, else /var/lib/stackyard)
    #[arg(long)]
    home: Option<PathBuf>,
    /// What the machine may run: dea, stager, health-manager (can be repeated; default: dea)
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// How long the token can be used, for instance 30m; at most 7d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = ttl)]
    ttl: Duration,
}

#[derive(Debug, Args)]
pub struct JoinArgs {
    /// As `yard node token` printed it; - reads it from the standard input
    token: String,
    /// Where this machine keeps its state (default: $YARD_HOME, else /var/lib/stackyard)
    #[arg(long)]
    home: Option<PathBuf>,
    /// Where the cluster's routers reach this machine (default: the address from which it reaches the cluster)
    #[arg(long)]
    address: Option<Ipv4Addr>,
    /// What fails together with this machine: instances of an app are spread over zones (default: the machine's name)
    #[arg(long)]
    zone: Option<String>,
    /// Of the roles that the token allows (can be repeated; default: all of them)
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Seconds to wait until its daemons are healthy
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

#[derive(Debug, Args)]
pub struct LeaveArgs {
    /// Where this machine keeps its state (default: $YARD_HOME, else /var/lib/stackyard)
    #[arg(long)]
    home: Option<PathBuf>,
    /// Seconds to wait until everything of it runs elsewhere
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    timeout: u64,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// For instance machine-2; `yard node list` shows all
    machine: String,
    /// Where the cluster keeps its state (default: $YARD_HOME, else /var/lib/stackyard)
    #[arg(long)]
    home: Option<PathBuf>,
    /// Even if it is connected: it is cut off, and what it has is started elsewhere
    #[arg(long)]
    force: bool,
}

fn ttl(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|span| (Duration::from_secs(1)..=LONGEST_TTL).contains(span))
        .ok_or_else(|| "give a time from 1s to 7d, for instance 30m".to_string())
}

/// The cluster of this machine, if it is its first one: the others know none of those that joined.
fn first_machine(home: Option<&Path>) -> Outcome<ClusterFile> {
    let (cluster, _) = cluster_of(home)?;
    match &cluster.joined {
        None => Ok(cluster),
        Some(joined) => Err(Failure::failed(format!(
            "this machine joined its cluster, as {}: only the first machine gives tokens and removes machines",
            cluster.machine
        ))
        .fix(format!("the same there: its gate is at {}", joined.gate))),
    }
}

pub async fn token(args: TokenArgs, out: &Output) -> Outcome {
    let cluster = first_machine(args.home.as_deref())?;
    let request = NodeRequest::Token {
        roles: args.roles,
        ttl_s: args.ttl.as_secs(),
    };
    let status = ask(&cluster, &request, ANSWER).await?;
    let text = status.told.ok_or_else(|| {
        Failure::failed("the node gave no token")
            .fix("yard and stackyard must be of the same version")
    })?;
    let token: Token = text
        .parse()
        .map_err(|error| Failure::failed("the node gave no token").because(error))?;
    let document = json!({
        "token": text, "id": token.id, "gate": token.gate, "fingerprint": token.fingerprint,
        "expires": token.expires, "expires_in_seconds": args.ttl.as_secs(),
    });
    out.show(&document, |_| {
        let lasts = human::span(args.ttl.as_secs());
        format!("{text}\n\nIt works once, within {lasts}. On the machine that joins:\n  sudo yard node join TOKEN\n")
    })
}

pub async fn join(args: JoinArgs, out: &Output) -> Outcome {
    down::need_root()?;
    let home = home::resolve(args.home.as_deref())?;
    let stackyard = home::find_stackyard()?;
    let token = match args.token.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin()
                .take(4096)
                .read_to_string(&mut text)
                .map_err(|error| Failure::failed("read the token").because(error))?;
            text
        }
        token => token.to_string(),
    };
    let parsed: Token = token
        .parse()
        .map_err(|error: proto::join::TokenError| Failure::usage(error.to_string()))?;
    let deadline = Instant::now() + Duration::from_secs(args.timeout.max(1));
    let mut command = Command::new(&stackyard);
    command.arg("join").arg("--home").arg(&home);
    if let Some(address) = args.address {
        command.arg("--address").arg(address.to_string());
    }
    if let Some(zone) = &args.zone {
        command.arg("--zone").arg(zone);
    }
    for role in &args.roles {
        command.arg("--role").arg(role);
    }
    let bar = progress::spinner(out, format!("joining the cluster at {}", parsed.gate));
    prove(command, &token).await?;
    bar.finish_and_clear();
    let mut child = up::start(&[], &home, &stackyard)?;
    let (cluster, status) = up::until_ready(&home, Some(&mut child), out, deadline).await?;
    up::tell_joined(out, &cluster, &home, &status)
}

/// Runs `stackyard join`; what it says of a failure is ours to say.
async fn prove(mut command: Command, token: &str) -> Outcome {
    let failed = |error: std::io::Error| Failure::failed("start stackyard").because(error);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(token.as_bytes()).map_err(failed)?;
    }
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await;
    let output = output
        .map_err(|error| Failure::failed("wait for stackyard").because(error))?
        .map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let told = told.lines().last().unwrap_or_default();
    let why = told.strip_prefix("stackyard: ").unwrap_or(told);
    Err(Failure::failed(why).doing("join the cluster"))
}

pub async fn leave(args: LeaveArgs, out: &Output) -> Outcome {
    let (cluster, home) = cluster_of(args.home.as_deref())?;
    down::need_root()?;
    if cluster.joined.is_none() {
        return Err(
            Failure::usage("this machine joined no cluster: one began here")
                .fix("`sudo yard down`"),
        );
    }
    let machine = cluster.machine.clone();
    let bar = progress::spinner(out, format!("{machine}: what it has is started elsewhere"));
    let within = Duration::from_secs(args.timeout.max(1));
    ask(&cluster, &NodeRequest::Leave, within)
        .await
        .map_err(|failure| {
            failure.fix(format!(
                "what only {machine} has, the first machine takes by `yard node role add machine-1 ROLE`; if the cluster is gone for good, `sudo yard destroy` clears this machine"
            ))
        })?;
    bar.finish_and_clear();
    down::stop(&home, out, ANSWER).await?;
    let left = down::remove(&home)?;
    let document = json!({ "machine": machine, "home": home, "left": true, "strangers": left });
    out.show(&document, |_| {
        format!("this machine was {machine}; it is empty, and no part of the cluster any more\n")
    })
}

pub async fn remove(args: RemoveArgs, out: &Output) -> Outcome {
    let cluster = first_machine(args.home.as_deref())?;
    let request = NodeRequest::Remove {
        machine: args.machine.clone(),
        force: args.force,
    };
    ask(&cluster, &request, ANSWER).await?;
    let document = json!({ "machine": args.machine, "removed": true });
    out.show(&document, |_| {
        format!(
            "{} is no part of the cluster any more; what it had is started elsewhere\n",
            args.machine
        )
    })
}

fn cluster_of(home: Option<&Path>) -> Outcome<(ClusterFile, PathBuf)> {
    let home = home::resolve(home)?;
    let cluster = home::read_cluster(&home)?.ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("there is no cluster in {}", home.display()),
        )
        .fix("give its folder with --home")
    })?;
    Ok((cluster, home))
}

/// The node's answer; what it refuses is a failure.
async fn ask(
    cluster: &ClusterFile,
    request: &NodeRequest,
    within: Duration,
) -> Outcome<NodeStatus> {
    let before = socket::ask(&home::socket_of(cluster), request, within).await?;
    let Some(status) = before else {
        return Err(
            Failure::new(Code::Unreachable, "no node runs on this machine").fix("`sudo yard up`"),
        );
    };
    match &status.refused {
        Some(why) => Err(Failure::failed(why)),
        None => Ok(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lasts_for_a_time_that_makes_sense() {
        assert_eq!(ttl("30m"), Ok(Duration::from_secs(1800)));
        for wrong in ["0s", "8d", "soon"] {
            assert!(ttl(wrong).is_err(), "{wrong}");
        }
    }
}
