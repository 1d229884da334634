//! The configuration and the state of a cluster over HTTP, with a real cluster store behind it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod config;
#[path = "../databases/mod.rs"]
mod databases;
#[path = "../http/mod.rs"]
mod http;
mod nodes;
mod routers;
#[path = "../world/mod.rs"]
mod world;

use ::http::Method;
use controller::ops::Live;
use controller::runtime::NotTold;
use daemon::BusError;
use http::Http;
use proto::api::ClusterStatus;
use proto::bus::dea::Drain;
use proto::ids::DeaId;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_empties_an_agent_that_is_known_and_takes_it_back() {
    let drain = Arc::new(|dea: DeaId, on: bool| {
        let answer = match dea.as_str() {
            "dea-1" => Ok(on.then_some(Drain {
                since: 0.0,
                until: 1.0,
                left: 3,
            })),
            "dea-2" => Err(NotTold::Unreached(BusError::NoResponders("dea-2".into()))),
            _ => Err(NotTold::Unknown),
        };
        Box::pin(async move { answer }) as _
    });
    let live = Live {
        drain,
        ..Live::none()
    };
    let http = Http::with(live, None).await;
    let admin = http.admin().await;
    let at = |dea: &str| format!("/yard/v1/agents/{dea}/drain");
    let told = admin
        .send(Method::PUT, &at("dea-1"), None)
        .await
        .expect(200);
    // Its time is over long since.
    assert_eq!(
        (&told["left"], &told["ends_in_seconds"]),
        (&json!(3), &json!(0.0))
    );
    admin
        .send(Method::DELETE, &at("dea-1"), None)
        .await
        .expect(204);
    admin
        .send(Method::PUT, &at("dea-2"), None)
        .await
        .expect(503);
    admin
        .send(Method::PUT, &at("dea-3"), None)
        .await
        .expect(404);
    let events = admin
        .get("/v3/audit_events?target_guids=dea-1,dea-2,dea-3&order_by=created_at")
        .await
        .expect(200);
    let kinds: Vec<&str> = events["resources"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert_eq!(kinds, ["audit.agent.drain", "audit.agent.undrain"]);

    let space = admin.first("/v3/spaces").await;
    let dora = admin
        .with_role("dora", "space_developer", "space", &space)
        .await;
    dora.send(Method::PUT, &at("dea-1"), None).await.expect(403);
}

/// Which kind of database the API stands on here.
mod database {
    use crate::databases::Database;

    pub async fn empty() -> Database {
        Database::sqlite().await
    }
}
