//! The health manager: compares what should run with what runs, and asks for the difference.
//!
//! It starts and stops nothing itself: it asks the controller, which checks and places. The decision is
//! one pure function, [`domain::plan::plan`]; the adapters feed it and send what it says.
//! Several may run; the leader asks, the others know the same and wait.

pub mod adapters;
pub mod domain;

use adapters::manager::Manager;
use adapters::questions;
use adapters::state::Shared;
use daemon::{Deps, Policy, Running, Shutdown};
use serde::Deserialize;
use std::future::Future;
use std::sync::Arc;

/// What the node writes for this role: nothing yet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// Starts the health manager.
pub async fn start(_config: Config, deps: Deps) -> anyhow::Result<Running> {
    let readiness = deps.readiness();
    readiness.set("desired", false, "the desired state was not read yet");
    let manager = Arc::new(Manager {
        bus: deps.bus.clone(),
        cluster: deps.cluster.clone(),
        settings: deps.cluster.settings(),
        leadership: deps
            .cluster
            .campaign("health-manager", &deps.component, &deps.tasks),
        shared: Shared::new(),
        readiness,
    });
    let shown = manager.clone();
    deps.varz(move || {
        shown
            .shared
            .state()
            .varz(shown.shared.now(), &shown.policy())
    });

    run(&deps, &manager, "heartbeats", Manager::hear_heartbeats);
    run(&deps, &manager, "exits", Manager::hear_exits);
    run(&deps, &manager, "updates", Manager::hear_updates);
    run(&deps, &manager, "silence", Manager::watch_silence);
    run(&deps, &manager, "desired-state", Manager::read_desired);
    run(&deps, &manager, "planner", Manager::plan_and_ask);
    run(
        &deps,
        &manager,
        "status-questions",
        questions::answer_status,
    );
    run(
        &deps,
        &manager,
        "health-questions",
        questions::answer_health,
    );
    tracing::info!("the health manager listens");
    Ok(Running::new(deps.tasks.clone()))
}

fn run<F, Fut>(deps: &Deps, manager: &Arc<Manager>, name: &'static str, task: F)
where
    F: Fn(Arc<Manager>, Shutdown) -> Fut + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let manager = manager.clone();
    deps.tasks.spawn(name, Policy::Restart, move |shutdown| {
        task(manager.clone(), shutdown)
    });
}
