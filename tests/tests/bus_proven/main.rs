//! The bus, proven: each subject of the table is seen on a real cluster, sent by whom the table names;
//! each credential may do what the table says and nothing else; what makes no sense, or cannot be, is
//! counted with its reason and changes nothing; and a foreign route registrar registers a route.
//!
//! One cluster for all of it. Its nats-server traces from before the daemons connect, so that the server
//! itself says who sent what. The scenarios come first: the last of them looks at all that was seen.

#![expect(
    clippy::print_stdout,
    reason = "a program of the harness speaks to its user"
)]

mod garbage;
mod impossible;
mod matrix;
mod phantoms;
mod registrar;
mod scenarios;
mod trace;
mod wire;

use anyhow::{Context, bail};
use garbage::{
    garbage_on_every_subject_is_counted_and_changes_nothing,
    what_is_larger_than_the_bus_takes_ends_its_sender_alone,
};
use impossible::what_cannot_be_is_ignored_with_its_reason;
use matrix::every_credential_may_do_exactly_what_the_table_says;
use proto::bus::Role;
use registrar::a_foreign_route_registrar_registers_a_route_that_works;
use scenarios::*;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tests::runner::{Tally, run, suite, with_cluster};
use tests::{Cluster, eventually, tests};
use trace::Trace;

/// For what takes moments on an idle machine.
pub const LONG: Duration = Duration::from_secs(60);

/// What nobody desires is stopped once the desired state was read after it was seen; and stagings of
/// next to nothing need no more of the machine's disk.
const SETTINGS: [(&str, &str); 2] = [
    ("health-manager/desired/refresh", "5s"),
    ("staging/disk", "512MiB"),
];

/// Every daemon of this cluster.
pub const DAEMONS: [&str; 7] = [
    "controller-1",
    "router-1",
    "dea-1",
    "health-manager-1",
    "stager-1",
    "collector-1",
    "ssh-proxy-1",
];

/// The cluster, and what its bus has seen.
pub struct Yard {
    pub cluster: Cluster,
    pub seed: u64,
    trace: Mutex<Trace>,
    /// Subjects that a scenario has shown.
    shown: Mutex<BTreeSet<&'static str>>,
}

/// Who is to be seen sending in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The component itself.
    Itself(Role),
    /// The scenario, with the component's credential: what no component of ours asks by itself.
    Scenario(Role),
}

impl Yard {
    /// Lets the server of the bus trace, and every daemon connect to it anew.
    async fn prepare(cluster: Cluster) -> Result<Yard, (Cluster, anyhow::Error)> {
        let file = cluster.root().join("trace-of-the-bus.log");
        let seed = number("STACKYARD_SEED").unwrap_or_else(rand::random);
        match trace_from_the_start(&cluster, &file).await {
            Ok(()) => Ok(Yard {
                cluster,
                seed,
                trace: Mutex::new(Trace::of(file)),
                shown: Mutex::default(),
            }),
            Err(error) => Err((cluster, error)),
        }
    }

    /// Does something and waits until the server has seen each of these subjects from each of these.
    pub async fn shows(
        &self,
        subjects: &[(&'static str, By)],
        doing: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        doing.await?;
        eventually("the server has seen it", LONG, || async {
            let missing = self.with_trace(|trace| {
                let missing = subjects
                    .iter()
                    .filter(|(subject, by)| !seen(trace, subject, *by));
                missing
                    .map(|(subject, by)| format!("{subject} {by:?}"))
                    .collect::<Vec<_>>()
            })?;
            match missing.is_empty() {
                true => Ok(()),
                false => bail!("not seen: {}", missing.join(", ")),
            }
        })
        .await?;
        let mut shown = self.shown.lock().expect("no holder panics");
        shown.extend(subjects.iter().map(|(subject, _)| subject));
        Ok(())
    }

    /// Reads what the server has traced until now.
    pub fn with_trace<T>(&self, look: impl FnOnce(&Trace) -> T) -> anyhow::Result<T> {
        let mut trace = self.trace.lock().expect("no holder panics");
        trace.catch_up()?;
        Ok(look(&trace))
    }

    /// The daemons' processes.
    pub fn pids(&self) -> anyhow::Result<Vec<i32>> {
        DAEMONS.iter().map(|name| self.cluster.pid(name)).collect()
    }
}

fn seen(trace: &Trace, subject: &str, by: By) -> bool {
    let (role, itself) = match by {
        By::Itself(role) => (role, true),
        By::Scenario(role) => (role, false),
    };
    trace.published.get(subject).is_some_and(|actors| {
        actors.iter().any(|actor| {
            actor.itself == itself && tests::inside::role_of(&actor.user) == Some(role)
        })
    })
}

async fn trace_from_the_start(cluster: &Cluster, file: &std::path::Path) -> anyhow::Result<()> {
    let config = cluster.home.join("nats/nats.conf");
    let text = std::fs::read_to_string(&config)
        .with_context(|| format!("reading {}", config.display()))?;
    let traced = format!(
        "{text}trace: true\nmax_traced_msg_len: 1\nlog_file: \"{}\"\n",
        file.display()
    );
    std::fs::write(&config, traced)?;
    restarted(cluster, &["nats"]).await?;
    // What they say when they come up is to be seen too.
    restarted(cluster, &DAEMONS).await?;
    eventually("the settings are taken", LONG, || async {
        for (key, value) in SETTINGS {
            cluster.ok(["config", "set", key, value]).await?;
        }
        Ok(())
    })
    .await
}

/// Kills these together and waits until each is ready again.
async fn restarted(cluster: &Cluster, names: &[&str]) -> anyhow::Result<()> {
    let mut killed = Vec::new();
    for name in names {
        killed.push((name, cluster.kill(name)?));
    }
    for (name, pid) in killed {
        cluster.wait_restarted(name, pid).await?;
    }
    Ok(())
}

/// A number of the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

async fn prove(yard: &Yard, tally: &mut Tally) {
    println!("    STACKYARD_SEED={}", yard.seed);
    run(
        yard,
        tests![
            every_credential_may_do_exactly_what_the_table_says,
            components_introduce_themselves,
            a_push_is_staged_and_started,
            names_and_numbers_change,
            an_app_sleeps_and_is_woken,
            an_instance_crashes_and_is_brought_back,
            an_instance_finds_no_room,
            a_task_runs_and_another_is_cancelled,
            somebody_looks_inside_an_instance,
            an_agent_is_emptied_and_takes_work_again,
            an_app_is_replaced_step_by_step,
            an_action_runs_and_another_is_cancelled,
            a_sensor_runs_hears_of_a_trigger_and_stops,
            a_tool_asks,
            a_controller_asks_what_ours_does_not,
            a_foreign_route_registrar_registers_a_route_that_works,
            every_subject_was_seen_and_from_its_senders_alone,
            what_cannot_be_is_ignored_with_its_reason,
            garbage_on_every_subject_is_counted_and_changes_nothing,
            what_is_larger_than_the_bus_takes_ends_its_sender_alone,
        ],
        tally,
    )
    .await;
}

fn main() {
    suite("the bus, proven", async |tally| {
        let start = Instant::now();
        with_cluster(tally, async |cluster, tally| {
            match Yard::prepare(cluster).await {
                Ok(yard) => {
                    prove(&yard, tally).await;
                    yard.cluster
                }
                Err((cluster, error)) => {
                    tally.note("the_bus_traces", Err(error));
                    cluster
                }
            }
        })
        .await;
        println!("    all in {:.0} s", start.elapsed().as_secs_f64());
    });
}
