//! `make bench`: measures this machine's cluster and writes `docs/benchmarks.md`.
//!
//! ```text
//!   platform/    apps on a whole cluster: figures that stand alone
//!   automation/  goals: ours beside a yardstick, in turns
//!   yardsticks/  the pieces alone: bus, database, processes
//!   figure, goal, statistics, machine, document: what is made of it
//! ```
//!
//! Absolute figures hold for the machine that the document names. A goal is a ratio to a yardstick
//! that is measured in the same rounds, and the program says itself whether it is met.
//!
//! `bench parts`, `bench automation` and `bench apps` measure one section, and print it only.

#![expect(
    clippy::print_stdout,
    reason = "a program of the harness speaks to its user"
)]

mod automation;
mod document;
mod figure;
mod goal;
mod machine;
mod platform;
mod statistics;
mod yardsticks;

use anyhow::ensure;
use document::Document;
use goal::Goal;
use platform::Platform;
use tests::{Cluster, Options};

const SECTIONS: [&str; 3] = ["parts", "automation", "apps"];

fn main() -> anyhow::Result<()> {
    let only = std::env::args().nth(1);
    ensure!(
        only.as_deref()
            .is_none_or(|section| SECTIONS.contains(&section)),
        "the sections are {}",
        SECTIONS.join(", ")
    );
    let runtime = tokio::runtime::Runtime::new()?;
    let (document, taken_down) = runtime.block_on(measure(only.as_deref()))?;
    let document = document.to_string();
    println!("{document}");
    taken_down?;
    if only.is_none() {
        let path = tests::cluster::source_root().join("docs/benchmarks.md");
        std::fs::write(&path, &document)?;
        println!("written to {}", path.display());
    }
    Ok(())
}

/// What was measured, and whether the cluster left nothing behind: if it did, that is no reason to
/// lose the figures.
async fn measure(only: Option<&str>) -> anyhow::Result<(Document, anyhow::Result<()>)> {
    let wants = |section: &str| only.is_none_or(|only| only == section);
    let mut document = Document {
        machine: machine::describe()?,
        goals: Vec::new(),
        platform: Platform::default(),
    };
    // Before there is a cluster, which would take part of the machine.
    let parts = if wants("parts") {
        automation::parts().await?
    } else {
        Vec::new()
    };
    let mut taken_down = Ok(());
    if wants("automation") || wants("apps") {
        let cluster = Cluster::start(Options::default()).await?;
        let measured = with_cluster(&cluster, wants).await;
        if measured.is_err() {
            cluster.print_logs();
        }
        taken_down = cluster.destroy().await;
        (document.goals, document.platform) = measured?;
    }
    document.goals.extend(parts);
    Ok((document, taken_down))
}

async fn with_cluster(
    cluster: &Cluster,
    wants: impl Fn(&str) -> bool,
) -> anyhow::Result<(Vec<Goal>, Platform)> {
    let platform = if wants("apps") {
        platform::measure(cluster).await?
    } else {
        Platform::default()
    };
    let goals = if wants("automation") {
        automation::whole(cluster).await?
    } else {
        Vec::new()
    };
    Ok((goals, platform))
}
