//! Several controllers, the bulk API, and the bus going away.

use crate::deployments::{deploy, ended};
use crate::world::{Agent, Behaviour, World, eventually, has_servers, stager};
use crate::{builds, databases, runs, states};
use controller::domain::observed::IndexState;
use controller::runtime::Runtime;
use controller::store::Json;
use controller::store::audit_events::AuditEvent;
use controller::store::builds::Build;
use controller::store::droplets;
use controller::store::facts::{self, Kind};
use proto::bus::catalogue;
use proto::bus::health::{ExitReason, HealthOperation, HealthRequest, InstanceState};
use proto::ids::{ProcessGuid, Version};
use std::collections::BTreeSet;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_bus_stops_nothing_and_doubles_nothing() {
    if !has_servers("an_outage_of_the_bus_stops_nothing_and_doubles_nothing") {
        return;
    }
    let mut world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    let agent = Agent::start(&world, "dea-1", 4096).await;
    world.app("a", 2, 256).await;
    runtime.nudge();
    runs(&world, &runtime, "a").await;
    let before = agent.ids();
    world.bus_down();
    eventually("the bus is away", async || {
        let status = runtime.status().await;
        if status["bus"]["connected"] == false {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    world.change("a", |process| process.instances = 3).await;
    runtime.nudge();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(agent.ids(), before);
    runs_still(&world, &runtime, 2).await;
    world.bus_up();
    runs(&world, &runtime, "a").await;
    assert_eq!(agent.starts().len(), 3);
    assert!(before.iter().all(|id| agent.ids().contains(id)));
    eventually("names are told again", async || {
        if agent.updates().is_empty() {
            Err("not yet".to_string())
        } else {
            Ok(())
        }
    })
    .await;
}

/// What was seen before the outage is still shown.
async fn runs_still(world: &World, runtime: &Runtime, count: usize) {
    let process = world.process("a").await.unwrap();
    let running = states(runtime, &process)
        .into_iter()
        .filter(|state| *state == IndexState::Running)
        .count();
    assert_eq!(running, count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_the_health_manager_reaches_the_leader_through_any_controller() {
    if !has_servers("a_request_of_the_health_manager_reaches_the_leader_through_any_controller") {
        return;
    }
    let world = World::start().await;
    let (first, _first_deps) = world.controller("controller-1").await;
    let (second, _second_deps) = world.controller("controller-2").await;
    let agent = Agent::start(&world, "dea-1", 4096).await;
    let process = world.app("a", 10, 100).await;
    first.nudge();
    runs(&world, &first, "a").await;
    runs(&world, &second, "a").await;
    for id in agent.ids() {
        agent.end(&id, ExitReason::Crashed).await;
    }
    let health = world.connect("health-manager-1").await;
    // Each goes to one of the two, by chance.
    for index in 0..10 {
        let request = HealthRequest {
            droplet: ProcessGuid::new("a").unwrap(),
            op: HealthOperation::Start,
            last_updated: 0.0,
            version: Some(Version::new(&*process.version).unwrap()),
            indices: vec![index],
            instances: vec![],
            flapping: None,
            yard_reason: None,
        };
        health
            .publish(&catalogue::hm_requests(), &request)
            .await
            .unwrap();
    }
    runs(&world, &first, "a").await;
    assert_eq!(agent.starts().len(), 20);
    let mut reader = world.store.read().await.unwrap();
    let facts = facts::after(&mut reader, 0, 100).await.unwrap();
    assert!(
        facts.iter().any(|fact| fact.kind == Kind::HealthRequested),
        "all ten went to the leader"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bulk_api_gives_pages_to_who_knows_the_password() {
    use base64::Engine;
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    if !has_servers("the_bulk_api_gives_pages_to_who_knows_the_password") {
        return;
    }
    let world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    world.app("a", 1, 256).await;
    world.app("b", 0, 256).await;
    let router = controller::api::internal_bulk::router(runtime);
    let get = async |path: &str, login: &str| {
        let login = base64::engine::general_purpose::STANDARD.encode(login);
        let request = http::Request::get(path).header("authorization", format!("Basic {login}"));
        let response = router
            .clone()
            .oneshot(request.body(axum::body::Body::empty()).unwrap())
            .await
            .unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (
            status,
            serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default(),
        )
    };
    assert_eq!(get("/bulk/apps", "bulk:wrong").await.0, 401);
    let (status, first) = get(
        "/bulk/apps?batch_size=1&bulk_token=%7B%22id%22:0%7D",
        "bulk:secret",
    )
    .await;
    assert_eq!(status, 200);
    let id = first["bulk_token"]["id"].as_i64().unwrap();
    assert_eq!(first["results"][id.to_string()]["id"], "a");
    let (_, second) = get(
        &format!("/bulk/apps?batch_size=9&bulk_token=%7B%22id%22:{id}%7D"),
        "bulk:secret",
    )
    .await;
    assert_eq!(second["results"].as_object().unwrap().len(), 1);
    let last = second["bulk_token"]["id"].as_i64().unwrap();
    let (_, end) = get(
        &format!("/bulk/apps?bulk_token=%7B%22id%22:{last}%7D"),
        "bulk:secret",
    )
    .await;
    assert_eq!(end["results"], serde_json::json!({}));
    assert_eq!(
        get("/bulk/counts?model=user", "bulk:secret").await.1,
        serde_json::json!({"counts": {"user": 0}})
    );
    assert_eq!(get("/bulk/apps?bulk_token=x", "bulk:secret").await.0, 400);

    let mut tx = world.store.write("record crashes").await.unwrap();
    for (instance, second) in [("i1", 100), ("i2", 200)] {
        AuditEvent {
            guid: format!("crash-{instance}"),
            kind: "audit.app.process.crash".to_string(),
            actor_guid: "a".to_string(),
            actor_type: "process".to_string(),
            actor_name: "web".to_string(),
            target_guid: "a".to_string(),
            target_type: "app".to_string(),
            target_name: "a".to_string(),
            data: Json(serde_json::json!({
                "instance": instance, "index": 3, "version": "v1", "ran": 1.5,
                "crash_timestamp": f64::from(second) + 0.5,
            })),
            space_guid: None,
            organization_guid: None,
            created_at: i64::from(second) * 1_000_000,
        }
        .insert(&mut tx)
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
    let (status, crashes) = get("/bulk/crashes?since=101", "bulk:secret").await;
    assert_eq!(status, 200);
    assert_eq!(
        crashes["crashes"],
        serde_json::json!([
            {"droplet": "a", "version": "v1", "instance": "i2", "index": 3, "at": 200.5, "ran": 1.5}
        ])
    );
    let (_, all) = get("/bulk/crashes?since=0", "bulk:secret").await;
    assert_eq!(all["crashes"][0]["instance"], "i2", "the newest first");
    assert_eq!(all["crashes"].as_array().unwrap().len(), 2);
    assert_eq!(get("/bulk/crashes", "bulk:secret").await.0, 400);
    assert_eq!(get("/bulk/crashes?since=0", "bulk:wrong").await.0, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_controller_takes_over_and_doubles_nothing() {
    let test = "another_controller_takes_over_and_doubles_nothing";
    if !has_servers(test) {
        return;
    }
    for database in databases::each(test).await {
        let world = World::with_store(database.store.clone()).await;
        take_over(&world).await;
    }
}

async fn take_over(world: &World) {
    let (first, first_deps) = world.controller("controller-1").await;
    eventually("the first leads", async || {
        if first.leads() {
            Ok(())
        } else {
            Err("nobody leads".to_string())
        }
    })
    .await;
    let (second, _second_deps) = world.controller("controller-2").await;
    let agent = Agent::start(world, "dea-1", 4096).await;
    world.app("a", 3, 256).await;
    second.nudge();
    runs(world, &first, "a").await;
    runs(world, &second, "a").await;
    assert!(!second.leads());

    first_deps.tasks.stop(Duration::from_secs(2)).await;
    eventually("the second leads", async || {
        if second.leads() {
            Ok(())
        } else {
            Err("not yet".to_string())
        }
    })
    .await;
    world.change("a", |process| process.instances = 4).await;
    second.nudge();
    runs(world, &second, "a").await;
    let starts = agent.starts();
    let indices: BTreeSet<u32> = starts.iter().map(|start| start.index).collect();
    assert_eq!(
        (starts.len(), indices.len()),
        (4, 4),
        "each index was started once"
    );
    let epochs: Vec<i64> = starts.iter().filter_map(|start| start.yard_epoch).collect();
    assert!(epochs[3] > epochs[0], "{epochs:?}");
    assert!(
        agent
            .copies()
            .iter()
            .all(|copy| copy.state == InstanceState::Running)
    );
}

/// Two controllers of one PostgreSQL: the leader is killed while it replaces the instances of one
/// app and another app is staged. Nothing it had begun is lost, and nothing is done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_goes_on_when_the_leader_is_killed() {
    let test = "a_push_goes_on_when_the_leader_is_killed";
    if !has_servers(test) {
        return;
    }
    let Some(database) = databases::Database::postgres().await else {
        // Not by the macro, whose output the test harness hides.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED {test}: initdb is not installed\n"),
        );
        return;
    };
    let world = World::with_store(database.store.clone()).await;
    let first = world.controller_apart("controller-1", &database.url);
    eventually("the first leads", async || {
        if first.runtime.leads() {
            Ok(())
        } else {
            Err("nobody leads".to_string())
        }
    })
    .await;
    let (second, _second_deps) = world.controller("controller-2").await;
    let agent = Agent::start(&world, "dea-1", 8192).await;
    let (stager, requests) = stager(&world, |_| None).await;
    world.app("a", 3, 256).await;
    world.app("b", 1, 256).await;
    second.nudge();
    runs(&world, &second, "a").await;
    runs(&world, &second, "b").await;
    agent.fewest();
    builds::build(&world, "staged", "b", 1024, builds::later()).await;
    second.nudge();
    eventually("the stager has the build", async || {
        match requests.lock().unwrap().is_empty() {
            true => Err("nobody asked it".to_string()),
            false => Ok(()),
        }
    })
    .await;
    // So that the leader is killed before the first new instance runs, whatever else the machine does.
    agent.behave(|_| Behaviour::Linger(Duration::from_millis(700)));
    let (new, _) = deploy(&world, 3).await;
    second.nudge();
    eventually("the deployment has begun", async || {
        let new = world.process(&new.guid).await.ok_or("gone")?;
        match new.instances {
            0 => Err("no new instance".to_string()),
            _ => Ok(()),
        }
    })
    .await;
    first.kill();
    assert!(world.process(&new.guid).await.unwrap().instances < 3);

    // Any controller commits the end of a staging, and may be told again.
    let completed = builds::staged(&world, "staged", "b").await;
    builds::tell(&stager, &completed).await;
    builds::tell(&stager, &completed).await;
    let deployment = ended(&world, &second).await;
    assert_eq!(
        (deployment.reason.as_str(), second.leads()),
        ("DEPLOYED", true)
    );
    eventually("only the new run", async || {
        let copies = agent.copies();
        let of = |process: &str| {
            copies
                .iter()
                .filter(|copy| copy.process.as_str() == process)
                .count()
        };
        match (of("a"), of(&new.guid), of("b")) {
            (0, 3, 1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(agent.fewest() >= 4, "fewer ran in between");
    let begun: Vec<u32> = agent
        .starts()
        .iter()
        .filter(|start| start.droplet.as_str() == new.guid)
        .map(|start| start.index)
        .collect();
    assert_eq!(begun, [0, 1, 2], "each index was started once");

    let mut reader = world.store.read().await.unwrap();
    let build = Build::find(&mut reader, "staged").await.unwrap().unwrap();
    assert_eq!(build.state, "STAGED");
    let droplets = droplets::of_app(&mut reader, "b").await.unwrap();
    let staged = droplets
        .iter()
        .filter(|droplet| droplet.build_guid.as_deref() == Some("staged"));
    assert_eq!(staged.count(), 1);
    let agents: BTreeSet<String> = requests
        .lock()
        .unwrap()
        .iter()
        .map(|request| request.yard_dea.to_string())
        .collect();
    assert_eq!(
        agents.len(),
        1,
        "whoever asks again asks for the same agent"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_goes_on_under_the_next_leader() {
    let test = "a_deployment_goes_on_under_the_next_leader";
    if !has_servers(test) {
        return;
    }
    for database in databases::each(test).await {
        let world = World::with_store(database.store.clone()).await;
        deployment_goes_on(&world).await;
    }
}

async fn deployment_goes_on(world: &World) {
    let (first, first_deps) = world.controller("controller-1").await;
    eventually("the first leads", async || {
        if first.leads() { Ok(()) } else { Err("no") }.map_err(str::to_string)
    })
    .await;
    let (second, _second_deps) = world.controller("controller-2").await;
    let agent = Agent::start(world, "dea-1", 4096).await;
    world.app("a", 3, 256).await;
    first.nudge();
    runs(world, &first, "a").await;
    agent.fewest();
    deploy(world, 3).await;
    first.nudge();
    eventually("the first step is taken", async || {
        let new = world.process("a-new").await.ok_or("gone")?;
        if new.instances > 0 {
            Ok(())
        } else {
            Err("not yet".to_string())
        }
    })
    .await;
    first_deps.tasks.stop(Duration::from_secs(2)).await;
    let deployment = ended(world, &second).await;
    assert_eq!(deployment.reason, "DEPLOYED");
    eventually("only the new run", async || {
        let copies = agent.copies();
        let done = copies.len() == 3 && copies.iter().all(|copy| copy.process.as_str() == "a-new");
        if done {
            Ok(())
        } else {
            Err(format!("{copies:?}"))
        }
    })
    .await;
    assert!(agent.fewest() >= 3, "fewer ran in between");
}
