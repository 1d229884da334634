//! The runtime between real servers and played agents.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod apps;
mod builds;
mod controllers;
#[path = "../databases/mod.rs"]
mod databases;
mod deployments;
mod services;
mod tasks;
mod traffic;
#[path = "../world/mod.rs"]
mod world;

use controller::domain::observed::IndexState;
use controller::runtime::Runtime;
use controller::store::processes::Process;
use proto::ids::{ProcessGuid, Version};
use world::{World, eventually};

pub fn states(runtime: &Runtime, process: &Process) -> Vec<IndexState> {
    let (guid, version) = (
        ProcessGuid::new(&*process.guid).unwrap(),
        Version::new(&*process.version).unwrap(),
    );
    runtime
        .stats(&guid, &version, u32::try_from(process.instances).unwrap())
        .iter()
        .map(|one| one.state)
        .collect()
}

pub async fn runs(world: &World, runtime: &Runtime, guid: &str) {
    eventually("all instances run", async || {
        let process = world.process(guid).await.ok_or("no process")?;
        let states = states(runtime, &process);
        let all = states.iter().all(|state| *state == IndexState::Running);
        if all && !states.is_empty() {
            Ok(())
        } else {
            Err(format!("{states:?}, {}", runtime.status().await))
        }
    })
    .await;
}

/// The oldest first.
pub async fn revisions_of(
    ops: &controller::ops::Ops,
    actor: &controller::domain::access::Actor,
    app: &str,
) -> Vec<controller::store::revisions::Revision> {
    let query = controller::ops::list::ListQuery {
        order_by: Some("version".to_string()),
        ..controller::ops::list::ListQuery::all()
    };
    let listed = ops.list_revisions(actor, app, &query).await.unwrap();
    listed.rows.into_iter().map(|seen| seen.revision).collect()
}
