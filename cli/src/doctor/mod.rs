//! `yard doctor`: is this machine ready for a cluster? Each finding is one line with its fix.
//!
//! Facts are gathered in one place ([`facts`]) and judged in another ([`check`], pure), so that
//! every judgement is tested without a machine that has the fault.

mod check;
mod facts;

pub use check::{Finding, Level, packages_line};
pub use facts::{Wanted, daemons_live};

use crate::caller::Caller;
use crate::cluster::{home, socket};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Color, Output, human};
use clap::Args;
use proto::node::NodeRequest;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Where the cluster keeps its state (default: $YARD_HOME, else /var/lib/stackyard)
    #[arg(long)]
    home: Option<PathBuf>,
    /// Port of the router
    #[arg(long)]
    port: Option<u16>,
    /// Address the router listens on
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<std::net::IpAddr>,
    /// The programs are built on this machine: then Rust is needed too
    #[arg(long)]
    from_source: bool,
    /// Only what is wrong
    #[arg(short = 'q', long)]
    quiet: bool,
}

pub fn examine(wanted: &Wanted, caller: &Caller) -> Vec<Finding> {
    check::check(&facts::gather(wanted, caller), wanted)
}

pub async fn run(args: DoctorArgs, out: &Output, caller: &Caller) -> Outcome {
    let home = home::resolve(args.home.as_deref())?;
    let cluster = home::read_cluster(&home)?;
    let runs_already = match &cluster {
        // Whoever may not ask the node (no root) sees that something listens there, at least.
        Some(cluster) => !matches!(
            socket::ask(
                &home::socket_of(cluster),
                &NodeRequest::Status,
                Duration::from_secs(5)
            )
            .await,
            Ok(None)
        ),
        None => false,
    };
    let runs_already = runs_already || daemons_live(&home);
    let wanted = Wanted {
        home,
        bind: args
            .bind
            .map(|bind| bind.to_string())
            .or(cluster.as_ref().map(|cluster| cluster.bind.clone()))
            .unwrap_or_else(|| "127.0.0.1".into()),
        port: args
            .port
            .or(cluster.as_ref().map(|cluster| cluster.port))
            .unwrap_or(8080),
        runs_already,
        from_source: args.from_source,
    };
    let findings = examine(&wanted, caller);
    let faults = findings
        .iter()
        .filter(|finding| finding.level == Level::Fault)
        .count();
    let warnings = findings
        .iter()
        .filter(|finding| finding.level == Level::Warning)
        .count();
    let packages = packages_line(&findings);
    let document = json!({ "ready": faults == 0, "findings": findings, "install": packages });
    out.show(&document, |_| {
        let shown = findings.iter().filter(|finding| {
            !args.quiet || matches!(finding.level, Level::Fault | Level::Warning)
        });
        let mut text: String = shown.map(|finding| line(finding, out) + "\n").collect();
        text.push_str(&match (faults, warnings) {
            (0, 0) => "this machine is ready for a cluster\n".to_string(),
            (0, _) => format!(
                "this machine is ready for a cluster, with {}\n",
                human::count(warnings, "warning")
            ),
            _ => format!(
                "this machine is not ready for a cluster: {}, {}\n",
                human::count(faults, "fault"),
                human::count(warnings, "warning")
            ),
        });
        if let Some(packages) = &packages {
            text.push_str(&format!("install what is missing: {packages}\n"));
        }
        text
    })?;
    if faults == 0 {
        Ok(())
    } else {
        Err(Failure::new(
            Code::MachineNotReady,
            format!("{} found", human::count(faults, "fault")),
        ))
    }
}

/// `  fault    nats-server: not installed (sudo apt-get install nats-server)`
pub fn line(finding: &Finding, out: &Output) -> String {
    let (word, color) = match finding.level {
        Level::Ok => ("ok", Color::Good),
        Level::Note => ("note", Color::Quiet),
        Level::Warning => ("warning", Color::Careful),
        Level::Fault => ("fault", Color::Bad),
    };
    let fix = finding
        .fix
        .as_deref()
        .map(|fix| format!(" → {fix}"))
        .unwrap_or_default();
    format!(
        "  {}{} {}: {}{fix}",
        out.paint(color, word),
        " ".repeat(8 - word.len()),
        finding.name,
        finding.what
    )
}
