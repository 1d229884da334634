//! The stager: packages become droplets.
//!
//! ```text
//! controller ──vcap.stager.{queue}──► stager ──yard.dea.{id}.task.run──► dea ──► sandbox: builder
//!      ▲                                                                  │
//!      └───────yard.staging.completed────── any stager ◄──yard.task.staging.exited──┘
//! ```
//!
//! It takes a request from the bus, composes a task for the agent that the controller chose, and
//! turns the end of that task into an answer for the controller. It runs no container and remembers
//! nothing: what it needs later travels with the task, so another stager may finish what this one
//! began. The agent repeats the end of a task until it is acknowledged, and the stager acknowledges
//! only after the controller has: no link of the chain can lose a result.
//!
//! The building itself is done by [`builder`], inside the task's sandbox.

pub mod builder;
pub mod domain;

mod adapters;

use adapters::{Stager, ends, requests};
use daemon::{Deps, LogSender, Policy, Running};
use proto::ids::StagerQueue;
use serde::Deserialize;
use std::sync::Arc;

/// The role's settings in the bootstrap file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The queue whose requests are taken.
    pub queue: StagerQueue,
}

/// Starts the daemon.
pub async fn start(config: Config, deps: Deps) -> anyhow::Result<Running> {
    let readiness = deps.readiness();
    readiness.set("requests", false, "not yet subscribed to staging requests");
    readiness.set(
        "ends",
        false,
        "not yet subscribed to the ends of staging tasks",
    );
    let stager = Arc::new(Stager {
        bus: deps.bus.clone(),
        cluster: deps.cluster.clone(),
        tasks: deps.tasks.clone(),
        logs: LogSender::start(&deps),
        component: deps.component.clone(),
        readiness,
        counters: Arc::default(),
    });
    let counters = stager.counters.clone();
    deps.varz(move || counters.document());
    let (serving, queue) = (stager.clone(), config.queue);
    deps.tasks
        .spawn("staging-requests", Policy::Restart, move |shutdown| {
            requests::serve(serving.clone(), queue.clone(), shutdown)
        });
    deps.tasks
        .spawn("staging-ends", Policy::Restart, move |shutdown| {
            ends::serve(stager.clone(), shutdown)
        });
    Ok(Running::new(deps.tasks))
}
