//! The configuration and the state of a cluster over HTTP, with a real cluster store behind it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod databases;
mod http;
mod world;

use ::http::{Method, Request};
use axum::body::Body;
use controller::ops::Live;
use controller::runtime::NotTold;
use daemon::BusError;
use http::{Http, User};
use http_body_util::BodyExt;
use proto::api::{ClusterStatus, ConfigEntry};
use proto::bus::dea::Drain;
use proto::ids::DeaId;
use serde_json::{Value, json};
use std::sync::Arc;
use world::{Agent, SOON, World, eventually, has_servers};

const KEY: &str = "/yard/v1/config/router/limits/max_attempts";

async fn put(user: &User<'_>, value: Value, revision: Option<i64>) -> http::Reply {
    user.send(
        Method::PUT,
        KEY,
        Some(json!({"value": value, "revision": revision})),
    )
    .await
}

/// The data of the next event of a stream; comments are passed over.
async fn next_event(body: &mut Body) -> Value {
    loop {
        let frame = tokio::time::timeout(SOON, body.frame())
            .await
            .expect("an event comes")
            .unwrap()
            .unwrap();
        let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
        if let Some(data) = text.strip_prefix("data:") {
            return serde_json::from_str(data.trim()).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_overwrites_a_setting_that_he_has_not_seen() {
    if !has_servers("nobody_overwrites_a_setting_that_he_has_not_seen") {
        return;
    }
    let world = World::start().await;
    let (_runtime, deps) = world.controller("controller-1").await;
    let http = Http::with(Live::none(), Some(deps.cluster.clone())).await;
    let admin = http.admin().await;
    let list = eventually("the cluster store answers", async || {
        let reply = admin.get("/yard/v1/config").await;
        if reply.status.is_success() {
            Ok(reply.json)
        } else {
            Err(format!("{reply:?}"))
        }
    })
    .await;
    assert_eq!(
        list["resources"].as_array().unwrap().len(),
        proto::config::KEYS.len()
    );
    let before: ConfigEntry = serde_json::from_value(admin.get(KEY).await.expect(200)).unwrap();
    assert_eq!(
        (before.value, before.is_set, before.revision),
        (json!(3), false, None)
    );

    let request = Request::get("/yard/v1/config/watch")
        .header("authorization", format!("bearer {}", admin.token));
    let response = http.open(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut changes = response.into_body();

    let first: ConfigEntry =
        serde_json::from_value(put(&admin, json!(5), None).await.expect(200)).unwrap();
    assert_eq!((&first.value, first.is_set), (&json!(5), true));
    let event = next_event(&mut changes).await;
    assert_eq!(
        (&event["path"], &event["value"]),
        (&json!("router/limits/max_attempts"), &json!(5))
    );
    put(&admin, json!("6"), first.revision).await.expect(200);
    assert_eq!(next_event(&mut changes).await["value"], 6);
    let late = put(&admin, json!(7), first.revision).await.refused(409);
    assert!(late.contains("is 6 at revision"), "{late}");
    let stale = first.revision.unwrap();
    admin
        .delete(&format!("{KEY}?revision={stale}"))
        .await
        .expect(409);
    admin.delete(KEY).await.expect(204);
    admin.delete(KEY).await.expect(204);
    assert_eq!(admin.get(KEY).await.expect(200)["is_set"], false);
    let unset = next_event(&mut changes).await;
    assert_eq!(
        (&unset["value"], &unset["is_set"]),
        (&json!(3), &json!(false))
    );

    let events = admin
        .get("/v3/audit_events?types=audit.config.update&order_by=created_at")
        .await
        .expect(200);
    let steps: Vec<(&Value, &Value)> = events["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (&event["data"]["was"], &event["data"]["is"]))
        .collect();
    assert_eq!(
        steps,
        [
            (&Value::Null, &json!(5)),
            (&json!(5), &json!(6)),
            (&json!(6), &Value::Null)
        ]
    );

    let secret = json!({"value": {"PIP_INDEX_URL": "http://user:password@host"}});
    admin
        .send(
            Method::PUT,
            "/yard/v1/config/staging/environment",
            Some(secret),
        )
        .await
        .expect(200);
    let events = admin
        .get("/v3/audit_events?types=audit.config.update&order_by=-created_at")
        .await;
    assert!(
        !String::from_utf8(events.bytes)
            .unwrap()
            .contains("user:password")
    );

    // A stream does not hold up the end of the daemon.
    http.ops.tasks.stop(SOON).await;
    let rest = tokio::time::timeout(SOON, changes.collect())
        .await
        .expect("the stream ends");
    assert!(rest.is_ok());
}

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
