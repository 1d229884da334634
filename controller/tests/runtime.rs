//! The runtime between real servers and played agents.

#![allow(clippy::unwrap_used, reason = "a test")]

mod databases;
mod world;

use controller::domain::observed::IndexState;
use controller::runtime::Runtime;
use controller::store::audit_events::AuditEvent;
use controller::store::builds::Build;
use controller::store::deployments::{self, Deployment};
use controller::store::facts::{self, Kind};
use controller::store::packages::Package;
use controller::store::processes::{self, Process};
use controller::store::query::Filter;
use controller::store::{Json, apps::App, droplets::Droplet};
use proto::bus::catalogue;
use proto::bus::health::{
    BulkCredentials, ExitReason, HealthOperation, HealthRequest, InstanceState,
};
use proto::bus::staging::{
    Acknowledged, StagedDroplet, StagingCompleted, StagingError, StagingOutcome,
};
use proto::bus::{Empty, dea::StartInstance};
use proto::ids::{AppGuid, ProcessGuid, TaskId, Version};
use std::collections::BTreeSet;
use std::time::Duration;
use world::{Agent, Behaviour, World, eventually, has_servers, now, stager};

fn states(runtime: &Runtime, process: &Process) -> Vec<IndexState> {
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

async fn runs(world: &World, runtime: &Runtime, guid: &str) {
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
    let (runtime, _deps) = world.controller("controller-1").await;
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
    let large = Agent::start(&world, "dea-2", 4000).await;
    runs(&world, &runtime, "a").await;
    assert_eq!(large.running(), 1);
    assert_eq!(runtime.waiting(&guid), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_is_recorded_once_and_restarted_when_the_health_manager_asks() {
    if !has_servers("a_crash_is_recorded_once_and_restarted_when_the_health_manager_asks") {
        return;
    }
    let world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
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
}

/// A second web process of `a` and the deployment that replaces the first by it.
async fn deploy(world: &World, wanted: i64) -> (Process, Deployment) {
    let old = world.process("a").await.unwrap();
    let time = now();
    let mut tx = world.store.write("test").await.unwrap();
    world::droplet("a", "second").insert(&mut tx).await.unwrap();
    let new = Process {
        id: processes::next_id(&mut tx).await.unwrap(),
        guid: "a-new".into(),
        instances: 0,
        version: "v2".into(),
        droplet_guid: Some("second".into()),
        deployment_guid: Some("d".into()),
        row_version: 1,
        ..old.clone()
    };
    new.insert(&mut tx).await.unwrap();
    let deployment = Deployment {
        guid: "d".into(),
        app_guid: "a".into(),
        strategy: "rolling".into(),
        status: deployments::ACTIVE.into(),
        reason: deployments::DEPLOYING.into(),
        error: None,
        droplet_guid: "second".into(),
        previous_droplet_guid: Some("a-droplet".into()),
        old_process_guid: Some(old.guid),
        new_process_guid: "a-new".into(),
        wanted_instances: wanted,
        max_in_flight: 1,
        step_since: time,
        created_at: time,
        updated_at: time,
        row_version: 1,
    };
    deployment.insert(&mut tx).await.unwrap();
    facts::append(
        &mut tx,
        Kind::DeploymentChanged,
        "d",
        serde_json::json!({}),
        time,
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    (new, deployment)
}

async fn ended(world: &World, runtime: &Runtime) -> Deployment {
    eventually("the deployment ends", async || {
        let mut reader = world.store.read().await.unwrap();
        let deployment = Deployment::find(&mut reader, "d").await.unwrap().unwrap();
        if deployment.is_active() {
            Err(format!("{deployment:?} {}", runtime.status().await))
        } else {
            Ok(deployment)
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_replaces_every_instance_and_never_runs_fewer() {
    if !has_servers("a_deployment_replaces_every_instance_and_never_runs_fewer") {
        return;
    }
    let world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    let agent = Agent::start(&world, "dea-1", 4096).await;
    world.app("a", 2, 256).await;
    runtime.nudge();
    runs(&world, &runtime, "a").await;
    agent.fewest();
    deploy(&world, 2).await;
    runtime.nudge();
    let deployment = ended(&world, &runtime).await;
    assert_eq!(
        (deployment.reason.as_str(), deployment.error),
        (deployments::DEPLOYED, None)
    );
    eventually("only the new run", async || {
        let copies = agent.copies();
        if copies.len() == 2 && copies.iter().all(|copy| copy.process.as_str() == "a-new") {
            Ok(())
        } else {
            Err(format!("{copies:?}"))
        }
    })
    .await;
    assert!(agent.fewest() >= 2, "fewer ran in between");
    assert!(world.process("a").await.is_none());
    let new = world.process("a-new").await.unwrap();
    assert_eq!((new.instances, new.deployment_guid), (2, None));
    let mut reader = world.store.read().await.unwrap();
    assert_eq!(
        App::find(&mut reader, "a")
            .await
            .unwrap()
            .unwrap()
            .current_droplet_guid
            .as_deref(),
        Some("second")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_crashes_is_taken_back_with_the_reason() {
    if !has_servers("a_deployment_that_crashes_is_taken_back_with_the_reason") {
        return;
    }
    let world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    let agent = Agent::start(&world, "dea-1", 4096).await;
    agent.behave(|start| {
        if start.version.as_str() == "v2" {
            Behaviour::Crash
        } else {
            Behaviour::Run
        }
    });
    world.app("a", 2, 256).await;
    runtime.nudge();
    runs(&world, &runtime, "a").await;
    agent.fewest();
    deploy(&world, 2).await;
    runtime.nudge();
    // The health manager's part: start again what crashed.
    let health = world.connect("health-manager-1").await;
    for wanted in 2..=3 {
        eventually("it crashed", async || {
            let crashed = agent
                .starts()
                .iter()
                .filter(|start| start.version.as_str() == "v2")
                .count()
                >= wanted - 1;
            if crashed && agent.copies().len() == 2 {
                Ok(())
            } else {
                Err(format!("{:?}", agent.copies()))
            }
        })
        .await;
        let request = HealthRequest {
            droplet: ProcessGuid::new("a-new").unwrap(),
            op: HealthOperation::Start,
            last_updated: 0.0,
            version: Some(Version::new("v2").unwrap()),
            indices: vec![0],
            instances: vec![],
            flapping: None,
            yard_reason: None,
        };
        health
            .publish(&catalogue::hm_requests(), &request)
            .await
            .unwrap();
    }
    let deployment = ended(&world, &runtime).await;
    assert_eq!(deployment.reason, deployments::CANCELED);
    assert_eq!(
        deployment.error.as_deref(),
        Some("the new version crashed 3 times; instance 0: exited with status 3")
    );
    assert!(world.process("a-new").await.is_none());
    assert_eq!(agent.running(), 2);
    assert!(agent.fewest() >= 2, "fewer ran in between");
    let mut reader = world.store.read().await.unwrap();
    assert_eq!(
        App::find(&mut reader, "a")
            .await
            .unwrap()
            .unwrap()
            .current_droplet_guid
            .as_deref(),
        Some("a-droplet")
    );
}

async fn build(world: &World, guid: &str, memory_mb: i64, deadline: i64) {
    let time = now();
    let mut tx = world.store.write("test").await.unwrap();
    let package = Package {
        guid: format!("{guid}-package"),
        app_guid: "a".into(),
        kind: "bits".into(),
        state: "READY".into(),
        error: None,
        sha1: Some("3".repeat(40)),
        sha256: Some("4".repeat(64)),
        size_bytes: Some(1),
        created_at: time,
        updated_at: time,
        row_version: 1,
    };
    package.insert(&mut tx).await.unwrap();
    let build = Build {
        guid: guid.into(),
        app_guid: "a".into(),
        package_guid: package.guid,
        droplet_guid: None,
        state: "STAGING".into(),
        error_type: None,
        error: None,
        buildpacks: Json(vec!["python".into()]),
        stack: "host".into(),
        dea: None,
        memory_mb,
        disk_mb: 1024,
        deadline,
        created_by_guid: "u".into(),
        created_by_name: "admin".into(),
        created_at: time,
        updated_at: time,
        row_version: 1,
    };
    build.insert(&mut tx).await.unwrap();
    facts::append(
        &mut tx,
        Kind::BuildRequested,
        guid,
        serde_json::json!({}),
        time,
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

async fn build_ends(world: &World, runtime: &Runtime, guid: &str) -> Build {
    eventually("the build ends", async || {
        let mut reader = world.store.read().await.unwrap();
        let build = Build::find(&mut reader, guid).await.unwrap().unwrap();
        if build.is_staging() {
            Err(runtime.status().await.to_string())
        } else {
            Ok(build)
        }
    })
    .await
}

fn later() -> i64 {
    now() + 60_000_000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_is_placed_staged_and_committed_once() {
    if !has_servers("a_build_is_placed_staged_and_committed_once") {
        return;
    }
    let world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    let _agent = Agent::start(&world, "dea-1", 4096).await;
    let (bus, requests) = stager(&world, |_| None).await;
    world.app("a", 0, 256).await;
    build(&world, "b", 1024, later()).await;
    runtime.nudge();
    let request = eventually("a stager is asked", async || {
        requests
            .lock()
            .unwrap()
            .first()
            .cloned()
            .ok_or("nobody asked".to_string())
    })
    .await;
    assert_eq!(
        (request.yard_dea.as_str(), request.memory_limit),
        ("dea-1", 1024)
    );
    assert_eq!(request.properties.buildpacks, ["python"]);
    assert!(
        request
            .properties
            .environment
            .iter()
            .any(|line| line == "GREETING=hello")
    );
    assert!(
        request
            .download_uri
            .contains("/internal/blobs/packages/4444")
    );

    let content = b"a droplet";
    let stream =
        futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from_static(content))]);
    let digests = world
        .blobs
        .put("uploads/b/droplet.tgz", stream, 100)
        .await
        .unwrap();
    let completed = StagingCompleted {
        task_id: TaskId::new("b").unwrap(),
        app_id: AppGuid::new("a").unwrap(),
        outcome: StagingOutcome::Staged(StagedDroplet {
            detected_buildpack: "python".into(),
            buildpacks: vec![],
            process_types: [("web".to_string(), "serve".to_string())].into(),
            sha1: digests.sha1.clone(),
            sha256: digests.sha256.clone(),
            size_bytes: digests.size_bytes,
        }),
    };
    for _ in 0..2 {
        let told: Acknowledged = bus
            .request(
                &catalogue::staging_completed(),
                &completed,
                Duration::from_secs(5),
            )
            .await
            .unwrap();
        assert!(told.ok);
    }
    let build = build_ends(&world, &runtime, "b").await;
    assert_eq!(build.state, "STAGED");
    let mut reader = world.store.read().await.unwrap();
    let droplet = Droplet::find(&mut reader, &build.droplet_guid.unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(droplet.sha256, digests.sha256);
    assert_eq!(
        world
            .blobs
            .size(&format!("droplets/{}", droplet.sha256))
            .await
            .unwrap(),
        Some(9)
    );
    assert_eq!(
        world.blobs.size("uploads/b/droplet.tgz").await.unwrap(),
        None
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_cannot_be_staged_fails_with_the_reason() {
    if !has_servers("a_build_that_cannot_be_staged_fails_with_the_reason") {
        return;
    }
    let mut world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    let _agent = Agent::start(&world, "dea-1", 4096).await;
    let (bus, requests) = stager(&world, |request| {
        (request.task_id.as_str() == "refused").then(|| StagingError {
            kind: "NoAppDetectedError".into(),
            message: "no buildpack fits".into(),
            last_lines: vec![],
        })
    })
    .await;
    world.app("a", 0, 256).await;

    build(&world, "large", 100_000, later()).await;
    runtime.nudge();
    let large = build_ends(&world, &runtime, "large").await;
    assert_eq!(large.error_type.as_deref(), Some("InsufficientResources"));
    assert_eq!(
        large.error.as_deref(),
        Some(
            "the staging needs 100000 MB memory, more than any agent could ever give; the best agent, dea-1, has 4096 MB free of 4096 MB"
        )
    );

    build(&world, "refused", 1024, later()).await;
    runtime.nudge();
    let refused = build_ends(&world, &runtime, "refused").await;
    assert_eq!(
        (refused.error_type.as_deref(), refused.error.as_deref()),
        (Some("NoAppDetectedError"), Some("no buildpack fits"))
    );

    build(&world, "slow", 1024, now() + 3_000_000).await;
    runtime.nudge();
    let slow = build_ends(&world, &runtime, "slow").await;
    assert_eq!(
        (slow.error_type.as_deref(), slow.error.as_deref()),
        (
            Some("StagingTimeExpired"),
            Some("staging did not end within 3 s")
        )
    );

    build(&world, "broken", 1024, later()).await;
    runtime.nudge();
    eventually("a stager is asked", async || {
        let asked = requests
            .lock()
            .unwrap()
            .iter()
            .any(|request| request.task_id.as_str() == "broken");
        if asked {
            Ok(())
        } else {
            Err("not asked".to_string())
        }
    })
    .await;
    let completed = StagingCompleted {
        task_id: TaskId::new("broken").unwrap(),
        app_id: AppGuid::new("a").unwrap(),
        outcome: StagingOutcome::Staged(StagedDroplet {
            sha256: "5".repeat(64),
            ..StagedDroplet::default()
        }),
    };
    let _: Acknowledged = bus
        .request(
            &catalogue::staging_completed(),
            &completed,
            Duration::from_secs(5),
        )
        .await
        .unwrap();
    let broken = build_ends(&world, &runtime, "broken").await;
    assert_eq!(
        broken.error.as_deref(),
        Some("the droplet was not uploaded")
    );

    world.bus_down();
    eventually("the bus is away", async || {
        let status = runtime.status().await;
        if status["planning"] == "nothing is planned: the bus is away" {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    build(&world, "alone", 1024, later()).await;
    runtime.nudge();
    let alone = build_ends(&world, &runtime, "alone").await;
    assert_eq!(
        alone.error.as_deref(),
        Some("the message bus is away: nothing can be staged now")
    );
}

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
