//! The configuration and the state of a cluster over HTTP, with a real cluster store behind it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod config;
#[path = "../databases/mod.rs"]
mod databases;
#[path = "../http/mod.rs"]
mod http;
#[path = "../world/mod.rs"]
mod world;

use controller::ops::Live;
use http::Http;
use proto::api::ClusterStatus;
use serde_json::json;
use std::sync::Arc;
use world::{Agent, World, eventually, has_servers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_of_the_cluster_is_told_in_the_words_of_the_command_line() {
    if !has_servers("the_state_of_the_cluster_is_told_in_the_words_of_the_command_line") {
        return;
    }
    let world = World::start().await;
    let (runtime, deps) = world.controller("controller-1").await;
    let _agent = Agent::start(&world, "dea-1", 1000).await;
    world.app("large", 2, 5000).await;
    let asked = runtime.clone();
    let status = Arc::new(move || {
        let runtime = asked.clone();
        Box::pin(async move { runtime.status().await }) as _
    });
    let http = Http::with(
        Live {
            status,
            ..Live::none()
        },
        Some(deps.cluster.clone()),
    )
    .await;
    runtime.nudge();
    let admin = http.admin().await;
    let status = eventually("the agent is seen and the app waits", async || {
        let document = admin.get("/yard/v1/status").await.expect(200);
        let status: ClusterStatus = serde_json::from_value(document.clone())
            .map_err(|error| format!("{error}: {document}"))?;
        let there = status
            .components
            .iter()
            .any(|one| one.name == "controller-1" && one.role == "controller");
        let led = there
            && status
                .leader
                .as_ref()
                .is_some_and(|leader| leader.is_me && leader.epoch > 0);
        // That it waits shows at once, and since when.
        let waits = status.waiting.first().is_some_and(|one| one.since > 0.0);
        if led && status.agents.len() == 1 && waits {
            Ok(status)
        } else {
            Err(document.to_string())
        }
    })
    .await;
    let agent = &status.agents[0];
    assert_eq!(
        (
            agent.id.as_str(),
            agent.state.as_str(),
            agent.total_memory_in_mb
        ),
        ("dea-1", "ready", Some(1000))
    );
    let waiting = &status.waiting[0];
    assert_eq!(
        (waiting.kind.as_str(), waiting.guid.as_str()),
        ("instance", "large")
    );
    assert!(waiting.because.starts_with("#0"), "{}", waiting.because);

    let space = admin.first("/v3/spaces").await;
    let dora = admin
        .with_role("dora", "space_developer", "space", &space)
        .await;
    let seen = dora.get("/yard/v1/status").await.expect(200);
    assert_eq!(
        (&seen["waiting"], seen["agents"].as_array().unwrap().len()),
        (&json!([]), 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ran_which_administrative_command_is_told_to_administrators() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let space = admin.first("/v3/spaces").await;
    let dora = admin
        .with_role("dora", "space_developer", "space", &space)
        .await;
    admin
        .make("/v3/organizations", json!({"name": "acme"}))
        .await;
    let told = async |query: &str| -> Vec<(String, String)> {
        let page = admin
            .get(&format!("/yard/v1/history{query}"))
            .await
            .expect(200);
        let commands: Vec<proto::api::AdminCommand> =
            serde_json::from_value(page["resources"].clone()).unwrap();
        commands
            .into_iter()
            .map(|one| (one.user, one.command))
            .collect()
    };
    let all = told("?users=admin").await;
    assert_eq!(all[0], ("admin".into(), "organization create acme".into()));
    let given = ("admin".into(), "role give space_developer to dora".into());
    assert!(all.contains(&given), "{all:?}");
    assert_eq!(told("?commands=role").await[0], given);
    assert!(told("?commands=config").await.is_empty());
    assert!(told("?users=dora").await.is_empty());
    assert!(told("?until=2020-01-01T00:00:00Z").await.is_empty());
    assert_eq!(told("?users=admin&since=2020-01-01T00:00:00Z").await, all);
    for wrong in ["?commands=app", "?since=yesterday", "?colour=red"] {
        admin
            .get(&format!("/yard/v1/history{wrong}"))
            .await
            .expect(400);
    }
    dora.get("/yard/v1/history").await.expect(403);
}

/// Which kind of database the API stands on here.
mod database {
    use crate::databases::Database;

    pub async fn empty() -> Database {
        Database::sqlite().await
    }
}
