//! `make bench`: measures this machine's cluster and writes `docs/benchmarks.md`.
//!
//! ```text
//!   platform/    apps on a whole cluster: figures that stand alone
//!   recovery/    goals: what comes back after something died, and how soon
//!   control/     goals: the parts of the control plane, for a large cluster
//!   automation/  goals: ours beside a yardstick, in turns
//!   router/      goals: ours beside other proxies
//!   yardsticks/  the pieces alone: bus, database, processes, proxies
//!   cores, figure, goal, statistics, machine, document: what is made of it
//! ```
//!
//! Absolute figures hold for the machine that the document names. A goal is a ratio to a yardstick
//! that is measured in the same rounds, and the program says itself whether it is met.
//!
//! `bench parts`, `bench control`, `bench router`, `bench table`, `bench automation`, `bench apps` and `bench recovery`
//! measure one section, and print it only;
//! `bench reaction` measures of automation only how long it takes from an event to its action.

#![expect(
    clippy::print_stdout,
    reason = "a program of the harness speaks to its user"
)]

mod automation;
mod control;
mod cores;
mod document;
mod examples;
mod figure;
mod goal;
mod machine;
mod platform;
mod recovery;
mod router;
mod statistics;
mod yardsticks;

use anyhow::{Context, ensure};
use document::Document;
use platform::Platform;
use tests::{Cluster, Options};
use yardsticks::bare_server;

const SECTIONS: [&str; 8] = [
    "parts",
    "control",
    "router",
    "table",
    "automation",
    "apps",
    "recovery",
    REACTION,
];
/// A part of another section: the whole has it once.
const REACTION: &str = "reaction";

fn main() -> anyhow::Result<()> {
    let only = std::env::args().nth(1);
    if only.as_deref() == Some(bare_server::ARGUMENT) {
        let port = std::env::args().nth(2).context("bare-server PORT")?;
        return bare_server::serve(port.parse()?);
    }
    ensure!(
        only.as_deref()
            .is_none_or(|section| SECTIONS.contains(&section)),
        "the sections are {}",
        SECTIONS.join(", ")
    );
    let runtime = tokio::runtime::Runtime::new()?;
    let (document, failed) = runtime.block_on(measure(only.as_deref()))?;
    let document = document.to_string();
    println!("{document}");
    failed?;
    if only.is_none() {
        let path = tests::cluster::source_root().join("docs/benchmarks.md");
        std::fs::write(&path, &document)?;
        println!("written to {}", path.display());
    }
    Ok(())
}

/// What was measured, and what went wrong on the way, which is no reason to lose the figures before it.
async fn measure(only: Option<&str>) -> anyhow::Result<(Document, anyhow::Result<()>)> {
    let wants = |section: &str| only.is_none_or(|only| only == section);
    let mut document = Document {
        machine: machine::describe()?,
        goals: Vec::new(),
        platform: Platform::default(),
    };
    // Before there is a cluster, which would take part of the machine.
    let mut parts = Vec::new();
    if wants("parts") {
        parts.extend(automation::parts().await?);
    }
    if wants("control") {
        parts.extend(control::measure().await?);
    }
    let mut proxies_failed = Ok(());
    for section in router::Section::ALL {
        if wants(section.name()) && proxies_failed.is_ok() {
            match router::measure(section) {
                Ok(goals) => parts.extend(goals),
                Err(error) => proxies_failed = Err(error),
            }
        }
    }
    let mut failed = Ok(());
    let only_reaction = only == Some(REACTION);
    if wants("automation") || wants("apps") || only_reaction {
        let cluster = Cluster::start(Options::default()).await?;
        if wants("apps") {
            let measured = platform::measure(&cluster).await;
            failed = measured.map(|platform| document.platform = platform);
        }
        if (wants("automation") || only_reaction) && failed.is_ok() {
            let measured = automation::whole(&cluster, only_reaction).await;
            failed = measured.map(|goals| document.goals = goals);
        }
        if failed.is_err() {
            cluster.print_logs();
        }
        failed = failed.and(cluster.destroy().await);
    }
    document.goals.extend(parts);
    if wants("recovery") && failed.is_ok() {
        let measured = recovery::measure().await;
        failed = measured.map(|goals| document.goals.extend(goals));
    }
    Ok((document, failed.and(proxies_failed)))
}
