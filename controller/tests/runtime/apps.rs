//! Instances of apps: started, scaled, replaced, stopped, waiting, crashed.

use crate::databases::Database;
use crate::world::{Agent, World, admin, eventually, has_servers, now};
use crate::{runs, states};
use controller::domain::observed::IndexState;
use controller::domain::why::{CauseKind, Outcome, OutcomeKind};
use controller::ops::Ops;
use controller::store::apps::App;
use controller::store::audit_events::AuditEvent;
use controller::store::facts::{self, Kind};
use controller::store::platform_events;
use controller::store::query::Filter;
use proto::bus::catalogue;
use proto::bus::health::{BulkCredentials, ExitReason, HealthOperation, HealthRequest};
use proto::bus::{Empty, dea::StartInstance};
use proto::ids::{ProcessGuid, Version};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_starts_scales_restarts_and_stops() {
    if !has_servers("an_app_starts_scales_restarts_and_stops") {
        return;
    }
    let world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    let agent = Agent::start(&world, "dea-1", 4096).await;
    world.app("a", 2, 256).await;
    runtime.nudge();
    runs(&world, &runtime, "a").await;
    let starts = agent.starts();
    assert_eq!(starts.len(), 2);
    let start: &StartInstance = &starts[0];
    assert_eq!(
        (
            start.name.as_str(),
            start.start_command.as_str(),
            start.limits.mem
        ),
        ("a", "run", 256)
    );
    assert!(start.env.iter().any(|line| line == "GREETING=hello"));
    assert!(
        start
            .env
            .iter()
            .any(|line| line.starts_with("VCAP_APPLICATION={"))
    );
    assert!(
        start
            .executable_uri
            .contains("/internal/blobs/droplets/2222")
    );
    assert!(start.yard_epoch.is_some());

    world.change("a", |process| process.instances = 3).await;
    runtime.nudge();
    runs(&world, &runtime, "a").await;
    assert_eq!(agent.running(), 3);

    world.change("a", |process| process.instances = 1).await;
    runtime.nudge();
    eventually("scaled in", async || {
        if agent.running() == 1 {
            Ok(())
        } else {
            Err(format!("{:?}", agent.copies()))
        }
    })
    .await;
    assert_eq!(agent.copies()[0].index, 0);

    world
        .change("a", |process| process.version = "restarted".into())
        .await;
    runtime.nudge();
    eventually("restarted", async || {
        let copies = agent.copies();
        let done =
            copies.len() == 1 && copies[0].version.as_str() == "restarted" && agent.running() == 1;
        if done {
            Ok(())
        } else {
            Err(format!("{copies:?}"))
        }
    })
    .await;

    let before = agent.ids();
    let mut tx = world.store.write("test").await.unwrap();
    facts::append(
        &mut tx,
        Kind::InstanceRestartRequested,
        "a",
        serde_json::json!({"index": 0}),
        now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    runtime.nudge();
    eventually("the instance is replaced", async || {
        if agent.running() == 1 && agent.ids() != before {
            Ok(())
        } else {
            Err(format!("{:?}", agent.ids()))
        }
    })
    .await;

    let mut tx = world.store.write("test").await.unwrap();
    let mut app = App::find(&mut tx, "a").await.unwrap().unwrap();
    app.state = "STOPPED".into();
    app.update(&mut tx, now()).await.unwrap();
    facts::append(
        &mut tx,
        Kind::ProcessChanged,
        "a",
        serde_json::json!({}),
        now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    runtime.nudge();
    eventually("stopped", async || {
        if agent.copies().is_empty() {
            Ok(())
        } else {
            Err(format!("{:?}", agent.copies()))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_waits_with_the_reason_and_is_placed_when_it_fits() {
    if !has_servers("what_does_not_fit_waits_with_the_reason_and_is_placed_when_it_fits") {
        return;
    }
    let world = World::start().await;
    let (runtime, deps) = world.controller("controller-1").await;
    let _small = Agent::start(&world, "dea-1", 1000).await;
    let process = world.app("a", 1, 2000).await;
    runtime.nudge();
    let guid = ProcessGuid::new("a").unwrap();
    let reason = eventually("it waits", async || {
        runtime.waiting(&guid).ok_or("it does not wait".to_string())
    })
    .await;
    assert_eq!(
        reason,
        "needs 2000 MB memory, more than any agent could ever give; the best agent, dea-1, has 1000 MB free of 1000 MB"
    );
    let version = Version::new(&*process.version).unwrap();
    assert_eq!(
        runtime.stats(&guid, &version, 1)[0].details.as_deref(),
        Some(reason.as_str())
    );
    let ops = world.ops(&runtime, &deps);
    let waits = told(&ops, "a", OutcomeKind::NotPlaced).await;
    assert_eq!(waits.placement.as_deref(), Some(reason.as_str()));
    let large = Agent::start(&world, "dea-2", 4000).await;
    runs(&world, &runtime, "a").await;
    assert_eq!(large.running(), 1);
    assert_eq!(runtime.waiting(&guid), None);
    let started = told(&ops, "a", OutcomeKind::Started).await;
    assert_eq!(started.agent.as_deref(), Some("dea-2"));
    assert_eq!(started.causes[0].kind, CauseKind::Waited, "{started:?}");
    let placed = started.placement.unwrap_or_default();
    assert!(placed.starts_with("1 of 2 agents have room"), "{placed}");
}

/// The newest outcome about an app, once it is of this kind.
async fn told(ops: &Ops, app: &str, kind: OutcomeKind) -> Outcome {
    eventually("the outcome is told", async || {
        let told = ops.why(&admin(), app, 10).await;
        let (_, outcomes) = told.map_err(|refusal| refusal.to_string())?;
        let newest = outcomes.first().filter(|newest| newest.kind == kind);
        newest.cloned().ok_or_else(|| format!("{outcomes:?}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_is_recorded_once_and_restarted_when_the_health_manager_asks() {
    if !has_servers("a_crash_is_recorded_once_and_restarted_when_the_health_manager_asks") {
        return;
    }
    let world = World::start().await;
    let (runtime, deps) = world.controller("controller-1").await;
    let agent = Agent::start(&world, "dea-1", 4096).await;
    let process = world.app("a", 1, 256).await;
    runtime.nudge();
    runs(&world, &runtime, "a").await;
    let id = agent.ids()[0].clone();
    agent.end(&id, ExitReason::Crashed).await;
    eventually("it shows as crashed", async || {
        let states = states(&runtime, &process);
        // Later complete heartbeats do not name it any more.
        if states[0] == IndexState::Running {
            Err("runs".to_string())
        } else {
            Ok(())
        }
    })
    .await;
    let health = world.connect("health-manager-1").await;
    let credentials: BulkCredentials = health
        .request(
            &catalogue::bulk_credentials(),
            &Empty,
            Duration::from_secs(2),
        )
        .await
        .unwrap();
    assert_eq!(credentials.user, "bulk");
    let request = HealthRequest {
        droplet: ProcessGuid::new("a").unwrap(),
        op: HealthOperation::Start,
        last_updated: 0.0,
        version: Some(Version::new(&*process.version).unwrap()),
        indices: vec![0, 7],
        instances: vec![],
        flapping: None,
        yard_reason: Some("it crashed".into()),
    };
    health
        .publish(&catalogue::hm_requests(), &request)
        .await
        .unwrap();
    health
        .publish(&catalogue::hm_requests(), &request)
        .await
        .unwrap();
    runs(&world, &runtime, "a").await;
    assert_eq!(agent.starts().len(), 2, "one start although asked twice");
    let restarted = told(&world.ops(&runtime, &deps), "a", OutcomeKind::Restarted).await;
    assert_eq!(restarted.causes[0].kind, CauseKind::Crash);
    let crash = &restarted.causes[0].text;
    assert!(crash.contains("on dea-1: exited with status 3"), "{crash}");
    let mut reader = world.store.read().await.unwrap();
    let filter = Filter::new()
        .equals("target_guid", "a")
        .order("created_at", false);
    let events = AuditEvent::fetch(&mut reader, filter, "test")
        .await
        .unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, "audit.app.process.crash");
    assert_eq!(events[0].data["exit_description"], "exited with status 3");
    let ran = events[0].data["ran"].as_f64();
    assert!(ran.is_some_and(|ran| ran < 60.0), "{ran:?}");
    let told: Vec<(String, serde_json::Value)> = facts::after(&mut reader, 0, 1000)
        .await
        .unwrap()
        .iter()
        .filter(|fact| fact.kind == Kind::PlatformEvent)
        .filter_map(|fact| platform_events::read(&fact.payload))
        .collect();
    let crashes: Vec<_> = told
        .iter()
        .filter(|(trigger, _)| trigger == "yard.app.crashed")
        .collect();
    assert_eq!(crashes.len(), 1, "{told:?}");
    assert_eq!(crashes[0].1["app"]["name"], "a");
    assert_eq!(crashes[0].1["crash_count"], 1);
    assert_eq!(crashes[0].1["exit_status"], 3);
    assert_eq!(crashes[0].1["node"], "dea-1");
    for kind in automation::triggers::builtin() {
        for (_, payload) in told
            .iter()
            .filter(|(trigger, _)| *trigger == kind.reference())
        {
            assert_eq!(kind.check_payload(payload), Ok(()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_once_whoever_leads() {
    if !has_servers("a_node_joins_once_whoever_leads") {
        return;
    }
    let database = Database::sqlite().await;
    let world = World::with_store(database.store.clone()).await;
    let first = world.controller_apart("controller-1", &database.url);
    let _agent = Agent::start(&world, "dea-1", 4096).await;
    let joined = async || {
        let mut reader = world.store.read().await.unwrap();
        facts::after(&mut reader, 0, 1000)
            .await
            .unwrap()
            .iter()
            .filter_map(|fact| platform_events::read(&fact.payload))
            .filter(|(trigger, _)| trigger == "yard.node.joined")
            .map(|(_, payload)| payload)
            .collect::<Vec<_>>()
    };
    let told = eventually("the node is told of", async || {
        let told = joined().await;
        if told.is_empty() {
            Err("not yet")
        } else {
            Ok(told)
        }
        .map_err(str::to_string)
    })
    .await;
    assert_eq!(told[0]["node"], "dea-1");
    assert_eq!(told[0]["returned"], false);
    first.kill();
    let (second, _second_deps) = world.controller("controller-2").await;
    runs_nothing_new(&second).await;
    assert_eq!(joined().await.len(), 1);
}

/// Long enough for a leader to look at its nodes.
async fn runs_nothing_new(runtime: &controller::runtime::Runtime) {
    eventually("it leads", async || {
        if runtime.epoch().borrow().is_some() {
            Ok(())
        } else {
            Err("not yet".to_string())
        }
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_overtakes_the_exit_is_not_lost() {
    if !has_servers("a_request_that_overtakes_the_exit_is_not_lost") {
        return;
    }
    let world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    let agent = Agent::start(&world, "dea-1", 4096).await;
    let process = world.app("a", 1, 256).await;
    runtime.nudge();
    runs(&world, &runtime, "a").await;
    let health = world.connect("health-manager-1").await;
    let request = HealthRequest {
        droplet: ProcessGuid::new("a").unwrap(),
        op: HealthOperation::Start,
        last_updated: 0.0,
        version: Some(Version::new(&*process.version).unwrap()),
        indices: vec![0],
        instances: vec![],
        flapping: None,
        yard_reason: Some("it crashed".into()),
    };
    health
        .publish(&catalogue::hm_requests(), &request)
        .await
        .unwrap();
    health.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(agent.starts().len(), 1, "as far as is known it runs");
    let id = agent.ids()[0].clone();
    agent.end(&id, ExitReason::Crashed).await;
    runs(&world, &runtime, "a").await;
    eventually("it was started again", async || {
        let count = agent.starts().len();
        if count == 2 {
            Ok(())
        } else {
            Err(format!("{count} starts"))
        }
    })
    .await;
}
