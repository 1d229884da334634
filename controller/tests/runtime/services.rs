//! Services bound to an app, as its instances and its stagings are told of them.

use crate::builds::{build, later};
use crate::runs;
use crate::world::{Agent, World, admin, eventually, has_servers, now, stager};
use controller::ops::Ops;
use controller::ops::service_bindings::NewBinding;
use controller::ops::service_instances::ServiceSettings;
use controller::store::facts::{self, Kind};
use controller::store::process_versions::ProcessVersion;
use proto::bus::dea::StartInstance;
use serde_json::{Map, Value, json};

fn with_password(password: &str) -> ServiceSettings {
    let Value::Object(credentials) = json!({"uri": format!("postgres://u:{password}@h/db")}) else {
        unreachable!("an object")
    };
    ServiceSettings {
        credentials: Some(credentials),
        ..ServiceSettings::default()
    }
}

/// A service `db` that the app is bound to; its guid.
pub async fn bound(ops: &Ops, app: &str, password: &str) -> String {
    let settings = ServiceSettings {
        name: Some("db".into()),
        ..with_password(password)
    };
    let made = ops.create_service_instance(&admin(), "s", &settings).await;
    let guid = made.unwrap().guid;
    let binding = NewBinding {
        app: app.into(),
        instance: guid.clone(),
        ..NewBinding::default()
    };
    ops.create_service_binding(&admin(), &binding)
        .await
        .unwrap();
    guid
}

/// The credentials in a start; empty if nothing is bound.
fn told(start: &StartInstance) -> Map<String, Value> {
    let first = start.services.first();
    first
        .and_then(|binding| binding["credentials"].as_object())
        .cloned()
        .unwrap_or_default()
}

async fn replaced(world: &World, agent: &Agent) -> StartInstance {
    let before = agent.starts().len();
    let mut tx = world.store.write("test").await.unwrap();
    let asked = Kind::InstanceRestartRequested;
    facts::append(&mut tx, asked, "a", json!({"index": 0}), now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    started(agent, before).await
}

async fn started(agent: &Agent, before: usize) -> StartInstance {
    eventually("another instance starts", async || {
        let starts = agent.starts();
        starts.get(before).cloned().ok_or(format!("{before}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_keeps_what_was_bound_when_it_started() {
    if !has_servers("a_version_keeps_what_was_bound_when_it_started") {
        return;
    }
    let world = World::start().await;
    let (runtime, deps) = world.controller("controller-1").await;
    let ops = world.ops(&runtime, &deps);
    let agent = Agent::start(&world, "dea-1", 4096).await;
    world.app("a", 1, 64).await;
    runtime.nudge();
    runs(&world, &runtime, "a").await;
    assert_eq!(told(&agent.starts()[0]), Map::new());

    let service = bound(&ops, "a", "first").await;
    let again = replaced(&world, &agent).await;
    assert_eq!(told(&again), Map::new(), "it is no other version");
    runs(&world, &runtime, "a").await;

    let before = agent.starts().len();
    world
        .change("a", |process| process.version = "restarted".into())
        .await;
    runtime.nudge();
    let restarted = started(&agent, before).await;
    assert_eq!(restarted.version.as_str(), "restarted");
    assert_eq!(told(&restarted)["uri"], "postgres://u:first@h/db");
    assert_eq!(restarted.services[0]["name"], "db");
    assert!(
        !restarted.env.iter().any(|line| line.contains("first")),
        "told once, where agents look for it"
    );
    runs(&world, &runtime, "a").await;
    let mut reader = world.store.read().await.unwrap();
    let kept = ProcessVersion::find(&mut reader, "restarted")
        .await
        .unwrap()
        .unwrap();
    let kept = kept.settings.services.clone().unwrap();
    assert!(!kept.contains("first"), "{kept}");
    drop(reader);

    ops.update_service_instance(&admin(), &service, &with_password("second"))
        .await
        .unwrap();
    let again = replaced(&world, &agent).await;
    assert_eq!(told(&again)["uri"], "postgres://u:first@h/db");
    runs(&world, &runtime, "a").await;

    let before = agent.starts().len();
    world
        .change("a", |process| process.version = "third".into())
        .await;
    runtime.nudge();
    let third = started(&agent, before).await;
    assert_eq!(told(&third)["uri"], "postgres://u:second@h/db");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_staging_is_told_what_is_bound() {
    if !has_servers("a_staging_is_told_what_is_bound") {
        return;
    }
    let world = World::start().await;
    let (runtime, deps) = world.controller("controller-1").await;
    let ops = world.ops(&runtime, &deps);
    let _agent = Agent::start(&world, "dea-1", 4096).await;
    let (_bus, requests) = stager(&world, |_| None).await;
    world.app("a", 0, 64).await;
    bound(&ops, "a", "first").await;
    build(&world, "b", "a", 1024, later()).await;
    runtime.nudge();
    let request = eventually("a stager is asked", async || {
        let first = requests.lock().unwrap().first().cloned();
        first.ok_or("nobody asked".to_string())
    })
    .await;
    let services = &request.properties.services;
    assert_eq!(services.len(), 1);
    assert_eq!(services[0]["credentials"]["uri"], "postgres://u:first@h/db");
}
